"""Encoding remembered pictures again over a real PostgreSQL: all of them, once, a few a second, whatever stops it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from edge_node.reembed import Reembed
from edge_node.scene import KeyFrame, Scene
from edge_node.tables import TABLES
from foveate.memory import Memory
from foveate.messages import Embedding
from foveate.vision.detect import Picture
from foveate.vision.encode import Encoding
from tests.integration.test_memory import START, event

OLD = Embedding("eye@1", (1.0, 0.0))


def jpeg(red: int, green: int, blue: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (red, green, blue)).save(file, "JPEG")
    return file.getvalue()


class Colours:
    """The new encoder: the direction of a picture's mean colour."""

    model_tag = "colours@1"

    def __init__(self) -> None:
        self.seen = 0

    def encode(self, image: Picture) -> Encoding:
        self.seen += 1
        mean = image.reshape(-1, 3).mean(axis=0).astype(np.float32)
        unit = mean / max(float(np.linalg.norm(mean)), 1e-6)
        return Encoding(unit, unit)


@dataclass
class Site:
    memory: Memory
    scene: Scene

    async def remember(self, number: int, *pictures: bytes, embedding: Embedding | None = OLD) -> None:
        await self.memory.upsert(event(number, embedding=embedding))
        frames = [
            KeyFrame(f"frame-{number:03}-{n}", "body-1", f"event-{number}", START + n, picture, OLD)
            for n, picture in enumerate(pictures)
        ]
        assert await self.scene.keep(f"event-{number}", frames, [], [])

    async def again(self, encoder: Colours, *, per_second: float = 1e6) -> int:
        return await Reembed(memory=self.memory, scene=self.scene, encoder=encoder, per_second=per_second).all(
            asyncio.Event()
        )


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with Memory.open(database_url, tables=TABLES) as memory:
        yield Site(memory, Scene(memory))


async def test_pictures_and_their_events_move_into_the_new_space_once(site: Site) -> None:
    encoder = Colours()
    await site.remember(1, jpeg(250, 0, 0), jpeg(0, 250, 0))
    await site.remember(2, jpeg(0, 0, 250), embedding=None)
    await site.remember(3)  # has no picture to encode
    await site.remember(4, jpeg(250, 250, 250), embedding=Embedding("colours@1", (0.0, 0.6, 0.8)))
    assert await site.again(encoder) == 4
    blue = Embedding("colours@1", (0.0, 0.0, 1.0))
    (nearest, alike), *rest = await site.scene.nearest(blue, device_ids=None, limit=9)
    assert (nearest.event_id, len(rest)) == ("event-2", 3)
    assert alike == pytest.approx(1.0, abs=0.01)
    events = {one.event_id: one.embedding for one, _ in await site.memory.nearest(blue, device_ids=None, limit=9)}
    assert set(events) == {"event-1", "event-2", "event-4"}
    mean = events["event-1"]
    assert mean is not None
    assert mean.values == pytest.approx((0.5**0.5, 0.5**0.5, 0.0), abs=0.02)
    # What the device itself encoded in this space stays.
    assert events["event-4"] is not None
    assert events["event-4"].values == pytest.approx((0.0, 0.6, 0.8))
    assert [one.event_id for one, _ in await site.memory.nearest(OLD, device_ids=None, limit=9)] == ["event-3"]
    assert await site.again(encoder) == 0
    assert encoder.seen == 4


async def test_an_unreadable_picture_holds_nobody_up_and_is_not_tried_again(site: Site) -> None:
    encoder = Colours()
    await site.remember(1, b"no jpeg")
    await site.remember(2, jpeg(250, 0, 0))
    work = Reembed(memory=site.memory, scene=site.scene, encoder=encoder, per_second=1e6)
    assert await work.all(asyncio.Event()) == 1
    await site.remember(3, jpeg(0, 250, 0))
    assert await work.all(asyncio.Event()) == 1
    assert encoder.seen == 2


async def test_it_goes_on_after_a_restart_and_keeps_to_its_rate(site: Site) -> None:
    for number in range(24):
        await site.remember(number, jpeg(10 * number, 100, 100))
    encoder, stop = Colours(), asyncio.Event()
    first = Reembed(memory=site.memory, scene=site.scene, encoder=encoder, per_second=40.0)
    running = asyncio.create_task(first.run(stop))
    while encoder.seen < 8:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 5.0)
    done = encoder.seen
    assert 8 <= done < 24
    began = time.monotonic()
    assert await site.again(encoder, per_second=40.0) == 24 - done
    assert time.monotonic() - began >= (24 - done) / 40.0 * 0.9
    assert encoder.seen == 24


async def test_the_index_of_an_encoder_of_which_nothing_is_left_goes(site: Site) -> None:
    await site.remember(1, jpeg(250, 0, 0))
    await site.again(Colours())
    async with site.memory.transaction() as connection:
        made = await connection.scalars(text("select indexdef from pg_indexes where indexname like '%alike%'"))
        definitions = list(made.all())
    assert len(definitions) == 2
    assert all("colours@1" in one for one in definitions)
    await site.remember(2, jpeg(0, 250, 0))
    assert len(await site.scene.nearest(OLD, device_ids=None, limit=9)) == 1
