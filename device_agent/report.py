"""Step 4, report: events go to the outbox as residency lets them, and from there to the site's stream.

In: `Event` revisions from the looking thread. Out: acknowledged messages on the site's NATS stream, and a heartbeat.
A revision leaves the outbox only after the stream confirmed it. It does not know what the edge makes of events.
Next: `edge_node/receive.py`, over NATS.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from device_agent.clock import Clock
from device_agent.outbox import Outbox
from device_agent.sender import Sender
from foveate import subjects
from foveate.bus import Bus
from foveate.commands import BackFill, BackFilled
from foveate.errors import MalformedMessage, Never, OutOfSpace, TryAgain
from foveate.messages import Event, Place, Presence, Representation
from foveate.residency import Origin, ResidencyPolicy, decide
from foveate.v1 import event_pb2
from foveate.wire import event_of, event_to, parse, presence_to

logger = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
_BATCH = 64
_IDLE_S = 0.5
_HELD = 256  # events kept in memory while the disk is full; each only in its newest revision
_BROKEN_S = 5.0
_TRIES = 3


class Release:
    """Residency at the sender: what of an event may reach the site's edge."""

    def __init__(self, policy: ResidencyPolicy, sender: Sender) -> None:
        self._policy = policy
        self._origin = Origin(sender.region, sender.site_id, sender.device_id, sender.labels)
        self._edge = Place(sender.region, sender.site_id)

    def released(self, event: Event) -> Event | None:
        """The event without what must stay here; None when not even its facts may reach the site."""
        if not self._allowed(Representation.FACTS):
            return None
        if event.embedding is not None and not self._allowed(Representation.EMBEDDING):
            return replace(event, embedding=None)
        return event

    def payload(self, stored: bytes) -> bytes | None:
        """A stored revision as it may leave now; the policy may have become stricter since. MalformedMessage."""
        if self._allowed(Representation.FACTS) and self._allowed(Representation.EMBEDDING):
            return stored
        event = self.released(event_of(parse(event_pb2.Event, stored)))
        return None if event is None else event_to(event).SerializeToString()

    def _allowed(self, representation: Representation) -> bool:
        verdict = decide(self._policy, origin=self._origin, representation=representation, destination=self._edge)
        return verdict.allowed


