"""An upload is cut into messages that fit the contract, one chunk in memory at a time."""

import io
from typing import Any

import pytest

from auricle._upload_messages import CHUNK_BYTES, Source
from auricle.v1 import assistant_pb2

pytestmark = pytest.mark.unit


CONFIG = assistant_pb2.UploadAudioConfig()


def messages_of(stream: Any) -> tuple[list[Any], list[tuple[int, int | None]]]:
    progress: list[tuple[int, int | None]] = []
    return list(Source(stream, lambda sent, total: progress.append((sent, total))).messages(CONFIG)), progress


def test_configuration_comes_first_then_chunks_within_the_limit() -> None:
    data = bytes(range(256)) * 5000
    (config, *chunks), progress = messages_of(io.BytesIO(data))
    assert config.WhichOneof("request") == "config"
    assert not config.config.HasField("raw_pcm")
    assert b"".join(message.chunk for message in chunks) == data
    assert all(1 <= len(message.chunk) <= CHUNK_BYTES <= 2**20 for message in chunks)
    assert progress == [(524288, 1280000), (1048576, 1280000), (1280000, 1280000)]


def test_a_source_that_cannot_be_measured_has_no_total() -> None:
    class Pipe:
        def __init__(self) -> None:
            self._data = io.BytesIO(b"abc")

        def read(self, size: int) -> bytes:
            return self._data.read(size)

    assert messages_of(Pipe())[1] == [(3, None)]


def test_progress_counts_from_where_a_file_stands() -> None:
    file = io.BytesIO(b"skip this")
    file.seek(5)
    (_, chunk), progress = messages_of(file)
    assert chunk.chunk == b"this"
    assert progress == [(4, 4)]


def test_nothing_is_read_ahead() -> None:
    file = io.BytesIO(bytes(10 * CHUNK_BYTES))
    messages = Source(file).messages(CONFIG)
    for _ in range(3):
        next(messages)
    assert file.tell() == 2 * CHUNK_BYTES


def test_empty_audio_is_refused_before_the_first_message() -> None:
    with pytest.raises(ValueError, match="the audio is empty"):
        next(Source(io.BytesIO()).messages(CONFIG))


def test_text_files_are_refused() -> None:
    with pytest.raises(TypeError, match='mode "rb"'):
        next(Source(io.StringIO("text")).messages(CONFIG))  # type: ignore[arg-type]


def test_a_source_that_has_nothing_yet_is_not_taken_for_finished() -> None:
    class NonBlocking:
        def read(self, size: int) -> None:
            return None

    with pytest.raises(TypeError, match="gave NoneType"):
        next(Source(NonBlocking()).messages(CONFIG))  # type: ignore[arg-type]


RESUMED = assistant_pb2.UploadAudioConfig(upload_id="0" * 32, offset_bytes=4)


def test_an_upload_goes_on_within_the_file_and_earlier_messages_end() -> None:
    file = io.BytesIO(b"skip this")
    file.seek(2)
    progress: list[tuple[int, int | None]] = []
    source = Source(file, lambda sent, total: progress.append((sent, total)))
    earlier = source.messages(assistant_pb2.UploadAudioConfig(upload_id="0" * 32))
    assert next(earlier).config.offset_bytes == 0
    assert next(earlier).chunk == b"ip this"
    config, chunk = source.messages(RESUMED)
    assert (config.config.offset_bytes, chunk.chunk) == (4, b"his")
    assert progress == [(7, 7)]
    with pytest.raises(InterruptedError):
        next(earlier)


def test_an_upload_that_broke_off_at_its_end_has_no_more_chunks() -> None:
    (config,) = Source(io.BytesIO(b"four")).messages(RESUMED)
    assert config.config.offset_bytes == 4
