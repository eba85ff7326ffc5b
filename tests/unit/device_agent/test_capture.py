"""Files as cameras: times, loops, and what is no video."""

from __future__ import annotations

import contextlib
import itertools
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from device_agent.capture import FileCamera, FolderCamera, LiveCamera, hidden, open_camera, read_file
from foveate.errors import BadVideo, InvalidInput
from tests.unit.device_agent.fakes import START, JumpingClock, camera, make_video


def told(path: Path, gaps: list[tuple[float, str]]) -> FileCamera:
    return FileCamera(
        path,
        loop=False,
        speed=1.0,
        clock=JumpingClock(),
        stop=threading.Event(),
        on_gap=lambda moment, why: gaps.append((moment, why)),
    )


def test_a_file_plays_in_real_time(tmp_path: Path) -> None:
    clock = JumpingClock()
    packets = list(camera(make_video(tmp_path / "v.mp4"), clock=clock).packets())
    assert len(packets) == 60
    assert packets[0].time == START
    assert packets[-1].time == pytest.approx(START + 5.9, abs=0.01)
    assert clock.now() == pytest.approx(START + 5.9, abs=0.01)
    assert packets[-1].media_time == pytest.approx(5.9, abs=0.01)


def test_speed_shortens_the_timeline_but_not_the_media(tmp_path: Path) -> None:
    packets = list(camera(make_video(tmp_path / "v.mp4"), speed=4.0).packets())
    assert packets[-1].time == pytest.approx(START + 5.9 / 4, abs=0.01)
    assert packets[-1].media_time == pytest.approx(5.9, abs=0.01)


def test_a_loop_continues_the_timeline(tmp_path: Path) -> None:
    film = camera(make_video(tmp_path / "v.mp4", seconds=2), loop=True)
    packets = list(itertools.islice(film.packets(), 70))
    times = [packet.time for packet in packets]
    assert times == sorted(times)
    assert all(after - before == pytest.approx(0.1, abs=0.02) for before, after in itertools.pairwise(times))
    assert packets[20].media_time == packets[0].media_time
    assert [packet.run for packet in packets[19:21]] == [1, 2]


