"""One platform of real gateway, Redis and worker in front of cheap services, for all tests of jobs."""

from collections.abc import Iterator

import pytest

from auricle import Client
from tests.job_platform import JobPlatform, running_job_platform


@pytest.fixture(scope="session")
def job_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPlatform]:
    limits = {"AURICLE_GATEWAY_JOBS_TENANT_HOURS": "1"}
    with running_job_platform(tmp_path_factory.mktemp("jobs"), overrides=limits) as running:
        yield running


@pytest.fixture
def jobs_client(job_platform: JobPlatform) -> Iterator[Client]:
    with job_platform.client() as connected:
        yield connected
