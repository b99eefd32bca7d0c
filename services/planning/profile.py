"""How long each service takes: measured on a running platform by `auricle plan profile`, or written by hand.

All times are milliseconds without waiting and without others on the same device. They are linear in what the work is
made of, as `services.planning.fitting` finds them: preprocess in seconds of audio, a batch of the encoder in clips and
seconds, a step of the decoder in the sequences that decode, the prompt tokens it computes and the tokens it looks back
on.
"""

import json
from pathlib import Path

from pydantic import Field

from services.planning.documents import Section, checked, text_of
from services.planning.errors import PlanningError

DEFAULT = Path(__file__).with_name("profiles") / "auricle-mini.json"
_MS = Field(0.0, ge=0)


class StageTimes(Section):
    """What every stage has.

    Attributes:
        call_ms: of a call besides computing: transport, serialization, hand-over.
        spread: standard deviation of the computing time over its mean.
    """

    call_ms: float = _MS
    spread: float = Field(0.0, ge=0, le=3)


class PreprocessTimes(StageTimes):
    """Decoding, speech, mel: of a recording, and of each of its seconds."""

    recording_ms: float = _MS
    second_ms: float = _MS

    def seconds(self, audio_seconds: float) -> float:
        """Computing time of a recording."""
        return (self.recording_ms + self.second_ms * audio_seconds) / 1000


class EncoderTimes(StageTimes):
    """A batch, each clip of it, and each second of audio in it."""

    batch_ms: float = _MS
    clip_ms: float = _MS
    second_ms: float = _MS

    def seconds(self, clips: int, audio_seconds: float) -> float:
        """Computing time of a batch."""
        return (self.batch_ms + self.clip_ms * clips + self.second_ms * audio_seconds) / 1000


class DecoderTimes(StageTimes):
    """A step, each sequence that decodes in it, each prompt token computed, each token that a decoding one sees."""

    step_ms: float = _MS
    sequence_ms: float = _MS
    prompt_token_ms: float = _MS
    context_token_ms: float = _MS

    def seconds(self, sequences: int, prompt_tokens: int, context_tokens: float) -> float:
        """Computing time of a step."""
        parts = self.sequence_ms * sequences + self.prompt_token_ms * prompt_tokens
        return (self.step_ms + parts + self.context_token_ms * context_tokens) / 1000


class Profile(Section):
    """Service times of one model on one kind of machine.

    Attributes:
        model: what was measured.
        origin: where and when, for people.
        gateway_ms: of a request besides the calls to the services, the client's own hop included.
        text_tokens: tokens of a prompt that are not audio.
        tokens_per_second: audio tokens of a second.
    """

    model: str
    origin: str = ""
    gateway_ms: float = _MS
    text_tokens: int = Field(40, ge=1)
    tokens_per_second: float = Field(25.0, gt=0)
    preprocess: PreprocessTimes = PreprocessTimes()
    encoder: EncoderTimes = EncoderTimes()
    decoder: DecoderTimes = DecoderTimes()

    def prompt_tokens(self, audio_seconds: float) -> int:
        """Tokens of a question about so much audio."""
        return self.text_tokens + round(audio_seconds * self.tokens_per_second)


def read_profile(path: Path) -> Profile:
    """A profile from its JSON.

    Raises:
        PlanningError: it cannot be read, is no JSON or no profile.
    """
    try:
        return checked(Profile, json.loads(text_of(path)), path)
    except json.JSONDecodeError as error:
        raise PlanningError(f"{path}: {error}") from None


def write_profile(profile: Profile, path: Path) -> None:
    """The profile as JSON that `read_profile` reads."""
    path.write_text(profile.model_dump_json(indent=2) + "\n")
