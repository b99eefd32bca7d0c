"""A client for one command, and its errors as one line each."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer

from auricle._client import Client
from auricle._connection import TLSConfig
from auricle._errors import AuricleError

FAILURE, USAGE = 1, 2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True)
class GlobalOptions:
    """The options before the command."""

    address: str | None
    api_key: str | None = field(repr=False)
    tls: bool
    tls_ca: str | None
    timeout_seconds: float

    def client(self) -> Client:
        """A client that obeys the options. Raises ValueError or OSError when one is wrong."""
        tls = TLSConfig(ca=self.tls_ca) if self.tls_ca else self.tls or None
        return Client(self.address, api_key=self.api_key, tls=tls, timeout_seconds=self.timeout_seconds)


@contextmanager
def session(context: typer.Context) -> Iterator[Client]:
    """A client for the block. What goes wrong in it is printed as one line and ends the command with 1 or 2.

    2 means that the request never left, because an argument is wrong or a file cannot be read; 1 that it failed.
    """
    try:
        with context.find_object(GlobalOptions).client() as client:  # type: ignore[union-attr]
            yield client
    except AuricleError as error:
        raise fail(describe(error), FAILURE) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), USAGE) from None
    except (ValueError, TypeError) as error:
        raise fail(str(error), USAGE) from None


def describe(error: AuricleError) -> str:
    """Reason, message, wrong fields, when to try again, and the name to ask the operator about."""
    parts = [f"{error.reason}: {error}"]
    parts += [
        f"{violation.field}: {violation.description}"
        for violation in error.field_violations
        if violation.description not in str(error)
    ]
    if error.retry_after_seconds is not None:
        parts.append(f"try again in {error.retry_after_seconds:g} s")
    request = f" (request {error.request_id})" if error.request_id else ""
    return "; ".join(parts) + request


def warn(sentence: str) -> None:
    """Tell the user something on standard error, on one line."""
    _say("warning", sentence)


def fail(sentence: str, code: int) -> typer.Exit:
    """Tell what went wrong, and what to raise so that the command ends with the code."""
    _say("error", sentence)
    return typer.Exit(code)


def _say(kind: str, sentence: str) -> None:
    # What a server or a file name says may hold line breaks and terminal commands.
    typer.echo(f"{kind}: {_CONTROL.sub(' ', sentence)}", err=True)
