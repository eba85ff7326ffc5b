"""Step 1, capture: packets of one camera, each with its time, from a file, an RTSP URL or a V4L2 device.

In: a source as the user names it. Out: `Packet`s in the order in which they were recorded, for ever or to a file's
end, and a `Condition` that says in one sentence what is wrong. It decodes nothing and knows nothing of what is seen.
Next: `record.py`, which keeps every packet, and `frames.py`, which decodes them for `look.py`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from device_agent.clock import Clock
from foveate.errors import BadVideo, InvalidInput

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""Without a packet for this long a camera counts as hanging."""

_DRIFT_S = 1.0  # between a packet's computed time and the clock, before the computation is anchored anew
_BACKOFF_S = (0.5, 10.0)
_BROKEN_READS = 20  # in a row: some demuxers step over damage, others report the same damage for ever


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

    `pts`, `dts` and `duration` count `tick`s (seconds). `time` is Unix seconds of its presentation, `media_time`
    seconds from the beginning of the source (None for live ones), `rate` media seconds per second. Within one `run`
    time and media time advance together; a new run starts at a key frame.
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


def open_camera(source: str, *, loop: bool, speed: float, clock: Clock, stop: threading.Event) -> Camera:
    """The camera that `source` names; BadVideo or InvalidInput for one that can never start."""
    if "://" in source or source.startswith("/dev/"):
        return LiveCamera(source, clock=clock, stop=stop)
    if not (math.isfinite(speed) and speed > 0):
        raise InvalidInput(f"The speed {speed} is not above 0; set FOVEATE_DEVICE_SPEED to 1 for real time.")
    return FileCamera(Path(source), loop=loop, speed=speed, clock=clock, stop=stop)


def read_file(path: Path, *, base: float, stop: threading.Event | None = None) -> Iterator[Packet]:
    """Every packet of one pass over a file, as fast as it can be read; its first picture lies at `base` (Unix seconds).

    BadVideo for what is no video. What is damaged is stepped over, as when the file is played. Blocking; set `stop`
    to end early.
    """
    _check_file(path)
    with _opened(path) as container:
        for packet in _media(container, partial(_damaged, path)):
            if stop is not None and stop.is_set():
                return
            yield replace(packet, time=base + (packet.media_time or 0.0), run=1)


class FileCamera:
    """A video file played in real time × `speed`, once or for ever; later passes continue the timeline."""

    def __init__(self, path: Path, *, loop: bool, speed: float, clock: Clock, stop: threading.Event) -> None:
        self._path, self._loop, self._speed = path, loop, speed
        self._clock, self._stop = clock, stop
        self._run = 0
        self.condition = Condition(capturing=False)
        _check_file(path)

    def packets(self) -> Iterator[Packet]:
        """Every packet of each pass; a pass that breaks keeps what was read."""
        following: float | None = None
        delays = _backoff()
        while not self._stop.is_set():
            try:
                container = _opened(self._path)
            except (av.FFmpegError, OSError) as error:
                self.condition = Condition(False, f"The file {self._path.name} cannot be read: {_said(error)}.")
                logger.warning("cannot reopen the file", extra={"path": str(self._path), "error": _said(error)})
                self._stop.wait(next(delays))
                continue
            delays = _backoff()
            with container:
                following = yield from self._play(container, following)
            if not self._loop:
                break
            if following <= self._clock.now() - _DRIFT_S:
                self._stop.wait(_BACKOFF_S[0])  # a file that lost its pictures would spin
        if not self._stop.is_set():
            self.condition = Condition(False, f"The file {self._path.name} has ended.")

    def _play(self, container: InputContainer, following: float | None) -> Generator[Packet, None, float]:
        """One pass; returns the moment at which the next pass begins."""
        now = self._clock.now()
        # Later passes follow without a gap, unless the machine was too slow or slept: then time wins.
        start = now if following is None or now - following > _DRIFT_S else following
        self._run += 1
        end = start
        for packet in _media(container, partial(_damaged, self._path)):
            media = packet.media_time or 0.0
            due = start + (media + float((packet.dts - packet.pts) * packet.tick)) / self._speed
            late = self._clock.now() - due
            if packet.key and late > _DRIFT_S:
                logger.info("playing is late; the timeline skips ahead", extra={"late_s": round(late, 1)})
                start, due, self._run = start + late, due + late, self._run + 1
            self._clock.wait_until(due, self._stop)
            if self._stop.is_set():
                break
            moment = start + media / self._speed
            end = max(end, moment + float(packet.duration * packet.tick) / self._speed)
            self.condition = Condition(True)
            yield replace(packet, time=moment, rate=self._speed, run=self._run)
        return end


