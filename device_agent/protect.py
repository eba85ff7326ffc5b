"""Which spans of footage matter, and how much: a list in a text file, one line for each span.

In: spans with the priority of their event. Out: the highest priority that a stretch of footage touches. A line is
written before `add` returns, so a killed process forgets nothing, and a damaged index can be made anew from it; a
line cut short is skipped. It knows no segments. Next: `segments.py`, which keeps footage by it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.messages import Priority

logger = logging.getLogger(__name__)

_MOST_LINES = 4096
_MOST_SPANS = 2048


@dataclass(frozen=True, slots=True)
class _Span:
    start: float
    end: float
    priority: int

    def touches(self, start: float, end: float) -> bool:
        return self.start <= end and self.end >= start


class Protected:
    """The spans, safe from any thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._spans: list[_Span] = []
        self._lines = 0
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for span in map(_parsed, lines):
            if span is not None:
                self._merge(span)
        self._rewrite()  # heals a line that was cut short, to which the next one would be glued

    def add(self, start: float, end: float, priority: Priority) -> None:
        """Notes that [start, end] matters; on disk when this returns, or kept in memory when the disk is full."""
        span = _Span(start, end, int(priority))
        with self._lock:
            if any(s.start <= start and s.end >= end and s.priority >= span.priority for s in self._spans):
                return
            self._merge(span)
            if self._lines >= _MOST_LINES:
                self._rewrite()
                return
            try:
                with self._path.open("a") as file:
                    file.write(_line(span))
                self._lines += 1
            except OSError as error:
                self._lines = _MOST_LINES  # what was not written goes with the next
                logger.warning("a protected span is not on disk yet", extra={"error": error.strerror})

    def of(self, start: float, end: float) -> int:
        """The highest priority that [start, end] touches; 0 for none."""
        with self._lock:
            return max((span.priority for span in self._spans if span.touches(start, end)), default=0)

    @property
    def crowded(self) -> bool:
        """Whether it is time to `forget`."""
        return len(self._spans) > _MOST_SPANS

    def forget(self, before: float) -> None:
        """Lets go of spans that ended before a moment of which nothing is kept any more, then of the least and oldest.

        The newest stay whatever they are worth: their segments may not be finished yet.
        """
        with self._lock:
            left = sorted((span for span in self._spans if span.end >= before), key=lambda span: span.end)
            older, newest = left[: -_MOST_SPANS // 4], left[-_MOST_SPANS // 4 :]
            older.sort(key=lambda span: (span.priority, span.end))
            self._spans = [*older[-_MOST_SPANS // 4 :], *newest]
            self._rewrite()

    def _merge(self, new: _Span) -> None:
        """An event that goes on grows its span instead of adding another."""
        for number, span in enumerate(reversed(self._spans), start=1):
            if span.priority == new.priority and span.touches(new.start, new.end):
                merged = replace(span, start=min(span.start, new.start), end=max(span.end, new.end))
                self._spans[-number] = merged
                return
        self._spans.append(new)

    def _rewrite(self) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_text("".join(map(_line, self._spans)))
            os.replace(part, self._path)
            self._lines = len(self._spans)
        except OSError as error:
            self._lines = _MOST_LINES
            logger.warning("the protected spans could not be written", extra={"error": error.strerror})


def _line(span: _Span) -> str:
    return f"{span.start!r} {span.end!r} {span.priority} .\n"


def _parsed(line: str) -> _Span | None:
    words = line.split()
    if len(words) != 4 or words[3] != ".":
        return None
    try:
        span = _Span(float(words[0]), float(words[1]), int(Priority(int(words[2]))))
    except ValueError:
        return None
    return span if math.isfinite(span.start) and math.isfinite(span.end) else None
