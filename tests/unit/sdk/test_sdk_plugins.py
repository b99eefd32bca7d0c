"""Commands of other packages, which may be broken in any way."""

from importlib.metadata import EntryPoint
from typing import NoReturn

import pytest
import typer
from typer.testing import CliRunner

from auricle.cli._app import PLUGIN_GROUP, build_app
from auricle.cli._session import GlobalOptions

pytestmark = pytest.mark.unit


def register(app: typer.Typer) -> None:
    @app.command()
    def hello(context: typer.Context) -> None:
        typer.echo(f"hello {context.find_object(GlobalOptions).address}")  # type: ignore[union-attr]


def register_badly(app: typer.Typer) -> NoReturn:
    raise RuntimeError("no such\nluck")


def register_and_leave(app: typer.Typer) -> NoReturn:
    raise SystemExit(3)


not_callable = 7


def plugin(function: str) -> EntryPoint:
    return EntryPoint(function, f"{__name__}:{function}", PLUGIN_GROUP)


def test_a_plug_in_adds_commands_that_see_the_global_options() -> None:
    app = build_app([plugin("register")])
    assert CliRunner().invoke(app, ["--address", "here:1", "hello"]).stdout == "hello here:1\n"


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("register_badly", "RuntimeError: no such luck"),
        ("register_and_leave", "SystemExit: 3"),
        ("not_callable", "TypeError: 'int' object is not callable"),
        ("no_such_function", "AttributeError: "),
    ],
)
def test_a_broken_plug_in_is_one_line_and_breaks_nothing(
    function: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = build_app([plugin(function), plugin("register")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: the commands of plug-in '{function}'")
    assert complaint in line
    assert CliRunner().invoke(app, ["hello"]).exit_code == 0
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0
