"""Settings from the environment: read once at start-up, frozen, every mistake reported in one message."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

# The ports of a platform on one machine, each written once. Clusters set AURICLE_..._PORT or keep these.
GATEWAY_PORT = 8400
PREPROCESS_PORT = 8401
DECODER_PORT = 8402
ENCODER_GRPC_PORT = 8403
ENCODER_HTTP_PORT = 8404
REDIS_PORT = 8405
GATEWAY_METRICS_PORT = 8410
PREPROCESS_METRICS_PORT = 8411
DECODER_METRICS_PORT = 8412
ENCODER_METRICS_PORT = 8413
WORKER_METRICS_PORT = 8414


class Settings(BaseSettings):
    """Base of a service's settings. A subclass sets `env_prefix` and adds its own fields."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")


class TlsSettings(Settings):
    """How a gRPC server is encrypted, and whom it lets in."""

    tls_cert: Path | None = Field(None, description="PEM certificate chain; with tls_key turns TLS on for gRPC")
    tls_key: Path | None = Field(None, description="PEM private key")
    tls_client_ca: Path | None = Field(None, description="PEM CA; clients must then show a certificate (mTLS)")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        # Half of it would serve unencrypted, or let everybody in, without a word.
        check_together({"tls_cert": self.tls_cert, "tls_key": self.tls_key})
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key: without TLS no client shows a certificate")
        return self


class ServerSettings(TlsSettings):
    """What every gRPC server of the platform is told."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port; 0 serves no metrics")
    max_message_bytes: int = Field(64 * 2**20, ge=2**16, description="largest message taken or sent")
    max_concurrent_rpcs: int = Field(256, ge=1, description="calls in flight; further ones are refused")
    drain_seconds: float = Field(20.0, ge=0, description="time that work in flight has after SIGTERM")
    default_deadline_seconds: float = Field(300.0, gt=0, description="limit for calls that bring no deadline")


def load(settings_class: type[SettingsT]) -> SettingsT:
    """Read settings from the environment; on mistakes print all of them with their variables' names and exit with 2."""
    try:
        return settings_class()
    except ValidationError as error:
        prefix = str(settings_class.model_config.get("env_prefix", ""))
        lines = [f"{len(error.errors())} setting(s) are wrong:"]
        for mistake in error.errors():
            variable = f"{prefix}{'_'.join(map(str, mistake['loc']))}".upper()
            given = f" (given: {mistake['input']!r})" if mistake["type"] != "missing" else ""
            lines.append(f"  {variable}: {mistake['msg']}{given}")
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(2) from None


def check_together(files: Mapping[str, Path | None]) -> None:
    """Refuse settings of which one means nothing without the others.

    Raises:
        ValueError: some of them are set and some are not.
    """
    missing = [name for name, path in files.items() if path is None]
    if 0 < len(missing) < len(files):
        raise ValueError(f"{' and '.join(missing)} must be set as well: {', '.join(files)} belong together")
