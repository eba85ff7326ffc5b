"""What may leave the site: events reduced, answers guarded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.release import admit, guard, reduce
from foveate import residency
from foveate.messages import (
    Answer,
    AnswerRequest,
    Embedding,
    Event,
    Evidence,
    Outcome,
    Pick,
    Place,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    TriggerKind,
    Understanding,
)
from foveate.residency import Origin, ResidencyPolicy

HERE, REGION, WORLD = Place("eu-west", "north"), Place("eu-west"), Place("us-ca")
POLICY = residency.parse(
    {
        "rules": [
            {"name": "facts-travel", "limits": {"FACTS": "WORLD", "EMBEDDING": "REGION"}},
            {"name": "eu-pictures", "limits": {"CLIP": "SITE", "FRAMES": "SITE", "REDACTED_FRAMES": "REGION"}},
            {"name": "private-stays", "scope": {"label": "private"}, "limits": {"FACTS": "SITE"}},
        ]
    },
    source="test",
)
EVENT = Event(
    event_id="e-1",
    revision=1,
    device_id="body-1",
    site_id="north",
    region="eu-west",
    trigger=TriggerKind.OBJECT,
    start=1.0,
    end=2.0,
    open=False,
    score=0.5,
    embedding=Embedding("eye@1", (1.0,)),
)


def origin(device: str) -> Origin:
    labels = ("private",) if device.startswith("glasses") else ()
    return Origin("eu-west", "north", device, labels)


def redact(piece: Evidence) -> bytes:
    return b"redacted " + piece.picture


def answer(*pieces: Evidence, reason: str = "") -> Answer:
    return Answer("q-1", Outcome.ANSWERED, "Yes.", 0.9, value=True, evidence=pieces, reason=reason)


def piece(device: str = "body-1", representation: Representation = Representation.FRAMES) -> Evidence:
    return Evidence(device, 1.0, 2.0, picture=b"jpeg", representation=representation, picture_time=1.5)


def guarded(given: Answer, asker: Place, *, devices: tuple[str, ...] = (), policy: ResidencyPolicy = POLICY) -> Answer:
    return guard(given, policy=policy, origins=origin, asker=asker, device_ids=devices, redactor=redact)


def test_an_event_leaves_with_its_embedding_without_it_or_not_at_all() -> None:
    def out(destination: Place, device: str = "body-1") -> tuple[Event | None, Representation, str]:
        reduced = reduce(EVENT, policy=POLICY, origin=origin(device), destination=destination)
        return reduced.event, reduced.representation, reduced.verdict.rule

    assert out(REGION) == (EVENT, Representation.EMBEDDING, "facts-travel")
    assert out(WORLD) == (replace(EVENT, embedding=None), Representation.FACTS, "facts-travel")
    assert out(WORLD, "glasses-1")[0] is None
    assert out(WORLD, "glasses-1")[2] == "private-stays"


def test_an_event_carries_every_label_that_is_known_of_its_device() -> None:
    known = Origin("eu-west", "north", "body-1", ("staff",))
    out = reduce(EVENT, policy=POLICY, origin=known, destination=REGION).event
    assert out is not None
    assert out.device_labels == ("staff",)


def test_on_site_everything_is_shown_as_it_is() -> None:
    given = answer(piece())
    assert guarded(given, HERE) == given


def test_pictures_become_redacted_in_the_region_and_vanish_in_the_world() -> None:
    near = guarded(answer(piece(), reason="unsure"), REGION)
    assert near.evidence[0].picture == b"redacted jpeg"
    assert near.evidence[0].representation is Representation.REDACTED_FRAMES
    assert near.reason == "unsure; pictures sent as REDACTED_FRAMES: rule eu-pictures keeps FRAMES to SITE"
    assert near.rule == "eu-pictures"
    far = guarded(answer(piece()), WORLD)
    assert far.evidence[0].picture == b""
    assert far.evidence[0].representation is Representation.FACTS
    assert far.reason == "pictures left out: rule eu-pictures keeps FRAMES to SITE"
    assert (far.outcome, far.value, far.confidence) == (Outcome.ANSWERED, True, 0.9)


def test_a_picture_that_cannot_be_redacted_stays() -> None:
    out = guard(answer(piece()), policy=POLICY, origins=origin, asker=REGION, redactor=lambda _: b"")
    assert out.evidence[0].picture == b""


def test_a_redacted_picture_is_not_redacted_again() -> None:
    given = answer(piece(representation=Representation.REDACTED_FRAMES))
    assert guarded(given, REGION) == given


def test_a_picture_that_calls_itself_facts_is_taken_for_a_picture() -> None:
    out = guarded(answer(piece(representation=Representation.FACTS)), WORLD)
    assert out.evidence[0].picture == b""


@pytest.mark.parametrize("devices", [(), ("glasses-1",)])
def test_facts_that_must_stay_refuse_the_whole_answer(devices: tuple[str, ...]) -> None:
    pieces = (piece(),) if devices else (piece(), piece("glasses-1"))
    out = guarded(answer(*pieces), REGION, devices=devices)
    assert out.outcome is Outcome.REFUSED
    assert out.rule == "private-stays"
    assert out.evidence == ()
    assert out.value is None
    assert "Yes" not in out.text


def test_no_rule_at_all_lets_nothing_out() -> None:
    out = guarded(answer(piece()), REGION, policy=ResidencyPolicy(()))
    assert (out.outcome, out.rule) == (Outcome.REFUSED, "")
    assert "no rule" in out.text


def test_devices_that_may_not_be_spoken_of_are_taken_out_of_the_question() -> None:
    request = AnswerRequest(
        question=Question("q-1", "a person?", ask_time=1.0),
        understanding=Understanding(Task.PRESENCE, "person", ("person",), 0.0, 1.0, True, Pick.ANY, ""),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=("body-1", "glasses-1"),
        devices_in_scope=2,
        time_left_s=1.0,
    )
    out, verdict = admit(request, policy=POLICY, origins=origin, asker=REGION)
    assert out.device_ids == ("body-1",)
    assert out.devices_in_scope == 2
    assert verdict is not None
    assert verdict.rule == "private-stays"
    assert admit(request, policy=POLICY, origins=origin, asker=HERE) == (request, None)
