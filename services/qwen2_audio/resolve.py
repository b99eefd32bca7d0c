"""From the name of a model to its checkpoint directory."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from services.qwen2_audio.config import CheckpointError

DEFAULT_MODEL = "auricle-mini"
_CHECKPOINT_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors")


def resolve_checkpoint(name_or_path: str, cache_dir: Path | None = None) -> Path:
    """The local checkpoint directory of a model.

    ``auricle-mini`` is assembled where it is not yet; a directory is taken as it is; anything else is a repository of
    the Hugging Face hub, such as ``Qwen/Qwen2-Audio-7B-Instruct``, and downloaded into the hub's own cache. The
    download is untried: the machines this was developed on do not reach the hub.

    Args:
        name_or_path: as above.
        cache_dir: where assembled models are kept, see ``assemble``.

    Raises:
        CheckpointError: neither a directory nor a repository that can be had.
        AssemblyError: auricle-mini's inputs are missing or not the expected ones.
    """
    if name_or_path == DEFAULT_MODEL:
        # Only who assembles waits for what it imports.
        from services.qwen2_audio.mini import assemble

        return assemble(cache_dir)
    directory = Path(name_or_path).expanduser()
    if directory.is_dir():
        return directory
    try:
        return Path(snapshot_download(name_or_path, allow_patterns=list(_CHECKPOINT_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"{name_or_path!r} is no directory, and the hub did not give it: {error}") from error
