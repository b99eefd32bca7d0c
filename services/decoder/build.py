"""The composition root of the decoder."""

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor

import grpc
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from auricle.v1 import decoder_pb2, decoder_pb2_grpc
from services.common.server import Service
from services.decoder.conversation import RequestReader
from services.decoder.engine import Engine
from services.decoder.grammar import GrammarCompiler
from services.decoder.linear import Weights
from services.decoder.servicer import DecoderServicer, ModelCard
from services.decoder.settings import DecoderSettings
from services.decoder.torch_engine import TorchEngine, TorchEngineConfig
from services.qwen2_audio.config import CheckpointError, audio_config, text_config
from services.qwen2_audio.mel import MAX_FRAMES, audio_token_count
from services.qwen2_audio.prompt import PromptBuilder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build(settings: DecoderSettings, engine: Engine | None = None) -> Service:
    """The service; `engine` replaces the one that the settings name."""
    checkpoint = Checkpoint(resolve_checkpoint(settings.checkpoint))
    tokenizer = load_tokenizer(checkpoint)
    engine = engine or make_engine(settings, checkpoint, tokenizer)
    reader = RequestReader(
        PromptBuilder(tokenizer, checkpoint.config),
        hidden_size=engine.hidden_size,
        max_window_tokens=audio_token_count(MAX_FRAMES),
        context_tokens=engine.context_tokens,
    )
    executor = ThreadPoolExecutor(1, thread_name_prefix="read")
    card = ModelCard(settings.model_name or checkpoint.path.name, "", audio_config(checkpoint.config).num_mel_bins)
    grammars = GrammarCompiler(tokenizer, text_config(checkpoint.config).vocab_size, checkpoint.end_token_ids)
    servicer = DecoderServicer(engine, reader, executor, grammars, card)

    async def start() -> None:
        card.fingerprint, _ = await asyncio.gather(asyncio.to_thread(lambda: checkpoint.fingerprint), engine.start())

    async def close() -> None:
        await engine.close()
        executor.shutdown(wait=False)
        grammars.close()

    def register(server: grpc.aio.Server) -> None:
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(servicer, server)

    full_name = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
    return Service("decoder", [full_name], register, start=start, close=close)


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerFast:
    """The checkpoint's tokenizer.

    Raises:
        CheckpointError: it is not one of the fast kind.
    """
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"{checkpoint.path}: a {type(tokenizer).__name__} is not a fast tokenizer")
    return tokenizer


def make_engine(settings: DecoderSettings, checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerFast) -> Engine:
    """The engine that the settings name.

    Raises:
        CheckpointError: the settings name vLLM, which is not installed.
        ValueError: vLLM knows no such argument.
    """
    end_tokens = frozenset(checkpoint.end_token_ids)
    if settings.engine == "torch":
        return TorchEngine(checkpoint, tokenizer, end_tokens, engine_config(settings))
    if importlib.util.find_spec("vllm") is None:
        raise CheckpointError("the engine vllm needs vLLM, which is not installed here: see requirements-vllm.txt")
    # Takes seconds to import, and is not there in most places.
    from services.decoder.vllm_engine import VllmEngine, VllmEngineConfig

    config = VllmEngineConfig(
        exports=settings.vllm_exports,
        dtype=_DTYPES[settings.dtype],
        threads=settings.threads,
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        kv_cache_tokens=settings.kv_cache_tokens,
        step_rows=settings.step_tokens,
        context_tokens=settings.context_tokens,
        max_unread_tokens=settings.max_unread_tokens,
        arguments=settings.vllm_arguments,
    )
    return VllmEngine(checkpoint, tokenizer, end_tokens, config)


def engine_config(settings: DecoderSettings) -> TorchEngineConfig:
    """The settings that concern the torch engine."""
    return TorchEngineConfig(
        device=settings.device,
        dtype=_DTYPES[settings.dtype],
        weights=Weights(settings.weights),
        threads=settings.threads,
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        kv_cache_tokens=settings.kv_cache_tokens,
        step_rows=settings.step_tokens,
        bulk_step_rows=settings.bulk_step_tokens,
        context_tokens=settings.context_tokens,
        max_unread_tokens=settings.max_unread_tokens,
    )
