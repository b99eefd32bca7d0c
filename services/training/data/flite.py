"""Speech by flite's stock voices, with the time of every phone."""

import subprocess
import tempfile
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

VOICES = ("slt", "rms", "awb", "kal16")
LICENSE = "flite 2.2 voices (BSD-like, no condition on their output)"
SILENCE = "pau"
GENDERS = {"slt": "woman", "rms": "man", "kal16": "man", "awb": "man"}
KEPT_FOR_TESTS = "awb"  # by tasks about voices; other tasks train on it, without its traits


@dataclass(frozen=True)
class Phone:
    """A phone of an utterance and the second it ends at."""

    name: str
    end_seconds: float


def traits(voice: str) -> dict[str, str]:
    """What is true of every clip in which one of the voices speaks alone, except what goes on behind it."""
    about_voice = {} if voice == KEPT_FOR_TESTS else {"gender": GENDERS[voice], "speakers": "one"}
    return {**about_voice, "language": "English"}


def speak(text: str, voice: str, tempo: float = 1.0) -> tuple[NDArray[np.float32], int, list[Phone]]:
    """Samples, their rate in Hz, and the phones. A tempo of 1.2 is a fifth faster than the voice's own.

    Raises:
        RuntimeError: flite failed, with its own message.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        stretch = f"duration_stretch={1 / tempo:.3f}"
        printed = _flite("-voice", voice, "--setf", stretch, "-psdur", "-t", text, "-o", wav.name)
        samples, rate_hz = soundfile.read(wav.name, dtype="float32")
    return samples, rate_hz, [_phone(item) for item in printed.split()]


def pronounce(word: str) -> list[str]:
    """Phones of one word spoken alone, without the silence around it."""
    return [phone for phone in _flite("-voice", "kal16", "-ps", "-t", word, "-o", "none").split() if phone != SILENCE]


def _phone(item: str) -> Phone:
    name, _, end = item.partition(":")
    return Phone(name, float(end))


def _flite(*arguments: str) -> str:
    try:
        run = subprocess.run(["flite", *arguments], capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError:
        raise RuntimeError("flite is not installed: apt-get install flite") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"flite {' '.join(arguments)}: {error.stderr.strip()}") from error
    return run.stdout
