"""Answers from remembered facts and by meaning, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate.facts import AS_REPORTED, SURE_COUNT, from_events
from foveate.heard import QUIET, SURE_ABSENCE, Heard
from foveate.likeness import CEILING, from_likeness
from foveate.messages import (
    AnswerRequest,
    Event,
    LabelScore,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
)
from foveate.recall import recall
from foveate.sweep import Span, most_at_once
from foveate.vision.boxes import Box
from foveate.vision.likelihood import PEOPLE

NOON = 1_750_075_200.0  # 12:00:00 UTC
BOX = Box(0.25, 0.25, 0.25, 0.25)
ALL = frozenset({"body-1", "glasses-1"})


def event(
    start: float, end: float, *, score: float = 0.8, device: str = "body-1", label: str = "person", **changes: Any
) -> Event:
    sightings = (Sighting(NOON + start, label, score, BOX), Sighting(NOON + end, label, score, BOX.expanded(0.1)))
    made = Event(
        event_id=f"{device}-{start}",
        revision=1,
        device_id=device,
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=NOON + start,
        end=NOON + end,
        open=False,
        score=score,
        labels=(LabelScore(label, score),),
        tracks=(Track(1, label, score, NOON + start, NOON + end, sightings),),
    )
    return replace(made, **changes)


def request(task: Task = Task.PRESENCE, *, devices: tuple[str, ...] = ("body-1",), **changes: Any) -> AnswerRequest:
    scope = changes.pop("devices_in_scope", len(devices))
    wanted = Understanding(
        task=task, subject="person", labels=("person",), start=NOON, end=NOON + 60, now=False, pick=Pick.ANY, reason=""
    )
    return AnswerRequest(
        question=Question("q-1", "is there a person?", ask_time=NOON + 60),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=devices,
        devices_in_scope=scope,
        time_left_s=5.0,
    )


def sure(score: float) -> float:
    return PEOPLE.probability(score)


def heard(*in_span: str, ever: frozenset[str] = ALL) -> Heard:
    return Heard(ever, frozenset(in_span))


def test_yes_is_as_sure_as_its_best_tracks() -> None:
    one = from_events(request(), [event(1, 5, score=0.7)], heard("body-1"))
    assert one.value is True
    assert one.confidence == pytest.approx(sure(0.7))
    two = from_events(request(), [event(1, 5, score=0.7), event(8, 9, score=0.5)], heard("body-1"))
    assert two.confidence == pytest.approx(1 - (1 - sure(0.7)) * (1 - sure(0.5)))
    assert [piece.event_id for piece in two.evidence] == ["body-1-1", "body-1-8"]
    assert two.evidence[0].sightings[0].box == BOX


def test_no_is_less_sure_when_a_device_was_quiet_or_is_out_of_sight() -> None:
    def confidence(asked: AnswerRequest, known: Heard) -> float:
        answer = from_events(asked, [], known)
        assert answer.value is False
        return answer.confidence

    assert confidence(request(), heard("body-1")) == SURE_ABSENCE
    assert confidence(request(), heard()) == QUIET < 0.9
    half = request(devices_in_scope=2)
    assert confidence(half, heard("body-1")) == pytest.approx(SURE_ABSENCE / 2)
    assert "1 of 2 devices in scope are out of sight" in from_events(half, [], heard("body-1")).reason
    unheard = from_events(request(), [], heard(ever=frozenset()))
    assert unheard.outcome is Outcome.CANNOT_TELL
    assert unheard.reason == "nothing was ever heard of body-1"


def test_counts_the_most_at_once_with_the_odds_of_exactly_so_many() -> None:
    events = [event(0, 10, score=0.9), event(5, 15, score=0.8), event(12, 20, score=0.9)]
    answer = from_events(request(Task.COUNT), events, heard("body-1"))
    assert answer.value == 2
    assert answer.confidence == pytest.approx(min(SURE_COUNT, sure(0.9) * sure(0.8)))
    assert answer.text == "At most 2 at once (person), at 12:00:05 UTC; 3 distinct tracks in that time."
    assert {piece.event_id for piece in answer.evidence} == {"body-1-0", "body-1-5"}


def test_counts_over_several_cameras_say_that_views_may_overlap() -> None:
    both = ("body-1", "glasses-1")
    events = [event(0, 10), event(5, 15, device="glasses-1")]
    answer = from_events(request(Task.COUNT, devices=both), events, heard(*both))
    assert answer.value == 2
    assert "2 cameras, whose views may overlap" in answer.text
    assert "overlap" not in from_events(request(Task.COUNT), events[:1], heard("body-1")).text


def test_now_counts_what_is_still_there() -> None:
    going, opened = event(1, 58, open=True), event(2, 57, open=True)
    gone, lost = event(3, 59), event(4, 20, open=True)
    answer = from_events(request(Task.COUNT, now=True), [going, opened, gone, lost], heard("body-1"))
    assert answer.value == 2
    assert {piece.event_id for piece in answer.evidence} == {"body-1-1", "body-1-2"}
    assert answer.text == "2 now, as last reported (person)."
    assert answer.confidence <= SURE_COUNT * AS_REPORTED**2


def test_nobody_counts_as_nought() -> None:
    answer = from_events(request(Task.COUNT), [], heard("body-1"))
    assert (answer.value, type(answer.value), answer.confidence) == (0, int, SURE_ABSENCE)


@pytest.mark.parametrize(("pick", "at"), [(Pick.FIRST, 1), (Pick.LAST, 31), (Pick.ANY, 10)])
def test_finds_the_first_the_last_and_the_clearest(pick: Pick, at: float) -> None:
    events = [event(10, 12, score=0.9), event(1, 5, score=0.6), event(30, 31, score=0.7)]
    answer = from_events(request(Task.FIND, pick=pick), events, heard("body-1"))
    assert answer.value == NOON + at
    assert len(answer.evidence) == 1
    assert answer.evidence[0].sightings[0].time == NOON + at


def test_a_find_names_the_clock_and_the_place_in_the_source() -> None:
    answer = from_events(request(Task.FIND), [event(14, 16, media_offset=4.5)], heard("body-1"))
    assert "at 12:00:14 UTC, 4.5 s into its source" in answer.text
    assert answer.evidence[0].media_offset == 4.5
    live = from_events(request(Task.FIND), [event(14, 16)], heard("body-1"))
    assert live.text.endswith("at 12:00:14 UTC.")


def test_a_find_of_what_was_never_seen_cannot_tell() -> None:
    answer = from_events(request(Task.FIND), [], heard("body-1"))
    assert (answer.outcome, answer.value) == (Outcome.CANNOT_TELL, None)
    assert "person was not seen between 12:00:00 UTC and 12:01:00 UTC" in answer.reason


def test_the_first_is_less_sure_when_another_camera_may_have_seen_it_earlier() -> None:
    whole = from_events(request(Task.FIND, pick=Pick.FIRST), [event(1, 5, score=0.6)], heard("body-1"))
    half = from_events(
        request(Task.FIND, pick=Pick.FIRST, devices_in_scope=2), [event(1, 5, score=0.6)], heard("body-1")
    )
    assert half.confidence == pytest.approx(whole.confidence / 2)


def test_tracks_of_other_labels_do_not_count() -> None:
    mixed = event(1, 5)
    car = Track(2, "car", 0.9, NOON + 1, NOON + 5, (Sighting(NOON + 1, "car", 0.9, BOX),))
    mixed = replace(mixed, tracks=(*mixed.tracks, car))
    assert from_events(request(Task.COUNT), [mixed], heard("body-1")).value == 1
    assert from_events(request(Task.COUNT, labels=("car", "person")), [mixed], heard("body-1")).value == 2


async def test_what_needs_a_vlm_says_so() -> None:
    answer = await recall(request(Task.DESCRIBE), None, None)  # type: ignore[arg-type]  # memory is not asked
    assert answer.outcome is Outcome.CANNOT_TELL
    assert (
        answer.reason == "facts and embeddings answer presence, count, find and compare; describe needs more than those"
    )


async def test_unnamed_things_need_embeddings() -> None:
    asked = request(Task.FIND, labels=(), subject="red umbrella")
    answer = await recall(asked, None, None)  # type: ignore[arg-type]
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "the detector has no name for 'red umbrella'" in answer.reason


def test_likeness_answers_only_what_stands_out_and_never_surely() -> None:
    asked = request(Task.FIND, labels=(), subject="juggler")
    crowd = [(event(n, n + 1), 0.45) for n in range(2, 9)]
    clear = from_likeness(asked, [(event(1, 2), 0.87), *crowd])
    assert clear.value == NOON + 1
    assert clear.confidence == CEILING < 0.5
    assert "0.87" in clear.text
    level = from_likeness(asked, [(event(1, 2), 0.64), *crowd])
    assert level.outcome is Outcome.CANNOT_TELL
    assert level.evidence[0].event_id == "body-1-1"
    assert from_likeness(asked, [(event(1, 2), 0.6)]).outcome is Outcome.CANNOT_TELL
    assert from_likeness(asked, []).outcome is Outcome.CANNOT_TELL


def test_what_stands_out_does_so_from_all_and_not_from_its_likes() -> None:
    asked = request(Task.FIND, labels=(), subject="juggler")
    alike = [(event(1, 2), 0.87), (event(3, 4), 0.86)]
    assert from_likeness(asked, alike).outcome is Outcome.CANNOT_TELL
    assert from_likeness(asked, alike, median=0.45).value == NOON + 1
    assert from_likeness(asked, alike, median=0.8).outcome is Outcome.CANNOT_TELL


whole_seconds = st.integers(0, 20)


@given(st.lists(st.tuples(whole_seconds, st.integers(0, 8)), max_size=12), whole_seconds, st.integers(0, 10))
def test_the_sweep_finds_what_looking_at_every_moment_finds(
    lengths: list[tuple[int, int]], start: int, length: int
) -> None:
    spans = [Span(float(first), float(first + long), 0.5, event(0, 1)) for first, long in lengths]
    end = start + length

    def at(moment: float) -> int:
        return sum(s.start <= moment < s.end or s.start == s.end == moment for s in spans)

    moments = [start + step / 2 for step in range(2 * length + 1)]
    moment, together = most_at_once(spans, start=start, end=end)
    assert len(together) == max(map(at, moments))
    assert start <= moment <= end
    assert at(moment) == len(together)
    assert all(at(earlier) < len(together) for earlier in moments if earlier < moment)
