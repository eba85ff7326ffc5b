"""The words of capturing: packets, the streams that they come from, and how a camera is doing.

In: nothing. Out: what `demux.py` fills in from FFmpeg's packets, the cameras beside it give a time, and
`device_agent.capture` offers to the rest of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

OnGap = Callable[[float, str], None]
"""Told, in the capturing thread, from which moment (Unix seconds) footage is missing, and why in one sentence."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one opening of the source; they describe the codecs of its packets.

    `video` and `audio` die with the container, so only the capturing thread may touch them; `decoder` and
    `sound_decoder` live on.
    """

    video: VideoStream
    audio: AudioStream | None
    decoder: VideoCodecContext
    sound_decoder: AudioCodecContext | None


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded picture or stretch of sound.

    `pts`, `dts` and `duration` count `tick`s (seconds); within a run each stream's `dts` rise. `time` is Unix seconds
    of its presentation, `media_time` seconds from the beginning of the source (None for live ones), `rate` media
    seconds per second. Within one `run` time and media time advance together; a new run starts at a key frame.
    """

    streams: Streams
    data: av.Packet[Any]
    pts: int
    dts: int
    duration: int
    tick: Fraction
    video: bool
    key: bool
    time: float
    media_time: float | None
    rate: float
    run: int

    def at(self, time: float, *, media_time: float | None, rate: float, run: int) -> Packet:
        """The same packet at that place; a tenth of the time of `dataclasses.replace`, which every packet would pay."""
        return Packet(
            self.streams,
            self.data,
            self.pts,
            self.dts,
            self.duration,
            self.tick,
            self.video,
            self.key,
            time,
            media_time,
            rate,
            run,
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether packets flow, and one sentence when something is wrong."""

    capturing: bool
    trouble: str = ""


class Camera(Protocol):
    """Whatever packets come from."""

    @property
    def condition(self) -> Condition:
        """How it is doing; may be read from any thread."""
        ...

    def packets(self) -> Iterator[Packet]:
        """Packets as they come; blocks, ends when the agent stops or the source has ended for good."""
        ...


def no_gap(moment: float, reason: str) -> None:
    """For whoever does not want to be told."""


def seconds(ticks: int, tick: Fraction) -> float:
    """Ticks as seconds, without the slow arithmetic of fractions."""
    return ticks * tick.numerator / tick.denominator


def backoff() -> Iterator[float]:
    """Seconds to wait before each further try: 0.5, 1, 2, ... 10, 10."""
    delay, most = 0.5, 10.0
    while True:
        yield delay
        delay = min(most, delay * 2)


def said(error: Exception) -> str:
    """What went wrong, without FFmpeg's error number and the path."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")
