"""Sounds made by formulas: each takes a source of chance and whether it is for training, and returns a clip at 16 kHz.

Training and held-out clips draw the deciding parameter (a pitch, a rate) from interleaved bands, so a held-out clip is
a sound never heard in training.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.qwen2_audio.mel import SAMPLE_RATE_HZ

Wave = NDArray[np.floating[Any]]

_BANDS = 10


def _drawn(chance: random.Random, low: float, high: float, training: bool) -> float:
    """A value from the even bands of the range in training, from the odd ones when held out."""
    band = chance.randrange(_BANDS // 2) * 2 + (0 if training else 1)
    width = (high - low) / _BANDS
    return low + (band + chance.random()) * width


def _time(chance: random.Random) -> Wave:
    return (np.arange(int(chance.uniform(1.0, 2.2) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def _sweep(frequency_hz: Wave) -> Wave:
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ)


def _noise(size: int, chance: random.Random) -> Wave:
    return np.random.default_rng(chance.getrandbits(32)).standard_normal(size)


def _filtered(samples: Wave, low_hz: float, high_hz: float) -> Wave:
    spectrum = np.fft.rfft(samples)
    frequency_hz = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE_HZ)
    return np.fft.irfft(spectrum * ((frequency_hz > low_hz) & (frequency_hz < high_hz)), samples.size)


def siren(chance: random.Random, training: bool) -> Wave:
    """A pitch that rises and falls about once a second."""
    t = _time(chance)
    center_hz, cycles_per_second = _drawn(chance, 600, 1100, training), chance.uniform(0.6, 1.6)
    return _sweep(center_hz * (1 + 0.35 * np.sin(2 * np.pi * cycles_per_second * t)))


def bell(chance: random.Random, training: bool) -> Wave:
    """A church bell: five partials that die away one after the other."""
    t = _time(chance)
    strike_hz = _drawn(chance, 250, 700, training)
    partials = [(0.5, 0.6, 0.5), (1.0, 1.0, 0.9), (1.2, 0.8, 1.2), (1.5, 0.4, 1.6), (2.0, 0.9, 2.0), (2.67, 0.4, 3.0)]
    return sum(a * np.sin(2 * np.pi * r * strike_hz * t) * np.exp(-d * t) for r, a, d in partials)


def telephone(chance: random.Random, training: bool) -> Wave:
    """A ringing telephone: two tones, gated about twenty times a second, in bursts."""
    t = _time(chance)
    low_hz = _drawn(chance, 400, 520, training)
    tones = np.sin(2 * np.pi * low_hz * t) + np.sin(2 * np.pi * low_hz * 1.09 * t)
    gate = np.sin(2 * np.pi * chance.uniform(17, 23) * t) > 0
    return tones * gate * (t % 1.2 < 0.8)


def alarm(chance: random.Random, training: bool) -> Wave:
    """An alarm clock: short high beeps in groups."""
    t = _time(chance)
    tone = np.sign(np.sin(2 * np.pi * _drawn(chance, 1800, 2800, training) * t))
    return tone * (t % 0.16 < 0.08) * (t % 0.9 < 0.62)


def rain(chance: random.Random, training: bool) -> Wave:
    """High noise with many small drops."""
    t = _time(chance)
    hiss = _filtered(_noise(t.size, chance), _drawn(chance, 1200, 2600, training), 7500)
    drops = _noise(t.size, chance) * (np.abs(_noise(t.size, chance)) > 3.0) * 4
    return hiss + drops


def wind(chance: random.Random, training: bool) -> Wave:
    """Low noise that swells and falls."""
    t = _time(chance)
    low = _filtered(_noise(t.size, chance), 60, _drawn(chance, 300, 700, training))
    return low * (1.1 + np.sin(2 * np.pi * chance.uniform(0.3, 0.8) * t + chance.uniform(0, 6)))


def clock(chance: random.Random, training: bool) -> Wave:
    """A ticking clock: dry clicks at an even rate."""
    t = _time(chance)
    period_seconds = _drawn(chance, 0.25, 0.6, training)
    return np.sin(2 * np.pi * chance.uniform(2000, 3500) * t) * np.exp(-(t % period_seconds) * 250)


def engine(chance: random.Random, training: bool) -> Wave:
    """A running engine: harmonics of its firing rate, unsteady."""
    t = _time(chance)
    rate_hz = _drawn(chance, 35, 90, training) * (1 + 0.03 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(rate_hz) / SAMPLE_RATE_HZ
    return sum(np.sin(k * phase) / k**0.7 for k in range(1, 14)) + 0.3 * _filtered(_noise(t.size, chance), 100, 1500)


def whistle(chance: random.Random, training: bool) -> Wave:
    """A referee's whistle: a high trilled tone with breath in it."""
    t = _time(chance)
    pitch_hz = _drawn(chance, 2300, 3400, training) * (1 + 0.03 * np.sin(2 * np.pi * chance.uniform(28, 40) * t))
    return (_sweep(pitch_hz) + 0.1 * _noise(t.size, chance)) * (t < t[-1] * 0.8)


FORMULAS: dict[str, Callable[[random.Random, bool], Wave]] = {
    "siren": siren,
    "bell": bell,
    "telephone": telephone,
    "alarm clock": alarm,
    "rain": rain,
    "wind": wind,
    "clock": clock,
    "engine": engine,
    "whistle": whistle,
}
