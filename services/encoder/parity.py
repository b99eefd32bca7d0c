"""Does an encoder compute what transformers computes? Asked with sound, from samples to embeddings.

The reference is `Qwen2AudioForConditionalGeneration` behind `WhisperFeatureExtractor`, both on input padded to 30 s,
loaded by transformers itself, so that a mistake in our reading of the weights shows as well.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BatchFeature, Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor
from transformers.utils import logging as transformers_logging

from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import SAMPLE_RATE_HZ, audio_token_count, log_mel

TOLERANCE = 1e-4  # largest absolute difference, float32
CLIP_SECONDS = (0.1, 1.0, 4.2, 13.7, 30.0)


@dataclass(frozen=True)
class ParityRow:
    """Largest absolute difference for one clip, encoded alone and in one batch with all others."""

    seconds: float
    alone: float
    batched: float


@dataclass(frozen=True)
class ParityReport:
    """What the comparison found."""

    rows: tuple[ParityRow, ...]

    @property
    def passed(self) -> bool:
        """True when every difference is a number within the tolerance."""
        return all(row.alone <= TOLERANCE and row.batched <= TOLERANCE for row in self.rows)

    def __str__(self) -> str:
        rows = "; ".join(f"{row.seconds:g} s: {row.alone:.1e} alone, {row.batched:.1e} batched" for row in self.rows)
        verdict = "within" if self.passed else "beyond"
        return f"largest difference to transformers {verdict} {TOLERANCE:g}: {rows}"


def compare(encoder: AudioEncoder, checkpoint: Path, seconds: Sequence[float] = CLIP_SECONDS) -> ParityReport:
    """Compare a float32 encoder on the CPU with transformers' model of the checkpoint.

    Reads the audio half of the checkpoint only; the time is that of one padded 30 s input per clip.
    """
    clips = [synthetic_clip(length) for length in seconds]
    reference = Reference(checkpoint)
    mels = [log_mel(clip, encoder.mel_bins) for clip in clips]
    features, frames = [torch.from_numpy(mel.features) for mel in mels], [mel.num_frames for mel in mels]
    with torch.inference_mode():
        together = encoder(features, frames)
        rows = []
        for length, clip, feature, count, batched in zip(seconds, clips, features, frames, together, strict=True):
            expected = reference.embeddings(clip)
            [alone] = encoder([feature], [count])
            rows.append(ParityRow(length, max_difference(alone, expected), max_difference(batched, expected)))
    return ParityReport(tuple(rows))


def max_difference(given: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite for unlike shapes, NaN where either holds NaN."""
    if given.shape != expected.shape:
        return float("inf")
    return float((given.float() - expected.float()).abs().max())


def synthetic_clip(seconds: float) -> NDArray[np.float32]:
    """Sound with the spectrum of speech: swept harmonics under a slow envelope, a little noise. The same each time."""
    count = round(seconds * SAMPLE_RATE_HZ)
    time = np.arange(count) / SAMPLE_RATE_HZ
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    voice = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * time)
    noise = np.random.default_rng(7).standard_normal(count)
    return (0.1 * voice * envelope + 0.005 * noise).astype(np.float32)


class Reference:
    """The audio path of `Qwen2AudioForConditionalGeneration`, without the weights of the text half."""

    def __init__(self, checkpoint: Path) -> None:
        config = _without_text(Qwen2AudioConfig.from_pretrained(checkpoint))
        with _quiet_transformers():
            self._model = Qwen2AudioForConditionalGeneration.from_pretrained(
                checkpoint, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
            ).eval()
        self._audio_token: int = config.audio_token_id
        self._extractor = WhisperFeatureExtractor(feature_size=audio_config(config).num_mel_bins)

    def embeddings(self, samples: NDArray[np.float32]) -> Tensor:
        """`(tokens, hidden_size)` of a clip at 16 kHz of at most 30 s; the clip must give at least two tokens."""
        return self.encode(self.features([samples]))

    def features(self, clips: Sequence[NDArray[np.float32]]) -> BatchFeature:
        """Log-mel features of clips, each padded to 30 s, with the mask of their own frames."""
        return self._extractor(
            list(clips),
            sampling_rate=SAMPLE_RATE_HZ,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
        )

    @torch.inference_mode()
    def encode(self, features: BatchFeature) -> Tensor:
        """Embeddings of clips of one length, one clip after the other: `(clips * tokens, hidden_size)`."""
        mask = features["attention_mask"]
        tokens = audio_token_count(int(mask[0].sum()))
        captured: dict[str, Any] = {}
        hook = self._model.model.language_model.register_forward_pre_hook(
            lambda _, __, kwargs: captured.update(kwargs), with_kwargs=True
        )
        try:
            self._model(
                input_ids=torch.full((len(mask), tokens), self._audio_token),
                input_features=features["input_features"],
                feature_attention_mask=mask,
            )
        finally:
            hook.remove()
        return captured["inputs_embeds"].flatten(0, 1)


def _without_text(config: Qwen2AudioConfig) -> Qwen2AudioConfig:
    """The same audio half over a text half of no layers and four words, which costs nothing to load or run."""
    text = text_config(config)
    text.num_hidden_layers, text.layer_types = 0, []
    text.vocab_size, text.pad_token_id = 4, 0
    config.audio_token_id = config.audio_token_index = 1
    return config


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the report about the text half's tensors, which are left out on purpose."""
    level, shows_progress = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shows_progress:
            transformers_logging.enable_progress_bar()
