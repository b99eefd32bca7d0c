"""The `auricle` command.

Other packages add commands through the entry point group "auricle.commands": each entry point is a function
`register(app: typer.Typer) -> None`.
"""

import contextlib
import os
from collections.abc import Iterator

_GRPC_VARIABLES = {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}


def main() -> None:
    """Run the command line; ends the process."""
    with _quiet_grpc():
        from auricle.cli._app import build_app

    build_app()(prog_name="auricle")


@contextlib.contextmanager
def _quiet_grpc() -> Iterator[None]:
    """Load gRPC so that it logs nothing and keeps out of forks, unless the user wants it otherwise.

    It would log every attempt to connect that failed; the command says so once. Its fork handlers may hang for ever in
    a process that `auricle up` starts again. It reads the variables while it is loaded; processes that the command
    starts should not find them.
    """
    ours = {name: value for name, value in _GRPC_VARIABLES.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
