"""What happened, and who was there: `python bench/events.py --videos FOLDER [--json]`.

In: a folder with `car-detection.mp4`, `bottle-detection.mp4`, `pets09-s2l1.avi`, `pets09-s2l1.gt.txt` and `events.json`
(spans in seconds, read by eye). Out: recall and precision of events by one-to-one matching, start error, and the
tracking table; peers in the same run: `dvr-scan`, the same detector and tracker on every frame, ByteTrack, OC-SORT.
No threshold is set per clip; only which labels count differs, as stated for each. Needs the extra `bench`.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.table import Table
from spans import OVERLAPS, Span, scored, stays
from tracking import pictures, read_truth, tracking_table

from device_agent.track import Tracker, observe
from foveate import models
from foveate.messages import Track
from foveate.vision.detect import Detector, NanoDet

NEEDED = ("car-detection.mp4", "bottle-detection.mp4", "pets09-s2l1.avi", "pets09-s2l1.gt.txt", "events.json")
VEHICLES = frozenset({"bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"})
ANEW_S = 2.0
"""Who was away for longer comes anew; for PETS, whose truth is boxes."""
DVR_SCAN = {
    "dvr-scan": (),
    "dvr-scan, no margins": ("-tb", "0s", "-tp", "0.5s", "-l", "0.5s"),
}
"""As it ships, and with neither the seconds that it adds before and after nor its least length of 2 s."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: what happened, and which of a system's events are taken as saying so."""

    name: str
    what: str
    counts: str
    true: tuple[Span, ...]
    triggers: frozenset[str]
    labels: frozenset[str]

    def wanted(self, trigger: str, label: str) -> bool:
        """Whether such an event is about what happened."""
        return trigger in self.triggers or (trigger == "object" and label in self.labels)


@dataclass(frozen=True, slots=True)
class Ran:
    """One system on one clip: the spans that count, and the CPU seconds that it took."""

    spans: tuple[Span, ...]
    cpu_seconds: float


def clips(folder: Path) -> tuple[Clip, ...]:
    """The three clips with their truth."""
    told = json.loads((folder / "events.json").read_text())
    passes = tuple((item["from"], item["to"]) for item in told["car-detection.mp4"]["vehicle_passes_s"])
    hands = tuple((start, end) for start, end in told["bottle-detection.mp4"]["hand_in_view_s"])
    people = {frame: set(who) for frame, who in read_truth(folder / NEEDED[3], width=1, height=1).items()}
    present = tuple(stays(people, fps=told["pets09-s2l1.avi"]["fps"], gap_s=ANEW_S))
    return (
        Clip(
            NEEDED[0],
            "vehicle passes",
            "object events called a vehicle, and motion",
            passes,
            frozenset({"motion"}),
            VEHICLES,
        ),
        Clip(
            NEEDED[1],
            "a hand in view",
            "motion, novelty, and object events called a person; bottles that stand there are no happening",
            hands,
            frozenset({"motion", "novelty"}),
            frozenset({"person"}),
        ),
        Clip(
            NEEDED[2],
            "each person's stay",
            "object events called a person",
            present,
            frozenset(),
            frozenset({"person"}),
        ),
    )


def ladder(path: Path, clip: Clip) -> Ran:
    """The device's own pipeline as the process `foveate-device scan`, as it is configured when nothing is said."""
    printed, cpu_seconds = _run([sys.executable, "-m", "device_agent", "scan", str(path), "--json"])
    spans = [
        (event["start"], event["end"])
        for event in json.loads(printed)["events"]
        if clip.wanted(event["trigger"], next((item["label"] for item in event["labels"]), ""))
    ]
    return Ran(tuple(spans), cpu_seconds)


def every_frame(path: Path, clip: Clip, *, detector: Detector) -> Ran:
    """The same detector and tracker on every picture, one event for each track: what peers without a ladder pay."""
    began, tracker = time.process_time(), Tracker()
    tracks: dict[int, Track] = {}
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate or 10)
    for number, picture in enumerate(pictures(path)):
        tracker.update(number / fps, observe(detector.detect(picture)), image=picture)
        tracks.update((item.track.track_id, item.track) for item in tracker.followed)
    spans = [(track.start, track.end) for track in tracks.values() if clip.wanted("object", track.label)]
    return Ran(tuple(spans), time.process_time() - began)


