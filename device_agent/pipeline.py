"""The device's sentence: capture -> look -> trigger -> report, with recorder and outbox beside.

In: the parts, built by `agent.py`. Out: two loops, one that records every packet and one that climbs the ladder with
it, whatever the network does; and what answers and heartbeats are made of. It knows the order of things and no detail
of any. Read next: `capture.py`, `ladder.py`, `trigger.py`, `report.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from device_agent import funnel as rung
from device_agent.capture import PATIENCE_S, Camera
from device_agent.clock import Clock
from device_agent.frames import Decoder, Frame, Inbox
from device_agent.funnel import Funnel
from device_agent.ladder import Ladder
from device_agent.look import Looker
from device_agent.record import Recorder
from device_agent.report import Reporter, heartbeat
from device_agent.sender import Sender
from device_agent.trigger import Trigger
from device_agent.view import View
from foveate.messages import Event, Presence


class Pipeline:
    """One camera's eye and memory; its members are what `answer.py` calls `Eyes`."""

    def __init__(
        self,
        *,
        camera: Camera,
        recorder: Recorder,
        inbox: Inbox,
        decoder: Decoder,
        looker: Looker,
        ladder: Ladder,
        funnel: Funnel,
        trigger: Trigger,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._camera, self._recorder, self._inbox, self._clock = camera, recorder, inbox, clock
        self._decoder, self._looker, self._ladder, self._funnel = decoder, looker, ladder, funnel
        self._trigger, self._reporter = trigger, reporter
        self._packet_at = clock.now()
        self.perceiving = True
        """Until the last event was closed and reported."""
        self.looked = threading.Event()
        """Set once the first frame was looked at."""

    def capture(self) -> None:
        """Thread: every packet is recorded; pictures go on to be looked at."""
        try:
            for packet in self._camera.packets():
                self._packet_at = self._clock.now()
                self._recorder.record(packet)
                if packet.video:
                    self._inbox.put(packet)
        finally:
            self._inbox.close()
            self._recorder.pause()

    def perceive(self) -> None:
        """Thread: looks at frames and reports what matters; closes what is open when the camera has ended."""
        try:
            for packet, late in self._inbox.packets():
                for view in self._ladder.climb(packet, late=late):
                    self._report(self._trigger.update(view))
                    self.looked.set()
            self._report(self._trigger.finish(self._clock.now()))
        finally:
            self.perceiving = False

    def _report(self, events: Iterable[Event]) -> None:
        for event in events:
            with self._funnel.spending(rung.EVENTS):
                self._reporter.put(event)
            self._funnel.count(rung.EVENTS, seen=1, passed=int(event.revision == 1))

    def now(self) -> float:
        """The device's time."""
        return self._clock.now()

    @property
    def newest(self) -> Frame | None:
        """The newest frame; decoded now if nobody wanted to see it before. Blocking."""
        return self._decoder.newest()

    @property
    def view(self) -> View | None:
        """The last view."""
        return self._looker.view

    @property
    def open_events(self) -> tuple[Event, ...]:
        """Events that go on."""
        return self._trigger.open_events

    @property
    def capturing(self) -> bool:
        """Whether packets flow; a camera that hangs is found out here even while its driver blocks."""
        return self._camera.condition.capturing and self._clock.now() - self._packet_at < PATIENCE_S

    @property
    def trouble(self) -> str:
        """One sentence when something is wrong, the camera's first."""
        condition = self._camera.condition
        if condition.capturing and not self.capturing:
            return f"The camera has sent nothing for {PATIENCE_S:.0f} s; check it."
        return condition.trouble or self._recorder.trouble or self._reporter.trouble

    def presence(self, sender: Sender) -> Presence:
        """The heartbeat of this moment."""
        return heartbeat(
            sender,
            time=self._clock.now(),
            capturing=self.capturing,
            trouble=self.trouble,
            depth=self._reporter.depth,
            frames=self._funnel.rungs[0].seen,
        )
