"""The `auricle` command.

Other packages add commands through the entry point group "auricle.commands": each entry point is a function
`register(app: typer.Typer) -> None`.
"""

import contextlib
import os
from collections.abc import Iterator


def main() -> None:
    """Run the command line; ends the process."""
    with _quiet_grpc():
        from auricle.cli._app import build_app

    build_app()(prog_name="auricle")


@contextlib.contextmanager
def _quiet_grpc() -> Iterator[None]:
    """Load gRPC so that it logs nothing, unless the user wants it to.

    It would log every attempt to connect that failed; the command says so once. It reads the variable while it is
    loaded; processes that the command starts should not find it.
    """
    if "GRPC_VERBOSITY" in os.environ:
        yield
        return
    os.environ["GRPC_VERBOSITY"] = "NONE"
    try:
        yield
    finally:
        del os.environ["GRPC_VERBOSITY"]
