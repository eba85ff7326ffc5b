"""5, receive: what the site's devices send over the LOCAL account, checked before anything else sees it.

In: events from the stream EVENTS, at least once, and heartbeats. Out: validated events handed to `remember.py`,
which is next; messages that nobody can read go to the dead letters and the rest goes on.
It knows neither residency nor questions.
"""

from __future__ import annotations

import asyncio

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from edge_node.backfill import BackFills
from edge_node.devices import Devices
from edge_node.remember import Remember
from foveate import subjects
from foveate.bus import Bus
from foveate.errors import MalformedMessage
from foveate.messages import Place
from foveate.v1 import event_pb2 as pb
from foveate.wire import event_of, parse, presence_of

STREAM_BYTES = 1024**3
_DUPLICATES_S = 120.0


def events_stream(site: str) -> StreamConfig:
    """The stream that keeps the devices' events on the edge's disk; full, it refuses the new, so none is lost."""
    return StreamConfig(
        name=subjects.EVENTS_STREAM,
        subjects=[subjects.events(site)],
        retention=RetentionPolicy.LIMITS,
        max_bytes=STREAM_BYTES,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        duplicate_window=_DUPLICATES_S,
    )


class Receive:
    """Takes in what devices send until it is told to stop."""

    def __init__(self, *, local: Bus, here: Place, remember: Remember, devices: Devices, back_fills: BackFills) -> None:
        self._local = local
        self._here = here
        self._remember = remember
        self._devices = devices
        self._back_fills = back_fills

    async def listen(self) -> None:
        """Hears heartbeats for as long as the connection lives."""
        await self._local.listen(subjects.presences(self._here.site_id), self._presence)

    async def run(self, stop: asyncio.Event) -> None:
        """Consumes events until `stop` is set; survives a lost server and a lost database."""
        await self._local.consume(
            stream=subjects.EVENTS_STREAM,
            durable=subjects.EVENTS_DURABLE,
            handler=self.event,
            dead_letters=self._remember.dead_letter,
            stop=stop,
        )

    async def event(self, payload: bytes, subject: str) -> None:
        """One event as it came off the wire; MalformedMessage when it is none or speaks for another device or place."""
        event = event_of(parse(pb.Event, payload))
        for field, said, true in (
            ("site_id", event.site_id, self._here.site_id),
            ("region", event.region, self._here.region),
        ):
            if said != true:
                raise MalformedMessage(
                    f"An event of {event.device_id} says {field} {said!r}, but this is {true!r}; correct the device.",
                    field=field,
                )
        subjects.check_speaker(subject, site=event.site_id, device=event.device_id)
        subjects.checked_name(event.device_id, what="device")
        await self._remember.event(event)
        self._back_fills.arrive(event.device_id, event.sequence)

    async def _presence(self, payload: bytes, subject: str) -> None:
        presence = presence_of(parse(pb.Presence, payload))
        subjects.check_speaker(subject, site=presence.site_id, device=presence.device_id)
        self._devices.hear(presence)
        self._back_fills.hear(presence)
