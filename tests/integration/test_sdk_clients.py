"""Both clients over a real wire: questions, streams, retries, deadlines, errors."""

import asyncio
import inspect
import io
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import auricle
from auricle import AsyncClient, Audio, AuricleError, Client, ServiceTiming
from auricle.v1 import audio_pb2, generation_pb2
from tests.integration.sdk_assistant import Assistant, serving

pytestmark = pytest.mark.integration

AUDIO = {"type": "audio", "audio": b"RIFF"}
TEXT = {"type": "text", "text": "What is said?"}
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
BUSY = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="busy")


@pytest.fixture
def assistant() -> Assistant:
    return Assistant()


@pytest.fixture
def address(assistant: Assistant) -> Iterator[str]:
    with serving(assistant) as address:
        yield address


@pytest.fixture(params=[Client, AsyncClient])
def client_class(request: pytest.FixtureRequest) -> Any:
    """Blocking or asyncio; the blocking one may block this thread, as the server runs in its own."""
    return request.param


@pytest.fixture
async def client(client_class: Any, address: str) -> Any:
    client = client_class(address)
    yield client
    await finished(client.close())


async def finished(result: Any) -> Any:
    """What either client gives."""
    return await result if inspect.isawaitable(result) else result


async def pieces(stream: Any) -> list[str]:
    return [piece async for piece in stream] if hasattr(stream, "__aiter__") else list(stream)


async def next_piece(stream: Any) -> str:
    return str(await anext(stream) if hasattr(stream, "__anext__") else next(stream))


def detailed_status(code: grpc.StatusCode) -> status_pb2.Status:
    """A status as the platform sends it, with every detail."""
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="auricle.dev", metadata={"limit": "8"})
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field="messages[0]", description="too long")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    status = status_pb2.Status(code=code.value[0], message="the queue is full")
    for detail in (info, bad_request, retry):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def test_an_answer_has_text_usage_and_what_was_heard(client: Any) -> None:
    answer = await finished(client.chat([AUDIO, TEXT]))
    assert str(answer) == "Hello, wörld."
    assert (answer.finish_reason, answer.model) == ("stop", "auricle-test")
    assert answer.heard[0].windows[0].content_sha256 == "01" * 32
    assert answer.usage.timings[1] == ServiceTiming("encoder", 40.5, 39.5)
    assert (answer.usage.audio_tokens, answer.usage.first_token_ms, answer.usage.total_ms) == (105, 80.5, 240.25)


async def test_every_kind_of_audio_arrives_as_the_contract_says(
    client: Any, assistant: Assistant, tmp_path: Path
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF")
    await finished(
        client.chat(
            [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "audio", "audio": path},
                        {"type": "audio", "audio_url": str(path)},
                        {"type": "audio", "audio": np.array([0.5], np.float32), "sampling_rate": 8000},
                        {"type": "audio", "audio": np.array([7], np.int16)},
                        {"type": "audio", "audio": Audio("audios/a1")},
                        TEXT,
                    ],
                },
            ],
            max_output_tokens=9,
            stop="end",
        )
    )
    request = assistant.requests[0]
    assert [m.role for m in request.messages] == [generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_USER]
    file, url, floats, ints, upload, text = request.messages[1].content
    assert file.audio.data == url.audio.data == b"RIFF"
    assert floats.audio.data == np.array([0.5], "<f4").tobytes()
    assert floats.audio.raw_pcm.sample_rate_hz == 8000
    assert ints.audio.data == b"\x07\x00"
    assert ints.audio.raw_pcm.sample_format == audio_pb2.SAMPLE_FORMAT_S16LE
    assert upload.audio.name == "audios/a1"
    assert text.text == "What is said?"
    assert (request.config.max_output_tokens, list(request.config.stop)) == (9, ["end"])


async def test_wrong_arguments_never_reach_the_server(client: Any, assistant: Assistant) -> None:
    bad = [{"type": "audio", "audio": np.array([np.nan])}]
    for call in (client.chat, lambda conversation: pieces(client.stream_chat(conversation))):
        with pytest.raises(ValueError, match="NaN"):
            await finished(call(bad))
    with pytest.raises(TypeError, match="unknown generation option"):
        await finished(client.chat("x", max_tokens=3))
    assert not assistant.calls


