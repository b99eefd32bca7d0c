"""What a job asks of each window, and how the answers become one result."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from auricle.v1 import audio_pb2, jobs_pb2
from services.pipeline.asking import Asker, is_silent, supporting, supports

Embeddings = Callable[[], Awaitable[audio_pb2.Tensor]]
Segments = Sequence[jobs_pb2.ResultSegment]

SPEECH_RATIO = 0.5
TRANSCRIBE = "Transcribe the speech."
DESCRIBE = "What can be heard in the recording?"
_MUSIC_WORDS = ("music", "song", "melody", "piano", "guitar", "violin", "flute", "trumpet", "organ", "singing", "tune")


class Task(ABC):
    """One kind of job."""

    @abstractmethod
    async def of_window(
        self, window: audio_pb2.AudioWindow, asker: Asker, embeddings: Embeddings
    ) -> jobs_pb2.ResultSegment:
        """The finding in one window; its text is empty when there is none."""

    @abstractmethod
    async def of_recording(self, findings: Segments, asker: Asker, context_tokens: int) -> tuple[Segments, str]:
        """Segments and text of the whole recording, from the findings in order."""


def task_of(job: jobs_pb2.AnalysisJob) -> Task:
    """The job's task, which the gateway has checked."""
    kind = job.task.WhichOneof("task")
    if kind == "analyze":
        return Analyze(job.task.analyze.instruction)
    if kind == "segment":
        return Segment()
    return Transcribe(job.task.transcribe.instruction or TRANSCRIBE)


class Transcribe(Task):
    """Write down what is said. The model gives no times, so a segment is a window."""

    def __init__(self, instruction: str) -> None:
        self._instruction = instruction

    async def of_window(
        self, window: audio_pb2.AudioWindow, asker: Asker, embeddings: Embeddings
    ) -> jobs_pb2.ResultSegment:
        if is_silent(window):
            return _segment(window)
        return _segment(window, await asker.ask(self._instruction, await embeddings()))

    async def of_recording(self, findings: Segments, asker: Asker, context_tokens: int) -> tuple[Segments, str]:
        spoken = [finding for finding in findings if finding.text]
        return spoken, " ".join(finding.text for finding in spoken)


class Analyze(Task):
    """Ask the instruction of every window, then let the model combine the answers in a tree that fits its context."""

    def __init__(self, instruction: str) -> None:
        self._instruction = instruction

    async def of_window(
        self, window: audio_pb2.AudioWindow, asker: Asker, embeddings: Embeddings
    ) -> jobs_pb2.ResultSegment:
        if is_silent(window):
            return _segment(window)
        answer = await asker.ask(self._instruction, await embeddings())
        segment = _segment(window, answer)
        segment.supports_answer = supports(answer)
        return segment

    async def of_recording(self, findings: Segments, asker: Asker, context_tokens: int) -> tuple[Segments, str]:
        answered = [finding for finding in findings if finding.text]
        answers = supporting([finding.text for finding in answered])
        return answered, await asker.combine(self._instruction, answers, context_tokens)


class Segment(Task):
    """Tell speech, music, sound and silence apart. Speech and silence are measured; the model names the rest."""

    async def of_window(
        self, window: audio_pb2.AudioWindow, asker: Asker, embeddings: Embeddings
    ) -> jobs_pb2.ResultSegment:
        if is_silent(window):
            return _segment(window, label="silence")
        if window.speech_ratio >= SPEECH_RATIO:
            return _segment(window, label="speech")
        answer = await asker.ask(DESCRIBE, await embeddings())
        is_music = any(word in answer.lower() for word in _MUSIC_WORDS)
        return _segment(window, answer, "music" if is_music else "sound")

    async def of_recording(self, findings: Segments, asker: Asker, context_tokens: int) -> tuple[Segments, str]:
        stretches, seconds = [], dict.fromkeys(("speech", "music", "sound", "silence"), 0.0)
        for label, run in groupby(findings, key=lambda finding: finding.label):
            members = list(run)
            texts = dict.fromkeys(member.text for member in members if member.text)
            stretch = jobs_pb2.ResultSegment(
                start_seconds=members[0].start_seconds,
                end_seconds=members[-1].end_seconds,
                label=label,
                text="; ".join(texts),
            )
            stretches.append(stretch)
            seconds[label] += sum(member.end_seconds - member.start_seconds for member in members)
        return stretches, ", ".join(f"{label} {length:.0f} s" for label, length in seconds.items() if length)


def _segment(window: audio_pb2.AudioWindow, text: str = "", label: str = "") -> jobs_pb2.ResultSegment:
    return jobs_pb2.ResultSegment(
        start_seconds=window.start_seconds,
        end_seconds=window.start_seconds + window.duration_seconds,
        text=text,
        label=label,
    )
