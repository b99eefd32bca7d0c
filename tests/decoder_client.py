"""A client of the decoder for tests: conversations in, answers out, embeddings made by the model's own encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle.v1 import decoder_pb2, decoder_pb2_grpc, generation_pb2
from services.common import tensors
from services.decoder.settings import DecoderSettings
from services.qwen2_audio.encoder import AudioEncoder
from services.qwen2_audio.mel import log_mel

TIMEOUT_SECONDS = 120
ROLES = {
    "system": generation_pb2.ROLE_SYSTEM,
    "user": generation_pb2.ROLE_USER,
    "assistant": generation_pb2.ROLE_ASSISTANT,
}


def decoder_settings(checkpoint: Path, **fields: Any) -> DecoderSettings:
    """Settings of a server for tests: a free port, one thread, no metrics port."""
    given: dict[str, Any] = {"port": 0, "metrics_port": 0, "threads": 1, **fields}
    return DecoderSettings(checkpoint=str(checkpoint), **given)


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    text: str
    deltas: list[str]
    completion: decoder_pb2.Completion

    @property
    def token_ids(self) -> list[int]:
        """Ids generated."""
        return list(self.completion.token_ids)


@torch.inference_mode()
def embed(encoder: AudioEncoder, samples: np.ndarray) -> np.ndarray:
    """Embeddings of one clip, `(tokens, hidden)`."""
    mel = log_mel(samples, encoder.mel_bins)
    return encoder([torch.from_numpy(mel.features)], [mel.num_frames])[0].numpy()


def request_of(
    messages: Sequence[dict[str, Any]], encoder: AudioEncoder | None = None, **config: Any
) -> decoder_pb2.GenerateRequest:
    """The request for messages as tests.prompts has them; `config` are fields of GenerationConfig."""
    request = decoder_pb2.GenerateRequest(config=generation_pb2.GenerationConfig(**config))
    for message in messages:
        sent = request.messages.add(role=ROLES[message["role"]])
        for part in message["content"]:
            if part["type"] == "text":
                sent.parts.add(text=part["text"])
            else:
                assert encoder is not None
                window = tensors.to_proto(embed(encoder, part["audio"]))
                sent.parts.add(audio=decoder_pb2.AudioEmbedding(windows=[window]))
    return request


async def answer(stub: decoder_pb2_grpc.DecoderServiceStub, request: decoder_pb2.GenerateRequest) -> Answer:
    """The whole answer."""
    messages = [message async for message in stub.Generate(request, timeout=TIMEOUT_SECONDS)]
    assert [m.HasField("completion") for m in messages] == [False] * (len(messages) - 1) + [True]
    deltas = [message.text_delta for message in messages]
    return Answer("".join(deltas), deltas, messages[-1].completion)
