"""Answers by a vision-language model, around those of the embedded answerer: looks, shows, asks, checks, weighs.

In: a placed question that pictures may answer. Out: the model's answer weighed against the embedded one, or the
embedded one with the reason why the model's is missing: late, nonsense, refused, overloaded. It never invents one.
What is quoted to the model is data. Next: `serve.py`. It uses `show.py`, `typed.py`, `gate.py`, `agree.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from edge_node import agree, schema
from edge_node.answer import Answerer
from edge_node.closer import Looked
from edge_node.gate import Decision, Gate, total
from edge_node.recollect import Recollect, Remembers
from edge_node.show import Allowance, LookOnce, Sheet, sheet
from edge_node.typed import Form, form_by, form_of
from edge_node.vlm.configure import Opened
from edge_node.vlm.seam import Prompt
from foveate import compare
from foveate.errors import FoveateError, InvalidInput, NotFound
from foveate.facts import between, cannot_tell, clock
from foveate.messages import Answer, AnswerRequest, ClipHeader, Outcome, Place, Representation, Task, Tier
from foveate.recall import joined
from foveate.wire.questions import MAX_SAID

logger = logging.getLogger(__name__)

TASKS = (
    Task.PRESENCE,
    Task.COUNT,
    Task.FIND,
    Task.READ,
    Task.COMPARE,
    Task.DESCRIBE,
    Task.SUMMARISE,
    Task.EXTRACT,
)
"""What a model is asked; listening is not among them, since it hears nothing."""

_REPLY_S = 0.3  # kept back for weighing, guarding and the way
_LEAST_S = 1.0  # of what is left, for asking a model to be worth it
_FIRST = 0.5  # share of the time that the embedded answer may take
_SHOWN_MORE = 4  # times its budget of tokens that a model in this process is shown
_PARTS = "\nA picture with the camera and time of the one before it is an enlarged part of that one."


class Releases(Protocol):
    """The site's guard over what leaves it; `edge_node.egress.Egress` is one."""

    def check_clip(self, device_id: str, representation: Representation, destination: Place) -> Any:  # noqa: ANN401
        """The verdict that lets pictures go there; raises Refused, naming the rule."""
        ...

    async def record_clip(self, header: ClipHeader, destination: Place, verdict: Any) -> None:  # noqa: ANN401
        """Keeps that they left; raises Unreachable when it cannot."""
        ...

    async def record_words(self, device_id: str, words: Sequence[str], destination: Place, question_id: str) -> None:
        """Keeps that what was read and said left; as `record_clip`."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """A model as an answerer uses it: its gate, whether it takes pictures, where it stands and what it costs.

    `place` empty is outside of every legal area. `prices` are US dollars for a million tokens, `prompt` and `written`.
    """

    gate: Gate
    sees: bool
    place: Place
    allowance: Allowance = field(default_factory=Allowance)
    prices: Mapping[str, float] = field(default_factory=dict)


class VlmAnswerer:
    """An `Answerer` around another one; what concerns no model goes straight through."""

    def __init__(
        self,
        *,
        inner: Answerer,
        model: Model,
        looks: LookOnce,
        recollect: Recollect,
        releases: Releases,
        here: Place,
    ) -> None:
        """`looks` is the one that `inner` looks through, so that no clip is fetched twice."""
        self._inner = inner
        self._recollect = recollect
        self._model = model
        self._looks = looks
        self._releases = releases
        self._off_site = (model.place.region, model.place.site_id) != (here.region, here.site_id)

    async def answer(self, request: AnswerRequest) -> Answer:
        """The weighed answer; InvalidInput names the field of a schema that cannot be used."""
        if not _concerned(request):
            return await self._inner.answer(request)
        began, text = time.monotonic(), request.question.constraints.answer_schema
        wanted = await asyncio.to_thread(schema.parse, text) if _extracts(request) else None
        with self._looks.keeping(request):
            embedded = await self._embedded(request)
            left = request.time_left_s - (time.monotonic() - began) - _REPLY_S
            try:
                if left < _LEAST_S:
                    raise TimeoutError
                async with asyncio.timeout(left):
                    seen = await self._seen(replace(request, time_left_s=left), embedded, wanted)
            except TimeoutError:
                return _alone(embedded, f"there was no time for the model {self._model.gate.tag}")
            except FoveateError as error:
                logger.warning("the model gave no answer", extra={"why": error.reason, "model": self._model.gate.tag})
                return _alone(embedded, error.message)
        return agree.settle(request, embedded, seen)

    async def _embedded(self, request: AnswerRequest) -> Answer:
        """What facts and the detector say; a model may know more, so it does not hang on them."""
        limit = request.time_left_s * _FIRST
        try:
            async with asyncio.timeout(limit):
                return await self._inner.answer(replace(request, time_left_s=limit))
        except TimeoutError:
            return cannot_tell(request, "memory and the detector did not answer in time")
        except InvalidInput:
            raise
        except FoveateError as error:
            return cannot_tell(request, error.message)

    async def _seen(self, request: AnswerRequest, embedded: Answer, wanted: schema.Schema | None) -> Answer:
        """What the model says, typed, with the pictures that it was shown as evidence."""
        began = time.monotonic()
        pictures, missing, moved = await self._pictures(request, embedded)
        heard = await self._quotes(request, embedded)
        if not pictures.shown and not heard:
            raise NotFound(joined(*missing) or "There is nothing to show to the model; ask about another time.")
        task, pick = request.understanding.task, request.understanding.pick
        form = form_by(wanted) if wanted else form_of(task, pictures=len(pictures.shown), pick=pick)
        left = request.time_left_s - (time.monotonic() - began)
        decision = await self._model.gate.decide(
            _prompt(request, form, pictures, heard), task, form.read, timeout=max(0.1, left)
        )
        _note(request, self._model.gate.tag, decision)
        answer = await asyncio.to_thread(_said, request, decision, pictures)
        return replace(
            answer,
            evidence=answer.evidence or tuple(piece for piece in embedded.evidence if piece.quote),
            reason=joined(answer.reason, *decision.notes, *missing),
            moved_bytes=moved,
            model=self._model.gate.tag,
            tokens=decision.tokens,
            cost_usd=total(self._model.prices, decision.tokens),
        )

    async def _pictures(self, request: AnswerRequest, embedded: Answer) -> tuple[Sheet, list[str], int]:
        """What may be shown, one sentence for each camera of which nothing is, and the bytes that were fetched."""
        if not self._model.sees:
            return Sheet((), (), enlarged=False), [f"the model {self._model.gate.tag} takes no pictures"], 0
        looked, missing = await self._looked(request, embedded)
        moved = sum(one.header.size_bytes for one in looked)
        looked = [*looked, *await self._recollect.looks(request)]
        missing = [*missing, *(f"{o.window.device_id} recorded no picture then" for o in looked if not o.seen)]
        allowed: list[Looked] = []
        for one in looked:
            refusal = await self._released(request, one) if one.seen else ""
            if refusal:
                missing.append(f"{one.window.device_id} is not shown to the model: {refusal}")
            elif one.seen:
                allowed.append(one)
        shown = await asyncio.to_thread(sheet, request.understanding.task, allowed, self._model.allowance)
        return shown, missing, moved

    async def _looked(self, request: AnswerRequest, embedded: Answer) -> tuple[list[Looked], list[str]]:
        """What the cameras show; of a comparison, both of its sides."""
        wanted, near = request.understanding, [(request, embedded)]
        if wanted.task is Task.COMPARE and wanted.sides:
            parts = [compare.side_request(request, side) for side in wanted.sides]
            near = [(part, _within(part, embedded)) for part in parts if part.device_ids]
        results = await asyncio.gather(*(self._looks.look(part, known) for part, known in near))
        return [one for looked, _ in results for one in looked], [why for _, missing in results for why in missing]

    async def _released(self, request: AnswerRequest, looked: Looked) -> str:
        """Why pictures of this clip may not go to where the model stands, empty when they may; kept when they leave."""
        form = min(request.placement.representation, Representation.FRAMES)
        try:
            verdict = self._releases.check_clip(looked.window.device_id, form, self._model.place)
            if self._off_site:
                header = replace(looked.header, representation=form)
                await self._releases.record_clip(header, self._model.place, verdict)
        except FoveateError as error:
            return error.message
        return ""

    async def _quotes(self, request: AnswerRequest, embedded: Answer) -> tuple[str, ...]:
        """What was read and said, as far as it may go to where the model stands; kept when it leaves."""
        told = [q for q in await self._recollect.quotes(request, embedded) if self._may_be_told(q.device_id)]
        if self._off_site:
            # Of what was carried here from another site the rules are not known here.
            told = [quote for quote in told if quote.device_id in request.device_ids]
            for device in dict.fromkeys(q.device_id for q in told):
                words = [str(q) for q in told if q.device_id == device]
                await self._releases.record_words(device, words, self._model.place, request.question.question_id)
        return tuple(map(str, told))

    def _may_be_told(self, device_id: str) -> bool:
        try:
            self._releases.check_clip(device_id, Representation.FACTS, self._model.place)
        except FoveateError:
            return False
        return True


def with_model(
    inner: Answerer,
    opened: Opened,
    *,
    looks: LookOnce,
    scene: Remembers | None,
    releases: Releases,
    here: Place,
) -> VlmAnswerer:
    """`inner` with the configured model around it; one in this process stands at the site itself."""
    config = opened.config
    allowance = config.allowance
    if config.weights is not None:
        # Of what a model in this process is shown, LongVU's stages keep what fits its budget.
        allowance = replace(allowance, budget=_SHOWN_MORE * allowance.budget)
    model = Model(
        gate=Gate(opened.vlm, thresholds=config.thresholds, most_thinking=config.most_thinking),
        sees=opened.vlm.sees,
        place=config.server.place if config.server else here,
        allowance=allowance,
        prices=config.prices,
    )
    recollect = Recollect(scene)
    return VlmAnswerer(inner=inner, model=model, looks=looks, recollect=recollect, releases=releases, here=here)


def _within(part: AnswerRequest, embedded: Answer) -> Answer:
    """The answer with that evidence alone which is of this part's time."""
    start, end = part.understanding.start, part.understanding.end
    return replace(embedded, evidence=tuple(one for one in embedded.evidence if one.end >= start and one.start <= end))


