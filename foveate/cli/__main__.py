"""`foveate`: the command line of a fleet.

In: arguments. Out: what the commands of the sibling modules print, and their exit codes.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from foveate.cli import fleet, questions, watching
from foveate.cli.options import fail
from foveate.errors import FoveateError, NotReady


def app() -> typer.Typer:
    """The commands, built anew for each run and each test."""
    commands = typer.Typer(
        name="foveate",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Ask a fleet of cameras in plain English; questions are answered where that is fast, cheap and allowed.",
    )
    commands.callback()(_version)
    _add_local(commands)
    commands.command("ask")(questions.ask)
    commands.command("explain")(questions.explain)
    commands.add_typer(questions.question, name="question")
    commands.command("funnel")(watching.draw_funnel)
    commands.add_typer(fleet.device, name="device")
    commands.add_typer(fleet.event, name="event")
    commands.add_typer(fleet.clip, name="clip")
    commands.command("models")(fleet.list_models)
    return commands


def _add_local(commands: typer.Typer) -> None:
    """Adds up, down and demo; without the extra `local` they say what to install."""
    try:
        from foveate.cli import demo, running  # they need the extra `local`
    except ModuleNotFoundError as error:
        missing = NotReady(f"{error.name} is not installed; run `pip install foveate[local]`.", reason="EXTRA_MISSING")

        def absent() -> None:
            """Not installed: needs `pip install foveate[local]`."""
            fail(missing, as_json=False)

        for name in ("up", "down", "demo"):
            commands.command(name)(absent)
        return
    commands.command("up")(running.up)
    commands.command("down")(running.down)
    commands.command("demo")(demo.demo)


def _print_version(asked: bool) -> None:
    if not asked:
        return
    try:
        typer.echo(version("foveate"))
    except PackageNotFoundError:
        typer.echo("unknown: not installed")
    raise typer.Exit


def _version(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    del show  # its callback has acted already


def main() -> None:
    """Runs the command line; an error that escapes a command still becomes one sentence."""
    try:
        app()()
    except FoveateError as error:
        try:
            fail(error, as_json=False)
        except typer.Exit as leave:
            raise SystemExit(leave.exit_code) from None


if __name__ == "__main__":
    main()
