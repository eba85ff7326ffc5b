"""`foveate up` and `foveate down`: the fleet on this machine.

In: videos, camera URLs or a plan file. Out: a running fleet with its addresses, or one sentence on what is missing.
Knows nothing of how the processes are started: `local.py` is next.
"""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from foveate.cli import endpoints, fleet_plan, footage, local
from foveate.cli.fleet_plan import FleetPlan
from foveate.cli.options import AsJson, Data, console, finish, print_json
from foveate.cli.run_state import RunState
from foveate.cli.showing import line
from foveate.cli.supervise import StageEvent
from foveate.errors import InvalidInput

_STYLE = {"healthy": "green", "starting": "bright_black", "restarting": "yellow", "failed": "red", "stopped": "yellow"}
# A connection URL holds a password: people need the services, programs read run.json.
_SHOWN = ("router", "cloud", "edge-", "leaf-", "nats-")


class Progress:
    """Shows each child as it comes up; says nothing of the ones that merely started."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen

    def __call__(self, event: StageEvent) -> None:
        """One child, or the fleet itself, came to another state."""
        if event.state in ("waiting", "starting", "stopping", "stopped"):
            return
        style = _STYLE.get(event.state, "yellow")
        said = f" {escape(event.message)}" if event.message else ""
        line(self._screen, f"{event.seconds:.1f} s", f"[{style}]{event.state:8}[/{style}] {escape(event.name)}{said}")


def up(
    video: Annotated[
        list[str] | None, typer.Option(help="A camera: a video file, rtsp:// URL or /dev/videoN (repeatable).")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A fleet plan in YAML instead: sites, regions, devices.")] = None,
    region: Annotated[str, typer.Option(help="Region of the site and the cloud, with --video.")] = "local",
    loop: Annotated[bool, typer.Option("--loop/--once", help="Play files for ever, or once.")] = True,
    speed: Annotated[float, typer.Option(help="Seconds of a file that pass in one real second.")] = 1.0,
    detach: Annotated[bool, typer.Option("--detach", help="Return when healthy; `foveate down` ends it.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Start a fleet on this machine: NATS, PostgreSQL, cloud, router, an edge node per site, an agent per camera.

    Ctrl-C ends it, drained; the next `foveate up` goes on with the same data. Without --video and --plan the fleet
    that the data directory remembers is started.

    Example: foveate up --video door.mp4 --video rtsp://camera.local/stream --detach
    """

    async def work() -> None:
        local.require_apps()
        directory = endpoints.data_directory(data)
        chosen = _chosen(video or [], plan, region=region, loop=loop, speed=speed)
        if chosen is not None:
            await asyncio.to_thread(footage.check_playable, chosen)
        screen = Console(stderr=True, highlight=False) if as_json else console()
        if detach:
            state = await local.detach(chosen, data_dir=directory, progress=Progress(screen))
            _show(screen, state, directory, as_json=as_json)
            return
        await local.serve(
            chosen,
            data_dir=directory,
            progress=Progress(screen),
            on_up=lambda fleet: _show(screen, fleet.state, directory, as_json=as_json, attached=not fleet.already_up),
        )

    finish(work(), as_json=as_json)


def down(data: Data = None, as_json: AsJson = False) -> None:
    """End the fleet that runs on the data directory, drained; its data stays.

    Example: foveate down
    """

    async def work() -> None:
        directory = endpoints.data_directory(data)
        ended = await local.down(directory)
        if as_json:
            print_json({"ended": ended, "data": str(directory)})
        else:
            console().print(f"The fleet on {directory} {'has ended' if ended else 'was not running'}.")

    finish(work(), as_json=as_json)


def _chosen(videos: list[str], plan: Path | None, *, region: str, loop: bool, speed: float) -> FleetPlan | None:
    if plan is not None and videos:
        raise InvalidInput("Give either --plan or --video; a plan names its cameras itself.")
    if plan is not None:
        return fleet_plan.load(plan)
    return fleet_plan.plan_from_videos(videos, region=region, loop=loop, speed=speed) if videos else None


def _show(screen: Console, state: RunState, directory: Path, *, as_json: bool, attached: bool = False) -> None:
    shown = {name: where for name, where in state.endpoints.items() if name.startswith(_SHOWN)}
    if as_json:
        children = [
            {"name": child.name, "pid": child.pid, "health": child.health, "trouble": child.trouble or None}
            for child in state.children
        ]
        print_json(
            {
                "state": state.state,
                "seconds": round(state.seconds, 2),
                "data": str(directory),
                "endpoints": shown,
                "children": children,
            }
        )
        return
    screen.print(f"[bold]The fleet is {state.state}[/bold] after {state.seconds:.1f} s, on {escape(str(directory))}.")
    for name, where in shown.items():
        line(screen, name, escape(where))
    elsewhere = "" if directory == endpoints.data_directory(None) else f" --data {shlex.quote(str(directory))}"
    screen.print(f'Ask it: [bold]foveate ask "is there a person in view?"{escape(elsewhere)}[/bold]')
    if attached:
        screen.print("Ctrl-C ends it, drained.")
