"""Which of two sides had more: from counts at a moment, or from what was followed over a longer span. Pure.

In: a placed question with two `Side`s, and what was counted or followed of each. Out: an `Answer` that names both
numbers and cites both sides, or "cannot tell" when they differ by no more than the error. It reads no database.
Next: `recall.py`, and the edge's `answer.py`, which count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.facts import MOMENT_S, between, cannot_tell, evidence_of
from foveate.messages import Answer, AnswerRequest, Event, Evidence, Outcome, Side, Task
from foveate.paths import spans_of, zone_key
from foveate.sweep import most_at_once
from foveate.vision import likelihood

LEAST = 0.6
"""Least chance of a direction to name one; below it the difference is within the error."""

CEILING = 0.9
"""Most that a comparison can be sure of: both sides may miss things in their own way."""

BROKEN = 0.15
"""Share of tracks that are parts of another one, as an error of the number of distinct things."""

_DIVIDED = 0.8  # what is left when the most at once does not tell the same as the number of tracks
_FEWER = re.compile(r"\b(?:fewer|less|quieter|emptier)\b")
_SAME = re.compile(r"\b(?:same|equal\w*|as (?:many|few|much|busy))\b")
_WHETHER = re.compile(r"^\W*(?:is|are|was|were|did|do|does|has|have|had)\b")
_SHOWN = 3  # pieces of each side


@dataclass(frozen=True, slots=True)
class Measured:
    """One side: distinct tracks, those that are expected to be real with the variance, the most at once, evidence."""

    tracks: int
    expected: float
    variance: float
    at_once: tuple[float, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Odds:
    """The chances that the first side had more, fewer, or as many."""

    more: float
    fewer: float
    same: float


def at_a_moment(request: AnswerRequest) -> bool:
    """Whether both sides are about now or about moments, so that who was there then is counted."""
    wanted = request.understanding
    return wanted.now or all(side.end - side.start <= MOMENT_S for side in wanted.sides)


def side_request(request: AnswerRequest, side: Side) -> AnswerRequest:
    """The count question of one side; without devices when none of the side's is asked here."""
    devices = tuple(d for d in request.device_ids if not side.device_ids or d in side.device_ids)
    scope = len(side.device_ids) or request.devices_in_scope
    wanted = replace(
        request.understanding,
        task=Task.COUNT,
        subject=side.subject,
        labels=side.labels,
        start=side.start,
        end=side.end,
        sides=(),
    )
    return replace(request, understanding=wanted, device_ids=devices, devices_in_scope=scope)


def refusal(request: AnswerRequest) -> str:
    """Why the question cannot be compared here, empty when it can."""
    sides = request.understanding.sides
    if len(sides) != 2:
        return "the question does not tell two sides apart; ask for the counts one by one"
    for side in sides:
        if not side.labels:
            return f"the detector has no name for {side.subject or 'one side'!r}, so it cannot be counted"
        if not side_request(request, side).device_ids:
            return f"{', '.join(side.device_ids)} cannot be asked here"
    return ""


def measured(request: AnswerRequest, events: Sequence[Event]) -> Measured:
    """What was followed of one side; `request` is its count question."""
    wanted = request.understanding
    zones = tuple(zone_key(zone) for zone in wanted.zones)
    spans = [s for event in events for s in spans_of(event, wanted.labels, zones)]
    spans = [s for s in spans if s.start <= wanted.end and s.end >= wanted.start]
    platt = likelihood.calibration(wanted.labels)
    likely = [platt.probability(span.score) for span in spans]
    moment, together = most_at_once(spans, start=wanted.start, end=wanted.end)
    return Measured(
        tracks=len(spans),
        expected=math.fsum(likely),
        variance=math.fsum(p * (1.0 - p) for p in likely) + BROKEN * len(spans),
        at_once=likelihood.count([span.score for span in together], platt).distribution,
        evidence=evidence_of(together, moment)[:_SHOWN],
    )


def from_tracks(request: AnswerRequest, both: Sequence[Measured], *, reason: str = "") -> Answer:
    """The answer over a longer span: by distinct tracks, less sure when the most at once tells another story."""
    one, other = both
    odds = _of_numbers(one.expected - other.expected, one.variance + other.variance)
    at_once = _of_distributions(one.at_once, other.at_once)
    divided = (odds.more - odds.fewer) * (at_once.more - at_once.fewer) < 0.0
    told = [f"{m.tracks} distinct tracks, at most {len(m.at_once) - 1} at once" for m in both]
    evidence = (*one.evidence, *other.evidence)
    return _answer(request, odds, told, evidence, scale=_DIVIDED if divided else 1.0, reason=reason)


