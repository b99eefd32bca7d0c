"""A platform whose devices are simulated: Triton's model and the decoder's model sleep in place of a GPU.

Everything else is real: gateway, preprocess, every gRPC hop, Triton's dynamic batcher, the decoder's scheduler with its
KV cache and chunks. `python -m tests.load.simulated_devices` is the decoder of it.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from services.common.server import run
from services.common.settings import load
from services.decoder.build import build, engine_config, load_tokenizer
from services.decoder.core import EngineCore
from services.decoder.kv_cache import KVCache
from services.decoder.model import Span
from services.decoder.scheduler import Scheduler
from services.decoder.settings import DecoderSettings
from services.decoder.torch_engine import TorchEngine
from services.local.platform import PlatformConfig, Ports, process_specs
from services.local.process import ProcessSpec
from services.local.supervisor import Supervisor
from services.local.up import prepare
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint
from tests.platform import RunningPlatform

# A batch, a clip of it, a second of audio in it; a step, a sequence that decodes in it, a prompt token of it.
BATCH, CLIP, SECOND = 0.300, 0.045, 0.060
STEP, SEQUENCE, PROMPT_TOKEN = 0.180, 0.009, 0.0015
WHAT = (
    f"simulated devices: sleeps of {1000 * BATCH:.0f} ms a batch, {1000 * CLIP:.0f} a clip, {1000 * SECOND:.0f} a "
    f"second of audio; {1000 * STEP:.0f} ms a step, {1000 * SEQUENCE:.0f} a sequence, {1000 * PROMPT_TOKEN:.1f} a "
    "prompt token; all else is real"
)

_SLEEPING_ENCODER = f"""

from services.qwen2_audio.mel import audio_token_count


class _Sleeping(TritonPythonModel):
    def execute(self, requests):
        started = time.perf_counter()
        frames = [int(_tensor(request, "num_frames")) for request in requests]
        time.sleep({BATCH} + {CLIP} * len(frames) + {SECOND} * sum(frames) / 100)
        width = self._encoder.multi_modal_projector.linear.out_features
        # Of no two clips alike, or the decoder's prefix cache would know them.
        answers = [torch.randn(1, audio_token_count(count), width) for count in frames]
        compute_ms = (time.perf_counter() - started) * 1000
        return [_response(answer, compute_ms) for answer in answers]


TritonPythonModel = _Sleeping
"""


class SleepingModel:
    """As much of Qwen2Model as EngineCore asks for; says the same token for ever."""

    device = "cpu"

    def __init__(self, hidden_size: int, vocabulary: int, token: int) -> None:
        self._hidden_size, self._vocabulary, self._token = hidden_size, vocabulary, token

    def embed(self, token_ids: Sequence[int]) -> Tensor:
        """Zeros `(tokens, hidden)`."""
        return torch.zeros(len(token_ids), self._hidden_size)

    def forward(self, embeddings: Tensor, spans: Sequence[Span], logit_rows: Sequence[int], cache: KVCache) -> Tensor:
        """Logits `(logit rows, vocabulary)`, after as long as a device would take."""
        decoding = sum(span.rows == 1 for span in spans)
        time.sleep(STEP + SEQUENCE * decoding + PROMPT_TOKEN * (len(embeddings) - decoding))
        logits = torch.zeros(len(logit_rows), self._vocabulary)
        logits[:, self._token] = 1
        return logits


class SleepingEngine(TorchEngine):
    """The torch engine with its scheduler, on a model that sleeps."""

    token = 0

    def _load(self) -> EngineCore:
        text, config = self._text_config, self._config
        model = SleepingModel(text.hidden_size, text.vocab_size, self.token)
        cache = KVCache(layers=1, heads=1, head_width=1, capacity_tokens=config.kv_cache_tokens)
        scheduler = Scheduler(cache, config.max_running, config.step_rows, config.bulk_step_rows)
        return EngineCore(model, cache, scheduler, self._end_tokens)  # type: ignore[arg-type]


@contextmanager
def simulated_platform(home: Path) -> Iterator[RunningPlatform]:
    """The platform of auricle-mini on free ports, with sleeping models."""
    config = prepare("auricle-mini", home, Ports.free(), threads=1, on_event=print)
    for shell in config.model_repository.glob("audio_encoder/*/model.py"):
        shell.write_text(shell.read_text() + _SLEEPING_ENCODER)
    supervisor = Supervisor(list(_specs(config)), home / "logs")
    supervisor.start()
    try:
        yield RunningPlatform(config, supervisor)
    finally:
        supervisor.stop()


def _specs(config: PlatformConfig) -> Iterator[ProcessSpec]:
    for spec in process_specs(config):
        if spec.name == "decoder":
            yield replace(spec, command=[sys.executable, "-m", "tests.load.simulated_devices"])
        elif spec.name != "worker":
            yield spec


def main() -> None:
    """Serve the decoder."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = load(DecoderSettings)
    checkpoint = Checkpoint(resolve_checkpoint(settings.checkpoint))
    tokenizer = load_tokenizer(checkpoint)
    engine = SleepingEngine(checkpoint, tokenizer, frozenset(checkpoint.end_token_ids), engine_config(settings))
    engine.token = tokenizer.encode(" a", add_special_tokens=False)[0]
    run("decoder", lambda: build(settings, engine), settings)


if __name__ == "__main__":
    main()
