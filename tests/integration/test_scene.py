"""The scene memory over a real PostgreSQL: what belongs to an event comes and goes with it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, text

from edge_node.scene import KeyFrame, Scene, Spoken, Written
from edge_node.tables import TABLES
from foveate.memory import Memory
from foveate.messages import Embedding
from foveate.remembered import EVENTS
from foveate.vision.boxes import Box
from tests.integration.test_memory import START, event

BOX = Box(0.1, 0.2, 0.3, 0.05)


def frame(number: int, *, event_id: str = "event-1", device: str = "body-1", **changes: Any) -> KeyFrame:
    shown: dict[str, Any] = {"embedding": Embedding("eye@1", (0.6, 0.8)), "media_offset": 1.5} | changes
    return KeyFrame(f"{event_id}-{number}", device, event_id, START + number, b"jpeg" * 10, **shown)


def line(words: str, *, number: int = 1, event_id: str = "event-1", device: str = "body-1") -> Written:
    return Written(f"{event_id}-{number}", device, event_id, START + number, words, 0.9, BOX)


def said(words: str, *, at: float = 0.0, event_id: str = "event-1") -> Spoken:
    return Spoken("body-1", event_id, START + at, START + at + 2.0, words, "en", 0.8, 0.1)


async def test_what_is_kept_comes_back_as_it_was(database_url: str) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        await memory.upsert(event(1))
        frames, lines, speech = [frame(1), frame(2, embedding=None)], [line("EXIT 12")], [said("come in")]
        assert await scene.keep("event-1", frames, lines, speech)
        second, first = await scene.key_frames(["body-1"])
        assert second == frames[1]
        assert first.embedding is not None
        assert first.embedding.values == pytest.approx((0.6, 0.8))
        assert (first.picture, first.time, first.media_offset) == (frames[0].picture, START + 1, 1.5)
        assert await scene.written(["body-1"]) == tuple(lines)
        assert await scene.spoken(None) == tuple(speech)
        assert await scene.key_frames(["body-1"], START + 2, START + 3) == (frames[1],)
        assert await scene.key_frames(["other"]) == ()
        assert await scene.key_frames(None, event_ids=["event-2"]) == ()
        assert [one.end for one in await scene.spoken(None, START + 1.5, START + 9)] == [START + 2]
        assert await scene.spoken(None, START + 2.5) == ()


async def test_keeping_again_replaces_and_an_unknown_event_keeps_nothing(database_url: str) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        assert not await scene.keep("event-1", [frame(1)], [], [])
        await memory.upsert(event(1))
        for _ in range(2):
            assert await scene.keep("event-1", [frame(1), frame(2)], [line("one"), line("two")], [said("hello")])
        kept = await asyncio.gather(
            *(scene.keep("event-1", [frame(3)], [line("three", number=3)], []) for _ in range(8))
        )
        assert all(kept)
        assert [one.key_frame_id for one in await scene.key_frames(None)] == ["event-1-3"]
        assert [one.text for one in await scene.written(None)] == ["three"]
        assert await scene.spoken(None) == ()


async def test_statements_alongside_stand_or_fall_with_it(database_url: str) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        await memory.upsert(event(1))
        async with memory.transaction() as connection:
            await connection.execute(text("create table beside (n int primary key)"))
        insert = text("insert into beside values (1)")
        assert await scene.keep("event-1", [frame(1)], [], [], [insert])
        with pytest.raises(Exception, match="duplicate key"):
            await scene.keep("event-1", [frame(2)], [], [], [insert])
        assert [one.key_frame_id for one in await scene.key_frames(None)] == ["event-1-1"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["exit"], ["Emergency EXIT!"]),
        (["EXIT", "gate"], ["gate3.open", "Emergency EXIT!"]),
        (["exits"], []),
        (["emergency exit"], ["Emergency EXIT!"]),
        (["exit emergency"], []),
        (["STRASSE"], ["Große Straße"]),
        (["open"], ["gate3.open"]),
        (["gate3"], ["gate3.open"]),
        (["!!"], []),
        (["it'; drop table speech; --"], []),
    ],
)
async def test_words_are_whole_and_know_no_case(database_url: str, words: list[str], found: list[str]) -> None:
    lines = ["Emergency EXIT!", "Große Straße", "exit\x00ing", "gate3.open"]
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        await memory.upsert(event(1))
        frames = [frame(number) for number in range(len(lines))]
        written = [line(words, number=number) for number, words in enumerate(lines)]
        spoken = [said(words, at=number) for number, words in enumerate(lines)]
        assert await scene.keep("event-1", frames, written, spoken)
        expected = [one for one in found if one != "gate3.open" or words != ["EXIT", "gate"]]
        assert [one.text for one in await scene.written(None, words=words)] == expected
        assert [one.text for one in await scene.spoken(None, words=words)] == expected


async def test_alike_pictures_of_one_model_only(database_url: str) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        await memory.upsert(event(1))
        frames = [
            frame(1, embedding=Embedding("eye@1", (1.0, 0.0))),
            frame(2),
            frame(3, embedding=Embedding("eye@2", (1.0, 0.0))),
            frame(4, embedding=None),
        ]
        assert await scene.keep("event-1", frames, [], [])
        found = await scene.nearest(Embedding("eye@1", (1.0, 0.0)), device_ids=["body-1"], limit=5)
        assert [(one.key_frame_id, round(score, 3)) for one, score in found] == [("event-1-1", 1.0), ("event-1-2", 0.6)]
        assert await scene.nearest(Embedding("eye@1", (1.0, 0.0)), device_ids=None, start=START + 9, limit=5) == ()


async def test_a_forgotten_event_takes_its_scene_along_and_size_tells(database_url: str) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        scene = Scene(memory)
        assert set((await scene.size()).values()) == {0}
        await memory.upsert(event(1))
        noise = np.random.default_rng(0).bytes(50_000)
        big = KeyFrame("big", "body-1", "event-1", START, noise)
        assert await scene.keep("event-1", [big], [line("x", number=0)], [said("y")])
        size = await scene.size()
        assert set(size) == {"events", "key_frames", "written", "spoken"}
        assert 50_000 < size["key_frames"] < 51_000
        assert all(bytes_ > 0 for kind, bytes_ in size.items() if kind != "written")
        async with memory.transaction() as connection:
            await connection.execute(delete(EVENTS))
        assert set((await scene.size()).values()) == {0}
