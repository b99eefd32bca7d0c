"""What the decoder is told by its environment."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, Json, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import DECODER_METRICS_PORT, DECODER_PORT, ServerSettings
from services.decoder.vllm_settings import check_arguments


class DecoderSettings(ServerSettings):
    """Variables AURICLE_DECODER_..."""

    model_config = SettingsConfigDict(env_prefix="AURICLE_DECODER_", frozen=True, extra="ignore")

    port: int = Field(DECODER_PORT, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(DECODER_METRICS_PORT, ge=0, le=65535, description="Prometheus port; 0 serves no metrics")
    max_message_bytes: int = Field(128 * 2**20, ge=2**16, description="largest message taken or sent")

    engine: Literal["torch", "vllm"] = Field("torch", description="what decodes; vllm must be installed beside it")
    checkpoint: str = Field("auricle-mini", min_length=1, description="model name or directory")
    model_name: str | None = Field(None, description="name told to callers; the directory's by default")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the model runs")
    dtype: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="precision of weights and KV cache")
    weights: Literal["full", "fp16", "int8"] = Field(
        "full", description="precision of the matrices; full is dtype's, the others need fp32 on the CPU"
    )
    threads: int = Field(min(4, os.cpu_count() or 1), ge=1, description="CPU threads of a decode step")

    max_running: int = Field(16, ge=1, description="requests that decode together")
    max_waiting: int = Field(64, ge=0, description="requests taken beyond max_running; further ones are refused")
    kv_cache_tokens: int = Field(16384, ge=16, description="tokens that the KV cache holds, shared by all that run")
    step_tokens: int = Field(256, ge=1, description="most tokens computed in a step, so that no prompt holds others up")
    bulk_step_tokens: int = Field(
        16, ge=1, description="most of them that are of bulk prompts while interactive requests come"
    )
    context_tokens: int | None = Field(None, ge=2, description="longest prompt and answer; the model's by default")
    max_unread_tokens: int = Field(512, ge=1, description="how far a caller may fall behind before its answer is ended")

    vllm_arguments: Json[dict[str, Any]] = Field(
        "{}", validate_default=True, description="JSON of further AsyncEngineArgs, for the engine vllm"
    )
    vllm_exports: Path = Field(
        Path("~/.cache/auricle/vllm"), description="where the engine vllm keeps the decoder as a plain Qwen2 checkpoint"
    )

    @model_validator(mode="after")
    def _step_holds_everybody(self) -> Self:
        if self.step_tokens < self.max_running:
            raise ValueError(f"step_tokens ({self.step_tokens}) must be at least max_running ({self.max_running})")
        return self

    @model_validator(mode="after")
    def _arguments_go_with_engine(self) -> Self:
        if self.engine == "vllm" and self.weights != "full":
            raise ValueError('the engine vllm rounds weights by vllm_arguments, such as {"quantization": "fp8"}')
        if self.engine != "vllm" and self.vllm_arguments:
            raise ValueError("vllm_arguments are for the engine vllm")
        check_arguments(self.vllm_arguments)
        return self

    @model_validator(mode="after")
    def _weights_go_with_dtype(self) -> Self:
        if self.weights != "full" and (self.dtype, self.device) != ("fp32", "cpu"):
            raise ValueError(f"weights in {self.weights} need dtype fp32 and device cpu")
        return self
