"""The fault test in a short form, and deaths at chosen moments. Celery's messages return after a second, on purpose."""

import urllib.request
from collections.abc import Iterator

import pytest

from services.local.process import ManagedProcess
from tests.faults import storm
from tests.job_platform import JobPlatform, eventually, running_job_platform
from tests.platform_fakes import recording

pytestmark = pytest.mark.integration

WINDOWS = 12


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPlatform]:
    overrides = {"AURICLE_WORKER_VISIBILITY_TIMEOUT_SECONDS": "1"}
    with running_job_platform(tmp_path_factory.mktemp("faults"), workers=2, overrides=overrides) as running:
        yield running


def test_no_job_is_lost_and_no_window_counted_twice_whatever_dies(platform: JobPlatform) -> None:
    report = storm.run(platform, jobs=12, seed=1, weather=storm.Weather(most_kills=7))
    print(report)
    assert report.wrong == []
    assert report.kills.total() >= 5


def test_after_a_restart_of_everything_a_job_goes_on_at_the_first_unfinished_window(platform: JobPlatform) -> None:
    encoded, decoded = platform.worked_on("encode"), platform.worked_on("decode")
    with platform.client() as client:
        job = client.jobs.create(recording("restarted", *[10] * WINDOWS), instruction="[wait 0.5]")
        eventually(lambda: job.refresh().progress.finished_windows >= 4)
        for name in platform.supervisor.processes:
            platform.kill(name)
        finished = platform.worked_on("decode") - decoded
        for name in platform.supervisor.processes:
            platform.process(name).start()
        result = storm.persistently(lambda: client.jobs.wait(job, timeout_seconds=60)).result()
    again = platform.worked_on("decode") - decoded - WINDOWS
    encoded_again = platform.worked_on("encode") - encoded - WINDOWS
    print(f"{finished} of {WINDOWS} windows had been decoded: {again} again; {encoded_again} encoded again")
    assert [segment.start_seconds for segment in result.segments] == [10.0 * n for n in range(WINDOWS)]
    # Only what was in the hands of the two workers, four each, may be done again.
    assert finished >= 4
    assert again <= 8
    assert encoded_again <= 8


def refused(platform: JobPlatform) -> float:
    """Messages for units that a worker found in other hands or done."""
    ports = [process.spec.environment["AURICLE_WORKER_METRICS_PORT"] for process in _workers(platform)]
    lines: list[str] = []
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as response:
            lines += response.read().decode().splitlines()
    name = 'auricle_jobs_units_total{outcome="refused",step="decode"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def _workers(platform: JobPlatform) -> list[ManagedProcess]:
    return [process for name, process in platform.supervisor.processes.items() if name.startswith("worker")]


def test_a_message_that_returns_before_its_work_is_done_counts_nothing_twice(platform: JobPlatform) -> None:
    before, decoded = refused(platform), platform.worked_on("decode")
    with platform.client() as client:
        job = client.jobs.create(recording("returned", 10, 10), instruction="[wait 4]").wait(timeout_seconds=60)
        assert (job.progress.finished_windows, job.result().output_tokens) == (2, 6)
    assert refused(platform) - before >= 1
    assert platform.worked_on("decode") - decoded == 2


def test_a_worker_that_is_asked_to_stop_finishes_its_window_first(platform: JobPlatform) -> None:
    with platform.client() as client:
        job = client.jobs.create(recording("graceful", 10), instruction="[wait 1.5]")
        eventually(lambda: job.refresh().progress.encoded_windows == 1)
        for worker in _workers(platform):
            worker.stop()
            assert worker.exit_code == 0
        assert job.refresh().progress.finished_windows == 1
