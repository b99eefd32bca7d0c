"""The three stages one after the other, each from the last one's export, on a set made in seconds.

    python -m services.training.smoke

Four sounds made by formulas, three clips of each. It ends with 1 unless the losses fall and DPO's margin rises.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.evaluation.manifest import Example, assistant_turn, user_turn, write_manifest
from services.training.base_mini import write_base
from services.training.curve import read_curve
from services.training.data.clips import at_peak, heard_as, write_clip
from services.training.data.formulas import FORMULAS
from services.training.data.prompts import SOUND
from services.training.data.sounds import FORMULA_LICENSE, answer
from services.training.export import export
from services.training.merge import write_merged
from services.training.recipe import read_recipe
from services.training.run import run_recipe

SOUNDS = ("siren", "bell", "rain", "alarm clock")
CLIPS_PER_SOUND = 3
MAX_LOSS_SHARE = 0.6  # of the first steps' loss, at the end
MIN_MARGIN = 0.5  # nats between the better and the worse answer, above the reference's
_WINDOW = 2


@dataclass(frozen=True)
class Plan:
    """Steps and rates of each stage, TOML for its sections; another model needs other rates."""

    pretrain: str = "[rates]\nencoder = 1e-4\nprojector = 1e-3\naligner = 3e-2\n[losses]\nalignment = 1.0"
    pretrain_steps: int = 16
    sft: str = "[rates]\nprojector = 1e-3\nlora = 1e-3"
    sft_steps: int = 9
    dpo: str = "[rates]\nlora = 3e-4\n[losses]\nbeta = 0.1"
    dpo_steps: int = 4
    threads: int = 2


@dataclass(frozen=True)
class StageReport:
    """Means over the first and the last steps of a stage, and how long it took."""

    stage: str
    metric: str
    first: float
    last: float
    seconds: float

    @property
    def learned(self) -> bool:
        """Whether the loss fell, or the margin rose, far enough."""
        return self.last > MIN_MARGIN if self.metric == "margin" else self.last < MAX_LOSS_SHARE * self.first

    def __str__(self) -> str:
        verdict = "" if self.learned else "  NOT LEARNED"
        return f"{self.stage:9}{self.metric:7}{self.first:8.3f} -> {self.last:.3f}   {self.seconds:.0f} s{verdict}"


def run_smoke(base: Path, folder: Path, plan: Plan, tell: Callable[[StageReport], None]) -> list[StageReport]:
    """Run the three stages in a folder; the merged checkpoint of the last is ``folder/merged``.

    Args:
        base: checkpoint in the official layout to start from.
        tell: told about each stage as it ends.
    """
    manifest = _write_sounds(folder)
    reports, start = [], f'checkpoint = "{base}"'
    for stage, steps in (("pretrain", plan.pretrain_steps), ("sft", plan.sft_steps), ("dpo", plan.dpo_steps)):
        recipe = folder / f"{stage}.toml"
        schedule = f"[schedule]\nsteps = {steps}\nwarmup_steps = 2\nsave_every_steps = {steps}"
        recipe.write_text(
            f'stage = "{stage}"\nseed = 5\nbatch_size = 4\nthreads = {plan.threads}\nlora_rank = 8\nlora_alpha = 16\n'
            f'[start]\n{start}\n[[data]]\nmanifest = "{manifest}"\nweight = 1.0\n{getattr(plan, stage)}\n{schedule}\n'
        )
        began = time.monotonic()
        run_recipe(recipe, folder / stage)
        reports.append(_report(stage, folder / stage / "curve.csv", time.monotonic() - began))
        tell(reports[-1])
        export(read_recipe(recipe), folder / stage, folder / f"{stage}-delta", "a smoke test")
        start = f'checkpoint = "{base}"\n' + "\n".join(
            f'{part} = "{folder}/{stage}-delta/{part}.safetensors"' for part in ("audio", "lora")
        )
    write_merged(read_recipe(recipe), folder / "dpo", folder / "merged")
    return reports


def _report(stage: str, curve: Path, seconds: float) -> StageReport:
    metric = "margin" if stage == "dpo" else "loss"
    values = [row[metric] for row in read_curve(curve)]
    first, last = (sum(part) / len(part) for part in (values[:_WINDOW], values[-_WINDOW:]))
    return StageReport(stage, metric, first, last, seconds)


def _write_sounds(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for place, name in enumerate(SOUNDS):
        for number in range(CLIPS_PER_SOUND):
            clip = at_peak(FORMULAS[name](random.Random(f"{name} {number}"), True).astype(np.float32), 0.6)
            examples.append(
                Example(
                    id=f"{name} {number}",
                    task="sound",
                    split="train",
                    license=FORMULA_LICENSE,
                    source="formula",
                    audio=[write_clip(clip, folder, f"{name}-{number}.wav")],
                    messages=[user_turn(SOUND[0], 1), assistant_turn(answer(name))],
                    rejected=answer(SOUNDS[(place + 1) % len(SOUNDS)]),
                    words=heard_as(name, clip),
                    choices=list(SOUNDS),
                )
            )
    write_manifest(folder / "sounds.jsonl", examples)
    return folder / "sounds.jsonl"


def main() -> int:
    """Train auricle-mini in a temporary folder; 1 if a stage has not learned."""
    with tempfile.TemporaryDirectory() as scratch:
        base = write_base(Path(scratch) / "base")
        reports = run_smoke(base, Path(scratch) / "runs", Plan(), lambda report: print(report, flush=True))
    return 0 if all(report.learned for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
