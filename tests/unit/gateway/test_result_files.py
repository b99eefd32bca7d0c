"""Results as files that other programs read."""

import json

import pytest

from auricle.v1 import jobs_pb2
from services.common.errors import InvalidArgument
from services.gateway.result_files import result_file

pytestmark = pytest.mark.unit

RESULT = jobs_pb2.AnalysisResult(
    text="All of it.",
    segments=[
        jobs_pb2.ResultSegment(start_seconds=0, end_seconds=29.9996, text="One\n\ntwo <b> & 3"),
        jobs_pb2.ResultSegment(start_seconds=3661.5, end_seconds=3662.25, label="music"),
    ],
)


def test_text_is_the_whole() -> None:
    assert result_file(RESULT, jobs_pb2.RESULT_FORMAT_TXT) == b"All of it.\n"


def test_json_is_the_message() -> None:
    read = json.loads(result_file(RESULT, jobs_pb2.RESULT_FORMAT_JSON))
    assert read["segments"][1] == {"start_seconds": 3661.5, "end_seconds": 3662.25, "label": "music"}


def test_subrip_numbers_its_cues_and_never_breaks_one() -> None:
    assert result_file(RESULT, jobs_pb2.RESULT_FORMAT_SRT).decode() == (
        "1\n00:00:00,000 --> 00:00:30,000\nOne two <b> & 3\n\n2\n01:01:01,500 --> 01:01:02,250\n[music]\n"
    )


def test_webvtt_escapes_what_would_be_markup() -> None:
    assert result_file(RESULT, jobs_pb2.RESULT_FORMAT_VTT).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:30.000\nOne two &lt;b&gt; &amp; 3\n\n01:01:01.500 --> 01:01:02.250\n[music]\n"
    )


def test_no_format_is_no_file_and_an_unknown_one_is_refused() -> None:
    assert result_file(RESULT, jobs_pb2.RESULT_FORMAT_UNSPECIFIED) == b""
    with pytest.raises(InvalidArgument, match="format"):
        result_file(RESULT, 99)  # type: ignore[arg-type]
