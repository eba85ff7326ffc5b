"""Questions, plans, steps, answers and records: `foveate.v1` messages to dataclasses and back.

In: protobuf from anyone, dataclasses from our own code. Out: the other of the two, checked.
Knows nothing of transports.
"""

from __future__ import annotations

from foveate import messages as m
from foveate.errors import InvalidInput, MalformedMessage
from foveate.v1 import question_pb2 as pb
from foveate.v1 import question_service_pb2 as service_pb
from foveate.v1 import residency_pb2 as residency_pb
from foveate.wire.events import sighting_of, sighting_to
from foveate.wire.fleet import place_of, place_to
from foveate.wire.scalars import (
    amount,
    duration,
    enum_of,
    enum_to,
    fraction,
    moment,
    optional_moment,
    optional_span,
    ordered,
    seconds_of,
    timestamp,
)

MAX_TEXT = 2000  # characters; a question is a sentence, not a document
MAX_PICTURE = 256 * 1024  # bytes
MAX_SCHEMA = 16 * 1024  # characters of a JSON Schema, and of the document that fulfils it
MAX_SAID = 4000  # characters of what is written, said or described
MAX_QUOTE = 500


def _optional_timestamp(message: object, field: str, seconds: float | None) -> None:
    if seconds is not None:
        getattr(message, field).CopyFrom(timestamp(seconds))


def question_to(question: m.Question) -> pb.Question:
    """A question."""
    scope, limits = question.scope, question.constraints
    message = pb.Question(
        question_id=question.question_id,
        text=question.text,
        ask_time=timestamp(question.ask_time),
        scope=pb.Scope(device_ids=scope.device_ids, site_ids=scope.site_ids),
        constraints=pb.Constraints(
            max_cost_usd=limits.max_cost_usd,
            min_confidence=limits.min_confidence,
            answer_schema=limits.answer_schema,
        ),
    )
    _optional_timestamp(message.scope, "start_time", scope.start)
    _optional_timestamp(message.scope, "end_time", scope.end)
    if limits.deadline_s is not None:
        message.constraints.deadline.CopyFrom(duration(limits.deadline_s))
    if question.asker is not None:
        message.asker.CopyFrom(place_to(question.asker))
    return message


def question_of(message: pb.Question) -> m.Question:
    """A question; InvalidInput when the text is empty or too long, since a person wrote it."""
    text = message.text.strip()
    if not text:
        raise InvalidInput("The question is empty; ask something such as 'is there a person in view?'.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The question has {len(text)} characters; keep it to {MAX_TEXT}.", field="text")
    if not 0 < len(message.question_id) <= 64:
        raise MalformedMessage("Question.question_id must have 1 to 64 characters.", field="question_id")
    start, end = optional_moment(message.scope, "start_time"), optional_moment(message.scope, "end_time")
    if start is not None and end is not None:
        ordered(start, end, "The question's scope")
    return m.Question(
        question_id=message.question_id,
        text=text,
        ask_time=moment(message, "ask_time"),
        scope=m.Scope(tuple(message.scope.device_ids), tuple(message.scope.site_ids), start, end),
        constraints=_constraints_of(message.constraints),
        asker=place_of(message.asker) if message.HasField("asker") else None,
    )


def _constraints_of(message: pb.Constraints) -> m.Constraints:
    deadline = optional_span(message, "deadline")
    cost = message.max_cost_usd if message.HasField("max_cost_usd") else None
    confidence = message.min_confidence if message.HasField("min_confidence") else None
    if deadline is not None and deadline <= 0:
        raise InvalidInput("The deadline is already over; give a time above zero.", field="constraints.deadline")
    if len(message.answer_schema) > MAX_SCHEMA:
        raise InvalidInput(
            f"The schema has {len(message.answer_schema)} characters; keep it to {MAX_SCHEMA}.",
            field="constraints.answer_schema",
        )
    return m.Constraints(
        answer_schema=message.answer_schema,
        deadline_s=deadline,
        max_cost_usd=None if cost is None else amount(cost, "constraints.max_cost_usd"),
        min_confidence=None if confidence is None else fraction(confidence, "constraints.min_confidence"),
    )


def understanding_to(u: m.Understanding) -> pb.Understanding:
    """An understanding."""
    return pb.Understanding(
        task=enum_to(pb.Task, u.task),
        subject=u.subject,
        labels=u.labels,
        start_time=timestamp(u.start),
        end_time=timestamp(u.end),
        now=u.now,
        pick=pb.PICK_UNSPECIFIED if u.pick is m.Pick.ANY else enum_to(pb.Pick, u.pick),
        reason=u.reason,
        colours=u.colours,
        zones=u.zones,
        words=u.words,
        sides=[_side_to(side) for side in u.sides],
    )


def _side_to(side: m.Side) -> pb.Side:
    return pb.Side(
        subject=side.subject,
        labels=side.labels,
        device_ids=side.device_ids,
        start_time=timestamp(side.start),
        end_time=timestamp(side.end),
    )


