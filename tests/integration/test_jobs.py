"""Jobs from the SDK through a real gateway, Redis and worker to a result, with cheap services behind."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from auricle import (
    AlreadyExistsError,
    AsyncClient,
    Audio,
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    Job,
    NotFoundError,
    ResourceExhaustedError,
)
from services.jobstore.dispatch import celery_app
from tests.job_platform import JobPlatform, eventually
from tests.platform_fakes import mark, recording

pytestmark = pytest.mark.integration

# A job that goes on until somebody stops it.
SLOW: dict[str, Any] = {"task": "analyze", "instruction": "[wait 30]"}
PATIENCE_SECONDS = 30.0


def finished(job: Job) -> Job:
    return job.wait(timeout_seconds=PATIENCE_SECONDS)


def said(content: str, index: int, seconds: int, question: str = "Transcribe the speech.") -> str:
    """What the decoder answers about a window."""
    return f"user: <{mark(content, index)}x{seconds * 25}> {question}"


def test_the_status_names_the_workers(jobs_client: Client) -> None:
    status = {service.service: service for service in jobs_client.model().services}
    assert (status["workers"].ready, status["workers"].detail) == (True, "1 worker")


def test_a_transcript_has_every_window_in_order_with_its_time(jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(recording("transcript", 30, 20, 5)))
    assert (job.state, job.task, job.progress.finished_windows) == ("succeeded", "transcribe", 3)
    result = job.result()
    assert [(s.start_seconds, s.end_seconds, s.text) for s in result.segments] == [
        (0, 30, said("transcript", 0, 30)),
        (30, 50, said("transcript", 1, 20)),
        (50, 55, said("transcript", 2, 5)),
    ]
    assert result.text == " ".join(segment.text for segment in result.segments)
    assert (result.received_seconds, result.heard_seconds, result.model) == (55, 55, "toy")
    assert result.output_tokens == 9


def test_a_result_comes_in_every_file_format(jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(recording("formats", 30, 5)))
    first, second = said("formats", 0, 30), said("formats", 1, 5)
    assert job.result("txt").file == f"{first} {second}\n"
    assert json.loads(job.result("json").file or "")["segments"][1]["text"] == second
    assert job.result("srt").file == (
        f"1\n00:00:00,000 --> 00:00:30,000\n{first}\n\n2\n00:00:30,000 --> 00:00:35,000\n{second}\n"
    )
    assert (job.result("vtt").file or "").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:30.000\nuser: &lt;")
    with pytest.raises(ValueError, match="format"):
        job.result("doc")


def test_an_analysis_asks_every_window_and_combines_what_supports_the_answer(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("analysis", 30, 10), task="analyze", instruction="Who speaks?")
    result = finished(job).result()
    answers = [said("analysis", 0, 30, "Who speaks?"), said("analysis", 1, 10, "Who speaks?")]
    assert [segment.text for segment in result.segments] == answers
    assert all(segment.supports_answer for segment in result.segments)
    assert f"1. {answers[0]}" in result.text
    assert result.text.endswith("Combine them into one answer to: Who speaks?")


def test_segments_tell_speech_silence_and_the_rest_apart_and_join_neighbors(jobs_client: Client) -> None:
    toy = recording("timeline", 30, 20, 10, 5, spoken=[0, 1], silent=[2])
    result = finished(jobs_client.jobs.create(toy, task="segment")).result()
    assert [(s.start_seconds, s.end_seconds, s.label) for s in result.segments] == [
        (0, 50, "speech"),
        (50, 60, "silence"),
        (60, 65, "sound"),
    ]
    assert result.text == "speech 50 s, sound 5 s, silence 10 s"


def test_watching_tells_progress_and_each_finding_once(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("watched", *[10] * 6, pause_seconds=0.1))
    updates = list(job.watch(timeout_seconds=PATIENCE_SECONDS))
    assert updates[-1].job.state == "succeeded"
    done = [update.job.progress.finished_seconds for update in updates]
    assert done == sorted(done)
    assert len(updates) > 3
    starts = [segment.start_seconds for update in updates for segment in update.segments]
    assert sorted(starts) == [0, 10, 20, 30, 40, 50]
    assert [update.job.state for update in job.watch()] == ["succeeded"]


def test_a_watch_that_has_no_time_left_says_so(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("endless", 10), **SLOW)
    with pytest.raises(DeadlineExceededError):
        job.wait(timeout_seconds=0.3)
    job.cancel()


def test_a_question_about_a_finished_job_is_answered_from_its_embeddings(
    jobs_client: Client, job_platform: JobPlatform
) -> None:
    job = finished(jobs_client.jobs.create(recording("asked", 30, 10, 5, silent=[2])))
    encoded = job_platform.worked_on("encode")
    result = job.ask("Is there a dog?")
    assert [(s.start_seconds, s.end_seconds, s.text) for s in result.segments] == [
        (0, 30, said("asked", 0, 30, "Is there a dog?")),
        (30, 40, said("asked", 1, 10, "Is there a dog?")),
    ]
    assert result.text.endswith("Combine them into one answer to: Is there a dog?")
    assert job_platform.worked_on("encode") == encoded


def test_a_question_needs_words_and_a_result(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("early question", 10), **SLOW)
    with pytest.raises(FailedPreconditionError) as raised:
        job.ask("What?")
    assert raised.value.reason == "JOB_NOT_FINISHED"
    with pytest.raises(InvalidArgumentError, match="question"):
        job.ask(" ")
    job.cancel()


def test_a_cancel_in_the_middle_takes_effect_within_a_window(jobs_client: Client, job_platform: JobPlatform) -> None:
    job = jobs_client.jobs.create(recording("canceled", *[10] * 8), **SLOW)
    eventually(lambda: job.refresh().progress.encoded_windows >= 4)
    canceled = job.cancel()
    assert canceled.state == "canceled"
    assert canceled.expire_time is not None
    assert job.cancel().revision == canceled.revision
    # The worker's hands are free again for the next.
    assert finished(jobs_client.jobs.create(recording("after the cancel", 5))).state == "succeeded"
    assert job.refresh().progress.finished_windows == 0
    with pytest.raises(FailedPreconditionError) as raised:
        job.result()
    assert raised.value.reason == "JOB_HAS_NO_RESULT"


def test_a_result_asked_for_too_early_is_refused_with_when_to_try_again(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("early", 10), **SLOW)
    with pytest.raises(FailedPreconditionError) as raised:
        job.result()
    assert raised.value.reason == "JOB_NOT_FINISHED"
    assert raised.value.retry_after_seconds
    job.cancel()


def test_a_finished_job_cannot_be_canceled(jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(recording("done", 5)))
    with pytest.raises(FailedPreconditionError) as raised:
        job.cancel()
    assert raised.value.reason == "JOB_FINISHED"


def kept(job_platform: JobPlatform, job: Job) -> list[Path]:
    """What the store holds of a job."""
    job_id = job.name.removeprefix("analysisJobs/")
    return [path for path in job_platform.store.rglob("*") if path.is_file() and job_id in str(path)]


def test_a_removed_job_leaves_nothing_behind(jobs_client: Client, job_platform: JobPlatform) -> None:
    job = finished(jobs_client.jobs.create(recording("removed", 5)))
    assert {path.parent.name for path in kept(job_platform, job)} >= {"result", job.name.removeprefix("analysisJobs/")}
    job.delete()
    assert kept(job_platform, job) == []
    for attempt in (job.refresh, job.result, job.cancel, job.delete):
        with pytest.raises(NotFoundError):
            attempt()


def test_a_running_job_that_is_removed_leaves_nothing_behind(jobs_client: Client, job_platform: JobPlatform) -> None:
    job = jobs_client.jobs.create(recording("removed while it runs", *[10] * 20, pause_seconds=0.05))
    eventually(lambda: job.refresh().progress.windows > 3)
    job.delete()
    eventually(lambda: not kept(job_platform, job))
    time.sleep(1)
    assert kept(job_platform, job) == []


def test_jobs_are_removed_when_their_time_is_over(job_platform: JobPlatform, jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(recording("expiring", 5), ttl=60))
    assert job.end_time
    assert job.expire_time
    assert (job.expire_time - job.end_time).total_seconds() == 60
    redis = celery_app(job_platform.redis_url).connection().default_channel.client
    # The minute passes for the record.
    redis.zadd("auricle:jobs:expire", {job.name.removeprefix("analysisJobs/"): 0})
    eventually(lambda: not kept(job_platform, job))
    with pytest.raises(NotFoundError):
        job.refresh()


def test_the_uploaded_copy_does_not_outlive_the_call(jobs_client: Client, job_platform: JobPlatform) -> None:
    jobs_client.jobs.create(recording("copied", 5), validate_only=True)
    eventually(lambda: not list(job_platform.store.glob("audios/ann/*.json")))


def test_another_tenant_finds_nothing(jobs_client: Client, job_platform: JobPlatform) -> None:
    job = finished(jobs_client.jobs.create(recording("private", 5), labels={"case": "private"}))
    with job_platform.client("ben") as other:
        for attempt in (
            other.jobs.get,
            other.jobs.result,
            other.jobs.cancel,
            other.jobs.delete,
            other.jobs.wait,
            lambda job: other.jobs.ask(job, "What?"),
        ):
            with pytest.raises(NotFoundError):
                attempt(job)
        assert list(other.jobs.list('labels.case = "private"')) == []
    assert [found.name for found in jobs_client.jobs.list('labels.case = "private"')] == [job.name]


def test_the_same_request_makes_the_same_job_even_when_its_upload_is_gone(jobs_client: Client) -> None:
    request_id = str(uuid.uuid4())
    upload = jobs_client.upload(recording("twice", 5))
    first = jobs_client.jobs.create(upload, request_id=request_id)
    jobs_client.delete_audio(upload)
    assert jobs_client.jobs.create(upload, request_id=request_id.upper()).name == first.name
    with pytest.raises(AlreadyExistsError) as raised:
        jobs_client.jobs.create(upload, request_id=request_id, task="segment")
    assert raised.value.reason == "REQUEST_ID_REUSED"
    assert finished(first).state == "succeeded"


def test_a_recording_that_is_not_there_is_not_found(jobs_client: Client) -> None:
    with pytest.raises(NotFoundError) as raised:
        jobs_client.jobs.create(Audio("audios/" + "0" * 32))
    assert raised.value.reason == "AUDIO_NOT_FOUND"


@pytest.mark.parametrize(
    ("audio", "webhook_url", "field"),
    [
        ("s3://bucket/key", None, "analysis_job.audio.uri"),
        ("https://example.com/a.wav", None, "analysis_job.audio.uri"),
        (recording("w", 10), "https://example.com/hook", "analysis_job.webhook.url"),
    ],
)
def test_addresses_are_refused_until_the_platform_is_told_of_them(
    jobs_client: Client, audio: bytes | str, webhook_url: str | None, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        jobs_client.jobs.create(audio, webhook_url=webhook_url)
    assert [violation.field for violation in raised.value.field_violations] == [field]


def test_silence_throughout_is_no_text_and_no_work(jobs_client: Client, job_platform: JobPlatform) -> None:
    before = job_platform.worked_on("encode"), job_platform.worked_on("decode")
    job = finished(jobs_client.jobs.create(recording("silence", 30, 30, silent=[0, 1])))
    assert (job.state, job.result().text, job.result().segments) == ("succeeded", "", ())
    assert job.result().heard_seconds == 60
    timeline = finished(jobs_client.jobs.create(recording("silence", 30, 30, silent=[0, 1]), task="segment")).result()
    assert [(s.end_seconds, s.label) for s in timeline.segments] == [(60, "silence")]
    assert (job_platform.worked_on("encode"), job_platform.worked_on("decode")) == before


def test_a_damaged_recording_tells_where(jobs_client: Client) -> None:
    result = finished(jobs_client.jobs.create(recording("damaged", 10, damaged_seconds=0.5))).result()
    assert result.warnings == ("1.50 s: a frame is broken",)
    assert (result.received_seconds, result.heard_seconds) == (10.5, 10)


def test_a_recording_that_breaks_in_the_middle_keeps_what_was_heard_and_names_the_hole(jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(recording("broken", 10, 10, 10, broken_at=2)))
    result = job.result()
    assert job.state == "succeeded"
    assert [segment.text for segment in result.segments] == [said("broken", 0, 10), said("broken", 1, 10)]
    assert result.warnings == ("20.00 s: nothing after this could be read: no frame can be read",)


def test_a_recording_that_is_none_fails_with_the_reason(jobs_client: Client) -> None:
    job = finished(jobs_client.jobs.create(b"no recording at all"))
    assert job.state == "failed"
    assert job.error
    assert (job.error.reason, job.error.metadata["field"]) == ("AUDIO_FORMAT_UNSUPPORTED", "analysis_job.audio")
    with pytest.raises(FailedPreconditionError):
        job.result()


def test_a_window_that_is_refused_is_set_aside_and_named(jobs_client: Client) -> None:
    instruction = f"[refuse {mark('poison', 1)}] Describe."
    job = jobs_client.jobs.create(recording("poison", 10, 20, 5), task="transcribe", instruction=instruction)
    job = finished(job)
    assert (job.state, job.progress.failed_windows, job.progress.finished_windows) == ("succeeded", 1, 2)
    failed = job.result().failed_windows[0]
    assert (failed.index, failed.start_seconds, failed.duration_seconds) == (1, 10, 20)
    assert failed.error.reason == "POISON"
    assert job.result().heard_seconds == 15


def test_a_job_none_of_whose_windows_has_a_result_fails(jobs_client: Client) -> None:
    job = jobs_client.jobs.create(recording("all poison", 10), instruction=f"[refuse {mark('all poison')}]")
    job = finished(job)
    assert job.state == "failed"
    assert job.error
    assert (job.error.reason, job.error.metadata["first_reason"]) == ("ALL_WINDOWS_FAILED", "POISON")


def test_too_much_waiting_audio_is_refused_with_when_to_try_again(jobs_client: Client) -> None:
    # An hour may wait; until it is decoded a recording counts by its bytes.
    large = recording("large", 10).ljust(20_000_000)
    jobs = [jobs_client.jobs.create(large, **SLOW)]
    with pytest.raises(ResourceExhaustedError) as raised:
        for _ in range(2):
            jobs.append(jobs_client.jobs.create(large, **SLOW))
    assert raised.value.reason == "JOB_QUEUE_FULL"
    assert raised.value.retry_after_seconds
    for job in jobs:
        job.cancel()


def test_interactive_jobs_go_before_bulk_ones(jobs_client: Client) -> None:
    blocker = jobs_client.jobs.create(recording("blocker", *[10] * 4), **{**SLOW, "instruction": "[wait 1.5]"})
    eventually(lambda: blocker.refresh().progress.encoded_windows == 4)
    bulk = [jobs_client.jobs.create(recording(f"bulk {n}", *[5] * 8), priority="bulk") for n in range(3)]
    urgent = jobs_client.jobs.create(recording("urgent", 5), priority="interactive")
    ended = finished(urgent).end_time
    ends = [finished(job).end_time for job in bulk]
    assert ended
    assert all(end and ended < end for end in ends)


def test_jobs_are_listed_newest_first_over_pages(jobs_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle._jobs.PAGE_SIZE", 2)
    made = [jobs_client.jobs.create(recording("listed", 5), labels={"batch": "listed"}).name for _ in range(5)]
    assert [job.name for job in jobs_client.jobs.list("labels.batch = listed")] == made[::-1]


async def test_the_asyncio_client_does_the_same(job_platform: JobPlatform, jobs_client: Client) -> None:
    gateway = f"127.0.0.1:{job_platform.config.ports.gateway}"
    async with AsyncClient(gateway, api_key=job_platform.keys["ann"], timeout_seconds=30) as other:
        job = await other.jobs.create(recording("asyncio", 10, 5), labels={"from": "asyncio"})
        found = [s.text async for u in job.watch(timeout_seconds=PATIENCE_SECONDS) for s in u.segments]
        assert sorted(found) == sorted([said("asyncio", 0, 10), said("asyncio", 1, 5)])
        assert (await job.wait()).state == "succeeded"
        assert (await job.result("txt")).file == f"{said('asyncio', 0, 10)} {said('asyncio', 1, 5)}\n"
        assert (await job.ask("Why?")).segments[0].text == said("asyncio", 0, 10, "Why?")
        assert [j.name async for j in other.jobs.list('labels.from = "asyncio"')] == [job.name]
        with pytest.raises(FailedPreconditionError):
            await job.cancel()
        await job.delete()
        with pytest.raises(NotFoundError):
            await job.refresh()


def test_celerys_own_tools_see_the_worker(job_platform: JobPlatform) -> None:
    app: Celery = celery_app(job_platform.redis_url)
    inspect = app.control.inspect(timeout=5, limit=1)
    (name,) = inspect.ping()
    assert name.startswith("worker-0@")
    queues = {queue["name"] for queue in inspect.active_queues()[name]}
    assert queues == {"prepare", "encode", "decode", "upkeep"}
    assert inspect.stats()[name]["prefetch_count"] == inspect.stats()[name]["pool"]["max-concurrency"]
