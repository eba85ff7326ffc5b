"""One question over gRPC: what happens on the way, as it happens, then the record.

In: a question and the router's address. Out: plans, steps, partial answers and the record, as dataclasses.
Knows nothing of how they are shown: `showing.py` is next.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from uuid_utils import uuid7

from foveate import messages as m
from foveate import rpc, wire
from foveate.errors import InvalidInput, Unreachable
from foveate.v1 import question_service_pb2 as pb
from foveate.v1.question_service_pb2_grpc import QuestionServiceStub
from foveate.wire.questions import MAX_SCHEMA, MAX_TEXT

Happening = m.Plan | m.Step | m.Answer | m.QuestionRecord

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A little more than the question's own deadline, so that the router's own answer about time arrives first.
_SLACK_S = 5.0


def moment(text: str | None) -> float | None:
    """`10m` (ago), `90s`, `2h`, `1d` or ISO 8601 as Unix seconds; a time without zone is local."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return time.time() - float(ago[1]) * _UNIT[ago[2]]
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no time; write 10m, 2h or 2026-05-01T12:00.", time=text) from error
    return (parsed if parsed.tzinfo else parsed.astimezone()).astimezone(UTC).timestamp()


def question(text: str, *, scope: m.Scope, constraints: m.Constraints) -> m.Question:
    """A question asked now, with an id of its own; InvalidInput when no router would take its text or its schema."""
    asked = m.Question(question_id=str(uuid7()), text=text, ask_time=time.time(), scope=scope, constraints=constraints)
    _refuse_unusable(asked)
    return asked


def _refuse_unusable(asked: m.Question) -> None:
    """What every router refuses is refused here: a call holds 4 MiB at most, and past that nobody says why."""
    for name, text, most in (
        ("question", asked.text.strip(), MAX_TEXT),
        ("schema", asked.constraints.answer_schema, MAX_SCHEMA),
    ):
        if len(text) > most:
            raise InvalidInput(f"The {name} has {len(text)} characters; keep it to {most}.", field=name)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            said = f"The {name} holds bytes that are no text in UTF-8 (at character {error.start + 1}); write it anew."
            raise InvalidInput(said, field=name) from error


async def ask(router: str, asked: m.Question) -> AsyncIterator[Happening]:
    """Everything that happens until the record, which comes last; the router's errors are raised as ours."""
    _refuse_unusable(asked)
    timeout = (asked.constraints.deadline_s or 30.0) + _SLACK_S
    async with rpc.channel(router) as channel:
        call = QuestionServiceStub(channel).Ask(pb.AskRequest(question=wire.question_to(asked)), timeout=timeout)
        with rpc.translated():
            async for response in call:
                yield _happening(response)


def _happening(response: pb.AskResponse) -> Happening:
    match response.WhichOneof("happening"):
        case "plan":
            return wire.plan_of(response.plan)
        case "step":
            return wire.step_of(response.step)
        case "partial":
            return wire.answer_of(response.partial)
        case "record":
            return wire.record_of(response.record)
        case _:
            raise Unreachable("The router sent something this version does not know; update foveate.")


async def recorded(router: str, question_id: str) -> m.QuestionRecord:
    """The record of a question; NotFound when the router has none."""
    async with rpc.channel(router) as channel:
        with rpc.translated():
            response = await QuestionServiceStub(channel).GetQuestion(
                pb.GetQuestionRequest(question_id=question_id), timeout=10
            )
    return wire.record_of(response.record)


async def newest(router: str, *, count: int) -> tuple[m.QuestionRecord, ...]:
    """The newest records first."""
    async with rpc.channel(router) as channel:
        with rpc.translated():
            response = await QuestionServiceStub(channel).ListQuestions(
                pb.ListQuestionsRequest(page_size=count), timeout=10
            )
    return tuple(wire.record_of(record) for record in response.records)