def _side_of(message: pb.Side) -> m.Side:
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "Side")
    return m.Side(message.subject, tuple(message.labels), tuple(message.device_ids), start, end)


def understanding_of(message: pb.Understanding) -> m.Understanding:
    """An understanding."""
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "Understanding")
    any_pick = message.pick == pb.PICK_UNSPECIFIED
    return m.Understanding(
        task=enum_of(m.Task, pb.Task, message.task, "Understanding.task"),
        subject=message.subject,
        labels=tuple(message.labels),
        start=start,
        end=end,
        now=message.now,
        pick=m.Pick.ANY if any_pick else enum_of(m.Pick, pb.Pick, message.pick, "Understanding.pick"),
        reason=message.reason,
        colours=tuple(message.colours),
        zones=tuple(message.zones),
        words=tuple(message.words),
        sides=tuple(_side_of(side) for side in message.sides),
    )


def placement_to(placement: m.Placement) -> pb.Placement:
    """A placement."""
    return pb.Placement(
        tier=enum_to(pb.Tier, placement.tier),
        node=placement.node,
        representation=enum_to(residency_pb.Representation, placement.representation),
    )


def placement_of(message: pb.Placement) -> m.Placement:
    """A placement."""
    return m.Placement(
        tier=enum_of(m.Tier, pb.Tier, message.tier, "Placement.tier"),
        node=message.node,
        representation=enum_of(
            m.Representation, residency_pb.Representation, message.representation, "Placement.representation"
        ),
    )


def plan_to(plan: m.Plan) -> pb.Plan:
    """A plan."""
    return pb.Plan(
        question_id=plan.question_id,
        understanding=understanding_to(plan.understanding),
        placements=[
            pb.PlannedPlacement(
                placement=placement_to(p.placement),
                latency_q95=duration(p.latency_q95_s),
                cost_usd=p.cost_usd,
                confidence=p.confidence,
                reason=p.reason,
            )
            for p in plan.placements
        ],
        rejected=[
            pb.RejectedPlacement(placement=placement_to(r.placement), reason=r.reason, rule=r.rule)
            for r in plan.rejected
        ],
        reason=plan.reason,
        left_out=plan.left_out,
    )


def plan_of(message: pb.Plan) -> m.Plan:
    """A plan."""
    return m.Plan(
        question_id=message.question_id,
        understanding=understanding_of(message.understanding),
        placements=tuple(
            m.PlannedPlacement(
                placement=placement_of(p.placement),
                latency_q95_s=seconds_of(p.latency_q95),
                cost_usd=amount(p.cost_usd, "PlannedPlacement.cost_usd"),
                confidence=fraction(p.confidence, "PlannedPlacement.confidence"),
                reason=p.reason,
            )
            for p in message.placements
        ),
        rejected=tuple(m.RejectedPlacement(placement_of(r.placement), r.reason, r.rule) for r in message.rejected),
        reason=message.reason,
        left_out=tuple(message.left_out),
    )


def step_to(step: m.Step) -> pb.Step:
    """A step."""
    return pb.Step(
        placement=placement_to(step.placement),
        state=enum_to(pb.StepState, step.state),
        reason=step.reason,
        confidence=step.confidence,
        latency=duration(step.latency_s),
        cost_usd=step.cost_usd,
    )


def step_of(message: pb.Step) -> m.Step:
    """A step."""
    return m.Step(
        placement=placement_of(message.placement),
        state=enum_of(m.StepState, pb.StepState, message.state, "Step.state"),
        reason=message.reason,
        confidence=fraction(message.confidence, "Step.confidence"),
        latency_s=seconds_of(message.latency),
        cost_usd=amount(message.cost_usd, "Step.cost_usd"),
    )


def evidence_to(evidence: m.Evidence) -> pb.Evidence:
    """Evidence."""
    message = pb.Evidence(
        device_id=evidence.device_id,
        event_id=evidence.event_id,
        start_time=timestamp(evidence.start),
        end_time=timestamp(evidence.end),
        sightings=[sighting_to(s) for s in evidence.sightings],
        picture=evidence.picture,
        representation=enum_to(residency_pb.Representation, evidence.representation),
        quote=evidence.quote[:MAX_QUOTE],
    )
    if evidence.media_offset is not None:
        message.media_offset.CopyFrom(duration(evidence.media_offset))
    _optional_timestamp(message, "picture_time", evidence.picture_time)
    return message


def evidence_of(message: pb.Evidence) -> m.Evidence:
    """Evidence; a picture over MAX_PICTURE bytes is refused."""
    if len(message.picture) > MAX_PICTURE:
        raise MalformedMessage(f"Evidence.picture has {len(message.picture)} bytes; at most {MAX_PICTURE} may travel.")
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "Evidence")
    return m.Evidence(
        device_id=message.device_id,
        start=start,
        end=end,
        event_id=message.event_id,
        sightings=tuple(sighting_of(s) for s in message.sightings),
        picture=message.picture,
        representation=enum_of(
            m.Representation, residency_pb.Representation, message.representation, "Evidence.representation"
        ),
        media_offset=optional_span(message, "media_offset"),
        picture_time=optional_moment(message, "picture_time"),
        quote=message.quote[:MAX_QUOTE],
    )


