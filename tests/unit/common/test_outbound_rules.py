"""Which URLs and addresses the platform may call for a caller."""

import ipaddress

import pytest
from pydantic import ValidationError

from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.outbound_rules import OutboundRules, Target
from services.common.outbound_settings import OutboundSettings

pytestmark = pytest.mark.unit

RULES = OutboundRules(("media.example", "*.Store.example"), (443, 8443))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://media.example/a.wav", Target("media.example", 443, "/a.wav")),
        ("HTTPS://MEDIA.example:8443", Target("media.example", 8443, "/")),
        ("https://eu.store.example/a/b?x=1&y=%20", Target("eu.store.example", 443, "/a/b?x=1&y=%20")),
        ("https://media.example?x", Target("media.example", 443, "/?x")),
    ],
)
def test_allowed_urls_are_taken_apart(url: str, target: Target) -> None:
    assert RULES.check_url(url, "uri") == target


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://media.example/a", "https://"),
        ("ftp://media.example/a", "https://"),
        ("//media.example/a", "https://"),
        ("media.example/a", "https://"),
        ("https://user@media.example/", "credentials"),
        ("https://user:word@media.example/", "credentials"),
        ("https://other.example@media.example/", "credentials"),
        ("https://media.example/#a", "fragment"),
        ("https://other.example/", "other.example"),
        ("https://media.example.evil.example/", "evil.example"),
        ("https://store.example/", "store.example"),
        ("https://evilstore.example/", "evilstore.example"),
        ("https://media.example./", "media.example."),
        ("https:///a", "host ''"),
        ("https://[::1]/", "host '::1'"),
        ("https://[::1/", "no URL"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://media.example:22/", "port 22"),
        ("https://media.example:99999/", "no URL"),
        ("https://media.example\\@other.example/", "printable"),
        ("https://media.example/a b", "printable"),
        ("https://media.example/\r\nHost: x", "printable"),
        ("https://mediä.example/", "printable"),
        ("https://media.example/" + "a" * 2048, "2048"),
        ("", "https://"),
    ],
)
def test_other_urls_are_refused_with_the_reason(url: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        RULES.check_url(url, "analysis_job.audio.uri")
    assert raised.value.reason == "URL_NOT_ALLOWED"
    assert raised.value.violations[0].field == "analysis_job.audio.uri"
    assert complaint in raised.value.message


def test_nothing_is_allowed_until_hosts_are_named() -> None:
    with pytest.raises(InvalidArgument):
        OutboundRules().check_url("https://media.example/", "uri")
    assert OutboundRules(("*",)).check_url("https://media.example/", "uri").host == "media.example"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "168.63.129.16"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::"),
        *("2001::1", "100::1", "3fff::1", "5f00::1", "no address"),
    ],
)
def test_addresses_that_are_not_public_are_refused_even_among_others(address: str) -> None:
    with pytest.raises(FailedPrecondition) as raised:
        RULES.check_addresses("media.example", ["8.8.8.8", address])
    assert raised.value.reason == "URL_ADDRESS_NOT_PUBLIC"
    assert address not in raised.value.message


def test_public_addresses_and_named_networks_are_let_in() -> None:
    RULES.check_addresses("media.example", ["8.8.8.8", "2606:4700::1111"])
    named = OutboundRules(("media.example",), networks=(ipaddress.ip_network("10.1.0.0/16"),))
    named.check_addresses("media.example", ["10.1.2.3", "8.8.8.8"])
    with pytest.raises(FailedPrecondition):
        named.check_addresses("media.example", ["10.2.0.1"])


def test_settings_are_words_joined_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HOSTS": "a.example, *.b.example", "PORTS": "443,8443", "NETWORKS": "10.1.0.0/16,fd00::/64"}
    for name, value in given.items():
        monkeypatch.setenv(f"OUTBOUND_{name}", value)
    rules = OutboundSettings().outbound_rules
    assert (rules.hosts, rules.ports) == (("a.example", "*.b.example"), (443, 8443))
    assert rules.networks == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64"))
    monkeypatch.setenv("OUTBOUND_NETWORKS", "10.1.0.1/16")
    with pytest.raises(ValidationError, match="host bits"):
        OutboundSettings()
