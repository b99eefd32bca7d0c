"""llama.cpp as a side of the benchmark: several sequences in one batch, as its server decodes them."""

import argparse
import time
from typing import Any

import llama_cpp as ll
import numpy as np

from tests.load.peers.protocol import claim_output, serve

MAX_SEQUENCES = 16
CONTEXT_TOKENS = 512  # of one sequence
BATCH_TOKENS = 512


class LlamaSide:
    """Operations of the protocol on a context of llama.cpp."""

    def __init__(self, gguf: str, threads: int) -> None:
        ll.llama_backend_init()
        loading = ll.llama_model_default_params()
        # Repacking for AMX crashed with Q8_0 on the machine this was measured on; without it the AVX-512 products run.
        loading.use_extra_bufts = False
        self._model = ll.llama_model_load_from_file(gguf.encode(), loading)
        if not self._model:
            raise SystemExit(f"llama.cpp does not load {gguf}")
        params = ll.llama_context_default_params()
        params.n_ctx = MAX_SEQUENCES * CONTEXT_TOKENS
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = MAX_SEQUENCES
        params.n_threads = params.n_threads_batch = threads
        self._context = ll.llama_init_from_model(self._model, params)
        self._width = ll.llama_model_n_embd(self._model)
        self._vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self._model))

    def decode(self, prompts: list[list[int]], tokens: int) -> dict[str, Any]:
        """Answer all prompts together."""
        start = time.perf_counter()
        self._forget()
        # As many prompts at a time as a batch holds.
        last: list[int] = []
        together = BATCH_TOKENS // len(prompts[0])
        for first in range(0, len(prompts), together):
            share = prompts[first : first + together]
            last += self._compute(
                [
                    (token, position, first + number, position == len(prompt) - 1)
                    for number, prompt in enumerate(share)
                    for position, token in enumerate(prompt)
                ]
            )
        answers = [[token] for token in last]
        for step in range(tokens - 1):
            position = len(prompts[0]) + step
            last = self._compute([(token, position, number, True) for number, token in enumerate(last)])
            for answer, token in zip(answers, last, strict=True):
                answer.append(token)
        return {"seconds": time.perf_counter() - start, "answers": answers}

    def ask(self, token_ids: list[int], start: int, audio_tokens: int, embeddings: str, tokens: int) -> dict[str, Any]:
        """Answer a question about audio, all of whose prompt is given as embeddings."""
        rows = np.load(embeddings)
        began = time.perf_counter()
        self._forget()
        (token,) = self._compute_embeddings(rows)
        first = time.perf_counter()
        for step in range(tokens - 1):
            (token,) = self._compute([(token, len(rows) + step, 0, True)])
        return {"first_token_seconds": first - began, "seconds": time.perf_counter() - began}

    def _forget(self) -> None:
        ll.llama_memory_clear(ll.llama_get_memory(self._context), True)

    def _compute(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """The likeliest token after each row that wants one; rows are token, position, sequence, whether it wants."""
        batch = ll.llama_batch_init(len(rows), 0, 1)
        for index, (token, _, _, _) in enumerate(rows):
            batch.token[index] = token
        return self._run(batch, [row[1:] for row in rows])

    def _compute_embeddings(self, rows: np.ndarray) -> list[int]:
        batch = ll.llama_batch_init(len(rows), self._width, 1)
        np.ctypeslib.as_array(batch.embd, shape=rows.shape)[:] = rows
        return self._run(batch, [(position, 0, position == len(rows) - 1) for position in range(len(rows))])

    def _run(self, batch: Any, rows: list[tuple[int, int, bool]]) -> list[int]:
        batch.n_tokens = len(rows)
        for index, (position, sequence, wanted) in enumerate(rows):
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = wanted
        if ll.llama_decode(self._context, batch):
            raise SystemExit("llama.cpp failed a batch")
        likeliest = [
            int(np.ctypeslib.as_array(ll.llama_get_logits_ith(self._context, index), (self._vocabulary,)).argmax())
            for index, (_, _, wanted) in enumerate(rows)
            if wanted
        ]
        ll.llama_batch_free(batch)
        return likeliest


def main() -> None:
    """Serve until the input ends."""
    answer = claim_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gguf", required=True)
    given = parser.parse_args()
    side = LlamaSide(given.gguf, given.threads)
    serve(answer, {"decode": side.decode, "ask": side.ask})


if __name__ == "__main__":
    main()
