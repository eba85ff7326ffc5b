"""Cameras that send as they see: RTSP over TCP, HTTP and V4L2; one that hangs or disappears is opened again and again.

In: a URL or a device. Out: `Packet`s whose times are those of their arrival, corrected by the camera's own clock: what
the camera says between two pictures holds, and the packet that came with the least delay says when. FFmpeg does not
tell what RTCP says of the camera's wall clock, which may be wrong anyhow. Next: `record.py`, `frames.py`, `hear.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import av
from av.container import InputContainer

from device_agent.cameras.demux import demuxed, streams_of
from device_agent.cameras.packet import Condition, OnGap, Packet, backoff, no_gap, said, seconds
from device_agent.clock import Clock
from foveate.errors import BadVideo

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""Without a packet for this long a camera counts as hanging."""

_DRIFT_S = 1.0  # between a packet's time and the clock, before the time is set anew
_WINDOW_S = 10.0  # in which even the least delay must be too long: a stall that is caught up with is no drift
_CAUGHT_UP_S = 0.02  # a read that took longer waited for the camera; before, FFmpeg hands out what it probed
_HELD, _HELD_S = 1000, 1.0  # packets and seconds at most until then


class LiveCamera:
    """One live source; ends only when the agent stops."""

    def __init__(
        self,
        source: str,
        *,
        clock: Clock,
        stop: threading.Event,
        patience: float = PATIENCE_S,
        on_gap: OnGap = no_gap,
    ) -> None:
        self._source, self._clock, self._stop, self._patience = source, clock, stop, patience
        self._on_gap = on_gap
        self._times = _Times()
        self.condition = Condition(capturing=False, trouble="The camera has not answered yet.")

    def packets(self) -> Iterator[Packet]:
        """Packets of every connection; BadVideo when this build knows no such kind of source."""
        delays = backoff()
        while not self._stop.is_set():
            heard = self._clock.now()
            try:
                with self._open() as container:
                    for packet in self._follow(container):
                        delays, heard = backoff(), self._clock.now()
                        yield packet
                trouble = "ended its stream"
            except av.error.ProtocolNotFoundError as error:
                raise BadVideo(
                    f"{hidden(self._source)} is no source that can be opened; name a file, an rtsp:// URL or a "
                    "/dev/video device."
                ) from error
            except (av.FFmpegError, OSError, BadVideo) as error:
                # FFmpeg names a read that was given up in different ways; the time that passed is plain.
                silent = self._clock.now() - heard >= 0.9 * self._patience
                trouble = (
                    f"has sent nothing for {self._patience:.0f} s" if silent else f"cannot be read ({said(error)})"
                )
            if self._stop.is_set():
                break
            self._lost(f"The camera {trouble}; check its power and network.")
            self._stop.wait(next(delays))

    def _lost(self, trouble: str) -> None:
        self.condition = Condition(False, trouble)
        logger.warning(trouble, extra={"source": hidden(self._source)})
        self._on_gap(self._times.last or self._clock.now(), trouble)

    def _open(self) -> InputContainer:
        timeout = (self._patience, self._patience)
        if self._source.startswith("/dev/"):
            return av.open(self._source, format="v4l2", timeout=timeout)
        options = {"rtsp_transport": "tcp"} if self._source.startswith("rtsp") else {}
        return av.open(self._source, options=options, timeout=timeout)

    def _follow(self, container: InputContainer) -> Iterator[Packet]:
        """Packets of one connection with their times; the first of them wait until FFmpeg has handed out its store."""
        self._times.connect()
        held: list[tuple[float, Packet]] = []
        holding, asked = True, self._clock.now()
        for packet in demuxed(container, streams_of(container), self._damaged):
            if self._stop.is_set():
                return
            now = self._clock.now()
            if holding and (held or packet.key):
                held.append((now, packet))
            if not holding:
                yield from self._timed(packet, now)
            elif held and (now - asked > _CAUGHT_UP_S or len(held) >= _HELD or now - held[0][0] > _HELD_S):
                holding = False
                self._times.begin(held)
                for moment, waiting in held:
                    yield from self._timed(waiting, moment)
            asked = self._clock.now()

    def _timed(self, packet: Packet, now: float) -> Iterator[Packet]:
        timed = self._times.placed(packet, now)
        if timed is not None:
            self.condition = Condition(True)
            yield timed

    def _damaged(self, what: str) -> None:
        logger.warning("a gap: damaged packets", extra={"source": hidden(self._source), "error": what})
        self._on_gap(self._times.last or self._clock.now(), f"What the camera sent was damaged: {what}.")


class _Times:
    """From the camera's clock to ours: times never go back, not even over a new connection."""

    def __init__(self) -> None:
        self.last = 0.0
        """Unix seconds of the newest picture so far."""
        self._run = 0
        self._origin = 0.0
        self._part: int | None = None  # the demuxer's run that the origin belongs to
        self._waiting = True  # for a key frame that is newer than all before
        self._least, self._since = float("inf"), 0.0

    def connect(self) -> None:
        """What follows comes from a new connection."""
        self._part, self._waiting = None, True

    def begin(self, held: list[tuple[float, Packet]]) -> None:
        """Takes the origin from the packet that waited least."""
        self._anchor(min(now - _media(packet) for now, packet in held), held[0][1], held[-1][0])

    def placed(self, packet: Packet, now: float) -> Packet | None:
        """The packet with its time and run; None until a key frame that is newer than all before."""
        delay = now - (self._origin + _media(packet))
        self._least = min(self._least, delay)
        if packet.key:
            self._hold(packet, now, delay)
        if packet.run != self._part:
            return None  # sound that came before the first picture of its run
        time = self._origin + _media(packet)
        if self._waiting:
            if not packet.key or time <= self.last:
                return None
            self._waiting, self._run = False, self._run + 1
        if packet.video:
            self.last = max(self.last, time)
        return packet.at(time, media_time=None, rate=1.0, run=self._run)

    def _hold(self, packet: Packet, now: float, delay: float) -> None:
        """Sets the origin anew where the ticks did, and where the two clocks have come apart."""
        if packet.run != self._part and abs(delay) < _DRIFT_S:
            self._part, self._waiting = packet.run, True  # other pictures, but the same ticks
        elif packet.run != self._part or delay < -_DRIFT_S:
            self._anchor(now - _media(packet), packet, now)
        elif now - self._since > _WINDOW_S:
            if self._least > _DRIFT_S:
                self._anchor(self._origin + self._least, packet, now)
            self._least, self._since = float("inf"), now

    def _anchor(self, origin: float, packet: Packet, now: float) -> None:
        first = origin + _media(packet)
        # A hair after the last picture rather than before it: nothing is lost for a small overlap.
        overlap = self.last + 0.001 - first
        self._origin = origin + overlap if 0 < overlap < _DRIFT_S else origin
        self._part, self._waiting = packet.run, True
        self._least, self._since = float("inf"), now


def hidden(source: str) -> str:
    """The source without the user name and password of its URL, fit for a log."""
    scheme, mark, rest = source.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if mark else source


def _media(packet: Packet) -> float:
    return seconds(packet.pts, packet.tick)
