"""Conversations that exercise the whole model: text alone, one clip, several clips, several turns.

Content has the shape that the SDK and transformers share. Clips are synthesized, always the same, and short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
Samples = NDArray[np.float32]


def clip(seconds: float, seed: int) -> Samples:
    """Gliding harmonics, broken into syllables, in a little noise: float32 at 16 kHz, within [-1, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = random.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    harmonics = sum(np.sin(n * phase + random.uniform(0, 6)) / n for n in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * random.uniform(2, 5) * time + random.uniform(0, 6)), 0, 1)
    sound = 0.2 * harmonics * syllables + 0.01 * random.standard_normal(time.size)
    return np.clip(sound, -1, 1).astype(np.float32)


def text(words: str) -> dict[str, Any]:
    """A piece of text."""
    return {"type": "text", "text": words}


def audio(seconds: float, seed: int) -> dict[str, Any]:
    """A piece of sound."""
    return {"type": "audio", "audio": clip(seconds, seed)}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    """A user's turn."""
    return {"role": "user", "content": list(content)}


def assistant(words: str) -> dict[str, Any]:
    """An earlier answer."""
    return {"role": "assistant", "content": [text(words)]}


def system(words: str) -> dict[str, Any]:
    """A system turn."""
    return {"role": "system", "content": [text(words)]}


@dataclass(frozen=True)
class Conversation:
    """Messages to be continued."""

    name: str
    messages: Sequence[dict[str, Any]]

    @property
    def audios(self) -> list[Samples]:
        """The clips in order."""
        return [part["audio"] for message in self.messages for part in message["content"] if part["type"] == "audio"]

    @property
    def without_audio(self) -> list[dict[str, Any]]:
        """The messages with a mere `{"type": "audio"}` in place of each clip, as chat templates take them."""
        return [
            {"role": m["role"], "content": [p if p["type"] == "text" else {"type": "audio"} for p in m["content"]]}
            for m in self.messages
        ]


TRANSCRIBE = "Transcribe the speech."
TEXT_ONLY = [
    Conversation("capital", [user(text("What is the capital of France?"))]),
    Conversation("haiku", [user(text("Write a haiku about rain."))]),
    Conversation("count", [user(text("Count from 1 to 20."))]),
    Conversation("not english", [user(text("Übersetze ins Englische: Guten Morgen, schöne Welt! 你好 🙂"))]),
    Conversation("pirate", [system("You are a pirate."), user(text("Who are you?"))]),
    Conversation("two texts", [user(text("First part. "), text("Second part: what did I say first?"))]),
    Conversation("one word", [user(text("Hi"))]),
]
ONE_CLIP = [
    Conversation("transcribe", [user(audio(1.0, 1), text(TRANSCRIBE))]),
    Conversation("voice chat", [user(audio(1.5, 2))]),
    Conversation("shortest", [user(audio(0.1, 3), text(TRANSCRIBE))]),
    Conversation("one token", [user(audio(0.065, 4), audio(0.4, 5), text("Compare."))]),
    Conversation("text first", [user(text("What kind of sound is this?"), audio(0.7, 6))]),
    Conversation("text around", [user(text("Listen: "), audio(0.83, 7), text(" What was that?"))]),
    Conversation("odd length", [user(audio(1.2345, 8), text("Describe the sound."))]),
    Conversation("longer than a step", [user(audio(11.0, 9), text(TRANSCRIBE))]),
    Conversation("system and clip", [system("Answer in one word."), user(audio(0.9, 10), text("Is this speech?"))]),
    Conversation("silence", [user({"type": "audio", "audio": np.zeros(8000, np.float32)}, text(TRANSCRIBE))]),
]
SEVERAL_CLIPS = [
    Conversation("two clips", [user(audio(0.6, 11), audio(0.9, 12), text("Which one is louder?"))]),
    Conversation("three clips", [user(audio(0.5, 13), audio(0.5, 14), audio(0.5, 15), text("How many?"))]),
    Conversation("interleaved", [user(text("One: "), audio(0.4, 16), text("Two: "), audio(0.6, 17), text("Same?"))]),
    Conversation("the same twice", [user(audio(0.8, 18), audio(0.8, 18), text("Are they equal?"))]),
    Conversation("clips alone", [user(audio(0.5, 19), audio(1.1, 20))]),
]
SEVERAL_TURNS = [
    Conversation(
        "text after clip",
        [user(audio(0.9, 21), text(TRANSCRIBE)), assistant("A dog barks."), user(text("Say it in French."))],
    ),
    Conversation(
        "clip in each turn",
        [user(audio(0.6, 22)), assistant("I hear a tone."), user(audio(0.7, 23), text("And now?"))],
    ),
    Conversation(
        "system and turns",
        [
            system("You are brief."),
            user(text("Hello")),
            assistant("Hi!"),
            user(audio(0.5, 24), text("What is it?")),
            assistant("A voice."),
            user(text("Whose?")),
        ],
    ),
    Conversation("user twice", [user(text("Wait for the sound.")), user(audio(0.65, 25))]),
]
CONVERSATIONS = [*TEXT_ONLY, *ONE_CLIP, *SEVERAL_CLIPS, *SEVERAL_TURNS]