class LiveCamera:
    """An RTSP (over TCP), HTTP or V4L2 camera; one that hangs or disappears is opened again and again."""

    def __init__(self, source: str, *, clock: Clock, stop: threading.Event, patience: float = PATIENCE_S) -> None:
        self._source, self._clock, self._stop, self._patience = source, clock, stop, patience
        self._run = 0
        self.condition = Condition(capturing=False, trouble="The camera has not answered yet.")

    def packets(self) -> Iterator[Packet]:
        """Packets of every connection; BadVideo when this build knows no such kind of source."""
        delays = _backoff()
        while not self._stop.is_set():
            heard = self._clock.now()
            try:
                with self._open() as container:
                    for packet in self._follow(container):
                        delays, heard = _backoff(), self._clock.now()
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
                    f"has sent nothing for {self._patience:.0f} s" if silent else f"cannot be read ({_said(error)})"
                )
            if self._stop.is_set():
                break
            self.condition = Condition(False, f"The camera {trouble}; check its power and network.")
            logger.warning("the camera %s", trouble, extra={"source": hidden(self._source)})
            self._stop.wait(next(delays))

    def _open(self) -> InputContainer:
        timeout = (self._patience, self._patience)
        if self._source.startswith("/dev/"):
            return av.open(self._source, format="v4l2", timeout=timeout)
        options = {"rtsp_transport": "tcp"} if self._source.startswith("rtsp") else {}
        return av.open(self._source, options=options, timeout=timeout)

    def _follow(self, container: InputContainer) -> Iterator[Packet]:
        """Packets of one connection, timed by the camera's clock and held to ours."""
        streams = _streams(container)
        origin: float | None = None
        for coded in _demuxed(container, streams, self._broken):
            if self._stop.is_set():
                return
            now, media = self._clock.now(), float(coded.pts * coded.tick)
            if origin is None or (coded.key and abs(origin + media - now) > _DRIFT_S):
                if not coded.key:
                    continue
                origin, self._run = now - media, self._run + 1
            self.condition = Condition(True)
            yield replace(coded, time=origin + media, run=self._run)

    def _broken(self, error: Exception) -> None:
        logger.warning("a gap: damaged packets", extra={"source": hidden(self._source), "error": _said(error)})


def hidden(source: str) -> str:
    """The source without the user name and password of its URL, fit for a log."""
    scheme, mark, rest = source.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if mark else source


def _opened(path: Path) -> InputContainer:
    return av.open(str(path), container_options={"fflags": "+genpts"})


def _media(container: InputContainer, broken: Callable[[Exception], None]) -> Iterator[Packet]:
    """The packets of a file with their media time, counted from the first picture."""
    streams = _streams(container)
    # Sound may begin a little before; the first picture is what a person calls the beginning.
    first = float((streams.video.start_time or 0) * (streams.video.time_base or 0))
    for coded in _demuxed(container, streams, broken):
        yield replace(coded, media_time=float(coded.pts * coded.tick) - first)


def _damaged(path: Path, error: Exception) -> None:
    logger.warning("a gap: the file is damaged here", extra={"path": str(path), "error": _said(error)})


def _check_file(path: Path) -> None:
    """BadVideo, with the reason, unless the file opens and holds a video packet."""
    if not path.exists():
        raise BadVideo(f"There is no file {path}; name a video that exists.", path=str(path))
    if not path.is_file():
        raise BadVideo(f"{path} is not a file; name a video file.", path=str(path))
    try:
        with av.open(str(path)) as container:
            streams = _streams(container)
            for data in container.demux(streams.video):
                if data.size:
                    return
    except BadVideo as error:
        raise BadVideo(f"{path} holds no video; name a file with pictures in it.", path=str(path)) from error
    except (av.FFmpegError, OSError) as error:
        raise BadVideo(
            f"{path} is no video that can be played: {_said(error)}; it may be truncated: copy it again.",
            path=str(path),
        ) from error
    raise BadVideo(f"{path} holds no picture at all; it may be truncated: copy it again.", path=str(path))


def _streams(container: InputContainer) -> Streams:
    videos = [stream for stream in container.streams.video if not _cover(stream)]
    if not videos:
        raise BadVideo("The source sends no video; choose another.")
    # One thread: a device has other work, and the codecs' own threads cost memory for each core.
    decoder = videos[0].codec_context
    decoder.thread_count = 1
    audio = next(iter(container.streams.audio), None)
    return Streams(videos[0], audio, decoder, None if audio is None else audio.codec_context)


def _cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _demuxed(container: InputContainer, streams: Streams, broken: Callable[[Exception], None]) -> Iterator[Packet]:
    """Packets that carry data and ticks, still without a time; damage is reported and, where possible, stepped over."""
    wanted = [streams.video] if streams.audio is None else [streams.video, streams.audio]
    failures = 0
    while failures < _BROKEN_READS:
        try:
            for data in container.demux(*wanted):
                coded = _coded(data, streams)
                if coded is not None:
                    failures = 0
                    yield coded
            return
        except av.error.InvalidDataError as error:
            if failures == 0:
                broken(error)
            failures += 1


def _coded(data: av.Packet[Any], streams: Streams) -> Packet | None:
    """None for what ends a stream and for packets without any time; AVI gives decoding times only."""
    dts = data.pts if data.dts is None else data.dts
    if data.size == 0 or dts is None:
        return None
    pts, video = dts if data.pts is None else data.pts, data.stream_index == streams.video.index
    data.pts, data.dts = pts, dts
    return Packet(
        streams,
        data,
        pts=pts,
        dts=dts,
        duration=data.duration or 0,
        tick=data.time_base,
        video=video,
        key=video and data.is_keyframe,
        time=0.0,
        media_time=None,
        rate=1.0,
        run=0,
    )


def _backoff() -> Iterator[float]:
    delay, most = _BACKOFF_S
    while True:
        yield delay
        delay = min(most, delay * 2)


def _said(error: Exception) -> str:
    """What went wrong, without FFmpeg's error number and the path."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")
