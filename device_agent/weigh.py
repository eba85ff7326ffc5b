"""Rung 1: what packet sizes tell, without decoding anything.

In: size, kind and time of each coded picture. Out: whether it deviates from what this camera usually sends, in either
direction: a car adds detail, but a bright one also darkens the exposure and makes packets smaller. Sizes prove nothing
when they are usual, so a key frame passes at least every `PATROL_S` whatever they say. Streams that hold key frames
only (MJPEG, raw pictures) carry no such news and pass whole. Next: `frames.py`, which decodes what passed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATROL_S = 60.0
"""What stays in view for longer than this, or than one group of pictures, is compared whatever packet sizes say."""

_SMOOTH_S = 0.4
_DEVIATIONS = 5.5
_LEAST_SPREAD = 0.045  # of the logarithm
_MOST_SPREAD = 0.7
_RATE, _SPREAD_RATE = 0.08, 0.03
_LEARNING = 6  # pictures of a kind before their sizes mean anything
_HUBER = 3.0  # an outlier moves the baseline no more than this many spreads would
_HOLD_S = 2.0  # after a deviation, so that the next rung sees how it goes on
_HOLD_PACKETS = 2  # at one picture a second that is longer
_REFRESH = 8  # pictures after a key frame that encoders make larger than the rest, each in its own way
_ALL_KEYS = 8  # key frames in a row, from the start, that show a stream without any other


@dataclass(slots=True)
class _Baseline:
    """The running level and spread of log sizes of one kind of picture."""

    level: float | None = None
    spread: float = 0.2
    smoothed: float = 0.0
    seen: int = 0

    def deviation(self, value: float, share: float) -> float:
        """Spreads between the smoothed value and the level; learns from it."""
        if self.level is None:
            self.level = self.smoothed = value
        self.smoothed += share * (value - self.smoothed)
        off = self.smoothed - self.level
        spread = min(max(self.spread, _LEAST_SPREAD), _MOST_SPREAD)
        self.seen += 1
        most = _HUBER * spread if self.seen > _LEARNING else math.inf
        rate = 1.0 / self.seen if self.seen <= _LEARNING else 0.0
        self.level += max(_RATE, rate) * min(max(off, -most), most)
        self.spread += max(_SPREAD_RATE, rate) * (min(abs(off), most) - self.spread)
        return abs(off) / spread if self.seen > _LEARNING else 0.0


class PacketGate:
    """Smoothed log size against its running baseline, apart for each place in the group of pictures."""

    def __init__(self) -> None:
        self._baselines = [_Baseline() for _ in range(_REFRESH + 1)]
        self._place = 0
        self._keys_only = 0
        self._before: float | None = None
        self._awake_until, self._awake_packets = -math.inf, 0
        self._patrolled = -math.inf

    @property
    def blind(self) -> bool:
        """Whether the stream seems to have key frames only, so that sizes say nothing."""
        return self._keys_only >= _ALL_KEYS

    def weigh(self, *, size: int, key: bool, time: float) -> bool:
        """Whether the picture in this packet (bytes; Unix seconds) is worth decoding."""
        passed = 0.0 if self._before is None else time - self._before
        self._before = time
        if passed < 0.0 or passed > 10 * PATROL_S:
            self._awake_until = self._patrolled = -math.inf
        self._keys_only = self._keys_only + 1 if key else -(10**9)
        if self._keys_only >= _ALL_KEYS:
            return True
        self._place = 0 if key else min(self._place + 1, _REFRESH)
        share = min(1.0, passed / _SMOOTH_S) if self._place == _REFRESH and passed > 0.0 else 1.0
        baseline = self._baselines[self._place]
        if baseline.deviation(math.log(max(size, 1)), share) > _DEVIATIONS:
            self._awake_until, self._awake_packets = time + _HOLD_S, _HOLD_PACKETS
        elif time > self._awake_until:
            self._awake_packets -= 1
        return self._awake_packets > 0 or self._patrol(key, time)

    def _patrol(self, key: bool, time: float) -> bool:
        due = key and time - self._patrolled >= PATROL_S
        if due:
            self._patrolled = time
        return due
