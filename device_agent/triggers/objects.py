"""Objects that enter and leave: one event for each object's stay, until it becomes scenery.

In: `View`s. Out: an event that starts with an object's first sighting and ends with its last one. What never moved
makes no event, unless it is there when the scene begins; what has not moved for `static_s` is scenery until it moves
again or is gone from a place that changed. It does not know how objects are followed. Next: `all.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from device_agent.observe import shared
from device_agent.rules import ObjectRules
from device_agent.triggers.pace import Finding, Pacer
from device_agent.triggers.stay import Stay, place
from device_agent.triggers.zones import ZoneMap
from device_agent.view import Followed, View
from foveate.messages import Embedding, Event, Sighting
from foveate.vision.boxes import Box

MOST_OPEN = 64
_FIRST_S = 0.5  # a track that begins this soon after a scene was there before
_MOMENT_S = 0.95  # what was there before is reported once it has been followed for this long
_AT_START_S = 10.0  # and only this soon after the scene began
_SOON_S = 5.0  # what begins to matter later than this after its first sighting has its event start then
_MOST_SCENERY = 64
_SAME_PLACE = 0.5
_GONE = "gone from where it stood"
_TAKEN = 0.3  # of its place has changed


class ObjectTrigger:
    """Follows what has a name."""

    def __init__(
        self,
        rules: ObjectRules,
        *,
        pacer: Pacer,
        zones: ZoneMap,
        meaning: Callable[[int | None], Embedding | None],
    ) -> None:
        """`meaning` gives the vector of a track's best picture."""
        self.pacer = pacer
        self._rules, self._zones, self._meaning = rules, zones, meaning
        self._stays: dict[int, Stay] = {}  # by the track that carries it
        self._lost: list[Stay] = []  # whose events wait for `merge_s`, oldest first
        self._scenery: deque[Box] = deque(maxlen=_MOST_SCENERY)
        self._began: float | None = None

    def see(self, view: View) -> list[Event]:
        """What this view gives rise to."""
        if view.start or self._began is None:
            self._begin(view)
        current = {item.track.track_id: item for item in view.followed}
        told = [event for key in list(self._stays) if key not in current for event in self._lose(key, view)]
        told += self.tick(view.time)
        return told + [event for item in current.values() for event in self._follow(item, view)]

    def tick(self, time: float) -> list[Event]:
        """What ends because time has passed: objects that were lost and have not come back."""
        late = time - self._rules.pace.merge_s
        over = [stay for stay in self._lost if stay.track.end <= late]
        over += [stay for stay in self._lost if stay not in over][: max(0, len(self._lost) - len(over) - MOST_OPEN)]
        self._lost = [stay for stay in self._lost if stay not in over]
        return [event for stay in over for event in self._close(stay, time)]

    def reset(self) -> None:
        """Forgets all that is followed, as after a jump of the clock."""
        self._stays.clear()
        self._lost.clear()
        self._began = None

    def _begin(self, view: View) -> None:
        """Another scene, or its next view: what stood in the one before is no scenery here."""
        if self._began is None or not 0.0 <= view.time - self._began <= _AT_START_S:
            self._scenery.clear()
        self._began = view.time

    def _lose(self, key: int, view: View) -> list[Event]:
        stay = self._stays.pop(key)
        if stay.open:
            # Asked at once, for the looker forgets the pictures of what it lost.
            stay.better = self._meaning(stay.carrier)
            self._lost.append(stay)
        elif stay.scenery and self._taken(stay, view):
            return self._leave(stay, view)
        elif stay.scenery:
            self._scenery.append(stay.anchor)
        return []

    def _taken(self, stay: Stay, view: View) -> bool:
        """Whether its place changed when it was lost, so that no mere miss of the detector explains it."""
        rules, zones = self._rules, set(self._zones.under([stay.anchor]))
        if (rules.labels and stay.track.label not in rules.labels) or (rules.zones and not zones & set(rules.zones)):
            return False
        changed = (*view.change.regions, *view.change.resting)
        return any(shared(region, stay.anchor) >= _TAKEN * stay.anchor.area for region in changed)

    def _leave(self, stay: Stay, view: View) -> list[Event]:
        """Scenery that is gone: nobody saw it go, so the event lasts from its last moment until it is missed."""
        stay.since = stay.track.end
        found = replace(self._found(stay, self._zones.under([stay.anchor])), about=_GONE, end=view.time)
        told = self.pacer.tell(stay, found, now=view.time, meaning=lambda: self._meaning(stay.carrier))
        return told + self.pacer.close(stay, now=view.time, found=found)

    def _follow(self, item: Followed, view: View) -> list[Event]:
        stay = self._stays.get(item.track.track_id)
        seen: Iterable[Sighting] = item.track.sightings[-1:]
        if stay is not None:
            stay.follow(item)
        else:
            stay = self._resumed(item)
            seen = item.track.sightings
            if stay is None:
                stay = Stay(item)
                stay.scenery = self._is_scenery(item)
            self._stays[item.track.track_id] = stay
        for sighting in seen:
            self._locate(stay, sighting)
        if stay.open:
            return self._go_on(stay, view)
        return self._enter(stay, view) if self._matters(stay, view) else []

    def _resumed(self, item: Followed) -> Stay | None:
        """The lost object that this track is, or goes on from."""
        for stay in self._lost:
            same = stay.carrier == item.track.track_id
            if same or stay.may_go_on_as(item):
                self._lost.remove(stay)
                if same:
                    stay.follow(item)
                else:
                    stay.go_on_as(item)
                return stay
        return None

    def _is_scenery(self, item: Followed) -> bool:
        """Whether it begins where something has long stood still: the detector missed that for a while."""
        box = item.track.sightings[0].box if item.track.sightings else place(item.track)
        known = next((old for old in self._scenery if old.iou(box) >= _SAME_PLACE), None)
        if known is not None:
            self._scenery.remove(known)
        return known is not None

    def _locate(self, stay: Stay, seen: Sighting) -> None:
        """Notes the zones that it was seen in, and when it was in those that count."""
        zones = self._zones.under([seen.box])
        stay.visit(zones, seen.time)
        if not self._rules.zones or not set(zones) & set(self._rules.zones):
            return
        before, stay.inside_at = stay.inside_at, seen.time
        if before is None or seen.time - before > self._rules.pace.merge_s:
            stay.since = max(stay.since, seen.time)

    def _matters(self, stay: Stay, view: View) -> bool:
        rules, track = self._rules, stay.track
        if stay.scenery or (rules.labels and track.label not in rules.labels):
            return False
        if rules.zones and stay.inside_at != track.end:
            return False
        return stay.item.moved or self._was_there(stay, view)

    def _was_there(self, stay: Stay, view: View) -> bool:
        """Whether it stood there when the scene began, and still does."""
        began, track = self._began if self._began is not None else view.time, stay.track
        early = track.start <= began + _FIRST_S and 0.0 <= view.time - began <= _AT_START_S
        return early and track.end - track.start >= _MOMENT_S

    def _enter(self, stay: Stay, view: View) -> list[Event]:
        if stay.track.end - stay.since > _SOON_S:
            stay.since = stay.track.end
        stay.open = True
        stay.moved_at = stay.track.end
        return self._tell(stay, self._zones.under(seen.box for seen in stay.path().sightings), view.time)

    def _go_on(self, stay: Stay, view: View) -> list[Event]:
        rules, end = self._rules, stay.track.end
        if end - stay.moved_at >= rules.static_s:
            stay.scenery = True
            return self._close(stay, view.time, about=f"scenery: has not moved for {rules.static_s:.0f} s")
        if rules.zones and stay.inside_at is not None and end - stay.inside_at > rules.pace.merge_s:
            return self._close(stay, view.time)
        return self._tell(stay, self._zones.under([place(stay.track)]), view.time)

    def _tell(self, stay: Stay, zones: tuple[str, ...], time: float) -> list[Event]:
        found = self._found(stay, zones)
        return self.pacer.tell(stay, found, now=time, meaning=lambda: self._meaning(stay.carrier))

    def _close(self, stay: Stay, time: float, *, about: str = "") -> list[Event]:
        stay.open = False
        better = stay.better or (self._meaning(stay.carrier) if stay.carrier in self._stays else None)
        found = replace(self._found(stay, ()), about=about)
        return self.pacer.close(stay, now=time, found=found, meaning=lambda: better)

    def _found(self, stay: Stay, zones: tuple[str, ...]) -> Finding:
        path, media = stay.path(), stay.item.media_start
        end = stay.inside_at if self._rules.zones and stay.inside_at is not None else path.end
        return Finding(
            path.start,
            max(path.start, end),
            path.score,
            media_start=None if media is None else media + max(0.0, path.start - stay.item.track.start),
            labels=stay.item.labels,
            tracks=(path,),
            zones=zones,
        )
