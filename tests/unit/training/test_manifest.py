"""Manifest lines that cannot be used are left out and counted by reason."""

import json
from pathlib import Path

import numpy as np
import pytest

from services.evaluation.manifest import read_manifest
from services.training.data.clips import write_clip
from services.training.mixture import Mixture, Source
from tests.unit.training.recording import write_tones

pytestmark = pytest.mark.unit


def test_bad_lines_are_skipped_with_a_count(tmp_path: Path) -> None:
    path = write_tones(tmp_path, clips_per_tone=1)
    good = json.loads(path.read_text().splitlines()[0])
    write_clip(np.zeros(31 * 16_000, np.float32), tmp_path, "long.wav")
    (tmp_path / "text.wav").write_text("no sound at all")
    bad = [
        good | {"audio": ["gone.wav"]},
        good | {"audio": ["text.wav"]},
        good | {"audio": ["long.wav"]},
        good | {"audio": []},
        good | {"messages": [good["messages"][0], {"role": "assistant", "content": "  "}]},
        good | {"messages": []},
        good | {"surprise": 1},
    ]
    with path.open("a") as lines:
        lines.write("not JSON\n")
        lines.writelines(json.dumps(line) + "\n" for line in bad)
    manifest = read_manifest(path, "train")
    assert len(manifest.examples) == 4
    assert dict(manifest.skipped) == {
        "not an example in JSON": 2,
        "a missing or unreadable audio file": 2,
        "audio over the window of 30 s": 1,
        "another number of audio parts than files": 1,
        "an empty answer": 1,
        "messages without a known role": 1,
    }


def test_a_split_holds_only_its_own(tmp_path: Path) -> None:
    assert read_manifest(write_tones(tmp_path), "test").examples == []


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    examples = read_manifest(write_tones(tmp_path), "train").examples
    first, second = (Mixture([Source(examples, 1.0)], batch_size=3, seed=9) for _ in range(2))
    forward = [first.batch(step) for step in range(20)]
    backward = [second.batch(step) for step in reversed(range(20))]
    assert forward == backward[::-1]
    assert forward != [Mixture([Source(examples, 1.0)], 3, seed=10).batch(step) for step in range(20)]


def test_sources_come_by_weight(tmp_path: Path) -> None:
    examples = read_manifest(write_tones(tmp_path), "train").examples
    mixture = Mixture([Source(examples[:1], 3.0), Source(examples[1:2], 1.0)], batch_size=8, seed=1)
    drawn = [example.id for step in range(100) for example in mixture.batch(step)]
    assert 0.70 < drawn.count(examples[0].id) / len(drawn) < 0.80
