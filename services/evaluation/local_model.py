"""A checkpoint that answers in this process: no server, no cache, float32 on the CPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2AudioConfig, Qwen2ForCausalLM

from services.evaluation.clip import read_clip
from services.evaluation.conversation import to_messages
from services.evaluation.manifest import Example
from services.qwen2_audio.config import text_config
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import log_mel
from services.qwen2_audio.prompt import Prompt, PromptBuilder
from services.qwen2_audio.weights import Checkpoint

MAX_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class LocalModel:
    """The two halves of a checkpoint, and what builds its prompts; ``end_token_ids`` end an answer."""

    encoder: AudioEncoder
    language_model: Qwen2ForCausalLM
    tokenizer: PreTrainedTokenizerBase
    prompts: PromptBuilder
    config: Qwen2AudioConfig
    end_token_ids: tuple[int, ...]


def load_local_model(checkpoint_dir: Path) -> LocalModel:
    """Load an official-layout checkpoint.

    Raises:
        CheckpointError: see ``services.qwen2_audio.weights``.
    """
    checkpoint = Checkpoint(checkpoint_dir)
    encoder = AudioEncoder(checkpoint.config)
    encoder.load_state_dict(checkpoint.audio_tensors())
    language_model = Qwen2ForCausalLM(text_config(checkpoint.config))
    language_model.load_state_dict(checkpoint.text_tensors())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_dir)
    prompts = PromptBuilder(tokenizer, checkpoint.config)
    ends = checkpoint.end_token_ids
    return LocalModel(encoder.float(), language_model.float(), tokenizer, prompts, checkpoint.config, ends)


@torch.inference_mode()
def answer_locally(
    model: LocalModel,
    examples: Sequence[Example],
    rows: int = 8,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    on_answer: Callable[[], None] = lambda: None,
) -> list[str]:
    """One greedy answer per example, clips of like length decoded together.

    Args:
        rows: examples decoded together.
        on_answer: called once per answer.

    Raises:
        ValueError: a clip that is not 16 kHz mono.
    """
    order = sorted(range(len(examples)), key=lambda index: examples[index].seconds)
    answers = [""] * len(examples)
    model.language_model.eval()
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        texts = _decode(model, [examples[index] for index in chosen], max_answer_tokens)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text
            on_answer()
    return answers


def _decode(model: LocalModel, examples: Sequence[Example], max_answer_tokens: int) -> list[str]:
    rows = [_embedded(model, example) for example in examples]
    mask = [torch.ones(len(row), dtype=torch.long) for row in rows]
    generator: Any = model.language_model  # transformers types generate() for a mixin no class declares
    made = generator.generate(
        # Padded at the front: generation goes on at the end.
        inputs_embeds=pad_sequence(rows, batch_first=True, padding_side="left"),
        attention_mask=pad_sequence(mask, batch_first=True, padding_side="left"),
        max_new_tokens=max_answer_tokens,
        do_sample=False,
        eos_token_id=list(model.end_token_ids),
        pad_token_id=model.end_token_ids[0],
    )
    return [str(model.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in made]


def _embedded(model: LocalModel, example: Example) -> Tensor:
    """The prompt's embeddings ``(length, hidden)``, those of the clips in their places."""
    mels = [log_mel(read_clip(path), model.encoder.mel_bins) for path in example.paths]
    prompt: Prompt = model.prompts.build(to_messages(example, mels))
    embedded = model.language_model.get_input_embeddings()(torch.tensor(prompt.token_ids))
    heard = model.encoder([torch.from_numpy(mel.features) for mel in mels], [mel.num_frames for mel in mels])
    for (start, length), clip in zip(prompt.audio_spans, heard, strict=True):
        embedded[start : start + length] = clip
    return embedded
