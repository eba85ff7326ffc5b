"""`foveate device`, `event`, `clip` and `models`: what the fleet is, what it remembers, and its footage.

In: names on the command line. Out: tables, JSON, or a media file.
Knows nothing of how devices join or record.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from foveate import messages as m
from foveate import models, rpc, wire
from foveate.cli import answerers, asking, endpoints, funnel, reaching, showing
from foveate.cli import as_json as to_json
from foveate.cli.options import AsJson, Cloud, Data, Router, console, finish, print_json
from foveate.commands import DeviceState
from foveate.errors import FoveateError, InvalidInput, OutOfSpace, Unreachable
from foveate.v1 import clip_service_pb2, fleet_service_pb2, residency_pb2
from foveate.v1.clip_service_pb2_grpc import ClipServiceStub
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub

device = typer.Typer(help="The cameras of the fleet.", no_args_is_help=True)
event = typer.Typer(help="What the fleet remembers.", no_args_is_help=True)
clip = typer.Typer(help="Recorded footage.", no_args_is_help=True)

_FORMS = {
    "clip": residency_pb2.REPRESENTATION_CLIP,
    "frames": residency_pb2.REPRESENTATION_FRAMES,
    "redacted": residency_pb2.REPRESENTATION_REDACTED_FRAMES,
}


@device.command("list")
def device_list(
    site: Annotated[str, typer.Option(help="Only of this site.")] = "",
    cloud: Cloud = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the devices, with what they are doing.

    Example: foveate device list --site north
    """

    async def work() -> None:
        async with rpc.channel(endpoints.endpoint("cloud", given=cloud, data=data)) as channel:
            with rpc.translated():
                response = await FleetServiceStub(channel).ListDevices(
                    fleet_service_pb2.ListDevicesRequest(site_id=site), timeout=10
                )
        found = [wire.device_of(item) for item in response.devices]
        if as_json:
            print_json({"devices": [to_json.device(item) for item in found]})
        else:
            showing.devices(console(), found)

    finish(work(), as_json=as_json)


