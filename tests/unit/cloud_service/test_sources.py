"""Which sites flow, and when a source is restarted, without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nats.js.api import DiscardPolicy, StorageType

from cloud_service.sources import Sources, ingest_config, quiet_sites


def info(**active: int) -> bytes:
    """JetStream's answer, nanoseconds since each source was heard of."""
    sources = [{"name": "OUT", "external": {"api": f"$JS.site-{s}.API"}, "active": a} for s, a in active.items()]
    return json.dumps({"sources": sources}).encode()


class Hub:
    """Answers as JetStream does and keeps what it was told."""

    def __init__(self) -> None:
        self.configured: list[list[str]] = []
        self.info = b"{}"

    async def ensure_stream(self, config: Any) -> None:
        self.configured.append([source.external.api for source in config.sources])

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:
        assert subject == "$JS.API.STREAM.INFO.INGEST"
        return self.info


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


NORTH, SOUTH = "$JS.site-north.API", "$JS.site-south.API"


def test_the_stream_listens_to_nothing_but_its_sources():
    config = ingest_config({"south", "north"})
    assert not config.subjects
    assert [(source.name, source.external.api) for source in config.sources or ()] == [("OUT", NORTH), ("OUT", SOUTH)]
    assert (config.storage, config.discard, config.max_bytes) == (StorageType.FILE, DiscardPolicy.NEW, 4 * 2**30)


def test_never_heard_of_and_long_silent_are_quiet():
    found = quiet_sites(info(north=-1, south=900_000_000, east=9_000_000_000), sites={"north", "south", "east"})
    assert found == {"north", "east"}
    assert quiet_sites(b"{}", sites={"north"}) == set()


def sources_of(hub: Hub, clock: Clock, *, online: set[str], sites: list[str]) -> Sources:
    async def registered() -> list[str]:
        return sites

    return Sources(hub, sites=registered, online=online.__contains__, clock=clock)  # type: ignore[arg-type]


async def test_a_site_is_sourced_once_it_is_registered_and_then_left_alone():
    hub, sites = Hub(), []
    sources = sources_of(hub, Clock(), online=set(), sites=sites)
    await sources.apply()
    assert (hub.configured, sources.ready.is_set()) == ([], False)
    sites.append("north")
    await sources.apply()
    await sources.apply()
    assert hub.configured == [[NORTH]]
    assert sources.ready.is_set()


async def test_a_stuck_source_is_restarted_at_growing_intervals_while_its_site_is_there():
    hub, clock, online = Hub(), Clock(), {"north"}
    sources = sources_of(hub, clock, online=online, sites=["north", "south"])
    await sources.apply()
    hub.configured.clear()
    hub.info = info(north=-1, south=-1)
    restarts = []
    for second in range(40):
        clock.now = float(second)
        before = len(hub.configured)
        await sources.restart_quiet()
        if len(hub.configured) > before:
            restarts.append(second)
    assert restarts == [2, 4, 8, 16, 32]
    assert hub.configured[:2] == [[SOUTH], [NORTH, SOUTH]]
    online.clear()
    clock.now = 1000.0
    hub.configured.clear()
    await sources.restart_quiet()
    assert hub.configured == []


async def test_a_source_that_flows_again_is_restarted_soon_when_it_stops():
    hub, clock = Hub(), Clock()
    sources = sources_of(hub, clock, online={"north"}, sites=["north"])
    await sources.apply()
    for clock.now, active in ((2.0, -1), (3.0, 10_000), (4.0, 9_000_000_000)):
        hub.info = info(north=active)
        await sources.restart_quiet()
    assert len(hub.configured) == 1 + 2 + 2


async def test_keeping_survives_a_hub_that_is_away():
    class Away(Hub):
        async def ensure_stream(self, config: Any) -> None:
            stop.set()
            raise TimeoutError

    stop = asyncio.Event()
    await asyncio.wait_for(sources_of(Away(), Clock(), online=set(), sites=["north"]).keep(stop), 1)
