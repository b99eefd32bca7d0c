"""`python -m services.preprocess`: serve until SIGTERM."""

from services.common.server import run
from services.common.settings import load
from services.preprocess.build import build
from services.preprocess.settings import PreprocessSettings


def main() -> None:
    """Read the environment and serve."""
    settings = load(PreprocessSettings)
    run("preprocess", lambda: build(settings), settings)


if __name__ == "__main__":
    main()