class Reporter:
    """Puts events into the outbox from any thread and empties it from the event loop."""

    def __init__(self, outbox: Outbox, *, sender: Sender, release: Release, clock: Clock) -> None:
        self._outbox, self._sender, self._release, self._clock = outbox, sender, release, clock
        self._held: dict[str, Event] = {}
        self._retry_at = 0.0
        self._failed: Counter[int] = Counter()
        self._full = self._refused = ""
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def trouble(self) -> str:
        """One sentence while events cannot be stored, had to be made smaller or were refused."""
        return self._full or self._outbox.trouble or self._refused

    @property
    def depth(self) -> int:
        """How many revisions wait."""
        return self._outbox.depth + len(self._held)

    @property
    def sequence(self) -> int:
        """The number of the last revision stored."""
        return self._outbox.sequence

    def close_left_open(self) -> None:
        """Closes the events of a process that was killed while they were open."""
        for event in self._outbox.left_open():
            self.put(replace(event, open=False, revision=event.revision + 1))

    def put(self, event: Event) -> None:
        """Stores what may leave of a revision. Blocking (a disk write); never raises for want of space.

        A revision that the edge could not read is not stored; `trouble` says so.
        """
        allowed = self._release.released(event)
        if allowed is None:
            return
        allowed = _sound(replace(allowed, report_time=self._clock.now()))
        if not self._readable(allowed):
            return
        with self._lock:
            self._held.pop(event.event_id, None)
            self._held[event.event_id] = allowed
            self._store_held()
        if event.revision == 1 or not event.open:
            fields = {"event_id": event.event_id, "revision": event.revision, "event_open": event.open}
            logger.info("event %s", "opened" if event.open else "closed", extra=fields)
        self._wake_up()

    def back_fill(self, order: BackFill) -> BackFilled:
        """Sends again what the edge says it has not got, as far as it is still held. Blocking."""
        filled = self._outbox.back_fill(order.after_sequence, order.missing)
        self._wake_up()
        return filled

    def retry(self) -> None:
        """Tries again to store what found no room. Blocking."""
        with self._lock:
            self._store_held()

    async def run(self, bus: Bus, *, stop: asyncio.Event) -> None:
        """Sends what waits until `stop` is set; a lost link only makes it wait, and nothing ends it."""
        self._loop = asyncio.get_running_loop()
        while not stop.is_set():
            self._wake.clear()
            try:
                if self._held and self._clock.now() >= self._retry_at:
                    await asyncio.to_thread(self.retry)
                if not await self.drain(bus):
                    await _first(self._wake, stop, timeout=_IDLE_S)
            except TryAgain as error:
                logger.info("reporting waits: %s", error)
                await _first(stop, timeout=error.retry_after)
            except Exception:
                # A bug here must not silence a device that goes on seeing.
                logger.exception("reporting broke and goes on")
                await _first(stop, timeout=_BROKEN_S)

    async def drain(self, bus: Bus) -> int:
        """Sends one batch; returns how many the stream confirmed. Raises TryAgain with the rest still stored."""
        batch = await asyncio.to_thread(self._outbox.pending, _BATCH)
        confirmed: list[int] = []
        try:
            for item in batch:
                subject = subjects.event(self._sender.site_id, self._sender.device_id)
                try:
                    if (payload := self._release.payload(item.payload)) is not None:
                        await bus.store(subject, payload, message_id=item.message_id)
                except TryAgain:
                    raise
                except Exception as error:
                    # What no stream will ever take must not hold up the rest.
                    if not isinstance(error, Never) and self._tries(item.number) < _TRIES:
                        raise
                    self._refuse(item.message_id, error)
                confirmed.append(item.number)
        finally:
            if confirmed:
                await asyncio.to_thread(self._outbox.done, confirmed)
        return len(confirmed)

    def _wake_up(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def _store_held(self) -> None:
        try:
            # The greater ones may find room where the others found none.
            for event in sorted(self._held.values(), key=lambda event: -event.priority):
                self._outbox.put(event)
                del self._held[event.event_id]
            self._full = ""
        except OutOfSpace as error:
            if not self._full:
                logger.warning("%s", error)
            self._full, self._retry_at = error.message, self._clock.now() + error.retry_after
            while len(self._held) > _HELD:
                lost = self._held.pop(min(self._held, key=lambda key: self._held[key].priority))
                logger.error("an event found no room on disk or in memory", extra={"event_id": lost.event_id})

    def _readable(self, event: Event) -> bool:
        """Whether the edge will be able to read it: at the edge it would end as a letter that nobody can deliver."""
        try:
            event_of(parse(event_pb2.Event, event_to(event).SerializeToString()))
        except (MalformedMessage, ValueError, TypeError, OverflowError) as error:
            self._refuse(f"{event.event_id}.{event.revision}", error)
            return False
        return True

    def _refuse(self, message_id: str, error: Exception) -> None:
        logger.error("event %s cannot be reported: %s", message_id, error)
        self._refused = f"Event {message_id} could not be reported: {error}"

    def _tries(self, number: int) -> int:
        self._failed[number] += 1
        return self._failed[number]


def _sound(event: Event) -> Event:
    """The event with no span that ends before it starts, as a clock that was set back leaves it."""
    tracks = tuple(replace(track, end=max(track.start, track.end)) for track in event.tracks)
    return replace(event, end=max(event.start, event.end), tracks=tracks)


async def beat(bus: Bus, *, sender: Sender, presence: Callable[[], Presence], stop: asyncio.Event) -> None:
    """A heartbeat every HEARTBEAT_S until `stop` is set; one that is lost is replaced by the next."""
    subject = subjects.presence(sender.site_id, sender.device_id)
    while not stop.is_set():
        try:
            await bus.send(subject, presence_to(presence()).SerializeToString())
        except TryAgain as error:
            logger.debug("no heartbeat: %s", error)
        await _first(stop, timeout=HEARTBEAT_S)


def heartbeat(sender: Sender, *, time: float, capturing: bool, trouble: str, depth: int, frames: int) -> Presence:
    """The heartbeat of this device."""
    return Presence(
        sender.device_id,
        sender.site_id,
        time,
        capturing,
        trouble=trouble,
        outbox_depth=depth,
        frames=frames,
        version=_version(),
    )


@cache
def _version() -> str:
    try:
        return version("foveate")
    except PackageNotFoundError:
        return "from source"


async def _first(*events: asyncio.Event, timeout: float) -> None:
    """Returns when one of the events is set or the seconds are over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
