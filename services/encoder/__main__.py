"""`python -m services.encoder CHECKPOINT REPOSITORY`: publish where the `auricle` command is not installed."""

import argparse
import sys
from pathlib import Path

from services.common import settings
from services.common.errors import AuricleError
from services.encoder.publish import publish
from services.encoder.settings import EncoderSettings
from services.qwen2_audio.config import CheckpointError


def main() -> int:
    """Publish and print what was published; 1 when it was refused."""
    parser = argparse.ArgumentParser(prog="python -m services.encoder", description=publish.__doc__)
    parser.add_argument("checkpoint", type=Path, help="directory in the official layout")
    parser.add_argument("repository", type=Path, help="Triton's model repository")
    parser.add_argument("--version", type=int, help="the next free one by default")
    arguments = parser.parse_args()
    serving = settings.load(EncoderSettings)
    try:
        print(f"published {publish(arguments.checkpoint, arguments.repository, arguments.version, serving)}")
    except (AuricleError, CheckpointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
