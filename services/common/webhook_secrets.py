"""Secrets that webhook events are signed with, of each tenant.

A secret reads `whsec_BASE64` of 24 to 64 random bytes, as Standard Webhooks has it. A secrets file has one line
`TENANT SECRET` for each; empty lines and lines that begin with # say nothing. A tenant may have two: events are then
signed with both, and a receiver that knows either accepts them. So a secret is changed by adding the new one, telling
it to the receiver, and removing the old one. The file is read again when it changes.
"""

import base64
import binascii
import secrets
from pathlib import Path

from pydantic import Field, field_validator

from services.common.auth import check_tenant
from services.common.settings import Settings
from services.common.watched_file import WatchedFile, entries_of

PREFIX = "whsec_"
SECRET_BYTES = 32
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
MAX_ACTIVE = 2


def create_secret(tenant: str) -> tuple[str, str]:
    """A new secret for the tenant, and the line of the secrets file that makes it active.

    Raises:
        InvalidArgument: the tenant's name is not 1 to 63 letters, digits, - and _.
    """
    check_tenant(tenant)
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return secret, f"{tenant} {secret}"


class SecretsFile:
    """The secrets of a file.

    Raises:
        ValueError, OSError: the file cannot be read or a line of it is wrong; see WatchedFile.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, _parse, "webhook secrets")

    def of(self, tenant: str) -> tuple[str, ...]:
        """The tenant's active secrets; none when it has none."""
        return self._file.content.get(tenant, ())


class WebhookSettings(Settings):
    """Where a service finds the secrets; the gateway asks whether a tenant has one, workers sign with them."""

    webhook_secrets_file: Path | None = Field(
        None, description="secrets that webhooks are signed with; without it no job may name a webhook"
    )

    @field_validator("webhook_secrets_file")
    @classmethod
    def _secrets_can_be_read(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                SecretsFile(path)
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
        return path

    @property
    def webhook_secrets(self) -> SecretsFile | None:
        """The secrets, if there are any."""
        return SecretsFile(self.webhook_secrets_file) if self.webhook_secrets_file else None


def _parse(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for number, words in entries_of(text):
        if len(words) != 2 or not _is_secret(words[1]):
            raise ValueError(f"line {number} is not `TENANT {PREFIX}BASE64`")
        tenant, secret = words
        found[tenant] = (*found.get(tenant, ()), secret)
        if len(found[tenant]) > MAX_ACTIVE:
            raise ValueError(f"line {number} is more than the {MAX_ACTIVE} secrets that {tenant} may have at once")
    return found


def _is_secret(text: str) -> bool:
    try:
        size = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except binascii.Error:
        return False
    return text.startswith(PREFIX) and MIN_SECRET_BYTES <= size <= MAX_SECRET_BYTES
