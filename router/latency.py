"""How long placements really take: the last measured seconds of each kind, and their upper quantile.

In: a placement and the seconds it took. Out: the seconds that 95 of 100 such steps keep to. Kept in memory; until
there are enough of them, the policy's constant counts.
It knows no clock and no cost; `candidates` reads it, `pipeline` feeds it.
"""

from __future__ import annotations

import math
from collections import deque

from foveate.messages import Placement, Task

WINDOW = 64
"""Steps that count; about the last hour of a busy node."""
ENOUGH = 8
"""Steps below which one slow answer would say too much."""


class Latencies:
    """Measured seconds for each placement and task."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[Placement, Task], deque[float]] = {}

    def took(self, placement: Placement, task: Task, seconds: float) -> None:
        """Remembers one step that answered."""
        self._seconds.setdefault((placement, task), deque(maxlen=WINDOW)).append(seconds)

    def q95(self, placement: Placement, task: Task, *, otherwise: float) -> float:
        """The 95th percentile of what was measured, rounded up to a measured one; `otherwise` when too few."""
        seconds = self._seconds.get((placement, task), ())
        if len(seconds) < ENOUGH:
            return otherwise
        return sorted(seconds)[min(len(seconds), math.ceil(0.95 * (len(seconds) + 1))) - 1]
