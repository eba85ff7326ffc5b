"""Fusing what several devices say about now."""

from __future__ import annotations

import pytest

from edge_node.ask import fuse
from foveate.messages import (
    Answer,
    AnswerRequest,
    Evidence,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    Understanding,
)


def request(task: Task, *devices: str, scope: int | None = None) -> AnswerRequest:
    return AnswerRequest(
        question=Question("q-1", "how many?", ask_time=1.0),
        understanding=Understanding(task, "person", ("person",), 0.0, 1.0, True, Pick.ANY, ""),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=devices,
        devices_in_scope=len(devices) if scope is None else scope,
        time_left_s=1.0,
    )


def said(device: str, value: bool | int, confidence: float) -> Answer:
    evidence = (Evidence(device, 1.0, 1.0),)
    return Answer("other", Outcome.ANSWERED, f"{device}.", confidence, value=value, evidence=evidence, moved_bytes=5)


def test_presence_is_one_minus_the_odds_that_every_camera_errs() -> None:
    answers = {"a": said("a", True, 0.8), "b": said("b", False, 0.7)}
    fused = fuse(request(Task.PRESENCE, "a", "b"), answers, {})
    assert fused.value is True
    assert fused.confidence == pytest.approx(1 - 0.2 * 0.7)
    assert fused.text == "a."
    assert (fused.question_id, fused.moved_bytes) == ("q-1", 10)


def test_absence_needs_every_camera() -> None:
    answers = {"a": said("a", False, 0.9), "b": said("b", False, 0.9)}
    assert fuse(request(Task.PRESENCE, "a", "b"), answers, {}).confidence == pytest.approx(0.81)
    half = fuse(request(Task.PRESENCE, "a", "b", scope=4), answers, {})
    assert (half.value, half.confidence) == (False, pytest.approx(0.405))
    assert "2 of 4 devices answered" in half.reason


def test_counts_add_up_and_their_confidences_multiply() -> None:
    answers = {"a": said("a", 2, 0.8), "b": said("b", 0, 0.9)}
    fused = fuse(request(Task.COUNT, "a", "b"), answers, {})
    assert (fused.value, fused.confidence) == (2, pytest.approx(0.72))
    assert fused.text == "2 now: 2 by a, 0 by b. Views of cameras may overlap."
    one = fuse(request(Task.COUNT, "a", "c"), {"a": said("a", 2, 0.8)}, {"c": "No reply."})
    assert (one.value, one.confidence) == (2, pytest.approx(0.4))
    assert one.reason == "c: No reply.; 1 of 2 devices answered"


def test_nobody_knowing_is_no_exception() -> None:
    fused = fuse(request(Task.COUNT, "a"), {}, {"a": "No reply."})
    assert (fused.outcome, fused.reason, fused.value) == (Outcome.CANNOT_TELL, "a: No reply.", None)


def test_at_most_three_pictures_travel() -> None:
    answers = {name: said(name, 1, 0.9) for name in "abcde"}
    assert len(fuse(request(Task.COUNT, *"abcde"), answers, {}).evidence) == 3
