"""One object's stay: its path over short gaps, when it last moved, and whether it has become scenery.

In: the states of one track, or of two that are one object. Out: what `objects.py` decides by, and its visits to zones.
It knows no events.
Next: `objects.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from device_agent.view import Followed
from foveate.messages import Embedding, Sighting, Track, ZoneVisit
from foveate.vision.boxes import Box

_SAME_PLACE = 0.5  # overlap below which a box stands elsewhere
_STEPS = 2  # sightings elsewhere in a row: what hides half of a parked car for a moment does not move it
_NEAR = 0.3  # overlap of where a track ended and where one begins that may go on from it
_EDGE = 0.01  # this close to the picture's edge an object may have left
_SIGHTINGS = 16
_VISITS = 32


class Stay:
    """Where one object is, was, and when it last moved."""

    def __init__(self, item: Followed) -> None:
        self.item, self.track = item, item.track
        self.carrier = item.track.track_id
        """The track that carries it now; `track` keeps the number of the first one."""
        self.since = item.track.start
        """When it began to matter: at its first sighting, or when it moved again after standing still."""
        self.anchor, self.moved_at = place(item.track), item.track.end
        self.scenery = self.open = False
        self.inside_at: float | None = None
        """When it was last seen in a zone that counts."""
        self.better: Embedding | None = None
        """The vector of its best picture, once it is lost."""
        self._base: Track | None = None
        self._elsewhere: list[Sighting] = []
        self._visits: list[ZoneVisit] = []
        self._within: dict[str, int] = {}  # zones of the visits that go on, with the visit's place
        self._seen_in: dict[str, float] = {}  # zones that it stood in when it was last seen, and since when

    def follow(self, item: Followed) -> None:
        """Takes in the newest state of its track."""
        known, self.item = self.track.end, item
        self.track = item.track if self._base is None else _joined(self._base, item.track)
        if item.track.sightings and item.track.end > known:
            self._step(item.track.sightings[-1])

    def go_on_as(self, item: Followed) -> None:
        """Another track goes on from this one."""
        self._base, self.carrier = self.track, item.track.track_id
        self.follow(item)

    def may_go_on_as(self, item: Followed) -> bool:
        """Whether a new track of the same name begins where this one ended, away from the picture's edges."""
        track = item.track
        if not track.sightings or track.label != self.track.label or track.start < self.track.end:
            return False
        last = place(self.track)
        away = min(last.left, last.top, 1.0 - last.right, 1.0 - last.bottom) > _EDGE
        return away and last.iou(track.sightings[0].box) >= _NEAR

    def visit(self, zones: Iterable[str], time: float) -> None:
        """Takes in which zones it stood in when it was seen at `time`; sightings come in order.

        A visit begins with the first of two sightings in a row, since one box may be half again too large.
        """
        within, seen = {}, {}
        for zone in zones:
            first, known = self._seen_in.get(zone, time), self._within.get(zone)
            seen[zone] = first
            if known is not None:
                self._visits[known] = replace(self._visits[known], end=time)
            elif first < time:
                self._visits.append(ZoneVisit(zone, first, time))
                known = len(self._visits) - 1
            if known is not None:
                within[zone] = known
        excess = max(0, len(self._visits) - _VISITS)
        del self._visits[:excess]
        self._within = {zone: index - excess for zone, index in within.items() if index >= excess}
        self._seen_in = seen

    def path(self) -> Track:
        """The track since it began to matter; its last sighting is always in it."""
        track, start = replace(self.track, zone_visits=self._visited()), min(self.since, self.track.end)
        if start <= track.start:
            return track
        seen = tuple(item for item in track.sightings if item.time >= start) or track.sightings[-1:]
        visits = tuple(replace(v, start=max(v.start, start)) for v in track.zone_visits if v.end >= start)
        return replace(track, start=start, sightings=seen, zone_visits=visits)

    def _visited(self) -> tuple[ZoneVisit, ...]:
        """All visits; one that goes on lasts as long as the track, which may stand where nobody needs to look."""
        going_on = set(self._within.values())
        return tuple(
            replace(visit, end=max(visit.end, self.track.end)) if index in going_on else visit
            for index, visit in enumerate(self._visits)
        )

    def _step(self, seen: Sighting) -> None:
        """Whether it stands elsewhere now; if so it has moved since the first sighting there."""
        if self.anchor.iou(seen.box) >= _SAME_PLACE:
            self._elsewhere.clear()
            return
        self._elsewhere.append(seen)
        if len(self._elsewhere) < _STEPS:
            return
        if self.scenery:
            self.scenery, self.since = False, self._elsewhere[0].time
        self.anchor, self.moved_at = seen.box, seen.time
        self._elsewhere.clear()


def place(track: Track) -> Box:
    """Where a track was seen last; a box without extent when its path is empty."""
    return track.sightings[-1].box if track.sightings else Box(0.0, 0.0, 0.0, 0.0)


def _joined(before: Track, after: Track) -> Track:
    """One path of two: the first one's number and start, and a bounded sample of both with its ends."""
    path = [*(item for item in before.sightings if item.time < after.start), *after.sightings]
    while len(path) > _SIGHTINGS:
        path[1:-1] = path[2:-1:2]
    start, end = min(before.start, after.start), max(before.end, after.end)
    return replace(after, track_id=before.track_id, start=start, end=end, sightings=tuple(path))
