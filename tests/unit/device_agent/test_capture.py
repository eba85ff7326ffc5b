"""Files as cameras: times, loops, and what is no video."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from device_agent.capture import hidden, read_file
from device_agent.frames import Inbox
from foveate.errors import BadVideo
from tests.unit.device_agent.fakes import START, JumpingClock, camera, make_video


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
    import av

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
    inbox = Inbox(fps=10)
    for packet in camera(path).packets():
        inbox.put(packet)
    inbox._latest = 0.0  # a test that feeds faster than time must not count as late
    inbox.close()
    frames = list(inbox.frames())
    assert 30 <= len(frames) <= 60
    assert frames[-1].time > START + 5


def test_avi_without_presentation_times_is_played(tmp_path: Path) -> None:
    packets = list(camera(make_video(tmp_path / "v.avi")).packets())
    assert [round(packet.time - START, 1) for packet in packets] == [n / 10 for n in range(60)]


def test_a_log_shows_no_password() -> None:
    assert hidden("rtsp://admin:secret@10.0.0.7/live") == "rtsp://10.0.0.7/live"
    assert hidden("/dev/video0") == "/dev/video0"
