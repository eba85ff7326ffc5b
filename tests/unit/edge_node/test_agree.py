"""A model's answer against the embedded one: agreement, contradiction, abstention, by hand-computed numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge_node import agree
from foveate.facts import cannot_tell
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
    Tokens,
    Understanding,
)

NOON = 1_750_075_200.0


def request(task: Task) -> AnswerRequest:
    return AnswerRequest(
        question=Question("q-1", "?", NOON),
        understanding=Understanding(task, "car", ("car",), NOON, NOON + 60, False, Pick.ANY, ""),
        placement=Placement(Tier.EDGE, "north", Representation.FRAMES),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )


def detector(value: Any, confidence: float) -> Answer:
    piece = Evidence("cam-1", NOON, NOON + 5, event_id="e-1")
    return Answer(
        "q-1", Outcome.ANSWERED, "D.", confidence, value=value, evidence=(piece,), cost_usd=0.1, moved_bytes=9
    )


def model(value: Any, confidence: float) -> Answer:
    piece = Evidence("cam-1", NOON + 1, NOON + 1, picture_time=NOON + 1)
    said = Answer("q-1", Outcome.ANSWERED, "M.", confidence, value=value, evidence=(piece,), cost_usd=0.2)
    return replace(said, model="tiny@awq", tokens=Tokens(10, 2, 0, 5), reason="not calibrated")


@pytest.mark.parametrize(("task", "value"), [(Task.PRESENCE, True), (Task.PRESENCE, False), (Task.COUNT, 3)])
def test_the_surer_of_two_that_agree(task: Task, value: Any) -> None:
    for p, q in ((0.9, 0.7), (0.6, 0.8)):
        answer = agree.settle(request(task), detector(value, p), model(value, q))
        assert (answer.value, answer.confidence) == (value, max(p, q))
        assert len(answer.evidence) == 2
        assert answer.reason.startswith("the model and the detector agree")
    assert (answer.model, answer.tokens) == ("tiny@awq", Tokens(10, 2, 0, 5))
    assert (answer.cost_usd, answer.moved_bytes) == (pytest.approx(0.3), 9)


def test_yes_against_no_is_weighed_by_their_odds() -> None:
    # 0.9 * 0.3 = 0.27 against 0.1 * 0.7 = 0.07: 0.27 / 0.34 = 0.794
    answer = agree.settle(request(Task.PRESENCE), detector(True, 0.9), model(False, 0.7))
    assert (answer.value, answer.confidence) == (True, pytest.approx(0.27 / 0.34))
    assert answer.text == "D. The model tiny@awq said otherwise: M."
    # 0.7 * 0.2 = 0.14 against 0.3 * 0.8 = 0.24: 0.24 / 0.38 = 0.632
    answer = agree.settle(request(Task.PRESENCE), detector(True, 0.7), model(False, 0.8))
    assert (answer.value, answer.confidence) == (False, pytest.approx(0.24 / 0.38))
    assert answer.text == "M. The detector and memory said otherwise: D."


def test_a_model_without_confidence_still_costs_some_when_it_differs() -> None:
    answer = agree.settle(request(Task.PRESENCE), detector(True, 0.95), model(False, 0.5))
    assert (answer.value, answer.confidence) == (True, pytest.approx(0.95 * 0.9))


def test_two_counts_may_both_be_wrong() -> None:
    # 0.6 * 0.5 = 0.3, 0.5 * 0.4 = 0.2, neither 0.4 * 0.5 = 0.2
    answer = agree.settle(request(Task.COUNT), detector(3, 0.6), model(4, 0.5))
    assert (answer.value, answer.confidence) == (3, pytest.approx(0.3 / 0.7))


def test_moments_close_by_are_one_and_the_detectors_is_exact() -> None:
    answer = agree.settle(request(Task.FIND), detector(NOON + 10.2, 0.7), model(NOON + 11.5, 0.8))
    assert (answer.value, answer.confidence, answer.text) == (NOON + 10.2, 0.8, "D.")
    apart = agree.settle(request(Task.FIND), detector(NOON + 10, 0.7), model(NOON + 40, 0.7))
    assert apart.confidence == pytest.approx(0.21 / (0.21 + 0.21 + 0.09))


def test_who_cannot_tell_leaves_it_to_the_other() -> None:
    silent = replace(cannot_tell(request(Task.COUNT), "the model cannot tell"), model="tiny@awq")
    answer = agree.settle(request(Task.COUNT), detector(3, 0.8), silent)
    assert (answer.value, answer.confidence, answer.model) == (3, pytest.approx(0.72), "tiny@awq")
    unknown = cannot_tell(request(Task.DESCRIBE), "the embedded default does not describe")
    answer = agree.settle(request(Task.DESCRIBE), unknown, model("A yard.", 0.7))
    assert (answer.value, answer.reason) == ("A yard.", "not calibrated")
    both = agree.settle(request(Task.COUNT), cannot_tell(request(Task.COUNT), "nothing remembered"), silent)
    assert both.outcome is Outcome.CANNOT_TELL
    assert both.reason == "the model cannot tell; nothing remembered"


def test_words_that_were_read_agree_but_for_case_and_signs() -> None:
    answer = agree.settle(request(Task.READ), detector("No Exit!", 0.8), model("NO EXIT", 0.7))
    assert (answer.value, answer.confidence) == ("NO EXIT", 0.8)
    differs = agree.settle(request(Task.READ), detector("NO ENTRY", 0.8), model("NO EXIT", 0.7))
    assert (differs.value, differs.confidence) == ("NO ENTRY", 0.8)
    surer = agree.settle(request(Task.READ), detector("NO ENTRY", 0.5), model("NO EXIT", 0.7))
    assert surer.value == "NO EXIT"


def test_both_that_were_weighed_are_named() -> None:
    known = replace(detector(True, 0.9), model="nanodet-g@1")
    assert agree.settle(request(Task.PRESENCE), known, model(True, 0.7)).model == "nanodet-g@1 + tiny@awq"
    assert agree.settle(request(Task.DESCRIBE), known, model("A yard.", 0.7)).model == "tiny@awq"


def test_a_description_is_the_models() -> None:
    answer = agree.settle(request(Task.DESCRIBE), detector("person, car", 0.9), model("A man parks.", 0.6))
    assert (answer.value, answer.confidence) == ("A man parks.", 0.6)
