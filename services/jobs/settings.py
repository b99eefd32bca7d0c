"""What a worker reads from its environment, as AURICLE_WORKER_..."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import REDIS_PORT, WORKER_METRICS_PORT
from services.common.webhook_secrets import WebhookSettings
from services.jobstore.uri_sources import UriSettings
from services.pipeline.settings import CacheSettings, FleetSettings


def _local_store() -> str:
    return (Path.home() / ".local" / "share" / "auricle" / "uploads").as_uri()


class WorkerSettings(FleetSettings, CacheSettings, UriSettings, WebhookSettings):
    """Settings of a worker."""

    model_config = SettingsConfigDict(env_prefix="AURICLE_WORKER_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", min_length=1, description="address that metrics are served on")
    metrics_port: int = Field(WORKER_METRICS_PORT, ge=0, le=65535, description="Prometheus port; 0 serves no metrics")
    redis_url: str = Field(f"redis://127.0.0.1:{REDIS_PORT}/0", description="Redis of the records and queues")
    store_url: str = Field(default_factory=_local_store, description="uploads and jobs: the gateway's store")
    max_message_bytes: int = Field(64 * 2**20, ge=2**16, description="largest message taken or sent")

    concurrency: int = Field(4, ge=1, description="units of work at the same time; the services do the computing")
    lease_seconds: float = Field(30.0, gt=0, description="how long a unit stays with a worker that is not heard of")
    lost_after_seconds: float = Field(30.0, gt=0, description="how long a message may take before it is sent again")
    look_after_seconds: float = Field(2.0, gt=0, description="how often overdue units are looked for")
    clean_seconds: float = Field(60.0, gt=0, description="how often expired jobs are looked for")
    sweep_seconds: float = Field(3600.0, gt=0, description="how often remains of jobs without a record are looked for")
    max_attempts: int = Field(10, ge=1, description="tries of a unit before it is given up")
    retry_seconds: float = Field(1.0, gt=0, description="longest wait before the first retry; doubles with each")
    max_retry_seconds: float = Field(60.0, gt=0, description="longest wait before any retry")
    unit_timeout_seconds: float = Field(600.0, gt=0, description="longest work on a window")
    prepare_timeout_seconds: float = Field(3600.0, gt=0, description="longest work on cutting a recording")

    webhook_seconds: float = Field(2.0, gt=0, description="how often webhooks that are due are looked for")
    webhook_concurrency: int = Field(64, ge=1, description="webhooks told at the same time")
    webhook_tenant_concurrency: int = Field(8, ge=1, description="of them, those of one tenant")
    webhook_timeout_seconds: float = Field(10.0, gt=0, le=50, description="longest wait for a receiver's answer")
    webhook_retry_seconds: float = Field(5.0, gt=0, description="longest wait before the second try; then doubles")
    webhook_max_retry_seconds: float = Field(3600.0, gt=0, description="longest wait before any try")
    webhook_give_up_seconds: float = Field(86_400.0, gt=0, description="how long after a job's end tries go on")

    visibility_timeout_seconds: int = Field(3600, ge=1, description="Celery's: when an unacknowledged message returns")