async def test_a_stream_gives_pieces_and_then_the_answer(client: Any, assistant: Assistant) -> None:
    stream = client.stream_chat([AUDIO], temperature=0.5)
    with pytest.raises(RuntimeError, match="read to its end"):
        _ = stream.answer
    assert await pieces(stream) == ["Hello", ", ", "wörld", "."]
    assert stream.answer.text == "Hello, wörld."
    assert stream.answer.usage.output_tokens == 12
    assert await pieces(stream) == []
    assert assistant.requests[0].chat.config.temperature == 0.5


async def test_leaving_a_stream_early_cancels_the_work_on_the_server(client: Any, assistant: Assistant) -> None:
    assistant.hang = True
    stream = client.stream_chat("x")
    if hasattr(stream, "__aenter__"):
        async with stream:
            assert await next_piece(stream) == "Hello"
    else:
        with stream:
            assert await next_piece(stream) == "Hello"
    assert await asyncio.to_thread(assistant.cancelled.wait, 30)
    assert await pieces(stream) == []


async def test_a_stream_that_is_dropped_is_cancelled_too(client: Any, assistant: Assistant) -> None:
    assistant.hang = True
    stream = client.stream_chat("x")
    assert await next_piece(stream) == "Hello"
    del stream
    assert await asyncio.to_thread(assistant.cancelled.wait, 30)


async def test_a_stream_without_its_end_is_an_error(client: Any, assistant: Assistant) -> None:
    assistant.summary = False
    with pytest.raises(auricle.InternalError, match="broke off"):
        await pieces(client.stream_chat("x"))


async def test_an_error_in_the_middle_of_a_stream_comes_after_its_pieces(client: Any, assistant: Assistant) -> None:
    assistant.errors = deque([None, detailed_status(grpc.StatusCode.RESOURCE_EXHAUSTED)])
    stream = client.stream_chat("x")
    assert [await next_piece(stream) for _ in range(4)] == ["Hello", ", ", "wörld", "."]
    with pytest.raises(auricle.ResourceExhaustedError, match="the queue is full"):
        await next_piece(stream)


async def test_closing_a_client_ends_its_questions_and_no_tasks(
    client_class: Any, address: str, assistant: Assistant
) -> None:
    assistant.hang = True
    client = client_class(address)
    ask = client.chat("x") if client_class is AsyncClient else asyncio.to_thread(client.chat, "x")
    task = asyncio.create_task(ask)
    assert await asyncio.to_thread(assistant.called.wait, 30)
    await finished(client.close())
    with pytest.raises(auricle.CancelledError):
        await task


