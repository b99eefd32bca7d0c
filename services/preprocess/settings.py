"""What preprocess is told by its environment."""

import os

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import PREPROCESS_METRICS_PORT, PREPROCESS_PORT, ServerSettings
from services.preprocess.domain import Limits


class PreprocessSettings(ServerSettings):
    """Variables AURICLE_PREPROCESS_...; a recording beyond one of the limits is refused with a reason, never cut."""

    model_config = SettingsConfigDict(env_prefix="AURICLE_PREPROCESS_", frozen=True, extra="ignore")

    port: int = Field(PREPROCESS_PORT, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(
        PREPROCESS_METRICS_PORT, ge=0, le=65535, description="Prometheus port; 0 serves no metrics"
    )
    default_deadline_seconds: float = Field(7200.0, gt=0, description="limit for calls that bring no deadline")

    max_concurrent: int = Field(2 * (os.cpu_count() or 1), ge=1, description="recordings heard at once")
    max_queue: int = Field(64, ge=0, description="calls that wait for a place; further ones are refused")
    max_queue_seconds: float = Field(5.0, ge=0, description="longest wait for a place")
    idle_children: int = Field(2, ge=0, description="children kept ready, so that no call waits for a fork")

    max_input_bytes: int = Field(4 * 2**30, ge=1, description="most bytes of one recording")
    max_duration_seconds: float = Field(6 * 3600.0, gt=0, description="longest recording, as decoded")
    max_channels: int = Field(64, ge=1, description="most channels of a source")
    min_sample_rate_hz: int = Field(1_000, ge=1, description="lowest sample rate of a source")
    max_sample_rate_hz: int = Field(384_000, ge=1, description="highest sample rate of a source")

    upload_stall_seconds: float = Field(30.0, gt=0, description="longest silence in the middle of an upload")
    reader_stall_seconds: float = Field(
        60.0, gt=0, description="longest time that a finished window waits for its reader"
    )

    farewell_seconds: float = Field(2.0, ge=0, description="how long a refused caller may go on sending, unheard")

    child_cpu_seconds: int = Field(900, ge=1, description="processor time of one recording")
    child_memory_bytes: int = Field(384 * 2**20, ge=2**24, description="memory that one recording may add to a child")
    spool_bytes: int = Field(2**30, ge=0, description="most bytes of an MP4 file whose index stands at its end")
    spool_dir: str | None = Field(None, description="folder for such files; the system's temporary one by default")

    def limits(self) -> Limits:
        """What a child is held to."""
        return Limits(
            cpu_seconds=self.child_cpu_seconds,
            memory_bytes=self.child_memory_bytes,
            spool_bytes=self.spool_bytes,
            spool_dir=self.spool_dir,
            max_channels=self.max_channels,
            min_sample_rate_hz=self.min_sample_rate_hz,
            max_sample_rate_hz=self.max_sample_rate_hz,
        )