def answer_to(answer: m.Answer) -> pb.Answer:
    """An answer."""
    message = pb.Answer(
        question_id=answer.question_id,
        outcome=enum_to(pb.Outcome, answer.outcome),
        text=answer.text,
        confidence=answer.confidence,
        evidence=[evidence_to(e) for e in answer.evidence],
        placement=None if answer.placement is None else placement_to(answer.placement),
        cost_usd=answer.cost_usd,
        reason=answer.reason,
        rule=answer.rule,
        moved_bytes=answer.moved_bytes,
        document=answer.document,
        model=answer.model,
        tokens=None if answer.tokens is None else _tokens_to(answer.tokens),
        alone=answer.alone,
    )
    match answer.value:
        case bool(present):
            message.present = present
        case int(count):
            message.count = count
        case float(found):
            message.found_time.CopyFrom(timestamp(found))
        case str(said):
            message.said = said[:MAX_SAID]
        case None:
            pass
    return message


def _tokens_to(tokens: m.Tokens) -> pb.Tokens:
    return pb.Tokens(prompt=tokens.prompt, answer=tokens.answer, thinking=tokens.thinking, saved=tokens.saved)


def _tokens_of(message: pb.Tokens) -> m.Tokens:
    read = {name: int(amount(getattr(message, name), f"Tokens.{name}")) for name in m.Tokens.__dataclass_fields__}
    return m.Tokens(**read)


def answer_of(message: pb.Answer) -> m.Answer:
    """An answer."""
    value: bool | int | float | str | None
    if len(message.document) > MAX_SCHEMA:
        raise MalformedMessage(f"Answer.document has {len(message.document)} characters; at most {MAX_SCHEMA}.")
    match message.WhichOneof("value"):
        case "present":
            value = message.present
        case "count":
            value = int(amount(message.count, "Answer.count"))
        case "found_time":
            value = moment(message, "found_time")
        case "said":
            value = message.said[:MAX_SAID]
        case _:
            value = None
    return m.Answer(
        question_id=message.question_id,
        outcome=enum_of(m.Outcome, pb.Outcome, message.outcome, "Answer.outcome"),
        text=message.text,
        confidence=fraction(message.confidence, "Answer.confidence"),
        value=value,
        evidence=tuple(evidence_of(e) for e in message.evidence),
        placement=placement_of(message.placement) if message.HasField("placement") else None,
        cost_usd=amount(message.cost_usd, "Answer.cost_usd"),
        reason=message.reason,
        rule=message.rule,
        moved_bytes=int(amount(message.moved_bytes, "Answer.moved_bytes")),
        document=message.document,
        model=message.model,
        tokens=_tokens_of(message.tokens) if message.HasField("tokens") else None,
        alone=message.alone,
    )


def request_to(request: m.AnswerRequest) -> pb.AnswerRequest:
    """A placed question."""
    return pb.AnswerRequest(
        question=question_to(request.question),
        understanding=understanding_to(request.understanding),
        placement=placement_to(request.placement),
        device_ids=request.device_ids,
        devices_in_scope=request.devices_in_scope,
        time_left=duration(request.time_left_s),
        carried=[evidence_to(e) for e in request.carried],
    )


def request_of(message: pb.AnswerRequest) -> m.AnswerRequest:
    """A placed question."""
    return m.AnswerRequest(
        question=question_of(message.question),
        understanding=understanding_of(message.understanding),
        placement=placement_of(message.placement),
        device_ids=tuple(message.device_ids),
        devices_in_scope=int(amount(message.devices_in_scope, "AnswerRequest.devices_in_scope")),
        time_left_s=seconds_of(message.time_left),
        carried=tuple(evidence_of(e) for e in message.carried),
    )


def record_to(record: m.QuestionRecord) -> service_pb.QuestionRecord:
    """A record."""
    return service_pb.QuestionRecord(
        question=question_to(record.question),
        plan=plan_to(record.plan),
        steps=[step_to(step) for step in record.steps],
        answer=answer_to(record.answer),
        latency=duration(record.latency_s),
        cost_usd=record.cost_usd,
    )


def record_of(message: service_pb.QuestionRecord) -> m.QuestionRecord:
    """A record."""
    return m.QuestionRecord(
        question=question_of(message.question),
        plan=plan_of(message.plan),
        steps=tuple(step_of(step) for step in message.steps),
        answer=answer_of(message.answer),
        latency_s=seconds_of(message.latency),
        cost_usd=amount(message.cost_usd, "QuestionRecord.cost_usd"),
    )
