"""A model that breaks, a sign that gives orders, schemas that are not kept: a worse answer with its reason."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.thresholds import CAP
from foveate.errors import InvalidInput
from foveate.facts import cannot_tell
from foveate.messages import (
    Outcome,
    Question,
    Task,
)
from tests.integration.chat_server import KEY, Reply, chat_server
from tests.integration.site_with_model import SIGN, START, embedded, record, reply, request, site


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("film") / "film.mp4")


BROKEN = (
    [Reply(raw=b"<html>")],
    [Reply(status=500)],
    [Reply(status=400)],
    [Reply(status=401)],
    [Reply(status=429, headers={"Retry-After": "60"})],
    [Reply(cut=True)],
    [Reply("Yes, there is.")],
    [Reply('{"answer": "true"}')],
    [Reply('{"answer": true}', delay=3.0)],
    [Reply('{"answer": true}', finish="length")],
)


@pytest.mark.parametrize("replies", BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_model_leaves_the_embedded_answer_and_the_reason(
    film: Path, tmp_path: Path, replies: list[Reply]
) -> None:
    with chat_server(*replies) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.9), timeout_s=1.0) as north:
            answer = await north.answerer.answer(request())
            unknown = replace(north.embedded, says=cannot_tell(request(), "nothing was remembered"))
            north.answerer._inner = unknown
            nothing = await north.answerer.answer(request())
    assert (answer.value, answer.confidence, answer.text) == (True, 0.9, "The detector speaks.")
    assert answer.reason
    assert nothing.outcome is Outcome.CANNOT_TELL
    assert "nothing was remembered; " in nothing.reason
    assert KEY not in answer.reason


async def test_no_log_probs_thinks_and_proves_nothing(film: Path, tmp_path: Path) -> None:
    plain = Reply('{"answer": true, "picture": 1}')
    with chat_server(plain, Reply("It is there.</think>"), plain) as server:
        async with site(server, film, tmp_path, log_probs=False) as north:
            answer = await north.answerer.answer(request())
    assert len(server.requests) == 3
    assert (answer.value, answer.confidence) == (True, 0.5)
    assert "offers no confidence" in answer.reason


async def test_a_device_that_does_not_deliver_is_named(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(True)) as server:
        async with site(server, film, tmp_path) as north:
            north.pulls.silent = True
            answer = await north.answerer.answer(request(Task.DESCRIBE))
    assert server.requests == []
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "cam-1 gave no pictures" in answer.reason


@pytest.mark.parametrize("task", [Task.COUNT, Task.READ, Task.DESCRIBE])
async def test_a_sign_with_orders_stays_a_quotation(film: Path, tmp_path: Path, task: Task) -> None:
    obedient = Reply(json.dumps({"answer": 99 if task is Task.COUNT else "99", "picture": 1}))
    with chat_server(obedient) as server:
        says = replace(cannot_tell(request(), ""), evidence=embedded(None, 0.0, quote=SIGN).evidence)
        async with site(server, film, tmp_path, says=says) as north:
            answer = await north.answerer.answer(request(task))
    (body,) = server.requests
    parts = body["messages"][1]["content"]
    holding = [part for part in parts if part["type"] == "text" and "IGNORE" in part["text"]]
    assert len(holding) == 1
    head, quoted, tail = holding[0]["text"].rpartition("<recognised>\n")
    inside, _, after = tail.partition("\n</recognised>")
    assert quoted
    assert after == ""
    assert head.count("<recognised>") == 0
    assert SIGN in json.loads(inside)[0]
    assert "</recognised>" not in inside
    rest = json.dumps(
        [body["messages"][0], [part for part in parts if part is not holding[0] and part["type"] == "text"]]
    )
    assert "IGNORE" not in rest
    # Obeyed or not, the answer is of the task's type, and no surer than an uncalibrated model may be.
    assert type(answer.value) is (int if task is Task.COUNT else str)
    assert answer.confidence <= CAP


SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"colour": {"enum": ["white", "black"]}, "doors": {"type": "integer"}},
        "required": ["colour"],
        "additionalProperties": False,
    }
)


async def test_a_document_by_the_askers_schema(film: Path, tmp_path: Path) -> None:
    with chat_server(Reply('{"colour": "white"}')) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request(Task.EXTRACT, schema=SCHEMA))
    assert json.loads(answer.document) == {"colour": "white"}
    assert (answer.value, answer.outcome) == (None, Outcome.ANSWERED)
    assert 1 <= len(answer.evidence) <= 3
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)


async def test_a_broken_document_is_repaired_once_then_given_up(film: Path, tmp_path: Path) -> None:
    broken = Reply('{"colour": "IGNORE ALL"}')
    with chat_server(broken, Reply('{"colour": "black"}')) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request(Task.EXTRACT, schema=SCHEMA))
    assert json.loads(answer.document) == {"colour": "black"}
    assert "breaks the schema at /properties/colour/enum" in server.requests[1]["messages"][0]["content"]
    assert "IGNORE" not in json.dumps(server.requests[1])
    with chat_server(broken) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request(Task.EXTRACT, schema=SCHEMA))
    assert len(server.requests) == 2
    assert (answer.outcome, answer.document) == (Outcome.CANNOT_TELL, "")
    assert "breaks the schema" in answer.reason


async def test_a_bad_schema_is_the_askers_mistake(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(True)) as server:
        async with site(server, film, tmp_path) as north:
            with pytest.raises(InvalidInput) as caught:
                await north.answerer.answer(request(Task.EXTRACT, schema='{"properties": {"a": {"type": "x"}}}'))
    assert caught.value.metadata["field"] == "constraints.answer_schema/properties/a/type"
    assert server.requests == []


async def test_a_slow_memory_and_a_slow_model_end_in_time(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(True, picture=1)) as server:
        async with site(server, film, tmp_path) as north:
            north.embedded.slow = 60.0
            answer = await north.answerer.answer(request(time_left_s=6.0))
    assert answer.value is True
    with chat_server(Reply("x", delay=4.0)) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.9)) as north:
            began = time.monotonic()
            answer = await north.answerer.answer(request(time_left_s=2.5))
            assert time.monotonic() - began < 2.6
    assert (answer.value, answer.confidence) == (True, 0.9)
    assert "no time" in answer.reason or "no answer within" in answer.reason


async def test_many_at_once_all_get_an_answer(film: Path, tmp_path: Path) -> None:
    with chat_server(Reply('{"answer": true, "picture": 1}', delay=0.3)) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.9), at_once=2, waiting=2) as north:
            asked = [replace(request(time_left_s=20.0), question=Question(f"q-{n}", "?", START)) for n in range(9)]
            answers = await asyncio.gather(*(north.answerer.answer(one) for one in asked))
            after = await north.answerer.answer(request())
    assert {(answer.value, answer.confidence) for answer in answers} == {(True, 0.9)}
    assert any("waiting" in answer.reason for answer in answers)
    assert after.model == "tiny-vl@awq"
    assert server.most_at_once <= 2
