"""Puts remembered pictures into the space of the site's present encoder, in the background and a few a second.

In: key frames whose vector is of another encoder, or that have none. Out: the same key frames, and their events, with
vectors of this one: a search never mixes two, so what is not encoded again is not found by meaning. What is left to do
stands in the database, so that a restart goes on. It fetches nothing. It runs beside everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import func, select, update

from edge_node.scene import Scene
from edge_node.tables import KEY_FRAMES
from foveate.errors import InvalidInput, TryAgain
from foveate.memory import Memory
from foveate.messages import Embedding
from foveate.remembered import EVENTS
from foveate.vision.draw import read_jpeg
from foveate.vision.encode import Encoder

logger = logging.getLogger(__name__)

_BATCH = 8
_IDLE_S = 60.0
_TOLD_EVERY = 200
_MOST_UNREADABLE = 10_000
_F = KEY_FRAMES.c


class Reembed:
    """Encodes again what has another encoder's vectors; `done` counts the key frames since the start."""

    def __init__(self, *, memory: Memory, scene: Scene, encoder: Encoder, per_second: float = 4.0) -> None:
        """`per_second` bounds the pictures that are encoded, about 6 ms of one core each with the carried encoder."""
        self._memory, self._scene, self._encoder, self._per_second = memory, scene, encoder, per_second
        self._unreadable: set[str] = set()
        self.done = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, and looks for more once a minute; a database that is gone is tried again."""
        while not stop.is_set():
            try:
                await self.all(stop)
            except TryAgain as error:
                logger.warning("nothing is encoded again for now: %s", error)
            await _pause(stop, _IDLE_S)

    async def all(self, stop: asyncio.Event) -> int:
        """One pass over what has other vectors; how many key frames were encoded."""
        before, after = self.done, ""
        while not stop.is_set():
            began = time.monotonic()
            rows = await self._others(after)
            if not rows:
                break
            after = rows[-1].key_frame_id
            await self._encode([row for row in rows if row.key_frame_id not in self._unreadable])
            await _pause(stop, len(rows) / self._per_second - (time.monotonic() - began))
        if self.done > before:
            await self._tell()
            with contextlib.suppress(TryAgain):
                await self._memory.drop_unused_indices(self._scene.indices)
        return self.done - before

    async def _others(self, after: str) -> Sequence[Any]:
        tag = self._encoder.model_tag
        query = (
            select(_F.key_frame_id, _F.event_id, _F.picture)
            .where(_F.embedding_model.is_distinct_from(tag), _F.key_frame_id > after)
            .order_by(_F.key_frame_id)
            .limit(_BATCH)
        )
        async with self._memory.transaction() as connection:
            found: Sequence[Any] = (await connection.execute(query)).all()
            return found

    async def _encode(self, rows: Sequence[Any]) -> None:
        for row in rows:
            embedding = await asyncio.to_thread(self._embedding, row)
            if embedding is None:
                continue
            await self._memory.ensure(self._scene.indices, embedding)
            changed = {"embedding_model": embedding.model, "embedding": list(embedding.values)}
            async with self._memory.transaction() as connection:
                await connection.execute(update(KEY_FRAMES).where(_F.key_frame_id == row.key_frame_id).values(changed))
            self.done += 1
            if self.done % _TOLD_EVERY == 0:
                await self._tell()
        for event_id in dict.fromkeys(row.event_id for row in rows):
            await self._event(event_id)

    def _embedding(self, row: Any) -> Embedding | None:  # noqa: ANN401  a row
        """Blocking; None for a picture that cannot be read, which is not tried again before a restart."""
        try:
            vector = self._encoder.encode(read_jpeg(row.picture)).conse
        except InvalidInput as error:
            logger.warning("a key frame is not encoded: %s", error, extra={"key_frame_id": row.key_frame_id})
            if len(self._unreadable) < _MOST_UNREADABLE:
                self._unreadable.add(row.key_frame_id)
            return None
        return Embedding(self._encoder.model_tag, tuple(map(float, vector)))

    async def _event(self, event_id: str) -> None:
        """Gives an event with another encoder's vector the mean direction of its key frames."""
        tag = self._encoder.model_tag
        frames = select(_F.embedding).where(_F.event_id == event_id, _F.embedding_model == tag)
        stale = select(EVENTS.c.event_id).where(
            EVENTS.c.event_id == event_id, EVENTS.c.embedding_model.is_distinct_from(tag)
        )
        async with self._memory.transaction() as connection:
            if await connection.scalar(stale) is None:
                return
            vectors = [np.asarray(vector, np.float64) for vector in (await connection.scalars(frames)).all()]
        if vectors:
            mean = np.mean(vectors, axis=0)
            unit = mean / max(float(np.linalg.norm(mean)), 1e-12)
            await self._memory.embed(event_id, Embedding(tag, tuple(map(float, unit))))

    async def _tell(self) -> None:
        tag = self._encoder.model_tag
        left = {}
        async with self._memory.transaction() as connection:
            for table in (KEY_FRAMES, EVENTS):
                other = table.c.embedding_model.is_distinct_from(tag)
                left[table.name] = int(await connection.scalar(select(func.count()).where(other)) or 0)
        extra = {"model": tag, "done": self.done, "left": left[KEY_FRAMES.name], "events_left": left[EVENTS.name]}
        logger.info("encoded again", extra=extra)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.001, seconds))
