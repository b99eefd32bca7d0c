"""Unpadded encoding equals Qwen2AudioForConditionalGeneration on input padded to 30 s."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

# Not noise: a trained encoder is ill-conditioned there, and fp32 itself strays 3e-4 from fp64, transformers' as well.
from services.encoder.parity import synthetic_clip as clip
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import log_mel
from services.qwen2_audio.weights import load_audio_encoder
from tests.reference import Case

pytestmark = pytest.mark.unit

# One token, odd and even frame counts, ends within and at a hop, the mirrored end, exactly 30 s.
SECONDS = (0.0201, 0.1, 0.5, 1.0, 1.01, 5.0, 14.995, 29.98, 29.99, 30.0)


@torch.inference_mode()
def encode(encoder: AudioEncoder, clips: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
    mels = [log_mel(samples, encoder.mel_bins) for samples in clips]
    return encoder([torch.from_numpy(m.features) for m in mels], [m.num_frames for m in mels])


def assert_close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_embeddings_equal_the_padded_reference_alone_and_together(case: Case) -> None:
    encoder = load_audio_encoder(case.path)
    clips = [clip(seconds) for seconds in SECONDS]
    together = encode(encoder, clips)
    for samples, in_company in zip(clips, together, strict=True):
        expected = case.reference.embeddings(samples)
        assert_close(encode(encoder, [samples])[0], expected)
        assert_close(in_company, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loads_and_stays_near(official: Case, dtype: torch.dtype) -> None:
    encoder = load_audio_encoder(official.path, dtype=dtype)
    embeddings = encode(encoder, [clip(1.0)])[0]
    assert embeddings.dtype == dtype
    expected = official.reference.embeddings(clip(1.0))
    assert torch.nn.functional.cosine_similarity(embeddings.float(), expected).min() > 0.99


def test_nothing_to_encode_gives_nothing(official: Case) -> None:
    assert load_audio_encoder(official.path)([], []) == []


@pytest.mark.parametrize(
    ("shape", "frames", "complaint"),
    [
        ((128, 4), 2, "no audio token"),
        ((128, 3000), 3001, "at most 3000"),
        ((128, 100), 100, r"\(128, 102\)"),
        ((128, 3000), 100, r"\(128, 102\)"),
        ((80, 102), 100, r"\(128, 102\)"),
        ((1, 128, 102), 100, r"\(128, 102\)"),
    ],
    ids=["zero tokens", "too long", "no halo", "padded", "other mel bins", "batched"],
)
def test_features_of_another_shape_are_refused(
    official: Case, shape: tuple[int, ...], frames: int, complaint: str
) -> None:
    encoder = load_audio_encoder(official.path)
    with pytest.raises(ValueError, match=complaint):
        encoder([torch.zeros(shape)], [frames])


def test_a_frame_count_for_every_clip(official: Case) -> None:
    with pytest.raises(ValueError, match="2 clips of features but 1 frame counts"):
        load_audio_encoder(official.path)([torch.zeros(128, 102)] * 2, [100])
