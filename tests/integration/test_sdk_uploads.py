"""Uploads over a real wire: whole, in flat memory, and never half by mistake."""

import asyncio
import hashlib
import inspect
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import status_pb2

import auricle
from auricle import AsyncClient, Client
from auricle.v1 import audio_pb2
from tests.integration.sdk_assistant import Assistant, serving

pytestmark = pytest.mark.integration

MEASURED_UPLOAD = r"""
import re, sys
from auricle import Client

class Zeros:
    def __init__(self, left): self.left = left
    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return bytes(size)

def peak_mib():
    # Not getrusage: a process takes over the peak of the one that started it.
    return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1024

with Client(sys.argv[1]) as client:
    client.upload(Zeros(2**20))
    before = peak_mib()
    client.upload(Zeros(64 * 2**20))
    print(peak_mib() - before)
"""


@pytest.fixture
def assistant() -> Assistant:
    return Assistant()


@pytest.fixture
def address(assistant: Assistant) -> Iterator[str]:
    with serving(assistant) as address:
        yield address


@pytest.fixture(params=[Client, AsyncClient])
async def client(request: pytest.FixtureRequest, address: str) -> Any:
    client = request.param(address)
    yield client
    await finished(client.close())


async def finished(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def open_files() -> set[str]:
    return {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}


class BreaksOff:
    """A file whose disk fails in the middle."""

    def __init__(self) -> None:
        self._chunks = [b"a" * 1000, b"b" * 1000]

    def read(self, size: int) -> bytes:
        if not self._chunks:
            raise OSError("the disk is gone")
        return self._chunks.pop(0)


async def test_every_kind_of_source_arrives_whole(client: Any, assistant: Assistant, tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(1_300_000)
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    for source in (data, path, str(path), io.BytesIO(data)):
        audio = await finished(client.upload(source))
        assert audio.name == "audios/a1"
        assert (audio.size_bytes, audio.content_sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert audio.expire_time == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert len(assistant.uploads) == 4


async def test_arrays_are_uploaded_with_their_description(client: Any, assistant: Assistant) -> None:
    await finished(client.upload(np.array([1, 2, 3], np.int16), sample_rate=8000))
    config, size_bytes, _ = assistant.uploads[0]
    assert size_bytes == 6
    assert config.raw_pcm == audio_pb2.RawPcm(
        sample_rate_hz=8000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE
    )


async def test_progress_ends_at_the_whole(client: Any) -> None:
    seen: list[tuple[int, int | None]] = []
    await finished(client.upload(bytes(1_300_000), on_progress=lambda sent, total: seen.append((sent, total))))
    assert [sent for sent, _ in seen] == sorted({sent for sent, _ in seen})
    assert seen[-1] == (1_300_000, 1_300_000)


@pytest.mark.parametrize(
    ("source", "error", "complaint"),
    [
        (b"", ValueError, "the audio is empty"),
        (io.StringIO("text"), TypeError, 'mode "rb"'),
        ("nowhere.wav", FileNotFoundError, "nowhere"),
        ("https://example.com/a.wav", ValueError, "not fetched from URLs"),
        (np.zeros((2, 2)), ValueError, "one dimension"),
    ],
)
async def test_what_cannot_be_uploaded_is_refused(
    client: Any, assistant: Assistant, source: Any, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        await finished(client.upload(source))
    assert not assistant.uploads


async def test_files_are_closed_but_not_the_callers(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"skip this")
    with path.open("rb") as file:
        file.seek(5)
        assert (await finished(client.upload(file))).size_bytes == 4
        assert not file.closed
    await finished(client.upload(path))
    assert str(path) not in open_files()


async def test_a_source_that_breaks_off_is_not_stored(client: Any, assistant: Assistant) -> None:
    for _ in range(5):
        assistant.cancelled.clear()
        with pytest.raises(OSError, match="the disk is gone"):
            await finished(client.upload(BreaksOff()))
    assert not assistant.uploads


async def test_a_progress_callback_that_fails_is_not_hidden(client: Any, assistant: Assistant) -> None:
    def fail(sent: int, total: int | None) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await finished(client.upload(bytes(1_300_000), on_progress=fail))
    assert not assistant.uploads


async def test_an_upload_that_was_turned_away_is_tried_again(client: Any, assistant: Assistant) -> None:
    assistant.errors.append(status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="starting"))
    assert (await finished(client.upload(bytes(700_000)))).size_bytes == 700_000
    assert assistant.methods == ["UploadAudio", "UploadAudio"]


async def test_the_reason_of_an_early_refusal_is_told(client: Any, assistant: Assistant) -> None:
    assistant.early_refusal = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="disk full")
    for _ in range(20):
        with pytest.raises(auricle.ResourceExhaustedError, match="disk full"):
            await finished(client.upload(bytes(5 * 2**20)))


async def test_a_cancelled_upload_is_not_stored(address: str, assistant: Assistant) -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(size)

    async with AsyncClient(address) as client:
        task = asyncio.create_task(client.upload(Endless()))
        assert await asyncio.to_thread(assistant.called.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(assistant.cancelled.wait, 30)
    assert not assistant.uploads


async def test_an_upload_that_takes_too_long_ends_with_the_deadline(client: Any, assistant: Assistant) -> None:
    assistant.hang = True
    with pytest.raises(auricle.DeadlineExceededError):
        await finished(client.upload(bytes(5 * 2**20), timeout_seconds=0.3))


def test_memory_does_not_grow_with_the_recording(address: str, assistant: Assistant) -> None:
    command = [sys.executable, "-c", MEASURED_UPLOAD, address]
    environment = {**os.environ, "PYTHONPATH": str(Path(auricle.__file__).parents[1])}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert assistant.uploads[-1][1] == 64 * 2**20
    assert float(run.stdout) < 24, "peak memory in MiB"
