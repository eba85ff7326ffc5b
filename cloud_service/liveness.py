"""Who is there right now: the last heartbeat of each site and device.

In: heartbeats that sites let out. Out: devices and sites with their liveness filled in; every few seconds the
registry gets what is new, so that a restart remembers when a device was last heard of.
Time is when this service heard, since a device's clock is not trusted. Next: `serve.py`, which shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from cloud_service.registry import Registry
from foveate import subjects
from foveate.errors import FoveateError
from foveate.messages import Device, Presence, Site
from foveate.v1 import event_pb2 as pb
from foveate.wire import parse, presence_of

logger = logging.getLogger(__name__)

ONLINE_SECONDS = 6.0  # three missed heartbeats
FLUSH_SECONDS = 5.0
# More names than any fleet has: past it, heartbeats of names that are new wait for the next flush to forget others.
_MOST = 100_000
_LONGEST_TROUBLE = 500

_Key = tuple[str, str]


class Liveness:
    """Heartbeats in memory, by (site, device); an empty device is the site's own edge node."""

    def __init__(self, registry: Registry, *, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock
        self._heard: dict[_Key, tuple[float, Presence]] = {}
        self._unsaved: set[_Key] = set()

    async def hear(self, payload: bytes, subject: str) -> None:
        """Takes in one heartbeat as it came off the wire; MalformedMessage when it is none or another site's."""
        presence = _checked(presence_of(parse(pb.Presence, payload)))
        subjects.check_speaker(subject, site=presence.site_id)
        key = (presence.site_id, presence.device_id)
        if key in self._heard or len(self._heard) < _MOST:
            self._heard[key] = (self._clock(), presence)
            self._unsaved.add(key)

    def online(self, site_id: str, device_id: str = "") -> bool:
        """Whether it was heard of lately."""
        heard = self._heard.get((site_id, device_id))
        return heard is not None and self._clock() - heard[0] <= ONLINE_SECONDS

    def of_device(self, device: Device, *, events: int) -> Device:
        """The device as it is right now, with how many of its events are remembered."""
        heard = self._heard.get((device.site_id, device.device_id))
        if heard is None:
            return replace(device, online=False, capturing=False, events=events)
        seen, presence = heard
        online = self.online(device.site_id, device.device_id)
        return replace(
            device,
            online=online,
            seen=seen,
            trouble=presence.trouble,
            # A device that fell silent may film or not: nobody knows, so nobody says that it does.
            capturing=online and presence.capturing,
            outbox_depth=presence.outbox_depth,
            events=events,
        )

    def of_site(self, site: Site) -> Site:
        """The site as it is right now."""
        heard = self._heard.get((site.site_id, ""))
        return site if heard is None else replace(site, online=self.online(site.site_id), seen=heard[0])

    async def flush(self) -> None:
        """Saves what is new; forgets whoever is not registered, so that invented names take no memory."""
        batch = {key: self._heard[key] for key in self._unsaved}
        if not batch:
            return
        self._unsaved.clear()
        try:
            known = await self._registry.save(batch)
        except FoveateError:
            self._unsaved.update(batch)
            raise
        for key in batch.keys() - known:
            self._heard.pop(key, None)
            self._unsaved.discard(key)

    async def keep(self, stop: asyncio.Event) -> None:
        """Flushes now and then until `stop` is set, and once more at the end; a database that is away is waited for."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
            try:
                await self.flush()
            except FoveateError as error:
                logger.warning("heartbeats were not saved: %s", error)


def _checked(presence: Presence) -> Presence:
    """The heartbeat with names that may be names and a sentence that a database and a screen can hold."""
    subjects.checked_name(presence.site_id, what="site")
    if presence.device_id:
        subjects.checked_name(presence.device_id, what="device")
    trouble = "".join(letter for letter in presence.trouble[:_LONGEST_TROUBLE] if letter.isprintable())
    return replace(presence, trouble=trouble)
