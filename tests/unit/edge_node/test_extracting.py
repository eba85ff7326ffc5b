"""Documents that fulfil a schema, filled from answers to smaller questions, and lists of what was in view."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_node.binding import Bound, bound, resolved
from edge_node.closer import Looked, Window
from edge_node.decode import Frame, Timeline
from edge_node.describing import Describes
from edge_node.extracting import Extracts
from edge_node.look import Seen
from foveate.errors import InvalidInput
from foveate.facts import cannot_tell
from foveate.messages import (
    Answer,
    AnswerRequest,
    ClipHeader,
    Constraints,
    Event,
    Evidence,
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
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection

NOON = 1_750_075_200.0
WANTED = Understanding(Task.EXTRACT, "", (), NOON, NOON + 60, False, Pick.ANY, "")


def request(schema: Any = None, text: str = "?", **changes: Any) -> AnswerRequest:
    limits = Constraints(answer_schema="" if schema is None else json.dumps(schema))
    return AnswerRequest(
        question=Question("q-1", text, ask_time=NOON + 60, constraints=limits),
        understanding=replace(WANTED, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.CLIP),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=8.0,
    )


def objects(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), **more}


@pytest.mark.parametrize(
    ("name", "kind", "task", "labels"),
    [
        ("person_count", "integer", Task.COUNT, ("person",)),
        ("numberOfCars", "integer", Task.COUNT, ("car",)),
        ("people", "integer", Task.COUNT, ("person",)),
        ("traffic_lights", "number", Task.COUNT, ("traffic light",)),
        ("is_dog_present", "boolean", Task.PRESENCE, ("dog",)),
        ("bus", "boolean", Task.PRESENCE, ("bus",)),
        ("first_seen_person", "string", Task.FIND, ("person",)),
        ("car_colour", "string", Task.DESCRIBE, ("car",)),
        ("sign_text", "string", Task.READ, ()),
        ("transcript", "string", Task.LISTEN, ()),
    ],
)
def test_names_mean_questions(name: str, kind: str, task: Task, labels: tuple[str, ...]) -> None:
    found = bound((name,), {"type": kind}, WANTED)
    assert found is not None
    assert (found.task, found.labels) == (task, labels)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("person_running", "boolean"),
        ("mood", "string"),
        ("women", "integer"),
        ("count", "integer"),
        ("car_price", "string"),
    ],
)
def test_what_no_evidence_tells_is_bound_to_nothing(name: str, kind: str) -> None:
    assert bound((name,), {"type": kind}, WANTED) is None


def test_a_name_without_its_thing_takes_that_of_the_question_or_of_what_it_stands_in() -> None:
    dogs = replace(WANTED, labels=("dog",))
    assert bound(("count",), {"type": "integer"}, dogs) == Bound(Task.COUNT, ("dog",), "How many: dog?")
    inner = bound(("car", "last_seen"), {"type": "string"}, WANTED)
    assert inner == Bound(Task.FIND, ("car",), "When last: car?", pick=Pick.LAST)
    root = {"$defs": {"n": {"type": "integer"}, "m": {"$ref": "#/$defs/n"}}}
    assert resolved({"$ref": "#/$defs/m"}, root) == {"type": "integer"}
    assert resolved({"$ref": "#/$defs/x"}, root) == {}


class Oracle:
    """Answers by task, and remembers what it was asked."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.asked: list[AnswerRequest] = []

    async def __call__(self, asked: AnswerRequest) -> Answer:
        self.asked.append(asked)
        value = self.values.get(asked.understanding.task.value)
        if value is None:
            return cannot_tell(asked, "nobody knows")
        piece = Evidence("cam-1", NOON, NOON + 1, "e-1", quote=str(value))
        return Answer("q-1", Outcome.ANSWERED, str(value), 0.9, value=value, evidence=(piece,), model="nanodet-g@1")


async def test_a_document_is_filled_from_evidence_and_fulfils_its_schema() -> None:
    oracle = Oracle(count=3, presence=True, find=NOON + 5, read="EXIT", describe="red")
    car = objects({"colour": {"enum": ["red", "blue"]}, "first_seen": {"type": "string", "format": "date-time"}})
    schema = objects(
        {
            "person_count": {"type": "integer"},
            "dog_present": {"type": "boolean"},
            "camera": {"type": "string"},
            "signs": {"type": "array", "items": {"type": "string"}},
            "sign_text": {"type": ["string", "null"]},
            "kind": {"const": "report"},
            "car": car,
            "mood": {"type": ["string", "null"]},
        },
        "person_count",
        "mood",
        additionalProperties=False,
    )
    answer = await Extracts(oracle).answer(request(schema, labels=("person",)))
    assert json.loads(answer.document) == {
        "person_count": 3,
        "dog_present": True,
        "camera": "cam-1",
        "sign_text": "EXIT",
        "kind": "report",
        "car": {"colour": "red", "first_seen": "2025-06-16T12:00:05Z"},
        "mood": None,
    }
    assert answer.outcome is Outcome.ANSWERED
    assert answer.confidence == pytest.approx(0.9**6)
    assert answer.evidence
    assert answer.model == "nanodet-g@1"
    counted = next(one for one in oracle.asked if one.understanding.task is Task.COUNT)
    assert counted.placement.representation is Representation.FACTS


