"""What a site remembers besides events: key frames, what is written in them, what was said.

In: key frames, recognised text and speech with times. Out: the same by device, time, word or likeness. All of it
belongs to a remembered event, and goes when that goes. It recognises nothing itself: `gather.py` does.
Next: `answer.py` and `retention.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, Table, and_, delete, func, insert, or_, select

from edge_node.tables import KEY_FRAMES, SPEECH, TEXTS
from foveate import alike
from foveate.alike import Indices
from foveate.memory import Memory
from foveate.messages import Embedding
from foveate.remembered import EVENTS, TRACKS
from foveate.vision.boxes import Box

_WORD = re.compile(r"\w+")
_ROW_BYTES = 96
"""What PostgreSQL adds to a row with its entries in two indices, about."""


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One picture that stands for a moment of an event (JPEG); times are Unix seconds by the device's clock."""

    key_frame_id: str
    device_id: str
    event_id: str
    time: float
    picture: bytes = field(repr=False)
    embedding: Embedding | None = None
    media_offset: float | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """One line that was read in a key frame; `score` is the recogniser's, 0 to 1, not calibrated."""

    key_frame_id: str
    device_id: str
    event_id: str
    time: float
    text: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Spoken:
    """One stretch of speech; `confidence` is exp(mean log p) of its tokens, `silence` the chance that nobody spoke."""

    device_id: str
    event_id: str
    start: float
    end: float
    text: str
    language: str
    confidence: float
    silence: float