def from_counts(request: AnswerRequest, both: Sequence[Answer]) -> Answer:
    """The answer from two counts, each with its confidence; what that leaves open is one more or one fewer."""
    reason = "; ".join(dict.fromkeys(answer.reason for answer in both if answer.reason))
    for answer, side in zip(both, request.understanding.sides, strict=True):
        if answer.outcome is not Outcome.ANSWERED or not isinstance(answer.value, int):
            return cannot_tell(request, f"{names(request)[request.understanding.sides.index(side)]}: {answer.reason}")
    odds = _of_distributions(*(_around(int(answer.value or 0), answer.confidence) for answer in both))
    evidence = tuple(piece for answer in both for piece in answer.evidence)
    told = [str(answer.value) for answer in both]
    answer = _answer(request, odds, told, evidence, scale=1.0, reason=reason)
    return replace(answer, moved_bytes=sum(one.moved_bytes for one in both), model=both[0].model)


def names(request: AnswerRequest) -> tuple[str, str]:
    """What tells the two sides apart, in words."""
    one, other = request.understanding.sides
    if one.labels != other.labels:
        return one.subject or ", ".join(one.labels), other.subject or ", ".join(other.labels)
    if one.device_ids != other.device_ids:
        return ", ".join(one.device_ids) or "the others", ", ".join(other.device_ids) or "the others"
    return between(one.start, one.end), between(other.start, other.end)


def _answer(
    request: AnswerRequest,
    odds: Odds,
    told: Sequence[str],
    evidence: tuple[Evidence, ...],
    *,
    scale: float,
    reason: str,
) -> Answer:
    text, (one, other) = request.question.text.casefold(), names(request)
    said = f"{one}: {told[0]}; {other}: {told[1]}"
    claim = odds.same if _SAME.search(text) else odds.fewer if _FEWER.search(text) else odds.more
    value: bool | str
    if _WHETHER.search(text):
        value, chance = claim >= 0.5, max(claim, 1.0 - claim)
        words = "Yes" if value else "No"
    else:
        fewer = _FEWER.search(text) is not None
        choices = {one: odds.fewer if fewer else odds.more, other: odds.more if fewer else odds.fewer}
        choices["the same"] = odds.same
        value = max(choices, key=choices.__getitem__)
        chance = choices[value]
        words = "The same" if value == "the same" else f"{'Fewer' if fewer else 'More'}: {value}"
    if min(chance, max(odds.more, odds.fewer, odds.same)) * scale < LEAST:
        return cannot_tell(request, f"the difference is within the error ({said})", evidence=evidence)
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=f"{words} ({said}).",
        confidence=min(CEILING, chance * scale),
        value=value,
        evidence=evidence,
        placement=request.placement,
        reason=reason,
    )


def _of_numbers(difference: float, variance: float) -> Odds:
    """Two expected numbers as normal ones, with the continuity that whole numbers need."""
    if variance <= 0.0:
        return Odds(float(difference > 0.5), float(difference < -0.5), float(abs(difference) <= 0.5))
    deviation = math.sqrt(2.0 * variance)
    fewer = 0.5 * (1.0 + math.erf((-0.5 - difference) / deviation))
    more = 1.0 - 0.5 * (1.0 + math.erf((0.5 - difference) / deviation))
    return Odds(more, fewer, max(0.0, 1.0 - more - fewer))


def _of_distributions(one: Sequence[float], other: Sequence[float]) -> Odds:
    more = math.fsum(p * q for a, p in enumerate(one) for b, q in enumerate(other) if a > b)
    same = math.fsum(p * q for a, p in enumerate(one) for b, q in enumerate(other) if a == b)
    return Odds(more, max(0.0, 1.0 - more - same), same)


def _around(number: int, sure: float) -> list[float]:
    chances = [0.0] * (number + 2)
    chances[number] = sure
    chances[number + 1] += (1.0 - sure) / 2 if number else 1.0 - sure
    if number:
        chances[number - 1] += (1.0 - sure) / 2
    return chances
