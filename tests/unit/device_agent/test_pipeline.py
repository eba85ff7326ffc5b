"""The pipeline's own part: whoever finds something stores it in its order, and nothing stays open with nobody left."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from device_agent.capture import Condition
from device_agent.frames import Inbox
from device_agent.funnel import Funnel
from device_agent.govern import Governor
from device_agent.pipeline import Parts, Pipeline
from device_agent.rules import Budget
from foveate.messages import Event
from tests.unit.device_agent.fakes import JumpingClock
from tests.unit.device_agent.triggers.made import SENDER, triggers


class Stored:
    """What was reported; `during` is what happens while the first revision is being stored."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.during = threading.Thread()
        self.trouble, self.depth = "", 0

    def put(self, event: Event) -> None:
        if event.revision == 1:
            self.during.start()
            self.during.join(timeout=0.2)
        self.events.append(event)


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def pipeline(stored: Stored) -> Pipeline:
    parts = SimpleNamespace(
        clock=JumpingClock(),
        inbox=Inbox(),
        ladder=SimpleNamespace(skipped=0),
        triggers=triggers(),
        reporter=stored,
        recorder=SimpleNamespace(protect=lambda *span: None, kept=lambda: (), gaps=lambda: (), trouble="", alarm=""),
        sender=SENDER,
        governor=Governor(Budget()),
        outbox=SimpleNamespace(sequence=0),
        camera=SimpleNamespace(condition=Condition(False)),
        masks=(),
        funnel=Funnel(),
    )
    return Pipeline(cast(Parts, cast(Any, parts)))


def test_two_presses_at_once_are_stored_in_the_order_of_their_revisions(pipeline: Pipeline, stored: Stored) -> None:
    stored.during = threading.Thread(target=pipeline.press, args=("door",))
    first = pipeline.press("door")
    stored.during.join()
    assert [(event.event_id, event.revision) for event in stored.events] == [(first, 1), (first, 2)]


def test_a_press_after_the_camera_has_ended_is_closed_at_once(pipeline: Pipeline, stored: Stored) -> None:
    pipeline._parts.inbox.close()
    pipeline.perceive()
    pressed = pipeline.press("door")
    assert [(event.event_id, event.open) for event in stored.events] == [(pressed, True), (pressed, False)]
    assert pipeline.open_events == ()


def test_the_state_tells_what_was_too_much(pipeline: Pipeline) -> None:
    assert pipeline.state().given_up == ()
    cast(Any, pipeline._parts.ladder).skipped = 1200
    pipeline._parts.inbox.dropped = 3
    assert pipeline.state().given_up == (
        "1,200 pictures were not looked at, for newer ones waited",
        "3 pictures were not even weighed, for far too many waited",
    )
