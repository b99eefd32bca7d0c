"""Speech by espeak-ng, in many languages and voices."""

import subprocess
import tempfile

import soundfile

from services.training.data.clips import Samples, at_peak, to_model_rate

LICENSE = "espeak-ng (GPL-3, no condition on its output)"


def speak(text: str, language: str, variant: str, words_per_minute: int = 165, pitch: int = 50) -> Samples:
    """A clip at 16 kHz.

    Args:
        language: espeak-ng's name of it, such as ``de``.
        variant: of the voice, such as ``f3`` or ``m7``.
        pitch: 0 to 99.

    Raises:
        RuntimeError: espeak-ng is missing or failed, with its own message.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        voice = ["-v", f"{language}+{variant}", "-s", str(words_per_minute), "-p", str(pitch)]
        command = ["espeak-ng", *voice, "-w", wav.name, "--", text]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except FileNotFoundError:
            raise RuntimeError("espeak-ng is not installed: apt-get install espeak-ng") from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"espeak-ng: {error.stderr.strip()}") from error
        samples, rate_hz = soundfile.read(wav.name, dtype="float32")
    return at_peak(to_model_rate(samples, rate_hz), 0.7)
