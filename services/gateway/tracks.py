"""The models that answer side by side while a new one is rolled out: the stable one, and a canary with its share.

A track is an encoder and a decoder of one model, so no answer mixes two. A conversation keeps its track: what chooses
is a hash of its beginning. While the canary is not whole its share goes to the stable model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auricle.v1 import assistant_pb2, generation_pb2
from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.interceptors import metadata_value
from services.gateway.status import StatusBoard
from services.pipeline import metrics
from services.pipeline.model_watch import ModelWatch
from services.pipeline.pipeline import Pipeline

STABLE, CANARY = "stable", "canary"
# Metadata of a call that asks for a track by name, whatever its share: comparisons do.
TRACK_KEY = "x-auricle-track"
# Of a recording this much is looked at: its beginning tells conversations apart.
_HASHED_BYTES = 2**16


@dataclass(frozen=True)
class Track:
    """One model, and what is known of it."""

    name: str
    pipeline: Pipeline
    models: ModelWatch
    board: StatusBoard


class Tracks:
    """Chooses who answers.

    Args:
        stable: answers unless another is chosen.
        canary: the one that is tried, if there is one.
        percent: share of the conversations that the canary gets.
    """

    def __init__(self, stable: Track, canary: Track | None = None, percent: int = 0) -> None:
        self._stable = stable
        self._canary = canary
        self._percent = percent

    def named(self, wanted: str | None) -> Track:
        """The track of that name; None names the stable one.

        Raises:
            FailedPrecondition: nothing is rolled out (NO_CANARY).
            InvalidArgument: there are no tracks of such a name.
        """
        if wanted in (None, STABLE):
            return self._stable
        if wanted != CANARY:
            raise InvalidArgument(f"{TRACK_KEY} is {STABLE} or {CANARY}", reason="TRACK_UNKNOWN")
        if self._canary is None:
            raise FailedPrecondition("no model is being rolled out", reason="NO_CANARY")
        return self._canary

    def choose(self, messages: Sequence[assistant_pb2.Message], wanted: str | None) -> Track:
        """Who answers a conversation; raises as `named` does."""
        if wanted is not None or self._canary is None or bucket(messages) >= self._percent:
            track = self.named(wanted)
        elif self._canary.models.is_whole:
            track = self._canary
        else:
            metrics.CANARY_PASSED_OVER.inc()
            track = self._stable
        metrics.CHATS.labels(track.name).inc()
        return track


def wanted_track(context: Any) -> str | None:
    """The track that a call asks for; None when it does not."""
    return metadata_value(context, TRACK_KEY)


def bucket(messages: Sequence[assistant_pb2.Message]) -> int:
    """0 to 99, evenly spread, the same for all turns of a conversation: by what it says up to the user's first turn."""
    digest = hashlib.sha256()
    for message in messages:
        for part in message.content:
            digest.update(part.text.encode() + part.audio.name.encode() + part.audio.data[:_HASHED_BYTES])
        if message.role == generation_pb2.ROLE_USER:
            break
    return int.from_bytes(digest.digest()[:8]) % 100
