"""Questions with known answers about known footage: what was true at each tenth of a second, and what to ask about it.

In: a folder of clips with `events.json` (see `read_clips`). Out: `Clip`s and `Asked` questions, the same for the same
seed. It knows no fleet; times are seconds into the clip. Next: `questions.py` asks, `question_score.py` scores.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from foveate.errors import InvalidInput
from foveate.vision.boxes import Box
from foveate.vision.vocabulary import COCO

STEP_S = 0.1
ZONES: Mapping[str, tuple[float, float]] = {"west": (0.0, 0.35), "centre": (0.35, 0.65), "east": (0.65, 1.0)}
"""Name -> from and to, as fractions of the picture's width; all of its height."""

_PLURALS = {"person": "people", "bus": "buses", "knife": "knives"}
_BY_EYE_S = 0.6  # truth that was read by eye may be off by so much
_BY_BOX_S = 0.2  # truth by boxes
_NEVER = ("giraffe", "zebra", "bear")  # nobody has to look through a clip to know
_EDGE_S = 1.5  # the first looks of a camera, and the last pictures of a file


@dataclass(frozen=True, slots=True)
class Clip:
    """What is true of one clip: at each STEP_S how many there are, in all and by zone, and their boxes if known."""

    path: Path
    label: str
    seconds: float
    counts: tuple[int, ...]
    guard_s: float
    zones: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    boxes: tuple[tuple[Box, ...], ...] | None = None

    @property
    def plural(self) -> str:
        """As people say it."""
        return _PLURALS.get(self.label, f"{self.label}s")

    def series(self, zone: str) -> tuple[int, ...]:
        """The counts of a zone, or of the whole picture for an empty name."""
        return self.zones[zone] if zone else self.counts

    def at(self, seconds: float, zone: str = "") -> int:
        """How many there are."""
        series = self.series(zone)
        return series[min(len(series) - 1, max(0, round(seconds / STEP_S)))]

    def within(self, start: float, end: float, zone: str = "") -> tuple[int, ...]:
        """The counts of a span, its ends included."""
        return self.series(zone)[max(0, round(start / STEP_S)) : round(end / STEP_S) + 1]

    def steady(self, seconds: float, zone: str = "") -> bool:
        """Whether the count stays the same around a moment for as long as the truth may be off."""
        return len(set(self.within(seconds - self.guard_s, seconds + self.guard_s, zone))) == 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about one clip; `text` has {at}, {start} and {end} where times of day belong.

    `kind` is one of KINDS; `truth` a bool, a number, or seconds into the clip; `start` and `end` are what it is about.
    """

    clip: Clip
    kind: str
    text: str
    truth: bool | int | float
    start: float
    end: float
    zone: str = ""

    @property
    def live(self) -> bool:
        """Whether it is about now."""
        return self.kind.startswith("now")


KINDS = (
    "presence at a time",
    "count at a time",
    "most at once",
    "first seen",
    "last seen",
    "presence in a zone",
    "count in a zone",
    "first in a zone",
    "now: presence",
    "now: count",
)


def read_clips(folder: Path) -> list[Clip]:
    """The clips that `folder/events.json` names, each with one of these keys.

    `ground_truth` (MOT15 boxes of people, with `fps`), `vehicle_passes_s` ([{from, to}] of cars), `THING_count`
    ([[from second, how many]]) or `THING_in_view_s` ([[from, to]]), where THING is a name that COCO has. Raises
    InvalidInput when there is no such file or no such key.
    """
    try:
        document = json.loads((folder / "events.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{folder} has no events.json that can be read ({error}); name another folder.") from error
    clips = [clip for name, truth in document.items() for clip in _clips_of(folder / name, truth)]
    if not clips:
        raise InvalidInput(f"{folder}/events.json tells nothing that can be asked about; see bench/question_truth.py.")
    return clips


def _clips_of(path: Path, truth: Mapping[str, Any]) -> Iterator[Clip]:
    seconds, shape = _length(path)
    steps = round(seconds / STEP_S) + 1
    if "ground_truth" in truth:
        yield _boxed(path, path.parent / truth["ground_truth"], fps=truth["fps"], seconds=seconds, shape=shape)
    if "vehicle_passes_s" in truth:
        yield _spanned(path, "car", [(p["from"], p["to"]) for p in truth["vehicle_passes_s"]], seconds=seconds)
    for key, value in truth.items():
        thing, _, what = key.partition("_")
        if thing not in COCO or what not in ("count", "in_view_s"):
            continue
        if what == "in_view_s":
            yield _spanned(path, thing, [tuple(span) for span in value], seconds=seconds)
            continue
        counts = [next(n for since, n in reversed(value) if since <= index * STEP_S) for index in range(steps)]
        yield Clip(path, thing, seconds, tuple(counts), _BY_EYE_S)


def _spanned(path: Path, label: str, spans: Sequence[tuple[float, float]], *, seconds: float) -> Clip:
    moments = [index * STEP_S for index in range(round(seconds / STEP_S) + 1)]
    counts = tuple(sum(start <= moment <= end for start, end in spans) for moment in moments)
    return Clip(path, label, seconds, counts, _BY_EYE_S)


def _boxed(path: Path, truth: Path, *, fps: float, seconds: float, shape: tuple[int, int]) -> Clip:
    width, height = shape
    frames: dict[int, list[Box]] = {}
    for line in truth.read_text(encoding="utf-8").splitlines():
        frame, _, left, top, across, down, counts = (float(value) for value in line.split(",")[:7])
        if counts:
            box = Box(left / width, top / height, across / width, down / height)
            frames.setdefault(int(frame) - 1, []).append(box)
    boxes = tuple(tuple(frames.get(round(i * STEP_S * fps), ())) for i in range(round(seconds / STEP_S) + 1))
    zones = {zone: tuple(sum(stands(box, zone) for box in there) for there in boxes) for zone in ZONES}
    return Clip(path, "person", seconds, tuple(map(len, boxes)), _BY_BOX_S, zones, boxes)


def stands(box: Box, zone: str) -> bool:
    """Whether the middle of the box's lower edge is in the zone."""
    start, end = ZONES[zone]
    return start <= box.left + box.width / 2 < end


