"""Requests of ours in vLLM's words, and vLLM's outputs in ours."""

import json
import time
from collections.abc import Iterable
from typing import Any

import torch
from vllm.inputs.engine import EngineInput, embeds_input, tokens_input
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services.common.errors import FailedPrecondition, Internal
from services.common.generation import GenerationParams
from services.decoder import metrics
from services.decoder.detokenizer import Detokenizer, TokenBytes
from services.decoder.engine import EngineRequest, Finish, FinishReason, TokenEvent
from services.decoder.grammar_trial import JSON_STYLE
from services.decoder.sampling import GREEDY_BELOW_TEMPERATURE

_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def refuse_unsupported(request: EngineRequest) -> None:
    """FailedPrecondition for what vLLM has not: logits of two prompts put together."""
    if request.params.audio_contrast and request.audio:
        raise FailedPrecondition(
            "this decoder runs on vLLM, which cannot decode with audio_contrast; leave it out or ask a decoder that "
            "runs on the torch engine",
            reason="AUDIO_CONTRAST_UNSUPPORTED",
            metadata={"engine": "vllm"},
        )


def prompt_of(request: EngineRequest, hidden_size: int, dtype: torch.dtype) -> EngineInput:
    """Token ids, and for audio the embeddings that take their places; vLLM embeds the rest itself."""
    token_ids = list(request.token_ids)
    if not request.audio:
        return tokens_input(token_ids)
    embeddings = torch.zeros(len(token_ids), hidden_size, dtype=dtype)
    is_token = [True] * len(token_ids)
    for span in request.audio:
        end = span.start + len(span.embeddings)
        embeddings[span.start : end] = torch.tensor(span.embeddings)
        is_token[span.start : end] = [False] * len(span.embeddings)
    return embeds_input(embeddings, prompt_token_ids=token_ids, is_token_ids=is_token)


def sampling_of(params: GenerationParams, end_tokens: Iterable[int]) -> SamplingParams:
    """vLLM's parameters. Text and stop strings are our own affair, so that both engines give the same."""
    greedy = params.temperature < GREEDY_BELOW_TEMPERATURE
    return SamplingParams(
        max_tokens=params.max_output_tokens,
        temperature=0.0 if greedy else params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        repetition_penalty=params.repetition_penalty,
        seed=params.seed,
        # Ends of answers are those of the checkpoint, whatever vLLM reads from its files.
        ignore_eos=True,
        stop_token_ids=sorted(end_tokens),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=_form_of(params),
    )


def _form_of(params: GenerationParams) -> StructuredOutputsParams | None:
    if params.regex is not None:
        return StructuredOutputsParams(regex=params.regex)
    if params.json_schema is None:
        return None
    schema: Any = json.loads(params.json_schema)
    if not isinstance(schema, dict):
        schema = {"allOf": [schema]}
    return StructuredOutputsParams(json=schema | {"x-guidance": JSON_STYLE})


class Answer:
    """One answer while it comes: from vLLM's outputs to events with text and times.

    Args:
        request: what is answered.
        token_bytes: the tokenizer's table.
    """

    def __init__(self, request: EngineRequest, token_bytes: TokenBytes) -> None:
        self._request = request
        self._text = Detokenizer(token_bytes, request.params.stop)
        self._started_at = self._first_token_at = self._last_token_at = 0.0
        self._cached_tokens = 0

    def take(self, output: RequestOutput) -> TokenEvent:
        """The piece of the answer that an output brings; tokens behind a stop string are left out.

        Raises:
            Internal: vLLM ended the request for a reason of its own.
        """
        (completion,) = output.outputs
        token_ids, text = [], ""
        for token_id in completion.token_ids:
            token_ids.append(token_id)
            text += self._text.push(token_id)
            if self._text.stopped:
                break
        self._count(output, len(token_ids))
        reason = FinishReason.STOP_STRING if self._text.stopped else self._reason(completion.finish_reason)
        if reason is None:
            return TokenEvent(tuple(token_ids), text)
        metrics.count_finish(reason)
        return TokenEvent(tuple(token_ids), text + self._text.flush(), self._finish(reason))

    def _reason(self, told: str | None) -> FinishReason | None:
        if told is not None and told not in _FINISH_REASONS:
            raise Internal(f"vLLM ended the request: {told}")
        return _FINISH_REASONS[told] if told else None

    def _count(self, output: RequestOutput, tokens: int) -> None:
        now = time.monotonic()
        if not tokens:
            return
        if not self._first_token_at:
            scheduled_at = output.metrics.scheduled_ts if output.metrics else 0.0
            # vLLM's clock is ours while its core runs on this machine.
            self._started_at = min(max(scheduled_at, self._request.arrival), now)
            self._first_token_at = self._last_token_at = now
            self._cached_tokens = output.num_cached_tokens or 0
            metrics.count_prefix(len(self._request.token_ids), self._cached_tokens)
            metrics.count_first_token(len(self._request.token_ids), now - self._request.arrival)
            tokens -= 1
        # An output that waited for its reader brings several tokens.
        for _ in range(tokens):
            metrics.count_next_token((now - self._last_token_at) / tokens)
        self._last_token_at = now

    def _finish(self, reason: FinishReason) -> Finish:
        return Finish(
            reason,
            queue_seconds=self._started_at - self._request.arrival,
            prefill_seconds=self._first_token_at - self._started_at,
            decode_seconds=self._last_token_at - self._first_token_at,
            cached_tokens=self._cached_tokens,
        )
