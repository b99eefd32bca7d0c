"""Transcription: WordNet's example sentences spoken by flite, each word with its time.

    python -m services.training.data.speech --out FOLDER [--sentences 3000] [--renderings 2]

Held out by sentence (``test``), among the held-out sentences by voice (``test_voice``: festival's ked, a diphone voice
nothing else uses), and by length (``test_long``: ten words, which no training sentence has). In training, voices are
varied in tempo and, by playing them faster or slower, in pitch and formants.
"""

import argparse
import hashlib
import multiprocessing
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import soundfile

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.data import flite, sentences
from services.training.data.clips import Samples, at_peak, to_model_rate, write_clip
from services.training.data.prompts import TRANSCRIBE, wording
from services.training.data.word_times import WordTime, word_times
from services.training.traits import NOTHING

TEMPO_RANGE = (0.88, 1.2)
TAPE_SPEED_RANGE = (0.92, 1.08)
UNSEEN_VOICE = "ked_diphone"
LONG_WORDS, LONG_SENTENCES = 10, 80
PUNCTUATION = ".,?!"

Job = tuple[Path, str, str, int]


def main() -> None:
    """Write clips and ``speech.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--renderings", type=int, default=2, help="voices per training sentence")
    parser.add_argument("--sentences", type=int, help="short sentences, evenly taken; all by default")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = list(_jobs(options.out, options.sentences, options.renderings))
    with multiprocessing.Pool(2) as pool:
        made = pool.imap(_render, jobs, chunksize=32)
        print(write_manifest(options.out / "speech.jsonl", made), "clips")


def _jobs(out: Path, count: int | None, renderings: int) -> Iterator[Job]:
    longer = sentences.read_sentences(LONG_WORDS, LONG_WORDS)
    for index, text in enumerate(longer[:: max(1, len(longer) // LONG_SENTENCES)]):
        yield out, text, flite.VOICES[index % len(flite.VOICES)], 0
    short = sentences.read_sentences()
    for index, text in enumerate(short[:: max(1, len(short) // (count or len(short)))]):
        if sentences.is_held_out(text):
            yield out, text, flite.VOICES[index % len(flite.VOICES)], 0
            yield out, text, UNSEEN_VOICE, 0
            continue
        for number in range(renderings):
            yield out, text, flite.VOICES[(index + number) % len(flite.VOICES)], number


def _render(job: Job) -> Example:
    out, text, voice, number = job
    chance = random.Random(f"{text} {voice}")
    name = hashlib.sha256(f"{text} {voice}".encode()).hexdigest()[:16]
    long = len(text.split()) == LONG_WORDS
    held_out = long or sentences.is_held_out(text)
    words: list[WordTime] = []
    if voice == UNSEEN_VOICE:
        clip = speak_festival(text, voice)
    elif held_out:
        clip, words = speak_words(text, voice, 1.0, 1.0)
    else:
        clip, words = speak_words(text, voice, chance.uniform(*TEMPO_RANGE), chance.uniform(*TAPE_SPEED_RANGE))
    split = _split(held_out, long, voice)
    prompt = wording(TRANSCRIBE, chance) if split == "train" else TRANSCRIBE[0]
    return Example(
        id=f"speech/{name}",
        task="transcription",
        split=split,
        license=f"{sentences.LICENSE}; {flite.LICENSE}",
        source=f"{voice} {number}",
        audio=[write_clip(clip, out, f"speech/{name}.wav")],
        messages=[user_turn(prompt, 1), assistant_turn(text)],
        words=[(word.text, round(word.start_seconds, 3), round(word.end_seconds, 3)) for word in words],
        traits={**flite.traits(voice), "sound": NOTHING} if split == "train" else {},
    )


def _split(held_out: bool, long: bool, voice: str) -> str:
    if not held_out:
        return "train"
    return "test_long" if long else "test_voice" if voice == UNSEEN_VOICE else "test"


def speak_words(text: str, voice: str, tempo: float, tape_speed: float) -> tuple[Samples, list[WordTime]]:
    """A clip at 16 kHz and its words' times; punctuation stays with its word."""
    samples, rate_hz, phones = flite.speak(text, voice, tempo)
    words = text.split()
    pronounced = [_pronounced(word.strip(PUNCTUATION).lower()) for word in words]
    clip = at_peak(to_model_rate(samples, rate_hz * tape_speed), 0.7)
    times = word_times(words, pronounced, phones)
    return clip, [WordTime(t.text, t.start_seconds / tape_speed, t.end_seconds / tape_speed) for t in times]


def speak_festival(text: str, voice: str) -> Samples:
    """A clip at 16 kHz by one of festival's voices.

    Raises:
        RuntimeError: festival or the voice is not installed.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", wav.name]
        run = subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False)
        if run.returncode:
            raise RuntimeError(f"festival: {run.stderr.strip()}; apt-get install festival festvox-kdlpc16k")
        samples, rate_hz = soundfile.read(wav.name, dtype="float32")
    return at_peak(to_model_rate(samples, rate_hz), 0.7)


_known: dict[str, list[str]] = {}


def _pronounced(word: str) -> list[str]:
    if word not in _known:
        _known[word] = flite.pronounce(word)
    return _known[word]


if __name__ == "__main__":
    main()