def test_a_file_is_read_without_a_clock_on_the_timeline_that_is_given(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", sound=True)
    read, played = list(read_file(path, base=START)), list(camera(path).packets())
    assert [(packet.pts, packet.video, packet.key) for packet in read] == [
        (packet.pts, packet.video, packet.key) for packet in played
    ]
    assert [packet.time for packet in read] == pytest.approx([packet.time for packet in played], abs=1e-6)
    assert all(packet.time == pytest.approx(START + packet.media_time) for packet in read)
    assert {(packet.rate, packet.run) for packet in read} == {(1.0, 1)}


def test_reading_a_file_can_be_stopped_and_refuses_what_is_no_video(tmp_path: Path) -> None:
    stop = threading.Event()
    packets = read_file(make_video(tmp_path / "v.mp4"), base=START, stop=stop)
    next(packets)
    stop.set()
    assert list(packets) == []
    with pytest.raises(BadVideo):
        next(read_file(tmp_path / "missing.mp4", base=START))


def test_the_end_of_a_file_is_said(tmp_path: Path) -> None:
    film = camera(make_video(tmp_path / "v.mp4", seconds=1))
    list(film.packets())
    assert not film.condition.capturing
    assert film.condition.trouble == "The file v.mp4 has ended."


def test_playing_that_is_late_skips_ahead_at_a_key_frame(tmp_path: Path) -> None:
    clock = JumpingClock()
    stream = camera(make_video(tmp_path / "v.mp4"), clock=clock).packets()
    head = list(itertools.islice(stream, 5))
    clock.time += 30
    tail = list(stream)
    skipped = next(packet for packet in tail if packet.run != head[0].run)
    assert skipped.key
    assert skipped.time == pytest.approx(clock.now() - (tail[-1].time - skipped.time), abs=0.2)


def test_missing_truncated_and_foreign_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("I am no video. " * 100)
    (tmp_path / "empty.mp4").touch()
    for name in ("missing.mp4", "cut.mp4", "text.mp4", "empty.mp4", "."):
        with pytest.raises(BadVideo) as caught:
            camera(tmp_path / name)
        assert caught.value.exit_code == 2
        assert caught.value.message.endswith(".")


def test_sound_alone_is_no_camera(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        container.mux(stream.encode(None))
    with pytest.raises(BadVideo):
        camera(tmp_path / "a.wav")


def test_a_file_damaged_in_the_middle_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.ts", codec="mpeg2video")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    gaps: list[tuple[float, str]] = []
    film = told(path, gaps)
    times = []
    for packet in film.packets():
        with contextlib.suppress(av.FFmpegError):
            times += [packet.time for _ in packet.streams.decoder.decode(packet.data)]
    assert 30 <= len(times) <= 60
    assert times[-1] > START + 5
    (gap,) = gaps
    assert gap[0] == pytest.approx(START + 3, abs=0.6)
    assert gap[1] == "The file v.ts is damaged here: packets were lost or damaged."


def test_avi_without_presentation_times_is_played(tmp_path: Path) -> None:
    packets = list(camera(make_video(tmp_path / "v.avi")).packets())
    assert [round(packet.time - START, 1) for packet in packets] == [n / 10 for n in range(60)]


def test_a_log_shows_no_password() -> None:
    assert hidden("rtsp://admin:secret@10.0.0.7/live") == "rtsp://10.0.0.7/live"
    assert hidden("/dev/video0") == "/dev/video0"


def pictures(path: Path, *, codec: str, size: tuple[int, int], count: int = 50, options: dict[str, str] | None = None):
    """A film of 10 pictures a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 10
        stream.options = options or {}
        for number in range(count):
            image = np.full((size[1], size[0], 3), number * 4, np.uint8)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("codec", "size"), [("mpeg4", (96, 64)), ("mpeg2video", (64, 48))], ids=["size", "codec"])
def test_joined_recordings_go_on_although_size_or_codec_and_clock_change(
    tmp_path: Path, codec: str, size: tuple[int, int]
) -> None:
    first = pictures(tmp_path / "a.ts", codec="mpeg4", size=(64, 48))
    second = pictures(tmp_path / "b.ts", codec=codec, size=size)
    (tmp_path / "ab.ts").write_bytes(first.read_bytes() + second.read_bytes())
    packets = list(read_file(tmp_path / "ab.ts", base=START))
    times = [packet.time for packet in packets]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(START + 9.9, abs=0.3)
    runs = [next(packet for packet in packets if packet.run == run) for run in sorted({each.run for each in packets})]
    assert len(runs) == 2
    assert all(packet.key for packet in runs)
    shapes = [
        (packet.streams.decoder.name, frame.width)
        for packet in packets
        for frame in packet.streams.decoder.decode(packet.data)
    ]
    assert set(shapes) == {("mpeg4", 64), (codec, size[0])}
    assert len(shapes) >= 96


def test_another_size_in_mid_stream_begins_a_run_without_losing_time(tmp_path: Path) -> None:
    """Parameter sets in the pictures themselves, as a network camera sends them, and ticks that go on."""
    source = tmp_path / "ab.h264"
    parts = []
    for name, size in (("a", (64, 48)), ("b", (96, 64))):
        parts.append(pictures(tmp_path / f"{name}.h264", codec="libx264", size=size, options={"bf": "0"}).read_bytes())
    source.write_bytes(b"".join(parts))
    packets = list(read_file(source, base=START))
    assert [packet.run for packet in packets] == [1] * 50 + [2] * 50
    assert packets[50].key
    assert [packet.time for packet in packets] == pytest.approx([START + n / 10 for n in range(100)], abs=1e-3)


def test_packets_without_any_time_are_counted_by_the_rate(tmp_path: Path) -> None:
    source = pictures(tmp_path / "v.h264", codec="libx264", size=(64, 48), options={"bf": "0"})
    gaps: list[tuple[float, str]] = []
    packets = list(told(source, gaps).packets())
    assert [packet.time for packet in packets] == pytest.approx([START + n / 10 for n in range(50)], abs=1e-3)
    assert gaps == []


def shuffled(path: Path) -> Path:
    """A film whose decoding times repeat and fall by a little, as bad muxers write them."""
    whole = pictures(path.with_name("whole.ts"), codec="mpeg4", size=(64, 48))
    data = bytearray(whole.read_bytes())
    for start in range(0, len(data), 188):
        payload = start + 4 + (data[start + 4] + 1 if data[start + 3] & 0x20 else 0)
        if data[start + 1] & 0x40 and data[payload : payload + 4] == b"\0\0\1\xe0" and data[payload + 7] & 0x80:
            stamp = data[payload + 9 : payload + 14]
            ticks = (stamp[0] >> 1 & 7) << 30 | stamp[1] << 22 | stamp[2] >> 1 << 15 | stamp[3] << 7 | stamp[4] >> 1
            ticks -= ticks % 18_000  # two pictures share each time
            data[payload + 9 : payload + 14] = bytes(
                (stamp[0] & 0xF0 | ticks >> 29 & 0xE | 1, ticks >> 22 & 0xFF, ticks >> 14 & 0xFE | 1, ticks >> 7 & 0xFF)
            ) + bytes((ticks << 1 & 0xFE | 1,))
    path.write_bytes(data)
    return path


def test_decoding_times_rise_whatever_the_file_says(tmp_path: Path) -> None:
    packets = list(read_file(shuffled(tmp_path / "v.ts"), base=START))
    assert len(packets) == 50
    assert {packet.run for packet in packets} == {1}
    assert all(after.dts > before.dts for before, after in itertools.pairwise(packets))
    assert all(packet.pts >= packet.dts for packet in packets)


def test_a_file_that_disappears_while_it_loops_is_waited_for_and_told(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", seconds=1)
    gaps: list[tuple[float, str]] = []
    stop = threading.Event()

    def on_gap(moment: float, why: str) -> None:
        gaps.append((moment, why))
        stop.set()

    film = FileCamera(path, loop=True, speed=1.0, clock=JumpingClock(), stop=stop, on_gap=on_gap)
    packets = film.packets()
    list(itertools.islice(packets, 10))
    path.unlink()
    assert list(packets) == []
    assert gaps[0][0] == pytest.approx(START + 1, abs=0.01)
    assert gaps[0][1].startswith("The file v.mp4 cannot be read")
    assert not film.condition.capturing


def test_a_source_is_opened_as_what_it_is(tmp_path: Path) -> None:
    clock, stop = JumpingClock(), threading.Event()
    kinds = {
        str(make_video(tmp_path / "v.mp4", seconds=1)): FileCamera,
        str(tmp_path): FolderCamera,
        "rtsp://camera/live": LiveCamera,
        "/dev/video0": LiveCamera,
    }
    for source, kind in kinds.items():
        assert type(open_camera(source, loop=False, speed=1.0, clock=clock, stop=stop)) is kind
    with pytest.raises(InvalidInput):
        open_camera(str(tmp_path), loop=False, speed=0.0, clock=clock, stop=stop)
    with pytest.raises(BadVideo):
        open_camera(f"{tmp_path}/missing/", loop=False, speed=1.0, clock=clock, stop=stop)
