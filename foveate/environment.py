"""Settings of a process from its environment, and its `--help`, which lists them.

In: an app's settings class. Out: the settings, or InvalidInput naming the variable; help text on standard output.
It knows no app.
"""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from foveate.errors import InvalidInput

S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S], *, program: str) -> S:
    """The settings of this process; InvalidInput names the first variable that is missing or wrong."""
    given: dict[str, Any] = {}
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = _variable(kind, "_".join(map(str, first["loc"])))
        what = "is not set" if first["type"] == "missing" else f"is wrong ({first['msg'].lower()})"
        raise InvalidInput(f"{name} {what}; see `{program} --help`.", variable=name) from error


def answer_help(kind: type[BaseSettings], *, program: str, description: str) -> None:
    """Takes the command line in: `--help` prints every variable and leaves, anything else is an error."""
    lines = [_line(kind, name) for name in kind.model_fields]
    parser = argparse.ArgumentParser(
        prog=program,
        description=f"{description} Everything is set by environment variables:",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()


def _line(kind: type[BaseSettings], name: str) -> str:
    field = kind.model_fields[name]
    default = "required" if field.is_required() else f"default {field.default}"
    return f"  {_variable(kind, name)}\n      {' '.join((field.description or '').split())} ({default})"


def _variable(kind: type[BaseSettings], name: str) -> str:
    return f"{kind.model_config.get('env_prefix', '')}{name}".upper()
