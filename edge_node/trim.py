"""Keeps the site's streams from filling up: what was handed on safely need not be kept twice.

In: what `receive.py` acknowledged, and the cloud's word on what it ingested. Out: shorter streams EVENTS and OUT.
Both refuse the new when full, so that nothing is lost; untrimmed they would one day refuse everything.
It knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from foveate import subjects
from foveate.bus import Bus
from foveate.errors import FoveateError, MalformedMessage

logger = logging.getLogger(__name__)

EVERY_S = 30.0


class Trim:
    """Trims EVENTS up to what is remembered, and OUT up to what the cloud says it has."""

    def __init__(self, *, local: Bus, bridged: Bus, site: str) -> None:
        self._local = local
        self._bridged = bridged
        self._site = site

    async def listen(self) -> None:
        """Hears the cloud for as long as the connection lives."""
        await self._bridged.listen(subjects.site_ingested(self._site), self.ingested)

    async def run(self, stop: asyncio.Event) -> None:
        """Trims EVENTS twice a minute until `stop` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)
            try:
                await self.remembered()
            except FoveateError as error:
                logger.warning("EVENTS was not trimmed: %s", error)

    async def remembered(self) -> None:
        """Drops from EVENTS what is in the database."""
        done = await self._local.acknowledged(stream=subjects.EVENTS_STREAM, durable=subjects.EVENTS_DURABLE)
        await self._local.forget(stream=subjects.EVENTS_STREAM, up_to=done)

    async def ingested(self, payload: bytes, subject: str) -> None:
        """Drops from OUT what the cloud has, told as the number and the id of the last message.

        The id is compared, since numbers start anew when a site's disk was replaced.
        """
        number, _, message_id = payload.decode("ascii", "replace").partition(" ")
        if not number.isdecimal() or not message_id:
            raise MalformedMessage("The cloud's word on what it ingested is a number and a message's id.")
        if await self._bridged.message_id(stream=subjects.OUT_STREAM, number=int(number)) == message_id:
            await self._bridged.forget(stream=subjects.OUT_STREAM, up_to=int(number))
