"""How the encoder is served: what goes into Triton's config.pbtxt beside the model's own dimensions."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import (
    ENCODER_GRPC_PORT,
    ENCODER_HTTP_PORT,
    ENCODER_METRICS_PORT,
    Settings,
    TlsSettings,
)


class EncoderSettings(Settings):
    """Read from AURICLE_ENCODER_... when an encoder is published.

    `device="gpu"` follows Triton's documentation and has not been run: no machine of the project had a GPU.
    """

    model_config = SettingsConfigDict(env_prefix="AURICLE_ENCODER_", frozen=True, extra="ignore")

    device: Literal["cpu", "gpu"] = Field(
        default="cpu", description="where the instances run; gpu spreads them over all GPUs"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="precision of the weights and the computing; embeddings leave in float32 in any case",
    )
    instances: int = Field(default=1, ge=1, le=64, description="instances on the CPU, or on each GPU")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads of an instance; 0 leaves it to OMP_NUM_THREADS"
    )
    max_batch_size: int = Field(default=16, ge=1, le=256, description="clips encoded together")
    max_queue_delay_us: int = Field(
        default=0, ge=0, le=100_000, description="time a clip waits for company when one is idle"
    )
    max_queue_size: int = Field(default=128, ge=1, description="clips that wait; further ones are refused")
    queue_timeout_seconds: float = Field(default=30.0, gt=0, description="longest wait of a clip; then it is refused")
    served_versions: tuple[int, ...] = Field(
        default=(), description="versions to serve; none given serves the latest alone"
    )


class EncoderServerSettings(EncoderSettings, TlsSettings):
    """What `services.encoder.serve` reads besides: where Triton finds the model and listens."""

    model_config = SettingsConfigDict(env_prefix="AURICLE_ENCODER_", frozen=True, extra="ignore")

    volume: Path = Field(Path("/models"), description="model volume, see services.encoder.ready")
    model: str = Field("auricle-mini", min_length=1, description="name of the model on the volume")
    triton: str = Field("tritonserver", min_length=1, description="the server's program")
    host: str = Field("127.0.0.1", description="address to listen on")
    grpc_port: int = Field(ENCODER_GRPC_PORT, ge=1, le=65535, description="port of KServe v2 gRPC")
    http_port: int = Field(ENCODER_HTTP_PORT, ge=1, le=65535, description="port of health checks over HTTP")
    metrics_port: int = Field(ENCODER_METRICS_PORT, ge=1, le=65535, description="Prometheus port")
    drain_seconds: float = Field(20.0, ge=0, description="time that work in flight has after SIGTERM")
    traces_url: str | None = Field(None, description="OTLP over HTTP address of spans; none are made without it")
