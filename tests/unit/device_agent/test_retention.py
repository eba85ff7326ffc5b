"""What goes first, what stays, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.record import Recorder
from device_agent.rules import Retention
from foveate.messages import Priority
from tests.unit.device_agent.fakes import START, JumpingClock, camera, make_video, payloads


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds in segments of two."""
    return make_video(tmp_path_factory.mktemp("source") / "v.mp4", seconds=12)


def _recorder(folder: Path, retention: Retention) -> Recorder:
    return Recorder(folder, retention=retention, free_bytes=lambda _: 1 << 40)


def _starts(recorder: Recorder) -> list[int]:
    return [round(item.start - START) for item in recorder._segments.all()]


def _play(recorder: Recorder, source: Path, *, at: float = START) -> None:
    for packet in camera(source, clock=JumpingClock(at)).packets():
        recorder.record(packet)


def test_evidence_outlives_idle_footage_and_urgent_the_rest(source: Path, tmp_path: Path) -> None:
    retention = Retention(idle_s=20, low_s=40, normal_s=60, high_s=80, urgent_s=100)
    recorder = _recorder(tmp_path, retention)
    _play(recorder, source)
    for number, priority in enumerate(Priority):
        recorder.protect(START + 2 * number + 0.5, START + 2 * number + 1, priority)
    recorder.pause()
    left = []
    for seconds in (25, 35, 55, 75, 95, 115):
        recorder._watchdog.tend(START + seconds, writing=0)
        left.append(_starts(recorder))
    assert left == [[0, 2, 4, 6, 8, 10], [0, 2, 4, 6], [2, 4, 6], [4, 6], [6], []]
    assert recorder.trouble == ""
    assert recorder.gaps() == ()


