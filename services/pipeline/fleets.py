"""Clients of services that have several replicas; each has the interface of the client of one."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from auricle.v1 import decoder_pb2, preprocess_pb2
from services.common.channels import connect
from services.pipeline.conversation import AudioInput
from services.pipeline.decoder_client import DecoderClient
from services.pipeline.encoder_client import EncodedAudio, EncoderClient, EncoderInfo
from services.pipeline.endpoints import endpoints_of
from services.pipeline.preprocess_client import PreprocessClient
from services.pipeline.replicas import Replicas
from services.pipeline.settings import FleetSettings


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


@dataclass(frozen=True)
class Halves:
    """Both halves of one model."""

    encoder: EncoderFleet
    decoder: DecoderFleet

    def start(self, on_join: Callable[[], None]) -> None:
        """Follow the services' replicas; `on_join` is called when one is new."""
        for replicas in self._all:
            replicas.on_join = on_join
            replicas.start()

    async def close(self) -> None:
        """Close the channels; calls in flight end as cancelled."""
        for replicas in self._all:
            await replicas.close()

    @property
    def _all(self) -> tuple[Replicas[Any], ...]:
        return self.encoder.replicas, self.decoder.replicas


@dataclass(frozen=True)
class Fleets(Halves):
    """All services that the pipeline calls."""

    preprocess: PreprocessFleet

    @property
    def _all(self) -> tuple[Replicas[Any], ...]:
        return *super()._all, self.preprocess.replicas


def fleets_of(settings: FleetSettings, max_message_bytes: int) -> Fleets:
    """The services that settings name. Make them inside a running event loop.

    Args:
        settings: where they are.
        max_message_bytes: of a message to or from preprocess and decoder.
    """
    halves = halves_of(settings, settings.encoder_address, settings.decoder_address, max_message_bytes)

    def preprocess(address: str, tls_name: str | None) -> PreprocessClient:
        return PreprocessClient(_channel(settings, max_message_bytes, address, tls_name))

    fleet = PreprocessFleet(Replicas("preprocess", endpoints_of(settings.preprocess_address), preprocess))
    return Fleets(halves.encoder, halves.decoder, fleet)


def halves_of(settings: FleetSettings, encoder_address: str, decoder_address: str, max_message_bytes: int) -> Halves:
    """The encoder and decoder at these addresses, called as settings say. Make them inside a running event loop."""

    def encoder(address: str, tls_name: str | None) -> EncoderClient:
        return EncoderClient(address, tls=settings.services_tls, tls_name=tls_name)

    def decoder(address: str, tls_name: str | None) -> DecoderClient:
        return DecoderClient(_channel(settings, max_message_bytes, address, tls_name))

    return Halves(
        EncoderFleet(Replicas("encoder", endpoints_of(encoder_address), encoder)),
        DecoderFleet(Replicas("decoder", endpoints_of(decoder_address), decoder)),
    )


def _channel(settings: FleetSettings, max_message_bytes: int, address: str, tls_name: str | None) -> grpc.aio.Channel:
    return connect(address, max_message_bytes=max_message_bytes, tls=settings.services_tls, tls_name=tls_name)
