"""How the events of one trigger open, are told again, are drawn together, held back and closed; shared by all of them.

In: what a trigger found, under a key for each thing that it follows. Out: `Event` revisions: at once when an event
opens, now and then while it lasts, and once when it closes. It does not know what is worth an event.
Next: `objects.py` and its siblings, which decide that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from device_agent.rules import Pace
from device_agent.sender import Sender
from foveate.messages import Embedding, Event, LabelScore, Track, TriggerKind

logger = logging.getLogger(__name__)

Meaning = Callable[[], Embedding | None]

_AGAIN_S = 2.0  # at most this often while an event lasts; long ones need it less often
_AGAIN_MOST_S = 10.0
_AGAIN_SHARE = 0.1
_MINUTE_S = 60.0


def nothing() -> Embedding | None:
    """No picture to take a vector of."""
    return None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trigger knows of one thing by now; times are Unix seconds, `media_start` seconds of the source."""

    start: float
    end: float
    score: float
    media_start: float | None = None
    labels: tuple[LabelScore, ...] = ()
    tracks: tuple[Track, ...] = ()
    zones: tuple[str, ...] = ()
    about: str = ""


@dataclass(slots=True)
class _Open:
    """An event that goes on, when it was last emitted, and the end that it had then."""

    event: Event
    emitted: float
    told: float


class Pacer:
    """One trigger's events by key. Each opens once, closes once, and its revisions rise by one."""

    def __init__(
        self, kind: TriggerKind, pace: Pace, *, sender: Sender, new_id: Callable[[], str], most_open: int
    ) -> None:
        """At most `most_open` events are open at once; more are held back like those beyond the rate."""
        self.pace, self.kind, self._sender, self._new_id = pace, kind, sender, new_id
        self._most_open = most_open
        self._open: dict[Hashable, _Open] = {}
        self._held: dict[Hashable, float] = {}  # key -> its end so far
        self._begun: deque[float] = deque(maxlen=max(1, pace.most_per_minute))
        self._holding = False
        self.held_back = 0
        """Events that were counted and never sent."""

    def __contains__(self, key: Hashable) -> bool:
        """Whether this thing is followed already, sent or held back."""
        return key in self._open or key in self._held

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """All things that are followed, sent or held back."""
        return (*self._open, *self._held)

    @property
    def open_events(self) -> tuple[Event, ...]:
        """What is known of each open event; the next revision carries it."""
        return tuple(opened.event for opened in self._open.values())

    def tell(self, key: Hashable, found: Finding, *, now: float, meaning: Meaning = nothing) -> list[Event]:
        """Opens an event or lets it grow. `meaning` is asked when it opens, and later while it has no vector."""
        if key in self._open:
            return self._grow(self._open[key], found, now, meaning)
        if key in self._held:
            self._held[key] = max(self._held[key], found.end)
            return []
        if not self._may_begin(now):
            self._hold(key, found, now)
            return []
        self._begun.append(now)
        self._holding = False
        event = replace(self._filled(self._blank(found), found), embedding=meaning())
        self._open[key] = _Open(event, now, event.end)
        return [event]

    def tell_now(self, key: Hashable, found: Finding, *, now: float) -> list[Event]:
        """A revision at once, for somebody who waits for it; opens an event where there is none."""
        opened = self._open.get(key)
        if opened is None:
            return self.tell(key, found, now=now)
        return [self._emit(opened, self._filled(opened.event, found), now)]

    def close(
        self, key: Hashable, *, now: float, found: Finding | None = None, meaning: Meaning = nothing
    ) -> list[Event]:
        """The last revision of an event, with what was found last and a better vector where there is one."""
        self._held.pop(key, None)
        opened = self._open.pop(key, None)
        if opened is None:
            return []
        event = opened.event if found is None else self._filled(opened.event, found)
        closed = replace(event, open=False, embedding=meaning() or event.embedding)
        return [self._emit(opened, closed, now)]

    def settle(self, now: float) -> list[Event]:
        """Closes what has not gone on for `merge_s`; its end stays the last moment at which it was found."""
        late = now - self.pace.merge_s
        ended = [key for key, opened in self._open.items() if opened.event.end < late]
        self._held = {key: end for key, end in self._held.items() if end >= late}
        return [event for key in ended for event in self.close(key, now=now)]

    def finish(self, now: float) -> list[Event]:
        """Closes whatever is open."""
        return [event for key in self.keys for event in self.close(key, now=now)]

    def _grow(self, opened: _Open, found: Finding, now: float, meaning: Meaning) -> list[Event]:
        grown = self._filled(opened.event, found)
        if now - opened.emitted < _pause(grown) or grown.end <= opened.told:
            # The next revision carries it all; only the device itself needs to know by now.
            opened.event = grown
            return []
        return [self._emit(opened, replace(grown, embedding=grown.embedding or meaning()), now)]

    def _emit(self, opened: _Open, event: Event, now: float) -> Event:
        opened.event = replace(event, revision=opened.event.revision + 1)
        opened.emitted, opened.told = now, event.end
        return opened.event

    def _may_begin(self, now: float) -> bool:
        if len(self._open) >= self._most_open:
            return False
        if self._begun and now < self._begun[-1] - _MINUTE_S:
            self._begun.clear()  # The clock was set back.
        most = self.pace.most_per_minute
        # A press is never held back: whoever pressed is told the event's id.
        return self.kind is TriggerKind.MANUAL or (
            most > 0 and (len(self._begun) < most or now - self._begun[0] >= _MINUTE_S)
        )

    def _hold(self, key: Hashable, found: Finding, now: float) -> None:
        self._held[key] = found.end
        self.held_back += 1
        if not self._holding:
            fields = {"trigger": self.kind.value, "most_per_minute": self.pace.most_per_minute, "time": now}
            logger.warning("too many events; the rest are counted and not sent", extra=fields)
        self._holding = True

    def _filled(self, event: Event, found: Finding) -> Event:
        return replace(
            event,
            end=max(event.end, found.end),
            # A track's score is a mean that settles; what has no track is as sure as at its best.
            score=found.score if found.tracks else max(event.score, found.score),
            labels=found.labels,
            tracks=found.tracks,
            zones=tuple(dict.fromkeys((*event.zones, *found.zones))),
            about=found.about,
        )

    def _blank(self, found: Finding) -> Event:
        return Event(
            event_id=self._new_id(),
            revision=1,
            device_id=self._sender.device_id,
            site_id=self._sender.site_id,
            region=self._sender.region,
            device_labels=self._sender.labels,
            trigger=self.kind,
            start=found.start,
            end=found.start,
            open=True,
            score=0.0,
            media_offset=found.media_start,
            priority=self.pace.priority,
        )


def _pause(event: Event) -> float:
    """Seconds between two revisions: a tenth of what the event has lasted, within bounds."""
    return min(_AGAIN_MOST_S, max(_AGAIN_S, _AGAIN_SHARE * (event.end - event.start)))
