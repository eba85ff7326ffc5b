"""All triggers of one device behind one seam.

In: what was seen, heard, pressed and asked for, from any thread. Out: `Event` revisions, closed ones first. A clock
that is set back ends what is open, for nothing can be said to last from later to sooner. It does not know where
events go. Next: `report.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from device_agent.rules import Pace, TriggerRules, Zone
from device_agent.sender import Sender
from device_agent.triggers import objects
from device_agent.triggers.manual import MOST_OPEN as MOST_PRESSES
from device_agent.triggers.manual import ManualTrigger
from device_agent.triggers.match import MOST_SENTENCES, TextTrigger
from device_agent.triggers.motion import MotionTrigger
from device_agent.triggers.novelty import NoveltyTrigger
from device_agent.triggers.objects import ObjectTrigger
from device_agent.triggers.pace import Pacer
from device_agent.triggers.sound import SoundTrigger
from device_agent.triggers.zones import ZoneMap
from device_agent.view import Heard, View
from foveate.commands import Sentence
from foveate.messages import Embedding, Event, Priority, TriggerKind

_BACK_S = 1.0  # a clock that is set back by less is taken to stand still

Meaning = Callable[[int | None], Embedding | None]


class Trigger(Protocol):
    """What every trigger has; those that look have `see` besides."""

    pacer: Pacer

    def tick(self, time: float) -> list[Event]: ...

    def reset(self) -> None: ...


class Watcher(Trigger, Protocol):
    """A trigger that looks."""

    def see(self, view: View) -> list[Event]: ...


class Triggers:
    """Turns what a device perceives into events. Each opens once, closes once, and its revisions rise by one."""

    def __init__(
        self,
        sender: Sender,
        *,
        rules: TriggerRules,
        zones: tuple[Zone, ...],
        new_id: Callable[[], str],
        meaning: Meaning,
    ) -> None:
        """`meaning` gives the vector of a track's best picture, of the whole picture for None; only `see` asks for
        it, in the thread that calls it."""
        self._rules, self._meaning = rules, meaning
        self._lock = threading.Lock()
        self._view: View | None = None
        self._heard_at = self._seen_at = float("-inf")
        self._build(sender, ZoneMap(zones), new_id)
        self.open_events: tuple[Event, ...] = ()
        """What is known of each open event; replaced, never changed, so any thread may read it."""

    def _build(self, sender: Sender, zones: ZoneMap, new_id: Callable[[], str]) -> None:
        rules = self._rules

        def pacer(kind: TriggerKind, pace: Pace, most_open: int) -> Pacer:
            return Pacer(kind, pace, sender=sender, new_id=new_id, most_open=most_open)

        self._objects = ObjectTrigger(
            rules.object,
            pacer=pacer(TriggerKind.OBJECT, rules.object.pace, objects.MOST_OPEN),
            zones=zones,
            meaning=self._meaning,
        )
        self._motion = MotionTrigger(
            rules.motion,
            pacer=pacer(TriggerKind.MOTION, rules.motion.pace, 1),
            zones=zones,
            meaning=self._whole,
            explained=rules.object.on,
        )
        novelty = pacer(TriggerKind.NOVELTY, rules.novelty.pace, 1)
        self._novelty = NoveltyTrigger(rules.novelty, pacer=novelty, zones=zones)
        text = pacer(TriggerKind.TEXT_MATCH, rules.text.pace, MOST_SENTENCES)
        self._text = TextTrigger(rules.text, pacer=text, zones=zones)
        self._sound = SoundTrigger(rules.sound, pacer=pacer(TriggerKind.SOUND, rules.sound.pace, 2))
        self._manual = ManualTrigger(rules.manual, pacer=pacer(TriggerKind.MANUAL, rules.manual.pace, MOST_PRESSES))
        looking: list[tuple[bool, Watcher]] = [
            (rules.object.on, self._objects),
            (rules.motion.on, self._motion),
            (rules.novelty.on, self._novelty),
            (rules.text.on, self._text),
        ]
        self._looking: list[Watcher] = [trigger for on, trigger in looking if on]
        hearing: list[Trigger] = [self._sound] if rules.sound.on else []
        self._all: list[Trigger] = [*self._looking, *hearing, self._manual]

    def see(self, view: View) -> tuple[Event, ...]:
        """The revisions that this view gives rise to."""
        with self._lock:
            told = []
            if view.time < self._seen_at - _BACK_S:
                told += self._end([*self._looking, self._manual], self._seen_at)
            self._seen_at, self._view = view.time, view
            told += self._manual.tick(view.time, meaning=self._whole)
            told += [event for trigger in self._looking for event in trigger.see(view)]
            return self._published(told)

    def hear(self, heard: Heard) -> tuple[Event, ...]:
        """The revisions that this stretch of sound gives rise to."""
        if not self._rules.sound.on:
            return ()
        with self._lock:
            told = self._end([self._sound], self._heard_at) if heard.time < self._heard_at - _BACK_S else []
            self._heard_at = heard.time
            return self._published(told + self._sound.hear(heard))

    def press(self, *, time: float, about: str) -> tuple[Event, ...]:
        """The event of a press comes first; what it ends after it."""
        with self._lock:
            media = self._view.media_time if self._view is not None else None
            told = self._manual.press(time=time, about=about, media_time=media)
            self._publish()
            return tuple(told)

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        """Watches for these sentences and no others; the texts. InvalidInput when that is off, or too many."""
        with self._lock:
            return self._text.watch(sentences)

    def tick(self, time: float) -> tuple[Event, ...]:
        """What ends because time has passed without a view: for while nothing is decoded."""
        with self._lock:
            return self._published([event for trigger in self._all for event in trigger.tick(time)])

    def finish(self, time: float) -> tuple[Event, ...]:
        """Closes all that is open: the camera has ended or the agent stops."""
        with self._lock:
            return self._published(self._end(self._all, time))

    def protected(self, event: Event) -> tuple[float, float, Priority]:
        """The span of footage to keep for an event, pre- and post-roll included, and how dear it is."""
        pace = self._paces[event.trigger]
        return event.start - pace.pre_s, event.end + pace.post_s, event.priority

    @property
    def names(self) -> tuple[str, ...]:
        """The triggers that are on."""
        return tuple(trigger.pacer.kind.value for trigger in self._all)

    @property
    def held_back(self) -> int:
        """Events that were counted and not sent, for the rate limit."""
        return sum(trigger.pacer.held_back for trigger in self._all)

    @property
    def _paces(self) -> dict[TriggerKind, Pace]:
        rules = self._rules
        return {
            TriggerKind.OBJECT: rules.object.pace,
            TriggerKind.MOTION: rules.motion.pace,
            TriggerKind.NOVELTY: rules.novelty.pace,
            TriggerKind.TEXT_MATCH: rules.text.pace,
            TriggerKind.SOUND: rules.sound.pace,
            TriggerKind.MANUAL: rules.manual.pace,
        }

    def _whole(self) -> Embedding | None:
        """The vector of the whole picture: what the encoder has made of it already, or made for this."""
        known = self._view.resemblances if self._view is not None else ()
        return next((item.meaning for item in known if item.box is None), None) or self._meaning(None)

    def _end(self, triggers: Sequence[Trigger], time: float) -> list[Event]:
        told = []
        for trigger in triggers:
            told += trigger.pacer.finish(time)
            trigger.reset()
        return told

    def _published(self, told: list[Event]) -> tuple[Event, ...]:
        self._publish()
        over = {event.event_id for event in told if not event.open}
        return tuple(sorted(told, key=lambda event: event.event_id not in over))

    def _publish(self) -> None:
        self.open_events = tuple(event for trigger in self._all for event in trigger.pacer.open_events)
