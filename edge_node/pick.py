"""Which few pictures of a clip stand for it: sharp, its objects large and clear, and not nearly equal to each other.

In: candidate pictures with their times, the tracks of the event, and an encoder's feature vectors when asked for.
Out: the chosen pictures, in the order of time. Pure and bounded: it encodes no more than it has to.
It does not know where pictures come from, nor what is read in them. Next: `perceive.py`, which keeps what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_node.decode import Frame
from foveate.messages import Sighting, Track
from foveate.vision.detect import Picture

SAME = 0.95
"""Cosine of EfficientNet-Lite0 features from which two pictures are nearly equal. Median on six clips of other scenes:
0.95 to 0.996 a tenth of a second apart, 0.35 to 0.93 five seconds apart (0.93: a wide square under a fixed camera)."""

NEAR_S = 0.75
"""How far a sighting may be from a picture in time and still say where its object is: tracks are sampled sparsely."""

_SIDE = 256  # sharpness is measured at one size, or a larger picture would seem softer
_LEAST = 0.25  # neither a blurred picture nor one without objects is worth nothing
_EDGE = 0.01  # a box this near to the border is cut off by it
_CUT_OFF = 0.5

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Worth:
    """One candidate: how sharp (variance of the Laplacian, any scale) and how well it shows the event's objects."""

    sharpness: float
    objects: float


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian of the grey picture at 256 pixels (Pech-Pacheco et al., ICPR 2000); 0 when plain."""
    scale = _SIDE / max(picture.shape[:2])
    size = (max(3, round(picture.shape[1] * scale)), max(3, round(picture.shape[0] * scale)))
    grey = np.asarray(Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BILINEAR), np.float32)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4.0 * inner
    return float(laplacian.var())


def objects(tracks: Sequence[Track], time: float) -> float:
    """How large and clear the tracks' objects are at `time`: sum of score x sqrt(area), half for one cut off."""
    near = (_nearest(track.sightings, time) for track in tracks)
    return sum(_clear(sighting) for sighting in near if sighting is not None)


def choose(
    frames: Sequence[Frame],
    worth: Sequence[Worth],
    *,
    features: Callable[[Frame], Features],
    most: int,
    tries: int = 6,
) -> tuple[Frame, ...]:
    """At most `most` of the frames, best first taken, each unlike those taken before; in the order of time.

    `features` gives a unit vector; it is called at most `tries` times, since encoding costs more than all else here.
    """
    taken: list[tuple[Frame, Features]] = []
    for index in ranked(worth)[:tries]:
        if len(taken) == most:
            break
        vector = features(frames[index])
        if all(float(vector @ other) < SAME for _, other in taken):
            taken.append((frames[index], vector))
    return tuple(sorted((frame for frame, _ in taken), key=lambda frame: frame.time))


def ranked(worth: Sequence[Worth]) -> list[int]:
    """Indices, the best first: sharpness and objects, each against the best of the clip; ties by order."""
    sharpest = max((one.sharpness for one in worth), default=0.0) or 1.0
    fullest = max((one.objects for one in worth), default=0.0) or 1.0
    value = [(_LEAST + one.sharpness / sharpest) * (_LEAST + one.objects / fullest) for one in worth]
    return sorted(range(len(worth)), key=lambda index: (-value[index], index))


def best_moment(tracks: Sequence[Track], start: float, end: float) -> float | None:
    """When the tracks show the most within the span, None when they show nothing there."""
    times = {seen.time for track in tracks for seen in track.sightings if start <= seen.time <= end}
    return max(sorted(times), key=lambda time: objects(tracks, time), default=None)


def _nearest(sightings: Sequence[Sighting], time: float) -> Sighting | None:
    found = min(sightings, key=lambda seen: abs(seen.time - time), default=None)
    return found if found is not None and abs(found.time - time) <= NEAR_S else None


def _clear(seen: Sighting) -> float:
    box = seen.box
    cut = min(box.left, box.top) <= _EDGE or max(box.right, box.bottom) >= 1.0 - _EDGE
    return float(seen.score * box.area**0.5 * (_CUT_OFF if cut else 1.0))
