"""Rung 1: what packet sizes tell, without decoding anything.

In: size, kind and time of each coded picture, and whether the pictures last looked at were quiet. Out: whether the
size deviates from what this camera sends when nothing happens, in either direction: a car adds detail, but a bright
one also darkens the exposure and makes packets smaller. Usual sizes prove nothing, so a key frame passes every
`PATROL_S` whatever they say; and where sizes swing by themselves, as rate control makes them, or noise fills them, this
rung knows that it is blind and lets a picture pass every `BLIND_S`. Streams of key frames only (MJPEG, raw pictures)
carry no such news and pass whole. Next: `frames.py`, which decodes what passed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATROL_S = 2.0
"""What stays in view for longer than this, or than one group of pictures, is compared whatever packet sizes say."""

BLIND_S = 0.9
"""The same where sizes say little."""

LONGEST_S = 60.0
"""The same for groups of pictures that go on and on."""

_NOISY = 0.15  # bits a pixel of a quiet picture: more is noise, in which an event does not stand out
_TRUST = 0.25  # spread of the logarithm of quiet sizes, above which they say little
_SMOOTH_S = 0.4
_DEVIATIONS = 4.0
_SPREAD = (0.015, 0.7)  # of the logarithm
_RATE, _OFFSET_RATE, _SPREAD_RATE = 0.08, 0.05, 0.03
_LEARNING = 6  # pictures of a kind before their sizes mean anything
_HUBER = 3.0  # an outlier moves the baseline no more than this many spreads would
_HOLD_S = 2.0  # after a deviation, so that the next rung sees how it goes on
_HOLD_PACKETS = 2  # at one picture a second that is longer
_REFRESH = 8  # pictures after a key frame that encoders make larger than the rest, each in its own way
_BETWEEN = _REFRESH + 1  # pictures that are shown before one that was coded earlier
_ALL_KEYS = 8  # key frames in a row, from the start, that show a stream without any other
_BREAK_S = 600.0


@dataclass(slots=True)
class _Kind:
    """Pictures of one kind: how far their log sizes lie from the stream's level, and how they scatter about that."""

    offset: float = 0.0
    spread: float = 0.2
    seen: int = 0

    @property
    def held_spread(self) -> float:
        """The spread within what is believed."""
        return min(max(self.spread, _SPREAD[0]), _SPREAD[1])


class _Usual:
    """What log sizes are while nothing happens: a level that follows light and noise, and each kind's own offset."""

    def __init__(self) -> None:
        self.kinds = [_Kind() for _ in range(_BETWEEN + 1)]
        self._level: float | None = None
        self._smoothed = self._off = 0.0

    @property
    def swings(self) -> bool:
        """Whether quiet sizes scatter so much, or are known so little, that they say nothing."""
        steady = self.kinds[_REFRESH]
        return steady.seen < _LEARNING or steady.spread > _TRUST

    @property
    def bytes(self) -> float:
        """The usual size of a quiet picture that is no key frame."""
        return 0.0 if self._level is None else math.exp(self._level + self.kinds[_REFRESH].offset)

    def deviation(self, value: float, *, kind: int, share: float) -> float:
        """Spreads between the smoothed value and what is usual; 0 while too little is known."""
        known = self.kinds[kind]
        if self._level is None:
            self._level = value
        off = value - self._level - known.offset
        self._smoothed += share * (off - self._smoothed)
        self._off = off if kind < _REFRESH else self._smoothed
        return abs(self._off) / known.held_spread if known.seen >= _LEARNING else 0.0

    def learn(self, *, kind: int) -> None:
        """Takes the last value for a quiet one."""
        assert self._level is not None
        known, off = self.kinds[kind], self._off
        known.seen += 1
        early = 1.0 / known.seen if known.seen <= _LEARNING else 0.0
        most = math.inf if early else _HUBER * known.held_spread
        held = min(max(off, -most), most)
        if kind >= _REFRESH:
            self._level += _RATE * held
            self._smoothed -= _RATE * held
        known.offset += max(_OFFSET_RATE, early) * held
        # 1.25: from mean absolute to standard deviation.
        known.spread += max(_SPREAD_RATE, early) * (1.25 * abs(held) - known.spread)


class PacketGate:
    """Smoothed log size against what is usual when nothing happens."""

    def __init__(self) -> None:
        self._usual = _Usual()
        self._place = 0
        self._keys_only = 0
        self._latest = self._before = -math.inf
        self._awake_until, self._awake_packets = -math.inf, 0
        self._patrolled = -math.inf

    def weigh(self, *, size: int, pixels: int, key: bool, time: float, quiet: bool) -> bool:
        """Whether the picture in this packet (bytes; Unix seconds of its presentation) is worth decoding.

        `pixels` is width × height; `quiet` says that the last picture looked at showed nothing that moves: only then
        sizes are learned.
        """
        if not -_BREAK_S < time - self._before < _BREAK_S:
            self._latest = self._awake_until = self._patrolled = -math.inf
        passed, self._before = max(0.0, time - self._before), time
        self._keys_only = self._keys_only + 1 if key else -(10**9)
        if self._keys_only >= _ALL_KEYS:
            return True
        kind = self._kind(key, time)
        share = min(1.0, passed / _SMOOTH_S) if passed > 0.0 else 1.0
        if self._usual.deviation(math.log(max(size, 1)), kind=kind, share=share) > _DEVIATIONS:
            self._awake_until, self._awake_packets = time + _HOLD_S, _HOLD_PACKETS
        elif time > self._awake_until:
            self._awake_packets -= 1
        if quiet:
            self._usual.learn(kind=kind)
        blind = self._usual.swings or self._usual.bytes > _NOISY * pixels / 8
        return self._awake_packets > 0 or self._patrol(time, BLIND_S if blind else PATROL_S if key else LONGEST_S)

    def _kind(self, key: bool, time: float) -> int:
        """The place after the key frame, up to _REFRESH; _BETWEEN for what is shown before an earlier one."""
        between = not key and time < self._latest
        self._latest = max(self._latest, time)
        if between:
            return _BETWEEN
        self._place = 0 if key else min(self._place + 1, _REFRESH)
        return self._place

    def _patrol(self, time: float, every: float) -> bool:
        due = not 0.0 <= time - self._patrolled < every
        if due:
            self._patrolled = time
        return due
