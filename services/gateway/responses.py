"""Answers and recordings as the contract tells them."""

from auricle.v1 import assistant_pb2
from services.gateway.resumable import UploadProgress
from services.gateway.stored_audio import StoredAudio
from services.pipeline.hearing import HeardAudio
from services.pipeline.pipeline import Answer


def chat_response(answer: Answer) -> assistant_pb2.ChatResponse:
    """A whole answer with what was heard and used."""
    return assistant_pb2.ChatResponse(
        text=answer.text,
        finish_reason=answer.completion.finish_reason,
        heard=[_heard(audio) for audio in answer.heard],
        usage=_usage(answer),
        model=answer.model,
    )


def _heard(audio: HeardAudio) -> assistant_pb2.HeardAudio:
    return assistant_pb2.HeardAudio(
        received_seconds=audio.summary.received_seconds,
        heard_seconds=audio.summary.heard_seconds,
        windows=[heard.window for heard in audio.windows],
        warnings=[f"{warning.at_seconds:.2f} s: {warning.message}" for warning in audio.summary.warnings],
    )


def _usage(answer: Answer) -> assistant_pb2.Usage:
    return assistant_pb2.Usage(
        audio_received_seconds=sum(audio.summary.received_seconds for audio in answer.heard),
        audio_heard_seconds=sum(audio.summary.heard_seconds for audio in answer.heard),
        audio_tokens=answer.audio_tokens,
        cached_tokens=answer.cached_tokens,
        prompt_tokens=answer.completion.prompt_tokens,
        output_tokens=answer.completion.output_tokens,
        timings=[
            assistant_pb2.ServiceTiming(service=stage.service, wall_ms=stage.wall_ms, compute_ms=stage.compute_ms)
            for stage in answer.clock.stages
        ],
        first_token_ms=answer.clock.first_token_ms,
        total_ms=answer.total_ms,
        cached_prompt_tokens=answer.completion.cached_prompt_tokens,
    )


def audio_resource(audio: StoredAudio) -> assistant_pb2.Audio:
    """An uploaded recording."""
    resource = assistant_pb2.Audio(
        name=audio.name, size_bytes=audio.size_bytes, content_sha256=bytes.fromhex(audio.sha256_hex)
    )
    resource.expire_time.FromDatetime(audio.expire_time)
    return resource


def upload_progress(progress: UploadProgress) -> assistant_pb2.GetUploadResponse:
    """How far an upload has come."""
    response = assistant_pb2.GetUploadResponse(received_bytes=progress.received_bytes)
    if progress.audio:
        response.audio.CopyFrom(audio_resource(progress.audio))
    response.expire_time.FromDatetime(progress.expire_time)
    return response
