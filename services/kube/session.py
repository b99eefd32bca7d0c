"""What every `auricle k8s` command begins and ends with: the options before it, the cluster, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from services.kube.cluster import Cluster
    from services.kube.telling import Telling

FAILURE = 1
_KEY = "auricle.k8s"


@dataclass(frozen=True)
class Options:
    """The options before the command."""

    context: str | None
    namespace: str | None
    release: str | None
    timeout_seconds: float

    def keep(self, context: typer.Context) -> None:
        """For the command that follows."""
        context.meta[_KEY] = self


@dataclass(frozen=True)
class Session:
    """A command's cluster, and whom it tells."""

    options: Options
    cluster: Cluster
    telling: Telling


@contextmanager
def session(context: typer.Context, *, dry_run: bool = False) -> Iterator[Session]:
    """Connect; what a user can do something about becomes one line and exit code 1."""
    from rich.console import Console

    from auricle import AuricleError
    from services.kube.cluster import KubeError, connect
    from services.kube.telling import Telling

    options: Options = context.meta[_KEY]
    try:
        cluster = connect(options.context, options.namespace, dry_run=dry_run)
        yield Session(options, cluster, Telling(Console(stderr=True), dry_run=dry_run))
    except ModuleNotFoundError as error:
        raise _fail(f"{error.name} is not installed: pip install 'auricle-platform[cluster]'") from None
    except (KubeError, AuricleError, OSError) as error:
        raise _fail(str(error)) from None


def _fail(sentence: str) -> typer.Exit:
    typer.echo(f"error: {sentence}", err=True)
    return typer.Exit(FAILURE)
