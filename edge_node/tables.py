"""What the edge keeps besides events: what goes out, letters nobody could read, what devices sent, filmed and showed.

In: nothing. Out: SQLModel tables, made by `Memory.open(url, tables=TABLES)` in the database of the events, so that
one transaction covers an event and the decision about it. Knows no query: `remember.py`, `scene.py` and `egress.py` are
next.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, Double, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, INT8MULTIRANGE, TIMESTAMP
from sqlmodel import Field, SQLModel

_TIME = TIMESTAMP(timezone=True)


class EgressItem(SQLModel, table=True):
    """One decision about one revision of an event; it waits to be released while it has a payload."""

    __tablename__ = "egress_item"
    # What waits is asked for every second, while what was withheld stays for the record.
    __table_args__ = (
        Index("egress_item_waits", "item_id", postgresql_where=text("payload IS NOT NULL")),
        Index("egress_item_by_time", "time"),
    )

    item_id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    event_id: str
    revision: int
    device_id: str
    representation: str
    rule: str
    reason: str
    time: datetime = Field(sa_type=_TIME)
    # The event as it may travel; null when nothing of it may.
    payload: bytes | None = None


class Release(SQLModel, table=True):
    """One thing that left the site, for whoever audits it."""

    __tablename__ = "release"

    release_id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    time: datetime = Field(sa_type=_TIME, index=True)
    what: str
    # The question, the order or the link that it left for; empty in rows of versions that did not say.
    why: str = Field(default="", sa_column_kwargs={"server_default": ""})
    device_id: str
    destination: str
    representation: str
    rule: str
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str


class DeadLetterRow(SQLModel, table=True):
    """A message that can never be handled, and why; a redelivery is the same letter, by its digest."""

    __tablename__ = "dead_letter"

    digest: str = Field(primary_key=True)
    time: datetime = Field(sa_type=_TIME, index=True)
    subject: str
    reason: str
    message: str
    payload: bytes


class DeviceSequence(SQLModel, table=True):
    """The numbers of one device's revisions that are here or gone for good."""

    __tablename__ = "device_sequence"

    device_id: str = Field(primary_key=True)
    had: Any = Field(sa_type=INT8MULTIRANGE)


class ArchivedClip(SQLModel, table=True):
    """The footage of one event: `waiting` to be pulled, `kept` here, or `gone` with the reason; device time."""

    __tablename__ = "archived_clip"
    __table_args__ = (Index("archived_clip_by_device", "device_id", "state", "priority"),)

    event_id: str = Field(primary_key=True)
    device_id: str
    priority: int
    start: float
    end: float
    state: str = "waiting"
    reason: str = ""
    # What the device named the clip and said of it; null until it is kept.
    clip_id: str | None = None
    header: bytes | None = None
    size_bytes: int = Field(default=0, sa_type=BigInteger)
    time: datetime = Field(sa_type=_TIME)


class KeyFrameRow(SQLModel, table=True):
    """One picture of an event, with its vector; times of this and the next two tables are Unix seconds."""

    __tablename__ = "key_frame"
    __table_args__ = (Index("key_frame_by_device", "device_id", "time"), Index("key_frame_by_model", "embedding_model"))

    key_frame_id: str = Field(primary_key=True)
    event_id: str = Field(foreign_key="remembered_event.event_id", ondelete="CASCADE", index=True)
    device_id: str
    time: float = Field(sa_type=Double)
    picture: bytes
    embedding_model: str | None = None
    embedding: Any = Field(default=None, sa_type=Vector, nullable=True)
    media_offset: float | None = Field(default=None, sa_type=Double)


class RecognisedText(SQLModel, table=True):
    """One line that was read in a key frame; `words` are its words in the order in which they stand."""

    __tablename__ = "recognised_text"
    __table_args__ = (
        Index("recognised_text_by_device", "device_id", "time"),
        Index("recognised_text_by_word", "words", postgresql_using="gin"),
    )

    text_id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    key_frame_id: str = Field(foreign_key="key_frame.key_frame_id", ondelete="CASCADE", index=True)
    event_id: str = Field(foreign_key="remembered_event.event_id", ondelete="CASCADE", index=True)
    device_id: str
    time: float = Field(sa_type=Double)
    text: str
    words: list[str] = Field(sa_type=ARRAY(Text))
    score: float = Field(sa_type=Double)
    box: list[float] = Field(sa_type=ARRAY(Double))


class Speech(SQLModel, table=True):
    """One stretch of speech in an event's footage."""

    __tablename__ = "speech"
    __table_args__ = (
        Index("speech_by_device", "device_id", "start"),
        Index("speech_by_word", "words", postgresql_using="gin"),
    )

    speech_id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    event_id: str = Field(foreign_key="remembered_event.event_id", ondelete="CASCADE", index=True)
    device_id: str
    start: float = Field(sa_type=Double)
    end: float = Field(sa_type=Double)
    text: str
    words: list[str] = Field(sa_type=ARRAY(Text))
    language: str
    confidence: float = Field(sa_type=Double)
    silence: float = Field(sa_type=Double)


class WantedMoment(SQLModel, table=True):
    """One moment of one event: it waits, was `kept`, was `refused` by a rule, or is `gone` with the reason.

    `start` and `end` are Unix seconds by the device's clock, `not_before` by the edge's.
    """

    __tablename__ = "wanted_moment"
    __table_args__ = (
        Index("wanted_moment_waits", "priority", "start", postgresql_where=text("state = 'waiting'")),
        Index("wanted_moment_by_time", "time"),
    )

    event_id: str = Field(primary_key=True)
    part: int = Field(primary_key=True)
    device_id: str
    priority: int
    heard: bool
    start: float = Field(sa_type=Double)
    end: float = Field(sa_type=Double)
    state: str = "waiting"
    reason: str = ""
    tries: int = 0
    not_before: float = Field(default=0.0, sa_type=Double)
    time: datetime = Field(sa_type=_TIME)


EGRESS: Table = EgressItem.__table__  # type: ignore[attr-defined]
RELEASES: Table = Release.__table__  # type: ignore[attr-defined]
DEAD_LETTERS: Table = DeadLetterRow.__table__  # type: ignore[attr-defined]
SEQUENCES: Table = DeviceSequence.__table__  # type: ignore[attr-defined]
ARCHIVE: Table = ArchivedClip.__table__  # type: ignore[attr-defined]
KEY_FRAMES: Table = KeyFrameRow.__table__  # type: ignore[attr-defined]
TEXTS: Table = RecognisedText.__table__  # type: ignore[attr-defined]
SPEECH: Table = Speech.__table__  # type: ignore[attr-defined]
WANTED: Table = WantedMoment.__table__  # type: ignore[attr-defined]
TABLES = (EGRESS, RELEASES, DEAD_LETTERS, SEQUENCES, ARCHIVE, KEY_FRAMES, TEXTS, SPEECH, WANTED)
