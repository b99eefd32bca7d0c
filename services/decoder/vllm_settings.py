"""Which of vLLM's own arguments may be passed through to it."""

from collections.abc import Collection, Mapping
from typing import Any

# Decided by the decoder's other settings, or not to be had behind its interface.
_DECIDED = {
    "data_parallel_size": "the gateway balances between decoders",
    "disable_log_stats": "metrics are the decoder's",
    "dtype": "set AURICLE_DECODER_DTYPE",
    "enable_lora": "requests name no adapter",
    "enable_prompt_embeds": "audio comes as embeddings",
    "max_model_len": "set AURICLE_DECODER_CONTEXT_TOKENS",
    "max_num_batched_tokens": "set AURICLE_DECODER_STEP_TOKENS",
    "max_num_seqs": "set AURICLE_DECODER_MAX_RUNNING",
    "max_num_queued_reqs": "set AURICLE_DECODER_MAX_WAITING",
    "model": "set AURICLE_DECODER_CHECKPOINT",
    "num_gpu_blocks_override": "set AURICLE_DECODER_KV_CACHE_TOKENS",
    "scheduling_policy": "requests have priorities",
    "skip_tokenizer_init": "structured output needs the tokenizer",
    "tokenizer": "it is the checkpoint's",
}


def check_arguments(given: Mapping[str, Any], known: Collection[str] | None = None) -> None:
    """Refuse arguments that are not for a setting to give, or that vLLM does not know.

    Args:
        given: by their names in vLLM's AsyncEngineArgs; their values are vLLM's to check.
        known: vLLM's names, where they can be had.

    Raises:
        ValueError: naming all of them.
    """
    wrong = [f"{name} ({_DECIDED[name]})" for name in sorted(_DECIDED.keys() & given.keys())]
    if known is not None:
        wrong += [f"{name} (vLLM knows no such argument)" for name in sorted(given.keys() - set(known))]
    if wrong:
        raise ValueError(f"not to be passed to vLLM: {', '.join(wrong)}")
