"""The HorizontalPodAutoscaler's decision, which KEDA leaves to it.

Follows kubernetes/pkg/controller/podautoscaler: for each signal the sum over its target, rounded up; the largest wins;
a deviation within the tolerance is let pass; less is asked for only when nothing more was asked for during the
stabilization window; policies bound how many come or go in a period.
"""

import math
from collections import deque
from collections.abc import Mapping

from services.planning.chart import Behavior, Bounds


class Scaler:
    """Decides over one service's replicas. Remembers what it asked for and did."""

    def __init__(self, bounds: Bounds, behavior: Behavior) -> None:
        self._bounds = bounds
        self._behavior = behavior
        self._asked: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now: float, current: int, signals: Mapping[str, float]) -> int:
        """Replicas that there should be.

        Args:
            now: seconds.
            current: replicas that there are, starting ones included.
            signals: by name of its target, the sum over the pods.
        """
        wanted = max(self._wanted(current, signals[name], target) for name, target in self._bounds.targets.items())
        wanted = self._within_policies(now, current, self._stabilized(now, current, wanted))
        wanted = min(max(wanted, self._bounds.least), self._bounds.most)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _wanted(self, current: int, value: float, target: float) -> int:
        ratio = value / (target * current)
        return current if abs(ratio - 1) <= self._behavior.tolerance else math.ceil(value / target)

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        """Less than the current only as far as everything asked for lately allows."""
        while self._asked and self._asked[0][0] <= now - self._behavior.in_after_seconds:
            self._asked.popleft()
        self._asked.append((now, wanted))
        return wanted if wanted >= current else min(current, max(asked for _, asked in self._asked))

    def _within_policies(self, now: float, current: int, wanted: int) -> int:
        rules = self._behavior
        longest = max(rules.out_period_seconds, rules.in_period_seconds)
        while self._changes and self._changes[0][0] <= now - longest:
            self._changes.popleft()
        if wanted > current:
            before = current - self._moved(now - rules.out_period_seconds, 1)
            most = max(math.ceil(before * (1 + rules.out_percent / 100)), before + rules.out_pods)
            return max(current, min(wanted, most))
        before = current - self._moved(now - rules.in_period_seconds, -1)
        return min(current, max(wanted, before - rules.in_pods))

    def _moved(self, since: float, sign: int) -> int:
        """Replicas that came (sign 1) or, as a negative number, went (sign -1) since then."""
        return sum(change for at, change in self._changes if at > since and change * sign > 0)
