"""Options that several commands share, and the way out of each: one sentence and an exit code that means something.

In: Typer's context. Out: annotated types for signatures, and `finish`, which runs a command's coroutine.
Knows nothing of particular commands.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from foveate.errors import FoveateError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Directory of the laptop fleet (default: $FOVEATE_DATA or ~/.foveate)."),
]
Router = Annotated[str | None, typer.Option("--router", help="Router as host:port (default: of the fleet here).")]
At = Annotated[str | None, typer.Option("--at", help="Ask this site's own router, which needs no uplink.")]
Cloud = Annotated[str | None, typer.Option("--cloud", help="Cloud service as host:port (default: of the fleet here).")]

# Exit codes: 0 answered or done, 2 bad input, 3 refused by residency, 4 not found, 5 cannot tell, 75 try again.
CANNOT_TELL = 5
INTERRUPTED = 130

# DEL and the C1 controls, and what turns the reading direction round; JSON escapes the other controls by itself.
_ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def console() -> Console:
    """A console for people, which leaves standard output alone when that is not a terminal's."""
    return Console(highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:  # noqa: ANN401
    """One JSON document on standard output, with what a terminal would act on written as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    sys.stdout.write(_ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def finish(work: Coroutine[Any, Any, int | None], *, as_json: bool) -> NoReturn:
    """Runs the command to its end and leaves with its exit code; an error becomes one sentence."""
    try:
        code = asyncio.run(work) or 0
    except FoveateError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if os.environ.get("FOVEATE_TRACEBACK"):
            raise
        said = f"This is a bug in Foveate ({type(error).__name__}: {error}); FOVEATE_TRACEBACK=1 shows where."
        fail(FoveateError(said, reason="BUG"), as_json=as_json)
    raise typer.Exit(code)


def fail(error: FoveateError, *, as_json: bool) -> NoReturn:
    """Leaves with the error's exit code after its sentence, on standard error, or as JSON on standard output."""
    if as_json:
        print_json({"error": {"reason": error.reason, "message": error.message, "metadata": error.metadata}})
    else:
        Console(stderr=True, highlight=False).print(
            f"[bold red]foveate:[/bold red] {escape(error.message)}", soft_wrap=True
        )
    raise typer.Exit(error.exit_code)
