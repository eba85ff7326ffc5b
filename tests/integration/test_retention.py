"""Retention over a real PostgreSQL: what is remembered stays within its age and bytes while events keep coming."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, text

from edge_node.retention import Keep, Retention
from edge_node.scene import KeyFrame, Scene
from edge_node.tables import ARCHIVE, DEAD_LETTERS, EGRESS, RELEASES, TABLES
from foveate.memory import Memory
from foveate.messages import Embedding, Priority
from foveate.wire import utc
from tests.integration.test_memory import START, event

DAY = 86_400.0
NOW = START + 400 * DAY
KIB = 1024


@dataclass
class Site:
    """A memory with its scene, a clock that is told the time, and what is there."""

    memory: Memory
    scene: Scene
    now: float = NOW

    def retention(self, **keep: Any) -> Retention:
        return Retention(memory=self.memory, scene=self.scene, keep=Keep(**keep), clock=lambda: self.now)

    async def remember(self, number: int, *, age_days: float = 0.0, picture: int = 0, **changes: Any) -> None:
        await self.memory.upsert(event(number, receive_time=self.now - age_days * DAY + number, **changes))
        if picture:
            noise = np.random.default_rng(number).bytes(picture)
            frame = KeyFrame(f"frame-{number}", "body-1", f"event-{number}", START, noise)
            assert await self.scene.keep(f"event-{number}", [frame], [], [])

    async def there(self) -> list[int]:
        """The numbers of the remembered events."""
        found = await self.memory.select(device_ids=None, limit=10_000)
        return sorted(int(one.event_id.removeprefix("event-")) for one in found)

    async def rows(self, table: Any, column: Any) -> list[Any]:
        async with self.memory.transaction() as connection:
            return list((await connection.scalars(select(column).order_by(column))).all())

    async def write(self, table: Any, **values: Any) -> None:
        async with self.memory.transaction() as connection:
            await connection.execute(insert(table).values(**values))


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with Memory.open(database_url, tables=TABLES) as memory:
        yield Site(memory, Scene(memory))


async def decision(site: Site, number: int, *, age_days: float, payload: bytes | None) -> None:
    await site.write(
        EGRESS,
        event_id=f"event-{number}",
        revision=1,
        device_id="body-1",
        representation="FACTS",
        rule="facts",
        reason="a rule",
        time=utc(site.now - age_days * DAY),
        payload=payload,
    )


async def release(site: Site, what: str, *, age_days: float) -> None:
    await site.write(
        RELEASES,
        time=utc(site.now - age_days * DAY),
        what=what,
        device_id="body-1",
        destination="world",
        representation="FACTS",
        rule="facts",
        size_bytes=1,
        sha256="0" * 64,
    )


async def test_what_is_older_goes_with_all_that_belongs_to_it_and_records_outlive_it(site: Site) -> None:
    for number, age in ((1, 31), (2, 29)):
        for priority in (Priority.LOW, Priority.URGENT):
            await site.remember(10 * number + priority, age_days=age, picture=100, priority=priority)
    await decision(site, 11, age_days=31, payload=None)
    await decision(site, 12, age_days=31, payload=b"waits")
    await release(site, "event event-11.1", age_days=31)
    await release(site, "event event-0.1", age_days=366)
    gone = await site.retention().once()
    assert await site.there() == [21, 24]
    assert [one.event_id for one in await site.scene.key_frames(None)] == ["event-21", "event-24"]
    assert len(await site.memory.tracks(device_ids=None, labels=["person"], limit=9)) == 2
    assert await site.rows(EGRESS, EGRESS.c.event_id) == ["event-12"]
    assert await site.rows(RELEASES, RELEASES.c.what) == ["event event-11.1"]
    assert gone == {"remembered_event": 2, "egress_item": 1, "release": 1}
    assert await site.retention().once() == {}


async def test_letters_and_footage_that_nobody_delivers_go(site: Site) -> None:
    for number, age in ((1, 31), (2, 1)):
        about = {"subject": "s", "reason": "R", "message": "m", "payload": b"x"}
        await site.write(DEAD_LETTERS, digest=f"letter-{number}", time=utc(NOW - age * DAY), **about)
    footage = {
        "lost": {"time": utc(NOW - 8 * DAY)},
        "asked in vain": {"time": utc(NOW), "reason": "no answer", "end": NOW - 8 * DAY},
        "hoped for": {"time": utc(NOW - 6 * DAY), "end": NOW - 8 * DAY},
        "gone": {"time": utc(NOW - 31 * DAY), "state": "gone", "reason": "overwritten"},
        "kept": {"time": utc(NOW - 300 * DAY), "state": "kept", "clip_id": "c"},
    }
    for name, values in footage.items():
        row = {"device_id": "body-1", "priority": 3, "start": NOW, "end": NOW, "state": "waiting", "reason": ""}
        await site.write(ARCHIVE, event_id=name, size_bytes=0, **(row | values))
    await site.retention().once()
    assert await site.rows(DEAD_LETTERS, DEAD_LETTERS.c.digest) == ["letter-2"]
    assert await site.rows(ARCHIVE, ARCHIVE.c.event_id) == ["hoped for", "kept"]


async def test_over_its_bytes_the_least_priority_and_the_oldest_go_and_no_more_than_needed(site: Site) -> None:
    kinds = [Priority.URGENT, Priority.LOW, Priority.NORMAL, Priority.LOW, Priority.URGENT, Priority.HIGH]
    for number, priority in enumerate(kinds):
        await site.remember(number, picture=100 * KIB, priority=priority)
    assert (await site.scene.size())["key_frames"] > 600 * KIB
    await site.retention(bytes=450 * KIB).once()
    assert await site.there() == [0, 2, 4, 5]
    await site.retention(bytes=250 * KIB).once()
    assert await site.there() == [0, 4]
    await site.retention(bytes=150 * KIB).once()
    assert await site.there() == [4]
    assert sum((await site.scene.size()).values()) <= 150 * KIB


async def test_records_over_their_bytes_go_oldest_first_but_never_what_waits_to_leave(site: Site) -> None:
    for number in range(40):
        await decision(site, number, age_days=20 - number / 10, payload=b"x" * KIB if number < 5 else None)
        await release(site, f"event {number:02}", age_days=20 - number / 10)
    retention = site.retention(record_bytes=5 * KIB)
    await retention.once()
    waiting = await site.rows(EGRESS, EGRESS.c.event_id)
    assert set(waiting) >= {f"event-{number}" for number in range(5)}
    assert len(waiting) < 30
    left = await site.rows(RELEASES, RELEASES.c.what)
    assert left == [f"event {number:02}" for number in range(40 - len(left), 40)]
    assert 5 < len(left) < 30
    assert retention.removed["release"] == 40 - len(left)


async def test_it_stays_bounded_while_events_keep_coming_and_holds_nobody_up(site: Site) -> None:
    most, slowest, sizes, files = 2_000 * KIB, 0.0, [], []
    retention, rng = site.retention(bytes=most), np.random.default_rng(0)
    stop, wrote = asyncio.Event(), 0

    async def removes() -> None:
        while not stop.is_set():
            await retention.once()
            await asyncio.sleep(0.05)

    removing = asyncio.create_task(removes())
    for number in range(600):
        began = time.perf_counter()
        vector = Embedding("eye@1", tuple(map(float, rng.normal(size=64))))
        await site.remember(number, picture=40 * KIB, embedding=vector, priority=Priority(1 + number % 4))
        slowest, wrote = max(slowest, time.perf_counter() - began), wrote + 40 * KIB
        if number % 40 == 39:
            sizes.append(sum((await site.scene.size()).values()))
            async with site.memory.transaction() as connection:
                files.append(int(await connection.scalar(text("select pg_database_size(current_database())")) or 0))
    stop.set()
    await removing
    await retention.once()
    assert wrote > 6 * most
    assert sum((await site.scene.size()).values()) <= most
    assert max(sizes) < 2 * most
    # The files stop growing: what is removed makes room for what comes.
    assert files[-1] - files[-8] < most / 2
    assert files[-1] < files[0] + 7 * most
    assert slowest < 10.0
    # Of what came in the end the urgent is all there.
    assert {number for number in range(570, 600) if number % 4 == 3} <= set(await site.there())


async def test_it_runs_until_it_is_stopped_though_the_database_goes_away(own_postgres: Any) -> None:
    async with Memory.open(own_postgres.database(), tables=TABLES) as memory:
        site, stop = Site(memory, Scene(memory)), asyncio.Event()
        await site.remember(1, age_days=31)
        retention = Retention(memory=memory, scene=site.scene, keep=Keep(), every_s=0.05, clock=lambda: site.now)
        await asyncio.to_thread(own_postgres.kill)
        running = asyncio.create_task(retention.run(stop))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_postgres.start)
        async with asyncio.timeout(20):
            while retention.removed["remembered_event"] < 1:
                await asyncio.sleep(0.05)
            stop.set()
            await running
        assert await site.there() == []
