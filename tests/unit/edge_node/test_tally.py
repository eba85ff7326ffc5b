"""Counts at a moment, things of a colour, and the last picture that shows something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_node.closer import BRIEF_S, Looked, Window, choose
from edge_node.decode import Frame, Timeline
from edge_node.look import Look, Seen
from edge_node.tally import at_moment
from edge_node.verdict import settle
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

NOON = 1_750_075_200.0
GREY = np.full((36, 64, 3), 90, np.uint8)


def request(task: Task, **changes: Any) -> AnswerRequest:
    wanted = Understanding(task, "car", ("car",), NOON, NOON + 60, False, Pick.ANY, "")
    return AnswerRequest(
        question=Question("q-1", "?", ask_time=NOON + 60),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.CLIP),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )


def remembered(value: bool | int | float, confidence: float, *times: float) -> Answer:
    evidence = tuple(
        Evidence("cam-1", NOON + t, NOON + t + 2, f"e-{t}", (Sighting(NOON + t, "car", 0.7, Box(0.1, 0.1, 0.1, 0.1)),))
        for t in times
    )
    return Answer("q-1", Outcome.ANSWERED, "Memory speaks.", confidence, value=value, evidence=evidence)


def shown(scores: list[tuple[float, ...]], *, at: float = 10.0, colour: float = 1.0) -> Looked:
    """Pictures 0.2 s apart, the middle one at `at`; what scores 0.4 or more is confirmed."""
    seen = []
    for index, each in enumerate(scores):
        cars = tuple(Detection("car", score, Box(0.1 * n, 0.2, 0.1, 0.1)) for n, score in enumerate(each))
        confirmed = tuple(car for car in cars if car.score >= 0.4)
        time = NOON + at + 0.2 * (index - len(scores) // 2)
        seen.append(Seen(Frame(time, GREY), confirmed, 0.0, cars, colour))
    hits = [one for one in seen if one.confirmed]
    header = ClipHeader("c", "cam-1", NOON, NOON + 60, 1, bytes(32), "video/mp4", Representation.CLIP)
    window = Window("cam-1", NOON + at - 1, NOON + at + 1)
    return Looked(window, header, Timeline(NOON, 0.0, 1.0), tuple(seen), hits[-1] if hits else None)


def test_a_moment_is_looked_at_closely() -> None:
    asked = request(Task.COUNT, start=NOON + 9.5, end=NOON + 10.5)
    (window,) = choose(asked, remembered(1, 0.8, 3.0))
    assert [window.start, window.end] == pytest.approx([NOON + 10 - BRIEF_S, NOON + 10 + BRIEF_S])


def test_a_thing_that_one_picture_misses_is_counted_at_its_moment() -> None:
    flicker = shown([(0.7, 0.7), (0.7, 0.7), (0.7,), (0.7, 0.7), (0.7, 0.7)])
    tally = at_moment(flicker, NOON + 10, None)
    assert tally.number == 2
    assert len(tally.seen.confirmed) == 2
    assert tally.sure < at_moment(shown([(0.7, 0.7)] * 5), NOON + 10, None).sure


def test_memory_and_pictures_share_a_moment() -> None:
    unsure = shown([(0.7, 0.39)] * 5)
    alone = at_moment(unsure, NOON + 10, None)
    with_two, with_one = (at_moment(unsure, NOON + 10, (number, 0.9)) for number in (2, 1))
    assert (with_two.number, with_one.number) == (2, 1)
    assert max(with_two.sure, with_one.sure) > alone.sure
    assert len(with_two.seen.confirmed) == 2
    beyond = at_moment(shown([()] * 3), NOON + 10, (3, 0.9))
    assert beyond.number == 0


def test_what_is_claimed_of_a_moment_is_in_the_evidence() -> None:
    asked = request(Task.COUNT, start=NOON + 9.5, end=NOON + 10.5)
    answer = settle(asked, remembered(2, 0.9, 10.0, 9.8), [shown([(0.7, 0.7, 0.1)] * 5)])
    assert answer.value == 2
    (piece,) = answer.evidence
    assert len(piece.sightings) == 2
    assert piece.picture_time == pytest.approx(NOON + 10)
    assert answer.text == "2 (car), counted in the pictures of cam-1 at 12:00:10 UTC."


def test_a_last_sighting_ends_at_the_last_picture_that_shows_it() -> None:
    asked = request(Task.FIND, pick=Pick.LAST)
    answer = settle(asked, remembered(NOON + 10.0, 0.8, 10.0), [shown([(0.7,), (0.7,), (0.7,), (), ()])])
    assert answer.value == pytest.approx(NOON + 10)
    (window,) = choose(asked, remembered(NOON + 10.0, 0.8, 4.0))
    assert window.start < NOON + 10 < window.end


class RedAndBlue:
    """Two cars in every picture, a red one on the left and a blue one on the right."""

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        return Detection("car", 0.7, Box(0.0, 0.0, 0.5, 1.0)), Detection("car", 0.6, Box(0.5, 0.0, 0.5, 1.0))


def test_only_things_of_the_asked_colour_are_seen() -> None:
    picture = np.zeros((36, 64, 3), np.uint8)
    picture[:, :32] = (200, 20, 20)
    picture[:, 32:] = (20, 40, 200)
    frames = [Frame(NOON + n / 5, picture) for n in range(3)]
    red = Look(RedAndBlue()).over(frames, ("car",), colours=("red",))
    assert [[one.box.left for one in seen.confirmed] for seen in red] == [[0.0]] * 3
    green = Look(RedAndBlue()).over(frames, ("car",), colours=("green",))
    assert all(not seen.confirmed and seen.best_candidate == 0.0 for seen in green)
    both = Look(RedAndBlue()).over(frames, ("car",), colours=("blue", "red"))
    assert [len(seen.confirmed) for seen in both] == [2, 2, 2]


def test_a_colour_is_as_sure_as_its_picture_and_never_as_memory() -> None:
    asked = request(Task.PRESENCE, colours=("red",))
    red = settle(asked, remembered(True, 0.35, 10.0), [shown([(0.7,)] * 3, colour=0.7)])
    assert red.value is True
    assert 0.6 < red.confidence < 0.75
    none = settle(asked, remembered(True, 0.35, 10.0), [shown([()] * 3)])
    assert none.value is False
    assert none.confidence < 0.8
    assert "none is red car" in none.text
    lost = settle(request(Task.FIND, colours=("red",)), remembered(NOON + 10.0, 0.35, 10.0), [shown([()] * 3)])
    assert lost.outcome is Outcome.CANNOT_TELL


def test_every_candidate_of_a_colour_is_looked_at() -> None:
    asked = request(Task.FIND, colours=("red",), pick=Pick.FIRST)
    windows = choose(asked, remembered(NOON + 3.0, 0.35, 3.0, 8.0, 20.0))
    assert [round(window.start - NOON) for window in windows] == [1, 6, 18]
    both = [shown([(0.7,)] * 3, at=20.0), shown([(0.7,)] * 3, at=8.0)]
    assert settle(asked, remembered(NOON + 3.0, 0.35, 3.0), both).value == both[1].first.frame.time  # type: ignore[union-attr]
