"""The hub's stream INGEST, which sources the stream OUT of every registered site.

In: sites of the registry, which of them are heard of right now. Out: a stream whose sources are those sites and flow.
Nothing is published into it from outside. Knows nothing of what the messages mean: `ingest.py` is next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, ExternalStream, RetentionPolicy, StorageType, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

from foveate import subjects
from foveate.bus import Bus
from foveate.errors import FoveateError

logger = logging.getLogger(__name__)

MAX_BYTES = 4 * 1024**3
LOOK_SECONDS = 1.0
_LOOKS_BEFORE_TRIM = 30
# A source that flows is heard of every second; one that waits to be tried again is not.
_QUIET_SECONDS = 4.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 2.0, 60.0
_INFO = f"$JS.API.STREAM.INFO.{subjects.INGEST_STREAM}"


def ingest_config(sites: Iterable[str]) -> StreamConfig:
    """INGEST with these sites as its sources: on disk, and full rather than forgetful."""
    return StreamConfig(
        name=subjects.INGEST_STREAM,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=MAX_BYTES,
        sources=[StreamSource(name=subjects.OUT_STREAM, external=ExternalStream(api=_api(s))) for s in sorted(sites)],
    )


def quiet_sites(info: bytes, *, sites: Iterable[str]) -> set[str]:
    """Those of the sites whose source did not move lately, from JetStream's answer about the stream (JSON).

    `active` is nanoseconds since the source was heard of, -1 for never.
    """
    active = {
        source.get("external", {}).get("api"): source.get("active", -1)
        for source in json.loads(info).get("sources") or ()
    }
    return {site for site in sites if not 0 <= active.get(_api(site), 0) <= _QUIET_SECONDS * 1e9}


def ingested_word(headers: Mapping[str, str]) -> bytes:
    """What a site is told of the last message that came from it: its number in the site's OUT, and its id.

    `Nats-Stream-Source` is the origin's stream, the number there, and filters; empty for a message without.
    """
    origin = headers.get("Nats-Stream-Source", "").split(" ")
    message_id = headers.get("Nats-Msg-Id", "")
    return f"{origin[1]} {message_id}".encode() if len(origin) > 1 and message_id else b""


def _api(site: str) -> str:
    return f"$JS.{subjects.domain(site)}.API"


class Sources:
    """Keeps the sources of INGEST complete, moving and trimmed."""

    def __init__(
        self,
        bus: Bus,
        *,
        sites: Callable[[], Awaitable[Iterable[str]]],
        online: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._registered = sites
        self._online = online
        self._clock = clock
        # When a site's source may be restarted next, and how long to wait after that: a slow link needs its time.
        self._again: dict[str, tuple[float, float]] = {}
        self._sites: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()
        self.ready = asyncio.Event()
        """Set once the stream exists, which it does from the first site on."""

    async def apply(self) -> None:
        """Makes every registered site a source; TryAgain when the registry or JetStream does not answer."""
        async with self._lock:
            registered = frozenset(await self._registered())
            if registered != self._sites:
                await self._bus.ensure_stream(ingest_config(registered))
                soon = self._clock() + _FIRST_WAIT_SECONDS
                self._again.update(dict.fromkeys(registered - self._sites, (soon, _FIRST_WAIT_SECONDS)))
                self._sites = registered
                self.ready.set()

    async def restart_quiet(self) -> None:
        """Makes the hub ask again at once each site that is there while its source does not flow.

        By itself the server waits up to 40 s after a site or the hub came back (measured); taking the source out and
        in again takes 0.2 s, and it goes on after the last message that it has.
        """
        async with self._lock:
            info = await self._bus.request(_INFO, b"", timeout=5.0)
            quiet = quiet_sites(info, sites=self._sites)
            for site in self._sites - quiet:
                self._again.pop(site, None)
            if stuck := {site for site in quiet if self._online(site) and self._due(site)}:
                logger.info("sourcing again from %s", ", ".join(sorted(stuck)))
                await self._bus.ensure_stream(ingest_config(self._sites - stuck))
                await self._bus.ensure_stream(ingest_config(self._sites))

    def _due(self, site: str) -> bool:
        now = self._clock()
        at, wait = self._again.get(site, (now, _FIRST_WAIT_SECONDS))
        if now < at:
            return False
        self._again[site] = (now + wait, min(2 * wait, _LONGEST_WAIT_SECONDS))
        return True

    async def trim(self) -> None:
        """Drops what was ingested, but the last message of each site: from it the hub knows where to go on.

        Without it a stream that is full rather than forgetful would one day take no more.
        """
        ingested = await self._bus.acknowledged(stream=subjects.INGEST_STREAM, durable=subjects.INGEST_DURABLE)
        for site in self._sites:
            subject = subjects.out_all(site)
            try:
                last = await self._bus.jetstream.get_last_msg(subjects.INGEST_STREAM, subject)
            except NotFoundError:
                continue
            number = last.seq or 0
            await self._bus.forget(stream=subjects.INGEST_STREAM, up_to=min(ingested, number - 1), subject=subject)
            if number <= ingested and (word := ingested_word(last.headers or {})):
                await self._bus.send(subjects.site_ingested(site), word)

    async def keep(self, stop: asyncio.Event) -> None:
        """Looks after the stream until `stop` is set; a hub or a database that is away is waited for."""
        looks = 0
        while not stop.is_set():
            looks += 1
            try:
                await self.apply()
                if self._sites:
                    await self.restart_quiet()
                    if looks % _LOOKS_BEFORE_TRIM == 0:
                        await self.trim()
            except (FoveateError, NatsError, TimeoutError) as error:
                logger.warning("the sources were not looked after: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