class Scene:
    """The scene memory in the database of the events; every method is safe to call from many tasks at once.

    Every method raises Unreachable when the database does not answer, and OutOfSpace when its disk is full.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.indices = Indices(memory.engine, KEY_FRAMES)
        """Of the key frames' vectors."""

    async def keep(
        self,
        event_id: str,
        frames: Sequence[KeyFrame],
        written: Sequence[Written],
        spoken: Sequence[Spoken],
        also: Sequence[Executable] = (),
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> bool:
        """Keeps what was gathered about one event in one transaction, instead of what was kept of it before.

        With `start` and `end`, instead of what began in that span, `end` excluded: a long event is gathered in parts.
        False, and nothing is kept, when the event is no longer remembered. `also` are statements that take effect
        together with it. What is written in a key frame that is not among `frames` is left out.
        """
        for frame in frames:
            await self._memory.ensure(self.indices, frame.embedding)
        there = {frame.key_frame_id for frame in frames}
        rows = (
            (KEY_FRAMES, [_frame_row(event_id, frame) for frame in frames]),
            (TEXTS, [_written_row(event_id, line) for line in written if line.key_frame_id in there]),
            (SPEECH, [_spoken_row(event_id, stretch) for stretch in spoken]),
        )
        # The event's row is held, so that two that gather for one event do not mix.
        held = select(EVENTS.c.event_id).where(EVENTS.c.event_id == event_id).with_for_update(key_share=True)
        async with self._memory.transaction() as connection:
            if await connection.scalar(held) is None:
                return False
            for table, _ in rows:
                await connection.execute(delete(table).where(table.c.event_id == event_id, *_begun(table, start, end)))
            for table, values in rows:
                if values:
                    await connection.execute(insert(table), values)
            for statement in also:
                await connection.execute(statement)
            return True

    async def key_frames(
        self,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        limit: int = 64,
        *,
        event_ids: Sequence[str] | None = None,
    ) -> tuple[KeyFrame, ...]:
        """Key frames in [start, end], the newest first; None for `device_ids` means every device."""
        where = _between(KEY_FRAMES, device_ids, start, end)
        if event_ids is not None:
            where.append(KEY_FRAMES.c.event_id.in_(event_ids))
        query = select(KEY_FRAMES).where(*where).order_by(KEY_FRAMES.c.time.desc()).limit(limit)
        return tuple(_frame(row) for row in await self._rows(query))

    async def written(
        self,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        words: Sequence[str] = (),
        limit: int = 64,
    ) -> tuple[Written, ...]:
        """Lines read in [start, end], the newest first, with at least one of `words` as whole words in any case.

        One of `words` may be a phrase, whose words must follow one another.
        """
        where = [*_between(TEXTS, device_ids, start, end), *_with_words(TEXTS, words)]
        query = select(TEXTS).where(*where).order_by(TEXTS.c.time.desc(), TEXTS.c.text_id).limit(limit)
        return tuple(_written(row) for row in await self._rows(query))

    async def spoken(
        self,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        words: Sequence[str] = (),
        limit: int = 64,
    ) -> tuple[Spoken, ...]:
        """Stretches of speech that overlap [start, end], the newest first, words as in `written`."""
        where = [*_between(SPEECH, device_ids, start, end), *_with_words(SPEECH, words)]
        query = select(SPEECH).where(*where).order_by(SPEECH.c.start.desc(), SPEECH.c.speech_id).limit(limit)
        return tuple(_spoken(row) for row in await self._rows(query))

    async def nearest(
        self,
        embedding: Embedding,
        *,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        limit: int,
        exact: bool = False,
    ) -> tuple[tuple[KeyFrame, float], ...]:
        """The most alike key frames with their cosine similarity (-1 to 1), best first, as `Memory.nearest`."""
        where = _between(KEY_FRAMES, device_ids, start, end)
        async with self._memory.transaction() as connection:
            found = await alike.nearest(connection, KEY_FRAMES, embedding, where=where, limit=limit, exact=exact)
            query = select(KEY_FRAMES).where(KEY_FRAMES.c.key_frame_id.in_([key for key, _ in found]))
            rows = {row.key_frame_id: row for row in (await connection.execute(query)).all()}
        return tuple((_frame(rows[key]), score) for key, score in found if key in rows)

    async def size(self) -> dict[str, int]:
        """Bytes of the rows that are there, about: events with their tracks, key frames, text, speech.

        Files of the database are larger by the room of removed rows, which new rows take.
        """
        async with self._memory.transaction() as connection:
            sizes = {name: int(await connection.scalar(query) or 0) for name, query in _SIZES.items()}
        return {"events": sizes.pop("tracks") + sizes.pop("events"), **sizes}

    async def _rows(self, query: Select[Any]) -> Sequence[Any]:
        async with self._memory.transaction() as connection:
            found: Sequence[Any] = (await connection.execute(query)).all()
            return found


def words_of(text: str) -> list[str]:
    """The words of a text as they are searched for: compatibility forms, case folded, no punctuation. Pure."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def bytes_of(table: Table) -> ColumnElement[int]:
    """The bytes of one row of a table with its entries in indices, about; a vector stands in its index once more."""
    columns = [func.coalesce(func.pg_column_size(column), 0) for column in table.c]
    if "embedding" in table.c:
        columns.append(func.coalesce(func.pg_column_size(table.c.embedding), 0))
    total: ColumnElement[int] = columns[0]
    for column in columns[1:]:
        total = total + column
    return total + _ROW_BYTES


_SIZES = {
    name: select(func.sum(bytes_of(table)))
    for name, table in (
        ("events", EVENTS),
        ("tracks", TRACKS),
        ("key_frames", KEY_FRAMES),
        ("written", TEXTS),
        ("spoken", SPEECH),
    )
}


def _begun(table: Table, start: float | None, end: float | None) -> list[ColumnElement[bool]]:
    begin = table.c.start if "start" in table.c else table.c.time
    bounds = (None if start is None else begin >= start, None if end is None else begin < end)
    return [bound for bound in bounds if bound is not None]


def _between(
    table: Table, device_ids: Sequence[str] | None, start: float | None, end: float | None
) -> list[ColumnElement[bool]]:
    first, last = (table.c.start, table.c.end) if "start" in table.c else (table.c.time, table.c.time)
    conditions: list[ColumnElement[bool]] = []
    if device_ids is not None:
        conditions.append(table.c.device_id.in_(device_ids))
    if start is not None:
        conditions.append(last >= start)
    if end is not None:
        conditions.append(first <= end)
    return conditions


def _with_words(table: Table, words: Sequence[str]) -> list[ColumnElement[bool]]:
    """At least one of the phrases: found by their words in the index, then held against the line's order of words."""
    if not words:
        return []
    line = " " + func.array_to_string(table.c.words, " ") + " "
    phrases = [phrase for phrase in map(words_of, words) if phrase]
    return [
        or_(
            False,
            *(
                and_(table.c.words.contains(phrase), func.strpos(line, f" {' '.join(phrase)} ") > 0)
                for phrase in phrases
            ),
        )
    ]


def _frame_row(event_id: str, frame: KeyFrame) -> dict[str, Any]:
    vector = frame.embedding
    return {
        "key_frame_id": frame.key_frame_id,
        "event_id": event_id,
        "device_id": frame.device_id,
        "time": frame.time,
        "picture": frame.picture,
        "embedding_model": vector.model if vector else None,
        "embedding": list(vector.values) if vector else None,
        "media_offset": frame.media_offset,
    }


def _frame(row: Any) -> KeyFrame:  # noqa: ANN401  a row
    # The driver gives vectors as they come: text, a list or an array, by its version.
    vector = None if row.embedding is None else Embedding(row.embedding_model, tuple(map(float, row.embedding)))
    return KeyFrame(
        row.key_frame_id, row.device_id, row.event_id, row.time, row.picture, vector, media_offset=row.media_offset
    )


def _written_row(event_id: str, line: Written) -> dict[str, Any]:
    return {
        "key_frame_id": line.key_frame_id,
        "event_id": event_id,
        "device_id": line.device_id,
        "time": line.time,
        "text": _plain(line.text),
        "words": words_of(_plain(line.text)),
        "score": line.score,
        "box": [line.box.left, line.box.top, line.box.width, line.box.height],
    }


def _written(row: Any) -> Written:  # noqa: ANN401  a row
    return Written(row.key_frame_id, row.device_id, row.event_id, row.time, row.text, row.score, Box(*row.box))


def _spoken_row(event_id: str, stretch: Spoken) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "device_id": stretch.device_id,
        "start": stretch.start,
        "end": stretch.end,
        "text": _plain(stretch.text),
        "words": words_of(_plain(stretch.text)),
        "language": stretch.language,
        "confidence": stretch.confidence,
        "silence": stretch.silence,
    }


def _spoken(row: Any) -> Spoken:  # noqa: ANN401  a row
    return Spoken(row.device_id, row.event_id, row.start, row.end, row.text, row.language, row.confidence, row.silence)


def _plain(text: str) -> str:
    """PostgreSQL keeps no NUL in text, and a recogniser may have read one."""
    return text.replace("\x00", "")
