"""Likeness search over a real pgvector: an index of each model's own, which loses nothing to filters."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, text

from foveate.alike import MOST_INDICES, index_name
from foveate.memory import Memory
from foveate.messages import Embedding
from foveate.remembered import EVENTS, row
from tests.integration.test_memory import START, event


def noisy(count: int, *, seed: int = 1, dimensions: int = 64) -> Any:
    """Unit vectors around 40 centres: what is seen repeats."""
    centres, rng = np.random.default_rng(0).normal(size=(40, dimensions)), np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 40, count)] + 0.5 * rng.normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


async def fill(memory: Memory, vectors: Any, *, model: str = "eye@1", devices: int = 20) -> None:
    """One event for each vector, ten seconds apart, device after device."""
    await memory.upsert(event(0, device="d0", embedding=Embedding(model, tuple(map(float, vectors[0])))))
    made = [
        event(n, device=f"d{n % devices}", embedding=Embedding(model, tuple(map(float, vector))))
        for n, vector in enumerate(vectors)
    ]
    async with memory.transaction() as connection:
        for first in range(0, len(made), 500):
            rows = [row(one) for one in made[first : first + 500] if one.event_id != "event-0"]
            await connection.execute(insert(EVENTS), rows)


async def test_the_index_finds_what_comparing_all_finds_whatever_the_filters(database_url: str) -> None:
    vectors = noisy(9000)
    async with Memory.open(database_url) as memory:
        await fill(memory, vectors)
        hits = asked = 0
        for query in noisy(20, seed=2):
            wanted = Embedding("eye@1", tuple(map(float, query)))
            for scope in ({"device_ids": None}, {"device_ids": [f"d{n}" for n in range(10)]}):
                found = await memory.nearest(wanted, **scope, limit=10)
                true = await memory.nearest(wanted, **scope, limit=10, exact=True)
                assert len(found) == 10
                hits += len({one.event_id for one, _ in found} & {one.event_id for one, _ in true})
                asked += 10
        assert hits / asked >= 0.97
        async with memory.transaction() as connection:
            uses = "select sum(idx_scan) from pg_stat_user_indexes where indexrelname like '%alike%'"
            await connection.execute(text("select pg_stat_force_next_flush()"))
        async with memory.transaction() as connection:
            assert int(await connection.scalar(text(uses)) or 0) > 0


async def test_a_narrow_filter_loses_nothing_though_the_index_would_look_elsewhere(database_url: str) -> None:
    vectors = noisy(9000)
    async with Memory.open(database_url) as memory:
        await fill(memory, vectors, devices=9)
        # The opposite of what d3 saw: the index begins with all the others.
        wanted = Embedding("eye@1", tuple(map(float, -vectors[3])))
        found = await memory.nearest(wanted, device_ids=["d3"], start=START, limit=2000)
        assert len(found) == 1000
        assert {one.device_id for one, _ in found} == {"d3"}


async def test_each_model_has_an_index_of_its_own_made_once(database_url: str) -> None:
    async with Memory.open(database_url) as memory, Memory.open(database_url) as other:
        models = ["eye@1", "eye@2", "o'eye:x\\y%(z)s@1"]
        await asyncio.gather(
            *(
                where.upsert(event(n, embedding=Embedding(models[n % 3], (1.0,) * (3 + n % 2))))
                for n in range(24)
                for where in (memory, other)
            )
        )
        async with memory.transaction() as connection:
            counts = "select count(*), count(*) filter (where indisvalid) from pg_index"
            query = f"{counts} join pg_class c on c.oid = indexrelid where relname like '%alike%'"
            made = (await connection.execute(text(query))).one()
        assert made[0] == made[1] <= 6
        for model in models:
            assert len(await memory.nearest(Embedding(model, (1.0,) * 3), device_ids=None, limit=99)) == 4


async def test_invented_models_do_not_make_indices_without_end(database_url: str) -> None:
    async with Memory.open(database_url) as memory:
        for n in range(12):
            await memory.upsert(event(n, embedding=Embedding(f"made-up-{n}@1", (1.0, 0.0))))
        async with memory.transaction() as connection:
            made = await connection.scalar(text("select count(*) from pg_indexes where indexname like '%alike%'"))
        assert made == MOST_INDICES
        assert len(await memory.nearest(Embedding("made-up-11@1", (1.0, 0.0)), device_ids=None, limit=9)) == 1


async def test_half_an_index_of_a_killed_process_is_made_anew(database_url: str) -> None:
    wanted = Embedding("eye@1", (1.0, 0.0))
    name = index_name(EVENTS, "eye@1", 2)
    valid = text("select indisvalid from pg_index where indexrelid = to_regclass(:name)")
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(1, embedding=wanted))
        async with memory.transaction() as connection:
            broken = "update pg_index set indisvalid = false where indexrelid = to_regclass(:name)"
            await connection.execute(text(broken), {"name": name})
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(2, embedding=wanted))
        async with memory.transaction() as connection:
            assert await connection.scalar(valid, {"name": name})


async def test_the_median_likeness_is_that_of_all_in_scope(database_url: str) -> None:
    vectors = noisy(3000)
    wanted = Embedding("eye@1", tuple(map(float, vectors[7])))
    async with Memory.open(database_url) as memory:
        assert await memory.median_likeness(wanted, device_ids=None) is None
        await fill(memory, vectors)
        true = float(np.median(vectors @ vectors[7]))
        assert await memory.median_likeness(wanted, device_ids=None) == pytest.approx(true, abs=0.03)
        few = [n for n in range(3000) if n % 20 == 7]
        of_one = float(np.median(vectors[few] @ vectors[7]))
        assert await memory.median_likeness(wanted, device_ids=["d7"]) == pytest.approx(of_one, abs=1e-5)
