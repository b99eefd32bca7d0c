"""Secrets of webhooks: of each tenant, two at most, read again when the file changes."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.errors import InvalidArgument
from services.common.webhook_secrets import SecretsFile, WebhookSettings, create_secret

pytestmark = pytest.mark.unit


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    return path


def test_secrets_are_of_their_tenant_and_change_with_the_file(tmp_path: Path) -> None:
    (old, old_line), (new, new_line), (other, other_line) = map(create_secret, ("ann", "ann", "bob"))
    path = tmp_path / "secrets"
    secrets = SecretsFile(written(path, "# of everybody", old_line, "", other_line))
    assert (secrets.of("ann"), secrets.of("bob"), secrets.of("eve")) == ((old,), (other,), ())
    written(path, old_line, new_line)
    assert (secrets.of("ann"), secrets.of("bob")) == ((old, new), ())
    written(path, "nonsense")
    assert secrets.of("ann") == (old, new)


@pytest.mark.parametrize("line", ["ann", "ann secret", "ann whsec_!!!", "ann whsec_c2hvcnQ=", "ann whsec_" + "A" * 400])
def test_a_wrong_line_is_told_by_its_number_and_not_by_its_content(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValidationError) as raised:
        WebhookSettings(webhook_secrets_file=written(tmp_path / "secrets", create_secret("bob")[1], line))
    told = raised.value.errors()[0]["msg"]
    assert "line 2" in told
    assert line.removeprefix("ann ") not in told or line == "ann"


def test_a_third_secret_of_a_tenant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 3 is more than the 2"):
        SecretsFile(written(tmp_path / "secrets", *(create_secret("ann")[1] for _ in range(3))))


def test_a_tenant_has_a_plain_name() -> None:
    with pytest.raises(InvalidArgument):
        create_secret("ann/b")
