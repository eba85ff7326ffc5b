"""Asks hundreds of questions whose answers are known, of real footage that real processes saw as a live stream.

In: `--videos FOLDER`, clips with an `events.json` (bench/question_truth.py says what it holds). Out: a table, or JSON
with `--json`: accuracy, errors, calibration (ECE), abstention, evidence, latency and cost for each kind of question,
answered by the device alone, the edge alone, the cloud alone, and wherever the router places it (hybrid). The fleet
is the one that `foveate up` starts, with three more routers that may use one tier each. Each clip is played once.

Example: python bench/questions.py --videos footage --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from question_score import Told, rows
from question_truth import ZONES, Asked, Clip, make, read_clips
from rich.console import Console
from rich.table import Table

from foveate import messages as m
from foveate import rpc, wire
from foveate.cli import asking, children, fleet_plan, local
from foveate.cli.fleet_plan import DevicePlan, FleetPlan, SitePlan
from foveate.cli.layout import Layout
from foveate.cli.local import RunningFleet
from foveate.cli.supervise import ChildSpec, Launch, StageEvent
from foveate.errors import FoveateError
from foveate.v1 import fleet_service_pb2
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub

SITE = "site-1"
ONLY = {
    "device": "tasks: {edge: [], cloud: []}\n",
    "edge": "tasks: {device: [], cloud: []}\n",
    "cloud": "tasks: {device: [], edge: []}\n",
}
"""Placement policies with which a router may use one tier only."""
HYBRID = "hybrid"
AIMS = {"presence_accuracy": 0.97, "count_error": 0.7, "time_error_s": 2.0, "ece": 0.1}
COLUMNS = (
    *("placement", "kind", "asked", "accuracy", "abstained", "count_error", "time_error_s", "within_2_s", "ece"),
    *("evidence_holds", "evidence_iou", "latency_p50_s", "latency_p95_s", "cost_usd"),
)
_LIVE_EVERY_S = 1.0
_AFTER_S = 6.0  # until the last events of a clip that is over have been told


@dataclass(frozen=True, slots=True)
class Bench:
    """A running fleet, its routers by placement, and the camera of each clip."""

    fleet: RunningFleet
    routers: dict[str, str]
    cameras: dict[str, Clip]
    deadline_s: float

    async def ask(self, placement: str, text: str, camera: str) -> m.QuestionRecord | None:
        """The record of one question, None when it broke."""
        limits = m.Constraints(deadline_s=self.deadline_s)
        asked = asking.question(text, scope=m.Scope(device_ids=(camera,)), constraints=limits)
        with suppress(FoveateError):
            async for item in asking.ask(self.routers[placement], asked):
                if isinstance(item, m.QuestionRecord):
                    return item
        return None

    async def began(self, camera: str) -> float | None:
        """Unix time, by the camera's clock, of the first picture of its clip; None until it has told of something."""
        async with rpc.channel(self.fleet.endpoints[f"edge-{SITE}"]) as channel:
            request = fleet_service_pb2.ListEventsRequest(device_id=camera, page_size=200)
            response = await FleetServiceStub(channel).ListEvents(request, timeout=10)
        events = [wire.event_of(event) for event in response.events]
        starts = [e.start - e.media_offset for e in events if e.media_offset is not None]
        return median(starts) if starts else None


def plan_of(clips: Sequence[Clip]) -> FleetPlan:
    """One site with a camera for each clip, which has the zones that are asked about."""
    zones = [
        {"name": name, "polygon": [[start, 0.0], [end, 0.0], [end, 1.0], [start, 1.0]]}
        for name, (start, end) in ZONES.items()
    ]
    devices = tuple(
        DevicePlan(f"cam-{n}", SITE, str(clip.path), loop=False, config={"zones": zones})
        for n, clip in enumerate(clips, start=1)
    )
    return fleet_plan.validated(FleetPlan((SitePlan(SITE),), devices))