def _note(request: AnswerRequest, model: str, decision: Decision) -> None:
    """For the log, from which `tools/calibrate_gate.py` learns what the model's confidences are worth."""
    fields: dict[str, Any] = {
        "question_id": request.question.question_id,
        "task": request.understanding.task.value,
        "model": model,
        "raw": round(decision.raw, 6),
        "thought": decision.thought,
        "thinking": decision.tokens.thinking,
    }
    logger.info("the model decided", extra=fields)


def _concerned(request: AnswerRequest) -> bool:
    """Whether pictures may be looked at, and the task is one that a model can do."""
    placement, task = request.placement, request.understanding.task
    if placement.tier is not Tier.EDGE or placement.representation < Representation.REDACTED_FRAMES:
        return False
    return _extracts(request) if task is Task.EXTRACT else task in TASKS


def _extracts(request: AnswerRequest) -> bool:
    return request.understanding.task is Task.EXTRACT and bool(request.question.constraints.answer_schema)


def _prompt(request: AnswerRequest, form: Form, pictures: Sheet, heard: Sequence[str]) -> Prompt:
    wanted = request.understanding
    when = "now" if wanted.now else between(wanted.start, wanted.end)
    rules = f"{form.rules}\nThe question is about {when}."
    return Prompt(
        rules=rules + (_PARTS if pictures.enlarged else ""),
        question=request.question.text,
        shown=pictures.shown,
        heard=tuple(heard),
        schema=form.schema,
        most_tokens=form.most_tokens,
    )


