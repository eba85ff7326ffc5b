"""From boxes in single frames to objects followed through time.

In: a frame's time and the detector's candidates. Out: `Followed` tracks with a voted label. Greedy by overlap, weak
candidates may only keep a track alive (ByteTrack, Zhang et al. 2022, arXiv:2110.06864). Memory is bounded. It knows
no pictures. Next: `trigger.py`, which makes events of tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from device_agent.view import Followed
from foveate.messages import LabelScore, Sighting, Track
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, report_threshold

_SAME_OBJECT = 0.65  # overlap of two differently named boxes in one frame that are one thing
_PART = 0.7  # of the smaller of two boxes of one name inside the other: a head, or the hull around two people
_LABELS_KEPT = 5
# COCO's families whose members the detector mixes up: seen from above, a car is also a bus, a boat and a phone, but
# vehicles together outvote the phone.
_FAMILIES = (
    {"bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"},
    {"bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"},
)


@dataclass(frozen=True, slots=True)
class Rules:
    """How tracks live and die; seconds, and shares of a label's reporting threshold or of overlap."""

    threshold: Callable[[str], float] = report_threshold
    weak_share: float = 0.8
    weak_for_s: float = 6.0
    overlap: float = 0.2
    overlap_across_labels: float = 0.45
    confirm_hits: int = 2
    confirm_within_s: float = 1.0
    lost_after_s: float = 1.5
    most_tracks: int = 64
    most_sightings: int = 16


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


def _observation(group: list[Detection]) -> Observation:
    """Of several candidates of one name only the best one votes."""
    votes: dict[str, float] = {}
    for candidate in group:
        votes.setdefault(candidate.label, candidate.score)
    best = group[0]
    return Observation(best.box, best.label, best.score, tuple(LabelScore(*vote) for vote in votes.items()))


def _same_thing(best: Detection, other: Detection, overlap: float) -> bool:
    if best.label == other.label:
        smaller = min(best.box.area, other.box.area)
        return _shared(best.box, other.box) >= _PART * smaller
    return _kin(best.label, other.label) and best.box.iou(other.box) >= overlap


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0.0, across) * max(0.0, down)


@dataclass(slots=True)
class _Path:
    """A track while it grows."""

    track_id: int
    media_start: float | None
    sightings: list[Sighting] = field(default_factory=list)
    votes: dict[str, list[float]] = field(default_factory=dict)  # label -> sum of scores, how many
    hits: int = 0
    strong_hits: int = 0
    strong_at: float = 0.0
    stride: int = 1
    confirmed: bool = False
    speed: tuple[float, float] = (0.0, 0.0)

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]

    @property
    def label(self) -> str:
        """The best name of the best family."""
        totals = {label: vote[0] for label, vote in self.votes.items()}
        return max(totals, key=lambda label: (sum(totals.get(kin, 0.0) for kin in _family(label)), totals[label]))

    def expected(self, time: float) -> Box:
        """Where the object should be by now if it keeps its speed; at most half a second ahead."""
        box, ahead = self.last.box, min(time - self.last.time, 0.5)
        return Box(box.left + self.speed[0] * ahead, box.top + self.speed[1] * ahead, box.width, box.height)

    def add(self, time: float, seen: Observation, rules: Rules) -> None:
        if self.sightings:
            self.speed = _speed(self.last, time, seen.box, self.speed)
        self.hits += 1
        if seen.score >= rules.threshold(seen.label):
            self.strong_hits, self.strong_at = self.strong_hits + 1, time
        for vote in seen.votes:
            total = self.votes.setdefault(vote.label, [0.0, 0.0])
            total[0] += vote.score
            total[1] += 1
        self._remember(Sighting(time, seen.label, seen.score, seen.box), rules.most_sightings)
        self.confirmed = self.confirmed or (
            self.strong_hits >= rules.confirm_hits and time - self.sightings[0].time <= rules.confirm_within_s
        )

    def _remember(self, sighting: Sighting, most: int) -> None:
        """Keeps first and last; in between every `stride`-th, which doubles whenever the sample is full."""
        if len(self.sightings) > 1 and (self.hits - 2) % self.stride:
            self.sightings[-1] = sighting
        else:
            self.sightings.append(sighting)
        if len(self.sightings) > most:
            self.sightings[1:-1] = self.sightings[2:-1:2]
            self.stride *= 2

    def followed(self) -> Followed:
        label = self.label
        total, votes = self.votes[label]
        track = Track(
            self.track_id, label, min(1.0, total / votes), self.sightings[0].time, self.last.time, tuple(self.sightings)
        )
        rivals = sorted(self.votes.items(), key=lambda item: (item[0] != label, -item[1][0]))[:_LABELS_KEPT]
        named = tuple(LabelScore(name, min(1.0, vote[0] / self.hits)) for name, vote in rivals)
        return Followed(track, named, self.media_start)


