"""Which part of the edge answers which task, and what each failure leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from edge_node.answer import EdgeAnswerer
from foveate.errors import InvalidInput, Unreachable
from foveate.messages import (
    Answer,
    AnswerRequest,
    Constraints,
    Event,
    LabelScore,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Side,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
    ZoneVisit,
)
from foveate.vision.boxes import Box

NOON = 1_750_075_200.0


def event() -> Event:
    """A person from the second to the ninth second, at the door from the fourth to the sixth."""
    path = tuple(Sighting(NOON + at, "person", 0.9, Box(0.1, 0.1, 0.2, 0.2)) for at in (2, 9))
    visits = (ZoneVisit("door", NOON + 4, NOON + 6),)
    return Event(
        event_id="e-1",
        revision=1,
        device_id="cam-1",
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=NOON + 2,
        end=NOON + 9,
        open=False,
        score=0.9,
        labels=(LabelScore("person", 0.9),),
        tracks=(Track(1, "person", 0.9, NOON + 2, NOON + 9, path, visits),),
    )


class Remembers:
    """One event, told in every form; `gone` when the database does not answer."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.whole: list[str] = []

    async def devices(self, **_: Any) -> frozenset[str]:
        if self.gone:
            raise Unreachable("The database does not answer; start it.")
        return frozenset({"cam-1", "cam-2"})

    async def select(self, *, device_ids: Any, start: float = 0.0, end: float = 9e9, **_: Any) -> tuple[Event, ...]:
        made = event()
        return (made,) if "cam-1" in device_ids and made.start <= end and made.end >= start else ()

    async def tracks(self, *, labels: Any, **scope: Any) -> tuple[Event, ...]:
        found = await self.select(**scope)
        bare = [
            replace(one, tracks=tuple(replace(t, sightings=(), zone_visits=()) for t in one.tracks)) for one in found
        ]
        return tuple(bare) if not labels or "person" in labels else ()

    async def standing(self, **_: Any) -> tuple[tuple[Event, float | None], ...]:
        return ()

    async def events(self, ids: Any) -> dict[str, Event]:
        self.whole += ids
        return {"e-1": event()} if "e-1" in ids else {}


class Blind:
    """No clip ever comes, or only after a while."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.looks = 0

    async def look(self, request: AnswerRequest, memory: Answer) -> tuple[list[Any], list[str]]:
        self.looks += 1
        await asyncio.sleep(self.delay)
        return [], ["cam-1 gave no pictures: it is off"]

    async def each_in_time(self, *_: Any) -> tuple[list[Any], list[str]]:
        return [], ["cam-1 gave no pictures: it is off"]

    look_in_time = look


def answerer(memory: Remembers | None = None, closer: Blind | None = None) -> EdgeAnswerer:
    return EdgeAnswerer(memory=memory or Remembers(), text=None, ask=None, closer=closer or Blind())  # type: ignore[arg-type]


def request(task: Task, form: Representation = Representation.FACTS, **changes: Any) -> AnswerRequest:
    question = Question(
        "q-1", changes.pop("text", "?"), ask_time=NOON + 60, constraints=changes.pop("limits", Constraints())
    )
    wanted = Understanding(task, "person", ("person",), NOON, NOON + 60, False, Pick.ANY, "")
    return AnswerRequest(
        question=question,
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", form),
        device_ids=("cam-1", "cam-2"),
        devices_in_scope=2,
        time_left_s=3.0,
    )


async def test_zones_are_for_memory_to_tell_whatever_may_be_looked_at() -> None:
    closer = Blind()
    asked = request(Task.PRESENCE, Representation.CLIP, zones=("door",))
    answer = await answerer(closer=closer).answer(asked)
    assert answer.value is True
    assert "only the device knows where its zones are" in answer.reason
    assert closer.looks == 0


async def test_only_what_is_cited_is_read_whole() -> None:
    memory = Remembers()
    answer = await answerer(memory).answer(request(Task.COUNT))
    assert (answer.value, memory.whole) == (1, ["e-1"])
    assert answer.evidence[0].sightings


async def test_a_device_without_pictures_leaves_what_memory_says() -> None:
    answer = await answerer().answer(request(Task.COUNT, Representation.CLIP))
    assert answer.value == 1
    assert "it is off" in answer.reason
    assert "this is what memory alone says" in answer.reason


async def test_sides_at_one_moment_are_counted_and_looked_at_one_by_one() -> None:
    closer = Blind()
    sides = tuple(Side("person", ("person",), (device,), NOON + 4.5, NOON + 5.5) for device in ("cam-1", "cam-2"))
    asked = request(Task.COMPARE, Representation.CLIP, text="Were there more people on cam-1?", sides=sides)
    answer = await answerer(closer=closer).answer(asked)
    assert answer.value is True
    assert answer.text == "Yes (cam-1: 1; cam-2: 0)."
    assert closer.looks == 2


@pytest.mark.parametrize("task", [Task.READ, Task.LISTEN, Task.DESCRIBE, Task.EXTRACT])
async def test_without_anything_to_go_by_it_abstains_and_says_why(task: Task) -> None:
    answer = await answerer().answer(request(task, text="What is he doing?"))
    assert answer.outcome is Outcome.CANNOT_TELL
    assert answer.reason
    assert answer.placement is not None


async def test_a_database_that_is_gone_is_an_abstention_with_its_reason() -> None:
    answer = await answerer(Remembers(gone=True)).answer(request(Task.READ, labels=()))
    assert answer.outcome is Outcome.CANNOT_TELL
    gone = await answerer(Remembers(gone=True)).answer(request(Task.PRESENCE))
    assert "database does not answer" in gone.reason


async def test_a_schema_that_cannot_be_used_names_its_field() -> None:
    limits = Constraints(answer_schema='{"$ref": "http://example.org/x"}')
    with pytest.raises(InvalidInput) as caught:
        await answerer().answer(request(Task.EXTRACT, limits=limits))
    assert "answer_schema" in str(caught.value.metadata)


async def test_a_document_comes_from_facts_through_the_same_answers() -> None:
    schema = '{"type": "object", "properties": {"person_count": {"type": "integer"}}, "required": ["person_count"]}'
    answer = await answerer().answer(request(Task.EXTRACT, limits=Constraints(answer_schema=schema)))
    assert answer.document == '{"person_count": 1}'
    assert answer.evidence[0].device_id == "cam-1"
