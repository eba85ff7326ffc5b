"""FFmpeg's packets made fit to use: every one with ticks, each stream's in order, damage stepped over and told.

In: an open container. Out: `Packet`s of its first video and audio stream, still without a time; `run` counts from 0
and rises at a key frame wherever the ticks start anew or the pictures change their size. It reads no clock. Next:
`file.py` and `live.py`, which give times.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from device_agent.cameras.packet import Packet, Streams, said, seconds
from foveate.errors import BadVideo

Damage = Callable[[str], None]

_BROKEN_READS = 20  # in a row: some demuxers step over damage, others report the same damage for ever
_BACK_S = 0.5  # decoding times may not fall at all; by less than this a muxer's rounding is mended in silence
_AHEAD_S = 60.0  # further apart two pictures are not one recording
_BESIDE_S = 2.0  # sound and picture of one moment lie at most so far apart where ticks start anew
_MOST_REORDERED = 17  # pictures, in any codec
_UNIT = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_HEAD_BYTES = 1024  # parameter sets stand at the very front of a key frame
_SETS = {"h264": (0x1F, 0, 7), "hevc": (0x3F, 1, 33)}  # mask, shift and number of a sequence parameter set


def streams_of(container: InputContainer) -> Streams:
    """The first video stream that is no cover picture, and the first sound; BadVideo when there is no video."""
    videos = [stream for stream in container.streams.video if not _cover(stream)]
    if not videos:
        raise BadVideo("The source sends no video; choose another.")
    # One thread: a device has other work, and the codecs' own threads cost memory for each core.
    decoder = videos[0].codec_context
    decoder.thread_count = 1
    audio = next(iter(container.streams.audio), None)
    return Streams(videos[0], audio, decoder, None if audio is None else audio.codec_context)


def demuxed(container: InputContainer, streams: Streams, damage: Damage) -> Iterator[Packet]:
    """Packets that carry data; `damage` is told in words, once for each burst, what was lost before the next one."""
    wanted = [streams.video] if streams.audio is None else [streams.video, streams.audio]
    order, failures, corrupt = _Order(streams), 0, False
    while failures < _BROKEN_READS:
        try:
            for data in container.demux(*wanted):
                if data.size == 0:
                    continue
                if data.is_corrupt and not corrupt:
                    damage("packets were lost or damaged")
                corrupt, failures = data.is_corrupt or (corrupt and not data.is_keyframe), 0
                packet = order.place(data)
                if packet is not None:
                    yield packet
            return
        except av.error.InvalidDataError as error:
            if failures == 0:
                damage(said(error))
            failures += 1


class _Order:
    """Gives ticks to packets without any, keeps them rising, and counts where they start anew."""

    def __init__(self, streams: Streams) -> None:
        self._streams, self._run = streams, 0
        rate, tick = streams.video.guessed_rate, streams.video.time_base
        self._usual = round(1 / rate / tick) if rate and tick else 0  # ticks of a picture, at the rate that is claimed
        self._codec = streams.video.codec_context.name
        self._last: dict[bool, Packet] = {}  # by whether it is of pictures
        self._guessed = {True: 0, False: 0}  # packets in a row without decoding times of their own
        self._sets: list[bytes] = []
        self._renewed = False  # sound's place beside the pictures of this run is not known yet
        self._waiting = False  # for a key frame, behind a jump
        self._begun = False  # nothing before the first key frame can be decoded

    def place(self, data: av.Packet[Any]) -> Packet | None:
        """The packet with sound ticks; None for what cannot be used where ticks start anew."""
        video = data.stream_index == self._streams.video.index
        last = self._last.get(video)
        dts = self._decoding(data, last)
        apart = 0.0 if last is None else seconds(dts - last.dts, data.time_base)
        # What was guessed before the first true decoding time proves no jump.
        back_s = _BACK_S if self._guessed[video] == 0 else _AHEAD_S
        jumped = not -back_s <= apart <= _AHEAD_S
        self._guessed[video] = self._guessed[video] + 1 if data.dts is None else 0
        if not (self._picture_fits(data, jumped) if video else self._sound_fits(dts, data.time_base, jumped)):
            return None
        last = self._last.get(video)
        dts = dts if last is None else max(dts, last.dts + 1)
        data.pts, data.dts = max(dts, dts if data.pts is None else data.pts), dts
        packet = self._packet(data, video=video)
        self._last[video] = packet
        return packet

    def _decoding(self, data: av.Packet[Any], last: Packet | None) -> int:
        """The packet's decoding ticks, guessed where it has none: reordered pictures lack them at a file's start."""
        video = data.stream_index == self._streams.video.index
        if data.dts is not None:
            return int(data.dts)
        if last is None:
            return int(data.pts or 0)
        following = last.dts + max(1, last.duration)
        if data.pts is None:
            return following
        return min(int(data.pts), following) if self._guessed[video] < _MOST_REORDERED else int(data.pts)

    def _picture_fits(self, data: av.Packet[Any], jumped: bool) -> bool:
        """Begins a run at a key frame behind a jump or of another size; pictures between jump and key do not fit."""
        self._waiting = self._waiting or jumped
        if not data.is_keyframe:
            return self._begun and not self._waiting
        self._begun = True
        if self._other_pictures(data) or self._waiting:
            self._run, self._waiting, self._renewed = self._run + 1, False, True
            self._last.clear()
        return True

    def _sound_fits(self, dts: int, tick: Fraction, jumped: bool) -> bool:
        """Whether sound belongs to the run of the last picture, as far as that is in doubt."""
        picture = self._last.get(True)
        if picture is None or not (jumped or self._renewed):
            return not jumped
        beside = abs(seconds(dts, tick) - seconds(picture.dts, picture.tick)) <= _BESIDE_S
        self._renewed = self._renewed and not beside
        return beside

    def _packet(self, data: av.Packet[Any], *, video: bool) -> Packet:
        if not data.duration and video:
            data.duration = self._usual
        return Packet(
            self._streams,
            data,
            pts=data.pts or 0,
            dts=data.dts or 0,
            duration=data.duration or 0,
            tick=data.time_base,
            video=video,
            key=video and data.is_keyframe,
            time=0.0,
            media_time=None,
            rate=1.0,
            run=self._run,
        )

    def _other_pictures(self, data: av.Packet[Any]) -> bool:
        """Whether this key frame carries parameter sets other than those before."""
        if self._codec not in _SETS:
            return False
        found = parameter_sets(memoryview(data)[:_HEAD_BYTES].tobytes(), self._codec)
        known, self._sets = self._sets, found or self._sets
        return bool(found and known and found != known)


def parameter_sets(head: bytes, codec: str) -> list[bytes]:
    """The sequence parameter sets at the front of an H.264 or HEVC picture that has start codes, without these."""
    if codec not in _SETS:
        return []
    mask, shift, number = _SETS[codec]
    return [
        head[mark.start(1) : following.start()].rstrip(b"\0")
        for mark, following in itertools.pairwise(_UNIT.finditer(head))
        if mark[1][0] >> shift & mask == number
    ]


def _cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