def _family(label: str) -> set[str]:
    return next((family for family in _FAMILIES if label in family), {label})


class Tracker:
    """Follows at most `rules.most_tracks` objects at once; ids are never used twice."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._paths: list[_Path] = []
        self._made = 0
        self._time = 0.0

    @property
    def followed(self) -> tuple[Followed, ...]:
        """Every confirmed track that is not lost, oldest first."""
        return tuple(path.followed() for path in self._paths if path.confirmed)

    @property
    def tentative(self) -> set[int]:
        """Ids of tracks that are not confirmed yet."""
        return {path.track_id for path in self._paths if not path.confirmed}

    @property
    def curious(self) -> bool:
        """Whether another look soon would settle something: a new object, or one that was missed last time."""
        return any(not path.confirmed or path.last.time < self._time for path in self._paths)

    def update(
        self, time: float, observations: Sequence[Observation], *, media_time: float | None = None
    ) -> dict[int, Observation]:
        """Takes one frame in; returns what each track was seen as. Time that runs backwards loses all tracks."""
        if time < self._time:
            self.reset()
        self._time = time
        matched = self._associate(time, observations)
        for index, path in matched.items():
            path.add(time, observations[index], self._rules)
        for index, seen in enumerate(observations):
            if index not in matched and seen.score >= self._rules.threshold(seen.label):
                matched[index] = self._begin(time, seen, media_time)
        self.age(time)
        return {path.track_id: observations[index] for index, path in matched.items() if path in self._paths}

    def age(self, time: float) -> None:
        """Forgets what was not seen for too long, and the weakest when there are too many."""
        rules = self._rules
        self._paths = [path for path in self._paths if self._alive(path, time)]
        while len(self._paths) > rules.most_tracks:
            self._paths.remove(min(self._paths, key=lambda path: (path.confirmed, path.last.score)))

    def reset(self) -> None:
        """Loses every track, as after a cut."""
        self._paths = []

    def _alive(self, path: _Path, time: float) -> bool:
        rules = self._rules
        if not path.confirmed:
            return time - path.sightings[0].time <= rules.confirm_within_s
        return time - path.last.time <= rules.lost_after_s and time - path.strong_at <= rules.weak_for_s

    def _begin(self, time: float, seen: Observation, media_time: float | None) -> _Path:
        self._made += 1
        path = _Path(self._made, media_time)
        path.add(time, seen, self._rules)
        self._paths.append(path)
        return path

    def _associate(self, time: float, observations: Sequence[Observation]) -> dict[int, _Path]:
        """Pairs of observation and path: strong before weak, the same label before another, then by overlap."""
        pairs = []
        for path in self._paths:
            expected, label = path.expected(time), path.label
            for index, seen in enumerate(observations):
                threshold = self._rules.threshold(seen.label)
                if seen.score < threshold * self._rules.weak_share:
                    continue
                overlap = max(expected.iou(seen.box), path.last.box.iou(seen.box))
                same = any(vote.label == label for vote in seen.votes)
                if self._fits(overlap, same, _kin(label, seen.label)):
                    rank = (seen.score < threshold, not same, -overlap, path.track_id)
                    pairs.append((rank, index, path))
        matched: dict[int, _Path] = {}
        taken: set[int] = set()
        for _, index, path in sorted(pairs, key=lambda pair: pair[0]):
            if index not in matched and path.track_id not in taken:
                matched[index] = path
                taken.add(path.track_id)
        return matched

    def _fits(self, overlap: float, same: bool, kin: bool) -> bool:
        if same:
            return overlap >= self._rules.overlap
        return kin and overlap >= self._rules.overlap_across_labels


def _kin(one: str, other: str) -> bool:
    """Whether the detector may mean one object by both names."""
    return one == other or "person" not in (one, other)


def _speed(last: Sighting, time: float, box: Box, before: tuple[float, float]) -> tuple[float, float]:
    """Fractions of the picture per second, smoothed by half, measured between centres."""
    passed = max(time - last.time, 1e-3)
    across = (box.left + box.width / 2 - last.box.left - last.box.width / 2) / passed
    down = (box.top + box.height / 2 - last.box.top - last.box.height / 2) / passed
    return (before[0] + across) / 2, (before[1] + down) / 2
