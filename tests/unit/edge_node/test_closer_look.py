"""Which moments are worth a clip, what pictures show, and how they weigh against memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_node.closer import Looked, Window, choose
from edge_node.decode import Frame, Timeline, frames, timeline
from edge_node.look import Look, Seen
from edge_node.verdict import SURE, illustrate, settle
from foveate.errors import BadVideo
from foveate.facts import cannot_tell
from foveate.messages import (
    Answer,
    AnswerRequest,
    ClipHeader,
    Evidence,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Sighting,
    Task,
    Tier,
    Understanding,
)
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture
from foveate.vision.draw import small_jpeg
from foveate.vision.likelihood import THINGS

NOON = 1_750_075_200.0
BOX = Box(0.2, 0.2, 0.2, 0.2)
CAR = 0.5  # a detector's score, and the probability that it stands for
SURELY = THINGS.probability(CAR)
GREY = np.full((36, 64, 3), 90, np.uint8)
P = THINGS.probability(0.5)  # of one car in `shown`


def request(task: Task = Task.PRESENCE, *, devices: tuple[str, ...] = ("cam-1",), **changes: Any) -> AnswerRequest:
    wanted = Understanding(task, "car", ("car",), NOON, NOON + 60, False, Pick.ANY, "")
    return AnswerRequest(
        question=Question("q-1", "a car?", ask_time=NOON + 60),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.CLIP),
        device_ids=devices,
        devices_in_scope=len(devices),
        time_left_s=5.0,
    )


def memory(value: bool | int | float | None, confidence: float = 0.8, *, at: float = 20.0) -> Answer:
    if value is None:
        return cannot_tell(request(), "nothing was ever heard of cam-1")
    sighting = Sighting(NOON + at, "car", 0.8, BOX)
    piece = Evidence("cam-1", NOON + at, NOON + at + 9, event_id="e-1", sightings=(sighting,))
    evidence = (piece,) if value else ()
    return Answer("q-1", Outcome.ANSWERED, "Memory speaks.", confidence, value=value, evidence=evidence)


def shown(counts: Sequence[int], *, score: float = CAR, candidate: float = 0.0, device: str = "cam-1") -> Looked:
    """One picture each 0.2 s from 12:00:18 on with so many cars in it."""
    seen = []
    for index, number in enumerate(counts):
        cars = tuple(Detection("car", score, Box(0.1 * n, 0.2, 0.1, 0.1)) for n in range(number))
        seen.append(Seen(Frame(NOON + 18 + index / 5, GREY), cars, max(candidate, SURELY if cars else 0.0)))
    first = next((one for one in seen if one.confirmed), None)
    header = ClipHeader("c", device, NOON + 18, NOON + 23, 1, bytes(32), "video/mp4", Representation.CLIP)
    window = Window(device, NOON + 18, NOON + 23, memory(True).evidence[0])
    return Looked(window, replace(header, media_offset=50.0), Timeline(NOON + 18, 0.0, 2.0), tuple(seen), first)


def test_a_find_looks_around_the_moment_that_memory_names() -> None:
    (window,) = choose(request(Task.FIND), memory(NOON + 20.0))
    assert (window.start, window.end) == (NOON + 18, NOON + 23)


def test_a_count_looks_at_the_moment_when_the_last_one_came() -> None:
    first, last = memory(True).evidence[0], memory(True, at=27.0).evidence[0]
    known = replace(memory(2), evidence=(first, replace(last, event_id="e-2")))
    (window,) = choose(request(Task.COUNT), known)
    assert (window.start, window.end) == (pytest.approx(NOON + 25.8), pytest.approx(NOON + 28.2))


def test_pictures_outside_of_the_asked_time_are_not_looked_at() -> None:
    (early,) = choose(request(Task.COUNT, start=NOON + 19.5, end=NOON + 40), memory(2))
    assert (early.start, early.end) == (NOON + 19.5, pytest.approx(NOON + 21.2))
    (late,) = choose(request(start=NOON, end=NOON + 20.5), memory(True))
    assert (late.start, late.end) == (pytest.approx(NOON + 18.8), NOON + 20.5)


@pytest.mark.parametrize("task", [Task.PRESENCE, Task.COUNT])
def test_what_was_last_seen_before_the_asked_time_is_looked_for_within_it(task: Task) -> None:
    (window,) = choose(request(task, start=NOON + 40, end=NOON + 43), memory(1))
    assert (window.start, window.end, window.piece) == (NOON + 40, NOON + 43, None)


def test_now_looks_at_the_last_three_seconds_of_three_cameras() -> None:
    windows = choose(request(devices=("cam-2", "cam-3", "cam-1", "cam-4"), now=True), memory(True))
    assert [window.device_id for window in windows] == ["cam-1", "cam-2", "cam-3"]
    assert {(window.start, window.end) for window in windows} == {(NOON + 57, NOON + 60)}


def test_an_empty_memory_looks_at_the_latest_seconds() -> None:
    (window,) = choose(request(), memory(None))
    assert (window.start, window.end) == (NOON + 54, NOON + 60)
    (short,) = choose(request(start=NOON + 56), memory(None))
    assert (short.start, short.end) == (NOON + 56, NOON + 60)


def test_pictures_that_agree_leave_the_surer_word() -> None:
    answer = settle(request(), memory(True, 0.9), [shown([0, 1, 1, 0])])
    assert (answer.value, answer.confidence) == (True, pytest.approx(0.9))
    surer = settle(request(), memory(True, 0.6), [shown([0, 1, 1, 0])])
    assert surer.confidence == pytest.approx(SURELY)
    assert surer.evidence[0].picture
    assert surer.evidence[0].sightings[0].time == surer.evidence[0].picture_time == NOON + 18.2
    assert surer.evidence[0].media_offset == pytest.approx(50.4)  # the file runs at twice the speed


def test_pictures_that_differ_lower_the_confidence_and_say_so() -> None:
    answer = settle(request(), memory(True, 0.9), [shown([0, 0, 0], candidate=0.4)])
    assert answer.value is True
    assert answer.confidence == pytest.approx(0.9 * 0.4 / (0.9 * 0.4 + 0.1 * 0.6))
    assert "memory and pictures differ" in answer.text
    unexpected = settle(request(), memory(False, 0.89), [shown([0, 2, 2])])
    assert unexpected.value is True
    assert "Memory held no such event" in unexpected.text


def test_empty_pictures_of_a_part_prove_little_about_the_whole() -> None:
    unknown = settle(request(), memory(None), [shown([0, 0])])
    assert unknown.value is False
    assert unknown.confidence == pytest.approx(0.5 + (SURE - 0.5) * 5 / 60)
    now = settle(request(now=True), memory(None), [shown([0, 0])])
    assert now.confidence == pytest.approx(SURE)


def test_a_count_is_what_two_pictures_show() -> None:
    answer = settle(request(Task.COUNT), memory(2, 0.5), [shown([1, 2, 3, 2, 1])])
    assert (answer.value, answer.confidence) == (2, pytest.approx(SURELY**2))
    other = settle(request(Task.COUNT), memory(4, 0.5), [shown([1, 2, 3, 2, 1])])
    assert other.value == 2
    assert other.confidence == pytest.approx(SURELY**2 * 0.8)
    assert "Memory counted 4." in other.text


def test_a_count_now_is_what_most_of_the_last_pictures_show() -> None:
    both = [shown([3, 3, 0, 1, 1, 2, 1]), shown([1, 1, 1, 1, 1], device="cam-2")]
    answer = settle(request(Task.COUNT, devices=("cam-1", "cam-2"), now=True), memory(None), both)
    assert answer.value == 2
    assert answer.confidence < SURELY**2
    steady = [shown([3, 1, 1, 1, 1, 1]), shown([1, 1, 1, 1, 1], device="cam-2")]
    sure = settle(request(Task.COUNT, devices=("cam-1", "cam-2"), now=True), memory(None), steady)
    assert (sure.value, sure.confidence) == (2, pytest.approx(SURELY**2))
    assert "Views of cameras may overlap" in answer.text


def test_a_find_gives_the_time_of_the_first_picture() -> None:
    answer = settle(request(Task.FIND, pick=Pick.FIRST), memory(NOON + 20.0, 0.7), [shown([0, 0, 1, 1])])
    assert answer.value == pytest.approx(NOON + 18.4)
    assert answer.text == "Car first seen by cam-1 at 12:00:18 UTC, 50.8 s into its source."
    assert answer.evidence[0].event_id == "e-1"
    already = settle(request(Task.FIND), memory(NOON + 20.0, 0.7), [shown([1, 1])])
    assert "from the first picture" in already.text
    assert already.confidence == pytest.approx(0.8 * SURELY)


def test_a_find_that_pictures_do_not_show_keeps_the_memory_with_less_confidence() -> None:
    answer = settle(request(Task.FIND), memory(NOON + 20.0, 0.7), [shown([0, 0])])
    assert answer.value == NOON + 20.0
    assert answer.confidence < 0.15
    nothing = settle(request(Task.FIND), memory(None), [shown([0, 0])])
    assert nothing.outcome is Outcome.CANNOT_TELL


def test_memory_illustrated_keeps_its_value_and_boxes() -> None:
    known = memory(True, 0.7)
    form = Representation.REDACTED_FRAMES
    answer = illustrate(known, [shown([0] * 20)], representation=form, why="not verified")
    assert (answer.value, answer.confidence, answer.reason) == (True, 0.7, "not verified")
    assert answer.evidence[0].picture_time == NOON + 20
    assert answer.evidence[0].sightings == known.evidence[0].sightings
    assert answer.evidence[0].representation is form


class Scripted:
    """Says for each picture, told apart by its brightness, what is in it."""

    def __init__(self, script: dict[int, tuple[Detection, ...]]) -> None:
        self.script = script

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        return self.script[int(image[0, 0, 0])]


def test_what_flickers_in_one_picture_does_not_count() -> None:
    car, faint, bird = Detection("car", 0.6, BOX), Detection("car", 0.25, BOX), Detection("bird", 0.9, BOX)
    far = Detection("car", 0.6, Box(0.8, 0.8, 0.1, 0.1))
    script = {0: (car,), 1: (bird,), 2: (car, far), 3: (faint,), 4: ()}
    pictures = [Frame(NOON + n, np.full((36, 64, 3), n, np.uint8)) for n in script]
    seen = Look(Scripted(script)).over(pictures, ("car",))
    clear, poor = THINGS.probability(0.6), THINGS.probability(0.25)
    assert [one.confirmed for one in seen] == [(), (), (car,), (), ()]
    assert [one.best_candidate for one in seen] == pytest.approx([clear, 0.0, clear, poor, 0.0])


def test_a_find_stops_looking_soon_after_its_hit() -> None:
    car = Detection("car", 0.6, BOX)
    script = {n: (car,) if n >= 3 else () for n in range(20)}
    pictures = [Frame(NOON + n, np.full((36, 64, 3), n, np.uint8)) for n in script]
    seen = Look(Scripted(script)).over(pictures, ("car",), enough=2)
    assert [len(one.confirmed) for one in seen] == [0, 0, 0, 1, 1, 1]


def test_one_thing_under_two_names_counts_once() -> None:
    car, truck = Detection("car", 0.6, BOX), Detection("truck", 0.5, BOX)
    pictures = [Frame(NOON + n, np.full((36, 64, 3), n, np.uint8)) for n in range(2)]
    seen = Look(Scripted({0: (truck, car), 1: (car, truck)})).over(pictures, ("car", "truck"))
    assert [one.confirmed for one in seen] == [(car,), (car,)]


def test_a_noisy_picture_fits_into_a_message() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (540, 960, 3), dtype=np.uint8)
    assert len(small_jpeg(noise)) <= 256 * 1024


def _film(path: Path, *, pictures: int = 20) -> ClipHeader:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=10, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(pictures):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return ClipHeader("c", "cam-1", NOON, NOON + 2.0, 1, bytes(32), "video/mp4", Representation.CLIP)


def test_pictures_come_with_the_time_at_which_they_were_taken(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    header = _film(path)
    got = frames(path, timeline(path, header), start=NOON + 0.5, end=NOON + 1.5, step=0.2, most=24)
    assert [round(one.time - NOON, 3) for one in got] == [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]
    assert [round(float(one.picture.mean()), -1) for one in got] == [50, 70, 90, 110, 130, 150]
    assert len(frames(path, timeline(path, header), start=NOON, end=NOON + 2, step=0.0, most=7)) == 7


def test_a_file_played_at_twice_its_speed_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    clock = timeline(path, replace(_film(path), end=NOON + 1.0))
    assert clock.rate == pytest.approx(2.0)
    got = frames(path, clock, start=NOON, end=NOON + 1.0, step=0.25, most=24)
    assert [round(one.time - NOON, 2) for one in got] == [0.0, 0.25, 0.5, 0.75]


def test_a_clip_that_is_no_video_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    header = _film(path)
    path.write_bytes(b"not a video" * 100)
    with pytest.raises(BadVideo):
        timeline(path, header)
