"""Which thing of this look is which track: by how near it is to where the track should be, and by how it looks.

In: tracks as `Path`s and the things of one look. Out: pairs, each used once. Pure. In three rounds, as ByteTrack does
(Zhang et al. 2022, arXiv:2110.06864): sure things, then weak ones, then lost tracks. Best pairs first: optimal
assignment brought nothing on PETS 2009 (mean HOTA .541 against .540). Next: `track.py`, which lets them grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from device_agent.appearance import ALIKE, Look
from device_agent.course import AHEAD_S, centre
from device_agent.observe import Observation, kin
from device_agent.path import Path, Rules

# Each pair costs the negative logarithm of its likelihood, up to a constant: what the Kalman filter says of the place,
# and what was seen of the same and of other people on PETS 2009 of their looks and sizes.
_SIGMAS = 3.5  # of place: further away it is another thing
_UNLIKE = 0.1  # median of 1 - likeness of one person's looks; between two people it is 0.26
_USUAL = 0.9  # likeness to assume when there is no picture
_GROWTH = 0.4  # of log size between two sightings
_LEAST_SHAPE = 0.5  # a thing does not shrink to less, or grow beyond the inverse, between two looks
_DEAREST = 5.0  # beyond, a new thing that came just now is likelier; from 4 to 6 it matters little
_STAYED = 0.3  # overlap of what has not left its place
_STOPPED = 6.0  # squared sigmas that it then is off at most: people stop and turn more suddenly than the filter


@dataclass(frozen=True, slots=True)
class Thing:
    """One observation, how it looks if there was a picture, and whether it would be reported by itself.

    What is not even `worth` keeping a track alive is noise.
    """

    seen: Observation
    look: Look | None
    strong: bool
    worth: bool


def associate(paths: Sequence[Path], things: Sequence[Thing], *, time: float, rules: Rules) -> dict[int, Path]:
    """Index of the thing -> its path; what is missing has none."""
    matched: dict[int, Path] = {}
    for lost, strong in ((False, True), (False, False), (True, True)):
        taken = {path.track_id for path in matched.values()}
        free = [path for path in paths if path.lost == lost and path.track_id not in taken]
        wanted = [
            (index, thing)
            for index, thing in enumerate(things)
            if index not in matched and thing.strong == strong and thing.worth
        ]
        matched.update(_best_first(_pairs(free, wanted, time=time, rules=rules)))
    return matched


_Pair = tuple[bool, float, int, int, Path]


def _pairs(paths: Iterable[Path], things: Sequence[tuple[int, Thing]], *, time: float, rules: Rules) -> Iterable[_Pair]:
    """What fits, with what it is ranked by: the same name first, then the likeliest."""
    for path in paths:
        label = path.label
        for index, thing in things:
            same = any(vote.label == label for vote in thing.seen.votes)
            if not same and not _renamed(path, label, thing, time, rules):
                continue
            cost = _cost(path, thing, time)
            if cost is not None:
                yield not same, cost, path.track_id, index, path


def _best_first(pairs: Iterable[_Pair]) -> dict[int, Path]:
    matched: dict[int, Path] = {}
    taken: set[int] = set()
    for _, _, track_id, index, path in sorted(pairs, key=lambda pair: pair[:4]):
        if index not in matched and track_id not in taken:
            matched[index] = path
            taken.add(track_id)
    return matched


def _renamed(path: Path, label: str, thing: Thing, time: float, rules: Rules) -> bool:
    """Whether the detector may have called the very same thing by another name."""
    if not kin(label, thing.seen.label):
        return False
    box = thing.seen.box
    return max(path.expected(time).iou(box), path.last.box.iou(box)) >= rules.overlap_across_labels


def _cost(path: Path, thing: Thing, time: float) -> float | None:
    """How unlikely it is that they are one; None when they are not."""
    before, box = path.last.box, thing.seen.box
    shape = math.sqrt(min(before.area, box.area) / max(before.area, box.area, 1e-12))
    x, y, variance = path.course.ahead(time)
    off = math.dist((x, y), centre(box)) ** 2 / (path.course.size**2 * variance)
    stayed = not path.lost and before.iou(box) >= _STAYED
    if stayed:
        off = min(off, _STOPPED)
    if off > _SIGMAS**2 or shape < _LEAST_SHAPE or (path.fixed and not stayed):
        return None
    likeness = path.memory.alike(thing.look)
    # By then it may have been anywhere, and others too: only what it looks like tells.
    if (path.lost or time - path.last.time > AHEAD_S) and not stayed and (likeness or 0.0) < ALIKE:
        return None
    unlike = 1.0 - (_USUAL if likeness is None else likeness)
    cost = off / 2 + math.log(variance) + unlike / _UNLIKE + (math.log(shape) / _GROWTH) ** 2 / 2
    return cost if cost <= _DEAREST else None
