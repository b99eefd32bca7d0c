"""Greedy answers of transformers to the conversations of tests.prompts, computed once per process and checkpoint."""

import functools
from pathlib import Path

from tests.prompts import CONVERSATIONS
from tests.reference import Reference


@functools.cache
def reference(checkpoint: Path) -> Reference:
    """transformers' own model of a checkpoint."""
    return Reference(checkpoint)


@functools.cache
def greedy_answers(checkpoint: Path, max_new_tokens: int) -> dict[str, list[int]]:
    """Token ids by name of the conversation, each generated alone."""
    model = reference(checkpoint)
    return {c.name: model.generate(c.without_audio, c.audios, max_new_tokens) for c in CONVERSATIONS}