def _length(path: Path) -> tuple[float, tuple[int, int]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None]
        return float(max(times) - min(times)), (stream.width, stream.height)


def make(clips: Sequence[Clip], *, each: int, seed: int) -> list[Asked]:
    """At most `each` questions of every kind about every clip, but for those about now."""
    chance = random.Random(seed)
    asked: list[Asked] = []
    for clip in clips:
        asked += _moments(clip, "", each, chance)
        asked += _spans(clip, each // 2, chance)
        asked += _finds(clip, "", each // 2, chance)
        for zone in clip.zones:
            asked += _moments(clip, zone, each // 2, chance)
            asked += _finds(clip, zone, each // 4, chance)
    return asked


def _moments(clip: Clip, zone: str, most: int, chance: random.Random) -> Iterator[Asked]:
    """Whether and how many at a time: as many times with something there as without, as far as there are any."""
    steps = range(round(_EDGE_S / STEP_S), round((clip.seconds - _EDGE_S) / STEP_S))
    steady = [index * STEP_S for index in steps if clip.steady(index * STEP_S, zone)]
    empty = [moment for moment in steady if clip.at(moment, zone) == 0]
    there = [moment for moment in steady if clip.at(moment, zone) > 0]
    absent = _some(empty, most // 2, chance)
    where = f"in the {zone} zone" if zone else "in view"
    for moment in absent + _some(there, most - max(len(absent), 0 if zone else most // 2), chance):
        text = f"Was there a {clip.label} {where} at {{at}}?"
        kind = "presence in a zone" if zone else "presence at a time"
        yield Asked(clip, kind, text, clip.at(moment, zone) > 0, moment, moment, zone)
    if not zone and not absent:
        for moment in _some(steady, most // 2, chance):
            text = f"Was there a {chance.choice(_NEVER)} in view at {{at}}?"
            yield Asked(clip, "presence at a time", text, False, moment, moment)
    for moment in _some(steady, most, chance):
        text = f"How many {clip.plural} were {where} at {{at}}?"
        kind = "count in a zone" if zone else "count at a time"
        yield Asked(clip, kind, text, clip.at(moment, zone), moment, moment, zone)


def _spans(clip: Clip, most: int, chance: random.Random) -> Iterator[Asked]:
    for start, end in _windows(clip, most, chance):
        text = f"How many {clip.plural} were in view at once at most between {{start}} and {{end}}?"
        yield Asked(clip, "most at once", text, max(clip.within(start, end)), start, end)


def _finds(clip: Clip, zone: str, most: int, chance: random.Random) -> Iterator[Asked]:
    """When first and last, of spans at whose beginning (or end) nothing is there, so that the answer is no edge."""
    where = f" in the {zone} zone" if zone else ""
    first = last = 0
    for start, end in _windows(clip, 40 * most, chance):
        counts = clip.within(start, end, zone)
        quiet = round(2 * clip.guard_s / STEP_S) + 1
        if not any(counts):
            continue
        if first < most and not any(counts[:quiet]):
            first += 1
            at = start + next(index for index, count in enumerate(counts) if count) * STEP_S
            kind = "first in a zone" if zone else "first seen"
            text = f"When was a {clip.label} first seen{where} between {{start}} and {{end}}?"
            yield Asked(clip, kind, text, at, start, end, zone)
        if not zone and last < most and not any(counts[-quiet:]):
            last += 1
            at = start + max(index for index, count in enumerate(counts) if count) * STEP_S
            text = f"When was a {clip.label} last seen between {{start}} and {{end}}?"
            yield Asked(clip, "last seen", text, at, start, end)


def _windows(clip: Clip, most: int, chance: random.Random) -> Iterator[tuple[float, float]]:
    for _ in range(most):
        length = chance.uniform(4.0, min(20.0, clip.seconds / 2))
        start = chance.uniform(_EDGE_S, clip.seconds - _EDGE_S - length)
        yield round(start, 1), round(start + length, 1)


def _some(moments: Sequence[float], most: int, chance: random.Random) -> list[float]:
    return [round(moment, 1) for moment in chance.sample(list(moments), min(most, len(moments)))]
