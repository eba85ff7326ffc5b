"""Which of two sides had more, from facts, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foveate.compare import CEILING, at_a_moment, from_counts, from_tracks, measured, names, refusal, side_request
from foveate.messages import (
    Answer,
    AnswerRequest,
    Event,
    LabelScore,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Side,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
)
from foveate.vision.boxes import Box

NOON = 1_750_075_200.0
CARS = Side("cars", ("car",), (), NOON, NOON + 600)
PEOPLE = Side("people", ("person",), (), NOON, NOON + 600)


def request(text: str, one: Side = CARS, other: Side = PEOPLE, **changes: Any) -> AnswerRequest:
    wanted = Understanding(
        Task.COMPARE, "", ("car", "person"), NOON, NOON + 600, False, Pick.ANY, "", sides=(one, other)
    )
    return AnswerRequest(
        question=Question("q-1", text, ask_time=NOON + 600),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=("cam-1", "cam-2"),
        devices_in_scope=2,
        time_left_s=5.0,
    )


def event(number: int, label: str, *, device: str = "cam-1", length: float = 5.0) -> Event:
    start = NOON + 10 * number
    path = (Sighting(start, label, 0.9, Box(0.1, 0.1, 0.1, 0.1)),)
    return Event(
        event_id=f"{label}-{device}-{number}",
        revision=1,
        device_id=device,
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=start,
        end=start + length,
        open=False,
        score=0.9,
        labels=(LabelScore(label, 0.9),),
        tracks=(Track(1, label, 0.9, start, start + length, path),),
    )


def ask(asked: AnswerRequest, *, cars: int, people: int) -> Answer:
    counts = {"car": cars, "person": people}
    events = [event(n, label) for label, number in counts.items() for n in range(number)]
    sides = [side_request(asked, side) for side in asked.understanding.sides]
    return from_tracks(asked, [measured(side, events) for side in sides])


def test_more_tracks_are_more_and_both_sides_are_cited() -> None:
    answer = ask(request("were there more cars than people?"), cars=20, people=4)
    assert answer.value is True
    assert 0.8 < answer.confidence <= CEILING
    assert {piece.event_id.split("-")[0] for piece in answer.evidence} == {"car", "person"}
    assert "20 distinct tracks" in answer.text
    assert "4 distinct tracks" in answer.text
    fewer = ask(request("were there fewer cars than people?"), cars=20, people=4)
    assert fewer.value is False
    assert ask(request("Compare cars with people"), cars=20, people=4).value == "cars"


def test_a_difference_within_the_error_is_left_open() -> None:
    answer = ask(request("were there more cars than people?"), cars=8, people=8)
    assert (answer.outcome, answer.value) == (Outcome.CANNOT_TELL, None)
    assert "within the error" in answer.reason
    assert answer.evidence


def count(value: int, confidence: float = 0.9) -> Answer:
    return Answer("q-1", Outcome.ANSWERED, f"{value}", confidence, value=value, model="nanodet-g@1")


def test_a_moment_is_compared_by_its_counts() -> None:
    now = request("are there as many cars as people?", now=True)
    assert at_a_moment(now)
    assert from_counts(now, [count(2), count(2)]).value is True
    assert from_counts(now, [count(2), count(2)]).confidence == pytest.approx(0.9**2 + 2 * 0.05**2)
    assert from_counts(now, [count(3), count(1)]).value is False
    unknown = replace(count(0), outcome=Outcome.CANNOT_TELL, value=None, reason="nothing was ever heard of cam-2")
    assert from_counts(now, [count(2), unknown]).reason == "people: nothing was ever heard of cam-2"


def test_sides_are_told_apart_by_what_differs() -> None:
    one, other = (replace(PEOPLE, device_ids=(f"cam-{n}",)) for n in (1, 2))
    asked = request("which camera saw more people?", one, other)
    assert names(asked) == ("cam-1", "cam-2")
    assert side_request(asked, other).device_ids == ("cam-2",)
    assert side_request(asked, other).devices_in_scope == 1
    later = replace(PEOPLE, start=NOON + 300)
    assert names(request("?", PEOPLE, later))[1] == "between 12:05:00 UTC and 12:10:00 UTC"


def test_what_cannot_be_compared_says_why() -> None:
    assert refusal(request("?")) == ""
    assert "two sides" in refusal(request("?", sides=()))
    assert "no name for 'foxes'" in refusal(request("?", CARS, Side("foxes", (), (), NOON, NOON + 600)))
    assert refusal(request("?", CARS, replace(CARS, device_ids=("cam-9",)))) == "cam-9 cannot be asked here"
