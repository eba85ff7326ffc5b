"""Pictures against memory: one answer from what was remembered and what a closer look shows. Pure.

In: a placed question, memory's answer and what each clip shows. Out: the answer with value, confidence, true times,
boxes and pictures from the pixels. Where both say the same, the surer one counts, since one detector made both;
where they differ, confidence drops and the text says so. Next: `answer.py`, which returns it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge_node.closer import Looked
from edge_node.look import Seen, probability
from edge_node.tally import SURE, Tally, at_moment, empty, most, now
from foveate.facts import cannot_tell, clock, moment_of, named
from foveate.messages import Answer, AnswerRequest, Evidence, Outcome, Pick, Representation, Sighting, Task
from foveate.vision.draw import small_jpeg

_CONTRADICTED = "the pictures do not bear out what was remembered"
_DIFFERS = 0.8  # what is left of the confidence in a count when memory counted otherwise
_OTHERS = 0.6  # how much of a doubt is settled when none of the candidates that were looked at has the colour
_STARTS_S = 0.1  # the first picture of a source


def settle(request: AnswerRequest, memory: Answer, looked: Sequence[Looked]) -> Answer:
    """The answer of memory and pictures together; `looked` holds at least one clip with a picture."""
    match request.understanding.task:
        case Task.PRESENCE:
            answer = _presence(request, memory, looked)
        case Task.COUNT:
            answer = _count(request, memory, looked)
        case _:
            answer = _find(request, memory, looked)
    return replace(
        answer,
        question_id=request.question.question_id,
        placement=request.placement,
        confidence=min(0.99, max(0.0, answer.confidence)),
    )


def illustrate(memory: Answer, looked: Sequence[Looked], *, representation: Representation, why: str) -> Answer:
    """Memory's answer, unverified, with the picture nearest to each moment that it cites."""
    shown: list[Evidence] = []
    for one in looked:
        piece = one.window.piece
        boxes = piece.sightings if piece else ()
        moment = boxes[0].time if boxes else one.window.end
        nearest = min(one.seen, key=lambda seen: abs(seen.frame.time - moment))
        shown.append(_evidence(one, nearest, representation, sightings=boxes))
    cited = {piece.event_id for piece in shown}
    rest = tuple(piece for piece in memory.evidence if piece.event_id not in cited)
    reason = "; ".join(part for part in (memory.reason, why) if part)
    return replace(memory, evidence=(*shown, *rest), reason=reason)


def _illustrated(request: AnswerRequest, memory: Answer, looked: Sequence[Looked]) -> tuple[Evidence, ...]:
    """Memory's boxes on the pictures that did not bear them out, so that a person can judge."""
    form = min(request.placement.representation, Representation.FRAMES)
    return illustrate(memory, looked, representation=form, why="").evidence


def _presence(request: AnswerRequest, memory: Answer, looked: Sequence[Looked]) -> Answer:
    subject = _subject(request)
    hits = [(one, _clearest(one.seen)) for one in looked if any(seen.confirmed for seen in one.seen)]
    if hits:
        sure = 1.0 - math.prod(1.0 - _there(seen) * seen.colour for _, seen in hits)
        evidence = tuple(_evidence(one, seen, request.placement.representation) for one, seen in hits)
        where = " and ".join(f"{one.window.device_id} at {clock(seen.frame.time)}" for one, seen in hits)
        text = f"Yes: the pictures of {where} show {subject}."
        if memory.value is False:
            text += " Memory held no such event."
        # What memory is sure of is a thing, of whatever colour.
        known = memory.confidence if memory.value is True and not request.understanding.colours else 0.0
        return _said(text, True, max(min(SURE, sure), known), evidence, memory.reason)
    gone = math.prod(empty(one) for one in looked)
    if memory.value is True and request.understanding.colours:
        text = f"No: of the {len(looked)} that were looked at none is {subject}."
        sure = 0.5 + (gone - 0.5) * _OTHERS
        return _said(text, False, sure, _illustrated(request, memory, looked), "others were not looked at")
    if memory.value is True:
        present = _together(memory.confidence, 1.0 - gone)
        value = present >= 0.5
        text = f"{'Yes' if value else 'No'}, but memory and pictures differ: {memory.text} The pictures do not show it."
        confidence = present if value else 1.0 - present
        return _said(text, value, confidence, _illustrated(request, memory, looked), _CONTRADICTED)
    share = _share(request, looked)
    known = memory.confidence if memory.value is False else 0.0
    text = f"No: the pictures of {_spans(looked)} show no {subject}."
    evidence = tuple(_evidence(one, one.seen[-1], request.placement.representation) for one in looked)
    # What was neither remembered nor looked at is a coin's toss.
    return _said(text, False, max(known, (0.5 + (gone - 0.5) * share)), evidence, memory.reason)


