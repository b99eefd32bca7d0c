"""Sounds made for tests, and files of every format that they can come in, encoded with PyAV."""

import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
_VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
_FORMANT_WIDTHS_HZ = (80, 90, 120)


def tone(seconds: float, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0, amplitude: float = 0.3) -> NDArray:
    """A sine."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def noisy_tone(seconds: float) -> NDArray:
    """A sine at 16 kHz in noise, which codecs cannot make small."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    return (tone(seconds) + 0.02 * noise).astype(np.float32)


def silence(seconds: float, rate_hz: int = RATE_HZ) -> NDArray:
    """Digital silence."""
    return np.zeros(round(seconds * rate_hz), np.float32)


def voice(seconds: float, seed: int = 0) -> NDArray:
    """Syllables of a synthetic throat at 16 kHz: pulses through formants, which speech detectors take for speech."""
    random = np.random.default_rng(seed)
    parts: list[NDArray] = []
    while sum(map(len, parts)) < seconds * RATE_HZ:
        burst = 0.05 * random.standard_normal(480) * np.linspace(0, 1, 480)
        parts += [burst, _syllable(random)]
    return np.concatenate(parts)[: round(seconds * RATE_HZ)].astype(np.float32)


def _syllable(random: np.random.Generator) -> NDArray:
    count = int(random.uniform(0.12, 0.3) * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    pitch_hz = 110 + 25 * np.sin(2 * np.pi * random.uniform(1, 3) * time + random.uniform(0, 6))
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / RATE_HZ), prepend=0)
    sound = pulses + 0.02 * random.standard_normal(count)
    vowel = _VOWELS_HZ[random.integers(len(_VOWELS_HZ))]
    for formant_hz, width_hz in zip(vowel, _FORMANT_WIDTHS_HZ, strict=True):
        sound = _resonate(sound, formant_hz, width_hz)
    sound *= np.sqrt(np.sin(np.pi * np.arange(count) / count))
    return 0.4 * sound / np.abs(sound).max()


def _resonate(sound: NDArray, center_hz: float, width_hz: float) -> NDArray:
    radius = np.exp(-np.pi * width_hz / RATE_HZ)
    feedback = 2 * radius * np.cos(2 * np.pi * center_hz / RATE_HZ)
    result, last, before = np.empty_like(sound), 0.0, 0.0
    for index, value in enumerate(sound):
        last, before = value + feedback * last - radius * radius * before, last
        result[index] = last
    return result


@dataclass(frozen=True)
class Format:
    """A way to write a file; `exact_ends` when it keeps the number of samples."""

    container: str
    codec: str
    rate_hz: int
    channels: int = 2
    container_options: dict[str, str] = field(default_factory=dict)
    codec_options: dict[str, str] = field(default_factory=dict)
    exact_ends: bool = True


_FASTSTART = {"movflags": "faststart"}
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}

FORMATS: dict[str, Format] = {
    "wav": Format("wav", "pcm_s16le", 44_100),
    "wav 24 bit": Format("wav", "pcm_s24le", 48_000),
    "wav float": Format("wav", "pcm_f32le", 96_000, 1),
    "wav mu-law": Format("wav", "pcm_mulaw", 8_000, 1),
    "wav 8 bit": Format("wav", "pcm_u8", 11_025, 1),
    "wav 5.1": Format("wav", "pcm_s16le", 48_000, 6),
    "flac": Format("flac", "flac", 44_100),
    "mp3": Format("mp3", "libmp3lame", 44_100, exact_ends=False),
    "mp3 low rate": Format("mp3", "libmp3lame", 16_000, 1, exact_ends=False),
    "ogg vorbis": Format("ogg", "vorbis", 44_100, 2, {"page_duration": "200000"}, {"strict": "-2"}, exact_ends=False),
    "ogg opus": Format("ogg", "libopus", 48_000),
    "m4a": Format("ipod", "aac", 44_100, exact_ends=False),
    "m4a index first": Format("ipod", "aac", 44_100, container_options=_FASTSTART, exact_ends=False),
    "mp4 fragmented": Format("mp4", "aac", 44_100, container_options=_FRAGMENTED, exact_ends=False),
    "m4a lossless": Format("ipod", "alac", 44_100),
    "aac": Format("adts", "aac", 22_050, 1, exact_ends=False),
    "webm": Format("webm", "libopus", 48_000),
    "webm live": Format("webm", "libopus", 48_000, container_options={"live": "1"}),
    "amr": Format("amr", "libopencore_amrnb", 8_000, 1, exact_ends=False),
}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def encode(samples: NDArray, rate_hz: int, form: Format) -> bytes:
    """A file of mono float32 samples, the same sound in every channel."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "sound"
        write(path, [samples], rate_hz, form)
        return path.read_bytes()


def write(path: Path, blocks: Iterable[NDArray], rate_hz: int, form: Format) -> None:
    """Write such a file block by block."""
    layout = _LAYOUTS[form.channels]
    with av.open(str(path), "w", format=form.container, options=form.container_options) as container:
        stream: Any = container.add_stream(
            form.codec, rate=form.rate_hz, layout=layout, options=dict(form.codec_options)
        )
        formats = stream.codec_context.codec.audio_formats
        sample_format = formats[0].name if formats else stream.format.name
        # Encoders without a frame length of their own (PCM) take any.
        frame_size = stream.codec_context.frame_size or 4096
        resampler = av.AudioResampler(sample_format, layout, form.rate_hz, frame_size)
        position = 0
        for block in blocks:
            planar = np.ascontiguousarray(np.tile(block, (form.channels, 1)), np.float32)
            frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, position
            frame.time_base = Fraction(1, rate_hz)
            position += len(block)
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))


def wav(
    samples: NDArray,
    rate_hz: int = RATE_HZ,
    channels: int = 1,
    *,
    data_bytes: int | None = None,
    tag: int | None = None,
) -> bytes:
    """A WAV file written by hand: whatever the header shall claim."""
    bits = samples.dtype.itemsize * 8
    block_bytes = channels * bits // 8
    tag = tag or (3 if samples.dtype.kind == "f" else 1)
    data = samples.tobytes()
    head = struct.pack(
        "<HHIIHH", tag, channels, rate_hz, rate_hz * block_bytes & 0xFFFFFFFF, block_bytes & 0xFFFF, bits
    )
    size = len(data) if data_bytes is None else data_bytes
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(4 + len(chunks), 0xFFFFFFFF)) + b"WAVE" + chunks


def pcm16(samples: NDArray) -> NDArray:
    """Float samples as 16-bit integers."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")


def video(*, with_sound: bool) -> bytes:
    """Two seconds of a gray picture in MP4, with or without a tone."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "video.mp4"
        with av.open(str(path), "w", options=_FASTSTART) as container:
            picture: Any = container.add_stream("libx264", rate=10)
            picture.width = picture.height = 64
            sound: Any = container.add_stream("aac", rate=44_100, layout="mono") if with_sound else None
            for shade in range(0, 200, 10):
                image = np.full((64, 64, 3), shade, np.uint8)
                container.mux(picture.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(picture.encode(None))
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(tone(2.0, 44_100)[None, :], format="fltp", layout="mono")
                frame.sample_rate = 44_100
                container.mux(sound.encode(frame))
                container.mux(sound.encode(None))
        return path.read_bytes()