def with_routers(addresses: dict[str, str], folder: Path) -> local.Specs:
    """The whole fleet, and a router for each of `addresses` that may use the tier of that name only."""

    def specs(place: Layout) -> list[ChildSpec]:
        whole = local.everything(place)
        own = next(spec for spec in whole if spec.name == "router")
        return whole + [_router(own, tier, address, folder) for tier, address in addresses.items()]

    return specs


def _router(own: ChildSpec, tier: str, address: str, folder: Path) -> ChildSpec:
    policy = folder / f"{tier}-only.yaml"
    policy.write_text(ONLY[tier], encoding="utf-8")

    async def launch() -> Launch:
        launched = await own.launch()
        changes = {"LISTEN": address, "DATA_DIR": str(folder / f"router-{tier}"), "PLACEMENT": str(policy)}
        changed = {f"FOVEATE_ROUTER_{name}": value for name, value in changes.items()}
        return Launch(launched.command, {**launched.env, **changed})

    port = int(address.rpartition(":")[2])
    ready = lambda: children.grpc_serves(address)  # noqa: E731  a closure with a name of its own says no more
    return replace(own, name=f"router-only-{tier}", launch=launch, ready=ready, ports={"grpc": port})


async def run(
    clips: Sequence[Clip], asked: Sequence[Asked], *, placements: Sequence[str], deadline_s: float
) -> list[Told]:
    """Plays the clips once, asks about now meanwhile and about what was afterwards."""
    addresses = {tier: f"127.0.0.1:{_free_port()}" for tier in placements if tier in ONLY}
    with tempfile.TemporaryDirectory(prefix="foveate-questions-") as name:
        folder = Path(name)
        say("starting the fleet")
        fleet = await local.up(
            plan_of(clips), data_dir=folder / "fleet", progress=_quiet, specs=with_routers(addresses, folder)
        )
        try:
            routers = {HYBRID: fleet.endpoints["router"], **addresses}
            cameras = {f"cam-{n}": clip for n, clip in enumerate(clips, start=1)}
            bench = Bench(fleet, {name: routers[name] for name in placements}, cameras, deadline_s)
            told = await _live(bench)
            return told + await _past(bench, asked)
        finally:
            await fleet.stop()


async def _live(bench: Bench) -> list[Told]:
    """About now, one question after another, as long as the clips play; only where the truth is beyond doubt."""
    told: list[Told] = []
    began: dict[str, float] = {}
    waiting = time.time() + 30.0
    turn = 0
    while True:
        for camera in bench.cameras:
            if camera not in began and (start := await bench.began(camera)) is not None:
                began[camera] = start
        left = [_left(clip, began.get(camera)) for camera, clip in bench.cameras.items()]
        if (len(began) == len(bench.cameras) and max(left) <= 0) or (not began and time.time() > waiting):
            break
        for camera in list(began):
            clip, at = bench.cameras[camera], time.time() - began[camera]
            if not 1.5 < at < clip.seconds - 2.0 or not all(clip.steady(at + later) for later in (0.0, 0.5, 1.0)):
                continue
            for placement in bench.routers:
                told += await _ask_now(bench, placement, camera, began[camera], turn)
            turn += 1
        say(f"live: {len(told)} questions asked, {max(left):.0f} s of footage left")
        await asyncio.sleep(_LIVE_EVERY_S)
    await asyncio.sleep(_AFTER_S)
    return told


async def _ask_now(bench: Bench, placement: str, camera: str, began: float, turn: int) -> list[Told]:
    clip, at = bench.cameras[camera], time.time() - began
    if not clip.steady(at):
        return []
    there = clip.at(at)
    asked = Asked(clip, "now: count", f"How many {clip.plural} are in view now?", there, at, at)
    if turn % 3 == 0:
        asked = Asked(clip, "now: presence", f"Is there a {clip.label} in view now?", there > 0, at, at)
    record = await bench.ask(placement, asked.text, camera)
    return [] if record is None else [Told(placement, asked, record, began, camera)]


