"""`foveate funnel`, `device press` and `device watch`: what a device makes of its frames, and what it is told.

In: names on the command line. Out: drawings, JSON, or one line. The devices answer through the router and their site.
Knows nothing of the ladder itself.
"""

from __future__ import annotations

from typing import Annotated

import typer

from foveate import rpc, wire
from foveate.cli import as_json as to_json
from foveate.cli import endpoints, funnel, reaching, showing
from foveate.cli.fleet import device as device_commands
from foveate.cli.options import AsJson, Cloud, Data, Router, console, finish, print_json
from foveate.commands import DeviceState
from foveate.errors import FoveateError, InvalidInput, NotFound, Unreachable
from foveate.v1 import fleet_service_pb2
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub


def draw_funnel(
    name: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="One device; without it, all.")] = None,
    site: Annotated[str, typer.Option(help="Only devices of this site.")] = "",
    router: Router = None,
    cloud: Cloud = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Draw what each rung of a device's ladder saw, passed up and cost since its agent started.

    Example: foveate funnel cam-1
    """

    async def work() -> None:
        target = endpoints.endpoint("router", given=router, data=data)
        if name is not None:
            names = [name]
            found: list[DeviceState | FoveateError] = [await reaching.state(target, name)]
        else:
            names = await _joined(endpoints.endpoint("cloud", given=cloud, data=data), site)
            found = await reaching.states(target, names)
        told = [item for item in found if isinstance(item, DeviceState)]
        silent = {one: item for one, item in zip(names, found, strict=True) if isinstance(item, FoveateError)}
        if not told:
            reasons = " ".join(error.message for error in silent.values())
            raise Unreachable(f"None of {len(names)} devices answered: {reasons}")
        if as_json:
            print_json(to_json.funnel(told, silent={one: error.message for one, error in silent.items()}))
            return
        screen = console()
        for state in told:
            funnel.draw(screen, state)
        for one, error in silent.items():
            showing.silent(screen, one, error)

    finish(work(), as_json=as_json)


async def _joined(cloud: str, site: str) -> list[str]:
    """The names of the devices that have ever joined."""
    async with rpc.channel(cloud) as channel:
        with rpc.translated():
            request = fleet_service_pb2.ListDevicesRequest(site_id=site)
            response = await FleetServiceStub(channel).ListDevices(request, timeout=10)
    listed = [wire.device_of(item) for item in response.devices]
    if found := [device.device_id for device in listed if device.enrolled or device.online]:
        return found
    where = f" at {site}" if site else ""
    raise NotFound(f"No device{where} has joined yet; start one's agent, or name another site.")


@device_commands.command("press")
def device_press(
    name: Annotated[str, typer.Argument(metavar="DEVICE")],
    about: Annotated[str, typer.Option(help="Who or what pressed, or why.")] = "command line",
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Press a device's button from afar: a manual event of the highest priority, with the footage around it.

    Example: foveate device press cam-1 --about "someone shouted"
    """

    async def work() -> None:
        target = endpoints.endpoint("router", given=router, data=data)
        event_id = await reaching.press(target, name, about)
        if as_json:
            print_json({"device": name, "event_id": event_id})
        else:
            showing.line(console(), "pressed", f"event {event_id}")

    finish(work(), as_json=as_json)


@device_commands.command("watch")
def device_watch(
    name: Annotated[str, typer.Argument(metavar="DEVICE")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="SENTENCE...", help="What to watch for.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Watch for no sentence any more.")] = False,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Set the sentences that a device watches for; they replace the ones before and outlast restarts.

    A view like a sentence becomes an event. Likeness finds candidates and proves nothing.

    Example: foveate device watch cam-1 "a delivery van" "a fire engine"
    """

    async def work() -> None:
        if bool(texts) == none:
            raise InvalidInput("Give one or more sentences, or --none to stop watching.")
        asked = wire.watch_texts_of(texts or ()).texts
        watched = await reaching.watch(endpoints.endpoint("router", given=router, data=data), name, asked)
        if as_json:
            print_json({"device": name, "watching": list(watched)})
        else:
            showing.watched(console(), watched)

    finish(work(), as_json=as_json)