def _count(request: AnswerRequest, memory: Answer, looked: Sequence[Looked]) -> Answer:
    live, colours = request.understanding.now, request.understanding.colours
    known = memory.value if memory.outcome is Outcome.ANSWERED and isinstance(memory.value, int) else None
    # What memory counted is of any colour.
    remembered = None if colours or known is None else int(known)
    tallies = _tallies(request, memory, looked, remembered)
    total = sum(one.number for one in tallies)
    scope = max(1, request.devices_in_scope, len(request.device_ids))
    cameras = len({one.looked.window.device_id for one in tallies})
    moment = moment_of(request.understanding)
    sure = math.prod(one.sure for one in tallies) * (cameras / scope if live or moment is not None else 1.0)
    sure *= _DIFFERS if colours and not live and moment is None else 1.0
    text = _counted(request, tallies)
    if remembered is not None and remembered != total:
        text += f" Memory counted {remembered}."
        # At a moment what memory counted has been weighed already.
        sure *= _DIFFERS if moment is None else 1.0
    elif remembered is not None:
        sure = max(sure, memory.confidence)
    evidence = tuple(_evidence(one.looked, one.seen, request.placement.representation) for one in tallies)
    if sum(len(piece.sightings) for piece in evidence) < total:
        evidence += memory.evidence
    return _said(text, total, min(SURE, sure), evidence, memory.reason)


def _tallies(request: AnswerRequest, memory: Answer, looked: Sequence[Looked], remembered: int | None) -> list[Tally]:
    moment = moment_of(request.understanding)
    if moment is None:
        return [now(one) if request.understanding.now else most(one) for one in looked]
    # Of several cameras memory gives the sum only.
    known = None if remembered is None or len(looked) > 1 else (remembered, memory.confidence)
    return [at_moment(one, moment + one.window.shift, known) for one in looked]


def _counted(request: AnswerRequest, tallies: Sequence[Tally]) -> str:
    wanted, total = request.understanding, sum(one.number for one in tallies)
    how = "now" if wanted.now else "" if moment_of(wanted) is not None else "at once at most"
    text = " ".join(filter(None, (str(total), how, f"({_subject(request)}), counted in the pictures of ")))
    text += ", ".join(f"{one.looked.window.device_id} at {clock(one.seen.frame.time)}" for one in tallies) + "."
    if len({one.looked.window.device_id for one in tallies}) > 1:
        text += " Views of cameras may overlap."
    return text