async def test_a_cancelled_task_cancels_its_call(address: str, assistant: Assistant) -> None:
    assistant.hang = True
    async with AsyncClient(address) as client:
        task = asyncio.create_task(client.chat("x"))
        assert await asyncio.to_thread(assistant.called.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(assistant.cancelled.wait, 30)


@pytest.mark.parametrize("code", [code for code in CODES if code is not grpc.StatusCode.UNAVAILABLE])
async def test_every_code_becomes_its_error_with_all_details_and_is_not_tried_again(
    client: Any, assistant: Assistant, code: grpc.StatusCode
) -> None:
    assistant.errors.append(detailed_status(code))
    with pytest.raises(AuricleError) as caught:
        await finished(client.chat("x"))
    error = caught.value
    assert error.code is code
    assert error.request_id == assistant.calls[0][1]["x-request-id"]
    assert len(assistant.calls) == 1
    assert str(error) == "the queue is full"
    assert (error.reason, error.metadata) == ("QUEUE_FULL", {"limit": "8"})
    assert [(v.field, v.description) for v in error.field_violations] == [("messages[0]", "too long")]
    assert error.retry_after_seconds == 1.5


async def test_an_error_without_details_has_the_reason_of_its_code(client: Any, assistant: Assistant) -> None:
    assistant.errors.append(status_pb2.Status(code=grpc.StatusCode.PERMISSION_DENIED.value[0], message="not you"))
    with pytest.raises(auricle.PermissionDeniedError, match="not you") as caught:
        await finished(client.model())
    assert caught.value.reason == "PERMISSION_DENIED"
    assert caught.value.retry_after_seconds is None


async def test_a_busy_server_is_asked_again_even_with_a_large_recording(client: Any, assistant: Assistant) -> None:
    assistant.errors = deque([BUSY, BUSY])
    recording = {"type": "audio", "audio": bytes(20 * 2**20)}
    assert (await finished(client.chat([recording]))).text == "Hello, wörld."
    assert assistant.methods == ["Chat"] * 3
    assert len({metadata["x-request-id"] for _, metadata in assistant.calls}) == 1


async def test_a_stream_is_asked_for_again_too(client: Any, assistant: Assistant) -> None:
    assistant.errors = deque([BUSY])
    assert await pieces(client.stream_chat("x")) == ["Hello", ", ", "wörld", "."]


@pytest.mark.parametrize("method", ["chat", "upload"])
async def test_a_server_that_starts_late_is_found(client_class: Any, assistant: Assistant, method: str) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    stop = threading.Event()

    def serve_late() -> None:
        time.sleep(0.2)
        with serving(assistant, port):
            stop.wait(60)

    server = threading.Thread(target=serve_late)
    server.start()
    client = client_class(f"localhost:{port}")
    try:
        argument: Any = "x" if method == "chat" else b"RIFF"
        await finished(getattr(client, method)(argument))
        assert len(assistant.calls) == 1
    finally:
        stop.set()
        server.join()
        await finished(client.close())


def test_a_server_that_never_comes_is_given_up_and_named() -> None:
    start = time.monotonic()
    with Client("localhost:1") as client, pytest.raises(auricle.UnavailableError, match="cannot reach localhost:1: "):
        client.chat("x")
    assert time.monotonic() - start < 30


async def test_no_call_outlives_its_deadline(client_class: Any, address: str, assistant: Assistant) -> None:
    assistant.hang = True
    client = client_class(address, timeout_seconds=0.3)
    start = time.monotonic()
    with pytest.raises(auricle.DeadlineExceededError, match="did not answer in time"):
        await finished(client.chat("x"))
    with pytest.raises(auricle.DeadlineExceededError):
        await finished(client.model(timeout_seconds=0.1))
    assert time.monotonic() - start < 30
    with pytest.raises(ValueError, match="timeout_seconds"):
        await finished(client.chat("x", timeout_seconds=-1))
    await finished(client.close())


async def test_the_api_key_and_the_sdk_are_named_in_the_metadata(
    client_class: Any, address: str, assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURICLE_API_KEY", "key-from-environment")
    for key, sent in (("key-given", "Bearer key-given"), (None, "Bearer key-from-environment")):
        client = client_class(address, api_key=key)
        await finished(client.model())
        assert assistant.calls[-1][1]["authorization"] == sent
        assert f"auricle-python/{auricle.__version__}" in assistant.calls[-1][1]["user-agent"]
        await finished(client.close())


async def test_without_a_key_none_is_sent(client: Any, assistant: Assistant) -> None:
    await finished(client.model())
    assert "authorization" not in assistant.calls[0][1]


async def test_requests_beyond_the_message_limit_are_refused(client_class: Any, address: str) -> None:
    client = client_class(address, max_message_bytes=2**20)
    with pytest.raises(auricle.ResourceExhaustedError, match="larger than max"):
        await finished(client.chat([{"type": "audio", "audio": bytes(2**21)}]))
    await finished(client.close())


async def test_the_model_tells_what_it_accepts(client: Any, assistant: Assistant) -> None:
    assistant.services["encoder"] = False
    model = await finished(client.model())
    assert (model.model, model.context_tokens, model.ready) == ("auricle-test", 2048, False)
    assert [s.service for s in model.services if not s.ready] == ["encoder"]


async def test_recordings_are_deleted_by_name(client: Any, assistant: Assistant) -> None:
    await finished(client.delete_audio("audios/a1"))
    await finished(client.delete_audio(Audio("audios/a2")))
    assert [request.name for request in assistant.requests] == ["audios/a1", "audios/a2"]


async def test_blocking_clients_may_be_shared_by_threads(address: str) -> None:
    with Client(address) as client:
        answers = await asyncio.gather(*(asyncio.to_thread(client.chat, "x") for _ in range(16)))
    assert {str(answer) for answer in answers} == {"Hello, wörld."}


def test_an_asyncio_client_may_be_made_before_its_loop(address: str) -> None:
    client = AsyncClient(address)

    async def ask() -> str:
        async with client:
            return str(await client.chat([{"type": "audio", "audio": io.BytesIO(b"RIFF").getvalue()}]))

    assert asyncio.run(ask()) == "Hello, wörld."
