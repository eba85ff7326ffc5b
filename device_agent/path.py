"""One track while it grows: where it was, how it moves, what it looked like, what it was called and when it was missed.

In: sightings, and looks that missed it. Out: where it should be by now, and `Followed`. Memory is bounded. It does not
know of other tracks. Next: `track.py`, which decides what belongs to which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from device_agent.appearance import Look, Memory
from device_agent.course import Course, centre
from device_agent.observe import Observation, shared
from device_agent.view import Followed
from foveate.messages import LabelScore, Sighting, Track
from foveate.vision.boxes import Box
from foveate.vision.detect import report_threshold

_LABELS_KEPT = 5
_COVERED = 0.5  # of a box lies where the picture changed
_AWAY = 0.5  # of its own size between where it began and where it is
# COCO's families whose members the detector mixes up: seen from above, a car is also a bus, a boat and a phone, but
# vehicles together outvote the phone.
_FAMILIES = (
    {"bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"},
    {"bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"},
)


@dataclass(frozen=True, slots=True)
class Rules:
    """How tracks live and die; seconds, and shares of a label's reporting threshold or of overlap.

    A track is lost once looks that span `lost_after_s` missed it, at least two; it may be taken up again until
    `retake_s` after it was last seen. Time in which nobody looked ends nothing.
    """

    threshold: Callable[[str], float] = report_threshold
    weak_share: float = 0.8
    weak_for_s: float = 6.0
    weak_looks: int = 5
    overlap_across_labels: float = 0.45
    confirm_hits: int = 2
    confirm_within_s: float = 1.0
    lost_after_s: float = 1.5
    lost_looks: int = 2
    retake_s: float = 3.0
    most_tracks: int = 64
    most_lost: int = 32
    most_sightings: int = 16


@dataclass(slots=True)
class Path:
    """A track while it grows. `lost` paths may still be taken up again."""

    track_id: int
    media_start: float | None
    course: Course
    sightings: list[Sighting] = field(default_factory=list)
    votes: dict[str, list[float]] = field(default_factory=dict)  # label -> sum of scores, how many
    memory: Memory = field(default_factory=Memory)
    hits: int = 0
    strong_hits: int = 0
    weak_since: float | None = None
    weak_hits: int = 0
    missed_since: float | None = None
    missed: int = 0
    stride: int = 1
    confirmed: bool = False
    lost: bool = False
    moved: bool = False
    stood: float = -math.inf
    fixed: bool = False  # nothing changed where it stands, so it can be nowhere else

    @property
    def last(self) -> Sighting:
        """Where it was seen last."""
        return self.sightings[-1]

    @property
    def label(self) -> str:
        """The best name of the best family."""
        totals = {label: vote[0] for label, vote in self.votes.items()}
        return max(totals, key=lambda label: (sum(totals.get(kin, 0.0) for kin in _family(label)), totals[label]))

    def expected(self, time: float) -> Box:
        """Where the object should be by now if it keeps its speed for a while."""
        x, y, _ = self.course.ahead(time)
        box = self.last.box
        return Box(x - box.width / 2, y - box.height / 2, box.width, box.height)

    def add(self, time: float, seen: Observation, rules: Rules, *, look: Look | None = None) -> None:
        """It was seen again, or for the first time."""
        if self.sightings:
            self.course.update(time, seen.box)
        consecutive = not self.missed
        self.hits, self.missed, self.missed_since, self.lost = self.hits + 1, 0, None, False
        if look is not None:
            self.memory.add(look)
        self._weigh(time, strong=seen.score >= rules.threshold(seen.label))
        for vote in seen.votes:
            total = self.votes.setdefault(vote.label, [0.0, 0.0])
            total[0] += vote.score
            total[1] += 1
        self._remember(Sighting(time, seen.label, seen.score, seen.box), rules.most_sightings)
        soon = consecutive or time - self.sightings[0].time <= rules.confirm_within_s
        self.confirmed = self.confirmed or (self.strong_hits >= rules.confirm_hits and soon)

    def touch(self, regions: Sequence[Box] | None) -> None:
        """Takes note of where the picture changed before the look is told; None when nobody knows.

        Of what has moved before, the last place says little: regions lag behind whoever walks.
        """
        touched = regions is None or any(shared(self.last.box, region) for region in regions)
        self.fixed = not self.moved and not touched

    def stand(self, time: float, changed: Sequence[Box]) -> None:
        """Nobody looked, but where it stands nothing changed: it is still there."""
        if self.confirmed and not self.lost and not self.missed and not any(shared(self.last.box, b) for b in changed):
            self.stood = max(self.stood, time)

    def miss(self, time: float) -> None:
        """A look did not find it."""
        self.missed += 1
        self.missed_since = time if self.missed_since is None else self.missed_since

    def ended(self, time: float, rules: Rules) -> bool:
        """Whether the looks so far mean that it is gone, or that it never was."""
        if not self.confirmed:
            fading = self.missed > 0 or self.weak_hits > 0
            return fading and time - self.sightings[0].time > rules.confirm_within_s
        missed_s = 0.0 if self.missed_since is None else time - self.missed_since
        if self.missed >= rules.lost_looks and missed_s >= rules.lost_after_s:
            return True
        weak_s = 0.0 if self.weak_since is None else time - self.weak_since
        return self.weak_hits >= rules.weak_looks and weak_s > rules.weak_for_s

    def feel(self, regions: Sequence[Box]) -> None:
        """Takes note of whether it stands where the picture changed, or has left where it began."""
        if self.moved:
            return
        box, first = self.last.box, self.sightings[0].box
        covered = sum(shared(box, region) for region in regions)
        (x, y), (from_x, from_y) = centre(box), centre(first)
        away = math.hypot((x - from_x) / max(first.width, 1e-6), (y - from_y) / max(first.height, 1e-6))
        self.moved = (box.area > 0.0 and covered >= _COVERED * box.area) or away > _AWAY

    def followed(self) -> Followed:
        """The track as it is told to others."""
        label = self.label
        total, votes = self.votes[label]
        start, end = self.sightings[0].time, max(self.last.time, self.stood)
        track = Track(self.track_id, label, min(1.0, total / votes), start, end, tuple(self.sightings))
        rivals = sorted(self.votes.items(), key=lambda item: (item[0] != label, -item[1][0]))[:_LABELS_KEPT]
        named = tuple(LabelScore(name, min(1.0, vote[0] / self.hits)) for name, vote in rivals)
        return Followed(track, named, self.media_start, self.moved)

    def _weigh(self, time: float, *, strong: bool) -> None:
        if strong:
            self.strong_hits, self.weak_hits, self.weak_since = self.strong_hits + 1, 0, None
            return
        self.weak_hits += 1
        self.weak_since = time if self.weak_since is None else self.weak_since

    def _remember(self, sighting: Sighting, most: int) -> None:
        """Keeps first and last; in between every `stride`-th, which doubles whenever the sample is full."""
        if len(self.sightings) > 1 and (self.hits - 2) % self.stride:
            self.sightings[-1] = sighting
        else:
            self.sightings.append(sighting)
        if len(self.sightings) > most:
            self.sightings[1:-1] = self.sightings[2:-1:2]
            self.stride *= 2


def _family(label: str) -> set[str]:
    return next((family for family in _FAMILIES if label in family), {label})
