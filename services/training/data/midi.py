"""Notes to samples: scores written as MIDI, rendered by fluidsynth, many short clips in one pass.

A General MIDI sound font takes longer to load than a clip to play, so clips share a score, each in a slot of its own.
"""

import itertools
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from services.qwen2_audio.mel import SAMPLE_RATE_HZ
from services.training.data.clips import Samples

SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
LICENSE = "made with the Fluid R3 sound font (MIT)"
_TICKS_PER_SECOND = 960  # 480 per quarter at MIDI's default tempo of 120 quarters a minute
_TAIL_SECONDS = 0.5  # silence between clips, in which the last notes die


@dataclass(frozen=True)
class Note:
    """A key (60 is middle C) from one second to another, at a velocity of 1 to 127."""

    key: int
    start_seconds: float
    end_seconds: float
    velocity: int = 90


@dataclass(frozen=True)
class Piece:
    """What one clip plays: a General MIDI preset (0 to 127), its notes, and the clip's length."""

    preset: int
    notes: tuple[Note, ...]
    seconds: float


def render(pieces: Sequence[Piece]) -> list[Samples]:
    """A clip at 16 kHz per piece, dry.

    Raises:
        RuntimeError: fluidsynth or the sound font is missing, or fluidsynth failed, with its own message.
    """
    starts = [0.0, *itertools.accumulate(piece.seconds + _TAIL_SECONDS for piece in pieces)]
    with tempfile.TemporaryDirectory() as scratch:
        score, wav = Path(scratch) / "score.mid", Path(scratch) / "score.wav"
        score.write_bytes(midi_file(pieces, starts))
        _fluidsynth(score, wav)
        samples, _ = soundfile.read(wav, dtype="float32")
    mono = samples.mean(1)
    cuts = [(int(start * SAMPLE_RATE_HZ), piece) for start, piece in zip(starts, pieces, strict=False)]
    return [mono[start : start + int(piece.seconds * SAMPLE_RATE_HZ)] for start, piece in cuts]


def midi_file(pieces: Sequence[Piece], starts: Sequence[float]) -> bytes:
    """A standard MIDI file of format 0, the pieces one after the other on one channel."""
    events: list[tuple[float, int, bytes]] = []  # at one time: silence, then preset, note ends, note beginnings
    for start, piece in zip(starts, pieces, strict=False):
        events += [(start, 0, bytes([0xB0, 120, 0])), (start, 1, bytes([0xC0, piece.preset]))]
        for note in piece.notes:
            events.append((start + note.end_seconds, 2, bytes([0x80, note.key, 0])))
            events.append((start + note.start_seconds, 3, bytes([0x90, note.key, note.velocity])))
    events.append((starts[len(pieces)], 4, bytes([0xFF, 0x2F, 0])))
    track, before = b"", 0
    for seconds, _, message in sorted(events):
        tick = round(seconds * _TICKS_PER_SECOND)
        track += _variable_length(tick - before) + message
        before = tick
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1]) + (_TICKS_PER_SECOND // 2).to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _variable_length(value: int) -> bytes:
    """Seven bits to a byte, the highest first; all bytes but the last have their top bit set."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))


def _fluidsynth(score: Path, wav: Path) -> None:
    if not SOUND_FONT.exists():
        raise RuntimeError(f"{SOUND_FONT} is missing: apt-get install fluid-soundfont-gm")
    rate = ["-r", str(SAMPLE_RATE_HZ), "-R", "0", "-C", "0"]
    command = ["fluidsynth", "-ni", "-q", *rate, "-T", "wav", "-F", str(wav), str(SOUND_FONT), str(score)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    except FileNotFoundError:
        raise RuntimeError("fluidsynth is not installed: apt-get install fluidsynth") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"fluidsynth: {error.stderr.strip()}") from error
