"""Between capture and look: packets wait here, and a picture is decoded only when somebody wants to see it.

In: `Packet`s from the capturing thread. Out: packets for the looking thread, told whether newer ones wait already, and
`Frame`s of the group of pictures that goes on: whoever wakes in its middle decodes it from its key frame on. What is
never decoded was recorded before. It does not know what pictures show. Next: `ladder.py`.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from device_agent.capture import Packet
from foveate.vision.detect import Picture

logger = logging.getLogger(__name__)

LONGEST_SIDE = 1280
"""Pixels of a frame's longer side after conversion: the detector sees 416, evidence shows 960."""

_PLANAR = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray"}
_ROWS = 3  # of each cell
_WAITING = 512  # packets; more means that even weighing them cannot keep up
_WAITING_BYTES = 16 << 20  # raw pictures are large
_LATE_S = 1.0
_GROUP = 300  # coded pictures kept for later; longer groups are decoded along
_GROUP_BYTES = 8 << 20


class Cover(Protocol):
    """What hides parts of a picture: `masks.Masks`."""

    def burn(self, image: Picture) -> Picture:
        """The picture without what must not be seen."""
        ...

    def cover(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same for luma at any size."""
        ...


class Frame:
    """One decoded picture; converted to RGB or grey only when asked, since most are not, and masked on the way."""

    def __init__(
        self, decoded: av.VideoFrame, *, time: float, media_time: float | None, index: int, cover: Cover | None = None
    ) -> None:
        self._decoded, self._lock, self._cover = decoded, threading.Lock(), cover
        self._image: Picture | None = None
        self.time, self.media_time, self.index = time, media_time, index

    @property
    def image(self) -> Picture:
        """uint8 height × width × 3 RGB, at most LONGEST_SIDE on its longer side; safe from any thread."""
        with self._lock:
            if self._image is None:
                scale = min(1.0, LONGEST_SIDE / max(self._decoded.width, self._decoded.height))
                width, height = (max(2, round(side * scale)) for side in (self._decoded.width, self._decoded.height))
                image = self._decoded.reformat(width=width, height=height, format="rgb24").to_ndarray()
                shown = image.astype(np.uint8, copy=False)
                self._image = shown if self._cover is None else self._cover.burn(shown)
            return self._image

    def grey(self, *, width: int, height: int) -> NDArray[np.float32]:
        """height × width of luma 0..255, each the mean of its area."""
        with self._lock:
            luma = _means(_luma(self._decoded), width=width, height=height)
            return luma if self._cover is None else self._cover.cover(luma)


def _luma(decoded: av.VideoFrame) -> NDArray[np.uint8]:
    """The luma plane, without a copy where the codec keeps it in bytes of its own."""
    if decoded.format.name not in _PLANAR:
        return np.asarray(decoded.reformat(format="gray").to_ndarray(), np.uint8)
    plane = decoded.planes[0]
    whole: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return whole.reshape(-1, plane.line_size)[: decoded.height, : decoded.width]


def _means(luma: NDArray[np.uint8], *, width: int, height: int) -> NDArray[np.float32]:
    """Means over cells, of a few rows each; six times as fast as scaling by area, and no noisier."""
    tall, wide = luma.shape
    rows = luma[np.arange(height * _ROWS) * tall // (height * _ROWS)]
    if wide < width:
        rows = rows[:, np.arange(width) * wide // width]
    edges = np.arange(width) * rows.shape[1] // width
    sums = np.add.reduceat(rows, edges, axis=1, dtype=np.int32).reshape(height, _ROWS, width).sum(axis=1)
    means: NDArray[np.float32] = (sums / (_ROWS * np.diff(edges, append=rows.shape[1]))).astype(np.float32)
    return means


class Inbox:
    """A bounded queue of packets from the camera's thread to the looking one."""

    def __init__(self, *, waiting: int = _WAITING, most_bytes: int = _WAITING_BYTES) -> None:
        self._queue: queue.Queue[Packet | None] = queue.Queue()
        self._waiting, self._most_bytes = waiting, most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._latest = 0.0
        self._skipping = False
        self.dropped = 0
        """Pictures that were not even weighed, because looking was so much slower than the camera."""

    def put(self, packet: Packet) -> None:
        """Hands a packet over; never blocks. When too many wait, everything up to the next key frame is dropped.

        What is dropped was recorded, and later pictures are newer; a key frame is let in once half of the room is free.
        """
        size = packet.data.size
        with self._lock:
            full = self._queue.qsize() >= self._waiting or self._bytes + size > self._most_bytes
            room = self._queue.qsize() <= self._waiting // 2 and self._bytes <= self._most_bytes // 2
            self._skipping = not (packet.key and room) if self._skipping else full
            if self._skipping:
                self.dropped += packet.video
                return
            self._bytes += size
        self._latest = packet.time
        self._queue.put(packet)

    def close(self) -> None:
        """Ends `packets` after what waits was seen."""
        self._queue.put(None)

    def packets(self, *, patience: float = 1.0) -> Iterator[tuple[Packet | None, bool]]:
        """Packets in order, and whether each is so late that the newer ones had better be looked at.

        Blocks; yields None whenever there was none for `patience` seconds, since time passes all the same.
        """
        while True:
            try:
                packet = self._queue.get(timeout=patience)
            except queue.Empty:
                yield None, False
                continue
            if packet is None:
                return
            with self._lock:
                self._bytes -= packet.data.size
            yield packet, self._latest - packet.time > _LATE_S and not self._queue.empty()


class Decoder:
    """Decodes the newest pictures of a stream on demand; safe from any thread."""

    def __init__(self, *, cover: Cover | None = None) -> None:
        self._cover = cover
        self._lock = threading.Lock()
        self._waiting: deque[Packet] = deque()  # of the group that goes on, not decoded yet
        self._bytes = 0
        self._in_step = False  # whether the codec has seen all that comes before what waits
        self._damaged = False
        self._newest: Frame | None = None
        self.decoded = 0

    def keep(self, packet: Packet) -> None:
        """Takes a picture's packet in without decoding it."""
        with self._lock:
            self._keep(packet)

    def take(self, packet: Packet, *, since: float = -math.inf) -> list[Frame]:
        """Takes a packet in and decodes up to it; the frames from `since` (Unix seconds) on that came out."""
        with self._lock:
            self._keep(packet)
            return [frame for frame in self._catch_up() if frame.time >= since]

    def newest(self) -> Frame | None:
        """The newest picture that was taken in, decoded now if need be; None before the first."""
        with self._lock:
            for _ in self._catch_up():
                pass
            return self._newest

    def _keep(self, packet: Packet) -> None:
        if packet.key:
            self._in_step = self._in_step and not self._waiting
            self._waiting.clear()
            self._bytes = 0
        self._waiting.append(packet)
        self._bytes += packet.data.size
        if len(self._waiting) > _GROUP or self._bytes > _GROUP_BYTES:
            for _ in self._catch_up():
                pass

    def _catch_up(self) -> Iterator[Frame]:
        while self._waiting:
            packet = self._waiting.popleft()
            if packet.key and not self._in_step:
                self._restart(packet)
            for frame in self._decode(packet):
                self._newest = frame
                self.decoded += 1
                yield frame
        self._bytes = 0

    def _restart(self, packet: Packet) -> None:
        self._in_step = True
        if packet.streams.decoder.is_open:
            packet.streams.decoder.flush_buffers()

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
            yield Frame(
                picture,
                time=packet.time + behind / packet.rate,
                media_time=media,
                index=self.decoded,
                cover=self._cover,
            )
