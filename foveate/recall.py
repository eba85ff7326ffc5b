"""The embedded default's answer from what is remembered: extractive, from FACTS, and EMBEDDING for unnamed things.

In: a placed question, the memory and, for subjects without a detector's name, a text encoder. Out: an `Answer` that
cites its events and says how unsure it is. It is no VLM: presence, count, find and compare; else "cannot tell".
It moves no picture and asks no device. Next: the edge's `answer.py`, which looks closer, and the cloud's `reason`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from foveate import compare
from foveate.facts import LOST_S, MOST_EVENTS, cannot_tell, from_events, moment_of
from foveate.heard import Heard
from foveate.likeness import from_likeness
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Embedding, Event, Pick, Representation, Task
from foveate.paths import BRIDGE_S, zones_in
from foveate.standing import MOST_STANDING, still_there

MOST_WHOLE = 500
"""Whole events read for one answer about a moment or a zone, about 2 KB each; everything else reads short rows."""

MOST_ENDS = 200
"""Short rows read for the first or the last: they come in the order of time."""

MOST_ALIKE = 12
"""Events read whole for a question by meaning: the best is cited, and the rest shows that there is more than one."""

MOST_ALIKE = 200
"""Events compared with a subject that has no name; past that the median of all is asked for by itself."""

TASKS = (Task.PRESENCE, Task.COUNT, Task.FIND)

PICTURES_OF = {"minilm-l6-v2@1": "conse-lite0-minilm@1"}
"""Picture vectors (ConSE) live in the space of the sentence model that their classes were written in."""
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)


class Sentences(Protocol):
    """Whatever puts sentences into the space of the pictures; `foveate.text.TextEncoder` does."""

    @property
    def model_tag(self) -> str:
        """`name@revision`."""
        ...

    def encode(self, texts: Sequence[str]) -> Any:  # noqa: ANN401  an array; numpy stays out of this module
        """n × d, unit length; blocking."""
        ...


def pictured(subject: str) -> str:
    """The sentence to encode for comparing `subject` with pictures: worded as their classes were. Pure."""
    return f"a photo of a {_ARTICLE.sub('', subject.strip())}"


async def recall(request: AnswerRequest, memory: Memory, text: Sentences | None) -> Answer:
    """The answer that memory alone can give; never raises for what it does not know.

    Raises Unreachable when the database is gone.
    """
    wanted = request.understanding
    if wanted.task is Task.COMPARE:
        return await _compared(request, memory, text)
    if wanted.task not in TASKS:
        reason = f"facts and embeddings answer presence, count, find and compare; {wanted.task} needs more than those"
        return cannot_tell(request, reason)
    if not wanted.labels:
        return await _by_meaning(request, memory, text)
    # What is going on now was last reported a little before now; a track may have a gap at the moment asked about.
    start, end = wanted.start, wanted.end
    if wanted.now:
        start = min(start, request.question.ask_time - LOST_S)
    heard = Heard(await memory.devices(), await memory.devices(start=start, end=end))
    if wanted.zones:
        heard = replace(heard, zones=await _zones(request, memory))
    standing, still = await _standing(request, memory, start=start)
    heard = replace(heard, still=still)
    if wanted.zones or moment_of(wanted) is not None:
        events = await memory.select(
            device_ids=request.device_ids,
            labels=wanted.labels,
            start=start - BRIDGE_S,
            end=end + BRIDGE_S,
            limit=MOST_WHOLE,
            newest_first=wanted.pick is not Pick.FIRST,
        )
        answer = from_events(request, _with(events, standing), heard)
        more = f"only {MOST_WHOLE} events were weighed"
        return replace(answer, reason=joined(answer.reason, more)) if len(events) == MOST_WHOLE else answer
    return await _by_outlines(request, memory, heard, standing, start=start)


async def _by_outlines(
    request: AnswerRequest, memory: Memory, heard: Heard, standing: Sequence[Event], *, start: float
) -> Answer:
    """From short rows of what was followed; only the events that the answer cites are read whole."""
    wanted = request.understanding
    ends = wanted.task is Task.FIND and wanted.pick is not Pick.ANY
    outlines = await memory.tracks(
        device_ids=request.device_ids,
        labels=wanted.labels,
        start=start,
        end=wanted.end,
        limit=MOST_ENDS if ends else MOST_EVENTS,
        newest_first=wanted.pick is not Pick.FIRST,
    )
    outlines = _with(outlines, standing)
    answer = from_events(request, outlines, heard)
    whole = await memory.events([piece.event_id for piece in answer.evidence])
    if not whole:
        return answer
    # Between the two readings one may have grown or gone, so the answer is made once more from what is cited.
    return from_events(request, [whole.get(event.event_id, event) for event in outlines], heard)


async def _standing(
    request: AnswerRequest, memory: Memory, *, start: float
) -> tuple[tuple[Event, ...], dict[str, float]]:
    """Events of the labels whose thing became scenery and may stand there in the span, and until when each may."""
    wanted = request.understanding
    found = await memory.standing(
        device_ids=request.device_ids, labels=wanted.labels, start=start, end=wanted.end, limit=MOST_STANDING
    )
    if not found:
        return (), {}
    later = await memory.select(
        device_ids=sorted({event.device_id for event, _ in found}),
        labels=wanted.labels,
        start=min(event.end for event, _ in found),
        end=wanted.end,
        limit=MOST_WHOLE,
    )
    return tuple(event for event, _ in found), still_there(found, later)


def _with(events: Sequence[Event], standing: Sequence[Event]) -> tuple[Event, ...]:
    """The events, those that became scenery whole and once."""
    known = {event.event_id for event in standing}
    return (*(event for event in events if event.event_id not in known), *standing)


async def _compared(request: AnswerRequest, memory: Memory, text: Sentences | None) -> Answer:
    if why := compare.refusal(request):
        return cannot_tell(request, why)
    sides = [compare.side_request(request, side) for side in request.understanding.sides]
    if compare.at_a_moment(request):
        return compare.from_counts(request, [await recall(side, memory, text) for side in sides])
    ever = await memory.devices()
    unheard = dict.fromkeys(device for side in sides for device in side.device_ids if device not in ever)
    if any(not ever & set(side.device_ids) for side in sides):
        return cannot_tell(request, f"nothing was ever heard of {', '.join(unheard)}")
    reason = f"nothing was ever heard of {', '.join(unheard)}" if unheard else ""
    return compare.from_tracks(request, [await _measured(side, memory) for side in sides], reason=reason)


async def _measured(request: AnswerRequest, memory: Memory) -> compare.Measured:
    wanted = request.understanding
    scope = {"device_ids": request.device_ids, "labels": wanted.labels, "start": wanted.start, "end": wanted.end}
    if wanted.zones:
        return compare.measured(request, await memory.select(**scope, limit=MOST_WHOLE))  # type: ignore[arg-type]
    outlines = await memory.tracks(**scope, limit=MOST_EVENTS)  # type: ignore[arg-type]
    found = compare.measured(request, outlines)
    whole = await memory.events([piece.event_id for piece in found.evidence])
    return compare.measured(request, [whole.get(event.event_id, event) for event in outlines])


async def _zones(request: AnswerRequest, memory: Memory) -> tuple[str, ...]:
    """The zones that the devices in scope told of lately, whatever was seen in them."""
    told = await memory.select(device_ids=request.device_ids, end=request.understanding.end, limit=MOST_WHOLE)
    return zones_in(told)


def joined(*parts: str) -> str:
    """Reasons as one, each once. Pure."""
    return "; ".join(dict.fromkeys(part for part in parts if part))


async def _by_meaning(request: AnswerRequest, memory: Memory, text: Sentences | None) -> Answer:
    wanted = request.understanding
    unnamed = f"the detector has no name for {wanted.subject!r}"
    space = PICTURES_OF.get(text.model_tag) if text else None
    if text is None or space is None or request.placement.representation < Representation.EMBEDDING:
        return cannot_tell(request, f"{unnamed}, and no embeddings may be compared here")
    if wanted.task is Task.COUNT:
        return cannot_tell(request, f"{unnamed}, and likeness cannot count")
    vector = Embedding(space, await asyncio.to_thread(encoded, request, text))
    scope = {"device_ids": request.device_ids, "start": wanted.start, "end": wanted.end}
    found = await memory.nearest(vector, **scope, limit=MOST_ALIKE)  # type: ignore[arg-type]
    median = await memory.median_likeness(vector, **scope) if len(found) == MOST_ALIKE else None  # type: ignore[arg-type]
    return from_likeness(request, found, median)


def encoded(request: AnswerRequest, text: Sentences) -> tuple[float, ...]:
    """The subject, or without one the whole question, in the space of the pictures. Blocking, a millisecond."""
    subject = request.understanding.subject
    return tuple(map(float, text.encode([pictured(subject) if subject else request.question.text])[0]))
