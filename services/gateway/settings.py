"""What the gateway reads from its environment, as AURICLE_GATEWAY_..."""

from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.auth import KeyFile
from services.common.settings import GATEWAY_METRICS_PORT, GATEWAY_PORT, ServerSettings
from services.common.webhook_secrets import WebhookSettings
from services.jobstore.uri_sources import UriSettings
from services.pipeline.endpoints import TARGET, check_target
from services.pipeline.settings import CacheSettings, FleetSettings


def _local_store() -> str:
    return (Path.home() / ".local" / "share" / "auricle" / "uploads").as_uri()


class GatewaySettings(FleetSettings, CacheSettings, UriSettings, WebhookSettings, ServerSettings):
    """Settings of the gateway."""

    model_config = SettingsConfigDict(env_prefix="AURICLE_GATEWAY_", frozen=True, extra="ignore")

    port: int = Field(GATEWAY_PORT, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(GATEWAY_METRICS_PORT, ge=0, le=65535, description="Prometheus port; 0 serves no metrics")

    api_keys_file: Path | None = Field(None, description="keys that are let in; without it everybody is")

    redis_url: str | None = Field(
        None, description="Redis of the embedding cache and of jobs; without it nothing is cached and no job is taken"
    )

    store_url: str = Field(default_factory=_local_store, description="uploads: file://, s3://, gs://, az://, memory://")
    upload_max_bytes: int = Field(4 * 2**30, ge=1, description="largest upload; as much as preprocess hears")
    upload_ttl_seconds: float = Field(24 * 3600.0, gt=0, description="life of an upload")
    upload_quota_bytes: int = Field(16 * 2**30, ge=1, description="uploads of one tenant together")
    upload_sweep_seconds: float = Field(300.0, gt=0, description="how often expired uploads are removed")
    max_concurrent_uploads: int = Field(16, ge=1, description="uploads in progress; further ones are refused")

    jobs_tenant_hours: float = Field(100.0, gt=0, description="hours of audio that one tenant's jobs may have waiting")
    jobs_total_hours: float = Field(1000.0, gt=0, description="hours of audio that all jobs may have waiting")

    max_concurrent_questions: int = Field(8, ge=1, description="questions about jobs in progress; others are refused")

    canary_encoder_address: str | None = Field(None, description=f"encoder of a model that is rolled out: {TARGET}")
    canary_decoder_address: str | None = Field(None, description=f"its decoder: {TARGET}")
    canary_percent: int = Field(0, ge=0, le=100, description="share of the conversations that it answers")

    max_audio_parts: int = Field(16, ge=1, le=256, description="audio parts in one request")
    max_inline_bytes: int = Field(32 * 2**20, ge=1, description="bytes of one inline audio")
    max_concurrent_chats: int = Field(64, ge=1, description="chats in progress; further ones are refused")
    part_concurrency: int = Field(4, ge=1, description="audio parts of a request that are preprocessed side by side")
    encode_concurrency: int = Field(8, ge=1, description="windows of a request that are encoded side by side")
    model_check_seconds: float = Field(
        10.0, gt=0, description="how often encoder and decoder are asked what they serve"
    )

    @field_validator("api_keys_file")
    @classmethod
    def _keys_can_be_read(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                KeyFile(path)
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
        return path

    @field_validator("store_url")
    @classmethod
    def _store_is_known(cls, url: str) -> str:
        try:
            obstore.parse_scheme(url)
        except BaseError:
            raise ValueError("no kind of store that is known") from None
        return url

    @field_validator("canary_encoder_address", "canary_decoder_address")
    @classmethod
    def _canary_is_known(cls, target: str | None) -> str | None:
        if target is not None:
            check_target(target)
        return target

    @model_validator(mode="after")
    def _canary_has_both_halves(self) -> "GatewaySettings":
        if (self.canary_encoder_address is None) != (self.canary_decoder_address is None):
            raise ValueError("canary_encoder_address and canary_decoder_address belong together")
        if self.canary_percent and self.canary_decoder_address is None:
            raise ValueError("canary_percent needs canary_encoder_address and canary_decoder_address")
        return self

    @model_validator(mode="after")
    def _inline_audio_fits_a_message(self) -> "GatewaySettings":
        # Slightly too large a clip must reach the gateway's own check, which tells the caller what to do.
        if self.max_inline_bytes * 5 // 4 > self.max_message_bytes:
            raise ValueError("max_message_bytes must be at least a quarter larger than max_inline_bytes")
        return self
