"""Where the services listen: named on the command line, in the environment, or by the fleet on this machine.

In: an option's value and the data directory. Out: `host:port`, or NotReady with what to start.
Knows nothing of the calls that follow.
"""

from __future__ import annotations

import os
from pathlib import Path

from foveate.cli import run_state
from foveate.errors import NotReady

DEFAULT_DATA = Path("~/.foveate")


def data_directory(given: Path | None) -> Path:
    """The directory of the laptop fleet: as given, else FOVEATE_DATA, else ~/.foveate."""
    chosen = given or Path(os.environ.get("FOVEATE_DATA") or DEFAULT_DATA)
    return chosen.expanduser().absolute()


def endpoint(name: str, *, given: str | None, data: Path | None) -> str:
    """`host:port` of a service such as `router`: as given, else FOVEATE_<NAME>, else of the fleet that runs here."""
    if found := given or os.environ.get(f"FOVEATE_{name.upper().replace('-', '_')}"):
        return found
    directory = data_directory(data)
    state = run_state.read(directory / "run.json")
    if state is None or not state.alive:
        raise NotReady(
            f"No fleet runs on {directory}; start one with `foveate up --video PATH`, or name a service by --{name}."
        )
    if name not in state.endpoints:
        raise NotReady(
            f"The fleet on {directory} has no {name}; it has {', '.join(sorted(state.endpoints)) or 'none'}."
        )
    return state.endpoints[name]
