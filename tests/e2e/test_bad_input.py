"""Bad input through the whole platform: each gets its own error, in bounded time, and the next request is answered."""

import io
import struct
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest

from auricle import AuricleError, Client, InvalidArgumentError, NotFoundError
from auricle.v1 import assistant_pb2, audio_pb2, generation_pb2
from tests.prompts import TRANSCRIBE, audio, clip, text

pytestmark = pytest.mark.e2e

RATE_HZ = 16_000
QUESTION = text(TRANSCRIBE)


def wav(
    samples: np.ndarray, *, rate_hz: int = RATE_HZ, channels: int = 1, format_code: int = 1, bits: int = 16
) -> bytes:
    data = samples.tobytes()
    block = channels * bits // 8
    header = struct.pack("<HHIIHH", format_code, channels, rate_hz, rate_hz * block, block & 0xFFFF, bits)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm16(seconds: float, seed: int = 0) -> np.ndarray:
    return (clip(seconds, seed) * 32767).astype("<i2")


def encoded(samples: np.ndarray, container_format: str, codec: str, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, frame_size=stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def video_without_audio() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(20 * 2**20))
    return buffer.getvalue()


BAD_FILES = {
    "text named .wav": b"this is not audio, it is a sentence\n" * 50,
    "zero-length PCM in a WAV": wav(pcm16(0)),
    "a header of 0 Hz": wav(pcm16(1), rate_hz=0),
    "1,000 channels": wav(np.zeros(1000 * 160, "<i2"), channels=1000),
    "NaN samples": wav(np.full(RATE_HZ, np.nan, "<f4"), format_code=3, bits=32),
    "a video without audio": video_without_audio(),
    "a zip bomb": zip_bomb(),
    "21 ms, no audio token": wav(pcm16(0.02)),
}


def ask(client: Client, content: list[dict[str, Any]], **generation: Any) -> Any:
    return client.chat([{"role": "user", "content": content}], max_output_tokens=2, **generation)


@pytest.fixture(autouse=True)
def serves_on(client: Client) -> Iterator[None]:
    """Whatever a test sent, a good request is answered afterwards."""
    yield
    assert ask(client, [audio(0.5, 1), QUESTION]).usage.audio_heard_seconds == 0.5


def refusal(client: Client, content: list[dict[str, Any]], **generation: Any) -> AuricleError:
    start = time.monotonic()
    with pytest.raises(AuricleError) as raised:
        ask(client, content, **generation)
    assert time.monotonic() - start < 20
    return raised.value


def test_each_bad_file_has_its_own_reason(client: Client) -> None:
    errors = {what: refusal(client, [{"type": "audio", "audio": data}, QUESTION]) for what, data in BAD_FILES.items()}
    for what, error in errors.items():
        assert isinstance(error, InvalidArgumentError), (what, error)
        assert error.reason != "INVALID_ARGUMENT", (what, error.reason)
    print({what: (error.reason, str(error)) for what, error in errors.items()})


def test_an_empty_file_never_leaves_the_client(client: Client) -> None:
    with pytest.raises(ValueError, match="empty"):
        ask(client, [{"type": "audio", "audio": b""}, QUESTION])


def test_an_empty_file_is_refused_by_the_gateway_too(client: Client) -> None:
    request = assistant_pb2.ChatRequest()
    request.messages.add(role=generation_pb2.ROLE_USER).content.add(audio=assistant_pb2.AudioSource(data=b""))
    with pytest.raises(AuricleError) as raised, client._connection.call(30) as call:
        client._stub.Chat(request, **call.arguments)
    assert isinstance(raised.value, InvalidArgumentError)


def test_headerless_samples_with_nonsense_are_refused(client: Client) -> None:
    request = assistant_pb2.ChatRequest()
    source = assistant_pb2.AudioSource(
        data=bytes(3200),
        raw_pcm=audio_pb2.RawPcm(sample_rate_hz=-1, channels=0, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE),
    )
    request.messages.add(role=generation_pb2.ROLE_USER).content.add(audio=source)
    with pytest.raises(AuricleError) as raised, client._connection.call(30) as call:
        client._stub.Chat(request, **call.arguments)
    assert isinstance(raised.value, InvalidArgumentError)


def test_a_truncated_mp3_is_heard_as_far_as_it_goes_and_the_answer_says_so_or_it_is_refused(client: Client) -> None:
    whole = encoded(clip(4.0, 3), "mp3", "libmp3lame")
    answer = ask(client, [{"type": "audio", "audio": whole[: len(whole) // 2]}, QUESTION])
    heard = answer.heard[0]
    assert 1.5 < heard.heard_seconds < 2.5
    assert heard.heard_seconds == pytest.approx(answer.usage.audio_heard_seconds)


def test_audio_longer_than_a_window_is_heard_whole(client: Client) -> None:
    answer = ask(client, [audio(31.0, 4), QUESTION])
    assert answer.usage.audio_heard_seconds == pytest.approx(31.0)
    assert len(answer.heard[0].windows) == 2
    assert all(window.duration_seconds <= 30 for window in answer.heard[0].windows)


def test_audio_past_the_context_is_refused_with_what_fits(client: Client) -> None:
    error = refusal(client, [audio(360.0, 5), QUESTION])
    assert error.reason == "PROMPT_TOO_LONG"
    assert "job" in str(error)


def test_text_past_the_context_is_refused(client: Client) -> None:
    error = refusal(client, [{"type": "text", "text": "word " * 9000}])
    assert error.reason == "PROMPT_TOO_LONG"


def test_forty_clips_are_too_many(client: Client) -> None:
    error = refusal(client, [audio(0.1, 6)] * 40)
    assert error.reason == "TOO_MANY_AUDIO_PARTS"


def test_an_unknown_audio_name_is_not_found(client: Client) -> None:
    from auricle import Audio

    name = "audios/00000000-0000-4000-8000-000000000000"
    with pytest.raises(NotFoundError):
        ask(client, [{"type": "audio", "audio": Audio(name)}, QUESTION])


def test_negative_max_tokens_names_the_field(client: Client) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.chat("hello", max_output_tokens=-1)
    assert [violation.field for violation in raised.value.field_violations] == ["config.max_output_tokens"]


def test_an_oversized_message_is_refused(client: Client) -> None:
    request = assistant_pb2.ChatRequest()
    request.messages.add(role=generation_pb2.ROLE_USER).content.add(
        audio=assistant_pb2.AudioSource(data=bytes(33 * 2**20))
    )
    with pytest.raises(AuricleError) as raised, client._connection.call(30) as call:
        client._stub.Chat(request, **call.arguments)
    assert raised.value.code.name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")


def test_a_small_opus_file_that_decodes_to_hours_ends_in_bounded_time(client: Client) -> None:
    silence = np.zeros(RATE_HZ * 60 * 30, np.float32)
    small = encoded(silence, "ogg", "libopus", 48_000)
    assert len(small) < 2 * 2**20
    error = refusal(client, [{"type": "audio", "audio": small}, QUESTION])
    assert error.reason in ("PROMPT_TOO_LONG", "AUDIO_TOO_LONG")
