"""The ring buffer: nothing is encoded again, nothing is lost that was written, and it stays within its bounds."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import pytest

from device_agent.record import Recorder
from device_agent.rules import Retention
from foveate.errors import NotFound
from tests.unit.device_agent.fakes import START, camera, make_video, payloads, recorded


def test_a_cut_holds_the_same_packets_as_the_source(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", sound=True)
    recorder = recorded(source, tmp_path / "ring")
    recorder.pause()
    cut = recorder.cut(START, START + 10, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")
    sound = payloads(source, "audio")
    assert set(payloads(cut.path, "audio")) <= set(sound)
    assert len(payloads(cut.path, "audio")) >= len(sound) - 2
    assert cut.start == START
    assert cut.end == pytest.approx(START + 6.0, abs=0.01)
    assert cut.media_type == "video/mp4"


def test_a_cut_begins_with_the_key_frame_before_and_ends_in_time(tmp_path: Path) -> None:
    recorder = recorded(make_video(tmp_path / "v.mp4"), tmp_path / "ring")
    cut = recorder.cut(START + 2.5, START + 4.25, target=tmp_path / "clip")
    assert cut.start == pytest.approx(START + 2.0, abs=0.01)
    assert cut.media_offset == pytest.approx(2.0, abs=0.01)
    assert cut.end == pytest.approx(START + 4.3, abs=0.01)
    with av.open(str(cut.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 10 for n in range(23)], abs=0.01)


def test_reordered_pictures_survive_a_cut_over_segments(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", codec="libx264", seconds=8, gop=20)
    recorder = recorded(source, tmp_path / "ring")
    cut = recorder.cut(START, START + 9, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")
    with av.open(str(cut.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([times[0] + n / 10 for n in range(80)], abs=0.002)


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [("v.mkv", "mjpeg", "video/x-matroska"), ("v.mov", "mpeg4", "video/quicktime"), ("v.mp4", "mpeg4", "video/mp4")],
)
def test_each_codec_finds_a_container_and_sound_can_be_left_out(
    tmp_path: Path, name: str, codec: str, kind: str
) -> None:
    recorder = recorded(make_video(tmp_path / name, codec=codec, sound=True), tmp_path / "ring")
    loud = recorder.cut(START + 1, START + 2, target=tmp_path / "loud")
    mute = recorder.cut(START + 1, START + 2, target=tmp_path / "mute", sound=False)
    assert loud.media_type == kind
    assert payloads(loud.path, "audio")
    assert payloads(mute.path, "audio") == []
    assert len(payloads(mute.path, "video")) == 11
    assert mute.start == pytest.approx(START + 1, abs=0.01)


def test_outside_of_what_is_held_the_answer_names_the_span(tmp_path: Path) -> None:
    recorder = recorded(make_video(tmp_path / "v.mp4"), tmp_path / "ring")
    with pytest.raises(NotFound, match=r"holds 1700000000\.0 to 1700000006\.0"):
        recorder.cut(START + 100, START + 110, target=tmp_path / "clip")
    empty = Recorder(tmp_path / "other", retention=Retention(max_bytes=1 << 20))
    with pytest.raises(NotFound, match="recorded nothing yet"):
        empty.cut(START, START + 1, target=tmp_path / "clip")


def test_what_a_killed_process_left_is_recovered(tmp_path: Path) -> None:
    """The first recorder is simply forgotten in the middle of a segment, as by `kill -9`."""
    source = make_video(tmp_path / "v.mp4", seconds=5, gop=50)
    recorded(source, tmp_path / "ring")
    again = Recorder(tmp_path / "ring", retention=Retention(max_bytes=1 << 30))
    assert again.held() == pytest.approx((START, START + 5.0), abs=0.11)
    cut = again.cut(START, START + 9, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")


def test_an_unreadable_leftover_is_dropped(tmp_path: Path) -> None:
    recorded(make_video(tmp_path / "v.mp4", seconds=1), tmp_path / "ring")
    (segment,) = (tmp_path / "ring").glob("*.nut")
    segment.write_bytes(b"\0" * 100)
    (tmp_path / "ring" / "stranger.nut").touch()
    again = Recorder(tmp_path / "ring", retention=Retention(max_bytes=1 << 30))
    assert again.held() is None
    assert not list((tmp_path / "ring").glob("*.nut"))


def test_the_oldest_segments_go_first(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", seconds=10)
    by_size = recorded(source, tmp_path / "small", max_bytes=source.stat().st_size // 3)
    by_age = recorded(source, tmp_path / "young", max_seconds=4.0)
    for recorder in (by_size, by_age):
        held = recorder.held()
        assert held is not None
        assert START + 2 <= held[0] <= START + 8
        assert held[1] == pytest.approx(START + 10, abs=0.01)


def test_a_full_disk_pauses_recording_and_space_resumes_it(tmp_path: Path) -> None:
    free = 1 << 40
    recorder = Recorder(tmp_path / "ring", retention=Retention(max_bytes=1 << 30), free_bytes=lambda _: free)
    for packet in camera(make_video(tmp_path / "v.mp4", seconds=12)).packets():
        seconds = packet.time - START
        free = 0 if 4 <= seconds < 8 else 1 << 40
        recorder.record(packet)
        if 5 < seconds < 7:
            assert "disk is full" in recorder.trouble
    assert recorder.trouble == recorder.alarm
    assert recorder.alarm.startswith("The disk is nearly full: 4 seconds of idle footage were given up")
    held = recorder.held()
    assert held is not None
    assert held[1] == pytest.approx(START + 12, abs=0.01)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 4, START + 8), abs=0.11)
    assert gap.reason == "The disk was full."
    with pytest.raises(NotFound):
        recorder.cut(START + 6.5, START + 7.5, target=tmp_path / "gap")
    assert recorder.cut(START + 9, START + 10, target=tmp_path / "after").start <= START + 9


def test_a_write_error_costs_one_segment_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path / "ring", retention=Retention(max_bytes=1 << 30), free_bytes=lambda _: 1 << 40)
    for number, packet in enumerate(camera(make_video(tmp_path / "v.mp4", seconds=6)).packets()):
        if number == 25:
            monkeypatch.setattr(recorder._open, "write", _full)
        recorder.record(packet)
        if number == 25:
            assert "Recording failed" in recorder.trouble
    assert "given up to keep recording" in recorder.trouble
    held = recorder.held()
    assert held is not None
    assert held[1] == pytest.approx(START + 6, abs=0.01)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 2.5, START + 3), abs=0.01)
    assert gap.reason == "Recording failed (No space left on device)."


def _full(packet: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
