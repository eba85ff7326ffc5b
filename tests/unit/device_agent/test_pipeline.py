"""The pipeline's own part: whoever finds something stores it in its order, and nothing stays open with nobody left."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from device_agent.frames import Inbox
from device_agent.funnel import Funnel
from device_agent.pipeline import Parts, Pipeline
from foveate.messages import Event
from tests.unit.device_agent.fakes import JumpingClock
from tests.unit.device_agent.triggers.made import triggers


class Stored:
    """What was reported; `during` is what happens while the first revision is being stored."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.during = threading.Thread()

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
        triggers=triggers(),
        reporter=stored,
        recorder=SimpleNamespace(protect=lambda *span: None),
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