def _said(request: AnswerRequest, decision: Decision, pictures: Sheet) -> Answer:
    """The model's typed answer in the project's words; encodes JPEGs, so it blocks."""
    task, reading = request.understanding.task, decision.reading
    if reading.value is None:
        return cannot_tell(request, "the model cannot tell it from what it was shown")
    there = bool(reading.value) and task in (Task.PRESENCE, Task.COUNT)
    boxes, form = there or task is Task.FIND, request.placement.representation
    evidence = pictures.evidence(reading.picture, form, boxes=boxes, rather_boxed=there)
    place = evidence[0] if evidence else None
    at = f" ({place.device_id}, {clock(place.start)})" if place and (reading.picture or there) else ""
    value: Any = evidence[0].start if task is Task.FIND else reading.value
    share = _share(request, pictures) if reading.value is False or task in (Task.COUNT, Task.FIND) else 1.0
    answer = Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=(_worded(request, value) + at)[:MAX_SAID] + ("" if task in _WORDS else "."),
        # Of what was not shown the model knows as much as a coin.
        confidence=min(decision.confidence, 0.5 + (decision.confidence - 0.5) * share),
        value=value,
        evidence=evidence,
        placement=request.placement,
    )
    if task is Task.EXTRACT:
        return replace(answer, text="The document holds what the pictures show.", value=None, document=reading.value)
    return answer


_WORDS = (Task.READ, Task.COMPARE, Task.DESCRIBE, Task.SUMMARISE, Task.EXTRACT)


def _worded(request: AnswerRequest, value: bool | int | float | str) -> str:
    wanted = request.understanding
    subject = wanted.subject or (wanted.labels[0] if wanted.labels else "it")
    match wanted.task:
        case Task.PRESENCE:
            return f"{'Yes' if value else 'No'}: the model {'sees' if value else 'does not see'} {subject}"
        case Task.COUNT:
            return f"{value} ({subject}), counted by the model"
        case Task.FIND:
            return f"{subject.capitalize()}: the model sees it at {clock(float(value))}"
        case _:
            return str(value)


def _share(request: AnswerRequest, pictures: Sheet) -> float:
    """How much of what was asked about the pictures cover: of the cameras, and of the span."""
    wanted, windows = request.understanding, {look.window for look, _ in pictures.moments}
    if not windows:
        return 0.0
    cameras = min(1.0, len({window.device_id for window in windows}) / max(1, request.devices_in_scope))
    if wanted.now:
        return cameras
    covered = max(window.end - window.start for window in windows)
    return cameras * min(1.0, covered / max(wanted.end - wanted.start, 1e-3))


def _alone(embedded: Answer, why: str) -> Answer:
    """The embedded answer, with the reason why no model speaks."""
    return replace(embedded, reason=joined(embedded.reason, why))
