"""Between capture and look: packets wait here, are decoded, and the newest picture wins.

In: `Packet`s from the capturing thread. Out: `Frame`s for the looking thread, decoded in order but handed out only
when they are due and nothing newer waits. What is dropped here was recorded before. It does not know what pictures
show. Next: `look.py`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from device_agent.capture import Packet
from foveate.vision.detect import Picture

logger = logging.getLogger(__name__)

LONGEST_SIDE = 1280
"""Pixels of a frame's longer side after conversion: the detector sees 416, evidence shows 960."""

_WAITING = 512  # packets; more means that decoding itself cannot keep up


class Frame:
    """One decoded picture; converted to RGB or grey only when asked, since most are not."""

    def __init__(self, decoded: av.VideoFrame, *, time: float, media_time: float | None, index: int) -> None:
        self._decoded, self._lock = decoded, threading.Lock()
        self._image: Picture | None = None
        self.time, self.media_time, self.index = time, media_time, index

    @property
    def image(self) -> Picture:
        """uint8 height × width × 3 RGB, at most LONGEST_SIDE on its longer side; safe from any thread."""
        with self._lock:
            if self._image is None:
                scale = min(1.0, LONGEST_SIDE / max(self._decoded.width, self._decoded.height))
                width, height = (max(2, round(side * scale)) for side in (self._decoded.width, self._decoded.height))
                self._image = (
                    self._decoded.reformat(width=width, height=height, format="rgb24")
                    .to_ndarray()
                    .astype(np.uint8, copy=False)
                )
            return self._image

    def grey(self, *, width: int, height: int) -> NDArray[np.float32]:
        """height × width of luma 0..255, each the mean of its area."""
        with self._lock:
            small = self._decoded.reformat(width=width, height=height, format="gray", interpolation="AREA")
            return small.to_ndarray().astype(np.float32)


class Inbox:
    """A bounded queue of packets that yields the frames worth looking at."""

    def __init__(self, *, fps: float, waiting: int = _WAITING) -> None:
        self._queue: queue.Queue[Packet | None] = queue.Queue()
        self._interval, self._waiting = 1.0 / fps, waiting
        self._latest = 0.0
        self._skipping = False
        self._damaged = False
        self.newest: Frame | None = None
        """The last decoded frame, looked at or not."""
        self.decoded = 0
        self.dropped = 0
        """Packets or frames that nobody looked at because looking was slower than the camera."""

    def put(self, packet: Packet) -> None:
        """Hands a picture's packet over; never blocks. When too many wait, pictures up to a key frame are dropped."""
        self._skipping = not packet.key if self._skipping else self._queue.qsize() >= self._waiting and not packet.key
        if self._skipping:
            self.dropped += 1
            return
        self._latest = packet.time
        self._queue.put(packet)

    def close(self) -> None:
        """Ends `frames` after what waits was seen."""
        self._queue.put(None)

    def frames(self) -> Iterator[Frame]:
        """Frames at most every 1 / fps seconds; blocks while none is due."""
        due = -np.inf
        while (packet := self._queue.get()) is not None:
            for frame in self._decode(packet):
                self.newest = frame
                self.decoded += 1
                if abs(frame.time - due) > 10.0:  # the first one, or the timeline jumped
                    due = frame.time
                if frame.time < due - 0.01:
                    continue
                if self._latest - frame.time > 1.0 and not self._queue.empty():
                    self.dropped += 1
                    continue
                due = max(due + self._interval, frame.time)
                yield frame

    def _decode(self, packet: Packet) -> Iterator[Frame]:
        try:
            decoded = packet.streams.decoder.decode(packet.data)
            self._damaged = False
        except av.FFmpegError as error:
            if not self._damaged:
                logger.warning("a picture could not be decoded", extra={"error": str(error)})
            self._damaged = True
            return
        for picture in decoded:
            if not isinstance(picture, av.VideoFrame):
                continue
            # A picture comes out some packets after its own; within a run both clocks run side by side.
            behind = 0.0 if picture.pts is None else float((picture.pts - packet.pts) * packet.tick)
            media = None if packet.media_time is None else packet.media_time + behind
            yield Frame(picture, time=packet.time + behind / packet.rate, media_time=media, index=self.decoded)
