"""An evaluation from manifests to results."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle import AsyncClient
from services.evaluation.local_model import answer_locally, load_local_model
from services.evaluation.manifest import Example, read_manifest
from services.evaluation.platform import answer_remotely
from services.evaluation.report import Result
from services.evaluation.task import HELD_OUT_SPLITS, KINDS, Task, held_out_tasks

# Told that a model begins a task; returns what is called at each answer.
Progress = Callable[[str, Task], Callable[[], None]]


class EvaluationError(Exception):
    """Nothing can be evaluated; the text says what is wrong with the tasks or manifests named."""


@dataclass(frozen=True)
class Limits:
    """Examples per task and split (None: all), tokens per answer, questions in flight."""

    examples: int | None = None
    answer_tokens: int = 64
    concurrency: int = 4


def read_tasks(
    manifests: Sequence[Path], wanted: Sequence[str], limit: int | None, warn: Callable[[str], None]
) -> list[Task]:
    """The held-out tasks of some manifests; all kinds found if none is wanted by name.

    Args:
        warn: told about lines that cannot be used.

    Raises:
        EvaluationError: an unknown task, a manifest that is missing, or one without held-out examples of a task.
    """
    if unknown := [name for name in wanted if name not in KINDS]:
        raise EvaluationError(f"unknown task {', '.join(unknown)}; known are {', '.join(KINDS)}")
    examples: list[Example] = []
    for path in manifests:
        try:
            manifest = read_manifest(path, *HELD_OUT_SPLITS)
        except OSError as error:
            raise EvaluationError(f"cannot read manifest {path}: {error.strerror}") from error
        examples += manifest.examples
        if manifest.skipped:
            warn(f"{path}: {manifest.skipped.total()} lines skipped: {dict(manifest.skipped)}")
    tasks = [task for task in held_out_tasks(examples, limit) if not wanted or task.name in wanted]
    found = {task.name for task in tasks}
    if missing := [name for name in wanted if name not in found] or ([] if tasks else ["any task"]):
        splits = ", ".join(HELD_OUT_SPLITS)
        raise EvaluationError(f"no usable examples of {', '.join(missing)} in the splits {splits} of the manifests")
    return tasks


async def evaluate_platform(
    client: AsyncClient, address: str, tasks: Sequence[Task], limits: Limits, progress: Progress
) -> list[Result]:
    """All tasks, answered by a platform.

    Raises:
        AuricleError: of the SDK: the platform cannot be reached, or refused a question.
    """
    name = f"{(await client.model()).model} at {address}"
    results = []
    for task in tasks:
        began, advance = time.monotonic(), progress(name, task)
        answers = await answer_remotely(client, task.examples, limits.answer_tokens, limits.concurrency, advance)
        results.append(Result(name, task, task.score(answers), answers, time.monotonic() - began))
    return results


def evaluate_checkpoint(directory: Path, tasks: Sequence[Task], limits: Limits, progress: Progress) -> list[Result]:
    """All tasks, answered by a checkpoint in this process.

    Raises:
        CheckpointError: the directory is no checkpoint of Qwen2-Audio.
    """
    model, name = load_local_model(directory), str(directory)
    results = []
    for task in tasks:
        began, advance = time.monotonic(), progress(name, task)
        answers = answer_locally(model, task.examples, max_answer_tokens=limits.answer_tokens, on_answer=advance)
        results.append(Result(name, task, task.score(answers), answers, time.monotonic() - began))
    return results