def test_a_full_ring_gives_up_idle_footage_then_the_least_priority_oldest_first(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring", Retention())
    _play(recorder, source)
    recorder.protect(START + 0.5, START + 1, Priority.NORMAL)
    recorder.protect(START + 4.5, START + 5, Priority.LOW)
    recorder.protect(START + 8.5, START + 9, Priority.LOW)
    recorder.close()
    order = []
    for _ in range(6):
        size = sum(item.stat().st_size for item in (tmp_path / "ring").glob("*.nut"))
        small = _recorder(tmp_path / "ring", Retention(max_bytes=size - 1))
        before = _starts(small)
        small._watchdog.tend(START + 600, writing=0)  # long after, so that nothing is recent
        (gone,) = set(before) - set(_starts(small))
        order.append((gone, small.alarm.partition(": ")[2]))
        small.close()
    end = " footage were given up before their time; allow this device more bytes."
    idle, low, normal = "", "2 seconds of low-priority" + end, "2 seconds of normal-priority" + end
    assert order == [(2, idle), (6, idle), (10, idle), (4, low), (8, low), (0, normal)]


def test_recent_idle_footage_stays_for_the_next_event(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring", Retention())
    recorder.protect(START, START + 6, Priority.URGENT)
    _play(recorder, source)
    recorder.close()
    size = sum(item.stat().st_size for item in (tmp_path / "ring").glob("*.nut"))
    small = _recorder(tmp_path / "ring", Retention(max_bytes=size * 5 // 6))
    small._watchdog.tend(START + 13, writing=0)
    assert _starts(small)[-3:] == [6, 8, 10]


def test_a_span_to_come_marks_segments_that_are_not_there_yet(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring", Retention())
    for packet in camera(source).packets():
        if packet.time == START + 3:
            recorder.protect(START + 1, START + 7, Priority.HIGH)
            recorder.protect(START + 1, START + 3, Priority.LOW)
        recorder.record(packet)
    recorder.close()
    again = _recorder(tmp_path / "ring", Retention())
    assert [item.priority for item in again._segments.all()] == [3, 3, 3, 3, 0, 0]
    idle, high = again.kept()
    assert (idle.priority, high.priority) == (None, Priority.HIGH)
    assert (idle.start, high.start) == (START + 8, START)
    assert idle.size_bytes + high.size_bytes == sum(p.stat().st_size for p in (tmp_path / "ring").glob("*.nut"))


def test_a_disk_that_runs_short_costs_idle_footage_even_without_key_frames(tmp_path: Path) -> None:
    """One key frame in the whole recording: the disk is looked at all the same."""
    full = -1

    def free_bytes(folder: Path) -> int:
        return 0 if len(list(folder.glob("*.nut"))) == full else 1 << 40

    recorder = Recorder(tmp_path / "ring", retention=Retention(), free_bytes=free_bytes)
    _play(recorder, make_video(tmp_path / "a.mp4", seconds=4))
    for packet in camera(make_video(tmp_path / "b.mp4", seconds=12, gop=600), clock=JumpingClock(START + 4)).packets():
        recorder.record(packet)
        if round(packet.time - START, 1) == 9.0:
            assert recorder.trouble == ""
            full = 3  # as long as there are that many files, the disk is full
    assert recorder.trouble.startswith("The disk is nearly full: 4 seconds of idle footage were given up")
    assert recorder.held() == pytest.approx((START + 4, START + 16), abs=0.01)
    assert recorder.gaps() == ()


def test_a_disk_on_which_deleting_does_not_help_keeps_its_evidence(source: Path, tmp_path: Path) -> None:
    free = 1 << 40
    recorder = Recorder(tmp_path / "ring", retention=Retention(), free_bytes=lambda _: free)
    recorder.protect(START, START + 60, Priority.URGENT)
    for packet in camera(make_video(tmp_path / "v.mp4", seconds=40)).packets():
        if packet.time >= START + 20:
            free = (32 << 20) - 1
            recorder._watchdog._futile_at = recorder._watchdog._futile_at or packet.time
        recorder.record(packet)
    assert _starts(recorder) == list(range(0, 20, 2))
    assert recorder.trouble == "The disk is full; recording goes on when there is space."
    assert recorder.gaps()[-1].end is None


def test_a_segment_without_key_frames_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _recorder(tmp_path / "ring", Retention())
    monkeypatch.setattr(recorder, "_most_bytes", 1500)
    source = make_video(tmp_path / "v.mp4", seconds=20, gop=100)
    _play(recorder, source)
    assert "too seldom" in recorder.trouble
    first, *_ = gaps = recorder.gaps()
    assert {gap.reason for gap in gaps} == {"No key frame came for too long."}
    assert first.end == pytest.approx(START + 10, abs=0.01)
    assert all(recorder._segments.path(item).stat().st_size < 3000 for item in recorder._segments.all())


def test_footage_that_a_clip_needs_is_not_deleted_meanwhile(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring", Retention(idle_s=1))
    _play(recorder, source)
    with recorder._segments.borrowed(START + 10, START + 11) as borrowed:
        assert [round(item.start - START) for item in borrowed] == [8, 10]
        _play(recorder, source, at=START + 100)
        assert all(recorder._segments.path(item).exists() for item in borrowed)
    _play(recorder, source, at=START + 200)
    assert not any(recorder._segments.path(item).exists() for item in borrowed)


def test_a_damaged_index_is_set_aside_and_made_anew_from_the_files(source: Path, tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    recorder = _recorder(ring, Retention())
    recorder.protect(START + 4.5, START + 5, Priority.HIGH)
    _play(recorder, source)
    before = recorder._segments.all()
    expected = payloads(recorder.cut(START, START + 11.9, target=tmp_path / "before").path, "video")
    recorder.close()
    before = _recorder(ring, Retention())._segments.all()
    (ring / "index.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 20)
    again = _recorder(ring, Retention())
    assert again._segments.all() == before
    assert [item.priority for item in before] == [0, 0, 3, 0, 0, 0]
    assert payloads(again.cut(START, START + 11.9, target=tmp_path / "after").path, "video") == expected
    assert (ring / "index.sqlite.damaged").exists()
    assert [gap.reason for gap in again.gaps()] == ["The agent was not running."]
    _play(again, source, at=START + 12)
    assert _starts(again) == list(range(0, 24, 2))


def test_an_index_that_breaks_in_mid_recording_is_made_anew(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring", Retention())
    for packet in camera(source).packets():
        if packet.time == START + 5:
            recorder._index._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with (tmp_path / "ring" / "index.sqlite").open("r+b") as file:
                file.write(b"\xff" * 8192 * 3)
            recorder._index._database.execute("PRAGMA shrink_memory")
        recorder.record(packet)
    assert recorder.trouble == ""
    assert (tmp_path / "ring" / "index.sqlite.damaged").exists()
    held = recorder.held()
    assert held == pytest.approx((START, START + 12), abs=0.01)
    assert _starts(recorder)[:3] == [0, 2, 4]
