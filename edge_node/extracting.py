"""7, answer, extract: a JSON document that fulfils the asker's schema, filled from evidence alone.

In: a placed question with a schema. Out: an `Answer` whose document fulfils it, or "cannot tell" with the properties
that no evidence fills. Each property is bound by its name and type to one question of another task; what cannot be
bound is left out, or null where the schema takes that. Next: `answer.py`, which answers those questions too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_node import schema
from edge_node.binding import Bound, bound, resolved, takes
from foveate.facts import cannot_tell
from foveate.messages import Answer, AnswerRequest, Evidence, Outcome, Representation, Task
from foveate.recall import joined
from foveate.wire import utc

LEAST = 0.5
"""Least confidence of an answer that fills a property."""

MOST = 12
"""Questions that one document may need."""

_DEEPEST = 3
_MOST_EVIDENCE = 16
_PIXEL_TASKS = (Task.READ, Task.LISTEN, Task.DESCRIBE)
_NOTHING = object()

Answers = Callable[[AnswerRequest], Awaitable[Answer]]


@dataclass(slots=True)
class _Filling:
    """What was found so far: each question is asked once, however many properties need it."""

    request: AnswerRequest
    root: Mapping[str, Any]
    asked: dict[Bound, Answer]
    used: dict[Bound, Answer]
    missing: list[str]


class Extracts:
    """Fills documents by asking the site's own answers, one question for each property."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def answer(self, request: AnswerRequest) -> Answer:
        """The document as `Answer.document`; InvalidInput names the field of a schema that cannot be used."""
        text = request.question.constraints.answer_schema
        if not text:
            return cannot_tell(request, "set a JSON Schema for the answer, and its properties are filled from evidence")
        wanted = schema.parse(text)
        filling = _Filling(request, wanted.document, {}, {}, [])
        document = await self._object(filling, wanted.document, (), 0)
        why = f"no evidence fills {', '.join(dict.fromkeys(filling.missing))}" if filling.missing else ""
        if not filling.used:
            return cannot_tell(request, why or "the schema has no property that evidence can fill")
        written = json.dumps(document, ensure_ascii=False)
        mistakes = wanted.mistakes(document)
        if len(written) > schema.MOST_CHARACTERS:
            mistakes = ("the document is too long",)
        if mistakes:
            return cannot_tell(request, joined("; ".join(mistakes), why), evidence=_evidence(filling))
        return _documented(filling, written, why)

    async def _object(
        self, filling: _Filling, part: Mapping[str, Any], path: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, below in part.get("properties", {}).items():
            inner = resolved(below, filling.root)
            value = await self._value(filling, inner, (*path, name), depth)
            if value is not _NOTHING:
                found[name] = value
            elif name in part.get("required", ()) and takes(inner, "null"):
                found[name] = None
            elif name in part.get("required", ()):
                filling.missing.append("/".join((*path, name)))
        return found

    async def _value(self, filling: _Filling, part: Mapping[str, Any], path: tuple[str, ...], depth: int) -> Any:  # noqa: ANN401  any JSON value
        if "const" in part:
            return part["const"]
        if "properties" in part:
            within = await self._object(filling, part, path, depth + 1) if depth < _DEEPEST else {}
            return within or _NOTHING
        what = bound(path, part, filling.request.understanding)
        if what is None:
            return _NOTHING
        answer = await self._asked(filling, what)
        if answer is None or answer.outcome is not Outcome.ANSWERED or answer.confidence < LEAST:
            return _NOTHING
        value = _as_json(what, answer, part)
        if value is not _NOTHING:
            filling.used[what] = answer
        return value

    async def _asked(self, filling: _Filling, what: Bound) -> Answer | None:
        key = replace(what, form="")
        if key not in filling.asked:
            if len(filling.asked) >= MOST:
                return None
            filling.asked[key] = await self._answers(_request(filling, what))
        return filling.asked[key]


def _request(filling: _Filling, what: Bound) -> AnswerRequest:
    """The question behind a property; facts answer what they can, so that a clip is pulled for colours and words."""
    request = filling.request
    understanding = replace(
        request.understanding,
        task=what.task,
        subject=what.labels[0] if what.labels else "",
        labels=what.labels,
        pick=what.pick,
        sides=(),
    )
    form = request.placement.representation
    if what.task not in _PIXEL_TASKS and not understanding.colours:
        form = Representation.FACTS
    return replace(
        request,
        understanding=understanding,
        question=replace(request.question, text=what.text),
        placement=replace(request.placement, representation=form),
        # What is asked first must not use up the time of what comes after it.
        time_left_s=request.time_left_s / 2,
    )


def _as_json(what: Bound, answer: Answer, part: Mapping[str, Any]) -> Any:  # noqa: ANN401  any JSON value
    value: Any = answer.value
    if what.form == "device":
        devices = {piece.device_id for piece in answer.evidence}
        return devices.pop() if len(devices) == 1 else _NOTHING
    if value is None:
        return _NOTHING
    if what.task is Task.FIND:
        if takes(part, "string"):
            return utc(float(value)).isoformat().replace("+00:00", "Z")
        return round(float(value), 3) if takes(part, "number") else round(float(value))
    if what.form == "list":
        return [piece.quote for piece in answer.evidence if piece.quote] or [str(value)]
    return value


def _documented(filling: _Filling, document: str, why: str) -> Answer:
    request = filling.request
    sure = 1.0
    for answer in filling.used.values():
        sure *= answer.confidence
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text="The document holds what the evidence shows.",
        confidence=min(0.99, sure),
        evidence=_evidence(filling),
        placement=request.placement,
        reason=joined(why, *(answer.reason for answer in filling.used.values()))[:1000],
        moved_bytes=sum(answer.moved_bytes for answer in filling.asked.values()),
        document=document,
        model=" + ".join(dict.fromkeys(answer.model for answer in filling.used.values() if answer.model)),
    )


def _evidence(filling: _Filling) -> tuple[Evidence, ...]:
    pieces = (piece for answer in filling.used.values() for piece in answer.evidence)
    return tuple(dict.fromkeys(pieces))[:_MOST_EVIDENCE]
