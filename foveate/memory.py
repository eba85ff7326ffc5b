"""What a node remembers: events in PostgreSQL with pgvector, one row for each, the highest revision wins.

In: events, label, device and time filters, embeddings to compare with. Out: the same events, in order.
It decides nothing about who may see them. Next: `recall.py`, which answers from what was remembered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, ClassVar

from pgvector.sqlalchemy import Vector
from psycopg import errors as postgres
from sqlalchemy import ColumnElement, Executable, Index, LargeBinary, Select, Table, Text, func, literal, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel import Field, SQLModel, select

from foveate.errors import FoveateError, InvalidInput, NotReady, OutOfSpace, Overloaded, Unreachable
from foveate.messages import Embedding, Event
from foveate.v1 import event_pb2 as pb
from foveate.wire import event_of, event_to, parse, utc

_TIME = TIMESTAMP(timezone=True)
# Any number will do, as long as every process of this project that makes tables takes the same one.
_DDL_LOCK = 0x666F7665
_CONNECT_SECONDS = 5


class RememberedEvent(SQLModel, table=True):
    """One event: columns to search by, and `document`, the encoded `foveate.v1.Event` that it is rebuilt from."""

    __tablename__ = "remembered_event"
    __table_args__: ClassVar[Any] = (
        Index("remembered_event_by_device", "device_id", "start_time"),
        Index("remembered_event_by_end", "end_time"),
        Index("remembered_event_by_label", "labels", postgresql_using="gin"),
    )

    event_id: str = Field(primary_key=True)
    revision: int
    device_id: str
    site_id: str
    region: str
    device_labels: list[str] = Field(sa_type=ARRAY(Text))
    trigger: str
    start_time: datetime = Field(sa_type=_TIME)
    end_time: datetime = Field(sa_type=_TIME)
    open: bool
    score: float
    labels: list[str] = Field(sa_type=ARRAY(Text))
    document: bytes = Field(sa_type=LargeBinary)
    embedding_model: str | None = None
    # No fixed dimension: a fleet may plug in another encoder, and a search never mixes two models.
    embedding: Any = Field(default=None, sa_type=Vector, nullable=True)
    receive_time: datetime | None = Field(default=None, sa_type=_TIME)
    media_offset: float | None = None


_EVENTS: Table = RememberedEvent.__table__  # type: ignore[attr-defined]
_C = _EVENTS.c


class Memory:
    """Remembered events over one PostgreSQL database; every method is safe to call from many tasks at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

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
                await _make_tables(connection, (_EVENTS, *tables))
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction on the database, with its failures as errors of `errors.py`."""
        async with transaction(self._engine) as connection:
            yield connection

    async def upsert(self, event: Event, *, also: Sequence[Executable] = (), always: Sequence[Executable] = ()) -> bool:
        """Remembers the event unless a revision as high is there already; False when it is.

        `also` are statements that take effect together with the new revision, or not at all; `always` are those that
        take effect in the same transaction whether it was new or not.
        Raises Unreachable or OutOfSpace, after which nothing of it was stored.
        """
        row = _row(event)
        statement = insert(_EVENTS).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=[_C.event_id],
            set_={name: statement.excluded[name] for name in row if name != "event_id"},
            where=statement.excluded.revision > _C.revision,
        )
        async with self.transaction() as connection:
            stored = await connection.scalar(statement.returning(_C.event_id)) is not None
            for extra in (*always, *(also if stored else ())):
                await connection.execute(extra)
            return stored

    async def get(self, event_id: str) -> Event | None:
        """The event as it is remembered now, None when it is not."""
        async with self.transaction() as connection:
            document = await connection.scalar(select(_C.document).where(_C.event_id == event_id))
        return None if document is None else _event(document)

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
        query = select(_C.document).where(*_where(device_ids=device_ids, labels=labels, start=start, end=end))
        order = (_C.start_time.desc(), _C.event_id.desc()) if newest_first else (_C.start_time, _C.event_id)
        async with self.transaction() as connection:
            found = (await connection.scalars(query.order_by(*order).limit(limit))).all()
        return tuple(_event(document) for document in found)

    async def nearest(
        self,
        embedding: Embedding,
        *,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        limit: int,
    ) -> tuple[tuple[Event, float], ...]:
        """The most alike events with their cosine similarity (-1 to 1), best first, of the same model only.

        Exact: the span and the devices cut the candidates down first, so nothing alike is missed by an index.
        """
        wanted = list(embedding.values)
        # Vectors of one model have one length; the comparison itself would fail on others.
        same = (_C.embedding_model == embedding.model, func.vector_dims(_C.embedding) == len(wanted))
        inner = (
            select(_C.event_id, _C.embedding)
            .where(*same, *_where(device_ids=device_ids, labels=(), start=start, end=end))
            .cte("same_model")
            .prefix_with("MATERIALIZED")
        )
        distance = inner.c.embedding.cosine_distance(wanted).label("distance")
        query: Select[Any] = (
            select(_C.document, distance).join(inner, inner.c.event_id == _C.event_id).order_by(distance).limit(limit)
        )
        async with self.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return tuple((_event(row.document), 1.0 - float(row.distance)) for row in rows)

    async def devices(self, *, start: float | None = None, end: float | None = None) -> frozenset[str]:
        """The devices of which at least one event is remembered in the span."""
        query = select(_C.device_id).where(*_where(device_ids=None, labels=(), start=start, end=end)).distinct()
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


async def _make_tables(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    # Two processes that start at once would both find nothing and both create it: one waits for the other.
    await connection.execute(select(func.pg_advisory_xact_lock(_DDL_LOCK)))
    await connection.execute(text("create extension if not exists vector"))
    await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=list(tables)))


def _where(
    *, device_ids: Sequence[str] | None, labels: Sequence[str], start: float | None, end: float | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if device_ids is not None:
        conditions.append(_C.device_id.in_(device_ids))
    if labels:
        conditions.append(_C.labels.overlap(list(labels)))
    if start is not None:
        conditions.append(_C.end_time >= utc(start))
    if end is not None:
        conditions.append(_C.start_time <= utc(end))
    return conditions


def _row(event: Event) -> dict[str, Any]:
    names = (*(item.label for item in event.labels), *(track.label for track in event.tracks))
    vector = event.embedding
    return {
        "event_id": event.event_id,
        "revision": event.revision,
        "device_id": event.device_id,
        "site_id": event.site_id,
        "region": event.region,
        "device_labels": list(event.device_labels),
        "trigger": event.trigger.value,
        "start_time": utc(event.start),
        "end_time": utc(event.end),
        "open": event.open,
        "score": event.score,
        "labels": list(dict.fromkeys(names)),
        "document": event_to(event).SerializeToString(),
        "embedding_model": vector.model if vector else None,
        "embedding": list(vector.values) if vector else None,
        "receive_time": None if event.receive_time is None else utc(event.receive_time),
        "media_offset": event.media_offset,
    }


def _event(document: bytes) -> Event:
    return event_of(parse(pb.Event, document))
