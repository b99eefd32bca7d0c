"""Results as files: text, JSON, SubRip, WebVTT."""

from collections.abc import Callable

from google.protobuf import json_format

from auricle.v1 import jobs_pb2
from services.common.errors import InvalidArgument


def result_file(result: jobs_pb2.AnalysisResult, format_: "jobs_pb2.ResultFormat") -> bytes:
    """The result in a file format; empty for none.

    Raises:
        InvalidArgument: the format is unknown.
    """
    if format_ == jobs_pb2.RESULT_FORMAT_UNSPECIFIED:
        return b""
    if format_ not in _WRITERS:
        raise InvalidArgument.of_field("format", f"{format_} is none of the formats")
    return _WRITERS[format_](result).encode()


def _txt(result: jobs_pb2.AnalysisResult) -> str:
    return result.text + "\n"


def _json(result: jobs_pb2.AnalysisResult) -> str:
    return json_format.MessageToJson(result, preserving_proto_field_name=True, ensure_ascii=False) + "\n"


def _srt(result: jobs_pb2.AnalysisResult) -> str:
    return "\n".join(
        f"{number}\n{_time(cue.start_seconds, ',')} --> {_time(cue.end_seconds, ',')}\n{_caption(cue)}\n"
        for number, cue in enumerate(result.segments, 1)
    )


def _vtt(result: jobs_pb2.AnalysisResult) -> str:
    cues = (
        f"{_time(cue.start_seconds, '.')} --> {_time(cue.end_seconds, '.')}\n{_escaped(_caption(cue))}\n"
        for cue in result.segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def _caption(cue: jobs_pb2.ResultSegment) -> str:
    # An empty line would end the cue.
    text = " ".join(cue.text.split())
    return f"[{cue.label}] {text}".strip() if cue.label else text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"


_WRITERS: dict[int, Callable[[jobs_pb2.AnalysisResult], str]] = {
    jobs_pb2.RESULT_FORMAT_TXT: _txt,
    jobs_pb2.RESULT_FORMAT_JSON: _json,
    jobs_pb2.RESULT_FORMAT_SRT: _srt,
    jobs_pb2.RESULT_FORMAT_VTT: _vtt,
}
