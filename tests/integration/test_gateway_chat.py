"""Chats on real wires: what reaches the decoder, what comes back, what is cancelled and what is bounded."""

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import pytest

from auricle.v1 import assistant_pb2, audio_pb2, generation_pb2, preprocess_pb2
from tests.platform_fakes import (
    FINGERPRINT,
    Platform,
    audio,
    mark,
    named,
    recording,
    running_platform,
    text,
    until,
    user,
)

pytestmark = pytest.mark.integration

SYSTEM, ASSISTANT = generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_ASSISTANT


def stream(platform: Platform, *messages: assistant_pb2.Message) -> grpc.aio.UnaryStreamCall:
    request = assistant_pb2.StreamChatRequest(chat=assistant_pb2.ChatRequest(messages=messages))
    return platform.stub.StreamChat(request, timeout=20)


async def when(condition: bool) -> bool:
    return condition


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([user(audio(recording("a")))], f"user: <{mark('a')}x25>"),
        ([user(audio(recording("a")), text("what?"))], f"user: <{mark('a')}x25> what?"),
        ([user(text("what?"), audio(recording("a", 2)))], f"user: what? <{mark('a')}x50>"),
        (
            [user(audio(recording("a")), text("or"), audio(recording("b", 2)), audio(recording("c")))],
            f"user: <{mark('a')}x25> or <{mark('b')}x50> <{mark('c')}x25>",
        ),
        (
            [
                assistant_pb2.Message(role=SYSTEM, content=[text("be-brief")]),
                user(audio(recording("a"))),
                assistant_pb2.Message(role=ASSISTANT, content=[text("a-dog")]),
                user(text("and"), audio(recording("b"))),
            ],
            f"system: be-brief user: <{mark('a')}x25> assistant: a-dog user: and <{mark('b')}x25>",
        ),
        ([user(text("hello"))], "user: hello"),
        (
            [user(audio(recording("long", 30, 30, 5)))],
            f"user: <{mark('long', 0)}x750+{mark('long', 1)}x750+{mark('long', 2)}x125>",
        ),
    ],
    ids=["audio alone", "then text", "text first", "several clips", "several turns", "text alone", "several windows"],
)
async def test_the_decoder_gets_everything_in_the_order_meant(
    messages: list[assistant_pb2.Message], prompt: str
) -> None:
    async with running_platform() as platform:
        answer = await platform.chat(*messages)
        assert answer.text.strip() == prompt
        pieces = [response async for response in stream(platform, *messages)]
        assert "".join(piece.text_delta for piece in pieces).strip() == prompt
        assert [piece.HasField("summary") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert pieces[-1].summary.text.strip() == prompt


async def test_usage_and_heard_tell_what_was_done() -> None:
    damaged = json.dumps({"content": "b", "windows": [2.0], "damaged_seconds": 0.5}).encode()
    async with running_platform() as platform:
        answer = await platform.chat(user(audio(recording("a", 1, 2)), audio(damaged), text("what?")))
    usage = answer.usage
    assert (usage.audio_received_seconds, usage.audio_heard_seconds) == (5.5, 5.0)
    assert (usage.audio_tokens, usage.cached_tokens, usage.prompt_tokens, usage.output_tokens) == (125, 0, 100, 4)
    assert [t.service for t in usage.timings] == ["preprocess", "encoder", "decoder"]
    assert [t.compute_ms for t in usage.timings] == [4.0, 9.0, 9.0]
    assert all(0 < t.wall_ms < usage.total_ms for t in usage.timings)
    assert 0 < usage.first_token_ms <= usage.total_ms
    assert (answer.model, answer.finish_reason) == ("toy", generation_pb2.FINISH_REASON_STOP)
    first, second = answer.heard
    assert [(w.index, w.duration_seconds) for w in first.windows] == [(0, 1.0), (1, 2.0)]
    assert (second.received_seconds, second.heard_seconds) == (2.5, 2.0)
    assert list(second.warnings) == ["1.50 s: a frame is broken"]
    assert not first.warnings


async def test_the_config_and_the_description_of_samples_travel_unchanged() -> None:
    config = generation_pb2.GenerationConfig(max_output_tokens=7, temperature=0.5, seed=3, stop=["x"])
    raw_pcm = audio_pb2.RawPcm(sample_rate_hz=8000, channels=2, sample_format=audio_pb2.SAMPLE_FORMAT_S16LE)
    source = assistant_pb2.AudioSource(data=recording("a"), raw_pcm=raw_pcm)
    message = user(assistant_pb2.ContentPart(audio=source))
    async with running_platform() as platform:
        await platform.stub.Chat(assistant_pb2.ChatRequest(messages=[message], config=config), timeout=20)
        assert platform.decoder.requests[0].config == config
        assert platform.preprocess.configs == [preprocess_pb2.PreprocessConfig(mel_bins=80, raw_pcm=raw_pcm)]


async def test_text_streams_while_the_decoder_still_works() -> None:
    async with running_platform() as platform:
        platform.decoder.endless = True
        call = stream(platform, user(text("hello")))
        pieces = [(await anext(aiter(call))).text_delta for _ in range(5)]
        assert pieces == ["user: ", "hello ", "more ", "more ", "more "]
        call.cancel()


async def test_leaving_a_stream_frees_the_decoder() -> None:
    async with running_platform() as platform:
        platform.decoder.endless = True
        call = stream(platform, user(text("hello")))
        await anext(aiter(call))
        call.cancel()
        await asyncio.wait_for(platform.decoder.cancelled.wait(), 5)


async def test_leaving_a_call_frees_the_decoder() -> None:
    async with running_platform() as platform:
        platform.decoder.endless = True
        call = asyncio.ensure_future(platform.chat(user(text("hello"))))
        await until(lambda: when(bool(platform.decoder.requests)))
        call.cancel()
        await asyncio.wait_for(platform.decoder.cancelled.wait(), 5)


async def test_leaving_while_audio_is_heard_frees_preprocess_and_encoder() -> None:
    async with running_platform() as platform:
        platform.preprocess.stall = "a"
        platform.encoder.hold = asyncio.Event()
        call = asyncio.ensure_future(platform.chat(user(audio(recording("a")))))
        await asyncio.wait_for(platform.preprocess.stalled.wait(), 5)
        await until(lambda: when(platform.encoder.running == 1))
        call.cancel()
        await asyncio.wait_for(platform.preprocess.cancelled.wait(), 5)
        await until(lambda: when(platform.encoder.running == 0))


async def test_chats_past_the_limit_are_refused_with_a_time_to_retry() -> None:
    async with running_platform(max_concurrent_chats=2) as platform:
        platform.decoder.endless = True
        calls = [stream(platform, user(text("hello"))) for _ in range(2)]
        for call in calls:
            await anext(aiter(call))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await platform.chat(user(text("hello")))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        await asyncio.wait_for(platform.decoder.cancelled.wait(), 5)
        platform.decoder.endless = False
        assert (await platform.chat(user(text("hello")))).text == "user: hello "
        calls[1].cancel()


async def test_many_chats_at_once_are_answered_each_with_its_own() -> None:
    async with running_platform() as platform:
        questions = [user(audio(recording(str(i))), text(str(i))) for i in range(20)]
        answers = await asyncio.gather(*map(platform.chat, questions))
    assert [answer.text.strip() for answer in answers] == [f"user: <{mark(str(i))}x25> {i}" for i in range(20)]


async def test_the_model_is_told_with_its_limits() -> None:
    async with running_platform(max_audio_parts=5, max_inline_bytes=1000) as platform:
        model = await platform.model()
    assert (model.model, model.fingerprint, model.context_tokens) == ("toy", FINGERPRINT, 2048)
    assert (model.max_audio_parts, model.max_audio_bytes) == (5, 1000)
    assert model.ready
    assert {s.service: s.ready for s in model.services} == {"preprocess": True, "encoder": True, "decoder": True}


async def test_a_named_recording_larger_than_inline_ones_may_be_is_streamed() -> None:
    async with running_platform(max_inline_bytes=1000) as platform:
        data = recording("a") + b" " * 3_000_000

        async def upload() -> AsyncIterator[assistant_pb2.UploadAudioRequest]:
            yield assistant_pb2.UploadAudioRequest(config=assistant_pb2.UploadAudioConfig())
            for start in range(0, len(data), 2**20):
                yield assistant_pb2.UploadAudioRequest(chunk=data[start : start + 2**20])

        stored = (await platform.stub.UploadAudio(upload(), timeout=20)).audio
        answer = await platform.chat(user(named(stored.name), text("what?")))
        assert answer.text.strip() == f"user: <{mark('a')}x25> what?"
        chunks = platform.preprocess.seen[0].chunk_bytes
        assert sum(chunks) == len(data)
        assert max(chunks) <= 2**18
