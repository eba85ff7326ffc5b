"""Where there is no footage, and why: a short, bounded list beside the index of what there is.

In: when footage stopped and why, when it went on. Out: the gaps, oldest first, the last of which may still be open.
It survives the process. Footage that retention deleted is no gap. It knows no media. Next: `record.py`, which calls
it, and whoever asks the device how it is.
"""

from __future__ import annotations

import threading

from device_agent.index import Index
from foveate.commands import Gap

_MOST = 256


class Gaps:
    """The list, safe from any thread."""

    def __init__(self, index: Index) -> None:
        self._index, self._lock = index, threading.Lock()
        found = index.rows("SELECT number, start FROM gap WHERE end IS NULL ORDER BY number DESC LIMIT 1")
        self._open: tuple[int, float] | None = (int(found[0][0]), float(found[0][1])) if found else None

    @property
    def open(self) -> bool:
        """Whether there is no footage now."""
        return self._open is not None

    def begin(self, start: float, reason: str) -> None:
        """Footage stopped; while a gap is open its first reason stands."""
        with self._lock:
            if self._open is None:
                number = self._index.change("INSERT INTO gap (start, end, reason) VALUES (?, NULL, ?)", start, reason)
                self._open = (number, start)
                self._bound()

    def end(self, moment: float, *, least_s: float) -> None:
        """Footage goes on; a gap shorter than `least_s` was none."""
        with self._lock:
            if self._open is None:
                return
            number, start = self._open
            if moment - start < least_s:
                self._index.change("DELETE FROM gap WHERE number = ?", number)
            else:
                self._index.change("UPDATE gap SET end = ? WHERE number = ?", moment, number)
            self._open = None

    def add(self, start: float, end: float, reason: str) -> None:
        """A gap that is over already."""
        with self._lock:
            self._index.change("INSERT INTO gap (start, end, reason) VALUES (?, ?, ?)", start, end, reason)
            self._bound()

    def all(self) -> tuple[Gap, ...]:
        """The newest 256 gaps, newest last."""
        return tuple(Gap(*row) for row in self._index.rows("SELECT start, end, reason FROM gap ORDER BY number"))

    def _bound(self) -> None:
        self._index.change("DELETE FROM gap WHERE number <= (SELECT max(number) FROM gap) - ?", _MOST)
