"""`python -m services.gateway`: serve the public API until SIGTERM."""

from services.common.server import run
from services.common.settings import load
from services.gateway.build import build
from services.gateway.settings import GatewaySettings


def main() -> None:
    """Read the environment and serve."""
    settings = load(GatewaySettings)
    run("gateway", lambda: build(settings), settings)


if __name__ == "__main__":
    main()
