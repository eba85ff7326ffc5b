"""7, answer: the site's answer to a placed question, from its devices, its memory or a closer look at pictures.

In: a placed question whose devices may be asked about. Out: an `Answer`, and "cannot tell" rather than an error. Each
task has a module: `reading.py`, `listening.py`, `describing.py`, `extracting.py`; things are answered here.
It sends nothing: `egress.py` guards what it says before it leaves. Next: `serve.py`, which replies.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Protocol

from edge_node.ask import Ask
from edge_node.closer import Closer
from edge_node.describing import Describes
from edge_node.extracting import Extracts
from edge_node.likening import Likens
from edge_node.listening import Listens
from edge_node.reading import Reads
from edge_node.scene import Scene
from edge_node.senses import Senses
from edge_node.verdict import illustrate, settle
from foveate import compare
from foveate.errors import FoveateError, InvalidInput
from foveate.facts import cannot_tell
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Outcome, Representation, Task, Tier
from foveate.recall import Sentences, joined, recall

_REPLY_S = 0.2  # kept back for guarding the answer and for its way


class Answerer(Protocol):
    """The seam for whatever answers: the embedded default here, a VLM elsewhere."""

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer; raises only when a DEVICE placement cannot be relayed."""
        ...


class EdgeAnswerer:
    """The embedded default: extractive, from facts and small networks; no VLM."""

    def __init__(
        self,
        *,
        memory: Memory,
        text: Sentences | None,
        ask: Ask,
        closer: Closer,
        scene: Scene | None = None,
        senses: Senses | None = None,
        detector: str = "",
    ) -> None:
        """`detector` is the `name@revision` of what `closer` looks with; without `scene` nothing read is remembered."""
        self._memory = memory
        self._text = text
        self._ask = ask
        self._closer = closer
        self._detector = detector
        senses = senses or Senses()
        self._reads = Reads(scene=scene, closer=closer, reader=senses.reader)
        heard = {"voice": senses.voice, "recogniser": senses.recogniser}
        self._listens = Listens(memory=memory, scene=scene, closer=closer, **heard)  # type: ignore[arg-type]
        self._describes = Describes(memory=memory, scene=scene, closer=closer)
        self._extracts = Extracts(self.answer)
        self._likens = Likens(memory=memory, scene=scene, text=text, closer=closer, encoder=senses.encoder)

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer from what the placement names; InvalidInput for a schema that cannot be used."""
        if request.placement.tier is Tier.DEVICE:
            return await self._ask.one(request)
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s - _REPLY_S)):
                return await self._by_task(request, began)
        except TimeoutError:
            return cannot_tell(request, "there was no time left to answer; ask again with a later deadline")
        except InvalidInput:
            raise
        except FoveateError as error:
            return cannot_tell(request, error.message)

    async def _by_task(self, request: AnswerRequest, began: float) -> Answer:
        match request.understanding.task:
            case Task.READ:
                return await self._reads.answer(request, await self._seen(request))
            case Task.LISTEN:
                return await self._listens.answer(request)
            case Task.DESCRIBE | Task.SUMMARISE:
                return await self._describes.answer(request, await self._seen(request))
            case Task.EXTRACT:
                return await self._extracts.answer(request)
            case Task.COMPARE:
                return await self._compared(request, began)
            case _:
                return await self._about(request, began)

    async def _about(self, request: AnswerRequest, began: float) -> Answer:
        """Presence, count and find."""
        wanted, form = request.understanding, request.placement.representation
        if not wanted.labels:
            return await self._likens.answer(request)
        if wanted.zones:
            remembered = await self._recalled(request)
            why = "only the device knows where its zones are, so this is what memory says" if form > 2 else ""
            return replace(remembered, reason=joined(remembered.reason, why))
        if form <= Representation.EMBEDDING:
            live = wanted.now and not wanted.colours and wanted.task in (Task.PRESENCE, Task.COUNT)
            return await (self._live(request) if live else self._recalled(request))
        remembered = await self._recalled(request)
        left = request.time_left_s - (time.monotonic() - began)
        return await self._closer_look(replace(request, time_left_s=left), remembered)

    async def _compared(self, request: AnswerRequest, began: float) -> Answer:
        """Counted at one moment each side is looked at; over a longer time only memory has seen it all."""
        if compare.refusal(request) or not compare.at_a_moment(request):
            return await self._recalled(request)
        sides = [compare.side_request(request, side) for side in request.understanding.sides]
        return compare.from_counts(request, await asyncio.gather(*(self._about(side, began) for side in sides)))

    async def _live(self, request: AnswerRequest) -> Answer:
        answer = await self._ask.all(request)
        if answer.outcome is Outcome.ANSWERED:
            return answer
        remembered = await self._recalled(request)
        return replace(remembered, reason=joined(remembered.reason, answer.reason))

    async def _recalled(self, request: AnswerRequest) -> Answer:
        try:
            return await recall(request, self._memory, self._text)
        except FoveateError as error:
            return cannot_tell(request, error.message)

    async def _seen(self, request: AnswerRequest) -> Answer:
        """Where the subject was seen, for tasks that look at it closely."""
        if not request.understanding.labels:
            return cannot_tell(request, "")
        wanted = replace(request.understanding, task=Task.PRESENCE, colours=())
        return await self._recalled(replace(request, understanding=wanted))

    async def _closer_look(self, request: AnswerRequest, remembered: Answer) -> Answer:
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s - 2 * _REPLY_S)):
                looked, missing = await self._closer.look(request, remembered)
        except TimeoutError:
            why = "the pictures did not come and could not be looked at in time; this is what memory alone says"
            return replace(remembered, reason=joined(remembered.reason, why))
        shown = [one for one in looked if one.seen]
        missing += [f"{one.window.device_id} recorded no picture then" for one in looked if not one.seen]
        moved = sum(one.header.size_bytes for one in looked)
        if not shown:
            reason = joined(remembered.reason, *missing, "this is what memory alone says")
            return replace(remembered, reason=reason, moved_bytes=moved)
        representation = request.placement.representation
        if representation is Representation.REDACTED_FRAMES and "person" in request.understanding.labels:
            why = "people cannot be verified on REDACTED_FRAMES, so this is what memory says"
            answer = illustrate(remembered, shown, representation=representation, why=why)
        else:
            answer = settle(request, remembered, shown)
        return replace(answer, reason=joined(answer.reason, *missing), moved_bytes=moved, model=self._detector)