async def test_what_is_required_and_unknown_is_an_abstention_that_names_it() -> None:
    schema = objects({"person_count": {"type": "integer"}, "mood": {"type": "string"}}, "person_count", "mood")
    answer = await Extracts(Oracle(count=3)).answer(request(schema))
    assert (answer.outcome, answer.document) == (Outcome.CANNOT_TELL, "")
    assert "no evidence fills mood" in answer.reason
    nothing = await Extracts(Oracle()).answer(request(objects({"person_count": {"type": "integer"}})))
    assert nothing.outcome is Outcome.CANNOT_TELL


async def test_a_document_that_breaks_its_schema_is_not_given() -> None:
    schema = objects({"person_count": {"type": "integer", "maximum": 2}})
    answer = await Extracts(Oracle(count=3)).answer(request(schema))
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "/person_count" in answer.reason
    with pytest.raises(InvalidInput):
        await Extracts(Oracle()).answer(request({"$ref": "https://example.org/s.json"}))
    assert (await Extracts(Oracle()).answer(request())).outcome is Outcome.CANNOT_TELL


class Remembers:
    """Two people, one after another, and a phantom."""

    async def tracks(self, **_: Any) -> tuple[Event, ...]:
        return tuple(_event(*one) for one in ((0, "person", 0.9), (20, "person", 0.9), (30, "kite", 0.1)))

    async def events(self, ids: Any) -> dict[str, Event]:
        return {event.event_id: event for event in await self.tracks() if event.event_id in ids}


def _event(start: float, label: str, score: float) -> Event:
    path = (Sighting(NOON + start, label, score, Box(0.1, 0.1, 0.2, 0.2)),)
    track = Track(1, label, score, NOON + start, NOON + start + 5, path)
    return Event(
        f"e-{start}", 1, "cam-1", "n", "r", TriggerKind.OBJECT, track.start, track.end, False, score, tracks=(track,)
    )


class Sees:
    """A closer look at one picture with a car in it."""

    def __init__(self, *colours: tuple[int, int, int]) -> None:
        self.picture = np.zeros((40, 40, 3), np.uint8)
        for index, colour in enumerate(colours):
            self.picture[:, 40 // len(colours) * index :] = colour

    async def look_in_time(self, request: AnswerRequest, memory: Answer) -> tuple[list[Looked], list[str]]:
        car = Detection("car", 0.8, Box(0.0, 0.0, 1.0, 1.0))
        seen = Seen(Frame(NOON + 7, self.picture), (car,), 0.9, (car,))
        header = ClipHeader("c", "cam-1", NOON, NOON + 9, 1, bytes(32), "video/mp4", Representation.CLIP)
        window = Window("cam-1", NOON + 6, NOON + 8)
        return [Looked(window, header, Timeline(NOON, 0.0, 1.0), (seen, seen), seen)], []


def describes(*colours: tuple[int, int, int]) -> Describes:
    return Describes(memory=Remembers(), scene=None, closer=Sees(*colours))  # type: ignore[arg-type]


def describe(text: str, **changes: Any) -> AnswerRequest:
    return request(text=text, task=Task.DESCRIBE, **changes)


async def test_a_description_lists_what_was_recognised() -> None:
    wanted = describe("Describe what happened")
    answer = await describes((200, 20, 20)).answer(wanted, cannot_tell(wanted, ""))
    assert answer.text == "Between 12:00:00 UTC and 12:01:00 UTC, at most at once: 1 person (2 tracks), 1 car."
    assert {seen.label for piece in answer.evidence for seen in piece.sightings} == {"person", "car"}
    doing = await describes((0, 0, 0)).answer(describe("What is he doing?"), cannot_tell(wanted, ""))
    assert doing.outcome is Outcome.CANNOT_TELL


async def test_a_colour_is_told_with_its_share_and_left_open_when_two_are_close() -> None:
    wanted = describe("What colour is the car?", labels=("car",))
    red = await describes((200, 20, 20)).answer(wanted, cannot_tell(wanted, ""))
    assert (red.value, red.text) == ("red", "The car on cam-1 at 12:00:07 UTC is red (red 100%).")
    assert red.evidence[0].picture
    both = await describes((200, 20, 20), (20, 40, 200)).answer(wanted, cannot_tell(wanted, ""))
    assert both.outcome is Outcome.CANNOT_TELL
    assert "too close" in both.reason
    facts = replace(wanted, placement=Placement(Tier.EDGE, "north", Representation.FACTS))
    assert (await describes((200, 20, 20)).answer(facts, cannot_tell(wanted, ""))).outcome is Outcome.CANNOT_TELL
