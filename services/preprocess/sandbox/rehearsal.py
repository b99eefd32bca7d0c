"""Everything that a recording would otherwise wait for, done in advance."""

import functools
import importlib
import io
import pkgutil
import wave

import av
import numpy as np

from services.preprocess.domain import Limits, Order
from services.preprocess.sandbox.pipeline import process
from services.preprocess.sandbox.source import Source

_RATE_HZ = 48_000
_SECONDS = 0.5
MEL_BINS = (80, 128)


def import_everything() -> None:
    """Import what libraries import late: a child can open no file."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def rehearse(limits: Limits, mel_bins: int) -> None:
    """Run the chain on a short noise.

    In the zygote it makes tables and caches. In a child that waits for its recording it makes the child's own copies of
    the pages that it shares with the zygote, which cost several milliseconds when first written.
    """
    for _ in process(Order(mel_bins, 30.0, 30.0), limits, Source(iter([_noise_file()])), io.BytesIO()):
        pass


@functools.cache
def _noise_file() -> bytes:
    noise = np.random.default_rng(0).integers(-3000, 3000, int(_SECONDS * _RATE_HZ), "<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, _RATE_HZ, 0, "NONE", ""))
        writer.writeframes(noise.tobytes())
    return file.getvalue()
