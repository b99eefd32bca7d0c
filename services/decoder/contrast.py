"""Audio-aware decoding (arXiv 2506.07233): answers lean towards what the audio adds, which curbs invented sounds.

The prompt is decoded twice, with its audio and without, and the next token follows from both:

    logits = (1 + strength) * with_audio - strength * without_audio

The paper's other prompt has silence of the same length in the audio's place. Here the audio is left out, for which its
authors' code provides too: the decoder has no encoder to hear the silence with, and a shorter prompt costs less.
"""

from dataclasses import replace

from torch import Tensor

from services.decoder.engine import EngineRequest


def without_audio(request: EngineRequest) -> EngineRequest:
    """The same request with no audio and no placeholders for it; its deadline is the other's affair."""
    heard = {index for span in request.audio for index in range(span.start, span.start + len(span.embeddings))}
    token_ids = [token for index, token in enumerate(request.token_ids) if index not in heard]
    return replace(request, token_ids=token_ids, audio=(), deadline=float("inf"))


def contrasted(with_audio: Tensor, without_audio: Tensor, strength: float) -> Tensor:
    """Logits `(vocabulary,)` of the two prompts, put together."""
    return (1 + strength) * with_audio - strength * without_audio
