"""`python -m services.decoder`: serve until SIGTERM."""

import os

from services.common.server import run
from services.common.settings import load
from services.decoder.settings import DecoderSettings


def main() -> None:
    """Read the environment and serve."""
    settings = load(DecoderSettings)
    # OpenMP's threads spin while they wait. Where a service shares its cores, spinning takes them from the very thread
    # that is waited for. Read when torch is loaded, hence before the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A step reads every weight once; in pages of 2 MiB that costs fewer look-ups of addresses.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from services.decoder.build import build

    run("decoder", lambda: build(settings), settings)


if __name__ == "__main__":
    main()
