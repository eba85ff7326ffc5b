"""A folder of pictures as a camera: order, times, broken files, and pictures that come later."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from device_agent.cameras.folder import FolderCamera
from device_agent.capture import Packet, read_file
from tests.unit.device_agent.fakes import START, JumpingClock


class Hurried(threading.Event):
    """Waiting moves the clock instead, and stops for good after as many waits as a test allows."""

    def __init__(self, clock: JumpingClock, *, waits: int) -> None:
        super().__init__()
        self._clock, self._waits = clock, waits

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.time += timeout or 0.0
        self._waits -= 1
        if self._waits < 0:
            self.set()
        return self.is_set()


@dataclass
class Stage:
    """A folder camera with its clock and the gaps that it told."""

    camera: FolderCamera
    clock: JumpingClock
    gaps: list[tuple[float, str]]

    def packets(self) -> Iterator[Packet]:
        return self.camera.packets()


def stage(folder: Path, *, loop: bool = False, speed: float = 1.0, waits: int = 3) -> Stage:
    clock, gaps = JumpingClock(), []
    stop = Hurried(clock, waits=waits)
    camera = FolderCamera(
        folder, loop=loop, speed=speed, clock=clock, stop=stop, on_gap=lambda moment, why: gaps.append((moment, why))
    )
    return Stage(camera, clock, gaps)


def picture(path: Path, *, grey: int = 90, size: tuple[int, int] = (64, 48)) -> Path:
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    os.utime(path, (START, START))
    return path


def greys(packets: list[Packet]) -> list[int]:
    """The brightness of each picture, as decoded."""
    return [
        round(float(frame.to_ndarray(format="gray").mean()) / 10) * 10
        for packet in packets
        for frame in packet.streams.decoder.decode(packet.data)
    ]


def test_pictures_play_in_the_order_of_their_names_one_a_second(tmp_path: Path) -> None:
    for name, grey in (("b.png", 100), ("a.jpg", 50), ("c.JPEG", 200)):
        picture(tmp_path / name, grey=grey)
    (tmp_path / "notes.txt").write_text("no picture")
    packets = list(stage(tmp_path).packets())
    assert [packet.time for packet in packets] == [START, START + 1, START + 2]
    assert [packet.media_time for packet in packets] == [0, 1, 2]
    assert [packet.run for packet in packets] == [1, 2, 3]  # each time another codec
    assert greys(packets) == [50, 100, 200]
    assert all(packet.key and packet.video for packet in packets)


def test_speed_shortens_the_time_between_pictures_and_ticks_rise(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / f"{number}.jpg")
    packets = list(stage(tmp_path, speed=4.0).packets())
    assert [packet.time - START for packet in packets] == [0, 0.25, 0.5, 0.75, 1.0]
    assert [packet.media_time for packet in packets] == [0, 1, 2, 3, 4]
    assert {(packet.rate, packet.run) for packet in packets} == {(4.0, 1)}
    assert all(after.dts > before.dts for before, after in itertools.pairwise(packets))


def test_broken_pictures_are_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = picture(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "d.jpg").write_text("I am no picture.")
    picture(tmp_path / "e.jpg")
    for name in "bcd":
        os.utime(next(tmp_path.glob(f"{name}.*")), (START, START))
    with caplog.at_level(logging.WARNING):
        packets = list(stage(tmp_path).packets())
    assert [packet.time for packet in packets] == [START, START + 1]
    assert len([record for record in caplog.records if record.message == "a picture is left out"]) == 3


def test_a_picture_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    whole = picture(tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:200])
    playing = stage(tmp_path, waits=5)

    class Writes(Hurried):
        def wait(self, timeout: float | None = None) -> bool:
            (tmp_path / "a.jpg").write_bytes(whole)
            return super().wait(timeout)

    playing.camera._stop = Writes(playing.clock, waits=3)
    assert len(list(playing.packets())) == 1


def test_pictures_that_come_later_have_the_time_of_their_coming(tmp_path: Path) -> None:
    picture(tmp_path / "1.jpg")
    playing = stage(tmp_path, waits=1000)
    packets = playing.packets()
    first = next(packets)
    playing.clock.time += 5.0
    picture(tmp_path / "2.jpg")
    second = next(packets)
    assert (first.time, second.time) == (START, START + 5)
    assert second.media_time == pytest.approx(5.0)
    assert second.run == first.run


def test_a_folder_that_gets_nothing_more_is_told_as_a_gap(tmp_path: Path) -> None:
    picture(tmp_path / "1.jpg")
    playing = stage(tmp_path, waits=40)
    assert len(list(playing.packets())) == 1
    assert playing.gaps == [(START, f"The folder {tmp_path.name} has got no new picture for 10 s.")]
    assert not playing.camera.condition.capturing


def test_a_loop_begins_again_with_a_new_run(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.jpg", grey=50 + 50 * number)
    packets = list(itertools.islice(stage(tmp_path, loop=True).packets(), 7))
    assert [packet.time - START for packet in packets] == [0, 1, 2, 3, 4, 5, 6]
    assert [packet.media_time for packet in packets] == [0, 1, 2, 0, 1, 2, 0]
    assert [packet.run for packet in packets] == [1, 1, 1, 2, 2, 2, 3]
    assert greys(packets) == [50, 100, 150, 50, 100, 150, 50]


@pytest.mark.parametrize("loop", [False, True])
def test_an_empty_folder_is_waited_at_and_said(tmp_path: Path, loop: bool) -> None:
    playing = stage(tmp_path, loop=loop, waits=20)
    assert list(playing.packets()) == []
    assert "holds no picture yet" in playing.camera.condition.trouble


def test_a_folder_that_disappears_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "1.jpg")
    playing = stage(folder)
    packets = playing.packets()
    next(packets)
    (folder / "1.jpg").unlink()
    folder.rmdir()
    assert list(packets) == []
    assert "cannot be read" in playing.camera.condition.trouble
    assert playing.gaps


def test_a_folder_is_read_without_a_clock_too(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", size=(64, 48) if number < 2 else (32, 32))
    packets = list(read_file(tmp_path, base=START))
    assert [packet.time - START for packet in packets] == [0, 1, 2]
    assert [packet.run for packet in packets] == [1, 1, 2]
