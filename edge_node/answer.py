"""7, answer: the site's answer to a placed question, from its devices, its memory or a closer look at pictures.

In: a placed question whose devices may be asked about. Out: an `Answer`, and "cannot tell" rather than an error.
It sends nothing: `egress.py` guards what it says before it leaves. Next: `serve.py`, which replies.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Protocol

from edge_node.ask import Ask
from edge_node.closer import Closer
from edge_node.verdict import illustrate, settle
from foveate.errors import FoveateError
from foveate.facts import cannot_tell
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Outcome, Representation, Task, Tier
from foveate.recall import TASKS, Sentences, recall

_REPLY_S = 0.2  # kept back for guarding the answer and for its way


class Answerer(Protocol):
    """The seam for whatever answers: the embedded default here, a VLM elsewhere."""

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer; raises only when a DEVICE placement cannot be relayed."""
        ...


class EdgeAnswerer:
    """The embedded default: extractive, from facts and one small detector; no VLM."""

    def __init__(self, *, memory: Memory, text: Sentences | None, ask: Ask, closer: Closer) -> None:
        self._memory = memory
        self._text = text
        self._ask = ask
        self._closer = closer

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer from what the placement names."""
        if request.placement.tier is Tier.DEVICE:
            return await self._ask.one(request)
        wanted, began = request.understanding, time.monotonic()
        if request.placement.representation <= Representation.EMBEDDING:
            live = wanted.now and wanted.labels and wanted.task in (Task.PRESENCE, Task.COUNT)
            return await (self._live(request) if live else self._recalled(request))
        remembered = await self._recalled(request)
        if wanted.task not in TASKS or not wanted.labels:
            # A detector cannot look for what it has no name for; memory's candidates are all there is.
            return remembered
        left = request.time_left_s - (time.monotonic() - began)
        return await self._closer_look(replace(request, time_left_s=left), remembered)

    async def _live(self, request: AnswerRequest) -> Answer:
        answer = await self._ask.all(request)
        if answer.outcome is Outcome.ANSWERED:
            return answer
        remembered = await self._recalled(request)
        return replace(remembered, reason=_joined(remembered.reason, answer.reason))

    async def _recalled(self, request: AnswerRequest) -> Answer:
        try:
            return await recall(request, self._memory, self._text)
        except FoveateError as error:
            return cannot_tell(request, error.message)

    async def _closer_look(self, request: AnswerRequest, remembered: Answer) -> Answer:
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s - _REPLY_S)):
                looked, missing = await self._closer.look(request, remembered)
        except TimeoutError:
            why = "the pictures did not come and could not be looked at in time; this is what memory alone says"
            return replace(remembered, reason=_joined(remembered.reason, why))
        shown = [one for one in looked if one.seen]
        missing += [f"{one.window.device_id} recorded no picture then" for one in looked if not one.seen]
        moved = sum(one.header.size_bytes for one in looked)
        if not shown:
            reason = _joined(remembered.reason, *missing, "this is what memory alone says")
            return replace(remembered, reason=reason, moved_bytes=moved)
        representation = request.placement.representation
        if representation is Representation.REDACTED_FRAMES and "person" in request.understanding.labels:
            why = "people cannot be verified on REDACTED_FRAMES, so this is what memory says"
            answer = illustrate(remembered, shown, representation=representation, why=why)
        else:
            answer = settle(request, remembered, shown)
        return replace(answer, reason=_joined(answer.reason, *missing), moved_bytes=moved)


def _joined(*parts: str) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))
