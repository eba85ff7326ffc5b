"""Extractive answers from remembered FACTS: who was seen when, by which device, and how sure that is. Pure.

In: a placed question and the events of the asked labels. Out: an `Answer` that cites its events, each sentence made
of their own times and scores. It reads no database and no clock. Next: `recall.py`, which fetches the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.messages import Answer, AnswerRequest, Event, Evidence, Outcome, Pick, Representation, Sighting, Task
from foveate.sweep import Span, most_at_once
from foveate.vision import likelihood
from foveate.wire import utc

MOST_EVENTS = 2000
"""Events weighed for one answer; past that the answer says that it saw a part only."""

SURE_ABSENCE = 0.95
"""Nobody seen by a device that watched: NanoDet's misses, and objects below its threshold, keep it from 1."""

QUIET = 0.89
"""Ceiling of an absence when a device told nothing at all in the span: quiet, or not watching, nobody knows."""

LOST_S = 5.0
"""An open event is reported again every two seconds: past this age its device is gone, or its end is on the way."""

AS_REPORTED = 0.9
"""What is left of a certainty about now that rests on reports instead of a look: things leave between two of them."""

ALL_DAYS_S = 86400.0 * 2
"""A span at least this long is told by its dates, not by the clock."""

_BEST = 3  # tracks that speak for a presence: the errors of more are not independent
_MOST_EVIDENCE = 12


@dataclass(frozen=True, slots=True)
class Heard:
    """Devices that ever told anything, and those that did in the span of the question."""

    ever: frozenset[str]
    in_span: frozenset[str]


def from_events(request: AnswerRequest, events: Sequence[Event], heard: Heard) -> Answer:
    """The answer from these events of the asked labels, of whatever devices are in scope. Pure."""
    wanted = request.understanding
    spans = [span for event in events for span in spans_of(event, wanted.labels)]
    if wanted.now:
        spans = [span for span in spans if _going_on(span, request.question.ask_time)]
    if wanted.task is Task.COUNT:
        return _count(request, spans, heard)
    if not spans:
        return _absence(request, heard)
    return _presence(request, spans) if wanted.task is Task.PRESENCE else _find(request, spans, heard)


def spans_of(event: Event, labels: Sequence[str]) -> list[Span]:
    """One span for each track of the labels; the event itself when it has labels but no tracks."""
    spans = []
    for track in event.tracks:
        if track.label in labels:
            # A track is as sure as its best sighting: the mean sinks while it enters and leaves the picture.
            best = max((track.score, *(seen.score for seen in track.sightings if seen.label == track.label)))
            # Single sightings may carry another name; the track's is what they voted for together.
            path = tuple(replace(seen, label=track.label) for seen in track.sightings)
            spans.append(Span(track.start, track.end, best, event, path))
    named = [item.score for item in event.labels if item.label in labels]
    if not spans and named:
        spans.append(Span(event.start, event.end, max(named), event))
    return spans


def coverage(request: AnswerRequest, heard: Heard) -> float:
    """The share of the devices in scope that memory has ever heard of and was asked about, 0 to 1."""
    known = sum(device in heard.ever for device in request.device_ids)
    return min(1.0, known / max(1, request.devices_in_scope, len(request.device_ids)))


def cannot_tell(request: AnswerRequest, reason: str, *, evidence: tuple[Evidence, ...] = ()) -> Answer:
    """An honest "I cannot tell"."""
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.CANNOT_TELL,
        text="I cannot tell from what I have.",
        confidence=0.0,
        evidence=evidence,
        placement=request.placement,
        reason=reason,
    )


def between(start: float, end: float) -> str:
    """A span of time as people read it."""
    if end - start >= ALL_DAYS_S:
        return f"from {utc(start):%Y-%m-%d} to {utc(end):%Y-%m-%d %H:%M} UTC"
    return f"between {clock(start)} and {clock(end)}"


def clock(seconds: float) -> str:
    """A moment as people read it."""
    return f"{utc(seconds):%H:%M:%S} UTC"


def moment_in(event: Event, moment: float) -> str:
    """A moment of an event in words: the clock, and the place in the source for sources that have one."""
    if event.media_offset is None:
        return clock(moment)
    return f"{clock(moment)}, {event.media_offset + moment - event.start:.1f} s into its source"


def answered(
    request: AnswerRequest,
    *,
    text: str,
    value: bool | int | float,
    confidence: float,
    spans: Sequence[Span] = (),
    moment: float | None = None,
    reason: str = "",
) -> Answer:
    """An answer from memory that cites the events of `spans`, boxes as they were at `moment`."""
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=text,
        confidence=min(0.99, max(0.0, confidence)),
        value=value,
        evidence=evidence_of(spans, moment),
        placement=request.placement,
        reason=reason,
    )


def _presence(request: AnswerRequest, spans: Sequence[Span]) -> Answer:
    best = sorted(spans, key=lambda span: -span.score)[:_BEST]
    first, wanted = best[0], request.understanding
    when = (
        "now, as last reported" if wanted.now else f"from {moment_in(first.event, first.start)} to {clock(first.end)}"
    )
    more = f", and {len(spans) - 1} more times" if len(spans) > 1 and not wanted.now else ""
    return answered(
        request,
        text=f"Yes: {wanted.subject or wanted.labels[0]} in view of {first.event.device_id} {when}{more}.",
        value=True,
        confidence=likelihood.presence([span.score for span in best], _platt(request)) * _freshness(request),
        spans=best,
    )