@device.command("show")
def device_show(
    name: Annotated[str, typer.Argument(metavar="DEVICE")],
    cloud: Cloud = None,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show one device: its newest events, its ladder, what it gave up to hold its budget, and what it keeps.

    Example: foveate device show cam-1
    """

    async def work() -> None:
        async with rpc.channel(endpoints.endpoint("cloud", given=cloud, data=data)) as channel:
            stub = FleetServiceStub(channel)
            with rpc.translated():
                shown = await stub.GetDevice(fleet_service_pb2.GetDeviceRequest(device_id=name), timeout=10)
                listed = await stub.ListEvents(
                    fleet_service_pb2.ListEventsRequest(device_id=name, page_size=10), timeout=10
                )
        found = wire.device_of(shown.device)
        newest = [wire.event_of(item) for item in listed.events]
        told = await _told(router, data, name)
        if as_json:
            print_json(_shown(found, newest, told))
            return
        showing.devices(console(), [found])
        if isinstance(told, FoveateError):
            showing.silent(console(), name, told)
        else:
            funnel.details(console(), told)
        showing.events(console(), newest)

    finish(work(), as_json=as_json)


async def _told(router: str | None, data: Path | None, name: str) -> DeviceState | FoveateError:
    """What the device tells of itself, or why it tells nothing: the registry's own words do not hang on that."""
    try:
        return await reaching.state(endpoints.endpoint("router", given=router, data=data), name)
    except FoveateError as error:
        return error


def _shown(found: m.Device, newest: list[m.Event], told: DeviceState | FoveateError) -> dict[str, object]:
    return {
        **to_json.device(found),
        "state": None if isinstance(told, FoveateError) else to_json.device_state(told),
        "silent": told.message if isinstance(told, FoveateError) else None,
        "newest_events": [to_json.event(item) for item in newest],
    }


@event.command("list")
def event_list(
    device: Annotated[str, typer.Option(help="Only of this device.")] = "",
    label: Annotated[str, typer.Option(help="Only with this label, such as person.")] = "",
    since: Annotated[str | None, typer.Option(help="From when: 10m, 2h, or ISO 8601.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 50,
    at: Annotated[
        str | None, typer.Option(help="Ask this site's edge node, which remembers more than it lets out.")
    ] = None,
    cloud: Cloud = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List remembered events, newest first.

    Example: foveate event list --device cam-1 --label person --since 10m
    """

    async def work() -> None:
        request = fleet_service_pb2.ListEventsRequest(device_id=device, label=label, page_size=limit)
        if (start := asking.moment(since)) is not None:
            request.start_time.CopyFrom(wire.timestamp(start))
        name = f"edge-{at}" if at else "cloud"
        async with rpc.channel(endpoints.endpoint(name, given=None if at else cloud, data=data)) as channel:
            with rpc.translated():
                response = await FleetServiceStub(channel).ListEvents(request, timeout=10)
        found = [wire.event_of(item) for item in response.events]
        if as_json:
            print_json({"events": [to_json.event(item) for item in found]})
        else:
            showing.events(console(), found)

    finish(work(), as_json=as_json)


@clip.command("get")
def clip_get(
    name: Annotated[str, typer.Argument(metavar="DEVICE")],
    since: Annotated[str, typer.Option(help="From when: 10s, 2m, or ISO 8601.")] = "10s",
    until: Annotated[str, typer.Option(help="Until when: 5s, 1m, or ISO 8601.")] = "0s",
    form: Annotated[str, typer.Option("--as", help="clip, frames (no sound) or redacted (people blurred).")] = "clip",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Fetch recorded footage from the device that holds it, when residency lets it travel.

    Example: foveate clip get cam-1 --since 30s --until 20s --output door.mp4
    """

    async def work() -> None:
        if form not in _FORMS:
            raise InvalidInput(f"--as {form} is unknown; use clip, frames or redacted.", form=form)
        start, end = asking.moment(since), asking.moment(until)
        request = clip_service_pb2.GetClipRequest(
            device_id=name,
            start_time=wire.timestamp(start or time.time() - 10),
            end_time=wire.timestamp(end or time.time()),
            representation=_FORMS[form],
        )
        header, path = await _fetch(endpoints.endpoint("router", given=router, data=data), request, output)
        shown = {
            "device": header.device_id,
            "start": to_json.iso(header.start),
            "end": to_json.iso(header.end),
            "bytes": header.size_bytes,
            "sha256": header.sha256.hex(),
            "representation": header.representation.name,
            "file": str(path),
        }
        if as_json:
            print_json(shown)
        else:
            showing.line(console(), "clip", f"{path} ({header.size_bytes} bytes, {header.representation.name})")
            showing.line(console(), "spans", f"{shown['start']} to {shown['end']}; cuts fall on key frames")

    finish(work(), as_json=as_json)


async def _fetch(
    target: str, request: clip_service_pb2.GetClipRequest, output: Path | None
) -> tuple[m.ClipHeader, Path]:
    async with rpc.channel(target) as channel:
        with rpc.translated():
            responses = aiter(ClipServiceStub(channel).GetClip(request, timeout=120))
            first = await anext(responses, None)
            if first is None or first.WhichOneof("part") != "header":
                raise Unreachable("The router sent no clip; try again.")
            header = wire.clip_header_of(first.header)
            suffix = ".mkv" if "matroska" in header.media_type else ".mp4"
            path = output or Path(f"{header.device_id}-{wire.utc(header.start):%Y%m%dT%H%M%S}{suffix}")
            part = path.with_name(path.name + ".part")
            digest = hashlib.sha256()
            try:
                with part.open("wb") as file:
                    async for response in responses:
                        file.write(response.chunk)
                        digest.update(response.chunk)
            except OSError as error:
                raise OutOfSpace(f"{path} could not be written ({error.strerror}); choose another place.") from error
    if digest.digest() != header.sha256:
        part.unlink()
        raise Unreachable("The clip arrived damaged; fetch it again.")
    os.replace(part, path)
    return header, path


def list_models(
    vlm: Annotated[
        list[Path] | None, typer.Option(help="Also this model configuration of a site (repeatable).", metavar="FILE")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the models that the project carries, and which one answers at each site of the fleet that runs here.

    Example: foveate models --vlm north-vlm.yaml
    """

    async def work() -> None:
        found = await asyncio.to_thread(models.carried)
        answering = answerers.named(vlm or []) + await asyncio.to_thread(answerers.running, data)
        if as_json:
            print_json({"models": [_model(item) for item in found], "answerers": [asdict(one) for one in answering]})
            return
        screen = console()
        for item in found:
            showing.line(
                screen,
                f"{item.size_bytes / 1e6:.1f} MB",
                f"[bold]{item.name}@{item.revision}[/bold] {item.quantisation}, {item.licence}, {item.origin}",
            )
        for one in answering:
            showing.line(screen, escape(one.site or Path(one.file).name), escape(_answering(one)))

    finish(work(), as_json=as_json)


def _answering(one: answerers.Answerer) -> str:
    if one.trouble:
        return f"unknown: {one.trouble}"
    if one.kind == answerers.EMBEDDED:
        return "answers by the embedded default: extractive, no vision-language model"
    return f"answers by {one.model}, {one.kind}, {one.origin}"


def _model(item: models.ModelFile) -> dict[str, object]:
    return {
        "name": item.name,
        "revision": item.revision,
        "origin": item.origin,
        "licence": item.licence,
        "size_bytes": item.size_bytes,
        "quantisation": item.quantisation,
        "sha256": item.sha256,
        "path": str(item.path),
    }
