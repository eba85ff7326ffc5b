"""The tables of remembered events: one row for each event, and one for each thing that was followed in it.

In: events. Out: their rows, the conditions that choose rows, and databases of older builds brought up to date.
It opens no database and asks nothing. Next: `memory.py`, which writes and reads these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Index,
    LargeBinary,
    Row,
    Select,
    SmallInteger,
    Table,
    Text,
    func,
    insert,
    or_,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import Field, SQLModel, select

from foveate.columns import add_missing
from foveate.messages import Event, LabelScore, Priority, Track, TriggerKind
from foveate.standing import MOST_STANDING_S, is_scenery
from foveate.v1 import event_pb2 as pb
from foveate.wire import event_of, event_to, parse, utc

_TIME = TIMESTAMP(timezone=True)
# Any number will do, as long as every process of this project that makes tables takes the same one.
_DDL_LOCK = 0x666F7665
_PAGE = 500
LOTS = 1024
LOT = f"abs(hashtext(event_id)) % {LOTS}"
"""The lot that an event fell into, by its id alone: the same in every run."""


class RememberedEvent(SQLModel, table=True):
    """One event: columns to search by, and `document`, the encoded `foveate.v1.Event` that it is rebuilt from."""

    __tablename__ = "remembered_event"
    __table_args__: ClassVar[Any] = (
        Index("remembered_event_by_device", "device_id", "start_time"),
        Index("remembered_event_by_end", "end_time"),
        Index("remembered_event_by_label", "labels", postgresql_using="gin"),
        Index("remembered_event_by_device_end", "device_id", "end_time"),
        Index("remembered_event_by_worth", "priority", "receive_time"),
        # A part of all events that is as good as drawn, for what is typical of them.
        Index("remembered_event_by_lot", text(f"({LOT})"), "start_time", "end_time"),
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
    priority: int = Field(
        default=int(Priority.NORMAL),
        sa_type=SmallInteger,
        sa_column_kwargs={"server_default": text(str(int(Priority.NORMAL)))},
    )


class RememberedTrack(SQLModel, table=True):
    """One thing that was followed in an event, or a label of it that nobody followed (`track_id` is null).

    It repeats what answers need of the event, so that a question about a month reads short rows of one table. Times
    are Unix seconds, and `score` is that of the best sighting.
    """

    __tablename__ = "remembered_track"
    __table_args__: ClassVar[Any] = (
        Index("remembered_track_by_label", "label", "start"),
        Index("remembered_track_by_device", "device_id", "start"),
        Index("remembered_track_by_thing", "device_id", "track_id", "start"),
        Index("remembered_track_by_scenery", "device_id", "end", postgresql_where=text("scenery")),
    )

    event_id: str = Field(primary_key=True, foreign_key="remembered_event.event_id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    track_id: int | None = Field(default=None, sa_type=BigInteger)
    device_id: str
    label: str
    score: float = Field(sa_type=Double)
    start: float = Field(sa_type=Double)
    end: float = Field(sa_type=Double)
    trigger: str
    event_start: float = Field(sa_type=Double)
    event_end: float = Field(sa_type=Double)
    open: bool
    media_offset: float | None = Field(default=None, sa_type=Double)
    scenery: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})


EVENTS: Table = RememberedEvent.__table__  # type: ignore[attr-defined]
TRACKS: Table = RememberedTrack.__table__  # type: ignore[attr-defined]
_C, _T = EVENTS.c, TRACKS.c


def row(event: Event) -> dict[str, Any]:
    """The event's columns. Pure."""
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
        "priority": int(event.priority),
    }


def track_rows(event: Event) -> list[dict[str, Any]]:
    """One row for each track, and one for each label that no track has. Pure."""
    shared = {
        "event_id": event.event_id,
        "device_id": event.device_id,
        "trigger": event.trigger.value,
        "event_start": event.start,
        "event_end": event.end,
        "open": event.open,
        "media_offset": event.media_offset,
        "scenery": is_scenery(event),
    }
    rows: list[dict[str, Any]] = []
    for track in event.tracks:
        best = max((track.score, *(seen.score for seen in track.sightings if seen.label == track.label)))
        about = {"track_id": track.track_id, "label": track.label, "score": best}
        rows.append(shared | about | {"start": track.start, "end": track.end, "number": len(rows)})
    followed = {track.label for track in event.tracks}
    for item in event.labels:
        if item.label not in followed:
            about = {"track_id": None, "label": item.label, "score": item.score}
            rows.append(shared | about | {"start": event.start, "end": event.end, "number": len(rows)})
    return rows


