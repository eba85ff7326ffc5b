"""The device's clock: the wall clock may jump and the machine may sleep, time only goes on."""

from __future__ import annotations

import threading
import time

import pytest

from device_agent import clock
from device_agent.clock import SteadyClock


@pytest.mark.parametrize("jump", [-86_400.0, 3600.0])
def test_a_wall_clock_that_jumps_does_not_matter(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    steady = SteadyClock()
    before, wall = steady.now(), time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    assert 0 <= steady.now() - before < 1


def test_time_spent_asleep_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = [1000.0]
    monkeypatch.setattr(clock, "_passed", lambda: passed[0])
    steady = SteadyClock()
    before = steady.now()
    passed[0] += 7200.0
    assert steady.now() == before + 7200.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux tells the time that it slept")
def test_sleep_is_counted_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = SteadyClock()
    before, boot = steady.now(), time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: boot(which) + 600.0 * (which == time.CLOCK_BOOTTIME))
    assert 600 <= steady.now() - before < 601


def test_waiting_ends_when_the_moment_passed_in_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait stands still while the machine sleeps, so it is taken in slices and the clock asked again."""
    passed = [1000.0]
    monkeypatch.setattr(clock, "_passed", lambda: passed[0])
    steady, waits = SteadyClock(), []

    class Sleepy(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            passed[0] += 7200.0
            return False

    steady.wait_until(steady.now() + 3600.0, Sleepy())
    assert len(waits) == 1
    assert waits[0] <= 1.0


def test_waiting_ends_when_all_stops() -> None:
    stop = threading.Event()
    stop.set()
    steady = SteadyClock()
    before = time.monotonic()
    steady.wait_until(steady.now() + 60.0, stop)
    assert time.monotonic() - before < 1.0
