"""What a request for a job or a page of jobs must be, and pages of jobs."""

import uuid
from typing import Any

import pytest

from auricle.v1 import jobs_pb2
from services.common.errors import InvalidArgument
from services.gateway.job_pages import MAX_FILTER_CHARS, MAX_PAGE_SIZE, PageToken, matching
from services.gateway.job_validation import DEFAULT_TTL_SECONDS, check_create

pytestmark = pytest.mark.unit

Job = jobs_pb2.AnalysisJob


def wanted(**changes: Any) -> jobs_pb2.AnalysisJob:
    fields: dict[str, Any] = {
        "audio": jobs_pb2.JobAudio(name="audios/1"),
        "task": jobs_pb2.AnalysisTask(transcribe=jobs_pb2.TranscribeTask()),
        **changes,
    }
    return Job(**fields)


def analyze(instruction: str) -> jobs_pb2.AnalysisTask:
    return jobs_pb2.AnalysisTask(analyze=jobs_pb2.AnalyzeTask(instruction=instruction))


def ttl(seconds: int) -> dict[str, Any]:
    job = Job()
    job.ttl.FromSeconds(seconds)
    return {"ttl": job.ttl}


def test_a_job_gets_defaults_and_keeps_no_field_that_the_service_sets() -> None:
    request = jobs_pb2.CreateAnalysisJobRequest(analysis_job=wanted(name="mine", state=Job.STATE_SUCCEEDED, revision=9))
    job = check_create(request)
    assert (job.name, job.state, job.revision) == ("", 0, 0)
    assert (job.priority, job.ttl.seconds) == (jobs_pb2.JOB_PRIORITY_NORMAL, DEFAULT_TTL_SECONDS)


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (wanted(audio=None), "analysis_job.audio.name"),
        (wanted(audio=jobs_pb2.JobAudio(name="audios/1", raw_pcm={"channels": 1})), "analysis_job.audio.raw_pcm"),
        (wanted(task=None), "analysis_job.task"),
        (wanted(task=analyze("  ")), "analysis_job.task.analyze.instruction"),
        (wanted(task=analyze("x" * 2001)), "analysis_job.task.analyze.instruction"),
        (
            wanted(task=jobs_pb2.AnalysisTask(segment=jobs_pb2.SegmentTask(), config={"temperature": 9.0})),
            "analysis_job.task.config.temperature",
        ),
        (wanted(labels={"Case": "1"}), "analysis_job.labels"),
        (wanted(labels={f"k{n}": "" for n in range(33)}), "analysis_job.labels"),
        (wanted(labels={"case": "x" * 256}), "analysis_job.labels[case]"),
        (wanted(priority=77), "analysis_job.priority"),
        (wanted(**ttl(59)), "analysis_job.ttl"),
        (wanted(**ttl(90 * 86_400 + 1)), "analysis_job.ttl"),
    ],
)
def test_each_mistake_names_its_field(job: jobs_pb2.AnalysisJob, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_create(jobs_pb2.CreateAnalysisJobRequest(analysis_job=job))
    assert [violation.field for violation in raised.value.violations] == [field]


@pytest.mark.parametrize("request_id", ["7", "g" * 32, uuid.uuid4().hex + "00"])
def test_a_request_id_must_be_a_uuid(request_id: str) -> None:
    with pytest.raises(InvalidArgument, match="request_id"):
        check_create(jobs_pb2.CreateAnalysisJobRequest(analysis_job=wanted(), request_id=request_id))


JOB = wanted(state=Job.STATE_RUNNING, priority=jobs_pb2.JOB_PRIORITY_BULK, labels={"case": "7 AND 8", "team.x": "red"})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("state = RUNNING", True),
        ("state=QUEUED", False),
        ('priority = BULK AND labels.team.x = "red"', True),
        ('priority = BULK AND labels.team.x = "blue"', False),
        ("labels.team.x = red", True),
        ('labels.case = "7 AND 8"', True),
        ("labels.none = x", False),
    ],
)
def test_filters_mean_what_they_say(text: str, matches: bool) -> None:
    assert matching(text)(JOB) is matches


@pytest.mark.parametrize(
    "text",
    [
        "state",
        "state = FLYING",
        "priority = HIGH",
        "colour = red",
        "state = RUNNING OR state = QUEUED",
        "state = RUNNING AND",
        'labels.x = "a',
        "x" * (MAX_FILTER_CHARS + 1),
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        matching(text)
    assert raised.value.reason == "FILTER_INVALID"


def page(token: str = "", size: int = 0, text: str = "", tenant: str = "ann") -> PageToken:
    return PageToken.read(jobs_pb2.ListAnalysisJobsRequest(page_token=token, page_size=size, filter=text), tenant)


def test_a_page_token_leads_on() -> None:
    token = page(text="state = RUNNING").next((5, "ab"))
    assert page(token, text="state = RUNNING", size=3).after == (5, "ab")


@pytest.mark.parametrize("end", ["A", "=", "x" * 10, "é"])
def test_an_edited_page_token_is_refused(end: str) -> None:
    token = page().next((5, "ab"))
    for edited in (end + token[len(end) :], token[: -len(end)] + end, token[:-7], "bnVsbA==", "e30=", "W10="):
        if edited == token:
            continue
        with pytest.raises(InvalidArgument) as raised:
            page(edited)
        assert raised.value.reason == "PAGE_TOKEN_INVALID"


def test_a_page_token_is_good_for_its_filter_and_tenant_only() -> None:
    token = page(text="state = RUNNING").next((5, "ab"))
    for other in ({"text": ""}, {"text": "state = RUNNING", "tenant": "ben"}):
        with pytest.raises(InvalidArgument):
            page(token, **other)  # type: ignore[arg-type]


def test_page_sizes_are_lowered_and_never_negative() -> None:
    assert page(size=10_000).page_size == MAX_PAGE_SIZE
    with pytest.raises(InvalidArgument, match="page_size"):
        page(size=-1)
