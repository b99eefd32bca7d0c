"""Deadlines travel with the call: what is left of the caller's time is what the next service gets."""

import contextvars
import time

from services.common.errors import DeadlineExceeded

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


def set_remaining(seconds: float) -> None:
    """Bind the current call's deadline, `seconds` from now."""
    _deadline.set(time.monotonic() + seconds)


def remaining_seconds(at_most: float = float("inf")) -> float:
    """Seconds left for the current call, never more than `at_most`.

    Raises:
        DeadlineExceeded: nothing is left.
    """
    deadline = _deadline.get()
    if deadline is None:
        return at_most
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("the deadline of the call has passed")
    return min(left, at_most)