def _absence(request: AnswerRequest, heard: Heard) -> Answer:
    wanted, share = request.understanding, coverage(request, heard)
    reason = _gaps(request, heard)
    if share == 0.0:
        return cannot_tell(request, reason)
    subject = wanted.subject or wanted.labels[0]
    if wanted.task is Task.FIND:
        told = f"{subject} was not seen {between(wanted.start, wanted.end)}"
        return cannot_tell(request, f"{told}; {reason}" if reason else told)
    when = "now, as last reported" if wanted.now else between(wanted.start, wanted.end)
    return answered(
        request,
        text=f"No: no {subject} in view of {', '.join(request.device_ids)} {when}.",
        value=False,
        confidence=_absence_confidence(request, heard) * _freshness(request),
        reason=reason,
    )


def _absence_confidence(request: AnswerRequest, heard: Heard) -> float:
    quiet = any(device not in heard.in_span for device in request.device_ids)
    return (QUIET if quiet else SURE_ABSENCE) * coverage(request, heard)


def _gaps(request: AnswerRequest, heard: Heard) -> str:
    """What memory does not cover, in words; empty when it covers everything."""
    unheard = [device for device in request.device_ids if device not in heard.ever]
    outside = request.devices_in_scope - len(request.device_ids)
    quiet = [device for device in request.device_ids if device in heard.ever and device not in heard.in_span]
    parts = [
        f"nothing was ever heard of {', '.join(unheard)}" if unheard else "",
        f"{outside} of {request.devices_in_scope} devices in scope are out of sight" if outside > 0 else "",
        f"{', '.join(quiet)} told nothing in that time" if quiet else "",
    ]
    return "; ".join(part for part in parts if part)


def _count(request: AnswerRequest, spans: Sequence[Span], heard: Heard) -> Answer:
    wanted, share = request.understanding, coverage(request, heard)
    if share == 0.0:
        return cannot_tell(request, _gaps(request, heard))
    moment, together = _together(wanted.now, spans, start=wanted.start, end=wanted.end)
    number, subject = len(together), wanted.subject or wanted.labels[0]
    if number:
        sure = likelihood.count([span.score for span in together], _platt(request)).distribution[number] * share
    else:
        sure = _absence_confidence(request, heard)
    sure *= _freshness(request)
    if wanted.now:
        text = f"{number} now, as last reported ({subject})."
    else:
        at = f", at {moment_in(together[0].event, moment)}" if together else ""
        text = f"At most {number} at once ({subject}){at}; {len(spans)} distinct tracks in that time."
    cameras = {span.event.device_id for span in together}
    if len(cameras) > 1:
        text += f" Summed over {len(cameras)} cameras, whose views may overlap."
    if len(spans) >= MOST_EVENTS:
        text += f" Only {MOST_EVENTS} events were weighed."
    return answered(
        request,
        text=text,
        value=number,
        confidence=sure,
        spans=together,
        moment=moment,
        reason=_gaps(request, heard),
    )


def _together(now: bool, spans: Sequence[Span], *, start: float, end: float) -> tuple[float, Sequence[Span]]:
    """The moment that counts, and who was there; for now, everyone who is still there."""
    return (end, spans) if now else most_at_once(spans, start=start, end=end)


def _find(request: AnswerRequest, spans: Sequence[Span], heard: Heard) -> Answer:
    wanted = request.understanding
    match wanted.pick:
        case Pick.FIRST:
            found, which = min(spans, key=lambda span: span.start), "first"
        case Pick.LAST:
            found, which = max(spans, key=lambda span: span.start), "last"
        case Pick.ANY:
            found, which = max(spans, key=lambda span: span.score), "most clearly"
    # A device out of sight may have seen it earlier or later still, but cannot undo that it was seen at all.
    share = 1.0 if wanted.pick is Pick.ANY else coverage(request, heard)
    return answered(
        request,
        text=f"{(wanted.subject or found.event.labels[0].label).capitalize()} {which} seen by "
        f"{found.event.device_id} at {moment_in(found.event, found.start)}.",
        value=found.start,
        confidence=likelihood.presence([found.score], _platt(request)) * share,
        spans=[found],
        moment=found.start,
        reason=_gaps(request, heard) if share < 1.0 else "",
    )


def evidence_of(spans: Sequence[Span], moment: float | None) -> tuple[Evidence, ...]:
    """One piece for each event, with each track where it was at `moment`, or at its first sighting."""
    grouped: dict[str, list[Span]] = {}
    for span in spans:
        grouped.setdefault(span.event.event_id, []).append(span)
    return tuple(_piece(group, moment) for group in list(grouped.values())[:_MOST_EVIDENCE])


def _piece(spans: Sequence[Span], moment: float | None) -> Evidence:
    event = spans[0].event
    sightings = [_at(span.sightings, moment) for span in spans if span.sightings]
    return Evidence(
        device_id=event.device_id,
        event_id=event.event_id,
        start=event.start,
        end=event.end,
        sightings=tuple(sightings),
        representation=Representation.FACTS,
        media_offset=event.media_offset,
    )


def _freshness(request: AnswerRequest) -> float:
    return AS_REPORTED if request.understanding.now else 1.0


def _platt(request: AnswerRequest) -> likelihood.Platt:
    return likelihood.calibration(request.understanding.labels)


def _at(sightings: Sequence[Sighting], moment: float | None) -> Sighting:
    return sightings[0] if moment is None else min(sightings, key=lambda seen: abs(seen.time - moment))


def _going_on(span: Span, now: float) -> bool:
    return span.event.open and span.end >= now - LOST_S
