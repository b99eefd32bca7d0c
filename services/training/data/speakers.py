"""Voices by name: synthesizers, and the people who recorded the prompts of Debian's asterisk-core-sounds packages.

Held out: some voices of each gender for tasks about voices, and a tenth of the recordings (by the prompt's name, which
is the same in all languages) for tasks about languages.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import soundfile

from services.training.data import espeak, flite
from services.training.data.clips import Samples, at_peak, to_model_rate
from services.training.data.phrases import phrase

PROMPTS = Path("/usr/share/asterisk/sounds")
HELD_OUT_RECORDINGS = 0.15
SECONDS = (1.2, 6.0)
NO_SPEECH = ("tt-monkeys", "ascending-2tone", "descending-2tone")
_ESPEAK_LANGUAGES = {
    "English": "en-us",
    "Spanish": "es",
    "French": "fr",
    "Italian": "it",
    "Russian": "ru",
    "German": "de",
}


@dataclass(frozen=True)
class Voice:
    """A voice.

    Attributes:
        held_out: whether tasks about voices keep it for tests.
        languages: what it speaks.
        speak: a sentence or recording in a language, of those for training or of the others.
        recorded: a person's, not a synthesizer's.
    """

    name: str
    gender: str
    license: str
    held_out: bool
    languages: tuple[str, ...]
    speak: Callable[[str, bool, random.Random], Samples]
    recorded: bool = False


def voices() -> list[Voice]:
    """Every voice there is."""
    return [*_espeak_voices(), *_flite_voices(), *_recorded_voices()]


def _espeak_voices() -> list[Voice]:
    variants = {"woman": ("f1", "f2", "f3", "f4"), "man": ("m1", "m2", "m3", "m4", "m6", "m7")}
    held_out = ("f4", "m6", "m7")
    return [
        Voice(f"espeak-ng {variant}", gender, espeak.LICENSE, variant in held_out, tuple(_ESPEAK_LANGUAGES),
              _espeak_speaker(variant))
        for gender, names in variants.items() for variant in names
    ]  # fmt: skip


def _espeak_speaker(variant: str) -> Callable[[str, bool, random.Random], Samples]:
    def speak(language: str, training: bool, chance: random.Random) -> Samples:
        rate, pitch = chance.randint(140, 190), chance.randint(40, 60)
        return espeak.speak(phrase(language, training, chance), _ESPEAK_LANGUAGES[language], variant, rate, pitch)

    return speak


def _flite_voices() -> list[Voice]:
    return [
        Voice(f"flite {name}", gender, flite.LICENSE, name == flite.KEPT_FOR_TESTS, ("English",), _flite_speaker(name))
        for name, gender in flite.GENDERS.items()
    ]


def _flite_speaker(name: str) -> Callable[[str, bool, random.Random], Samples]:
    def speak(language: str, training: bool, chance: random.Random) -> Samples:
        samples, rate_hz, _ = flite.speak(phrase("English", training, chance), name, chance.uniform(0.9, 1.15))
        return at_peak(to_model_rate(samples, rate_hz), 0.7)

    return speak


def _recorded_voices() -> list[Voice]:
    """Allison speaks English and Spanish: her voice tells no language."""
    people = [
        ("Allison Smith", "woman", "CC-BY-SA-3.0", False, {"English": "en_US_f_Allison", "Spanish": "es_MX_f_Allison"}),
        ("June Wallack", "woman", "CC-BY-SA-3.0", True, {"French": "fr_CA_f_June"}),
        ("Carlo Flora", "man", "CC-BY-3.0", False, {"Italian": "it_IT_m_Carlo"}),
        ("Maxim Topal (ivrvoice.ru)", "woman", "CC-BY-3.0", True, {"Russian": "ru_RU_f_IvrvoiceRU"}),
    ]
    return [
        Voice(name, gender, f"asterisk-core-sounds ({license}, {name})", held_out, tuple(folders),
              _recorded_speaker(folders), recorded=True)
        for name, gender, license, held_out, folders in people
    ]  # fmt: skip


def _recorded_speaker(folders: dict[str, str]) -> Callable[[str, bool, random.Random], Samples]:
    def speak(language: str, training: bool, chance: random.Random) -> Samples:
        samples, rate_hz = soundfile.read(chance.choice(recordings(folders[language], training)), dtype="float32")
        return at_peak(to_model_rate(samples, rate_hz * chance.uniform(0.97, 1.03) if training else rate_hz), 0.7)

    return speak


@cache
def recordings(folder: str, training: bool) -> list[Path]:
    """The prompts of one person that are long enough to hold words; another part of them for tests.

    Raises:
        RuntimeError: the package is not installed.
    """
    found = [path for path in sorted((PROMPTS / folder).glob("*.wav")) if is_held_out(path.stem) != training]
    spoken = [path for path in found if path.stem not in NO_SPEECH]
    kept = [path for path in spoken if SECONDS[0] <= soundfile.info(path).duration <= SECONDS[1]]
    if not kept:
        language = folder[:2]
        raise RuntimeError(f"{PROMPTS / folder} is missing: apt-get install asterisk-core-sounds-{language}-wav")
    return kept


def is_held_out(prompt: str) -> bool:
    """Whether a prompt belongs to the tests: by its name, in every language alike."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_RECORDINGS * 2**32
