"""The funnel: how much came to each rung of the ladder, how much it passed up, and what that cost.

In: counts and CPU seconds from the thread that looks. Out: `Rung`s, for any thread. It decides nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from foveate.commands import Rung

PACKETS, LUMA, ENCODER, DETECTOR, EVENTS = "packets", "luma", "encoder", "detector", "events"
RUNGS = (PACKETS, LUMA, ENCODER, DETECTOR, EVENTS)


@dataclass(slots=True)
class _Count:
    seen: int = 0
    passed: int = 0
    cpu_seconds: float = 0.0


class Funnel:
    """The counts of all rungs since the start."""

    def __init__(self) -> None:
        self._counts = {name: _Count() for name in RUNGS}
        self._lock = threading.Lock()

    def count(self, rung: str, *, seen: int = 0, passed: int = 0, cpu_seconds: float = 0.0) -> None:
        """Adds to one rung."""
        with self._lock:
            count = self._counts[rung]
            count.seen, count.passed = count.seen + seen, count.passed + passed
            count.cpu_seconds += cpu_seconds

    @contextlib.contextmanager
    def spending(self, rung: str) -> Iterator[None]:
        """Adds the CPU seconds that the calling thread takes inside the block."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.count(rung, cpu_seconds=time.thread_time() - began)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Every rung, lowest first."""
        with self._lock:
            return tuple(
                Rung(name, count.seen, count.passed, count.cpu_seconds) for name, count in self._counts.items()
            )
