"""From a GenerateRequest to what the engine takes: everything that a caller can get wrong is found here."""

from collections.abc import Iterator, Sequence

import numpy as np

from auricle.v1 import decoder_pb2, generation_pb2
from services.common import generation, tensors
from services.common.errors import InvalidArgument
from services.decoder.engine import AudioSpan, EngineRequest, Priority
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder, Role

_ROLES: dict[int, Role] = {
    generation_pb2.ROLE_SYSTEM: "system",
    generation_pb2.ROLE_USER: "user",
    generation_pb2.ROLE_ASSISTANT: "assistant",
}

_PRIORITIES: dict[int, Priority] = {
    decoder_pb2.DECODER_PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    decoder_pb2.DECODER_PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    decoder_pb2.DECODER_PRIORITY_BULK: Priority.BULK,
}


class RequestReader:
    """Checks requests and lays out their prompts for one model.

    Args:
        prompts: chat template and tokenizer.
        hidden_size: width of an embedding.
        max_window_tokens: most embeddings that the encoder makes of one window.
        context_tokens: most tokens of prompt and answer together.
    """

    def __init__(
        self, prompts: PromptBuilder, *, hidden_size: int, max_window_tokens: int, context_tokens: int
    ) -> None:
        self._prompts = prompts
        self._hidden_size = hidden_size
        self._max_window_tokens = max_window_tokens
        self._context_tokens = context_tokens

    def read(self, request: decoder_pb2.GenerateRequest, arrival: float, deadline: float) -> EngineRequest:
        """The request for the engine; `max_output_tokens` is cut to what the context leaves.

        Raises:
            InvalidArgument: a limit is broken (with all violations), the priority is unknown, a tensor is malformed
                (TENSOR_INVALID), embeddings are not the model's (EMBEDDING_INVALID), or the prompt leaves no room
                (PROMPT_TOO_LONG).
        """
        generation.check_request(request.messages, "parts", request.config)
        if request.priority not in _PRIORITIES:
            raise InvalidArgument.of_field("priority", f"{request.priority} is none of the priorities")
        windows: list[np.ndarray] = []
        messages = [self._message(index, message, windows) for index, message in enumerate(request.messages)]
        prompt = self._prompts.build(messages)
        room = self._context_tokens - len(prompt.token_ids)
        if room < 1:
            raise self._too_long(len(prompt.token_ids))
        audio = [AudioSpan(start, window) for (start, _), window in zip(prompt.audio_spans, windows, strict=True)]
        for span in audio:
            # The engine's thread will ask for it, and has no time to compute it.
            _ = span.content_sha256
        params = generation.params_of(request.config).with_at_most(room)
        return EngineRequest(prompt.token_ids, audio, params, arrival, deadline, _PRIORITIES[request.priority])

    def _message(self, index: int, message: decoder_pb2.DecoderMessage, windows: list[np.ndarray]) -> Message:
        """The message for the template; its windows are appended to `windows`."""
        parts: list[str | AudioSlot] = []
        for number, part in enumerate(message.parts):
            if part.WhichOneof("part") == "text":
                parts.append(part.text)
                continue
            field = f"messages[{index}].parts[{number}].audio.windows"
            heard = list(self._windows(field, part.audio.windows))
            windows += heard
            parts.append(AudioSlot(tuple(len(window) for window in heard)))
        return Message(_ROLES[message.role], parts)

    def _windows(self, field: str, windows: Sequence) -> Iterator[np.ndarray]:
        if not windows:
            raise _invalid(field, "an audio needs at least one window")
        for index, window in enumerate(windows):
            yield self._embeddings(f"{field}[{index}]", tensors.from_proto(window, f"{field}[{index}]"))

    def _embeddings(self, field: str, array: np.ndarray) -> np.ndarray:
        if array.ndim != 2 or array.shape[1] != self._hidden_size:
            raise _invalid(field, f"must have the shape (tokens, {self._hidden_size}), has {array.shape}")
        if not 1 <= len(array) <= self._max_window_tokens:
            raise _invalid(field, f"a window has 1 to {self._max_window_tokens} tokens, this one {len(array)}")
        if not np.isfinite(array).all():
            raise _invalid(field, "holds values that are NaN or infinite")
        return array

    def _too_long(self, prompt_tokens: int) -> InvalidArgument:
        return InvalidArgument(
            f"the prompt takes {prompt_tokens} tokens and leaves no room for an answer in a context of "
            f"{self._context_tokens}; send less audio or text, or submit long recordings as a job",
            reason="PROMPT_TOO_LONG",
            metadata={"prompt_tokens": str(prompt_tokens), "context_tokens": str(self._context_tokens)},
        )


def _invalid(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of_field(field, description, reason="EMBEDDING_INVALID")
