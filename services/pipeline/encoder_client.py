"""The encoder as the pipeline sees it: one clip's features in, its embeddings out, Triton's errors as ours."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.common.channels import tls_name_options
from services.common.errors import (
    AuricleError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from services.common.interceptors import request_id
from services.common.server import channel_limits
from services.common.tls import ClientTls

MODEL_NAME = "audio_encoder"
# 30 s at the width of the 7B model is 750 x 4096 float32 values, 12.3 MB.
MAX_MESSAGE_BYTES = 64 * 2**20
DESCRIBE_TIMEOUT_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_REQUEST_ID_PREFIX = re.compile(r"^\[request id: [^\]]*\] ")
_CHANNEL_OPTIONS = [
    *channel_limits(MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


@dataclass(frozen=True)
class EncodedAudio:
    """What the encoder made of one clip.

    Attributes:
        embeddings: float32 `(tokens, hidden_size)`, read-only.
        compute_ms: time that the batch with this clip took in the encoder.
        wait_ms: the rest of the call: transport, and waiting for the batch before.
        version: version of the model that answered.
    """

    embeddings: np.ndarray
    compute_ms: float
    wait_ms: float
    version: int


@dataclass(frozen=True)
class EncoderInfo:
    """What the encoder serves.

    Attributes:
        fingerprint: hex SHA-256 of the checkpoint that the served version comes from.
        version: the version that answers calls.
        mel_bins: rows of the features it takes.
        hidden_size: width of the embeddings it gives.
        ready: True when it answers calls now.
    """

    fingerprint: str
    version: int
    mel_bins: int
    hidden_size: int
    ready: bool


class EncoderClient:
    """Calls the encoder over KServe v2 gRPC. Make it inside a running event loop; many calls may run at once.

    Args:
        address: `host:port` of Triton's gRPC service.
        tls: certificates; with them the channel is encrypted and the server verified.
        tls_name: name that its certificate bears, where the address does not name it.
    """

    def __init__(self, address: str, *, tls: ClientTls | None = None, tls_name: str | None = None) -> None:
        options = [*_CHANNEL_OPTIONS, *tls_name_options(tls_name)]
        self._triton = triton_aio.InferenceServerClient(
            address, creds=tls.credentials() if tls else None, channel_args=options
        )

    async def encode(
        self,
        features: np.ndarray,
        num_frames: int,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> EncodedAudio:
        """Encode one clip.

        Args:
            features: float32 `(mel_bins, stored_frames)`, as `mel.log_mel` lays them out.
            num_frames: the clip's own mel frames.
            timeout_seconds: limit for the whole call; a clip that waits longer in Triton's queue is dropped there.
            headers: metadata to send along, such as the trace context.

        Raises:
            InvalidArgument: the clip cannot be encoded (ENCODER_INPUT_INVALID).
            ResourceExhausted: the queue is full (ENCODER_QUEUE_FULL); carries when to try again.
            DeadlineExceeded: the time ran out, in the queue or in the encoder.
            Unavailable: the encoder is not there, or serves no model.
            Internal: it failed.
        """
        started = time.perf_counter()
        try:
            result = await self._triton.infer(
                MODEL_NAME,
                [_input("features", features[None]), _input("num_frames", np.array([[num_frames]], np.int32))],
                request_id=request_id(),
                timeout=int(timeout_seconds * 1e6),
                client_timeout=timeout_seconds,
                headers=dict(headers or {}),
            )
        except InferenceServerException as error:
            raise _as_ours(error) from error
        total_ms = (time.perf_counter() - started) * 1000
        compute_ms = float(result.as_numpy("compute_ms")[0, 0])
        version = int(result.get_response().model_version)
        return EncodedAudio(result.as_numpy("embeddings")[0], compute_ms, max(0.0, total_ms - compute_ms), version)

    async def describe(self) -> EncoderInfo:
        """Ask what the encoder serves.

        Raises:
            Unavailable: the encoder is not there, or serves no model.
        """
        limit = DESCRIBE_TIMEOUT_SECONDS
        try:
            metadata = await self._triton.get_model_metadata(MODEL_NAME, client_timeout=limit)
            config = (await self._triton.get_model_config(MODEL_NAME, client_timeout=limit)).config
            ready = await self._triton.is_model_ready(MODEL_NAME, client_timeout=limit)
        except InferenceServerException as error:
            raise _as_ours(error) from error
        # A call that names no version is answered by the greatest one.
        version = max(map(int, metadata.versions))
        shapes = {tensor.name: tensor.shape for tensor in [*metadata.inputs, *metadata.outputs]}
        return EncoderInfo(
            fingerprint=config.parameters[f"fingerprint_{version}"].string_value,
            version=version,
            mel_bins=shapes["features"][1],
            hidden_size=shapes["embeddings"][2],
            ready=ready,
        )

    async def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        await self._triton.close()


def _input(name: str, array: np.ndarray) -> Any:
    tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array)


def _as_ours(error: InferenceServerException) -> AuricleError:
    """Triton says UNAVAILABLE for a full queue, for a wait that took too long and for a missing model alike."""
    status, message = str(error.status()), _REQUEST_ID_PREFIX.sub("", error.message() or "")
    match status.removeprefix("StatusCode."):
        case "INVALID_ARGUMENT":
            return InvalidArgument(f"the encoder refused the clip: {message}", reason="ENCODER_INPUT_INVALID")
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded("the encoder did not answer in time")
        case "RESOURCE_EXHAUSTED":
            return ResourceExhausted(f"encoder: {message}")
        case "UNAVAILABLE" if "maximum queue size" in message:
            return ResourceExhausted(
                "the encoder's queue is full", reason="ENCODER_QUEUE_FULL", retry_after_seconds=_RETRY_SECONDS
            )
        case "UNAVAILABLE" if "timeout expired" in message:
            return DeadlineExceeded(
                "the clip waited too long in the encoder's queue", retry_after_seconds=_RETRY_SECONDS
            )
        case "UNAVAILABLE" | "NOT_FOUND":
            what = "serves no model" if "unknown model" in message else "cannot be reached"
            return Unavailable(
                f"the encoder {what}", metadata={"service": "encoder"}, retry_after_seconds=_RETRY_SECONDS
            )
    return Internal(f"encoder: {status}: {message}")
