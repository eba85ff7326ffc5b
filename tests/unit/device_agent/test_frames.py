"""Decoding on demand: whoever wakes in the middle of a group of pictures sees what whoever decodes all sees."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from device_agent.capture import Packet, read_file
from device_agent.frames import Decoder, Frame, Inbox
from foveate.vision.detect import Picture

from .fakes import START, make_video


def numbered(path: Path, *, frames: int = 60, gop: int = 12, reordered: bool = False) -> Path:
    """Each picture's brightness tells its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", gop
        stream.codec_context.max_b_frames = 2 if reordered else 0
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def packets(path: Path) -> list[Packet]:
    return list(read_file(path, base=START))


def number_of(frame: Frame) -> int:
    return round((float(frame.grey(width=8, height=6).mean()) - 16) * 255 / 219 / 4)


@pytest.mark.parametrize("reordered", [False, True])
def test_decoding_all_gives_every_picture_at_its_time(tmp_path: Path, reordered: bool) -> None:
    decoder = Decoder()
    frames = [f for packet in packets(numbered(tmp_path / "v.mkv", reordered=reordered)) for f in decoder.take(packet)]
    assert len(frames) >= 57
    for frame in frames:
        assert abs(number_of(frame) - round((frame.time - START) * 10)) <= 1


@settings(max_examples=25, deadline=None)
@given(wanted=st.lists(st.booleans(), min_size=60, max_size=60))
def test_any_choice_of_packets_decodes_to_the_right_pictures(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bool]
) -> None:
    path = tmp_path_factory.getbasetemp() / "choice.mkv"
    decoder = Decoder()
    for packet, want in zip(packets(path if path.exists() else numbered(path)), wanted, strict=True):
        if not want:
            decoder.keep(packet)
            continue
        last = decoder.take(packet, since=packet.time - 1e-3)
        assert len(last) == 1
        assert abs(number_of(last[0]) - round((packet.time - START) * 10)) <= 1


def test_the_newest_picture_is_decoded_when_asked_for(tmp_path: Path) -> None:
    decoder = Decoder()
    for packet in packets(numbered(tmp_path / "v.mkv")):
        decoder.keep(packet)
    assert decoder.decoded == 0
    newest = decoder.newest()
    assert newest is not None
    assert abs(number_of(newest) - 59) <= 1
    assert 0 < decoder.decoded <= 12, "only the group that goes on"


def test_a_long_group_is_decoded_along_so_that_memory_is_bounded(tmp_path: Path) -> None:
    decoder = Decoder()
    for packet in packets(make_video(tmp_path / "v.mkv", seconds=70, gop=1000)):
        decoder.keep(packet)
        assert len(decoder._waiting) <= 301
    assert decoder.decoded > 300


def test_a_lost_picture_spoils_at_most_its_group(tmp_path: Path) -> None:
    decoder = Decoder()
    coded = packets(numbered(tmp_path / "v.mkv"))
    following = next(number for number, packet in enumerate(coded) if packet.key and number > 8)
    for number, packet in enumerate(coded):
        if number == 5:
            continue
        frames = decoder.take(packet)
        if number >= following:
            assert abs(number_of(frames[-1]) - number) <= 1


class Blot:
    """Hides the left half."""

    def burn(self, image: Picture) -> Picture:
        burned = image.copy()
        burned[:, : image.shape[1] // 2] = 128
        return burned

    def cover(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        covered = grey.copy()
        covered[:, : grey.shape[1] // 2] = 128
        return covered


def test_what_is_masked_is_in_no_form_of_a_frame(tmp_path: Path) -> None:
    frame = Decoder(cover=Blot()).take(packets(numbered(tmp_path / "v.mkv"))[0])[0]
    assert (frame.image[:, :32] == 128).all()
    assert (frame.grey(width=8, height=6)[:, :4] == 128).all()
    assert not (frame.image[:, 32:] == 128).any()


def test_the_inbox_keeps_order_and_says_what_is_late(tmp_path: Path) -> None:
    inbox = Inbox()
    coded = packets(numbered(tmp_path / "v.mkv"))
    for packet in coded:
        inbox.put(packet)
    inbox.close()
    told = list(inbox.packets())
    assert [packet.pts for packet, _ in told if packet] == [packet.pts for packet in coded]
    assert [late for packet, late in told if packet] == [START + 5.9 - packet.time > 1.0 for packet in coded]


def test_a_full_inbox_drops_until_a_key_frame_finds_room(tmp_path: Path) -> None:
    coded = packets(numbered(tmp_path / "v.mkv"))
    inbox = Inbox(waiting=15)
    for packet in coded[:30]:
        inbox.put(packet)
    taken = inbox.packets()
    first = [next(taken)[0] for _ in range(15)]
    for packet in coded[30:]:
        inbox.put(packet)
    inbox.close()
    rest = [packet for packet, _ in taken if packet]
    assert [packet and round((packet.time - START) * 10) for packet in first] == list(range(15))
    assert rest[0].key, "it goes on at a key frame"
    assert len(first) + len(rest) + inbox.dropped == 60


def test_pictures_that_are_all_key_frames_are_bounded_too(tmp_path: Path) -> None:
    """Raw pictures of a webcam: nobody looks for a while, and memory must not grow."""
    packet = packets(make_video(tmp_path / "v.avi", codec="mjpeg", seconds=0.5))[0]
    inbox = Inbox(most_bytes=10 * packet.data.size)
    for _ in range(1_000):
        inbox.put(packet)
    assert inbox.dropped == 990
