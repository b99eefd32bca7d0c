"""Music, voices and mixes: the files say what is played, and tests hear nothing of what training heard."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.evaluation.task import KINDS
from services.training.data import midi, mixes, music, phrases, speakers, voices
from services.training.data.music import FAMILIES, Wanted, compose
from services.training.data.prompts import SAID
from services.training.data.sounds import CLASSES

pytestmark = pytest.mark.unit

SPLITS = ("train", "test")


def composed(task: str, answer: str, split: str) -> list[midi.Piece]:
    return [compose(Wanted(task, answer, split, number)) for number in range(30)]


def test_a_midi_file_says_what_is_played() -> None:
    pieces = [midi.Piece(19, (midi.Note(60, 0.0, 0.5),), 1.0), midi.Piece(4, (midi.Note(72, 0.25, 1.0),), 1.0)]
    written = midi.midi_file(pieces, [0.0, 1.5, 3.0])
    assert written[:14] == b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0"
    assert int.from_bytes(written[18:22], "big") == len(written) - 22
    events = [  # 480 ticks of half a second are 3 * 128 + 96
        b"\x00\xb0\x78\x00", b"\x00\xc0\x13", b"\x00\x90\x3c\x5a", b"\x83\x60\x80\x3c\x00",
        b"\x87\x40\xb0\x78\x00", b"\x00\xc0\x04", b"\x81\x70\x90\x48\x5a", b"\x85\x50\x80\x48\x00",
        b"\x83\x60\xff\x2f\x00",
    ]  # fmt: skip
    assert written[22:] == b"".join(events)


def test_there_are_sixteen_families_and_no_preset_is_in_two() -> None:
    assert len(FAMILIES) == 16
    presets = Counter(preset for family in FAMILIES.values() for preset in family)
    assert max(presets.values()) == 1


@pytest.mark.parametrize("task", ["instrument", "mode", "tempo"])
def test_presets_and_roots_of_training_and_test_never_meet(task: str) -> None:
    answers = music.CHOICES[task]
    seen = {split: [piece for answer in answers for piece in composed(task, answer, split)] for split in SPLITS}
    presets = {split: {piece.preset for piece in pieces} for split, pieces in seen.items()}
    assert not presets["train"] & presets["test"]
    keys = {split: {piece.notes[0].key % 2 for piece in pieces} for split, pieces in seen.items()}
    assert not keys["train"] & keys["test"]


def test_a_minor_chord_has_a_minor_third() -> None:
    for answer, third in (("major", 4), ("minor", 3)):
        for piece in composed("mode", answer, "test"):
            assert piece.notes[1].key - piece.notes[0].key == third


def test_slow_and_fast_are_far_apart_and_tempi_of_tests_are_unseen() -> None:
    beats = {
        (answer, split): {round(piece.notes[1].start_seconds, 3) for piece in composed("tempo", answer, split)}
        for answer in ("slow", "fast")
        for split in SPLITS
    }
    assert min(beats["slow", "test"]) > 1.5 * max(beats["fast", "test"])
    for answer in ("slow", "fast"):
        assert not beats[answer, "train"] & beats[answer, "test"]


def test_phrases_of_tests_are_unseen() -> None:
    for language in phrases.LANGUAGES:
        train, test = ({phrases.phrase(language, part, random.Random(n)) for n in range(400)} for part in (True, False))
        assert len(train) > 100
        assert not train & test


def test_a_prompt_is_held_out_by_its_name() -> None:
    names = [f"prompt-{number}" for number in range(2000)]
    assert 0.12 < sum(map(speakers.is_held_out, names)) / len(names) < 0.18


def beep(language: str, training: bool, chance: random.Random) -> speakers.Samples:
    return np.ones(1600, np.float32)


@pytest.mark.parametrize("training", [True, False])
def test_voices_are_what_the_answer_says(training: bool) -> None:
    beeping = [replace(voice, speak=beep) for voice in speakers.voices()]
    for number in range(40):
        chance = random.Random(number)
        for gender in voices.GENDERS:
            made = voices.make("gender", gender, training, chance, beeping)
            assert [(voice.gender, voice.held_out) for voice in made.heard] == [(gender, not training)]
        for count, different in (("one", 1), ("two", 2)):
            made = voices.make("speakers", count, training, chance, beeping)
            assert len({voice.name for voice in made.heard}) == different
            assert made.clip.size > 3200, "two utterances, whoever speaks"
            assert all(voice.held_out != training for voice in made.heard)
        for language in phrases.LANGUAGES:
            (voice,) = voices.make("language", language, training, chance, beeping).heard
            assert language in voice.languages
            assert voice.recorded or voice.held_out != training


def test_speech_lies_over_the_whole_sound() -> None:
    speech, sound = np.ones(1000, np.float32), np.tile(np.array([1, -1], np.float32), 150)
    mixed = mixes.mix(speech, sound, below_db=6.0)
    assert mixed.size == 1000
    assert mixed.max() == pytest.approx(0.7)
    assert mixed.min() / mixed.max() == pytest.approx((1 - 0.501) / 1.501, abs=1e-3)


def test_the_wording_of_spoken_tests_is_unseen() -> None:
    trained = {mixes._prompt(SAID, True, n % 2 == 0, random.Random(n)) for n in range(100)}
    assert mixes._prompt(SAID, False, True, random.Random(1)) not in trained
    assert mixes._prompt(SAID, False, False, random.Random(1)) == SAID[0]


def test_every_new_task_is_scored() -> None:
    assert {*music.CLIPS, *voices.CLIPS, "mixed_sound", "mixed_speech"} <= KINDS.keys()
    assert len(CLASSES) >= 25


@pytest.mark.skipif(not midi.SOUND_FONT.exists(), reason="fluid-soundfont-gm is not installed")
def test_fluidsynth_plays_a_score(tmp_path: Path) -> None:
    quiet, loud = midi.render([midi.Piece(0, (), 0.5), midi.Piece(19, (midi.Note(60, 0.0, 0.5),), 0.5)])
    assert quiet.size == loud.size == 8000
    assert np.abs(quiet).max() < 0.001 < 0.01 < np.abs(loud).max()
