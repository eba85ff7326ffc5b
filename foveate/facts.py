"""Extractive answers from remembered FACTS: who was seen when, by which device, and how sure that is. Pure.

In: a placed question and the events of the asked labels. Out: an `Answer` that cites its events, each sentence made
of their own times and scores. It reads no database and no clock. Next: `recall.py`, which fetches the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foveate import standing
from foveate.heard import Heard, absence_confidence, coverage, gaps
from foveate.messages import Answer, AnswerRequest, Event, Evidence, Outcome, Pick, Representation, Task, Understanding
from foveate.paths import at_moment, bridged, spans_of, zone_key
from foveate.sweep import Span, most_at_once
from foveate.vision import likelihood
from foveate.wire import utc

MOST_EVENTS = 2000
"""Events weighed for one answer; past that the answer says that it saw a part only."""

SURE_COUNT = 0.9
"""Ceiling of a count: who is hidden or too small for the detector has no track, and scores do not tell of those."""

AT_BORDER = 0.9
"""What is left of a count in a zone: a box whose lower edge is a little off stands on the other side of the line."""

LOST_S = 5.0
"""An open event is reported again every two seconds: past this age its device is gone, or its end is on the way."""

AS_REPORTED = 0.9
"""What is left of a certainty about now that rests on reports instead of a look: things leave between two of them."""

ALL_DAYS_S = 86400.0 * 2
"""A span at least this long is told by its dates, not by the clock."""

MOMENT_S = 2.0
"""A span at most this long is one moment, its middle: who was there then, not how many came and went around it."""

CANDIDATE = 0.35
"""Ceiling of what facts say of a thing of some colour: they know the thing, and not its colour."""

_BEST = 3  # tracks that speak for a presence: the errors of more are not independent
_MOST_EVIDENCE = 40  # pieces of a count, each of a box or two: every thing that was counted must be among them


def from_events(request: AnswerRequest, events: Sequence[Event], heard: Heard) -> Answer:
    """The answer from these events of the asked labels, of whatever devices are in scope. Pure."""
    wanted = request.understanding
    zones = tuple(zone_key(zone) for zone in wanted.zones)
    if zones and not set(zones) & {zone_key(zone) for zone in heard.zones}:
        return cannot_tell(request, _unknown_zones(wanted, heard))
    spans = [span for event in events for span in spans_of(event, wanted.labels, zones)]
    spans = [standing.lengthened(span, heard.still) for span in spans]
    if wanted.now:
        spans = [span for span in spans if _going_on(span, request.question.ask_time)]
    else:
        spans = bridged(spans) if moment_of(wanted) is not None and not zones else spans
        # Who walks through a zone is soon out of it, so that half a second around a moment is too much there.
        moment = moment_of(wanted) if zones else None
        start, end = (wanted.start, wanted.end) if moment is None else (moment, moment)
        spans = [span for span in spans if span.start <= end and span.end >= start]
    answer = _of_spans(request, spans, heard)
    return _as_candidate(answer, wanted) if wanted.colours and spans else answer


def moment_of(wanted: Understanding) -> float | None:
    """The moment that the question is about, None when it is about a longer span or about now."""
    brief = not wanted.now and wanted.end - wanted.start <= MOMENT_S
    return (wanted.start + wanted.end) / 2 if brief else None


def named(wanted: Understanding) -> str:
    """The subject in words, with its colours and zones."""
    subject = " ".join(filter(None, (" or ".join(wanted.colours), wanted.subject or ", ".join(wanted.labels))))
    return f"{subject} in the zone {' or '.join(wanted.zones)}" if wanted.zones else subject


def _of_spans(request: AnswerRequest, spans: Sequence[Span], heard: Heard) -> Answer:
    task = request.understanding.task
    if task is Task.COUNT:
        return _count(request, spans, heard)
    if not spans:
        return _absence(request, heard)
    return _presence(request, spans) if task is Task.PRESENCE else _find(request, spans, heard)


def _as_candidate(answer: Answer, wanted: Understanding) -> Answer:
    """The answer about things whose colour nobody has looked at yet."""
    if answer.outcome is not Outcome.ANSWERED:
        return answer
    label, colour = wanted.subject or wanted.labels[0], " or ".join(wanted.colours)
    return replace(
        answer,
        text=f"Perhaps, if it is {colour}: {answer.text}",
        confidence=min(CANDIDATE, answer.confidence),
        reason="; ".join(filter(None, (answer.reason, f"facts tell of {label}, but {colour} shows in pictures only"))),
    )


def _unknown_zones(wanted: Understanding, heard: Heard) -> str:
    asked = " or ".join(repr(zone) for zone in wanted.zones)
    if not heard.zones:
        return f"no device tells of zones, so nothing is known of {asked}"
    return f"nothing was ever seen in a zone called {asked}; known are {', '.join(heard.zones)}"


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
        evidence=evidence_of(spans, moment, since=0.0 if request.understanding.now else request.understanding.start),
        placement=request.placement,
        reason=reason,
    )


def _presence(request: AnswerRequest, spans: Sequence[Span]) -> Answer:
    wanted = request.understanding
    since = wanted.end if wanted.now else moment_of(wanted) or wanted.start
    still = [span for span in spans if standing.presumed(span, since)]
    followed = [span for span in spans if span not in still]
    best = sorted(followed or still, key=lambda span: -span.score)[:_BEST]
    first, last = best[0], best[0].end if best[0].told is None else best[0].told
    doubted = [] if followed else still
    when = "now, as last reported" if wanted.now else f"from {moment_in(first.event, first.start)} to {clock(last)}"
    more = f", and {len(spans) - 1} more times" if len(spans) > 1 and not wanted.now else ""
    return answered(
        request,
        text=f"Yes: {named(wanted)} in view of {first.event.device_id} {when}{more}."
        + standing.note(doubted, len(spans)),
        value=True,
        confidence=likelihood.presence([span.score for span in best], _platt(request))
        * _freshness(request)
        * _standing(doubted),
        spans=best,
        reason=standing.why(doubted),
    )


def _absence(request: AnswerRequest, heard: Heard) -> Answer:
    wanted, share = request.understanding, coverage(request, heard)
    reason = gaps(request, heard)
    if share == 0.0:
        return cannot_tell(request, reason)
    subject = named(wanted)
    if wanted.task is Task.FIND:
        told = f"{subject} was not seen {between(wanted.start, wanted.end)}"
        return cannot_tell(request, f"{told}; {reason}" if reason else told)
    when = "now, as last reported" if wanted.now else between(wanted.start, wanted.end)
    return answered(
        request,
        text=f"No: no {subject} in view of {', '.join(request.device_ids)} {when}.",
        value=False,
        confidence=absence_confidence(request, heard) * _freshness(request),
        reason=reason,
    )


def _count(request: AnswerRequest, spans: Sequence[Span], heard: Heard) -> Answer:
    wanted, share = request.understanding, coverage(request, heard)
    if share == 0.0:
        return cannot_tell(request, gaps(request, heard))
    moment, there = _together(wanted, spans)
    counted = likelihood.count([span.score for span in there], _platt(request))
    # As many as are likeliest, and of those who seem to be there the surest.
    together = sorted(there, key=lambda span: -span.score)[: counted.value]
    together = [span for span in there if span in together]
    number = len(together)
    sure = min(SURE_COUNT, counted.probability) * share if there else absence_confidence(request, heard)
    still = [span for span in there if standing.presumed(span, moment)]
    sure *= (AT_BORDER if wanted.zones else 1.0) * _standing(still)
    stood = [span for span in still if span in together]
    return answered(
        request,
        text=_counted(request, together, moment, distinct=len(spans)) + standing.note(stood, number),
        value=number,
        # Any of them may have left since.
        confidence=sure * _freshness(request) ** max(1, number),
        spans=together,
        moment=moment,
        reason="; ".join(filter(None, (gaps(request, heard), standing.why(still)))),
    )


def _counted(request: AnswerRequest, together: Sequence[Span], moment: float, *, distinct: int) -> str:
    wanted, number = request.understanding, len(together)
    subject = named(wanted)
    if wanted.now:
        text = f"{number} now, as last reported ({subject})."
    elif moment_of(wanted) is not None:
        place = f"at {moment_in(together[0].event, moment)}" if together else f"at {clock(moment)}"
        text = f"{number} {place} ({subject})."
    else:
        at = f", at {moment_in(together[0].event, moment)}" if together else ""
        text = f"At most {number} at once ({subject}){at}; {distinct} distinct tracks in that time."
    cameras = {span.event.device_id for span in together}
    if len(cameras) > 1:
        text += f" Summed over {len(cameras)} cameras, whose views may overlap."
    if distinct >= MOST_EVENTS:
        text += f" Only {MOST_EVENTS} tracks were weighed."
    return text


def _together(wanted: Understanding, spans: Sequence[Span]) -> tuple[float, Sequence[Span]]:
    """The moment that counts, and who was there; for now, everyone who is still there."""
    if wanted.now:
        return wanted.end, spans
    moment = moment_of(wanted)
    if moment is None:
        return most_at_once(spans, start=wanted.start, end=wanted.end)
    return moment, [span for span in spans if span.start <= moment <= span.end]


def _find(request: AnswerRequest, spans: Sequence[Span], heard: Heard) -> Answer:
    wanted = request.understanding
    match wanted.pick:
        case Pick.FIRST:
            ranked, which = sorted(spans, key=lambda span: span.start), "first"
        case Pick.LAST:
            ranked, which = sorted(spans, key=lambda span: -span.end), "last"
        case Pick.ANY:
            ranked, which = sorted(spans, key=lambda span: -span.score), "most clearly"
    found = ranked[0]
    moment = min(wanted.end, found.end) if wanted.pick is Pick.LAST else max(wanted.start, found.start)
    still = [found] if standing.presumed(found, moment) else []
    # A device out of sight may have seen it earlier or later still, but cannot undo that it was seen at all.
    share = 1.0 if wanted.pick is Pick.ANY else coverage(request, heard)
    return answered(
        request,
        text=f"{_sentence(named(wanted))} {which} seen by {found.event.device_id} at {moment_in(found.event, moment)}."
        + standing.note(still, 1),
        value=moment,
        confidence=likelihood.presence([found.score], _platt(request)) * share * _standing(still),
        # Which one has the colour is for pictures to tell, so that several are cited.
        spans=ranked[:_BEST] if wanted.colours else [found],
        moment=None if wanted.colours else moment,
        reason="; ".join(filter(None, (gaps(request, heard) if share < 1.0 else "", standing.why(still)))),
    )


def evidence_of(spans: Sequence[Span], moment: float | None, *, since: float = 0.0) -> tuple[Evidence, ...]:
    """One piece for each event, each track where it was at `moment`, or when it was first there from `since` on."""
    grouped: dict[str, list[Span]] = {}
    for span in spans:
        grouped.setdefault(span.event.event_id, []).append(span)
    return tuple(_piece(group, moment, since) for group in list(grouped.values())[:_MOST_EVIDENCE])


def _piece(spans: Sequence[Span], moment: float | None, since: float) -> Evidence:
    event = spans[0].event
    seen = [at_moment(span, max(span.start, since) if moment is None else moment) for span in spans]
    return Evidence(
        device_id=event.device_id,
        event_id=event.event_id,
        start=event.start,
        end=event.end,
        sightings=tuple(one for one in seen if one is not None),
        representation=Representation.FACTS,
        media_offset=event.media_offset,
    )


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _freshness(request: AnswerRequest) -> float:
    return AS_REPORTED if request.understanding.now else 1.0


def _standing(still: Sequence[Span]) -> float:
    return standing.STANDS if still else 1.0


def _platt(request: AnswerRequest) -> likelihood.Platt:
    return likelihood.calibration(request.understanding.labels)


def _going_on(span: Span, now: float) -> bool:
    if span.told is not None:
        return span.end >= now
    return span.event.open and span.end >= now - LOST_S
