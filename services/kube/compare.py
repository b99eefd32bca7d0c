"""The stable model and the canary on the same held-out tasks, both through the gateway, and the rule that judges.

The rule: the canary passes when on no task its score is worse than the stable one's by more than the tolerance. Scores
are fractions, so a tolerance of 0.02 is two points; whether more or less is better is each score's own matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from auricle import AsyncClient, Model
from services.evaluation.report import LOWER_IS_BETTER, Result
from services.evaluation.run import Limits, Progress, evaluate_platform
from services.evaluation.task import Task
from services.kube.cluster import KubeError

# By it a call asks the gateway for a track: services.gateway.tracks.
TRACK_METADATA = "x-auricle-track"


@dataclass(frozen=True)
class Loss:
    """A task on which the canary is worse, by how much."""

    title: str
    points: float


def losses(stable: Sequence[Result], canary: Sequence[Result]) -> list[Loss]:
    """How much worse the canary is on each task; below 0 where it is better.

    Raises:
        ValueError: they answered other tasks.
    """
    found = []
    for ours, theirs in zip(stable, canary, strict=True):
        if ours.task.title != theirs.task.title:
            raise ValueError(f"{ours.task.title} is compared with {theirs.task.title}")
        gained = theirs.score.value - ours.score.value
        found.append(Loss(ours.task.title, gained if ours.score.name in LOWER_IS_BETTER else -gained))
    return found


def judge(stable: Sequence[Result], canary: Sequence[Result], tolerance: float) -> tuple[bool, str]:
    """Whether the canary passes, and a sentence that says why."""
    found = losses(stable, canary)
    worse = [loss for loss in found if loss.points > tolerance]
    rule = f"no task may lose more than {100 * tolerance:g} points"
    if worse:
        told = ", ".join(f"{loss.title} loses {100 * loss.points:.1f}" for loss in worse)
        return False, f"{told}; {rule}"
    questions = sum(len(result.answers) for result in canary)
    return True, f"{len(found)} tasks, {questions} questions; {rule}, and none does"


async def evaluate_both(
    stable: AsyncClient, canary: AsyncClient, model: str, tasks: Sequence[Task], limits: Limits, progress: Progress
) -> tuple[list[Result], list[Result]]:
    """All tasks answered by either track.

    Args:
        stable: asks the stable track by name.
        canary: asks the other.
        model: what the rollout says that the canary serves.

    Raises:
        KubeError: the gateway that is asked knows of no such canary, or both tracks serve the same.
        AuricleError: of the SDK.
    """
    ours, theirs = await stable.model(), await canary.model()
    _check(ours, theirs, model)
    before = await evaluate_platform(stable, "stable", tasks, limits, progress)
    after = await evaluate_platform(canary, "canary", tasks, limits, progress)
    return before, after


def _check(stable: Model, canary: Model, model: str) -> None:
    if not canary.fingerprint or not stable.fingerprint:
        raise KubeError(
            f"the gateway does not know what the {'canary' if stable.fingerprint else 'stable track'} serves"
        )
    if canary.model != model:
        raise KubeError(f"the gateway's canary is {canary.model}, not {model}: is --address this release's gateway?")
    if stable.fingerprint == canary.fingerprint:
        raise KubeError(f"both tracks serve the checkpoint {stable.fingerprint[:12]}: there is nothing to compare")
