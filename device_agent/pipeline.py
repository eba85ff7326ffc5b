"""The device's sentence: capture -> look -> trigger -> report, with recorder and outbox beside.

In: the parts, built by `build.py`. Out: two loops, one that records every packet and one that climbs the ladder with
it, whatever the network does; and what answers, heartbeats and commands are made of. It knows the order of things and
no detail of any. Read next: `capture.py`, `ladder.py`, `triggers/`, `report.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

from device_agent import funnel as rung
from device_agent import govern
from device_agent.capture import PATIENCE_S, Camera
from device_agent.clock import Clock
from device_agent.frames import Decoder, Frame, Inbox
from device_agent.funnel import Funnel
from device_agent.govern import Governor
from device_agent.hear import Ears
from device_agent.ladder import Ladder
from device_agent.look import Looker
from device_agent.outbox import Outbox
from device_agent.record import Recorder
from device_agent.report import Reporter, heartbeat
from device_agent.sender import Sender
from device_agent.triggers.all import Triggers
from device_agent.view import View
from foveate.commands import BackFill, BackFilled, DeviceState, Sentence
from foveate.messages import Event, Presence

P = ParamSpec("P")

_TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a device is made of."""

    sender: Sender
    camera: Camera
    recorder: Recorder
    inbox: Inbox
    decoder: Decoder
    ladder: Ladder
    looker: Looker
    ears: Ears
    triggers: Triggers
    outbox: Outbox
    reporter: Reporter
    governor: Governor
    funnel: Funnel
    clock: Clock
    masks: tuple[str, ...] = ()


class Pipeline:
    """One camera's eye, ear and memory; its members are what `answer.py` calls `Eyes` and `command.py` `Commanded`."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._clock = parts, parts.clock
        self._packet_at = self._clock.now()
        self._began, self._governed, self._ticked = time.monotonic(), 0.0, 0.0
        # Whoever finds something stores it before another thread finds what follows.
        self._order = threading.RLock()
        self.perceiving = True
        """Until the last event was closed and reported."""
        self.looked = threading.Event()
        """Set once the first frame was looked at."""

    def capture(self) -> None:
        """Thread: every packet is recorded, and handed on to be perceived."""
        parts = self._parts
        try:
            for packet in parts.camera.packets():
                self._packet_at = self._clock.now()
                parts.recorder.record(packet)
                parts.inbox.put(packet)
        finally:
            parts.inbox.close()
            parts.recorder.pause()

    def perceive(self) -> None:
        """Thread: looks, listens and reports what matters; closes what is open when the camera has ended."""
        parts = self._parts
        try:
            for packet, late in parts.inbox.packets():
                if packet is not None and packet.video:
                    for view in parts.ladder.climb(packet, late=late):
                        self._report(parts.triggers.see, view)
                        self.looked.set()
                elif packet is not None:
                    for heard in parts.ears.hear(packet):
                        self._report(parts.triggers.hear, heard)
                asleep = packet is None or not parts.looker.awake
                self._tick(self._clock.now() if packet is None else packet.time, asleep=asleep)
            with self._order:
                self._report(parts.triggers.finish, self._clock.now())
                self.perceiving = False
        finally:
            self.perceiving = False

    def _tick(self, moment: float, *, asleep: bool) -> None:
        """Ends what time alone ends, for asleep there may be no view for minutes; holds the budget.

        Awake, the next view tells the time: it may be of a picture before the one whose packet came last.
        """
        if asleep and not 0.0 <= moment - self._ticked < _TICK_S:
            self._ticked = moment
            self._report(self._parts.triggers.tick, moment)
        passed = time.monotonic()
        if passed - self._governed >= govern.EVERY_S:
            self._governed = passed
            self._parts.governor.hear(time=passed, cpu_seconds=time.process_time())

    def _report(self, find: Callable[P, tuple[Event, ...]], *given: P.args, **named: P.kwargs) -> tuple[Event, ...]:
        """Finds events and stores them, in one piece: revisions of one event come from several threads."""
        parts = self._parts
        with self._order:
            events = find(*given, **named)
            for event in events:
                with parts.funnel.spending(rung.EVENTS):
                    parts.reporter.put(event)
                    parts.recorder.protect(*parts.triggers.protected(event))
                parts.funnel.count(rung.EVENTS, seen=1, passed=int(event.revision == 1))
        return events

    def now(self) -> float:
        """The device's time."""
        return self._clock.now()

    @property
    def newest(self) -> Frame | None:
        """The newest frame; decoded now if nobody wanted to see it before. Blocking."""
        return self._parts.decoder.newest()

    @property
    def view(self) -> View | None:
        """The last view."""
        return self._parts.looker.view

    @property
    def open_events(self) -> tuple[Event, ...]:
        """Events that go on."""
        return self._parts.triggers.open_events

    @property
    def capturing(self) -> bool:
        """Whether packets flow; a camera that hangs is found out here even while its driver blocks."""
        return self._parts.camera.condition.capturing and self._clock.now() - self._packet_at < PATIENCE_S

    @property
    def trouble(self) -> str:
        """One sentence when something is wrong, the camera's first."""
        parts = self._parts
        condition = parts.camera.condition
        if condition.capturing and not self.capturing:
            return f"The camera has sent nothing for {PATIENCE_S:.0f} s; check it."
        return condition.trouble or parts.recorder.trouble or parts.reporter.trouble or parts.recorder.alarm

    def presence(self) -> Presence:
        """The heartbeat of this moment."""
        return heartbeat(
            self._parts.sender,
            time=self._clock.now(),
            capturing=self.capturing,
            trouble=self.trouble,
            depth=self._parts.reporter.depth,
            frames=self._parts.funnel.rungs[0].seen,
        )

    def state(self) -> DeviceState:
        """How the device is; nothing of what it saw."""
        parts = self._parts
        return DeviceState(
            device_id=parts.sender.device_id,
            time=self._clock.now(),
            uptime_s=time.monotonic() - self._began,
            rungs=parts.funnel.rungs,
            cpu_seconds=time.process_time(),
            budget_share=parts.governor.limit,
            used_share=parts.governor.used,
            given_up=(*parts.governor.given_up, *self._left_out()),
            kept=parts.recorder.kept(),
            gaps=parts.recorder.gaps(),
            outbox_depth=parts.reporter.depth,
            sequence=parts.outbox.sequence,
            triggers=parts.triggers.names,
            masks=parts.masks,
            trouble=self.trouble,
        )

    def _left_out(self) -> tuple[str, ...]:
        """What was too much since the start, one sentence for each kind."""
        parts = self._parts
        counted = (
            (parts.triggers.held_back, "events were counted and not sent, for more than `most_per_minute` began"),
            (parts.ladder.skipped, "pictures were not looked at, for newer ones waited"),
            (parts.inbox.dropped, "pictures were not even weighed, for far too many waited"),
        )
        return tuple(f"{number:,} {words}" for number, words in counted if number)

    def press(self, about: str) -> str:
        """Makes a manual event, from any thread; its id."""
        triggers = self._parts.triggers
        with self._order:
            told = self._report(triggers.press, time=self._clock.now(), about=about)
            if not self.perceiving:  # nobody is left to end it
                self._report(triggers.finish, self._clock.now())
        return told[0].event_id

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        """Watches for these sentences and no others; their texts."""
        return self._parts.triggers.watch(sentences)

    def back_fill(self, order: BackFill) -> BackFilled:
        """Sends event revisions again, as far as they are held."""
        return self._parts.reporter.back_fill(order)
