"""Looking closely: the detector over the pictures of one clip, and what holds over several of them.

In: pictures with times, the labels asked for. Out: `Seen`, objects in each picture that a neighbouring picture
confirms. Without tracks: a thing counts when it is there in two neighbouring pictures, so a flicker does not.
Blocking. It knows no question and no memory. Next: `verdict.py`, which weighs both.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_node.colour import AGREES, agreement, shares
from edge_node.decode import Frame
from foveate.errors import InvalidInput
from foveate.messages import Evidence, Sighting
from foveate.vision import likelihood
from foveate.vision.detect import Detection, Detector, Picture, report_threshold
from foveate.vision.draw import read_jpeg, small_jpeg
from foveate.vision.redact import people, redact

_WEAK = 0.5  # share of the reporting threshold that is enough for the neighbour of a clear sighting
_REACH = 0.75  # how far, in its own size, a thing may move between two neighbouring pictures
_WORTH_COUNTING = 0.02  # probability of a candidate below which a hundred of them would add up to things
_SAME = 0.65  # overlap of two boxes of asked labels that are one thing under two names


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows: `confirmed` things, and the probability (0 to 1) of the best candidate of all.

    `candidates` are all that may be such things, the confirmed ones among them, best first; `colour` is how sure (0 to
    1) the least sure confirmed one is of the asked colour, 1 when none was asked.
    """

    frame: Frame
    confirmed: tuple[Detection, ...]
    best_candidate: float
    candidates: tuple[Detection, ...] = ()
    colour: float = 1.0

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """The confirmed things, as evidence."""
        return tuple(Sighting(self.frame.time, d.label, d.score, d.box) for d in self.confirmed)


class Look:
    """One detector shared by all questions; it runs on one picture at a time, on one thread."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._lock = threading.Lock()

    def over(
        self, frames: Sequence[Frame], labels: Sequence[str], *, enough: int = 0, colours: Sequence[str] = ()
    ) -> tuple[Seen, ...]:
        """What each picture shows of these labels, in one of the colours if there are any. Blocking: 20 to 30 ms each.

        With `enough`, it stops so many pictures after the first in which something is confirmed.
        """
        found: list[list[Detection]] = []
        fits: list[dict[Detection, float]] = []
        for frame in frames:
            there = _distinct(self.detect(frame.picture), labels)
            fit = {one: agreement(shares(frame.picture, one.box), colours) for one in there} if colours else {}
            fits.append(fit)
            found.append([one for one in there if fit.get(one, 1.0) >= AGREES])
            if enough and any(_confirmed(found, index) for index in range(len(found) - enough)):
                break
        return tuple(_seen(frame, found, index, fits[index]) for index, frame in enumerate(frames[: len(found)]))

    def redacted(self, piece: Evidence) -> bytes:
        """The picture of the evidence with every person unrecognisable; empty bytes when that cannot be done."""
        try:
            picture = read_jpeg(piece.picture)
        except InvalidInput:
            return b""
        hidden = people(self.detect(picture))
        hidden += [seen.box for seen in piece.sightings if seen.label == "person"]
        return small_jpeg(redact(picture, hidden))

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """The detector's candidates, one picture at a time. Blocking."""
        with self._lock:
            return self._detector.detect(picture)


def _seen(frame: Frame, found: Sequence[Sequence[Detection]], index: int, fits: Mapping[Detection, float]) -> Seen:
    confirmed = _confirmed(found, index)
    likely = {one: probability(one) for one in (*found[index], *fits)}
    return Seen(
        frame=frame,
        confirmed=confirmed,
        best_candidate=max((p * fits.get(one, 1.0) for one, p in likely.items()), default=0.0),
        candidates=tuple(one for one in found[index] if likely[one] >= _WORTH_COUNTING),
        colour=min((fits.get(one, 1.0) for one in confirmed), default=1.0),
    )


def _distinct(detections: Sequence[Detection], labels: Sequence[str]) -> list[Detection]:
    """Candidates of these labels, best first, each thing once even when two names fit it."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if detection.label in labels and all(detection.box.iou(other.box) < _SAME for other in kept):
            kept.append(detection)
    return kept


def probability(detection: Detection) -> float:
    """How likely the candidate is a real thing of its name, 0 to 1."""
    return likelihood.calibration([detection.label]).probability(detection.score)


def _confirmed(found: Sequence[Sequence[Detection]], index: int) -> tuple[Detection, ...]:
    """What the picture at `index` shows clearly and a neighbouring picture shows too."""
    before = found[index - 1] if index else ()
    after = found[index + 1] if index + 1 < len(found) else ()
    return tuple(detection for detection in found[index] if _holds(detection, [*before, *after]))


def _holds(detection: Detection, neighbours: Sequence[Detection]) -> bool:
    """Whether it is likelier than not, and there in a neighbouring picture too, at least faintly."""
    if probability(detection) < 0.5:
        return False
    reach = detection.box.expanded(_REACH)
    return any(
        other.score >= _WEAK * report_threshold(other.label) and reach.iou(other.box.expanded(_REACH)) > 0.2
        for other in neighbours
    )
