"""From manifests to tasks: what is held out, evenly taken, and what guessing would score."""

from pathlib import Path

import pytest

from services.evaluation.manifest import read_manifest
from services.evaluation.run import EvaluationError, read_tasks
from services.evaluation.task import held_out_tasks
from tests.unit.evaluation.examples import write_examples

pytestmark = pytest.mark.unit


def ignore(_: str) -> None:
    pass


def test_a_task_for_every_kind_and_held_out_split(tmp_path: Path) -> None:
    test = write_examples(tmp_path, {"sound": "Dog.", "transcription": "Hello."})
    voice = write_examples(tmp_path, {"transcription": "Hello."}, split="test_voice")
    train = write_examples(tmp_path, {"sound": "Dog."}, split="train")
    titles = [task.title for task in read_tasks([test, voice, train], [], None, ignore)]
    assert titles == ["sound test", "transcription test", "transcription test_voice"]
    assert [task.title for task in read_tasks([test, voice], ["sound"], None, ignore)] == ["sound test"]


def test_chance_is_an_even_guess_among_the_choices(tmp_path: Path) -> None:
    path = write_examples(tmp_path, {"sound": "Dog.", "absent_sound": "No.", "spoken_question": "A dog."})
    chances = {task.name: task.chance for task in read_tasks([path], [], None, ignore)}
    assert chances == {"sound": 0.25, "absent_sound": 0.5, "spoken_question": 0.0}


def test_a_limit_takes_examples_evenly(tmp_path: Path) -> None:
    (example,) = read_manifest(write_examples(tmp_path, {"sound": "Dog."}), "test").examples
    many = [example.__class__(**{**example.__dict__, "id": str(number)}) for number in range(10)]
    (task,) = held_out_tasks(many, limit=4)
    assert [item.id for item in task.examples] == ["0", "2", "5", "7"]


def test_another_number_of_answers_is_refused(tmp_path: Path) -> None:
    (task,) = read_tasks([write_examples(tmp_path, {"sound": "Dog."})], [], None, ignore)
    with pytest.raises(ValueError, match="2 answers to 1 examples"):
        task.score(["dog", "cow"])


def test_what_cannot_be_evaluated_is_named(tmp_path: Path) -> None:
    path = write_examples(tmp_path, {"sound": "Dog."})
    with pytest.raises(EvaluationError, match=r"unknown task smell; known are transcription, "):
        read_tasks([path], ["smell"], None, ignore)
    with pytest.raises(EvaluationError, match=r"cannot read manifest .*gone.jsonl: No such file"):
        read_tasks([tmp_path / "gone.jsonl"], [], None, ignore)
    with pytest.raises(EvaluationError, match="no usable examples of tempo in the splits test,"):
        read_tasks([path], ["tempo"], None, ignore)


def test_lines_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    path = write_examples(tmp_path, {"sound": "Dog.", "transcription": "Hello."})
    (tmp_path / "sound-test.wav").unlink()
    warnings: list[str] = []
    assert len(read_tasks([path], [], None, warnings.append)) == 1
    assert warnings == [f"{path}: 1 lines skipped: {{'a missing or unreadable audio file': 1}}"]
