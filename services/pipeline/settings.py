"""Where the services are that the pipeline calls: fields that every caller's settings share."""

from pathlib import Path

from pydantic import Field, field_validator

from services.common.settings import DECODER_PORT, ENCODER_GRPC_PORT, PREPROCESS_PORT, Settings
from services.pipeline.endpoints import TARGET, check_target


class FleetSettings(Settings):
    """Addresses of the services, and how their certificates are verified."""

    preprocess_address: str = Field(f"127.0.0.1:{PREPROCESS_PORT}", description=f"preprocess: {TARGET}")
    encoder_address: str = Field(f"127.0.0.1:{ENCODER_GRPC_PORT}", description=f"Triton's gRPC: {TARGET}")
    decoder_address: str = Field(f"127.0.0.1:{DECODER_PORT}", description=f"the decoder: {TARGET}")
    services_ca: Path | None = Field(None, description="PEM CA of the services; with it calls to them are encrypted")

    @field_validator("preprocess_address", "encoder_address", "decoder_address")
    @classmethod
    def _endpoints_are_known(cls, target: str) -> str:
        check_target(target)
        return target
