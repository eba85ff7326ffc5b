"""The time of this device: the wall clock as it was at the start, and from then on only forward.

In: nothing. Out: Unix seconds that never jump, so that one stay in view never ends before it starts. Whether they
are right is not known here: the edge compares them with its own clock. Next: `capture.py`, which stamps packets.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

_SLICE_S = 1.0


class Clock(Protocol):
    """Where the agent's parts get the time from."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def wait_until(self, moment: float, stop: threading.Event) -> None:
        """Blocks until `now() >= moment` or `stop` is set."""
        ...


class SteadyClock:
    """Wall time at construction plus the time that passed since, sleep of the machine included where it is known."""

    def __init__(self) -> None:
        self._offset = time.time() - _passed()

    def now(self) -> float:
        """Unix seconds."""
        return self._offset + _passed()

    def wait_until(self, moment: float, stop: threading.Event) -> None:
        """Blocks until `now() >= moment` or `stop` is set."""
        # In slices, since waiting stands still while the machine sleeps.
        while (delay := moment - self.now()) > 0 and not stop.wait(min(delay, _SLICE_S)):
            pass


def _passed() -> float:
    # CLOCK_MONOTONIC stands still while a laptop sleeps; only Linux has the other one.
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
