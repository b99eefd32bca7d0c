"""Triton's shell around the audio encoder: one call for the whole batch, one answer per request."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# The interpreter embedded in Triton's Python backend ignores PYTHONPATH.
sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]

# Threads that spin while they wait slow everything else on the machine, themselves included when cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

from services.encoder.batch import Clip, ClipError, encode_batch, warm_up  # noqa: E402
from services.encoder.lifeline import Lifeline  # noqa: E402
from services.qwen2_audio.weights import load_audio_encoder  # noqa: E402


class TritonPythonModel:
    """One instance of the model: the encoder of this file's version directory on one device."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights beside this file as the parameters in config.pbtxt and the instance's kind say."""
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        if threads := int(parameters["threads"]):
            torch.set_num_threads(threads)
        on_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        dtype = getattr(torch, parameters["dtype"])
        self._encoder = load_audio_encoder(Path(__file__).parent, device, dtype)
        warm_up(self._encoder)
        self._lifeline = Lifeline(os.getppid())

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encode the clips of all requests together; a bad clip gets an error of its own."""
        clips = [Clip(_tensor(request, "features"), _tensor(request, "num_frames")) for request in requests]
        started = time.perf_counter()
        answers = encode_batch(self._encoder, clips)
        compute_ms = (time.perf_counter() - started) * 1000
        return [_response(answer, compute_ms) for answer in answers]

    def finalize(self) -> None:
        """Called when the model is unloaded in order."""
        self._lifeline.release()


def _tensor(request: Any, name: str) -> torch.Tensor:
    """An input of a request as a view of Triton's memory."""
    return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, name).to_dlpack())


def _response(answer: torch.Tensor | ClipError, compute_ms: float) -> Any:
    if isinstance(answer, ClipError):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG))
    # From DLPack, because backends built before numpy 2 send numpy arrays of it as empty.
    outputs = {"embeddings": answer, "compute_ms": torch.tensor([[compute_ms]])}
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(name, value) for name, value in outputs.items()])
