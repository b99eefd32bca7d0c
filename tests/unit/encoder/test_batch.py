"""A batch of clips where some are bad: the good ones get their embeddings, the bad ones their own error."""

from pathlib import Path

import pytest
import torch

from services.encoder.batch import Clip, ClipError, encode_batch, warm_up
from services.encoder.parity import synthetic_clip
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import audio_token_count, log_mel
from services.qwen2_audio.weights import load_audio_encoder
from tests.checkpoints import make_official_checkpoint

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> AudioEncoder:
    return load_audio_encoder(make_official_checkpoint(tmp_path_factory.mktemp("checkpoint"), mel_bins=80))


def clip(seconds: float) -> Clip:
    mel = log_mel(synthetic_clip(seconds), 80)
    return Clip(torch.from_numpy(mel.features)[None], torch.tensor([[mel.num_frames]], dtype=torch.int32))


def with_nan(good: Clip) -> Clip:
    features = good.features.clone()
    features[0, 1, 2] = float("nan")
    return Clip(features, good.num_frames)


def test_every_clip_gets_its_own_embeddings_in_order(encoder: AudioEncoder) -> None:
    clips = [clip(seconds) for seconds in (1.0, 0.1, 2.0)]
    together = encode_batch(encoder, clips)
    for one, answer in zip(clips, together, strict=True):
        [alone] = encode_batch(encoder, [one])
        assert isinstance(answer, torch.Tensor)
        assert isinstance(alone, torch.Tensor)
        assert answer.shape == (1, audio_token_count(int(one.num_frames)), encoder.hidden_size)
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, alone, rtol=0, atol=1e-5)


def test_a_bad_clip_does_not_change_what_its_neighbors_get(encoder: AudioEncoder) -> None:
    good = [clip(1.0), clip(0.5)]
    first, fault, second = encode_batch(encoder, [good[0], with_nan(good[0]), good[1]])
    expected = encode_batch(encoder, good)
    assert isinstance(fault, ClipError)
    torch.testing.assert_close([first, second], expected, rtol=0, atol=1e-5)


def test_a_batch_of_bad_clips_alone_is_answered_without_the_encoder(encoder: AudioEncoder) -> None:
    [fault] = encode_batch(encoder, [with_nan(clip(0.5))])
    assert isinstance(fault, ClipError)


GOOD = clip(0.5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Clip(GOOD.features, torch.tensor([[0]])), "at least 3"),
        (Clip(GOOD.features, torch.tensor([[2]])), "at least 3"),
        (Clip(GOOD.features, torch.tensor([[-7]])), "at least 3"),
        (Clip(GOOD.features, torch.tensor([[3001]])), "at most 3000"),
        (Clip(GOOD.features, torch.tensor([[2**31 - 1]])), "at most 3000"),
        (Clip(GOOD.features, GOOD.num_frames + 1), "halo included"),
        (Clip(GOOD.features[:, :, :-1], GOOD.num_frames), "halo included"),
        (Clip(GOOD.features[:, :79], GOOD.num_frames), "(80, 52), halo included; got (79, 52)"),
        (Clip(GOOD.features.repeat(2, 1, 1), GOOD.num_frames.repeat(2, 1)), "one clip"),
        (Clip(GOOD.features[0], GOOD.num_frames), "one clip"),
        (with_nan(GOOD), "NaN or infinite"),
        (Clip(GOOD.features / 0.0, GOOD.num_frames), "NaN or infinite"),
    ],
)
def test_what_is_wrong_is_said(encoder: AudioEncoder, bad: Clip, message: str) -> None:
    [fault] = encode_batch(encoder, [bad])
    assert isinstance(fault, ClipError)
    assert message in str(fault)


def test_half_precision_encoders_still_answer_in_float32(tmp_path: Path) -> None:
    half = load_audio_encoder(make_official_checkpoint(tmp_path, mel_bins=80), dtype=torch.bfloat16)
    warm_up(half)
    [answer] = encode_batch(half, [GOOD])
    assert isinstance(answer, torch.Tensor)
    assert answer.dtype == torch.float32
