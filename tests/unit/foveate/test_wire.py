"""Every dataclass crosses the wire unchanged, and whatever is malformed is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate import errors, wire
from foveate import messages as m
from foveate.errors import FoveateError, InvalidInput, MalformedMessage, TryAgain
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import (
    answer_service_pb2,
    clip_service_pb2,
    event_pb2,
    failure_pb2,
    fleet_pb2,
    question_pb2,
    question_service_pb2,
    residency_pb2,
)
from foveate.vision.boxes import Box

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Sixty-fourths are whole microseconds and whole binary fractions: they cross the wire exactly.
times = st.integers(946_684_800 * 64, 4_102_444_800 * 64).map(lambda n: n / 64)
spans = st.integers(0, 10**9).map(lambda n: n / 64)
ordered = st.tuples(times, times).map(sorted)
scores = st.floats(0, 1, width=32)
doubles = st.floats(0, 1)
costs = st.floats(0, 1e6)
words = st.text(st.characters(codec="utf-8"), max_size=12)
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
counts = st.integers(0, 2**31 - 1)
tuples = lambda of, most=3: st.lists(of, max_size=most).map(tuple)  # noqa: E731

boxes = st.builds(Box, scores, scores, scores, scores)
sightings = st.builds(m.Sighting, times, words, scores, boxes)
places = st.builds(m.Place, words, words, words)
placements = st.builds(m.Placement, st.sampled_from(m.Tier), words, st.sampled_from(m.Representation))


@st.composite
def built(draw: Any, kind: Any, *, span: bool = True, **fields: Any) -> Any:
    """One of `kind` with these fields, and `start` <= `end` when it has a span."""
    values = {name: draw(strategy) for name, strategy in fields.items()}
    if span:
        values["start"], values["end"] = draw(ordered)
    return kind(**values)


visits = built(m.ZoneVisit, zone=words)
tracks = built(
    m.Track, track_id=counts, label=words, score=scores, sightings=tuples(sightings), zone_visits=tuples(visits)
)
embeddings = st.builds(
    m.Embedding,
    st.just("conse@1"),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8).map(tuple),
)
events = built(
    m.Event,
    event_id=ids,
    revision=st.integers(1, 2**31 - 1),
    device_id=ids,
    site_id=ids,
    region=words,
    trigger=st.sampled_from(m.TriggerKind),
    open=st.booleans(),
    score=scores,
    device_labels=tuples(words),
    labels=tuples(st.builds(m.LabelScore, words, scores)),
    tracks=tuples(tracks),
    embedding=st.none() | embeddings,
    media_offset=st.none() | spans,
    report_time=st.none() | times,
    receive_time=st.none() | times,
)
presences = st.builds(m.Presence, words, words, times, st.booleans(), words, counts, counts, words)
evidence = built(
    m.Evidence,
    device_id=words,
    event_id=words,
    sightings=tuples(sightings),
    picture=st.binary(max_size=50),
    representation=st.sampled_from(m.Representation),
    media_offset=st.none() | spans,
    picture_time=st.none() | times,
    quote=words,
)
scopes = st.builds(m.Scope, tuples(words), tuples(words)) | built(m.Scope, device_ids=tuples(words))
constraints = st.builds(m.Constraints, st.none() | spans.filter(bool), st.none() | costs, st.none() | doubles, words)
questions = st.builds(
    m.Question,
    question_id=ids,
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).map(str.strip).filter(bool),
    ask_time=times,
    scope=scopes,
    constraints=constraints,
    asker=st.none() | places,
)
understandings = built(
    m.Understanding,
    task=st.sampled_from(m.Task),
    subject=words,
    labels=tuples(words),
    now=st.booleans(),
    pick=st.sampled_from(m.Pick),
    reason=words,
    colours=tuples(words),
    zones=tuples(words),
    words=tuples(words),
    sides=tuples(built(m.Side, subject=words, labels=tuples(words), device_ids=tuples(words)), 2),
)
plans = st.builds(
    m.Plan,
    question_id=words,
    understanding=understandings,
    placements=tuples(st.builds(m.PlannedPlacement, placements, spans, costs, doubles, words)),
    rejected=tuples(st.builds(m.RejectedPlacement, placements, words, words)),
    reason=words,
    left_out=tuples(words),
)
steps = st.builds(m.Step, placements, st.sampled_from(m.StepState), words, doubles, spans, costs)
answers = st.builds(
    m.Answer,
    question_id=words,
    outcome=st.sampled_from(m.Outcome),
    text=words,
    confidence=doubles,
    value=st.none() | st.booleans() | counts | times | words,
    evidence=tuples(evidence, 2),
    placement=st.none() | placements,
    cost_usd=costs,
    reason=words,
    rule=words,
    moved_bytes=counts,
    document=words,
    model=words,
    tokens=st.none() | st.builds(m.Tokens, counts, counts, counts, counts),
    alone=st.booleans(),
)
requests = st.builds(
    m.AnswerRequest, questions, understandings, placements, tuples(words), counts, spans, tuples(evidence, 2)
)
records = st.builds(m.QuestionRecord, questions, plans, tuples(steps), answers, spans, costs)
sites = st.builds(m.Site, words, words, st.booleans(), st.none() | times)
devices = st.builds(
    m.Device,
    device_id=words,
    site_id=words,
    region=words,
    kind=st.sampled_from(m.DeviceKind),
    labels=tuples(words),
    enrolled=st.booleans(),
    online=st.booleans(),
    seen=st.none() | times,
    trouble=words,
    capturing=st.booleans(),
    events=counts,
    outbox_depth=counts,
)
clip_ids = st.from_regex(r"[0-9a-zA-Z-]{1,64}", fullmatch=True)
orders = built(
    m.ClipOrder, clip_id=clip_ids, device_id=words, destination=places, representation=st.sampled_from(m.Representation)
)
headers = built(
    m.ClipHeader,
    clip_id=clip_ids,
    device_id=words,
    size_bytes=st.integers(2**20, 2**60),
    sha256=st.binary(min_size=32, max_size=32),
    media_type=words,
    representation=st.sampled_from(m.Representation),
    offset_bytes=st.integers(0, 2**20),
    media_offset=st.none() | spans,
)
limits = st.tuples(st.sampled_from(m.Representation), st.sampled_from(m.Boundary))
rules = st.builds(Rule, words, st.builds(RuleScope, words, words, words, words), tuples(limits))
policies = st.builds(ResidencyPolicy, tuples(rules))

CASES = [
    (events, wire.event_to, wire.event_of, event_pb2.Event),
    (presences, wire.presence_to, wire.presence_of, event_pb2.Presence),
    (evidence, wire.evidence_to, wire.evidence_of, question_pb2.Evidence),
    (questions, wire.question_to, wire.question_of, question_pb2.Question),
    (understandings, wire.understanding_to, wire.understanding_of, question_pb2.Understanding),
    (placements, wire.placement_to, wire.placement_of, question_pb2.Placement),
    (plans, wire.plan_to, wire.plan_of, question_pb2.Plan),
    (steps, wire.step_to, wire.step_of, question_pb2.Step),
    (answers, wire.answer_to, wire.answer_of, question_pb2.Answer),
    (requests, wire.request_to, wire.request_of, question_pb2.AnswerRequest),
    (records, wire.record_to, wire.record_of, question_service_pb2.QuestionRecord),
    (sites, wire.site_to, wire.site_of, fleet_pb2.Site),
    (devices, wire.device_to, wire.device_of, fleet_pb2.Device),
    (orders, wire.clip_order_to, wire.clip_order_of, clip_service_pb2.ClipOrder),
    (headers, wire.clip_header_to, wire.clip_header_of, clip_service_pb2.ClipHeader),
    (places, wire.place_to, wire.place_of, residency_pb2.Place),
    (policies, wire.policy_to, wire.policy_of, residency_pb2.ResidencyPolicy),
]
names = [kind.DESCRIPTOR.name for *_, kind in CASES]


@pytest.mark.parametrize(("strategy", "to", "of", "kind"), CASES, ids=names)
@quick
@given(data=st.data())
def test_what_is_sent_is_what_arrives(data: Any, strategy: Any, to: Any, of: Any, kind: Any):
    sent = data.draw(strategy)
    assert of(wire.parse(kind, to(sent).SerializeToString())) == sent


@pytest.mark.parametrize(("strategy", "to", "of", "kind"), CASES, ids=names)
@quick
@given(data=st.data())
def test_arbitrary_bytes_give_a_message_or_a_refusal_and_nothing_else(
    data: Any, strategy: Any, to: Any, of: Any, kind: Any
):
    sent = to(data.draw(strategy)).SerializeToString()
    start, flip = data.draw(st.integers(0, max(0, len(sent) - 1))), data.draw(st.binary(max_size=6))
    for broken in (data.draw(st.binary(max_size=40)), sent[:start] + flip + sent[start + len(flip) :], sent[:start]):
        with contextlib.suppress(InvalidInput):
            of(wire.parse(kind, broken))


@pytest.mark.parametrize("kind", [kind for *_, kind in CASES], ids=names)
def test_bytes_that_are_no_message_are_refused(kind: Any):
    with pytest.raises(MalformedMessage, match=kind.__name__):
        wire.parse(kind, b"\xff\xff\xff\xff")


def test_every_dataclass_that_travels_is_tried_here():
    carried_inside = {"LabelScore", "Embedding", "Sighting", "Track", "Scope", "Constraints", "PlannedPlacement"}
    carried_inside |= {"RejectedPlacement", "Side", "Tokens", "ZoneVisit"}
    ours = {name for name, kind in vars(m).items() if dataclasses.is_dataclass(kind) and kind.__module__ == m.__name__}
    assert ours == {name for name in names if name != "ResidencyPolicy"} | carried_inside


# One good message each, and what makes it bad.

NOW = 1_750_000_000.0
BOX = Box(0.125, 0.125, 0.25, 0.25)
EVENT = m.Event(
    event_id="e",
    revision=1,
    device_id="d",
    site_id="s",
    region="r",
    trigger=m.TriggerKind.OBJECT,
    start=NOW,
    end=NOW + 1,
    open=False,
    score=0.5,
    labels=(m.LabelScore("person", 0.5),),
    tracks=(m.Track(1, "person", 0.5, NOW, NOW + 1, (m.Sighting(NOW, "person", 0.5, BOX),)),),
    embedding=m.Embedding("conse@1", (0.5,)),
)
PLACEMENT = m.Placement(m.Tier.EDGE, "north", m.Representation.FACTS)
UNDERSTANDING = m.Understanding(m.Task.COUNT, "person", (), NOW, NOW, False, m.Pick.FIRST, "")
QUESTION = m.Question("q", "how many?", NOW, constraints=m.Constraints(1.0, 1.0, 0.5))
ANSWER = m.Answer("q", m.Outcome.ANSWERED, "3", 0.9, value=3, evidence=(m.Evidence("d", NOW, NOW),))
REQUEST = m.AnswerRequest(QUESTION, UNDERSTANDING, PLACEMENT, ("d",), 1, 1.0)
PLAN = m.Plan("q", UNDERSTANDING, (m.PlannedPlacement(PLACEMENT, 1.0, 0.0, 0.5, ""),), (), "")
STEP = m.Step(PLACEMENT, m.StepState.ANSWERED, "", 0.5, 1.0, 0.0)
RECORD = m.QuestionRecord(QUESTION, PLAN, (STEP,), ANSWER, 1.0, 0.0)
HEADER = m.ClipHeader("c", "d", NOW, NOW, 10, bytes(32), "video/mp4", m.Representation.CLIP)
ORDER = m.ClipOrder("c", "d", NOW, NOW + 1, m.Place("r"), m.Representation.CLIP)
DEVICE = m.Device("d", "s", "r", m.DeviceKind.GLASSES)
POLICY = ResidencyPolicy((Rule("r", RuleScope(), ((m.Representation.CLIP, m.Boundary.SITE),)),))
NAN, INFINITE = math.nan, math.inf


def poke(path: str, value: Any) -> Callable[[Any], None]:
    """Sets the field at a dotted path; a number stands for an index."""

    def apply(message: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            message = message[int(step)] if step.isdigit() else getattr(message, step)
        setattr(message, last, value)

    return apply


def unset(field: str) -> Callable[[Any], None]:
    """Clears the field."""
    return lambda message: message.ClearField(field)


BAD: list[tuple[Any, Any, Any, Callable[[Any], None], str]] = []
for good, to, of, wrongs in (
    (
        EVENT,
        wire.event_to,
        wire.event_of,
        [
            (poke("event_id", ""), "event_id"),
            (poke("device_id", "x" * 65), "device_id"),
            (poke("site_id", ""), "site_id"),
            (poke("revision", 0), "revision"),
            (poke("trigger", 0), "trigger is not set"),
            (poke("trigger", 99), "trigger is 99"),
            (poke("score", NAN), "score"),
            (poke("score", 1.5), "score"),
            (poke("score", -INFINITE), "score"),
            (poke("labels.0.score", NAN), "labels"),
            (poke("tracks.0.score", 2.0), "Track.score"),
            (poke("tracks.0.sightings.0.box.left", NAN), "Box.left"),
            (poke("tracks.0.sightings.0.box.width", -1.0), "Box.width"),
            (poke("tracks.0.end_time.seconds", 1_000_000_000), "Track ends before"),
            (poke("end_time.seconds", 1_000_000_000), "Event ends before"),
            (poke("start_time.seconds", 0), "outside 2000 to 2100"),
            (poke("start_time.seconds", 2**62), "outside 2000 to 2100"),
            (unset("start_time"), "start_time is not set"),
            (unset("end_time"), "end_time is not set"),
            (poke("embedding.model", "conse"), "Embedding"),
            (lambda message: message.embedding.values.append(NAN), "Embedding"),
            (lambda message: message.embedding.ClearField("values"), "Embedding"),
        ],
    ),
    (
        QUESTION,
        wire.question_to,
        wire.question_of,
        [
            (poke("text", "  \n"), "empty"),
            (poke("text", "x" * 10_000), "10000 characters"),
            (poke("question_id", ""), "question_id"),
            (unset("ask_time"), "ask_time"),
            (poke("constraints.max_cost_usd", NAN), "max_cost_usd"),
            (poke("constraints.max_cost_usd", -1.0), "max_cost_usd"),
            (poke("constraints.min_confidence", 1.1), "min_confidence"),
            (poke("constraints.deadline.seconds", -5), "deadline"),
        ],
    ),
    (
        ANSWER,
        wire.answer_to,
        wire.answer_of,
        [
            (poke("outcome", 0), "outcome"),
            (poke("confidence", NAN), "confidence"),
            (poke("cost_usd", INFINITE), "cost_usd"),
            (poke("count", -1), "count"),
            (poke("moved_bytes", -1), "moved_bytes"),
            (poke("evidence.0.picture", bytes(256 * 1024 + 1)), "picture"),
            (poke("evidence.0.representation", 0), "representation"),
            (poke("evidence.0.end_time.seconds", 1_000_000_000), "Evidence ends"),
        ],
    ),
    (
        REQUEST,
        wire.request_to,
        wire.request_of,
        [
            (poke("devices_in_scope", -1), "devices_in_scope"),
            (poke("placement.tier", 0), "tier"),
            (poke("placement.representation", 9), "representation"),
            (poke("understanding.task", 0), "task"),
            (poke("understanding.pick", 9), "pick"),
            (unset("question"), "empty"),
        ],
    ),
    (
        RECORD,
        wire.record_to,
        wire.record_of,
        [
            (poke("cost_usd", NAN), "QuestionRecord.cost_usd"),
            (poke("steps.0.cost_usd", -1.0), "Step.cost_usd"),
            (poke("steps.0.state", 0), "state"),
            (poke("steps.0.confidence", NAN), "confidence"),
            (poke("plan.placements.0.cost_usd", NAN), "cost_usd"),
            (poke("plan.placements.0.confidence", 7.0), "confidence"),
        ],
    ),
    (
        HEADER,
        wire.clip_header_to,
        wire.clip_header_of,
        [
            (poke("sha256", b"short"), "sha256"),
            (poke("offset_bytes", 11), "offset_bytes"),
            (poke("size_bytes", -1), "offset_bytes"),
            (poke("end_time.seconds", 1_000_000_000), "ends before"),
            (poke("representation", 0), "representation"),
        ],
    ),
    (ORDER, wire.clip_order_to, wire.clip_order_of, [(poke("end_time.seconds", 1_000_000_000), "ends before")]),
    (DEVICE, wire.device_to, wire.device_of, [(poke("kind", 0), "kind"), (poke("kind", 77), "kind is 77")]),
    (
        POLICY,
        wire.policy_to,
        wire.policy_of,
        [(poke("rules.0.limits.0.boundary", 0), "boundary"), (poke("rules.0.limits.0.representation", 0), "Rule")],
    ),
):
    BAD += [(good, to, of, wrong, sentence) for wrong, sentence in wrongs]


@pytest.mark.parametrize(("good", "to", "of", "wrong", "sentence"), BAD, ids=lambda value: str(value)[:30])
def test_what_is_malformed_is_refused_by_name(good: Any, to: Any, of: Any, wrong: Any, sentence: str):
    message = to(good)
    assert of(message) == good
    wrong(message)
    with pytest.raises(InvalidInput, match=sentence):
        of(message)


def test_rounding_is_forgiven_but_no_more():
    message = wire.event_to(EVENT)
    message.score = 1.00001
    assert wire.event_of(message).score == 1.0


@pytest.mark.parametrize("kind", errors._leaves(FoveateError).values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("reason", ["", "A_REASON_OF_ITS_OWN"])
def test_an_error_crosses_as_data(kind: type[FoveateError], reason: str):
    sent = kind("No: do that.", reason=reason, device="cam-1")
    if isinstance(sent, TryAgain):
        sent.retry_after = 2.5
    message = wire.parse(failure_pb2.Failure, wire.failure_to(sent).SerializeToString())
    found = wire.failure_of(message)
    assert type(found) is kind
    assert (found.message, found.reason, found.metadata) == (sent.message, sent.reason, {"device": "cam-1"})
    assert getattr(found, "retry_after", None) == getattr(sent, "retry_after", None)


def test_an_answer_and_a_failure_share_one_reply():
    reply = answer_service_pb2.AnswerServiceAnswerResponse(failure=wire.failure_to(InvalidInput("No.")))
    again = answer_service_pb2.AnswerServiceAnswerResponse.FromString(reply.SerializeToString())
    assert again.WhichOneof("result") == "failure"
    assert isinstance(wire.failure_of(again.failure), InvalidInput)


@pytest.mark.parametrize("clip_id", ["../../escape", "", "a/b", "x" * 65, "a.b"])
def test_a_clip_id_cannot_be_a_path(clip_id: str) -> None:
    message = wire.clip_order_to(m.ClipOrder(clip_id, "d", NOW, NOW + 1, m.Place("r"), m.Representation.CLIP))
    with pytest.raises(MalformedMessage, match="letters, digits and dashes"):
        wire.clip_order_of(message)
