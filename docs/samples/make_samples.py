"""Makes the sample recordings of this folder: speech by flite, the rest by the formulas below.

    apt-get install flite && python docs/samples/make_samples.py

Everything is ours: the words, the formulas and the mixes. flite's voices put no conditions on what they speak.
"""

import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

RATE_HZ = 16_000
HERE = Path(__file__).parent


def speak(text: str, voice: str) -> np.ndarray:
    """The text spoken by a flite voice, float32 at 16 kHz, with a quarter second of silence around it."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", wav.name], check=True)
        samples, rate_hz = soundfile.read(wav.name, dtype="float32")
    if rate_hz != RATE_HZ:
        samples = soxr.resample(samples, rate_hz, RATE_HZ)
    silence = np.zeros(RATE_HZ // 4, np.float32)
    return np.concatenate([silence, 0.8 * samples / np.abs(samples).max(), silence])


def tone(frequency_hz: float, seconds: float, decay_per_second: float) -> np.ndarray:
    """A sine that dies away."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * frequency_hz * t) * np.exp(-decay_per_second * t)


def bell(strike_hz: float, seconds: float) -> np.ndarray:
    """A church bell: the partials hum, prime, tierce, quint and nominal, each with its own decay."""
    partials = [(0.5, 0.6, 0.5), (1.0, 1.0, 0.9), (1.2, 0.8, 1.2), (1.5, 0.4, 1.6), (2.0, 0.9, 2.0), (2.67, 0.4, 3.0)]
    return sum(level * tone(ratio * strike_hz, seconds, decay) for ratio, level, decay in partials)


def chord(notes_hz: list[float], seconds: float) -> np.ndarray:
    """Plucked notes together, five harmonics each."""
    return sum(tone(f * h, seconds, 1.5 * h) / h**1.3 for f in notes_hz for h in range(1, 6))


def joined(parts: list[np.ndarray], peak: float = 0.6) -> np.ndarray:
    """The parts one after the other, scaled to a peak."""
    samples = np.concatenate(parts)
    return (peak * samples / np.abs(samples).max()).astype(np.float32)


def music() -> np.ndarray:
    """C, F, G and C major, two beats each at 120 beats a minute."""
    c, e, f, g, a, b, d = 261.63, 329.63, 349.23, 392.0, 440.0, 493.88, 293.66
    return joined([chord(notes, 1.0) for notes in ([c, e, g], [f, a, 2 * c], [g, b, 2 * d], [c, e, g, 2 * c])])


def encode(samples: np.ndarray, path: Path, codec: str, bit_rate: int) -> None:
    """Write with a lossy codec through PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout="mono", bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(samples[None, :].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler(stream.format, "mono", RATE_HZ, frame_size=stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def main() -> None:
    """Write the five recordings."""
    soundfile.write(HERE / "sentence.wav", speak(SENTENCE, "slt"), RATE_HZ, subtype="PCM_16")
    soundfile.write(HERE / "question.flac", speak(QUESTION, "rms"), RATE_HZ)
    encode(joined([bell(440, 1.4), bell(440, 1.4), bell(440, 2.2)]), HERE / "sound.mp3", "libmp3lame", 48_000)
    encode(music(), HERE / "music.m4a", "aac", 48_000)
    command = speak(COMMAND, "awb")
    background = np.resize(joined([bell(440, 1.4)], 0.15), command.shape)
    encode((command + background) / 1.3, HERE / "mix.ogg", "libopus", 32_000)


SENTENCE = "The children walked to the river in the morning."
QUESTION = "What is the capital of France?"
COMMAND = "Write down every word that you hear."

if __name__ == "__main__":
    main()
