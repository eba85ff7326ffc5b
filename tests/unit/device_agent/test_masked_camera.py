"""A masked camera: what is recorded, decoded and cut from it is masked, at the times of the camera behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from device_agent.capture import Condition, Packet
from device_agent.masked_camera import MaskedCamera
from device_agent.masks import Masks
from device_agent.record import Recorder
from device_agent.rules import Mask, Retention
from tests.unit.device_agent.fakes import START, camera, make_video, payloads

LEFT = Masks((Mask("left half", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),))


@dataclass
class Scripted:
    """Gives the packets that it was given."""

    given: list[Packet]
    condition: Condition = field(default_factory=lambda: Condition(True))

    def packets(self) -> Iterator[Packet]:
        return iter(self.given)


def masked(path: Path) -> tuple[list[Packet], list[Packet]]:
    """What the file's camera sends, and what it sends masked."""
    return list(camera(path).packets()), list(MaskedCamera(camera(path), LEFT).packets())


def decoded(packets: list[Packet]) -> list[np.ndarray]:
    found = []
    for packet in (item for item in packets if item.video):
        found += [frame.to_ndarray(format="gray") for frame in packet.streams.decoder.decode(packet.data)]
    return found


def hidden(image: np.ndarray) -> bool:
    return bool(np.abs(image[:, :26].astype(int) - 128).max() <= 6)


@pytest.mark.parametrize(("suffix", "sound"), [(".mp4", False), (".mp4", True), (".mov", True)])
def test_pictures_are_masked_at_their_times_and_sound_is_as_it_was(tmp_path: Path, suffix: str, sound: bool) -> None:
    plain, found = masked(make_video(tmp_path / f"v{suffix}", sound=sound))
    before, after = ([item for item in items if item.video] for items in (plain, found))
    assert [item.time for item in after] == pytest.approx([item.time for item in before], abs=1e-3)
    assert [item.media_time for item in after] == pytest.approx([item.media_time for item in before], abs=1e-3)
    assert {item.run for item in after} == {1}
    assert after[0].key
    assert all(later.dts > earlier.dts for earlier, later in pairwise(after))
    assert [bytes(item.data) for item in found if not item.video] == [
        bytes(item.data) for item in plain if not item.video
    ]
    indices = (
        {item.data.stream_index for item in found if item.video},
        {item.data.stream_index for item in plain if not item.video},
    )
    assert indices[0].isdisjoint(indices[1])
    images = decoded(after)
    assert len(images) == 60
    assert all(hidden(image) for image in images)
    assert any(image[:, 40:].max() > 200 for image in images)


def test_sound_that_comes_first_in_the_file_keeps_its_number(tmp_path: Path) -> None:
    source, swapped = make_video(tmp_path / "v.mp4", sound=True), tmp_path / "s.mp4"
    with av.open(str(source)) as given, av.open(str(swapped), "w") as output:
        made = {
            item.index: output.add_stream_from_template(item)
            for item in (given.streams.audio[0], given.streams.video[0])
        }
        for packet in given.demux():
            if packet.size:
                packet.stream = made[packet.stream_index]
                output.mux(packet)
    _, found = masked(swapped)
    assert {(item.video, item.data.stream_index) for item in found} == {(False, 0), (True, 1)}
    assert all(hidden(image) for image in decoded(found))


@pytest.mark.parametrize("sound", [False, True])
def test_it_is_recorded_and_cut_like_any_other(tmp_path: Path, sound: bool) -> None:
    source = make_video(tmp_path / "v.mp4", sound=sound)
    recorder = Recorder(tmp_path / "ring", retention=Retention(), free_bytes=lambda _: 1 << 40)
    for packet in MaskedCamera(camera(source), LEFT).packets():
        recorder.record(packet)
    assert recorder.trouble == ""
    made = recorder.cut(START + 1.0, START + 5.0, target=tmp_path / "clip", sound=True)
    assert made.start == pytest.approx(START + 1.0, abs=1e-2)
    assert made.end == pytest.approx(START + 5.0, abs=0.11)
    assert made.media_offset == pytest.approx(1.0, abs=1e-2)
    with av.open(str(made.path)) as clip:
        assert clip.streams.video[0].codec_context.name == "mpeg4"
        assert bool(clip.streams.audio) is sound
        images = [frame.to_ndarray(format="gray") for frame in clip.decode(video=0)]
    assert len(images) in (40, 41)
    assert all(hidden(image) for image in images)
    if sound:
        heard = payloads(made.path, "audio")
        assert heard
        assert set(heard) <= set(payloads(source, "audio"))
    recorder.close()


def test_each_run_begins_with_a_key_frame_of_its_own_streams(tmp_path: Path) -> None:
    first = list(camera(make_video(tmp_path / "v.mp4", seconds=2.0)).packets())
    second = [replace(item, run=2) for item in camera(make_video(tmp_path / "w.mp4", seconds=1.0)).packets()]
    found = list(MaskedCamera(Scripted(first + second), LEFT).packets())
    runs = [[item for item in found if item.run == run] for run in (1, 2)]
    assert [len(run) for run in runs] == [20, 10]
    assert all(run[0].key for run in runs)
    assert len({id(item.streams) for item in found}) == 2
    assert len(decoded(runs[0])) + len(decoded(runs[1])) == 30


def test_a_camera_of_key_frames_only_does_not_fill_the_disk_with_them(tmp_path: Path) -> None:
    _, found = masked(make_video(tmp_path / "v.mov", codec="mjpeg"))
    keys = [item.media_time for item in found if item.key]
    assert keys == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-3)


def test_reordered_pictures_all_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.max_b_frames = 2
        for number in range(30):
            image = np.full((48, 64, 3), number * 8, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    plain, found = masked(path)
    assert any(item.pts != item.dts for item in plain)
    assert [item.media_time for item in found] == pytest.approx([number / 10 for number in range(30)], abs=2e-3)
    levels = [image[:, 40:].mean() for image in decoded(found)]
    assert levels == sorted(levels)
    assert len(levels) == 30


def test_what_cannot_be_decoded_is_not_passed_on_and_is_said(tmp_path: Path) -> None:
    given = [item for item in camera(make_video(tmp_path / "v.mp4", seconds=12.0)).packets() if item.video]
    broken = [replace(item, data=_broken(item)) for item in given]
    wrapped = MaskedCamera(Scripted(broken), LEFT)
    assert wrapped.condition == Condition(True)
    assert list(wrapped.packets()) == []
    assert not wrapped.condition.capturing
    assert "cannot be decoded" in wrapped.condition.trouble
    gone = Condition(False, "The camera is gone.")
    assert MaskedCamera(Scripted([], condition=gone), LEFT).condition == gone


def _broken(packet: Packet) -> av.Packet:
    data = av.Packet(bytes(packet.data.size))
    data.pts, data.dts, data.time_base = packet.pts, packet.dts, packet.tick
    return data