def outlines(rows: Iterable[Row[Any]]) -> tuple[Event, ...]:
    """Events made from rows of their tracks, in the order of the first of each: no sightings, and no place. Pure."""
    grouped: dict[str, list[Row[Any]]] = {}
    for each in rows:
        grouped.setdefault(each.event_id, []).append(each)
    return tuple(_outline(group) for group in grouped.values())


def _outline(group: Sequence[Row[Any]]) -> Event:
    first = group[0]
    tracks = [Track(r.track_id, r.label, r.score, r.start, r.end) for r in group if r.track_id is not None]
    return Event(
        event_id=first.event_id,
        revision=0,
        device_id=first.device_id,
        site_id="",
        region="",
        trigger=TriggerKind(first.trigger),
        start=first.event_start,
        end=first.event_end,
        open=first.open,
        score=max(r.score for r in group),
        labels=tuple(LabelScore(r.label, r.score) for r in group if r.track_id is None),
        tracks=tuple(tracks),
        media_offset=first.media_offset,
    )


def overlapping(
    *, device_ids: Sequence[str] | None, labels: Sequence[str] = (), start: float | None, end: float | None
) -> list[ColumnElement[bool]]:
    """The conditions on events that overlap [start, end]; None and () do not limit. Pure."""
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


def tracks_overlapping(
    *, device_ids: Sequence[str] | None, labels: Sequence[str], start: float | None, end: float | None
) -> list[ColumnElement[bool]]:
    """The conditions on tracks that overlap [start, end]. Pure."""
    conditions: list[ColumnElement[bool]] = []
    if device_ids is not None:
        conditions.append(_T.device_id.in_(device_ids))
    if labels:
        conditions.append(_T.label.in_(labels))
    if start is not None:
        conditions.append(_T.end >= start)
    if end is not None:
        conditions.append(_T.start <= end)
    return conditions


def scenery(*, device_ids: Sequence[str], labels: Sequence[str], start: float, end: float, limit: int) -> Select[Any]:
    """The documents of what became scenery before `end` and may stand there at `start` or later, latest first. Pure.

    With each, when its track was next told of, None for never.
    """
    later = TRACKS.alias()
    same = (later.c.device_id == _T.device_id, later.c.track_id == _T.track_id, later.c.event_id != _T.event_id)
    again = select(func.min(later.c.start)).where(*same, later.c.start >= _T.end).scalar_subquery()
    chosen = (
        _T.scenery,
        _T.device_id.in_(device_ids),
        _T.label.in_(labels),
        _T.end.between(start - MOST_STANDING_S, end),
        or_(again.is_(None), again >= start),
    )
    query = select(_C.document, again.label("again")).join(TRACKS, _T.event_id == _C.event_id).where(*chosen)
    return query.order_by(_T.end.desc(), _T.event_id).limit(limit)


def event_in(document: bytes) -> Event:
    """The event that a stored document holds."""
    return event_of(parse(pb.Event, document))


async def make_tables(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    """Makes the extension, both tables, `tables` and their indices when missing, and fills what an old build lacks."""
    # Two processes that start at once would both find nothing and both create it: one waits for the other.
    await connection.execute(select(func.pg_advisory_xact_lock(_DDL_LOCK)))
    await connection.execute(text("create extension if not exists vector"))
    missing = "select to_regclass('remembered_event') is not null and to_regclass('remembered_track') is null"
    old = bool(await connection.scalar(text(missing)))
    if old:
        normal = int(Priority.NORMAL)
        await connection.execute(
            text(f"alter table remembered_event add column if not exists priority smallint not null default {normal}")
        )
    every = [EVENTS, TRACKS, *tables]
    await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=every))
    await connection.run_sync(lambda sync: add_missing(sync, every))
    for index in (index for table in every for index in table.indexes):
        await connection.run_sync(index.create, checkfirst=True)
    if old:
        await _fill(connection)


async def _fill(connection: AsyncConnection) -> None:
    """Priorities and tracks of events that were remembered before there were columns for them."""
    last = ""
    page = select(_C.event_id, _C.document).order_by(_C.event_id).limit(_PAGE)
    while found := (await connection.execute(page.where(_C.event_id > last))).all():
        for each in found:
            event = event_in(each.document)
            if event.priority is not Priority.NORMAL:
                changed = update(EVENTS).where(_C.event_id == each.event_id).values(priority=int(event.priority))
                await connection.execute(changed)
            if rows := track_rows(event):
                await connection.execute(insert(TRACKS), rows)
        last = found[-1].event_id