def _left(clip: Clip, began: float | None) -> float:
    return clip.seconds if began is None else clip.seconds - (time.time() - began)


async def _past(bench: Bench, asked: Sequence[Asked]) -> list[Told]:
    """About what was; a camera that told of nothing cannot be asked, which is said."""
    told: list[Told] = []
    begun = {camera: await bench.began(camera) for camera in bench.cameras}
    for number, question in enumerate(asked):
        camera = next(name for name, clip in bench.cameras.items() if clip is question.clip)
        began = begun[camera]
        if began is None:
            say(f"{camera} told of no event, so nothing can be asked about {question.clip.path.name}")
            continue
        times = {name: _clock(began + getattr(question, name)) for name in ("start", "end")}
        text = question.text.format(at=times["start"], **times)
        for placement in bench.routers:
            record = await bench.ask(placement, text, camera)
            if record is not None:
                told.append(Told(placement, question, record, began, camera))
        if number % 10 == 0:
            say(f"past: {number} of {len(asked)} questions asked of {len(bench.routers)} placements")
    return told


def _clock(moment: float) -> str:
    when = datetime.fromtimestamp(moment + 0.05, UTC)
    return f"{when:%H:%M:%S}.{when.microsecond // 100_000}"


def table(found: Sequence[dict[str, Any]]) -> Table:
    """A row for each placement and kind."""
    shown = Table(*(name.replace("_", " ") for name in COLUMNS), box=None, header_style="bold")
    for row in found:
        style = "bold" if row["kind"] == "all" else None
        shown.add_row(*("" if row[name] is None else str(row[name]) for name in COLUMNS), style=style)
    return shown


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quiet(event: StageEvent) -> None:
    del event


def say(text: str) -> None:
    """Progress, to standard error."""
    sys.stderr.write(f"{text}\n")


def as_line(told: Told) -> dict[str, Any]:
    """One question with what came of it, for whoever wants to see where it went wrong."""
    answer = told.record.answer
    return {
        "placement": told.placement,
        "clip": told.asked.clip.path.name,
        "kind": told.asked.kind,
        "text": told.record.question.text,
        "start": told.asked.start,
        "end": told.asked.end,
        "truth": told.asked.truth,
        "value": answer.value - told.began if isinstance(answer.value, float) else answer.value,
        "right": told.right,
        "holds": told.holds if told.claims else None,
        "confidence": answer.confidence,
        "outcome": answer.outcome.value,
        "by": str(answer.placement) if answer.placement else "",
        "answer": answer.text,
        "reason": answer.reason,
        "steps": [f"{step.placement} {step.state.value}: {step.reason}" for step in told.record.steps],
        "latency_s": round(told.record.latency_s, 3),
    }


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of clips with an events.json")
    parser.add_argument("--each", type=int, default=30, help="questions of each kind about each clip, at most")
    parser.add_argument("--seed", type=int, default=0, help="which moments are asked about")
    parser.add_argument("--placements", default=f"device,edge,cloud,{HYBRID}", help="which to ask, with commas")
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds that an answer may take")
    parser.add_argument("--lines", type=Path, help="write every question with its answer to this file (JSON lines)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    try:
        clips = read_clips(given.videos)
        asked = make(clips, each=given.each, seed=given.seed)
        placements = given.placements.split(",")
        told = asyncio.run(run(clips, asked, placements=placements, deadline_s=given.deadline))
    except FoveateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    if given.lines is not None:
        given.lines.write_text("".join(json.dumps(as_line(one)) + "\n" for one in told), encoding="utf-8")
    found = rows(told)
    if given.json:
        sys.stdout.write(json.dumps({"questions": len(asked), "aims": AIMS, "rows": found}, indent=2) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 220)
        console.print(f"{len(asked)} questions about what was, asked of each placement; aims: {AIMS}")
        console.print(table(found))


if __name__ == "__main__":
    main()
