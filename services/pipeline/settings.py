"""Where the services are that the pipeline calls: fields that every caller's settings share."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from services.common.settings import DECODER_PORT, ENCODER_GRPC_PORT, PREPROCESS_PORT, Settings, check_together
from services.common.tls import ClientTls
from services.pipeline.embedding_cache import CacheLimits
from services.pipeline.endpoints import TARGET, check_target


class FleetSettings(Settings):
    """Addresses of the services, and how their certificates are verified."""

    preprocess_address: str = Field(f"127.0.0.1:{PREPROCESS_PORT}", description=f"preprocess: {TARGET}")
    encoder_address: str = Field(f"127.0.0.1:{ENCODER_GRPC_PORT}", description=f"Triton's gRPC: {TARGET}")
    decoder_address: str = Field(f"127.0.0.1:{DECODER_PORT}", description=f"the decoder: {TARGET}")
    services_ca: Path | None = Field(None, description="PEM CA of the services; with it calls to them are encrypted")
    services_cert: Path | None = Field(None, description="PEM certificate that is shown to services which ask (mTLS)")
    services_key: Path | None = Field(None, description="PEM private key of services_cert")

    @property
    def services_tls(self) -> ClientTls | None:
        """How services are called; None without encryption."""
        return ClientTls(self.services_ca, self.services_cert, self.services_key) if self.services_ca else None

    @model_validator(mode="after")
    def _services_tls_is_whole(self) -> Self:
        check_together({"services_cert": self.services_cert, "services_key": self.services_key})
        if self.services_cert is not None and self.services_ca is None:
            raise ValueError("services_cert needs services_ca: nobody is shown a certificate without TLS")
        return self

    @field_validator("preprocess_address", "encoder_address", "decoder_address")
    @classmethod
    def _endpoints_are_known(cls, target: str) -> str:
        check_target(target)
        return target


class CacheSettings(Settings):
    """Bounds of the embedding cache in Redis. Whoever writes last enforces its own: give all writers the same."""

    cache_max_bytes: int = Field(512 * 2**20, ge=2**20, description="embeddings kept in Redis")
    cache_ttl_seconds: float = Field(24 * 3600.0, gt=0, description="life of an embedding after its last use")
    cache_lookup_timeout_seconds: float = Field(0.1, gt=0, description="longest wait of a request for the cache")

    @property
    def cache_limits(self) -> CacheLimits:
        """The same, for the cache."""
        return CacheLimits(
            max_bytes=self.cache_max_bytes,
            ttl_seconds=self.cache_ttl_seconds,
            lookup_timeout_seconds=self.cache_lookup_timeout_seconds,
        )