def dvr_scan(path: Path, program: str, options: Sequence[str]) -> Ran:
    """dvr-scan, a process; it names nothing, so all its events count."""
    with tempfile.TemporaryDirectory(prefix="foveate-dvr-") as folder:
        printed, cpu_seconds = _run([program, "-i", str(path), "-so", "-d", folder, "-q", *options])
    words = printed.strip().splitlines()[-1].split(",") if printed.strip() else []
    times = [_seconds(word) for word in words]
    return Ran(tuple(zip(times[::2], times[1::2], strict=False)), cpu_seconds)


def _seconds(word: str) -> float:
    hours, minutes, seconds = word.strip().split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _run(command: Sequence[str]) -> tuple[str, float]:
    """Standard output and CPU seconds of a process; its own words when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def run(folder: Path, *, detector: Detector) -> dict[str, Any]:
    """All figures; what is not installed is left out and named."""
    left_out = []
    program = shutil.which("dvr-scan", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    systems: dict[str, Callable[[Path, Clip], Ran]] = {
        "foveate": ladder,
        "every frame": lambda path, clip: every_frame(path, clip, detector=detector),
    }
    if program is None:
        left_out.append("dvr-scan")
    else:
        for name, options in DVR_SCAN.items():
            systems[name] = lambda path, _clip, options=options: dvr_scan(path, program, options)
    events = [_events(clip, folder / clip.name, systems) for clip in clips(folder)]
    tracking: list[dict[str, Any]] = []
    if all(find_spec(name) for name in ("trackeval", "trackers")):
        tracking = tracking_table(folder / NEEDED[2], folder / NEEDED[3], detector=detector, fps=10.0)
    else:
        left_out.append("tracking")
    return {"events": events, "tracking": tracking, "left_out": left_out}


def _events(clip: Clip, path: Path, systems: dict[str, Callable[[Path, Clip], Ran]]) -> dict[str, Any]:
    rows = {}
    for name, system in systems.items():
        print(f"{clip.name}: {name}", file=sys.stderr, flush=True)
        ran = system(path, clip)
        rows[name] = {**scored(clip.true, ran.spans), "cpu_seconds": round(ran.cpu_seconds, 1)}
    return {"clip": clip.name, "what": clip.what, "counts": clip.counts, "systems": rows}


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures for a person."""
    shown = []
    for part in figures["events"]:
        table = Table(title=f"{part['clip']}: {part['what']} (counted: {part['counts']})", box=None)
        names = [f"{word} at {overlap:g}" for overlap in OVERLAPS for word in ("recall", "precision")]
        for name in ("", "true", "found", *names, "start error s", "CPU s"):
            table.add_column(name, justify="right" if name else "left")
        for name, row in part["systems"].items():
            shares = [row[f"{overlap:g}"][word] for overlap in OVERLAPS for word in ("recall", "precision")]
            start = row["start_error_s"]
            told = "" if start is None else f"{start['median']:g} (most {start['most']:g})"
            cells = ["" if share is None else f"{share:.2f}" for share in shares]
            table.add_row(name, str(row["true"]), str(row["found"]), *cells, told, f"{row['cpu_seconds']:g}")
        shown.append(table)
    if figures["tracking"]:
        shown.append(_tracking_table(figures["tracking"]))
    return shown


def _tracking_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="PETS09-S2L1: people followed, the same detections for all", box=None)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "tracker" else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="the folder with the clips and their truth")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.videos is None or any(not (given.videos / name).is_file() for name in NEEDED):
        raise SystemExit(f"This bench needs --videos FOLDER with {', '.join(NEEDED)}; name a folder that holds them.")
    figures = run(given.videos, detector=NanoDet(models.find("nanodet-g")))
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables(figures):
        console.print(table)
    for name in figures["left_out"]:
        console.print(f"{name} was left out: install the extra `bench`.")


if __name__ == "__main__":
    main()
