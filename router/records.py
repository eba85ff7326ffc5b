"""Keeps every question's record, pictures included, in one SQLite file.

In: `QuestionRecord`s. Out: the same, by id, by a unique beginning of an id, or the newest first. The first record of an
id is the one that stays. Blocking; `serve` calls it from threads.
It knows no plan and no wire call.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveate.errors import InvalidInput, NotFound, NotReady, OutOfSpace, TryAgain
from foveate.messages import QuestionRecord
from foveate.v1 import question_service_pb2 as pb
from foveate.wire import parse, record_of, record_to

KEPT = 10_000
"""Records on disk; the oldest go first. With a picture each that is about a gigabyte."""
SHORTEST = 8
"""Characters that a prefix of an id needs."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS question (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    question_id TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL
)
"""


class Records:
    """The records in one file; safe to call from several threads."""

    def __init__(self, path: Path, *, kept: int = KEPT) -> None:
        """NotReady when the file is no database of ours."""
        self._lock = threading.Lock()
        self._kept = kept
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _opened(path)
        except (sqlite3.Error, OSError) as error:
            raise NotReady(f"The records at {path} cannot be opened ({error}); move that file away.") from error

    def keep(self, record: QuestionRecord) -> QuestionRecord:
        """Stores it and returns the record that now stands under its id: the first one ever stored."""
        question_id = record.question.question_id
        content = record_to(record).SerializeToString()
        with self._locked() as db:
            insert = "INSERT INTO question (question_id, record) VALUES (?, ?) ON CONFLICT DO NOTHING"
            db.execute(insert, (question_id, content))
            db.execute("DELETE FROM question WHERE number <= (SELECT max(number) FROM question) - ?", (self._kept,))
            row = db.execute("SELECT record FROM question WHERE question_id = ?", (question_id,)).fetchone()
        return _record(row[0]) if row else record

    def first(self, question_id: str) -> QuestionRecord | None:
        """The record of exactly this id, None when there is none."""
        with self._locked() as db:
            row = db.execute("SELECT record FROM question WHERE question_id = ?", (question_id,)).fetchone()
        return _record(row[0]) if row else None

    def find(self, beginning: str) -> QuestionRecord:
        """The record whose id is or begins with this; NotFound for none, InvalidInput for several or a short one."""
        exact = self.first(beginning)
        if exact is not None:
            return exact
        if len(beginning) < SHORTEST:
            raise InvalidInput(f"A question's id needs at least {SHORTEST} characters; give more of it.")
        with self._locked() as db:
            query = "SELECT record FROM question WHERE substr(question_id, 1, ?) = ? LIMIT 2"
            rows = db.execute(query, (len(beginning), beginning)).fetchall()
        if not rows:
            raise NotFound(f"There is no question {beginning}; list them with `foveate explain`.", id=beginning)
        if len(rows) > 1:
            raise InvalidInput(f"Several questions begin with {beginning}; give more characters.", id=beginning)
        return _record(rows[0][0])

    def newest(self, count: int) -> tuple[QuestionRecord, ...]:
        """The latest records, newest first."""
        with self._locked() as db:
            rows = db.execute("SELECT record FROM question ORDER BY number DESC LIMIT ?", (count,)).fetchall()
        return tuple(_record(row[0]) for row in rows)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                if "full" in str(error):
                    raise OutOfSpace("The disk that keeps questions is full; free space there.") from error
                raise TryAgain(f"The records do not answer ({error}); try again.") from error


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _record(content: bytes) -> QuestionRecord:
    return record_of(parse(pb.QuestionRecord, content))
