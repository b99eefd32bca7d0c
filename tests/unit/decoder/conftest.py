"""One tiny random model for all tests of the decoder, and what transformers makes of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

from services.common.generation import GenerationParams
from services.decoder.build import load_tokenizer
from services.decoder.core import EngineCore
from services.decoder.detokenizer import Detokenizer, TokenBytes
from services.decoder.engine import AudioSpan, EngineRequest, Priority
from services.decoder.kv_cache import KVCache
from services.decoder.model import Qwen2Model
from services.decoder.scheduler import Scheduler
from services.decoder.sequence import Sequence as DecodeSequence
from services.qwen2_audio.config import text_config
from services.qwen2_audio.weights import Checkpoint
from tests.checkpoints import make_official_checkpoint

CONTEXT_TOKENS = 512


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The model is far too small to share its work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(make_official_checkpoint(tmp_path_factory.mktemp("decoder") / "checkpoint"))


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Checkpoint) -> Any:
    return load_tokenizer(checkpoint)


@pytest.fixture(scope="session")
def reference(checkpoint: Checkpoint) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(text_config(checkpoint.config))
    model.load_state_dict(checkpoint.text_tensors())
    return model.eval()


@pytest.fixture(scope="session")
def model(checkpoint: Checkpoint) -> Qwen2Model:
    return Qwen2Model(text_config(checkpoint.config), checkpoint.text_tensors(), CONTEXT_TOKENS)


@pytest.fixture
def make_cache(model: Qwen2Model) -> Callable[..., KVCache]:
    def make(capacity_tokens: int = 1024, dtype: torch.dtype = torch.float32) -> KVCache:
        return KVCache(
            layers=model.config.num_hidden_layers,
            heads=model.kv_heads,
            head_width=model.head_width,
            capacity_tokens=capacity_tokens,
            dtype=dtype,
        )

    return make


@pytest.fixture
def make_core(
    model: Qwen2Model, make_cache: Callable[..., KVCache], checkpoint: Checkpoint, tokenizer: Any
) -> Callable[..., EngineCore]:
    def make(capacity_tokens: int = 1024, max_running: int = 8, step_rows: int = 32) -> EngineCore:
        cache = make_cache(capacity_tokens)
        scheduler = Scheduler(cache, max_running, step_rows, bulk_step_rows=step_rows // 2)
        return EngineCore(model, cache, scheduler, frozenset(checkpoint.end_token_ids))

    return make


@pytest.fixture
def make_sequence(tokenizer: Any) -> Callable[..., DecodeSequence]:
    token_bytes = TokenBytes(tokenizer)

    def make(
        token_ids: Sequence[int],
        max_output_tokens: int = 8,
        audio: Sequence[AudioSpan] = (),
        deadline: float = float("inf"),
        priority: Priority = Priority.INTERACTIVE,
        **params: Any,
    ) -> DecodeSequence:
        given = GenerationParams(max_output_tokens=max_output_tokens, **params)
        request = EngineRequest(token_ids, audio, given, deadline=deadline, priority=priority)
        return DecodeSequence(request, Detokenizer(token_bytes, given.stop))

    return make
