"""Where the services listen: named on the command line, in the environment, or by the fleet on this machine.

In: an option's value and the data directory. Out: `host:port`, or NotReady with what to start.
A router that is gone is stood in for by a site's own, when there is one to choose.
Knows nothing of the calls that follow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from foveate.cli import run_state
from foveate.cli.health import grpc_serves
from foveate.errors import InvalidInput, NotReady, Unreachable

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


async def router(*, given: str | None, at: str | None, data: Path | None, sites: Sequence[str] = ()) -> tuple[str, str]:
    """`host:port` of the router to ask, and the site whose own router it is, empty for the whole fleet's.

    That of the site `at` when it is named. Without a name it is the fleet's; when that one does not answer, it is the
    own router of the only site in `sites` or, without those, of the only site here. Unreachable names what to choose.
    """
    if at and given:
        raise InvalidInput("Give either --router or --at; a site's own router is named by its site.")
    if at:
        return endpoint(f"router-{at}", given=None, data=data), at
    target, own = endpoint("router", given=given, data=data), _own_routers(given, data)
    if not own or await grpc_serves(target):
        return target, ""
    asked = [site for site in (sites or own) if site in own]
    if len(asked) == 1:
        return own[asked[0]], asked[0]
    choices = " or ".join(f"--at {site}" for site in sorted(own))
    raise Unreachable(f"The router of the fleet does not answer; start it, or ask a site itself with {choices}.")


def _own_routers(given: str | None, data: Path | None) -> Mapping[str, str]:
    """The sites' own routers in the fleet on this machine; none when the user named a router."""
    if given or os.environ.get("FOVEATE_ROUTER"):
        return {}
    state = run_state.read(data_directory(data) / "run.json")
    endpoints = state.endpoints if state else {}
    return {name.removeprefix("router-"): where for name, where in endpoints.items() if name.startswith("router-")}
