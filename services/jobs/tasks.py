"""What a job asks of each window, and how the answers become one result."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from auricle.v1 import audio_pb2, jobs_pb2
from services.jobs.ask import Asker

Embeddings = Callable[[], Awaitable[audio_pb2.Tensor]]
Segments = Sequence[jobs_pb2.ResultSegment]

# A window as quiet as this, in which no speech was found, holds nothing to be told.
SILENCE_DBFS = -60.0
SPEECH_RATIO = 0.5
TRANSCRIBE = "Transcribe the speech."
DESCRIBE = "What do you hear?"
_MUSIC_WORDS = ("music", "song", "melody", "piano", "guitar", "violin", "flute", "trumpet", "organ", "singing", "tune")
_NEGATIVE_ANSWERS = ("no", "none", "nothing", "not mentioned", "unknown", "n/a")
# At least two characters make a token of any usual text, so what fits by this measure fits.
_CHARS_PER_TOKEN = 2
_TOKENS_FOR_INSTRUCTION_AND_ANSWER = 1536


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
        segment.supports_answer = bool(answer) and answer.lower().strip(" .!") not in _NEGATIVE_ANSWERS
        return segment

    async def of_recording(self, findings: Segments, asker: Asker, context_tokens: int) -> tuple[Segments, str]:
        answered = [finding for finding in findings if finding.text]
        supporting = [finding.text for finding in answered if finding.supports_answer]
        answers = supporting or [finding.text for finding in answered][:1]
        room = (context_tokens - _TOKENS_FOR_INSTRUCTION_AND_ANSWER) * _CHARS_PER_TOKEN
        while len(answers) > 1:
            groups = grouped(answers, max(room, 1))
            answers = [await self._combined(group, asker) if len(group) > 1 else group[0] for group in groups]
        return answered, answers[0] if answers else ""

    async def _combined(self, answers: Sequence[str], asker: Asker) -> str:
        numbered = "\n".join(f"{number}. {answer}" for number, answer in enumerate(answers, 1))
        return await asker.ask(
            f"These are answers about consecutive parts of one recording:\n{numbered}\n\n"
            f"Combine them into one answer to: {self._instruction}"
        )


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


def is_silent(window: audio_pb2.AudioWindow) -> bool:
    """Whether nothing needs to be asked about the window."""
    return window.rms_dbfs <= SILENCE_DBFS and window.speech_ratio == 0


def grouped(answers: Sequence[str], room_chars: int) -> list[list[str]]:
    """Consecutive answers in groups that fit the room; at least two in each but the last, so that a tree ends."""
    groups: list[list[str]] = []
    used = 0
    for answer in answers:
        if groups and (len(groups[-1]) < 2 or used + len(answer) <= room_chars):
            groups[-1].append(answer)
            used += len(answer)
        else:
            groups.append([answer])
            used = len(answer)
    return groups


def _segment(window: audio_pb2.AudioWindow, text: str = "", label: str = "") -> jobs_pb2.ResultSegment:
    return jobs_pb2.ResultSegment(
        start_seconds=window.start_seconds,
        end_seconds=window.start_seconds + window.duration_seconds,
        text=text,
        label=label,
    )
