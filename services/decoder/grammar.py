"""Answers of a given form: JSON of a schema, or a match of a regular expression.

llguidance says before each token which ones may follow. It works in threads of its own, beside the step that computes
the logits, so a form costs the other requests no time; one that takes too long ends its own request alone.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from services.common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from services.common.generation import GenerationParams
from services.decoder.grammar_trial import LIMITS, TrialError, source_of, try_out

MASK_THREADS = 2
MAX_WAITING = 16
TRIALS_REMEMBERED = 256
# A mask takes a millisecond or two; nobody's step waits longer than this for one.
MASK_SECONDS = 1.0


class Grammar:
    """How far the answer of one request has come.

    Args:
        matcher: llguidance's, at its beginning.
        pool: where masks are computed.
    """

    def __init__(self, matcher: Any, pool: ThreadPoolExecutor) -> None:
        self._matcher = matcher
        self._pool = pool
        self._mask: Future[bytes] = pool.submit(matcher.compute_bitmask)

    def forbidden(self, tokens: int) -> Tensor:
        """Which of so many tokens may not come next, `(tokens,)` bool.

        Raises:
            InvalidArgument: GRAMMAR_TOO_COMPLEX, there is no saying within MASK_SECONDS or the limits.
        """
        try:
            bits = self._mask.result(MASK_SECONDS)
        except TimeoutError:
            self._mask.cancel()
            raise _no_mask(f"which tokens may follow takes more than {MASK_SECONDS:g} s to say") from None
        if self._matcher.is_error():
            raise _no_mask(str(self._matcher.get_error()).splitlines()[0])
        allowed = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little", count=tokens)
        return torch.from_numpy(allowed) == 0

    def accept(self, token_id: int) -> None:
        """Go on behind a token, which must not be forbidden."""
        self._mask = self._pool.submit(self._advance, token_id)

    def _advance(self, token_id: int) -> bytes:
        self._matcher.consume_token(token_id)
        return self._matcher.compute_bitmask()


class GrammarCompiler:
    """Makes grammars for one tokenizer.

    Args:
        tokenizer: the checkpoint's.
        tokens: rows of the model's head.
        end_tokens: ids that end an answer; allowed wherever the form is complete.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, tokens: int, end_tokens: Iterable[int]) -> None:
        self._tokenizer_json = tokenizer.backend_tokenizer.to_str()
        self._tokens = tokens
        # llguidance knows the tokenizer's tokens only; a model's head may have more.
        known = sorted(token for token in end_tokens if token < len(tokenizer))
        self._end_tokens = known or tokenizer.eos_token_id
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="grammar-build")
        self._pool = ThreadPoolExecutor(MASK_THREADS, thread_name_prefix="grammar")
        self._problem_of = lru_cache(TRIALS_REMEMBERED)(try_out)
        self._vocabulary: Any = None
        self._waiting = 0

    async def compile(self, params: GenerationParams) -> Grammar | None:
        """The grammar that the params ask for, if they do.

        A form that was never seen is tried out first, in a process that ends when it takes too long.

        Raises:
            InvalidArgument: GRAMMAR_INVALID, it is no schema or regex that is understood, or nothing satisfies it;
                GRAMMAR_TOO_COMPLEX.
            ResourceExhausted: too many forms wait to be made.
            FailedPrecondition: llguidance is not installed.
        """
        kind = "json_schema" if params.json_schema else "regex"
        text = params.json_schema or params.regex
        if text is None:
            return None
        if self._waiting >= MAX_WAITING:
            raise ResourceExhausted(
                f"{MAX_WAITING} schemas wait to be prepared", reason="GRAMMAR_QUEUE_FULL", retry_after_seconds=1.0
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._builder, self._build, kind, text)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads."""
        for pool in (self._builder, self._pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def _build(self, kind: str, text: str) -> Grammar:
        try:
            import llguidance
        except ModuleNotFoundError:
            message = "this decoder is installed without structured output"
            raise FailedPrecondition(message, reason="STRUCTURED_OUTPUT_MISSING") from None
        try:
            problem = self._problem_of(kind, text)
        except TrialError as error:
            raise _too_complex(str(error), kind) from None
        if problem:
            raise InvalidArgument.of_field(f"config.{kind}", problem, reason="GRAMMAR_INVALID")
        if self._vocabulary is None:
            # Takes a second, once.
            self._vocabulary = llguidance.LLTokenizer(
                self._tokenizer_json, n_vocab=self._tokens, eos_token=self._end_tokens
            )
        limits = llguidance.LLParserLimits(**LIMITS)
        matcher = llguidance.LLMatcher(self._vocabulary, source_of(kind, text), log_level=0, limits=limits)
        return Grammar(matcher, self._pool)


def _no_mask(problem: str) -> InvalidArgument:
    return InvalidArgument(f"the form of the answer is too complex: {problem}", reason="GRAMMAR_TOO_COMPLEX")


def _too_complex(problem: str, kind: str) -> InvalidArgument:
    return InvalidArgument.of_field(f"config.{kind}", problem, reason="GRAMMAR_TOO_COMPLEX")
