"""One platform for all end-to-end tests; its processes are real and listen on free ports."""

from collections.abc import Iterator

import pytest

from auricle import Client
from tests.collector import Collector
from tests.platform import RunningPlatform, running_platform


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    receiver = Collector()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[RunningPlatform]:
    traces = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with running_platform("auricle-mini", tmp_path_factory.mktemp("platform"), workers=1, **traces) as running:
        yield running


@pytest.fixture
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.address, timeout_seconds=60) as connected:
        yield connected
