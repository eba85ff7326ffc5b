"""What questions are understood as: a labelled list, asserted exactly, and what is refused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate import errors, wire
from foveate.messages import Constraints, Pick, Question, Scope, Side, Task
from router.scope import FleetView
from router.understand import LIVE_S, MEMORY_S, understand
from router.vocabulary import word_set

_LISTED = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def ask(world: Any) -> Callable[..., Any]:
    return lambda text, **given: understand(world.question(text, **given), world.view)


@pytest.mark.parametrize("listed", _LISTED["understood"], ids=lambda listed: listed["ask"])
def test_a_listed_question_is_understood_exactly(listed: dict[str, Any], world: Any) -> None:
    reading = world.reading(listed["ask"])
    found, asked = reading.understanding, world.question("x").ask_time
    assert found.task is Task(listed["task"])
    assert list(found.labels) == listed.get("labels", [])
    if not found.labels:
        assert found.subject == listed.get("subject", "")
    assert found.now is listed.get("now", False)
    if not found.now:
        minutes = listed.get("minutes", [-MEMORY_S / 60, 0.0])
        clock = [seconds(text) for text in listed.get("clock", [])]
        expected = clock or [asked + minute * 60 for minute in minutes]
        assert [found.start, found.end] == pytest.approx(expected, rel=0, abs=1e-3)
    assert found.pick is Pick(listed.get("pick", "any"))
    assert list(reading.device_ids) == listed.get("devices", [])
    assert list(reading.unseen) == listed.get("unseen", [])
    assert list(reading.wider) == listed.get("wider", [])
    assert list(found.colours) == listed.get("colours", [])
    assert list(found.zones) == listed.get("zones", [])
    assert list(found.words) == listed.get("words", [])
    assert_sides(found.sides, listed.get("sides", []))
    assert reading.negated is listed.get("negated", False)
    assert reading.shown is listed.get("shown", False)


def seconds(clock: str) -> float:
    return datetime.fromisoformat(f"2026-03-11T{clock}+00:00").timestamp()


def assert_sides(sides: Sequence[Side], listed: list[dict[str, Any]]) -> None:
    # Listed questions that compare are told by their labels alone where nothing else is of interest.
    for side, expected in zip(sides, listed, strict=bool(listed)):
        assert list(side.labels) == expected["labels"]
        assert list(side.device_ids) == expected.get("devices", [])
        if "clock" in expected:
            assert [side.start, side.end] == [seconds(text) for text in expected["clock"]]


def test_the_list_is_long_enough_to_mean_something() -> None:
    asked = [listed["ask"] for listed in _LISTED["understood"]]
    assert len(set(asked)) == len(asked) >= 180
    assert {listed["task"] for listed in _LISTED["understood"]} == {task.value for task in Task}


@pytest.mark.parametrize("listed", _LISTED["refused"], ids=lambda listed: listed["ask"])
def test_a_listed_question_is_refused_with_what_to_do(listed: dict[str, str], world: Any) -> None:
    with pytest.raises(getattr(errors, listed["error"]), match=r"ask in English|known are: body-1"):
        world.reading(listed["ask"])


def test_now_reaches_back_as_far_as_events_take_to_arrive(ask: Callable[..., Any]) -> None:
    found = ask("is there a person in view?").understanding
    assert found.end - found.start == LIVE_S


def test_what_the_asker_set_wins_over_the_text(ask: Callable[..., Any]) -> None:
    found = ask("is there a car now?", scope=Scope(start=1_700_000_000.0, end=1_700_000_060.0)).understanding
    assert (found.start, found.end, found.now) == (1_700_000_000.0, 1_700_000_060.0, False)


def test_a_scope_that_contradicts_the_text_is_refused(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidInput, match="drop one of the two"):
        ask("was there a car in the last 5 minutes?", scope=Scope(end=1_700_000_000.0))


@pytest.mark.parametrize(
    "text", ["was there a car in the last 99999999999 weeks?", f"was there a car {'9' * 400} days ago?"]
)
def test_absurd_spans_stay_within_what_the_wire_takes(text: str, ask: Callable[..., Any]) -> None:
    found = ask(text).understanding
    assert 946_684_800.0 <= found.start <= found.end


def test_the_reason_says_what_no_detector_checks_and_what_was_widened(ask: Callable[..., Any]) -> None:
    reason = ask("is there an officer in a red hat at the door?").understanding.reason
    assert "the detector cannot check 'in a red hat at the door'" in reason
    assert "does not tell 'officer' from any other person" in reason


def test_the_reason_names_a_guess(ask: Callable[..., Any]) -> None:
    assert "which is a guess" in ask("cars yesterday").understanding.reason


def test_it_needs_no_fleet() -> None:
    question = Question("q", "how many cars are there?", 1_700_000_000.0)
    assert understand(question, FleetView()).understanding.labels == ("car",)


def test_a_scope_is_what_the_first_and_the_last_minute_are_of(ask: Callable[..., Any]) -> None:
    scope = Scope(start=1_773_230_000.0, end=1_773_230_300.0)
    sides = ask("were there more people in the first minute than in the last?", scope=scope).understanding.sides
    assert [(side.start, side.end) for side in sides] == [
        (1_773_230_000.0, 1_773_230_060.0),
        (1_773_230_240.0, 1_773_230_300.0),
    ]
    found = ask("was there a person in the first minute?", scope=scope).understanding
    assert (found.start, found.end) == (1_773_230_000.0, 1_773_230_060.0)


def test_the_first_minute_of_nothing_is_refused(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidInput, match="Add a time"):
        ask("were there more people in the first minute than in the last?")


def test_a_comparison_of_times_outside_the_scope_is_refused(ask: Callable[..., Any]) -> None:
    scope = Scope(start=1_773_230_000.0, end=1_773_230_300.0)
    with pytest.raises(errors.InvalidInput, match="drop one of the two"):
        ask("were there more people at 13:00:00 than at 13:05:00?", scope=scope)


def test_now_and_then_are_compared_with_now_as_short_as_ever(ask: Callable[..., Any]) -> None:
    found = ask("are there more people now than an hour ago?").understanding
    assert found.sides[0].end - found.sides[0].start == LIVE_S
    assert not found.now


def test_a_schema_asks_for_a_document(ask: Callable[..., Any]) -> None:
    schema = '{"type": "object", "properties": {"people": {"type": "integer"}}}'
    found = ask("how many people are there?", constraints=Constraints(answer_schema=schema)).understanding
    assert (found.task, found.labels) == (Task.EXTRACT, ("person",))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"type": ', "not JSON: line 1, column 10"),
        ("[1, 2]", "no object"),
        ("[" * 16_000, "not JSON"),
        ('"text"', "no object"),
    ],
)
def test_a_broken_schema_is_refused_with_its_field(schema: str, said: str, ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidInput, match=said) as raised:
        ask("how many people are there?", constraints=Constraints(answer_schema=schema))
    assert raised.value.metadata["field"] == "constraints.answer_schema"


def test_the_reason_tells_colours_zones_words_and_seconds(ask: Callable[..., Any]) -> None:
    reason = ask("was a red car in the yard zone at 13:15:32?").understanding.reason
    assert "that is red" in reason
    assert "in the zone 'yard'" in reason
    assert "from 2026-03-11 13:15:31 to 13:15:32 UTC" in reason
    assert "the words 'exit'" in ask("does any sign say exit?").understanding.reason
    compared = ask("were there more cars than trucks on cam-1 today?").understanding.reason
    assert "comparing cars on cam-1 from 2026-03-11 00:00:00 to 14:00:00 UTC with trucks on cam-1" in compared


@pytest.mark.parametrize(
    "text", ["'" * 2000, '"' * 1999, "the zone " * 220, "than " * 400 + "compare people", "a or " * 400]
)
def test_odd_texts_are_read_or_refused_in_no_time(text: str, ask: Callable[..., Any]) -> None:
    started = time.perf_counter()
    with contextlib.suppress(errors.InvalidInput):
        ask(text)
    assert time.perf_counter() - started < 2.0


_WORDS = sorted(
    word_set(
        "is was were are there any more fewer than as many how when did the a first last minute person people cars "
        "red dark or and on in at between 12:00 12:05:30 2026-03-11 2026-02-30 yesterday today cam-1 body-1 zone "
        "doorway area \"exit\" 'stop sign' says plate ab12 compare read most at once since before ago 99999999 "
        "weeks 3 now not empty ,"
    )
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=25).map(" ".join) | st.text(max_size=200))
def test_whatever_is_asked_is_read_or_refused_and_fits_the_wire(world: Any, text: str) -> None:
    question = world.question(text, ask_time=1_773_237_600.0)
    try:
        reading = understand(question, world.view)
    except errors.FoveateError:
        return
    found = wire.understanding_of(wire.understanding_to(reading.understanding))
    assert (found.task, found.sides, found.zones) == (
        reading.understanding.task,
        reading.understanding.sides,
        reading.understanding.zones,
    )
