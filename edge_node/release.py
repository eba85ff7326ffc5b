"""What may leave, in which form: events reduced and answers guarded by the residency policy. Pure.

In: an event or an answer, the origins of its data and where it would go. Out: what may travel, with the rule that
decided in words. It sends nothing. Next: `egress.py`, which does, and keeps the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from foveate.messages import Answer, AnswerRequest, Event, Evidence, Outcome, Place, Representation
from foveate.residency import Origin, ResidencyPolicy, Verdict, decide, most_telling

Origins = Callable[[str], Origin]
Redactor = Callable[[Evidence], bytes]


@dataclass(frozen=True, slots=True)
class Reduced:
    """An event as it may travel, None when not even its facts may; `verdict` says why not more."""

    event: Event | None
    representation: Representation
    verdict: Verdict


def reduce(event: Event, *, policy: ResidencyPolicy, origin: Origin, destination: Place) -> Reduced:
    """The event without what may not reach the destination."""
    facts = decide(policy, origin=origin, representation=Representation.FACTS, destination=destination)
    if not facts.allowed:
        return Reduced(None, Representation.FACTS, facts)
    # The receiver decides again by the labels on the event, so it carries all that are known here.
    event = replace(event, device_labels=origin.labels)
    vector = decide(policy, origin=origin, representation=Representation.EMBEDDING, destination=destination)
    if vector.allowed and event.embedding is not None:
        return Reduced(event, Representation.EMBEDDING, vector)
    return Reduced(replace(event, embedding=None), Representation.FACTS, facts if vector.allowed else vector)


def admit(
    request: AnswerRequest, *, policy: ResidencyPolicy, origins: Origins, asker: Place
) -> tuple[AnswerRequest, Verdict | None]:
    """The request without devices whose facts may not reach the asker, and the first verdict that said no.

    `devices_in_scope` stays, so that the answer is less sure by what it may not look at.
    """
    allowed, refused = [], None
    for device in request.device_ids:
        verdict = decide(policy, origin=origins(device), representation=Representation.FACTS, destination=asker)
        if verdict.allowed:
            allowed.append(device)
        else:
            refused = refused or verdict
    return replace(request, device_ids=tuple(allowed)), refused


def refusal(question_id: str, verdict: Verdict) -> Answer:
    """The answer that says which rule forbids one."""
    rule = f"the rule {verdict.rule}" if verdict.rule else "the policy, which has no rule for it,"
    return Answer(
        question_id=question_id,
        outcome=Outcome.REFUSED,
        text=f"Refused: {rule} keeps what these devices see to {verdict.farthest.name}.",
        confidence=0.0,
        reason=verdict.reason(Representation.FACTS),
        rule=verdict.rule,
    )


def guard(
    answer: Answer,
    *,
    policy: ResidencyPolicy,
    origins: Origins,
    asker: Place,
    device_ids: Iterable[str] = (),
    redactor: Redactor,
) -> Answer:
    """The answer as it may reach the asker; REFUSED when the facts of a device that it rests on may not.

    A picture that may not travel is redacted when that is enough, else it is left out; `reason` says so.
    Blocking when it redacts, which needs the detector.
    """
    for device in dict.fromkeys((*(piece.device_id for piece in answer.evidence), *device_ids)):
        verdict = decide(policy, origin=origins(device), representation=Representation.FACTS, destination=asker)
        if not verdict.allowed:
            return refusal(answer.question_id, verdict)
    pieces, said, rule = [], [], ""
    for piece in answer.evidence:
        origin = origins(piece.device_id)
        kept, why = _guard_piece(piece, policy=policy, origin=origin, asker=asker, redactor=redactor)
        pieces.append(kept)
        if why is not None:
            said.append(_sentence(piece, kept, why))
            rule = rule or why.rule
    reasons = [part for part in (answer.reason, *dict.fromkeys(said)) if part]
    return replace(answer, evidence=tuple(pieces), reason="; ".join(reasons), rule=answer.rule or rule)


def _guard_piece(
    piece: Evidence, *, policy: ResidencyPolicy, origin: Origin, asker: Place, redactor: Redactor
) -> tuple[Evidence, Verdict | None]:
    """The piece as it may travel, and the verdict on its picture when that had to change."""
    if not piece.picture:
        return replace(piece, representation=Representation.FACTS, picture_time=None), None
    # A picture that is called less than a picture is taken for one that shows everything.
    pictured = piece.representation >= Representation.REDACTED_FRAMES
    wanted = piece.representation if pictured else Representation.FRAMES
    allowed, verdict = most_telling(policy, origin=origin, wanted=wanted, destination=asker)
    if verdict.allowed:
        return piece, None
    if allowed is Representation.REDACTED_FRAMES:
        hidden = redactor(piece)
        if hidden:
            return replace(piece, picture=hidden, representation=allowed), verdict
    return replace(piece, picture=b"", representation=Representation.FACTS, picture_time=None), verdict


def _sentence(before: Evidence, after: Evidence, verdict: Verdict) -> str:
    how = f"pictures sent as {after.representation.name}" if after.picture else "pictures left out"
    if not verdict.rule:
        return f"{how}: no rule lets {before.representation.name} leave the device"
    return f"{how}: rule {verdict.rule} keeps {before.representation.name} to {verdict.farthest.name}"
