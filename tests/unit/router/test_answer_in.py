"""What a node may say of itself in its reply, and what it may not."""

from __future__ import annotations

import pytest

from foveate.errors import MalformedMessage
from foveate.messages import (
    Answer,
    AnswerRequest,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    Understanding,
)
from foveate.v1 import answer_service_pb2 as pb
from foveate.wire import answer_to
from router.dispatch import answer_in

EDGE = Placement(Tier.EDGE, "north", Representation.FACTS)
REQUEST = AnswerRequest(
    question=Question("q-1", "a car?", ask_time=1.0),
    understanding=Understanding(Task.PRESENCE, "car", ("car",), 0.0, 1.0, False, Pick.ANY, ""),
    placement=EDGE,
    device_ids=("cam-1",),
    devices_in_scope=1,
    time_left_s=5.0,
)


def reply(question_id: str = "q-1") -> pb.AnswerServiceAnswerResponse:
    answer = Answer(question_id, Outcome.ANSWERED, "Yes.", 0.9, value=True, placement=EDGE, alone=True)
    return pb.AnswerServiceAnswerResponse(answer=answer_to(answer))


def test_no_node_says_that_its_site_is_alone() -> None:
    answer = answer_in(reply(), REQUEST)
    assert (answer.value, answer.alone) == (True, False)


def test_an_answer_to_another_question_and_no_answer_are_none() -> None:
    with pytest.raises(MalformedMessage):
        answer_in(reply("q-2"), REQUEST)
    with pytest.raises(MalformedMessage):
        answer_in(pb.AnswerServiceAnswerResponse(), REQUEST)
