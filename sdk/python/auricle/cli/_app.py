"""The command with its global options, its own commands and those of plug-ins."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from auricle._connection import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_SECONDS
from auricle._version import __version__
from auricle.cli._ask import ask
from auricle.cli._jobs import jobs_app
from auricle.cli._session import GlobalOptions, warn
from auricle.cli._status import status
from auricle.cli._upload import delete, upload
from auricle.cli._webhook_test import register_webhook_test

register_webhook_test(jobs_app)

PLUGIN_GROUP = "auricle.commands"
HELP = """Ask questions about audio.

Examples:

    auricle ask clip.wav                                  # voice chat
    auricle ask clip.wav --prompt "What is said here?"    # a question
    auricle jobs submit lecture.mp3 --wait                # a recording of any length
    auricle --address audio.example.com:443 --tls status  # elsewhere

It ends with 1 when a request failed, and with 2 when it never left because an argument is wrong.
"""


def build_app(plugins: Iterable[EntryPoint] | None = None) -> typer.Typer:
    """The command line, with the commands of `plugins`, by default of all that are installed."""
    app = typer.Typer(
        name="auricle",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_global_options)
    for command in (ask, status, upload, delete):
        app.command()(command)
    app.add_typer(jobs_app, name="jobs")
    for plugin in entry_points(group=PLUGIN_GROUP) if plugins is None else plugins:
        _load(plugin, app)
    return app


def _load(plugin: EntryPoint, app: typer.Typer) -> None:
    # Whatever a foreign package raises, even SystemExit, must not take the other commands with it.
    try:
        plugin.load()(app)
    except (Exception, SystemExit) as error:
        warn(f"the commands of plug-in {plugin.name!r} ({plugin.value}) are missing: {type(error).__name__}: {error}")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"auricle {__version__}")
        raise typer.Exit


def _global_options(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(envvar="AURICLE_ADDRESS", metavar="HOST:PORT", help=f"The gateway, {DEFAULT_ADDRESS} by default."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="AURICLE_API_KEY", metavar="KEY", help="API key; the variable hides it from `ps`."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt; public authorities vouch for the server.")] = False,
    tls_ca: Annotated[
        str | None,
        typer.Option(
            envvar="AURICLE_TLS_CA", metavar="FILE", help="Encrypt; this PEM authority vouches for the server."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Deadline of every call.")
    ] = DEFAULT_TIMEOUT_SECONDS,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = GlobalOptions(address=address, api_key=api_key, tls=tls, tls_ca=tls_ca, timeout_seconds=timeout)
