"""Instructions said aloud: a clip of its own behind the recording it is about.

    python -m services.training.data.instructions --manifest FILE [--manifest FILE ...] --out FOLDER

Writes ``spoken.jsonl``: some of the given manifests' training questions about one clip, with the typed question spoken
by one of flite's voices instead. Clips stay where they are; an instruction is written once per wording and voice.
"""

import argparse
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.evaluation.manifest import Example, read_manifest, user_turn, write_manifest
from services.training.data import flite
from services.training.data.clips import at_peak, to_model_rate, write_clip

SHARE = 0.4


def main() -> None:
    """Write clips and ``spoken.jsonl`` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    spoken = (example for manifest in options.manifest for example in said_aloud(manifest, options.out))
    print(write_manifest(options.out / "spoken.jsonl", spoken), "examples")


def instruction_clip(text: str, voice: str, out: Path) -> str:
    """Name of a clip of the spoken instruction, made once per wording and voice."""
    name = f"instructions/{hashlib.sha256(f'{text} {voice}'.encode()).hexdigest()[:16]}.wav"
    if (out / name).exists():
        return name
    samples, rate_hz, _ = flite.speak(text, voice)
    return write_clip(at_peak(to_model_rate(samples, rate_hz), 0.7), out, name)


def said_aloud(manifest: Path, out: Path) -> Iterator[Example]:
    """The manifest's training questions that are about one clip and typed, the questions spoken."""
    for example in read_manifest(manifest, "train").examples:
        chance = random.Random(f"aloud {example.id}")
        question = _typed_question(example)
        if question is None or chance.random() > SHARE:
            continue
        clip = os.path.relpath(example.paths[0], out)
        yield replace(
            example,
            id=f"aloud/{example.id}",
            license=f"{example.license}; {flite.LICENSE}",
            audio=[clip, instruction_clip(question, chance.choice(flite.VOICES), out)],
            messages=[user_turn("", 2), example.messages[-1]],
            words=[],
            traits={},
        )


def _typed_question(example: Example) -> str | None:
    if len(example.messages) != 2 or len(example.audio) != 1:
        return None
    parts = example.messages[0]["content"]
    return parts[1]["text"] if len(parts) == 2 else None


if __name__ == "__main__":
    main()
