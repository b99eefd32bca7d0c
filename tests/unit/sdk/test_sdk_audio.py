"""Audio in every form that users have it, and what is refused before anything is sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle import Audio
from auricle._audio import MAX_INLINE_BYTES, audio_source, upload_source
from auricle.v1 import audio_pb2

pytestmark = pytest.mark.unit


def test_bytes_and_paths_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF....")
    for value in (path, str(path), b"RIFF....", bytearray(b"RIFF....")):
        source = audio_source(value)
        assert source.data == b"RIFF...."
        assert not source.HasField("raw_pcm")


def test_an_upload_is_sent_by_name() -> None:
    source = audio_source(Audio("audios/a1"))
    assert source.WhichOneof("source") == "name"
    assert source.name == "audios/a1"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_are_sent_as_little_endian_float32(dtype: Any) -> None:
    samples = np.array([0.0, 0.5, -1.0], dtype)
    source = audio_source(samples, 8000)
    assert np.frombuffer(source.data, "<f4").tolist() == [0.0, 0.5, -1.0]
    assert source.raw_pcm == audio_pb2.RawPcm(
        sample_rate_hz=8000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_F32LE
    )


@pytest.mark.parametrize("dtype", ["<i2", ">i2"])
def test_int16_is_sent_as_little_endian_int16_at_16_khz_by_default(dtype: str) -> None:
    source = audio_source(np.array([0, 300, -32768], dtype))
    assert np.frombuffer(source.data, "<i2").tolist() == [0, 300, -32768]
    assert source.raw_pcm == audio_pb2.RawPcm(
        sample_rate_hz=16_000, channels=1, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE
    )


def test_strided_arrays_keep_their_samples() -> None:
    stereo = np.array([[0.1, 0.9], [0.2, 0.8]], np.float32)
    assert np.frombuffer(audio_source(stereo[:, 0]).data, "<f4").tolist() == pytest.approx([0.1, 0.2])


def test_what_converts_to_an_array_is_one() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.array([0.25], np.float32)

    assert np.frombuffer(audio_source(Tensor()).data, "<f4").tolist() == [0.25]


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((2, 100), np.float32), r"one dimension.*\(2, 100\)"),
        (np.float32(0.5), "one dimension"),
        (np.zeros(0, np.float32), "empty"),
        (np.array([0.1, np.nan]), "NaN"),
        (np.array([0.1, -np.inf]), "infinite"),
        (np.array([3000.0, -12.0]), r"in \[-1, 1\].*3000"),
        (np.zeros(10, np.int32), "dtype is int32"),
        (np.zeros(10, np.uint8), "dtype is uint8"),
        (np.zeros(10, bool), "dtype is bool"),
        (np.zeros(10, complex), "dtype is complex"),
        (np.array(["a"]), "dtype is <U1"),
    ],
)
def test_arrays_that_are_no_mono_sound_are_refused(array: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        audio_source(array)


def test_a_slight_overshoot_of_full_scale_is_sound() -> None:
    assert audio_source(np.array([1.05, -1.2])).data


@pytest.mark.parametrize("rate", [0, -16000, 999, 384_001])
def test_impossible_sample_rates_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="sample rate must be"):
        audio_source(np.zeros(10), rate)


def test_a_sample_rate_is_a_whole_number() -> None:
    assert audio_source(np.zeros(10), np.int64(44_100)).raw_pcm.sample_rate_hz == 44_100
    with pytest.raises(TypeError, match="whole number"):
        audio_source(np.zeros(10), 44_100.5)


@pytest.mark.parametrize("value", [b"RIFF", Audio("audios/a1")])
def test_only_arrays_have_a_sample_rate(value: Any) -> None:
    with pytest.raises(ValueError, match="belongs to an array"):
        audio_source(value, 16_000)


@pytest.mark.parametrize(
    "url", ["http://example.com/a.wav", "HTTPS://example.com/a.wav", "s3://bucket/a.wav", "data:audio/wav;base64,AAAA"]
)
def test_urls_are_not_fetched(url: str) -> None:
    with pytest.raises(ValueError, match="not fetched from URLs"):
        audio_source(url)


@pytest.mark.parametrize("value", [None, 7, [0.1, 0.2], object()])
def test_other_kinds_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a path, bytes, an array or an uploaded Audio"):
        audio_source(value)


def test_empty_audio_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(ValueError, match=r"empty\.wav' is empty"):
        audio_source(empty)
    with pytest.raises(ValueError, match="the audio is empty"):
        audio_source(b"")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.wav"):
        audio_source("nowhere.wav")


def test_audio_beyond_the_inline_limit_is_refused_and_a_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"at most 32 MiB; upload\(\) it first"):
        audio_source(path)
    assert len(audio_source(bytes(MAX_INLINE_BYTES)).data) == MAX_INLINE_BYTES
    with pytest.raises(ValueError, match="at most 32 MiB"):
        audio_source(np.zeros(MAX_INLINE_BYTES // 4 + 1, np.float32))


def test_an_open_file_is_uploaded_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"skip this")
    with path.open("rb") as file:
        file.seek(5)
        stream, raw_pcm = upload_source(file)
        assert stream is file
        assert raw_pcm is None
        assert stream.read() == b"this"
