"""Back-fill: after a gap the edge asks a device for the revisions that it missed, until none is missing.

In: heartbeats, and the numbers of revisions as they arrive. Out: requests to devices, which send again what they
still hold through the stream EVENTS, and say which numbers are gone for good. One request at a time for each device,
and more and more slowly to one that does not deliver. It stores no event. Next: `sequences.py`, which knows the gaps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_node.sequences import Sequences, size, wanted
from foveate import subjects
from foveate.bus import Bus
from foveate.commands import BackFill, BackFilled
from foveate.errors import FoveateError, MalformedMessage, TryAgain
from foveate.messages import Presence
from foveate.v1 import device_pb2 as pb
from foveate.wire import command_reply_of, device_command_to, parse

logger = logging.getLogger(__name__)

SILENT_S = 10.0
"""A device that was not heard of for so long may have sent what nobody kept."""
AGAIN_S = 900.0
"""How often each device is asked although nothing seems to be missing: some 200 bytes."""
_PATIENCE_S = 60.0  # for a device whose outbox never empties, so that gaps may yet close by themselves
_QUIET_S = 5.0
_TICK_S = 0.5
_AT_ONCE = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _MOST_TRIES = 2.0, 300.0, 8


@dataclass(slots=True)
class _Link:
    """What is known of one device's link; times are monotonic seconds."""

    heard: float
    due: float = 0.0
    depth: int = 0
    top: int = 0
    gap_since: float | None = None
    tries: int = 0
    busy: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class BackFills:
    """Asks the site's devices for what is missing."""

    def __init__(
        self, *, local: Bus, site: str, sequences: Sequences, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._local, self._site, self._sequences, self._now = local, site, sequences, now
        self._links: dict[str, _Link] = {}
        self.counts: Counter[str] = Counter()
        """Requests, revisions sent again and numbers found gone since the start."""

    def hear(self, presence: Presence) -> None:
        """Takes a heartbeat in: a device that is new here, or was silent, is asked at once."""
        now = self._now()
        link = self._links.get(presence.device_id)
        if link is None or now - link.heard > SILENT_S:
            link = self._links.setdefault(presence.device_id, _Link(now))
            link.due, link.tries = now, 0
        link.heard, link.depth = now, presence.outbox_depth
        if link.gap_since is not None and not link.busy and (not link.depth or now - link.gap_since > _PATIENCE_S):
            # Priority goes first, so numbers jump while an outbox empties; what is missing afterwards is missing.
            link.gap_since, link.due = None, min(link.due, now + _TICK_S)

    def arrive(self, device_id: str, sequence: int) -> None:
        """Takes note of a revision that is remembered now."""
        link = self._links.get(device_id)
        if link is None or not sequence:
            return
        if link.top and sequence > link.top + 1 and link.gap_since is None:
            link.gap_since = self._now()
        link.top = max(link.top, sequence)
        link.arrived.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Asks whoever is due until `stop` is set."""
        room = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as asking:
            while not stop.is_set():
                now = self._now()
                for device_id, link in self._links.items():
                    if not link.busy and link.due <= now and now - link.heard <= SILENT_S:
                        link.busy = True
                        asking.create_task(self._serve(device_id, link, room, stop))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _TICK_S)

    async def _serve(self, device_id: str, link: _Link, room: asyncio.Semaphore, stop: asyncio.Event) -> None:
        complete = False
        began = self._now()
        try:
            async with room:
                complete = await self._fill(device_id, link, stop)
        except TryAgain as error:
            logger.info("no back-fill from %s for now: %s", device_id, error)
        except FoveateError as error:
            logger.warning("no back-fill from %s: %s", device_id, error)
            link.tries = _MOST_TRIES
        finally:
            link.busy = False
            if link.due <= began:  # else it was heard anew meanwhile
                self._plan(link, complete=complete)

    def _plan(self, link: _Link, *, complete: bool) -> None:
        link.tries = 0 if complete else link.tries + 1
        if complete or link.tries >= _MOST_TRIES:
            link.due = self._now() + AGAIN_S
        else:
            link.due = self._now() + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (link.tries - 1))

    async def _fill(self, device_id: str, link: _Link, stop: asyncio.Event) -> bool:
        """Asks again and again while that brings something; whether nothing is missing any more."""
        while not stop.is_set():
            await self._caught_up(stop)
            link.gap_since = None  # what is noted from here on may not be in what is read now
            before = await self._sequences.had(device_id)
            order = wanted(before)
            filled = await self._ask(device_id, order)
            await self._sequences.settle(device_id, filled.gone)
            if not filled.resent and not filled.gone:
                link.top = max(link.top, order.after_sequence)
                return True
            after = await self._arrivals(device_id, link, size(before) + len(filled.gone) + filled.resent, stop)
            if after <= size(before):
                return False
        return False

    async def _ask(self, device_id: str, order: BackFill) -> BackFilled:
        request = device_command_to(order).SerializeToString()
        subject = subjects.device_command(self._site, device_id)
        reply = command_reply_of(parse(pb.DeviceCommandReply, await self._local.request(subject, request, timeout=5)))
        if not isinstance(reply, BackFilled):
            raise MalformedMessage(f"{device_id} replied to another command than it was given; update it.")
        fields = {"device": device_id, "resent": reply.resent, "gone": len(reply.gone)}
        logger.info("asked for what is missing after %d", order.after_sequence, extra=fields)
        self.counts.update(requests=1, resent=reply.resent, gone=len(reply.gone))
        return reply

    async def _arrivals(self, device_id: str, link: _Link, enough: int, stop: asyncio.Event) -> int:
        """How many numbers are settled once as many as `enough` are, or nothing has arrived for a while."""
        while True:
            link.arrived.clear()
            number = size(await self._sequences.had(device_id))
            if number >= enough or stop.is_set():
                return number
            try:
                await asyncio.wait_for(link.arrived.wait(), _QUIET_S)
            except TimeoutError:
                return size(await self._sequences.had(device_id))
            await asyncio.sleep(0.1)  # so that a burst is counted once and not a thousand times

    async def _caught_up(self, stop: asyncio.Event) -> None:
        """Waits for the stream's own backlog: what lies there is not missing."""
        end = self._now() + _PATIENCE_S
        while self._now() < end and not stop.is_set():
            if not await self._local.unhandled(stream=subjects.EVENTS_STREAM, durable=subjects.EVENTS_DURABLE):
                return
            await asyncio.sleep(_TICK_S)
