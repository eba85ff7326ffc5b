"""The ladder: every packet is weighed, few pictures are decoded, fewer understood; each rung passes up what matters.

In: the camera's packets in order, and whether newer ones wait already. Out: a `View` for each picture that was looked
at. Here is the order of the rungs and what is due; what each of them does is in `weigh.py`, `frames.py` (decoding) and
`look.py` (luma, encoder, detector). Next: `triggers/`, by way of `pipeline.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from device_agent import funnel as rung
from device_agent.capture import Packet
from device_agent.frames import Decoder, Frame
from device_agent.funnel import Funnel
from device_agent.look import Looker
from device_agent.view import View
from device_agent.weigh import PacketGate

_JUMP_S = 10.0
_MOST_OWED = 17  # pictures that a codec may hold back to reorder them
_BLIND = {"mjpeg", "rawvideo", "png", "bmp", "tiff", "webp"}  # every picture whole: sizes say little


class Ladder:
    """Climbs with one camera's packets."""

    def __init__(self, *, gate: PacketGate, decoder: Decoder, looker: Looker, funnel: Funnel, fps: float) -> None:
        """`fps`: pictures looked at in a second, at most."""
        self._gate, self._decoder, self._looker, self._funnel = gate, decoder, looker, funnel
        self._interval = 1.0 / fps
        self._due = -math.inf
        self._since = -math.inf
        self._owed = 0
        self._asleep = False
        self.skipped = 0
        """Pictures that were decoded but not looked at, because newer ones waited."""

    def climb(self, packet: Packet, *, late: bool = False) -> Iterator[View]:
        """The views that this packet gives rise to; with `late` only decodes, so that newer pictures come sooner."""
        with self._funnel.spending(rung.PACKETS):
            passed = self._weighed(packet)
        wanted = passed or self._looker.awake or self._owed > 0
        self._funnel.count(rung.PACKETS, seen=1, passed=int(wanted))
        if not wanted:
            self._decoder.keep(packet)
            self._asleep = True
            return
        if self._asleep:
            # What came before this packet is decoded only because it leads here; it may come out some packets later.
            self._since, self._owed, self._asleep = packet.time - 1e-3, _MOST_OWED, False
        with self._funnel.spending(rung.LUMA):
            frames = self._decoder.take(packet, since=self._since)
        self._owed = 0 if frames else self._owed - 1
        for frame in frames:
            if self._is_due(frame, late=late):
                yield self._looker.look(frame)

    def _weighed(self, packet: Packet) -> bool:
        view = self._looker.view
        quiet = view is not None and not view.moving
        decoder = packet.streams.decoder
        passed = self._gate.weigh(
            size=packet.data.size,
            pixels=decoder.width * decoder.height,
            key=packet.key,
            time=packet.time,
            quiet=quiet,
        )
        return passed or decoder.name in _BLIND

    def _is_due(self, frame: Frame, *, late: bool) -> bool:
        if abs(frame.time - self._due) > _JUMP_S:  # the first one, or the timeline jumped
            self._due = frame.time
        if frame.time < self._due - 0.01:
            return False
        if late:
            self.skipped += 1
            return False
        self._due = max(self._due + self._interval, frame.time)
        return True
