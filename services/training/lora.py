"""LoRA on the language model (peft), stored under the names that auricle-mini's weights use."""

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import Tensor, nn

from services.training.checkpoints import copy_weights

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PEFT_PREFIX = "base_model.model.model."
_STORED_PREFIX = "language_model."


def add_lora(language_model: nn.Module, rank: int, alpha: int) -> PeftModel:
    """Wrap every linear layer of the decoder; the rest is frozen, and B starts at zero."""
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(LINEARS), lora_dropout=0.0, bias="none")
    return get_peft_model(language_model, config)


def lora_parameters(language_model: nn.Module) -> dict[str, Tensor]:
    """The adapter's matrices, named ``language_model.layers.N.self_attn.q_proj.lora_A.weight``."""
    return {
        name.replace(_PEFT_PREFIX, _STORED_PREFIX).replace(".default", ""): parameter
        for name, parameter in language_model.named_parameters()
        if ".lora_" in name
    }


def load_lora(language_model: nn.Module, file: Path) -> None:
    """Copy stored matrices into the adapter.

    Raises:
        ResumeError: other names or shapes than the adapter's.
    """
    with safe_open(file, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    copy_weights(tensors, lora_parameters(language_model), str(file))
