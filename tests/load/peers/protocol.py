"""How the benchmark talks to a side: one JSON object a line, on standard input and output.

Nothing but the standard library is imported here, because every side's environment runs it.

    {"op": "decode", "prompts": [[1, 2], [3, 4]], "tokens": 48}
        -> {"seconds": 1.2, "answers": [[5, ...], [6, ...]]}
    {"op": "ask", "token_ids": [...], "start": 9, "audio_tokens": 125, "embeddings": "prompt.npy", "tokens": 32}
        -> {"first_token_seconds": 0.2, "seconds": 0.9}
    {"op": "converse", "seeds": [0, 1], "clip_seconds": 5.0, "question": "...", "callers": 2, "tokens": 32}
        -> {"seconds": 3.1, "answers": [{"arrivals": [0.4, 0.5, ...], "tokens": 12}, ...]}

`embeddings` holds float32 `(tokens, hidden)` of the whole prompt; the audio's are the `audio_tokens` from `start`.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Operations = dict[str, Callable[..., dict[str, Any]]]


def claim_output() -> Callable[[dict[str, Any]], None]:
    """Take standard output for answers alone: whatever a library prints goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=output, flush=True)

    return answer


def serve(answer: Callable[[dict[str, Any]], None], operations: Operations) -> None:
    """Say that the side is ready, then do what is asked until the input ends."""
    answer({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        answer(operations[asked.pop("op")](**asked))
