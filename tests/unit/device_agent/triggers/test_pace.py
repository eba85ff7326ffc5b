"""How events open, are told again, drawn together, held back and closed."""

from __future__ import annotations

import itertools
import logging

import pytest

from device_agent.rules import Pace
from foveate.messages import Embedding, Priority, TriggerKind
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import found, pacer


def test_an_event_opens_at_once_with_its_sender_and_its_priority() -> None:
    (event,) = pacer(Pace(priority=Priority.HIGH)).tell("a", found(0, 1), now=START + 1)
    assert (event.event_id, event.revision, event.open, event.priority) == ("event-1", 1, True, Priority.HIGH)
    assert (event.device_id, event.site_id, event.region, event.device_labels) == (
        "body-1",
        "north",
        "eu-west",
        ("police",),
    )
    assert (event.start, event.end, event.media_offset) == (START, START + 1, 0)


def test_it_is_told_again_every_two_seconds_and_ever_more_rarely() -> None:
    one = pacer()
    told = [second for second in range(201) if one.tell("a", found(0, second), now=START + second)]
    pauses = [after - before for before, after in itertools.pairwise(told)]
    assert pauses[0] == 2
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10


def test_it_closes_after_the_merge_gap_and_keeps_its_true_end() -> None:
    one = pacer(Pace(merge_s=3.0))
    one.tell("a", found(0, 1), now=START + 1)
    assert one.settle(START + 4) == []
    one.tell("a", found(0, 4), now=START + 4)
    (closed,) = one.settle(START + 7.1)
    assert (closed.open, closed.end, closed.revision) == (False, START + 4, 3)
    assert "a" not in one


def test_what_begins_beyond_the_rate_is_counted_logged_once_and_never_sent(caplog: pytest.LogCaptureFixture) -> None:
    one = pacer(Pace(most_per_minute=2), most_open=9)
    with caplog.at_level(logging.WARNING):
        told = [event for key in range(6) for event in one.tell(key, found(key, key), now=START + key)]
    assert len(told) == 2
    assert one.held_back == 4
    assert len(caplog.records) == 1
    for second in range(6, 12):  # a held one that lasts is counted once
        assert one.tell(5, found(5, second), now=START + second) == []
    assert one.held_back == 4
    assert all(not event.open for event in one.finish(START + 12))
    assert len(one.tell("later", found(60, 60), now=START + 60)) == 1


def test_no_more_are_open_than_allowed() -> None:
    one = pacer(most_open=3)
    for key in range(10):
        one.tell(key, found(0, 1), now=START)
    assert len(one.open_events) == 3
    assert one.held_back == 7
    assert len(one.finish(START + 2)) == 3
    assert one.keys == ()


def test_a_clock_set_back_does_not_hold_events_for_ever() -> None:
    one = pacer(Pace(most_per_minute=1))
    one.tell("a", found(0, 0), now=START)
    one.finish(START)
    assert one.tell("b", found(-5000, -5000), now=START - 5000)


def test_a_rate_of_none_sends_nothing_but_presses() -> None:
    assert pacer(Pace(most_per_minute=0)).tell("a", found(0, 0), now=START) == []
    manual = pacer(Pace(most_per_minute=0), kind=TriggerKind.MANUAL)
    assert len(manual.tell("a", found(0, 0), now=START)) == 1


def test_a_vector_is_asked_for_when_it_opens_and_once_more_when_it_closes() -> None:
    one = pacer()
    first, better = Embedding("m@1", (1.0,)), Embedding("m@1", (2.0,))
    (opened,) = one.tell("a", found(0, 0), now=START, meaning=lambda: first)
    (again,) = one.tell("a", found(0, 3), now=START + 3, meaning=lambda: better)
    (closed,) = one.close("a", now=START + 4, meaning=lambda: better)
    assert [opened.embedding, again.embedding, closed.embedding] == [first, first, better]
