"""What a configuration may say: numbers within their limits, shapes that enclose something, names that exist.

In: a `rules.Configuration` of the right types. Out: nothing, or `Wrong` with the key and what to write instead. It
knows nothing of files. Next: `configure.py`, which makes a sentence of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches

from device_agent import polygon
from device_agent.rules import Budget, Configuration, Mask, ObjectRules, Retention, Zone
from foveate.vision.vocabulary import COCO

_LEAST_AREA = 1e-6  # of the picture: about one pixel of a megapixel
_LONGEST_NAME = 64
_MOST_SHAPES, _MOST_CORNERS = 64, 256
_YEAR_S = 366 * 86400

LIMITS: dict[str, tuple[float, float]] = {
    "pre_s": (0, 600),
    "post_s": (0, 600),
    "merge_s": (0, 3600),
    "most_per_minute": (1, 600),
    "least_s": (0, 3600),
    "static_s": (1, 86400),
    "memory": (8, 4096),
    "onset_db": (1, 90),
    "length_s": (1, 600),
    "max_bytes": (1 << 20, 1 << 50),
    "idle_s": (1, _YEAR_S),
    "low_s": (1, _YEAR_S),
    "normal_s": (1, _YEAR_S),
    "high_s": (1, _YEAR_S),
    "urgent_s": (1, _YEAR_S),
    "cpu_share": (0.01, 1),
    "milliwatts": (1, 1_000_000),
    "idle_mw": (0, 1_000_000),
    "core_mw": (1, 1_000_000),
}
"""Least and most by the name of the field, which means the same wherever it stands."""


class Wrong(ValueError):
    """A value that makes no sense: the key, and what is wrong with it and what to write."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where} {what}")
        self.where, self.what = where, what


def check(found: Configuration) -> None:
    """Raises Wrong for the first thing that is outside its limits or contradicts another."""
    _numbers(found, where="")
    _shapes(found.masks, where="masks")
    _shapes(found.zones, where="zones")
    _objects(found.triggers.object, zones=[zone.name for zone in found.zones])
    _kept(found.recording)
    if found.recording.masked_originals and not found.masks:
        raise Wrong("recording.masked_originals", "is true, but there are no `masks`; add some, or leave it out")
    _budget(found.budget)


def dotted(location: Iterable[int | str]) -> str:
    """A place in a document as `masks[0].polygon`."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return parts.removeprefix(".")


def _numbers(part: object, *, where: str) -> None:
    for item in fields(part):  # type: ignore[arg-type]  # always a dataclass
        value, name = getattr(part, item.name), f"{where}.{item.name}" if where else item.name
        if is_dataclass(value):
            _numbers(value, where=name)
        elif isinstance(value, (int, float)) and item.name in LIMITS:
            least, most = LIMITS[item.name]
            if not least <= value <= most:
                unit = " seconds" if item.name.endswith("_s") else ""
                raise Wrong(name, f"is {value:,}; give {least:,} to {most:,}{unit}")


def _shapes(shapes: Sequence[Mask | Zone], *, where: str) -> None:
    if len(shapes) > _MOST_SHAPES:
        raise Wrong(where, f"has {len(shapes)} entries; draw at most {_MOST_SHAPES}")
    seen: set[str] = set()
    for index, shape in enumerate(shapes):
        place = f"{where}[{index}].name"
        if not shape.name.strip() or len(shape.name) > _LONGEST_NAME or not shape.name.isprintable():
            raise Wrong(place, f"is {shape.name!r}; write a name of 1 to {_LONGEST_NAME} characters")
        if shape.name in seen:
            raise Wrong(place, f"is {shape.name!r} for the second time; rename one")
        seen.add(shape.name)
        _shape(shape, where=f"{where}[{index}]")


def _shape(shape: Mask | Zone, *, where: str) -> None:
    called, place, corners = f"of {shape.name!r}", f"{where}.polygon", shape.polygon
    for number, point in enumerate(corners, start=1):
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in point):
            raise Wrong(
                place,
                f"{called} leaves the picture at corner {number} ([{point[0]:g}, {point[1]:g}]); write points as "
                "fractions of width and height, 0 to 1",
            )
    if len(set(corners)) < 3:
        raise Wrong(place, f"{called} has {len(set(corners))} different corners; give at least 3")
    if len(corners) > _MOST_CORNERS:
        raise Wrong(place, f"{called} has {len(corners)} corners; give at most {_MOST_CORNERS}")
    if polygon.crosses_itself(corners):
        raise Wrong(place, f"{called} crosses itself; list its corners in their order around it")
    if polygon.area(corners) < _LEAST_AREA:
        raise Wrong(place, f"{called} encloses no area; move a corner out of the line")


def _objects(rules: ObjectRules, *, zones: list[str]) -> None:
    for index, name in enumerate(rules.zones):
        if name not in zones:
            known = f"the file names {', '.join(zones)}" if zones else "the file has no `zones`"
            raise Wrong(f"triggers.object.zones[{index}]", f"is {name!r}, but {known}; name a zone that is there")
    for index, label in enumerate(rules.labels):
        if label not in COCO:
            near = get_close_matches(label.lower(), COCO, n=1)
            hint = f"write {near[0]!r} if that is meant" if near else "use words such as person, car or dog"
            raise Wrong(f"triggers.object.labels[{index}]", f"is {label!r}, which the detector does not know; {hint}")


def _kept(recording: Retention) -> None:
    """What matters more is kept at least as long."""
    times = (
        ("idle_s", recording.idle_s),
        ("low_s", recording.low_s),
        ("normal_s", recording.normal_s),
        ("high_s", recording.high_s),
        ("urgent_s", recording.urgent_s),
    )
    for index, (name, value) in enumerate(times):
        less, least = max(times[: index + 1], key=lambda item: item[1])
        if value < least:
            raise Wrong(
                f"recording.{name}",
                f"is {value:g} s, less than the {least:g} s of `{less}`; keep what matters more at least as long",
            )


def _budget(budget: Budget) -> None:
    if budget.cpu_share is not None and budget.milliwatts is not None:
        raise Wrong("budget", "has both `cpu_share` and `milliwatts`; give one of them")
    if budget.milliwatts is not None and budget.milliwatts <= budget.idle_mw:
        raise Wrong(
            "budget.milliwatts",
            f"is {budget.milliwatts:g}, which leaves nothing above the {budget.idle_mw:g} of `idle_mw`; give more",
        )
