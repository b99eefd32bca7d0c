"""The data scripts: times of words, what is held out, and enough of everything."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.evaluation.manifest import Example, assistant_turn, read_manifest, user_turn, write_manifest
from services.training.data import facts, instructions, sentences
from services.training.data.clips import write_clip
from services.training.data.flite import Phone
from services.training.data.formulas import FORMULAS, _drawn
from services.training.data.pairs import misheard, presence
from services.training.data.word_times import word_times

pytestmark = pytest.mark.unit


def phones(*named: tuple[str, float]) -> list[Phone]:
    return [Phone(name, end) for name, end in named]


def test_words_take_the_times_of_their_phones() -> None:
    heard = phones(
        ("pau", 0.2), ("dh", 0.3), ("ax", 0.4), ("pau", 0.5), ("k", 0.6), ("ae", 0.8), ("t", 0.9), ("pau", 1)
    )
    times = word_times(["The", "cat."], [["dh", "iy"], ["k", "ae", "t"]], heard)
    assert [(w.text, w.start_seconds, w.end_seconds) for w in times] == [("The", 0.2, 0.4), ("cat.", 0.5, 0.9)]


def test_a_phone_lost_in_the_sentence_does_not_shift_the_rest() -> None:
    heard = phones(("ae", 0.1), ("n", 0.2), ("k", 0.3), ("ae", 0.4), ("t", 0.5))
    times = word_times(["and", "cat"], [["ae", "n", "d"], ["k", "ae", "t"]], heard)
    assert [(w.start_seconds, w.end_seconds) for w in times] == [(0.0, 0.2), (0.2, 0.5)]


def test_a_sentence_is_held_out_by_its_content() -> None:
    texts = [f"This is sentence number {n}." for n in range(2000)]
    held_out = [text for text in texts if sentences.is_held_out(text)]
    assert 0.02 < len(held_out) / len(texts) < 0.06
    assert all(sentences.is_held_out(text.upper()) for text in held_out)


def test_there_are_two_hundred_intents_and_their_last_wording_is_unseen() -> None:
    intents = list(facts.intents())
    assert len(intents) >= 200
    trained = {wording for intent in intents for wording in intent.wordings[:-1]}
    assert not trained & {intent.wordings[-1] for intent in intents}
    assert all(intent.key in intent.answer.lower() for intent in intents)


def test_parameters_of_training_and_test_never_meet() -> None:
    chance = random.Random(0)
    bands = {split: {int(_drawn(chance, 0, 10, split)) for _ in range(500)} for split in (True, False)}
    assert bands == {True: {0, 2, 4, 6, 8}, False: {1, 3, 5, 7, 9}}


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_sounds(name: str) -> None:
    clip = FORMULAS[name](random.Random(1), True)
    assert np.isfinite(clip).all()
    assert 1.0 * 16_000 <= clip.size <= 2.2 * 16_000
    assert np.sqrt(np.mean(clip**2)) > 0.01


def test_a_phone_too_many_belongs_to_no_word() -> None:
    heard = phones(("ax", 0.1), ("n", 0.2), ("k", 0.3), ("ae", 0.4), ("t", 0.5))
    times = word_times(["a", "cat"], [["ax"], ["k", "ae", "t"]], heard)
    assert [(w.start_seconds, w.end_seconds) for w in times] == [(0.0, 0.1), (0.2, 0.5)]


def test_a_pair_asks_about_what_is_there_and_about_what_is_not() -> None:
    clip = Example("sounds/dog", "sound", "test", "", "", ["dog.wav"], [user_turn("?", 1), assistant_turn("Dog.")])
    present, absent = presence(clip, random.Random(1))
    assert present.messages[0]["content"][1]["text"] == "Do you hear a dog?"
    assert (present.answer, present.rejected) == ("Yes.", "No.")
    assert "dog" not in absent.messages[0]["content"][1]["text"]
    assert (absent.answer, absent.rejected, absent.task) == ("No.", "Yes.", "absent_sound")


def test_a_worse_transcript_differs_in_one_word() -> None:
    for seed in range(30):
        worse = misheard("He is here.", ["is", "was", "cat"], random.Random(seed))
        assert worse != "He is here."
        assert worse.endswith(".")


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_typed_questions_about_a_clip_are_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "SHARE", 1.0)
    clips, out = tmp_path / "clips", tmp_path / "out"
    name = write_clip(np.ones(8000, np.float32), clips, "moo.wav")
    typed = Example(
        "moo", "sound", "train", "none", "cow", [name], [user_turn("What is it?", 1), assistant_turn("Cow.")]
    )
    chat = replace(typed, id="chat", audio=[], messages=[user_turn("What is it?", 0), assistant_turn("It.")])
    held_out = replace(typed, id="kept", split="test")
    write_manifest(clips / "sounds.jsonl", [typed, replace(typed, id="again"), chat, held_out])
    out.mkdir()
    write_manifest(out / "spoken.jsonl", instructions.said_aloud(clips / "sounds.jsonl", out))
    made = read_manifest(out / "spoken.jsonl", "train", "test")
    assert not made.skipped, "the clip is found from the other folder"
    assert [example.id for example in made.examples] == ["aloud/moo", "aloud/again"]
    for example in made.examples:
        assert example.messages == [user_turn("", 2), assistant_turn("Cow.")]
        assert example.paths[0].samefile(clips / name)
        assert example.seconds > 0.5 + 0.3
