"""Clients of services that have several replicas; each has the interface of the client of one."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import numpy as np

from auricle.v1 import decoder_pb2, preprocess_pb2
from services.common.channels import connect
from services.pipeline.conversation import AudioInput
from services.pipeline.decoder_client import DecoderClient
from services.pipeline.encoder_client import EncodedAudio, EncoderClient, EncoderInfo
from services.pipeline.endpoints import endpoints_of
from services.pipeline.preprocess_client import PreprocessClient
from services.pipeline.replicas import Replicas


class PreprocessFleet:
    """Gives each recording to the replica with the fewest; one that is lost before its first window is heard anew."""

    def __init__(self, replicas: Replicas[PreprocessClient]) -> None:
        self.replicas = replicas

    def windows(
        self, audio: AudioInput, config: preprocess_pb2.PreprocessConfig
    ) -> AsyncGenerator[preprocess_pb2.PreprocessResponse, None]:
        """See ``PreprocessClient.windows``."""
        return self.replicas.stream(lambda client: client.windows(audio, config))


class EncoderFleet:
    """Gives each window to the replica with the fewest; a window is encoded again wherever there is a place."""

    def __init__(self, replicas: Replicas[EncoderClient]) -> None:
        self.replicas = replicas

    async def encode(
        self,
        features: np.ndarray,
        num_frames: int,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> EncodedAudio:
        """See ``EncoderClient.encode``."""

        async def encode(client: EncoderClient) -> EncodedAudio:
            return await client.encode(features, num_frames, timeout_seconds=timeout_seconds, headers=headers)

        return await self.replicas.call(encode)

    async def describe(self) -> EncoderInfo:
        """See ``EncoderClient.describe``; what most replicas serve."""
        return await self.replicas.describe(
            EncoderClient.describe, lambda info: (info.fingerprint, info.version) if info.ready else None
        )

    async def close(self) -> None:
        """Close the channels."""
        await self.replicas.close()


class DecoderFleet:
    """Gives calls of one affinity to one replica, so that its prefix cache serves a conversation's next turn."""

    def __init__(self, replicas: Replicas[DecoderClient]) -> None:
        self.replicas = replicas

    def connected(self) -> bool:
        """False when a replica may be another one than when it was last described."""
        return self.replicas.settled(DecoderClient.connected)

    async def describe(self) -> decoder_pb2.DescribeDecoderResponse:
        """See ``DecoderClient.describe``; what most replicas serve."""
        return await self.replicas.describe(DecoderClient.describe, lambda answer: answer.fingerprint or None)

    def generate(
        self, request: decoder_pb2.GenerateRequest, affinity: bytes = b""
    ) -> AsyncGenerator[decoder_pb2.GenerateResponse, None]:
        """See ``DecoderClient.generate``."""
        return self.replicas.stream(lambda client: client.generate(request), affinity)


def preprocess_fleet(target: str, *, max_message_bytes: int, tls_ca: Path | None = None) -> PreprocessFleet:
    """The replicas that a setting names; see ``endpoints``. Make it inside a running event loop."""

    def client(address: str) -> PreprocessClient:
        return PreprocessClient(connect(address, max_message_bytes=max_message_bytes, tls_ca=tls_ca))

    return PreprocessFleet(Replicas("preprocess", endpoints_of(target), client))


def encoder_fleet(target: str, *, tls_ca: Path | None = None) -> EncoderFleet:
    """The replicas that a setting names; see ``endpoints``. Make it inside a running event loop."""
    return EncoderFleet(
        Replicas("encoder", endpoints_of(target), lambda address: EncoderClient(address, tls_ca=tls_ca))
    )


def decoder_fleet(target: str, *, max_message_bytes: int, tls_ca: Path | None = None) -> DecoderFleet:
    """The replicas that a setting names; see ``endpoints``. Make it inside a running event loop."""

    def client(address: str) -> DecoderClient:
        return DecoderClient(connect(address, max_message_bytes=max_message_bytes, tls_ca=tls_ca))

    return DecoderFleet(Replicas("decoder", endpoints_of(target), client))
