"""A recorded file, looked at as fast as this machine can: the same ladder and triggers, without clock, site or network.

In: a video file and, if wanted, a device's configuration. Out: every event in its last revision, with seconds from the
file's beginning, and the funnel. Nothing is recorded or sent. Run by `foveate-device scan`; `foveate-device` itself
watches a camera and reports.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uuid_utils

from device_agent import configure
from device_agent import funnel as rung
from device_agent.capture import Packet, read_file
from device_agent.frames import Decoder
from device_agent.funnel import Funnel
from device_agent.hear import Ears
from device_agent.ladder import Ladder
from device_agent.look import Looker, OneEye
from device_agent.masks import Masks
from device_agent.rules import Configuration, Retention
from device_agent.sender import Sender
from device_agent.triggers.all import Triggers
from device_agent.weigh import PacketGate
from foveate import models
from foveate.commands import Rung
from foveate.errors import InvalidInput
from foveate.hearing import SileroVad
from foveate.messages import Event
from foveate.vision.detect import NanoDet
from foveate.vision.encode import LiteEncoder

_TOLD_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a file held: events in order of their start, seconds of media, and what the ladder did."""

    events: tuple[Event, ...]
    seconds: float
    rungs: tuple[Rung, ...]
    cpu_seconds: float
    wall_seconds: float


class Scanner:
    """The ladder, ears and triggers of one file; holds the models, so that several files share their loading."""

    def __init__(self, *, configuration: Configuration | None = None, fps: float = 5.0) -> None:
        self._configuration, self._fps = configuration or Configuration(), fps
        self._eye = OneEye(NanoDet(models.find("nanodet-g")))
        self._encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))

    def scan(self, path: Path, *, told: Callable[[float], None] = lambda seconds: None) -> Scanned:
        """Every event of the file; `told` hears now and then how far it is, in seconds of media. BadVideo. Blocking."""
        began, cpu = time.monotonic(), time.process_time()
        rules, funnel = self._configuration, Funnel()
        decoder = Decoder(cover=Masks(rules.masks) if rules.masks else None)
        looker = Looker(eye=self._eye, encoder=self._encoder, funnel=funnel)
        ladder = Ladder(gate=PacketGate(), decoder=decoder, looker=looker, funnel=funnel, fps=self._fps)
        triggers = Triggers(
            Sender("file", "file", "file"),
            rules=rules.triggers,
            zones=rules.zones,
            new_id=lambda: str(uuid_utils.uuid7()),
            meaning=looker.meaning,
        )
        ears = Ears(voice=SileroVad(models.find("silero-vad")), rules=rules.triggers.sound)
        last: dict[str, Event] = {}
        end, told_at = 0.0, began
        for packet in read_file(path, base=0.0):
            for event in _perceived(packet, ladder=ladder, looker=looker, ears=ears, triggers=triggers):
                funnel.count(rung.EVENTS, seen=1, passed=int(event.revision == 1))
                last[event.event_id] = event
            end = max(end, packet.time + float(packet.duration * packet.tick))
            if time.monotonic() - told_at > _TOLD_EVERY_S:
                told(end)
                told_at = time.monotonic()
        last.update((event.event_id, event) for event in triggers.finish(end))
        events = tuple(sorted(last.values(), key=lambda event: (event.start, event.event_id)))
        return Scanned(events, end, funnel.rungs, time.process_time() - cpu, time.monotonic() - began)


def _perceived(packet: Packet, *, ladder: Ladder, looker: Looker, ears: Ears, triggers: Triggers) -> Iterable[Event]:
    if not packet.video:
        for heard in ears.hear(packet):
            yield from triggers.hear(heard)
        return
    for view in ladder.climb(packet):
        yield from triggers.see(view)
    if not looker.awake:  # awake, the next view tells the time, and it may be of a picture before this packet's
        yield from triggers.tick(packet.time)


def main(arguments: Sequence[str]) -> int:
    """`foveate-device scan`: returns the exit code; raises the error tree."""
    parser = argparse.ArgumentParser(
        prog="foveate-device scan",
        description="Looks at a recorded file as fast as this machine can and lists what happened in it.",
        epilog="Example: foveate-device scan night.mp4 --json",
    )
    parser.add_argument("file", type=Path, help="the video")
    parser.add_argument("--config", type=Path, help="a device's configuration: masks, zones, triggers (YAML)")
    parser.add_argument("--fps", type=float, default=5.0, help="pictures looked at in a second, at most (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # one sentence is enough for whoever sits before it
    if not 0.0 < given.fps <= 60.0:
        raise InvalidInput(f"--fps {given.fps:g} is no rate; give one above 0 and at most 60.")
    kept = Retention()  # nothing is recorded here; the file may speak of it all the same
    configuration = configure.load(given.config, ring_bytes=kept.max_bytes, ring_seconds=kept.idle_s)
    scanner = Scanner(configuration=configuration, fps=given.fps)
    told = (lambda seconds: None) if given.json or not sys.stderr.isatty() else _tell
    found = scanner.scan(given.file, told=told)
    sys.stdout.write(json.dumps(as_json(found), indent=1) + "\n" if given.json else as_text(found))
    return 0


def as_json(found: Scanned) -> dict[str, Any]:
    """The events and the funnel, times in seconds from the file's beginning."""
    return {
        "events": [
            {
                "trigger": event.trigger.value,
                "start": round(event.start, 3),
                "end": round(event.end, 3),
                "score": round(event.score, 3),
                "labels": [{"label": item.label, "score": round(item.score, 3)} for item in event.labels],
                "about": event.about,
                "zones": list(event.zones),
                "priority": event.priority.name.lower(),
                "tracks": len(event.tracks),
            }
            for event in found.events
        ],
        "seconds": round(found.seconds, 3),
        "rungs": {
            step.name: {"seen": step.seen, "passed": step.passed, "cpu_seconds": round(step.cpu_seconds, 3)}
            for step in found.rungs
        },
        "cpu_seconds": round(found.cpu_seconds, 2),
        "wall_seconds": round(found.wall_seconds, 2),
    }


def as_text(found: Scanned) -> str:
    """The same for a person."""
    lines = [_line(event) for event in found.events] or ["nothing happened in this file"]
    speed = found.seconds / max(found.wall_seconds, 1e-6)
    lines.append(f"\n{_clock(found.seconds)} of video in {found.wall_seconds:.1f} s ({speed:.0f} x real time)")
    for step in found.rungs:
        lines.append(
            f"  {step.name:<9}{step.seen:>9} seen {step.passed:>8} passed up {step.cpu_seconds:>8.2f} s of CPU"
        )
    return "\n".join(lines) + "\n"


def _line(event: Event) -> str:
    what = event.labels[0].label if event.labels else event.about
    return f"{_clock(event.start)} to {_clock(event.end)}  {event.trigger.value:<10} {event.score:.2f}  {what}".rstrip()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{int(seconds % 1 * 10)}"


def _tell(seconds: float) -> None:
    sys.stderr.write(f"\r{_clock(seconds)} looked at")
    sys.stderr.flush()