def _find(request: AnswerRequest, memory: Answer, every: Sequence[Looked]) -> Answer:
    subject, remembered = _subject(request), memory.value if isinstance(memory.value, float) else None
    colours, pick = request.understanding.colours, request.understanding.pick
    hits = [(one, one.first) for one in every if one.first is not None]
    if not hits:
        if colours and remembered is not None:
            return cannot_tell(request, f"of the {len(every)} that were looked at none is {subject}")
        return _not_found(request, memory, every[0], remembered)
    looked, found = _picked(pick, hits)
    time, offset = found.frame.time, looked.media_offset(found.frame.time)
    place = "" if offset is None else f", {offset:.1f} s into its source"
    how = pick.value.replace("any", "clearly")
    text = f"{subject[:1].upper() + subject[1:]} {how} seen by {looked.window.device_id} at {clock(time)}{place}."
    surest = _clearest(looked.seen)
    known = memory.confidence if remembered is not None and not colours else 0.0
    confidence = max(min(SURE, _there(surest) * surest.colour), known)
    if pick is Pick.LAST and found.frame.time >= looked.seen[-1].frame.time:
        text += " It is in view up to the last picture that was looked at."
        confidence *= _DIFFERS
    elif pick is not Pick.LAST and found is looked.seen[0]:
        text += " It is in view from the first picture that was looked at."
        # Before the beginning of the source there is nothing; otherwise it may have come earlier.
        confidence *= 1.0 if offset is not None and offset < _STARTS_S else _DIFFERS
    if remembered is None:
        confidence *= _share(request, [looked])
    evidence = (_evidence(looked, found, request.placement.representation),)
    return _said(text, time, confidence, evidence, memory.reason)


def _picked(pick: Pick, hits: Sequence[tuple[Looked, Seen]]) -> tuple[Looked, Seen]:
    """The clip and picture of the moment that is asked for."""
    match pick:
        case Pick.FIRST:
            return min(hits, key=lambda hit: hit[1].frame.time)
        case Pick.LAST:
            return max(hits, key=lambda hit: hit[1].frame.time)
        case Pick.ANY:
            return max(hits, key=lambda hit: _there(hit[1]) * hit[1].colour)


def _not_found(request: AnswerRequest, memory: Answer, looked: Looked, remembered: float | None) -> Answer:
    if remembered is None:
        reason = f"{memory.reason}; the pictures of {_spans([looked])} do not show it either"
        return replace(memory, reason=reason.lstrip("; "))
    kept = _together(memory.confidence, 1.0 - empty(looked))
    text = f"{memory.text} The pictures around that moment do not show it clearly."
    return _said(text, remembered, kept, _illustrated(request, memory, [looked]), _CONTRADICTED)


def _said(
    text: str, value: bool | int | float, confidence: float, evidence: tuple[Evidence, ...], reason: str
) -> Answer:
    return Answer("", Outcome.ANSWERED, text, confidence, value=value, evidence=evidence, reason=reason)


def _evidence(
    looked: Looked, seen: Seen, representation: Representation, *, sightings: tuple[Sighting, ...] | None = None
) -> Evidence:
    piece, time = looked.window.piece, seen.frame.time
    return Evidence(
        device_id=looked.window.device_id,
        event_id=piece.event_id if piece else "",
        start=time,
        end=max(time, piece.end) if piece else time,
        sightings=seen.sightings if sightings is None else sightings,
        picture=small_jpeg(seen.frame.picture),
        representation=min(representation, Representation.FRAMES),
        media_offset=looked.media_offset(time),
        picture_time=time,
    )


def _subject(request: AnswerRequest) -> str:
    return named(request.understanding)


def _spans(looked: Sequence[Looked]) -> str:
    parts = (
        f"{o.window.device_id} from {clock(o.seen[0].frame.time)} to {clock(o.seen[-1].frame.time)}" for o in looked
    )
    return " and ".join(parts)


def _there(seen: Seen) -> float:
    return 1.0 - math.prod(1.0 - probability(d) for d in seen.confirmed)


def _clearest(seen: Sequence[Seen]) -> Seen:
    return max(seen, key=_there)


def _together(one: float, other: float) -> float:
    """Two probabilities of the same thing that contradict each other, as a product of odds."""
    both, neither = one * other, (1.0 - one) * (1.0 - other)
    return both / (both + neither) if both + neither else 0.5


def _share(request: AnswerRequest, looked: Sequence[Looked]) -> float:
    """How much of what was asked about the pictures cover: of the span, and of the cameras."""
    wanted = request.understanding
    cameras = len({one.window.device_id for one in looked}) / max(1, request.devices_in_scope)
    if wanted.now:
        return min(1.0, cameras)
    covered = max(one.window.end - one.window.start for one in looked)
    return min(1.0, cameras) * min(1.0, covered / max(wanted.end - wanted.start, 1e-3))
