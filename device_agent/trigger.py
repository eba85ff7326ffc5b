"""Step 3, trigger: which moments matter. One event for each object's stay in view, and for motion nobody can name.

In: `View`s in order of time. Out: `Event` revisions: at once when it opens, now and then while it lasts, and when it
closes. Pure: ids, time and vectors are handed in. It does not know where events go. Next: `report.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from device_agent.sender import Sender
from device_agent.view import Followed, View
from foveate.messages import Embedding, Event, TriggerKind

_AGAIN_S = 2.0  # at most this often while an event lasts; long ones need it less often
_AGAIN_MOST_S = 10.0
_AGAIN_SHARE = 0.1
_MOTION_S = 1.0  # motion must last longer than this to matter
_MERGE_S = 1.0  # shorter pauses do not end a stretch of motion
_MOTION_SCORE = 0.5


@dataclass(slots=True)
class _Open:
    """An event that goes on, when it was last emitted, and the end that it had then."""

    event: Event
    emitted: float
    told: float


@dataclass(slots=True)
class _Stretch:
    """Motion without a named object, so far."""

    start: float
    media_start: float | None
    last: float


class Trigger:
    """Turns views into events. Each event opens once, closes once, and its revisions only rise."""

    def __init__(
        self, sender: Sender, *, new_id: Callable[[], str], meaning: Callable[[int | None], Embedding | None]
    ) -> None:
        """`meaning` gives the vector of a track's best picture, or of the whole picture for None."""
        self._sender, self._new_id, self._meaning = sender, new_id, meaning
        self._objects: dict[int, _Open] = {}
        self._motion: _Open | None = None
        self._stretch: _Stretch | None = None
        self.open_events: tuple[Event, ...] = ()
        """The last revision of each open event; replaced, never changed, so any thread may read it."""

    def update(self, view: View) -> tuple[Event, ...]:
        """The revisions that this view gives rise to, closed events first."""
        current = {item.track.track_id: item for item in view.followed}
        emitted = [self._close_object(key, view.time) for key in list(self._objects) if key not in current]
        for key, item in current.items():
            emitted += self._open_object(item, view) if key not in self._objects else self._grow_object(item, view)
        emitted += self._feel(view, named=bool(current))
        self._publish()
        return tuple(emitted)

    def finish(self, time: float) -> tuple[Event, ...]:
        """Closes whatever is open: the camera has ended or the agent stops."""
        emitted = [self._close_object(key, time) for key in list(self._objects)]
        emitted += self._close_motion()
        self._stretch = None
        self._publish()
        return tuple(emitted)

    def _publish(self) -> None:
        opened = [*self._objects.values(), *([self._motion] if self._motion else [])]
        self.open_events = tuple(item.event for item in opened)

    def _open_object(self, item: Followed, view: View) -> list[Event]:
        event = self._described(self._blank(TriggerKind.OBJECT, item.track.start, item.media_start), item)
        event = replace(event, embedding=self._meaning(item.track.track_id))
        self._objects[item.track.track_id] = _Open(event, view.time, event.end)
        return [event]

    def _grow_object(self, item: Followed, view: View) -> list[Event]:
        opened = self._objects[item.track.track_id]
        grown = self._described(opened.event, item)
        if view.time - opened.emitted < _pause(grown) or grown.end <= opened.told:
            # The next revision carries it all; only the trigger itself needs to know by now.
            opened.event = replace(grown, revision=opened.event.revision)
            return []
        return [self._emit(opened, grown, view.time)]

    def _close_object(self, key: int, time: float) -> Event:
        opened = self._objects.pop(key)
        better = self._meaning(key) or opened.event.embedding
        return self._emit(opened, replace(opened.event, open=False, embedding=better), time)

    def _described(self, event: Event, item: Followed) -> Event:
        track = item.track
        return replace(event, end=max(event.end, track.end), score=track.score, labels=item.labels, tracks=(track,))

    def _feel(self, view: View, *, named: bool) -> list[Event]:
        """Follows motion that no object explains."""
        if named:
            self._stretch = None
            return self._close_motion()
        stretch = self._stretch
        if view.moving:
            if stretch is None or view.time - stretch.last > _MERGE_S:
                self._stretch = stretch = _Stretch(view.time, view.media_time, view.time)
            stretch.last = view.time
        if stretch is None or view.time - stretch.last > _MERGE_S:
            self._stretch = None
            return self._close_motion()
        if stretch.last - stretch.start <= _MOTION_S:
            return []
        return self._open_motion(stretch, view) if self._motion is None else self._grow_motion(stretch, view)

    def _open_motion(self, stretch: _Stretch, view: View) -> list[Event]:
        event = self._blank(TriggerKind.MOTION, stretch.start, stretch.media_start)
        event = replace(event, end=stretch.last, score=_MOTION_SCORE, embedding=self._meaning(None))
        self._motion = _Open(event, view.time, event.end)
        return [event]

    def _grow_motion(self, stretch: _Stretch, view: View) -> list[Event]:
        if self._motion is None:
            return []
        grown = replace(self._motion.event, end=stretch.last)
        if view.time - self._motion.emitted < _pause(grown) or grown.end <= self._motion.told:
            self._motion.event = grown
            return []
        return [self._emit(self._motion, grown, view.time)]

    def _close_motion(self) -> list[Event]:
        opened, self._motion = self._motion, None
        return [] if opened is None else [self._emit(opened, replace(opened.event, open=False), opened.emitted)]

    def _blank(self, kind: TriggerKind, start: float, media_start: float | None) -> Event:
        return Event(
            event_id=self._new_id(),
            revision=1,
            device_id=self._sender.device_id,
            site_id=self._sender.site_id,
            region=self._sender.region,
            device_labels=self._sender.labels,
            trigger=kind,
            start=start,
            end=start,
            open=True,
            score=0.0,
            media_offset=media_start,
        )

    def _emit(self, opened: _Open, event: Event, time: float) -> Event:
        opened.event = replace(event, revision=opened.event.revision + 1)
        opened.emitted, opened.told = time, event.end
        return opened.event


def _pause(event: Event) -> float:
    """Seconds between two revisions: a tenth of what the event has lasted, within bounds."""
    return min(_AGAIN_MOST_S, max(_AGAIN_S, _AGAIN_SHARE * (event.end - event.start)))
