"""From the detector's candidates to things: what lies on each other is one thing, with a vote for each of its names.

In: candidate `Detection`s of one picture. Out: `Observation`s, best first. Pure; it knows no time.
Next: `track.py`, which follows them from look to look.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from foveate.messages import LabelScore
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection

_SAME_OBJECT = 0.65  # overlap of two differently named boxes in one frame that are one thing
_PART = 0.7  # of the smaller of two boxes of one name inside the other: a head, or the hull around two people


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing in one frame: the best of the candidates that cover it, and what each of them called it."""

    box: Box
    label: str
    score: float
    votes: tuple[LabelScore, ...]


def observe(detections: Iterable[Detection], *, same: float = _SAME_OBJECT) -> tuple[Observation, ...]:
    """Merges candidates that lie on each other; a person is never merged with a thing that they hold or ride."""
    groups: list[list[Detection]] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        for group in groups:
            if _same_thing(group[0], detection, same):
                group.append(detection)
                break
        else:
            groups.append([detection])
    return tuple(_observation(group) for group in groups)


def kin(one: str, other: str) -> bool:
    """Whether the detector may mean one object by both names."""
    return one == other or "person" not in (one, other)


def shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0.0, across) * max(0.0, down)


def _observation(group: list[Detection]) -> Observation:
    """Of several candidates of one name only the best one votes."""
    votes: dict[str, float] = {}
    for candidate in group:
        votes.setdefault(candidate.label, candidate.score)
    best = group[0]
    return Observation(best.box, best.label, best.score, tuple(LabelScore(*vote) for vote in votes.items()))


def _same_thing(best: Detection, other: Detection, overlap: float) -> bool:
    if best.label == other.label:
        return shared(best.box, other.box) >= _PART * min(best.box.area, other.box.area)
    return kin(best.label, other.label) and best.box.iou(other.box) >= overlap
