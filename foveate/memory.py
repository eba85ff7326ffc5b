"""What a node remembers: events in PostgreSQL with pgvector, one row for each, the highest revision wins.

In: events, label, device and time filters, embeddings to compare with. Out: the same events, in order, or the outlines
of what was followed in them. It decides nothing about who may see them. `remembered.py` has the tables, `alike.py` the
search by likeness. Next: `recall.py`, which answers from what was remembered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from psycopg import errors as postgres
from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Table,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from foveate import alike
from foveate.alike import Indices
from foveate.errors import FoveateError, InvalidInput, NotReady, OutOfSpace, Overloaded, Unreachable
from foveate.messages import Embedding, Event
from foveate.remembered import (
    EVENTS,
    LOT,
    LOTS,
    TRACKS,
    event_in,
    make_tables,
    outlines,
    overlapping,
    row,
    scenery,
    track_rows,
    tracks_overlapping,
)
from foveate.wire import utc

_CONNECT_SECONDS = 5
_C, _T = EVENTS.c, TRACKS.c


class Memory:
    """Remembered events over one PostgreSQL database; every method is safe to call from many tasks at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._indices = Indices(engine, EVENTS)

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, *, tables: Sequence[Table] = ()) -> AsyncIterator[Memory]:
        """The memory in `postgresql+psycopg://...` with its extension, tables and indices, made when missing.

        `tables` are an app's own, kept in the same database. Two processes may start at once. Raises InvalidInput
        for a URL of another kind, Unreachable when no database answers, NotReady when pgvector is not installed.
        """
        if not database_url.startswith("postgresql+psycopg://"):
            raise InvalidInput("The database URL must start with postgresql+psycopg://; correct it.")
        engine = create_async_engine(
            database_url,
            pool_size=8,
            max_overflow=8,
            pool_timeout=10,
            # A database that was restarted leaves dead connections behind; a ping costs 0.1 ms.
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
        try:
            async with transaction(engine) as connection:
                await make_tables(connection, tables)
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction on the database, with its failures as errors of `errors.py`."""
        async with transaction(self.engine) as connection:
            yield connection

    async def ensure(self, indices: Indices, embedding: Embedding | None) -> None:
        """Makes the vector index for such an embedding when there is none, with failures as errors of `errors.py`."""
        with translated():
            await indices.ensure(embedding)

    async def drop_unused_indices(self, *others: Indices) -> None:
        """Drops the vector indices of models of which nothing is left, of events and of `others`."""
        with translated():
            for indices in (self._indices, *others):
                await indices.drop_unused()

    async def upsert(self, event: Event, *, also: Sequence[Executable] = (), always: Sequence[Executable] = ()) -> bool:
        """Remembers the event unless a revision as high is there already; False when it is.

        `also` are statements that take effect together with the new revision, or not at all; `always` are those that
        take effect in the same transaction whether it was new or not.
        Raises Unreachable or OutOfSpace, after which nothing of it was stored.
        """
        columns = row(event)
        statement = insert(EVENTS).values(columns)
        statement = statement.on_conflict_do_update(
            index_elements=[_C.event_id],
            set_={name: statement.excluded[name] for name in columns if name != "event_id"},
            where=statement.excluded.revision > _C.revision,
        )
        await self.ensure(self._indices, event.embedding)
        async with self.transaction() as connection:
            stored = await connection.scalar(statement.returning(_C.event_id)) is not None
            for extra in (*always, *((*_tracks_of(event), *also) if stored else ())):
                await connection.execute(extra)
            return stored

    async def embed(self, event_id: str, embedding: Embedding) -> bool:
        """Gives a remembered event another embedding, at the same revision; False when it is not remembered."""
        await self.ensure(self._indices, embedding)
        async with self.transaction() as connection:
            chosen = select(_C.document).where(_C.event_id == event_id).with_for_update()
            document = await connection.scalar(chosen)
            if document is None:
                return False
            columns = row(replace(event_in(document), embedding=embedding))
            changed = {name: columns[name] for name in ("document", "embedding_model", "embedding")}
            await connection.execute(update(EVENTS).where(_C.event_id == event_id).values(changed))
            return True

    async def get(self, event_id: str) -> Event | None:
        """The event as it is remembered now, None when it is not."""
        async with self.transaction() as connection:
            document = await connection.scalar(select(_C.document).where(_C.event_id == event_id))
        return None if document is None else event_in(document)

    async def events(self, event_ids: Sequence[str]) -> dict[str, Event]:
        """Those of the events that are remembered, by their ids."""
        query = select(_C.event_id, _C.document).where(_C.event_id.in_(event_ids))
        async with self.transaction() as connection:
            found = (await connection.execute(query)).all()
        return {each.event_id: event_in(each.document) for each in found}

    async def select(
        self,
        *,
        device_ids: Sequence[str] | None,
        labels: Sequence[str] = (),
        start: float | None = None,
        end: float | None = None,
        limit: int,
        newest_first: bool = True,
    ) -> tuple[Event, ...]:
        """Events that overlap [start, end], ordered by their start; None for `device_ids` means every device.

        With `labels`, only events in which at least one of them was seen.
        """
        where = overlapping(device_ids=device_ids, labels=labels, start=start, end=end)
        order = (_C.start_time.desc(), _C.event_id.desc()) if newest_first else (_C.start_time, _C.event_id)
        query = select(_C.document).where(*where).order_by(*order).limit(limit)
        async with self.transaction() as connection:
            found = (await connection.scalars(query)).all()
        return tuple(event_in(document) for document in found)

    async def tracks(
        self,
        *,
        device_ids: Sequence[str] | None,
        labels: Sequence[str],
        start: float | None = None,
        end: float | None = None,
        limit: int,
        newest_first: bool = True,
    ) -> tuple[Event, ...]:
        """What was followed and overlaps [start, end], at most `limit` tracks, as outlines of their events.

        An outline has the event's id, device, span and whether it is open, and of its tracks only those that were
        asked for, each with its span and its best score, without sightings; a label that nobody followed stands in
        `labels`. No document is read, which is what a question about a month needs; `events` gives the whole ones.
        """
        where = tracks_overlapping(device_ids=device_ids, labels=labels, start=start, end=end)
        order = (_T.start.desc(), _T.event_id.desc()) if newest_first else (_T.start, _T.event_id)
        query = select(TRACKS).where(*where).order_by(*order, _T.number).limit(limit)
        async with self.transaction() as connection:
            return outlines((await connection.execute(query)).all())

    async def standing(
        self, *, device_ids: Sequence[str], labels: Sequence[str], start: float, end: float, limit: int
    ) -> tuple[tuple[Event, float | None], ...]:
        """Events whose thing became scenery before `end` and may stand there from `start` on, the latest first.

        Each with the moment at which its track was next told of, None for never.
        """
        query = scenery(device_ids=device_ids, labels=labels, start=start, end=end, limit=limit)
        async with self.transaction() as connection:
            return tuple((event_in(each.document), each.again) for each in (await connection.execute(query)).all())

    async def nearest(
        self,
        embedding: Embedding,
        *,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        limit: int,
        exact: bool = False,
    ) -> tuple[tuple[Event, float], ...]:
        """The most alike events with their cosine similarity (-1 to 1), best first, of the same model only.

        While devices and span leave few, or with `exact`, all are compared; past that an index may miss a few.
        """
        where = overlapping(device_ids=device_ids, start=start, end=end)
        async with self.transaction() as connection:
            found = await alike.nearest(connection, EVENTS, embedding, where=where, limit=limit, exact=exact)
            query = select(_C.event_id, _C.document).where(_C.event_id.in_([key for key, _ in found]))
            documents = {each.event_id: each.document for each in (await connection.execute(query)).all()}
        # Retention may have removed one between the two statements.
        return tuple((event_in(documents[key]), score) for key, score in found if key in documents)

    async def median_likeness(
        self,
        embedding: Embedding,
        *,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
    ) -> float | None:
        """The median cosine similarity of the events in scope, of many a sample of them; None for none."""
        where = overlapping(device_ids=device_ids, start=start, end=end)
        async with self.transaction() as connection:
            lot = literal_column(LOT, type_=Integer)
            return await alike.median(connection, EVENTS, embedding, where=where, lot=lot, lots=LOTS)

    async def about(self, table: str) -> int:
        """How many rows a table has, as the database last estimated."""
        query = text("select greatest(reltuples, 0)::bigint from pg_class where oid = to_regclass(:name)")
        async with self.transaction() as connection:
            return int(await connection.scalar(query, {"name": table}) or 0)

    async def vacuum(self, table: str) -> None:
        """Makes the room of a table's removed rows usable for new ones, while others read and write."""
        with translated():
            async with self.engine.connect() as opened:
                connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
                await connection.exec_driver_sql(f'vacuum "{table}"')

    async def devices(self, *, start: float | None = None, end: float | None = None) -> frozenset[str]:
        """The devices of which at least one event is remembered in the span."""
        # From one name to the next over the index: there are few devices, and many events.
        least = select(func.min(_C.device_id).label("name")).cte("names", recursive=True)
        following = select(func.min(_C.device_id)).where(_C.device_id > least.c.name).scalar_subquery()
        names = least.union_all(select(following).where(least.c.name.is_not(None)))
        query = select(names.c.name).where(names.c.name.is_not(None))
        if start is not None or end is not None:
            told = select(_C.event_id).where(_C.device_id == names.c.name)
            within = told.where(*overlapping(device_ids=None, start=start, end=end)).exists()
            query = query.where(or_(_soon_after(names.c.name, start, end), within))
        async with self.transaction() as connection:
            return frozenset((await connection.scalars(query)).all())

    async def counts(self) -> dict[str, int]:
        """How many events of each device are remembered."""
        query = select(_C.device_id, func.count(literal(1))).group_by(_C.device_id)
        async with self.transaction() as connection:
            return {device: int(number) for device, number in (await connection.execute(query)).all()}


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction; a database that is gone or full raises Unreachable or OutOfSpace, so that work comes again."""
    with translated():
        async with engine.begin() as connection:
            yield connection


@contextmanager
def translated() -> Any:  # noqa: ANN401  a context manager's own type says nothing here
    """Turns what PostgreSQL and its client raise inside the block into errors of `errors.py`."""
    try:
        yield
    except DBAPIError as error:
        raise _error_of(error.orig, lost=error.connection_invalidated) or error from error
    except postgres.Error as error:
        raise _error_of(error, lost=False) or error from error
    except PoolTimeout as error:
        raise Overloaded("The database has no free connection; ask again in a moment.") from error
    except OSError as error:
        raise Unreachable(f"The database does not answer ({error}); start it or correct its URL.") from error


def _error_of(cause: BaseException | None, *, lost: bool) -> FoveateError | None:
    """The error of `errors.py` behind one of psycopg, None when the statement itself is wrong: that is a bug."""
    if isinstance(cause, postgres.DiskFull):
        return OutOfSpace("The database's disk is full; free space there.", retry_after=5.0)
    if isinstance(cause, (postgres.UndefinedFile, postgres.FeatureNotSupported)) and "vector" in str(cause):
        return NotReady("This PostgreSQL has no pgvector; install the extension `vector` there.")
    if isinstance(cause, (postgres.DataError, postgres.ProgramLimitExceeded)):
        return InvalidInput(f"The database cannot hold this ({str(cause).splitlines()[0]}); correct the sender.")
    if isinstance(cause, (postgres.InsufficientPrivilege, postgres.InvalidPassword)):
        return NotReady(f"The database turned this user down ({cause}); correct the URL or the user's rights.")
    if lost or isinstance(cause, (postgres.OperationalError, postgres.InterfaceError)):
        return Unreachable("The database does not answer; it is tried again.", retry_after=1.0)
    return None


def _tracks_of(event: Event) -> Sequence[Executable]:
    """The statements that replace the rows of an event's tracks."""
    rows = track_rows(event)
    forget = delete(TRACKS).where(_T.event_id == event.event_id)
    return (forget, insert(TRACKS).values(rows)) if rows else (forget,)


def _soon_after(name: ColumnElement[str], start: float | None, end: float | None) -> ColumnElement[bool]:
    """Whether the first event of the device that ends after `start` begins before `end`: quick, and often enough."""
    first = select(_C.start_time).where(_C.device_id == name, *overlapping(device_ids=None, start=start, end=None))
    near = first.order_by(_C.end_time).limit(1).correlate_except(EVENTS).scalar_subquery()
    return near.is_not(None) if end is None else near <= utc(end)
