"""The memory over a real PostgreSQL with pgvector: one row for each event, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from psycopg import errors as postgres_errors
from sqlalchemy import text

from foveate.errors import InvalidInput, OutOfSpace, TryAgain, Unreachable
from foveate.memory import Memory
from foveate.messages import Embedding, Event, LabelScore, Priority, Sighting, Track, TriggerKind
from foveate.vision.boxes import Box

START = 1_750_000_000.0


def event(
    number: int = 1, *, label: str = "person", device: str = "body-1", length: float = 4.0, **changes: Any
) -> Event:
    start = START + 10.0 * number
    sighting = Sighting(start, label, 0.75, Box(0.25, 0.25, 0.5, 0.5))
    made = Event(
        event_id=f"event-{number}",
        revision=1,
        device_id=device,
        site_id="north",
        region="eu-west",
        device_labels=("staff-only",),
        trigger=TriggerKind.OBJECT,
        start=start,
        end=start + length,
        open=False,
        score=0.75,
        labels=(LabelScore(label, 0.75),),
        tracks=(Track(number, label, 0.75, start, start + length, (sighting,)),),
        media_offset=12.5,
        receive_time=start + 1.0,
    )
    return replace(made, **changes)


async def test_remembers_and_gives_back_the_same_event(database_url: str) -> None:
    wanted = event(embedding=Embedding("eye@1", (0.6, 0.8)))
    async with Memory.open(database_url) as memory:
        assert await memory.upsert(wanted)
        (found,) = await memory.select(device_ids=["body-1"], limit=5)
    assert found.start == wanted.start
    assert found.tracks[0].sightings[0].box == Box(0.25, 0.25, 0.5, 0.5)
    assert found.embedding is not None
    assert found.embedding.values == pytest.approx((0.6, 0.8))
    assert found == replace(wanted, embedding=found.embedding)


async def test_the_highest_revision_wins_in_any_order_and_a_repeat_changes_nothing(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        taken = [await memory.upsert(event(revision=revision, end=START + 20 + revision)) for revision in (2, 1, 3, 3)]
        assert taken == [True, False, True, False]
        (found,) = await memory.select(device_ids=None, limit=5)
        assert (found.revision, found.end) == (3, START + 23)
        assert await memory.counts() == {"body-1": 1}


async def test_twenty_writers_of_one_event_leave_one_row(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        taken = await asyncio.gather(*(memory.upsert(event(revision=1 + n % 5)) for n in range(20)))
        assert any(taken)
        (found,) = await memory.select(device_ids=None, limit=5)
        assert found.revision == 5


async def test_two_processes_may_make_the_tables_at_once(database_url: str) -> None:
    async def once() -> None:
        async with Memory.open(database_url) as memory:
            assert await memory.counts() == {}

    await asyncio.gather(*(once() for _ in range(4)))


async def test_selects_what_overlaps_the_span_by_device_and_label_in_order(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        for made in (event(1), event(2, label="car"), event(3, device="glasses-1"), event(4)):
            await memory.upsert(made)

        async def ids(**filters: Any) -> list[str]:
            found = await memory.select(**({"device_ids": None, "limit": 10} | filters))
            return [made.event_id for made in found]

        assert await ids() == ["event-4", "event-3", "event-2", "event-1"]
        assert await ids(newest_first=False, limit=2) == ["event-1", "event-2"]
        assert await ids(start=START + 14.0, end=START + 20.0) == ["event-2", "event-1"]
        assert await ids(start=START + 14.1, end=START + 19.9) == []
        assert await ids(labels=("car", "bus")) == ["event-2"]
        assert await ids(device_ids=["glasses-1"]) == ["event-3"]
        assert await ids(device_ids=[]) == []


async def test_nearest_never_mixes_models(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1, embedding=Embedding("eye@1", (1.0, 0.0, 0.0))))
        await memory.upsert(event(2, embedding=Embedding("eye@1", (0.6, 0.8, 0.0))))
        await memory.upsert(event(3, embedding=Embedding("eye@2", (1.0, 0.0, 0.0))))
        await memory.upsert(event(4, embedding=Embedding("eye@1", (1.0, 0.0))))
        await memory.upsert(event(5))
        found = await memory.nearest(Embedding("eye@1", (1.0, 0.0, 0.0)), device_ids=None, limit=9)
        assert [(made.event_id, round(alike, 3)) for made, alike in found] == [("event-1", 1.0), ("event-2", 0.6)]
        assert await memory.nearest(Embedding("other@1", (1.0, 0.0, 0.0)), device_ids=None, limit=9) == ()


async def test_statements_alongside_stand_or_fall_with_the_event(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        async with memory.transaction() as connection:
            await connection.execute(text("create table beside (n int primary key)"))
        insert = text("insert into beside values (1)")
        assert await memory.upsert(event(1), also=[insert])
        assert not await memory.upsert(event(1), also=[insert])
        with pytest.raises(Exception, match="duplicate key"):
            await memory.upsert(event(2), also=[insert])
        assert await memory.counts() == {"body-1": 1}


async def test_what_the_database_cannot_hold_is_refused_for_good(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        with pytest.raises(InvalidInput):
            await memory.upsert(event(label="per\x00son"))
        with pytest.raises(InvalidInput):
            await memory.upsert(event(embedding=Embedding("eye@1", (1.0,) * 20_000)))
        assert await memory.counts() == {}


async def test_a_full_disk_asks_for_redelivery(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        async with memory.transaction() as connection:
            await connection.execute(
                text(
                    "create function full_disk() returns trigger language plpgsql as "
                    "$$ begin raise exception 'no space left' using errcode = '53100'; end $$"
                )
            )
            await connection.execute(
                text("create trigger full_disk before insert on remembered_event execute function full_disk()")
            )
        with pytest.raises(OutOfSpace) as caught:
            await memory.upsert(event())
        assert isinstance(caught.value.__cause__.orig, postgres_errors.DiskFull)  # type: ignore[union-attr]
        assert await memory.counts() == {}


async def test_a_database_that_was_killed_is_unreachable_and_then_whole_again(own_postgres: Any) -> None:
    url = own_postgres.database()
    async with Memory.open(url) as memory:
        assert await memory.upsert(event(1))
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(TryAgain):
            await memory.upsert(event(2))
        await asyncio.to_thread(own_postgres.start)
        assert await memory.upsert(event(2))
        assert await memory.counts() == {"body-1": 2}


async def test_no_database_at_all_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        async with Memory.open("postgresql+psycopg://nobody:nothing@127.0.0.1:1/none"):
            pass
    with pytest.raises(InvalidInput):
        async with Memory.open("sqlite:///file"):
            pass


async def test_ten_thousand_events_answer_in_a_moment(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1, embedding=Embedding("eye@1", (0.05,) * 384)))
        async with memory.transaction() as connection:
            # The document still says event-1: only the searched columns matter here.
            columns = "revision, device_id, site_id, region, device_labels, trigger, end_time, open, score, labels"
            rest = "document, embedding_model, embedding, receive_time, media_offset"
            await connection.execute(
                text(
                    f"insert into remembered_event (event_id, start_time, {columns}, {rest}) "
                    f"select 'many-' || n, start_time + n * interval '1 second', {columns}, {rest} "
                    "from remembered_event, generate_series(1, 10000) n"
                )
            )
        began = time.perf_counter()
        found = await memory.nearest(Embedding("eye@1", (0.05,) * 384), device_ids=["body-1"], limit=5)
        took = time.perf_counter() - began
        assert len(found) == 5
        assert took < 2.0


async def test_tracks_tell_what_documents_tell_without_reading_them(database_url: str) -> None:
    walks = Track(5, "dog", 0.5, START + 31.0, START + 33.0, (Sighting(START + 32, "dog", 0.875, Box(0, 0, 1, 1)),))
    both = event(3, labels=(LabelScore("person", 0.75), LabelScore("lead", 0.25)))
    both = replace(both, tracks=(*both.tracks, walks))
    async with Memory.open(database_url) as memory:
        for made in (event(1), event(2, device="glasses-1"), both, event(4, tracks=())):
            await memory.upsert(made)

        async def tracks(*labels: str, **filters: Any) -> list[tuple[str, Any, float]]:
            found = await memory.tracks(**({"device_ids": None, "labels": labels, "limit": 10} | filters))
            return [
                (one.event_id, [track.track_id for track in one.tracks] or one.labels[0].label, one.score)
                for one in found
            ]

        assert await tracks("dog") == [("event-3", [5], 0.875)]
        assert await tracks("lead") == [("event-3", "lead", 0.25)]
        assert await tracks("person", "dog", device_ids=["body-1"], start=START + 31, end=START + 39) == [
            ("event-3", [5, 3], 0.875)
        ]
        # The dog was gone by then, though its event was not over.
        assert await tracks("dog", start=START + 33.5) == []
        assert [one[0] for one in await tracks("person")] == ["event-4", "event-3", "event-2", "event-1"]
        assert [one[0] for one in await tracks("person", newest_first=False, limit=1)] == ["event-1"]
        assert await tracks("person", device_ids=[]) == []
        whole = await memory.events(["event-3", "event-9"])
        assert list(whole) == ["event-3"]
        assert whole["event-3"].tracks == both.tracks


async def test_a_higher_revision_replaces_the_tracks(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1))
        await memory.upsert(event(1, revision=2, tracks=(), labels=(), open=True))
        assert await memory.tracks(device_ids=None, labels=["person"], limit=9) == ()
        await memory.upsert(event(1, revision=3))
        await memory.upsert(event(1, revision=2, tracks=()))
        (found,) = await memory.tracks(device_ids=None, labels=["person"], limit=9)
        assert (found.start, found.end, found.media_offset) == (START + 10, START + 14, 12.5)


async def test_another_embedding_takes_the_place_of_the_first_at_the_same_revision(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1, embedding=Embedding("eye@1", (1.0, 0.0))))
        assert await memory.embed("event-1", Embedding("eye@2", (0.0, 1.0)))
        assert not await memory.embed("event-2", Embedding("eye@2", (0.0, 1.0)))
        assert await memory.nearest(Embedding("eye@1", (1.0, 0.0)), device_ids=None, limit=9) == ()
        ((found, _),) = await memory.nearest(Embedding("eye@2", (1.0, 0.0)), device_ids=None, limit=9)
        assert (found.embedding, found.revision) == (Embedding("eye@2", (0.0, 1.0)), 1)


async def test_a_database_of_an_older_build_gets_its_priorities_and_tracks(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1, priority=Priority.URGENT))
        await memory.upsert(event(2, label="car"))
        async with memory.transaction() as connection:
            await connection.execute(text("drop table remembered_track"))
            await connection.execute(text("alter table remembered_event drop column priority"))
    async with Memory.open(database_url) as memory:
        (found,) = await memory.tracks(device_ids=None, labels=["car"], limit=9)
        assert found.event_id == "event-2"
        async with memory.transaction() as connection:
            stored = await connection.execute(text("select event_id, priority from remembered_event order by 1"))
            assert [tuple(one) for one in stored.all()] == [("event-1", 4), ("event-2", 2)]
        assert await memory.upsert(event(1, revision=2, priority=Priority.URGENT))


async def test_the_devices_that_told_anything_and_in_which_span(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        assert await memory.devices() == frozenset()
        for number, device in enumerate(("b", "a", "c", "a", "b"), start=1):
            await memory.upsert(event(number, device=device))
        assert await memory.devices() == {"a", "b", "c"}
        assert await memory.devices(start=START + 35) == {"a", "b"}
        assert await memory.devices(end=START + 15) == {"b"}
        assert await memory.devices(start=START + 25, end=START + 29) == frozenset()
