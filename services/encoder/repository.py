"""The encoder's folder in Triton's model repository: immutable version directories under one config.pbtxt."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from safetensors import safe_open
from safetensors.torch import save_file

from services.encoder.settings import EncoderSettings
from services.qwen2_audio.config import audio_config, text_config
from services.qwen2_audio.weights import Checkpoint

MODEL_NAME = "audio_encoder"
TEMPLATE_DIRECTORY = Path(__file__).parents[2] / "model_repo" / MODEL_NAME
WEIGHTS_FILE = "model.safetensors"
_FINGERPRINT = "fingerprint"


class EncoderRepository:
    """`<root>/audio_encoder`: `config.pbtxt` and `<N>/{model.py, config.json, model.safetensors}`.

    A version directory is itself a checkpoint that holds the audio half alone, so `load_audio_encoder` reads it.
    """

    def __init__(self, root: Path) -> None:
        self.directory = root / MODEL_NAME

    def versions(self) -> list[int]:
        """Published versions, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.directory.iterdir() if entry.name.isdecimal())

    def checkpoint(self, version: int) -> Checkpoint:
        """The audio half that the version serves."""
        return Checkpoint(self.directory / str(version))

    def fingerprint(self, version: int) -> str:
        """Fingerprint of the whole checkpoint that the version was published from."""
        with safe_open(self.directory / str(version) / WEIGHTS_FILE, framework="pt") as weights:
            return str(weights.metadata()[_FINGERPRINT])

    def is_current(self, version: int) -> bool:
        """True when the version's model.py is that of this release; an older one may not fit the code it calls."""
        shell = self.directory / str(version) / "model.py"
        return shell.read_bytes() == (TEMPLATE_DIRECTORY / "model.py").read_bytes()

    def version_of(self, fingerprint: str) -> int | None:
        """The latest version that this release has published from the checkpoint with this fingerprint, if any."""
        usable = [v for v in self.versions() if self.is_current(v) and self.fingerprint(v) == fingerprint]
        return max(usable, default=None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other publishers out; they wait."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory on the repository's file system that is gone afterwards unless it was moved."""
        directory = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.directory))
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def write_config(self, settings: EncoderSettings, coming: tuple[int, Checkpoint] | None = None) -> None:
        """Write config.pbtxt for the published versions and one that is about to be, in one step.

        Call it alone to change how published versions are served; Triton reads it when it starts.
        """
        fingerprints = {version: self.fingerprint(version) for version in self.versions()}
        if coming:
            version, checkpoint = coming
            fingerprints[version] = checkpoint.fingerprint
        else:
            checkpoint = self.checkpoint(max(fingerprints))
        text = render_config(settings, checkpoint, fingerprints)
        temporary = self.directory / ".config.pbtxt"
        temporary.write_text(text)
        os.replace(temporary, self.directory / "config.pbtxt")


def fill(directory: Path, checkpoint: Checkpoint) -> None:
    """Write a version's files: the model's shell, the config and the audio half of the weights."""
    shutil.copyfile(TEMPLATE_DIRECTORY / "model.py", directory / "model.py")
    shutil.copyfile(checkpoint.path / "config.json", directory / "config.json")
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.audio_tensors().items()}
    save_file(tensors, directory / WEIGHTS_FILE, metadata={_FINGERPRINT: checkpoint.fingerprint})


def dimensions(checkpoint: Checkpoint) -> tuple[int, int]:
    """Mel bins that the encoder takes and width of its embeddings; fixed for all versions of a repository."""
    return audio_config(checkpoint.config).num_mel_bins, text_config(checkpoint.config).hidden_size


def render_config(settings: EncoderSettings, checkpoint: Checkpoint, fingerprints: dict[int, str]) -> str:
    """Triton's config.pbtxt. Parameters `fingerprint_<N>` tell clients which checkpoint a version comes from."""
    mel_bins, hidden_size = dimensions(checkpoint)
    versions = ", ".join(map(str, settings.served_versions))
    lines = [
        f'parameters {{ key: "fingerprint_{version}" value: {{ string_value: "{value}" }} }}'
        for version, value in sorted(fingerprints.items())
    ]
    template = Template((TEMPLATE_DIRECTORY / "config.pbtxt.template").read_text())
    return template.substitute(
        settings.model_dump(),
        mel_bins=mel_bins,
        hidden_size=hidden_size,
        instance_kind=f"KIND_{settings.device.upper()}",
        queue_timeout_us=int(settings.queue_timeout_seconds * 1e6),
        version_policy=f"specific {{ versions: [ {versions} ] }}" if versions else "latest { num_versions: 1 }",
        fingerprints="\n".join(lines),
    )
