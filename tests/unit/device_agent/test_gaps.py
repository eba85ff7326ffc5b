"""Spans without footage are recorded with their reason, and what the camera changes never ends the recorder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from device_agent.capture import Packet, parameter_sets
from device_agent.record import Recorder
from device_agent.rules import Retention
from foveate.commands import Gap
from tests.unit.device_agent.fakes import START, JumpingClock, camera, make_video, payloads


def _recorder(folder: Path) -> Recorder:
    return Recorder(folder, retention=Retention(), free_bytes=lambda _: 1 << 40)


def _packets(source: Path, *, at: float = START, run: int = 1) -> Iterator[Packet]:
    for packet in camera(source, clock=JumpingClock(at)).packets():
        yield replace(packet, run=run)


def _play(recorder: Recorder, source: Path, *, at: float = START, run: int = 1) -> None:
    for packet in _packets(source, at=at, run=run):
        recorder.record(packet)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "v.mp4", seconds=4)


def test_a_reported_gap_begins_after_the_last_picture_and_ends_by_itself(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path)
    _play(recorder, source)
    recorder.gap(START + 14, "The camera hung.")
    recorder.gap(START + 15, "The camera cannot be reached.")
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end, gap.reason) == (pytest.approx(START + 4), None, "The camera hung.")
    _play(recorder, source, at=START + 20, run=2)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 4, START + 20))
    assert recorder.gaps() == (Gap(gap.start, START + 20, "The camera hung."),)


@pytest.mark.parametrize(("run", "reason"), [(1, "Packets were missing"), (2, "The camera began a new timeline.")])
def test_a_gap_that_nobody_reported_is_noticed(source: Path, tmp_path: Path, run: int, reason: str) -> None:
    recorder = _recorder(tmp_path)
    _play(recorder, source)
    _play(recorder, source, at=START + 5, run=run)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 4, START + 5))
    assert gap.reason.startswith(reason)


def test_lost_packets_within_a_segment_are_a_gap_and_jitter_is_none(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path)
    for number, packet in enumerate(_packets(source)):
        if not 12 <= number < 28 and number % 3:
            recorder.record(packet)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 1.2, START + 2.8), abs=0.11)
    assert gap.reason == "Packets were missing or damaged."


def test_a_slow_camera_has_no_gaps(tmp_path: Path) -> None:
    """A picture every five seconds, whose length the camera does not tell."""
    recorder = _recorder(tmp_path)
    for number, packet in enumerate(_packets(make_video(tmp_path / "v.mp4", seconds=2))):
        recorder.record(replace(packet, duration=0, time=START + 5 * number))
    assert recorder.gaps() == ()


def test_the_time_between_two_runs_of_the_agent_is_a_gap_and_a_dead_camera_another(
    source: Path, tmp_path: Path
) -> None:
    first = _recorder(tmp_path)
    assert first.gaps() == ()
    _play(first, source)
    first.close()
    second = _recorder(tmp_path)
    second.gap(START + 60, "The camera cannot be reached.")
    second.close()
    third = _recorder(tmp_path)
    _play(third, source, at=START + 90)
    assert [(gap.end, gap.reason) for gap in third.gaps()] == [
        (START + 60, "The agent was not running."),
        (START + 90, "The camera cannot be reached."),
    ]


def test_the_list_of_gaps_is_bounded(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path)
    for number in range(300):
        recorder._gaps.add(START + number, START + number + 0.5, f"{number}")
    gaps = recorder.gaps()
    assert [gap.reason for gap in gaps] == [str(number) for number in range(44, 300)]


def test_a_clip_stops_where_the_picture_changes_and_says_so(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring")
    other = make_video(tmp_path / "other.mp4", seconds=4, codec="libx264")
    _play(recorder, source)
    _play(recorder, other, at=START + 4, run=2)
    _play(recorder, source, at=START + 10, run=3)
    (gap,) = recorder.gaps()
    assert gap.reason == "The camera changed its codec or resolution."
    cut = recorder.cut(START, START + 14, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")
    assert cut.end == pytest.approx(START + 4, abs=0.01)
    assert cut.note.startswith("The camera's picture or sound changed at 1700000004.0")
    rest = recorder.cut(START + 4.1, START + 9, target=tmp_path / "rest")
    assert payloads(rest.path, "video") == payloads(other, "video")
    assert rest.note == ""


def _two_sizes(path: Path) -> Path:
    """An MPEG transport stream whose H.264 picture grows in mid-stream, told by its parameter sets alone."""
    with path.open("wb") as file:
        for number, size in enumerate(((64, 48), (96, 64))):
            part = path.with_name(f"{number}.h264")
            with av.open(str(part), "w", format="h264") as container:
                video = container.add_stream("libx264", rate=10)
                video.width, video.height, video.pix_fmt, video.gop_size = *size, "yuv420p", 10
                video.codec_context.max_b_frames = 0
                for index in range(30):
                    image = np.full((size[1], size[0], 3), index * 5, np.uint8)
                    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                    picture.pts, picture.time_base = index, Fraction(1, 10)
                    container.mux(video.encode(picture))
                container.mux(video.encode(None))
            file.write(part.read_bytes())
    return path


def test_a_resolution_that_changes_in_mid_stream_begins_a_segment(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring")
    source = _two_sizes(tmp_path / "v.h264")
    for number, packet in enumerate(_packets(source)):
        # A raw stream has no times; a camera's have.
        recorder.record(
            replace(packet, pts=number, dts=number, duration=1, tick=Fraction(1, 10), time=START + number / 10)
        )
    small = recorder.cut(START, START + 6, target=tmp_path / "small")
    large = recorder.cut(START + 3.05, START + 6, target=tmp_path / "large")
    assert (small.end, large.start) == pytest.approx((START + 3, START + 3), abs=0.01)
    assert "changed" in small.note
    for cut, width in ((small, 64), (large, 96)):
        with av.open(str(cut.path)) as container:
            assert {frame.width for frame in container.decode(video=0)} == {width}


def test_parameter_sets_are_found_by_their_start_codes() -> None:
    head = b"\0\0\0\1\x67abc\0\0\0\1\x68de\0\0\1\x65data"
    assert parameter_sets(head, "h264") == [b"\x67abc"]
    assert parameter_sets(b"\0\0\0\1\x42\1abc\0\0\1\x44\1", "hevc") == [b"\x42\1abc"]
    assert parameter_sets(head, "mjpeg") == []
    assert parameter_sets(b"", "h264") == []


def test_packets_that_make_no_sense_cost_only_themselves(source: Path, tmp_path: Path) -> None:
    """Repeated and reversed times, empty sound, an hour's jump without a key frame."""
    recorder = _recorder(tmp_path / "ring")
    for number, packet in enumerate(_packets(source)):
        recorder.record(packet)
        if number == 5:
            recorder.record(packet)
            recorder.record(replace(packet, pts=packet.pts - 1))
            recorder.record(replace(packet, video=False, key=False, dts=packet.dts + 1, pts=packet.pts + 1, run=9))
    assert recorder.gaps() == ()
    assert recorder.trouble == ""
    cut = recorder.cut(START, START + 4, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")


def test_a_time_that_jumps_without_a_key_frame_ends_the_segment(source: Path, tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "ring")
    for number, packet in enumerate(_packets(source)):
        recorder.record(replace(packet, time=packet.time + 3600) if number == 15 else packet)
        if number == 15:
            assert "times jump" in recorder.trouble
    assert recorder.trouble == ""
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 1.5, START + 2), abs=0.01)
    held = recorder.held()
    assert held == pytest.approx((START, START + 4), abs=0.01)


