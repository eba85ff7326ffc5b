"""Likeness search with pgvector: all candidates compared while they are few, an HNSW index of the model past that.

In: a connection, a table with `embedding` and `embedding_model`, conditions, a vector. Out: keys with their cosine
similarity. Vectors of two models, or of two lengths, are never compared: each pair has an index of its own.
It knows no event. Next: `memory.py`, and the edge's `scene.py`, which search with it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    Table,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from foveate.messages import Embedding

logger = logging.getLogger(__name__)

EXACT = 4000
"""Candidates up to which every one is compared: about 20 ms at 384 dimensions."""

LONGEST_INDEXED = 2000
"""Dimensions; pgvector's HNSW holds no longer vectors of single precision, which are compared one by one."""

_BUILD_MEMORY = "320MB"  # 150,000 vectors of 384 dimensions
_EF_SEARCH = (400, 1000)  # least, and pgvector's most
_MOST_TUPLES = 200_000  # visited before a search through narrow filters gives up and compares all
SAMPLE = 200
"""Least number of candidates of which a median is taken, when there are more."""

MOST_INDICES = 8
"""Indices of one table; a device that invents models must not make every write slow."""


class Indices:
    """Makes the HNSW index of each model that is seen, once; every method is safe to call from many tasks at once."""

    def __init__(self, engine: AsyncEngine, table: Table) -> None:
        self._engine, self._table = engine, table
        self._seen: set[tuple[str, int]] = set()

    async def ensure(self, embedding: Embedding | None) -> None:
        """Makes the index for vectors like this one when there is none, without holding up other writers.

        Another process that is at it is not waited for. Fails as any statement does when the database is gone.
        """
        if embedding is None or len(embedding.values) > LONGEST_INDEXED:
            return
        kind = (embedding.model, len(embedding.values))
        if kind in self._seen:
            return
        self._seen.add(kind)
        try:
            # CONCURRENTLY runs in no transaction, and takes no lock that inserting waits for.
            async with self._engine.connect() as opened:
                connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
                if not await self._make(connection, *kind):
                    self._seen.discard(kind)
        except BaseException:
            self._seen.discard(kind)
            raise

    async def drop_unused(self) -> None:
        """Drops the indices of models of which no vector is left, as after encoding all pictures anew."""
        kinds = text(
            f"select distinct embedding_model, vector_dims(embedding) from {self._table.name} "
            "where embedding is not null"
        )
        made = text("select indexname from pg_indexes where tablename = :table and indexname like '%\\_alike\\_%'")
        async with self._engine.connect() as opened:
            connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
            there = (await connection.scalars(made, {"table": self._table.name})).all()
            used = {index_name(self._table, *kind) for kind in (await connection.execute(kinds)).all()}
            for name in set(there) - used:
                await connection.execute(text(f"drop index if exists {name}"))
                self._seen.clear()

    async def _make(self, connection: AsyncConnection, model: str, dimensions: int) -> bool:
        """False when somebody else makes an index of this table right now: two at once would wait for one another."""
        name = index_name(self._table, model, dimensions)
        valid = text("select indisvalid from pg_index where indexrelid = to_regclass(:name)")
        if await connection.scalar(valid, {"name": name}):
            return True
        lock = {"key": int(hashlib.sha256(self._table.name.encode()).hexdigest()[:15], 16)}
        if not await connection.scalar(text("select pg_try_advisory_lock(:key)"), lock):
            return False
        try:
            await self._build(connection, name, model, dimensions)
        except BaseException:
            # The lock goes with the connection, which a cancelled statement leaves in no state to be asked.
            await connection.invalidate()
            raise
        await connection.execute(text("select pg_advisory_unlock(:key)"), lock)
        return True

    async def _build(self, connection: AsyncConnection, name: str, model: str, dimensions: int) -> None:
        # A process that was killed over it left half an index behind.
        await connection.execute(text(f"drop index concurrently if exists {name}"))
        others = text("select count(*) from pg_indexes where tablename = :table and indexname like '%\\_alike\\_%'")
        if int(await connection.scalar(others, {"table": self._table.name}) or 0) >= MOST_INDICES:
            logger.warning("a model gets no vector index", extra={"model": model, "indices": MOST_INDICES})
            return
        # Past this the graph is built on disk, many times slower; a new model's takes next to nothing.
        await connection.execute(text(f"set maintenance_work_mem = '{_BUILD_MEMORY}'"))
        quoted = model.replace("'", "''").replace("%", "%%")
        await connection.exec_driver_sql(
            f"create index concurrently {name} on {self._table.name} "
            f"using hnsw ((embedding::vector({dimensions})) vector_cosine_ops) "
            f"where embedding_model = '{quoted}' and vector_dims(embedding) = {dimensions}"
        )
        await connection.execute(text("reset maintenance_work_mem"))
        logger.info("made a vector index", extra={"index": name, "model": model, "dimensions": dimensions})


