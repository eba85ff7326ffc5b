"""The storage watchdog: recordings keep to their bytes and ages, and to what the disk has left, least worth first.

In: the segments, the operator's retention, the free space of the disk. Out: whether recording may go on, and an alarm
that says what was given up before its time. It writes nothing itself. Next: `record.py`, which asks it at every
key frame and, in long segments, every second.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from device_agent.rules import Retention
from device_agent.segments import Segment, Segments
from foveate.messages import Priority

logger = logging.getLogger(__name__)

RESERVE_BYTES = 32 << 20
"""Disk space that recordings leave free: events, which are small and dear, must still find room."""

RECENT_S = 60.0
"""Idle footage as young as this goes last: the next event may begin in it."""

_HEADROOM_BYTES = 8 << 20
_ALARM_S = 600.0
_PAUSE_S = 60.0  # after deleting did not help, as on a disk with quotas or snapshots


def free_bytes_of(folder: Path) -> int:
    """What the disk under a folder has left."""
    return shutil.disk_usage(folder).free


class Watchdog:
    """Deletes what must go. Called from the recording thread alone; `alarm` may be read from any."""

    def __init__(self, segments: Segments, retention: Retention, *, free_bytes: Callable[[Path], int]) -> None:
        self._segments, self._retention, self._free_bytes = segments, retention, free_bytes
        self._ages = {
            0: retention.idle_s,
            int(Priority.LOW): retention.low_s,
            int(Priority.NORMAL): retention.normal_s,
            int(Priority.HIGH): retention.high_s,
            int(Priority.URGENT): retention.urgent_s,
        }
        self._lost: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
        self._lost_at: float | None = None
        self._futile_at: float | None = None
        self._now = 0.0

    @property
    def alarm(self) -> str:
        """One sentence that says what was given up in the last ten minutes of trouble, and why; else nothing."""
        if self._lost_at is None or abs(self._now - self._lost_at) > _ALARM_S:
            return ""
        if self._lost[True]:
            return (
                f"The disk is nearly full: {_told(self._lost[True])} given up to keep recording; free space on this "
                "device."
            )
        return (
            f"The recordings have reached their limit of {self._retention.max_bytes / 1e6:.0f} MB: "
            f"{_told(self._lost[False])} given up before their time; allow this device more bytes."
        )

    def tend(self, now: float, *, writing: int) -> bool:
        """Whether recording may go on at `now` (Unix seconds), with `writing` bytes in the unfinished segment."""
        self._now = now
        if self._lost_at is not None and abs(now - self._lost_at) > _ALARM_S:
            self._lost, self._lost_at = {True: Counter(), False: Counter()}, None
        self._expire(now)
        over = self._segments.size_bytes() + writing - self._retention.max_bytes
        if over > 0:
            self._give_up(over, now=now, disk=False)
        return self._disk_has_room(now)

    def thin(self, now: float) -> None:
        """Gives up a little after the disk refused a write, whatever it says of its free space."""
        self._now = now
        self._give_up(_HEADROOM_BYTES, now=now, disk=True)

    def _expire(self, now: float) -> None:
        for priority, age in self._ages.items():
            for item in self._segments.expired(priority, now - age):
                self._segments.drop(item)

    def _disk_has_room(self, now: float) -> bool:
        free = self._free_bytes(self._segments.folder)
        if free >= RESERVE_BYTES:
            self._futile_at = None
            return True
        if self._futile_at is not None and 0 <= now - self._futile_at < _PAUSE_S:
            return False
        self._give_up(RESERVE_BYTES + _HEADROOM_BYTES - free, now=now, disk=True)
        after = self._free_bytes(self._segments.folder)
        # Deleting all for nothing would be worse than pausing.
        self._futile_at = now if after <= free else None
        return after >= RESERVE_BYTES

    def _give_up(self, needed: int, *, now: float, disk: bool) -> None:
        quiet = bool(self.alarm)
        while needed > 0:
            dropped = list(self._dropped(self._segments.cheapest(since=now - RECENT_S, now=now), needed))
            if not dropped:
                break
            needed -= sum(item.size_bytes for item in dropped)
            for item in dropped:
                # Idle footage is there to be overwritten when the ring is full; evidence is not.
                if disk or item.priority:
                    self._lost[disk][item.priority] += max(1, round((item.end or item.start) - item.start))
                    self._lost_at = now
        if self.alarm and not quiet:
            logger.warning("%s", self.alarm)

    def _dropped(self, offered: list[Segment], needed: int) -> Iterable[Segment]:
        for item in offered:
            if needed <= 0:
                return
            if self._segments.drop(item):
                needed -= item.size_bytes
                yield item


def _told(lost: Counter[int]) -> str:
    """Seconds by priority as words, with the verb that follows them."""
    parts = [f"{_duration(seconds)} of {_kind(priority)} footage" for priority, seconds in sorted(lost.items())]
    return f"{' and '.join([', '.join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]} were"


def _kind(priority: int) -> str:
    return f"{Priority(priority).name.lower()}-priority" if priority else "idle"


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds" if seconds != 1 else "1 second"
    return f"{round(seconds / 60)} minutes"
