"""SmolLM2's tokenizer with the three audio tokens of Qwen2-Audio behind its vocabulary."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from services.qwen2_audio.mini.language_model import LanguageModel

AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
_END_OF_TEXT, _START_OF_TURN, _END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def build_tokenizer(model: LanguageModel) -> PreTrainedTokenizerFast:
    """Byte-level BPE; digits stand alone, as SmolLM2 was trained."""
    vocabulary = {token: index for index, token in enumerate(model.tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, model.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [*model.special_tokens, *AUDIO_TOKENS]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_START_OF_TURN,
        eos_token=_END_OF_TURN,
        pad_token=_END_OF_TURN,
        unk_token=_END_OF_TEXT,
        additional_special_tokens=special,
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