def test_a_packet_that_ffmpeg_refuses_is_a_gap_and_many_end_the_segment(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _recorder(tmp_path / "ring")
    for number, packet in enumerate(_packets(source)):
        if number == 3:
            good = recorder._open.write  # type: ignore[union-attr]
            monkeypatch.setattr(recorder._open, "write", _refused)
        if number == 5:
            monkeypatch.setattr(recorder._open, "write", good)
        recorder.record(packet)
    (gap,) = recorder.gaps()
    assert (gap.start, gap.end) == pytest.approx((START + 0.3, START + 0.5), abs=0.01)
    assert gap.reason == "Packets were damaged."
    monkeypatch.setattr("device_agent.record.Writing.write", _refused)
    _play(recorder, source, at=START + 4, run=2)
    assert recorder.trouble.startswith("Recording failed (Invalid data); check the camera")


def _refused(*packet: object) -> bool:
    raise av.error.InvalidDataError(1094995529, "Invalid data")


def test_sound_that_cannot_be_described_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that announces sound and never sends any: FFmpeg knows no sample rate, and refuses the whole header."""
    source = make_video(tmp_path / "v.mp4", seconds=3, sound=True)
    add = av.container.OutputContainer.add_stream_from_template

    class Silent:
        def __init__(self, container: Any) -> None:
            self._container = container
            self.metadata = container.metadata
            self.streams: list[str] = []

        def add_stream_from_template(self, stream: Any) -> Any:
            self.streams.append(stream.type)
            return add(self._container, stream)

        def start_encoding(self) -> None:
            if "audio" in self.streams:
                raise av.error.ArgumentError(22, "Invalid argument")
            self._container.start_encoding()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

    fake = SimpleNamespace(open=lambda *a, **k: Silent(av.open(*a, **k)), Packet=av.Packet)
    monkeypatch.setattr("device_agent.writing.av", fake)
    recorder = _recorder(tmp_path / "ring")
    _play(recorder, source)
    cut = recorder.cut(START, START + 3, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == payloads(source, "video")
    assert payloads(cut.path, "audio") == []
    assert recorder.trouble == ""


def test_a_clip_taken_while_a_packet_is_being_written_ends_before_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _recorder(tmp_path / "ring")
    whole: list[bytes] = []
    for packet in _packets(source):
        if len(whole) == 16:
            writing = recorder._open
            assert writing is not None
            size, end = writing.whole_bytes(), writing.end
            recorder.record(packet)
            # As if only half of it were in the file yet.
            os.truncate(writing.path, writing.whole_bytes() - packet.data.size // 2)
            break
        recorder.record(packet)
        whole.append(bytes(packet.data))
    monkeypatch.setattr(writing, "whole_bytes", lambda: size)
    monkeypatch.setattr(writing, "end", end)
    cut = recorder.cut(START, START + 2, target=tmp_path / "clip")
    assert payloads(cut.path, "video") == whole
    assert cut.end == pytest.approx(START + 1.6, abs=0.01)
