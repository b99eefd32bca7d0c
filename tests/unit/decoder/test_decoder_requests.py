"""What a caller can get wrong is found before the engine sees it, and named."""

from typing import Any

import numpy as np
import pytest

from auricle.v1 import audio_pb2, decoder_pb2, generation_pb2
from services.common import tensors
from services.common.errors import InvalidArgument
from services.decoder.conversation import RequestReader
from services.qwen2_audio.mel import MAX_FRAMES, audio_token_count
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder
from services.qwen2_audio.weights import Checkpoint

pytestmark = pytest.mark.unit

HIDDEN = 64
USER = generation_pb2.ROLE_USER
FIELD = "messages[0].parts[0].audio.windows"


@pytest.fixture(scope="module")
def prompts(checkpoint: Checkpoint, tokenizer: Any) -> PromptBuilder:
    return PromptBuilder(tokenizer, checkpoint.config)


@pytest.fixture(scope="module")
def reader(prompts: PromptBuilder) -> RequestReader:
    most = audio_token_count(MAX_FRAMES)
    return RequestReader(prompts, hidden_size=HIDDEN, max_window_tokens=most, context_tokens=2000)


def window(tokens: int, hidden: int = HIDDEN, value: float = 0.5) -> audio_pb2.Tensor:
    return tensors.to_proto(np.full((tokens, hidden), value, np.float32))


def audio(*windows: audio_pb2.Tensor) -> decoder_pb2.DecoderPart:
    return decoder_pb2.DecoderPart(audio=decoder_pb2.AudioEmbedding(windows=windows))


def asked(*parts: decoder_pb2.DecoderPart, **config: Any) -> decoder_pb2.GenerateRequest:
    return decoder_pb2.GenerateRequest(
        messages=[decoder_pb2.DecoderMessage(role=USER, parts=parts)],
        config=generation_pb2.GenerationConfig(**config),
    )


def text(words: str) -> decoder_pb2.DecoderPart:
    return decoder_pb2.DecoderPart(text=words)


def refused(reader: RequestReader, request: decoder_pb2.GenerateRequest) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as raised:
        reader.read(request, 0.0, 1.0)
    return raised.value


def test_a_request_is_laid_out_as_the_template_has_it(reader: RequestReader, prompts: PromptBuilder) -> None:
    request = asked(text("first "), audio(window(2, value=1), window(3, value=2)), audio(window(4, value=3)))
    read = reader.read(request, 5.0, 9.0)
    expected = prompts.build([Message("user", ["first ", AudioSlot((2, 3)), AudioSlot((4,))])])
    assert read.token_ids == expected.token_ids
    assert [(span.start, len(span.embeddings)) for span in read.audio] == expected.audio_spans
    assert [span.embeddings.min() for span in read.audio] == [1, 2, 3]
    assert (read.arrival, read.deadline) == (5.0, 9.0)


@pytest.mark.parametrize("dtype", [audio_pb2.DATA_TYPE_FP32, audio_pb2.DATA_TYPE_FP16, audio_pb2.DATA_TYPE_BF16])
def test_embeddings_may_come_in_any_float_type(reader: RequestReader, dtype: Any) -> None:
    sent = tensors.to_proto(np.full((2, HIDDEN), 0.5), dtype)
    (span,) = reader.read(asked(audio(sent)), 0.0, 1.0).audio
    assert span.embeddings.dtype == np.float32
    assert (span.embeddings == 0.5).all()


@pytest.mark.parametrize(
    "wrong",
    [
        window(3, HIDDEN - 1),
        tensors.to_proto(np.zeros(HIDDEN, np.float32)),
        tensors.to_proto(np.zeros((1, 3, HIDDEN), np.float32)),
        window(0),
        window(751),
        window(3, value=np.nan),
        window(3, value=-np.inf),
    ],
    ids=["width", "one dimension", "three dimensions", "no tokens", "too many tokens", "nan", "infinite"],
)
def test_embeddings_of_another_model_are_refused(reader: RequestReader, wrong: audio_pb2.Tensor) -> None:
    error = refused(reader, asked(audio(window(2), wrong)))
    assert error.reason == "EMBEDDING_INVALID"
    assert [violation.field for violation in error.violations] == [f"{FIELD}[1]"]


@pytest.mark.parametrize(
    "wrong",
    [
        audio_pb2.Tensor(shape=[2, HIDDEN], data=b"\0" * 8 * HIDDEN),
        audio_pb2.Tensor(dtype=9, shape=[2, HIDDEN], data=b"\0" * 8 * HIDDEN),  # type: ignore[arg-type]
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[2, HIDDEN], data=b"\0" * 4 * HIDDEN),
        audio_pb2.Tensor(dtype=audio_pb2.DATA_TYPE_FP32, shape=[-2, -HIDDEN], data=b"\0" * 8 * HIDDEN),
    ],
    ids=["no dtype", "unknown dtype", "too few bytes", "negative shape"],
)
def test_a_malformed_tensor_is_refused(reader: RequestReader, wrong: audio_pb2.Tensor) -> None:
    error = refused(reader, asked(audio(wrong)))
    assert error.reason == "TENSOR_INVALID"
    assert [violation.field for violation in error.violations] == [f"{FIELD}[0]"]


def test_an_audio_without_windows_is_refused(reader: RequestReader) -> None:
    error = refused(reader, asked(audio()))
    assert error.reason == "EMBEDDING_INVALID"
    assert [violation.field for violation in error.violations] == [FIELD]


def test_limits_of_the_contract_hold(reader: RequestReader) -> None:
    error = refused(reader, asked(max_output_tokens=-1, temperature=3.0))
    fields = [violation.field for violation in error.violations]
    assert fields == ["messages[0].parts", "config.max_output_tokens", "config.temperature"]


def test_a_prompt_past_the_context_is_refused_with_its_numbers(reader: RequestReader) -> None:
    overhead = len(reader.read(asked(audio(window(1))), 0.0, 1.0).token_ids) - 1
    room = 2000 - overhead
    groups = 2 * 2  # each further window brings its own opening and closing token
    fits = audio(window(700), window(700), window(room - 1400 - groups - 1))
    assert reader.read(asked(fits), 0.0, 1.0).params.max_output_tokens == 1
    error = refused(reader, asked(audio(window(700), window(700), window(room - 1400 - groups))))
    assert error.reason == "PROMPT_TOO_LONG"
    assert error.metadata == {"prompt_tokens": "2000", "context_tokens": "2000"}


def test_output_is_cut_to_what_the_context_leaves(reader: RequestReader) -> None:
    read = reader.read(asked(audio(window(750), window(750)), max_output_tokens=4000), 0.0, 1.0)
    assert read.params.max_output_tokens == 2000 - len(read.token_ids)
    assert reader.read(asked(text("hi"), max_output_tokens=7), 0.0, 1.0).params.max_output_tokens == 7
