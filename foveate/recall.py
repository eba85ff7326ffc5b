"""The embedded default's answer from what is remembered: extractive, from FACTS, and EMBEDDING for unnamed things.

In: a placed question, the memory and, for subjects without a detector's name, a text encoder. Out: an `Answer` that
cites its events and says how unsure it is. It is no VLM: presence, count and find only, the rest is "cannot tell".
It moves no picture and asks no device. Next: the edge's `answer.py`, which looks closer, and the cloud's `reason`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from foveate.facts import LOST_S, MOST_EVENTS, Heard, cannot_tell, from_events, moment_of
from foveate.likeness import from_likeness
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Embedding, Pick, Representation, Task
from foveate.paths import BRIDGE_S, zones_in

MOST_WHOLE = 500
"""Whole events read for one answer about a moment or a zone, about 2 KB each; everything else reads short rows."""

MOST_ALIKE = 12
"""Events read whole for a question by meaning: the best is cited, and the rest shows that there is more than one."""

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
    if wanted.task not in TASKS:
        reason = f"the embedded default answers presence, count and find; {wanted.task} needs a VLM"
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
    if wanted.zones or moment_of(wanted) is not None:
        events = await memory.select(
            device_ids=request.device_ids,
            labels=wanted.labels,
            start=start - BRIDGE_S,
            end=end + BRIDGE_S,
            limit=MOST_WHOLE,
            newest_first=wanted.pick is not Pick.FIRST,
        )
        answer = from_events(request, events, heard)
        more = f"only {MOST_WHOLE} events were weighed"
        return replace(answer, reason=joined(answer.reason, more)) if len(events) == MOST_WHOLE else answer
    return await _by_outlines(request, memory, heard, start=start)


async def _by_outlines(request: AnswerRequest, memory: Memory, heard: Heard, *, start: float) -> Answer:
    """From short rows of what was followed; only the events that the answer cites are read whole."""
    wanted = request.understanding
    outlines = await memory.tracks(
        device_ids=request.device_ids,
        labels=wanted.labels,
        start=start,
        end=wanted.end,
        limit=MOST_EVENTS,
        newest_first=wanted.pick is not Pick.FIRST,
    )
    answer = from_events(request, outlines, heard)
    whole = await memory.events([piece.event_id for piece in answer.evidence])
    if not whole:
        return answer
    # Between the two readings one may have grown or gone, so the answer is made once more from what is cited.
    return from_events(request, [whole.get(event.event_id, event) for event in outlines], heard)


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
    prompt = pictured(wanted.subject) if wanted.subject else request.question.text
    vector = (await asyncio.to_thread(text.encode, [prompt]))[0]
    prompted = Embedding(space, tuple(map(float, vector)))
    scope: dict[str, Any] = {"device_ids": request.device_ids, "start": wanted.start, "end": wanted.end}
    found = await memory.nearest(prompted, limit=MOST_ALIKE, **scope)
    median = await memory.median_likeness(prompted, **scope) if found else None
    return from_likeness(request, found, median=median)
