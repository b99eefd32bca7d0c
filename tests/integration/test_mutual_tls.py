"""Services that talk only to callers with a certificate, and a gateway that shows one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from auricle.v1 import decoder_pb2_grpc, preprocess_pb2_grpc
from services.common import probe
from services.common.server import GrpcServer, Service
from services.common.settings import ServerSettings
from services.common.tls import ClientTls
from services.jobs.settings import WorkerSettings
from tests.certificates import Certificates, make_certificates
from tests.platform_fakes import FakeDecoder, FakePreprocess, audio, recording, running_platform, user

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("theirs"))


@asynccontextmanager
async def services(certificates: Certificates) -> AsyncIterator[str]:
    """Preprocess and decoder on one port that asks for certificates; its address."""
    preprocess, decoder = FakePreprocess(), FakeDecoder()

    def register(server: grpc.aio.Server) -> None:
        preprocess_pb2_grpc.add_PreprocessServiceServicer_to_server(preprocess, server)
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(decoder, server)

    fields: dict[str, Any] = {"port": 0, "drain_seconds": 0.1, **certificates.server()}
    settings = ServerSettings(**fields)
    async with GrpcServer(Service("both", [], register), settings) as server:
        yield f"127.0.0.1:{server.port}"


def calling(address: str, tls: ClientTls | None) -> dict[str, Any]:
    """Settings of a gateway that calls the services so."""
    addresses = {"preprocess_address": address, "decoder_address": address}
    if tls is None:
        return addresses
    files = {"services_ca": tls.ca, "services_cert": tls.cert, "services_key": tls.key}
    return {**addresses, **files}


async def test_a_gateway_with_a_certificate_is_served(ours: Certificates) -> None:
    async with services(ours) as address, running_platform(**calling(address, ours.caller)) as platform:
        assert (await platform.chat(user(audio(recording("bell"))))).usage.audio_tokens == 25
        assert (await platform.model()).ready


@pytest.mark.parametrize("caller", ["nothing", "no certificate", "another authority's"])
async def test_who_shows_no_certificate_of_the_authority_is_not_served(
    ours: Certificates, theirs: Certificates, caller: str
) -> None:
    shown = {
        "nothing": None,
        "no certificate": ours.stranger,
        "another authority's": ClientTls(ours.ca, theirs.cert, theirs.key),
    }[caller]
    async with services(ours) as address, running_platform(**calling(address, shown)) as platform:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await platform.chat(user(audio(recording("bell"))), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_probe_shows_the_certificate_as_well(ours: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async with services(ours) as address:
        words = ["probe", address, "--tls-ca", str(ours.ca), "--timeout", "5"]
        for given, code in ((words, 1), ([*words, "--tls-cert", str(ours.cert), "--tls-key", str(ours.key)], 0)):
            monkeypatch.setattr("sys.argv", given)
            assert await asyncio.to_thread(probe.main) == code


@pytest.mark.parametrize(
    "fields",
    [{"tls_cert": "c"}, {"tls_key": "k"}, {"tls_client_ca": "a"}],
    ids=lambda fields: next(iter(fields)),
)
def test_half_of_a_servers_tls_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tls_"):
        ServerSettings(port=0, **fields)


def test_half_of_a_callers_tls_is_refused(ours: Certificates) -> None:
    with pytest.raises(ValueError, match="belong together"):
        WorkerSettings(services_ca=ours.ca, services_cert=ours.cert)
    with pytest.raises(ValueError, match="services_cert needs services_ca"):
        WorkerSettings(services_cert=ours.cert, services_key=ours.key)