def index_name(table: Table, model: str, dimensions: int) -> str:
    """The name of the index on one model's vectors. Pure."""
    return f"{table.name}_alike_{hashlib.sha256(f'{model} {dimensions}'.encode()).hexdigest()[:12]}"


async def nearest(
    connection: AsyncConnection,
    table: Table,
    wanted: Embedding,
    *,
    where: Sequence[ColumnElement[bool]],
    limit: int,
    exact: bool = False,
) -> list[tuple[str, float]]:
    """The keys of the most alike rows with their cosine similarity (-1 to 1), best first.

    `exact` compares every candidate, as is done anyway for few of them and when the index gives fewer than there are.
    """
    candidates = EXACT
    if not exact and len(wanted.values) <= LONGEST_INDEXED:
        conditions = [*_same(table, wanted.model, len(wanted.values)), *where]
        some = select(literal_column("1")).select_from(table).where(*conditions).limit(EXACT + 1).subquery()
        candidates = int(await connection.scalar(select(func.count()).select_from(some)) or 0)
    if candidates > EXACT:
        found = await _indexed(connection, table, wanted, where, limit)
        if len(found) >= min(limit, candidates):
            return found
    return await _compared(connection, table, wanted, where, limit)


async def median(
    connection: AsyncConnection,
    table: Table,
    wanted: Embedding,
    *,
    where: Sequence[ColumnElement[bool]],
    lot: ColumnElement[int],
    lots: int,
) -> float | None:
    """The median similarity of the candidates, None when there is none.

    Of many, that of those in the first lots, as many lots as give a sample of 200: `lot` is one of 0 to `lots` - 1 that
    each row drew for good, so that the same question has the same answer twice.
    """
    distance = table.c.embedding.cosine_distance(list(wanted.values))
    middle = func.percentile_cont(0.5).within_group(distance)
    for share in (64, 8, 1):
        conditions = [*_same(table, wanted.model, len(wanted.values)), *where]
        conditions += [lot < literal(lots // share)] if share > 1 else []
        found, number = (await connection.execute(select(middle, func.count()).where(*conditions))).one()
        if number >= SAMPLE:
            break
    return None if found is None else 1.0 - float(found)


async def _indexed(
    connection: AsyncConnection, table: Table, wanted: Embedding, where: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[str, float]]:
    dimensions = len(wanted.values)
    for name, value in (
        # Goes on where the filters threw out what came first, in the order of likeness.
        ("hnsw.iterative_scan", "strict_order"),
        ("hnsw.ef_search", str(min(_EF_SEARCH[1], max(_EF_SEARCH[0], 2 * limit)))),
        ("hnsw.max_scan_tuples", str(_MOST_TUPLES)),
    ):
        await connection.execute(select(func.set_config(name, value, True)))
    distance = cast(table.c.embedding, Vector(dimensions)).cosine_distance(list(wanted.values)).label("distance")
    query = (
        select(_key(table).label("key"), distance)
        .where(*_same(table, wanted.model, dimensions), *where)
        .order_by(distance)
        .limit(limit)
    )
    return [(found.key, 1.0 - float(found.distance)) for found in (await connection.execute(query)).all()]


async def _compared(
    connection: AsyncConnection, table: Table, wanted: Embedding, where: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[str, float]]:
    # Vectors of one model have one length; the comparison itself would fail on others, so they are set apart first.
    inner = (
        select(_key(table).label("key"), table.c.embedding)
        .where(*_same(table, wanted.model, len(wanted.values)), *where)
        .cte("same_model")
        .prefix_with("MATERIALIZED")
    )
    distance = inner.c.embedding.cosine_distance(list(wanted.values)).label("distance")
    query = select(inner.c.key, distance).order_by(distance, inner.c.key).limit(limit)
    return [(found.key, 1.0 - float(found.distance)) for found in (await connection.execute(query)).all()]


def _same(table: Table, model: str, dimensions: int) -> list[ColumnElement[bool]]:
    """One model and one length, written out: an index is chosen by what the statement says, not by its parameters."""
    return [
        table.c.embedding_model == bindparam(None, model, type_=String(), literal_execute=True),
        func.vector_dims(table.c.embedding) == bindparam(None, dimensions, type_=Integer(), literal_execute=True),
    ]


def _key(table: Table) -> ColumnElement[str]:
    (key,) = table.primary_key.columns
    return key
