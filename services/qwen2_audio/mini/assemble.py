"""Assembly of auricle-mini into a cache, once per version."""

import tempfile
from pathlib import Path

from services.qwen2_audio.mini.checkpoint import write_checkpoint
from services.qwen2_audio.mini.manifest import Manifest, read_manifest
from services.qwen2_audio.place import publish

DEFAULT_CACHE = Path("~/.cache/auricle/models")


def assemble(cache_dir: Path | None = None, manifest: Manifest | None = None) -> Path:
    """The directory of the assembled checkpoint: made on the first call, found on later ones.

    What the model can do stands in ``docs/model-card.md``. Weights are stored in half precision, to be computed with
    in single.

    Args:
        cache_dir: where assembled models are kept; ``~/.cache/auricle/models`` by default.
        manifest: what to assemble from; the repository's own by default.

    Raises:
        AssemblyError: an input is missing or is not the file the manifest names.
    """
    manifest = manifest or read_manifest()
    models = (cache_dir or DEFAULT_CACHE).expanduser()
    target = models / f"auricle-mini-{manifest.version}"
    if target.is_dir():
        return target
    manifest.verify()
    models.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a directory of that name is always whole.
    with tempfile.TemporaryDirectory(dir=models, prefix=".assembling-") as scratch:
        made = Path(scratch) / target.name
        made.mkdir()
        write_checkpoint(manifest, made)
        publish(made, target)
    return target
