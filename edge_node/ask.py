"""Asking the site's devices about this very moment, side by side, and fusing what they say.

In: a placed question. Out: one `Answer` of all devices in scope, or of the one device that was named. A device that
does not answer costs confidence, never an exception. It moves no clip and reads no memory. Next: `answer.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace

from foveate import subjects
from foveate.bus import Bus
from foveate.errors import FoveateError
from foveate.facts import cannot_tell
from foveate.messages import Answer, AnswerRequest, Outcome, Placement, Representation, Task, Tier
from foveate.v1 import answer_service_pb2 as pb
from foveate.wire import answer_of, failure_of, parse, request_to

_MARGIN_S = 0.05  # kept back for the way to whoever asked
_MOST_EVIDENCE = 3  # pictures of one reply: three of 256 KiB fit into a message of 1 MiB


class Ask:
    """Relays placed questions to devices over the LOCAL account."""

    def __init__(self, *, local: Bus, site: str) -> None:
        self._local = local
        self._site = site

    async def one(self, request: AnswerRequest) -> Answer:
        """The answer of the device that the placement names; raises Unreachable or the device's own error."""
        device = subjects.checked_name(request.placement.node, what="device")
        asked = request_to(request).SerializeToString()
        timeout = max(0.1, request.time_left_s - _MARGIN_S)
        reply = await self._local.request(subjects.device_ask(self._site, device), asked, timeout=timeout)
        response = parse(pb.AnswerServiceAnswerResponse, reply)
        if response.WhichOneof("result") == "failure":
            raise failure_of(response.failure)
        answer = answer_of(response.answer)
        # A device speaks for itself: not for its neighbours, nor for the site's uplink.
        own = tuple(piece for piece in answer.evidence if piece.device_id == device)
        return replace(answer, evidence=own, alone=False)

    async def all(self, request: AnswerRequest) -> Answer:
        """The devices' answers about now as one; CANNOT_TELL when none of them knows."""
        results = await asyncio.gather(*(self._try(request, device) for device in request.device_ids))
        answers = {d: r for d, r in zip(request.device_ids, results, strict=True) if isinstance(r, Answer)}
        silent = {d: r for d, r in zip(request.device_ids, results, strict=True) if isinstance(r, str)}
        return fuse(request, answers, silent)

    async def _try(self, request: AnswerRequest, device: str) -> Answer | str:
        single = replace(
            request,
            placement=Placement(Tier.DEVICE, device, Representation.FACTS),
            device_ids=(device,),
            devices_in_scope=1,
            carried=(),
        )
        try:
            answer = await self.one(single)
        except FoveateError as error:
            return error.message
        return answer if answer.outcome is Outcome.ANSWERED else answer.reason or answer.text


def fuse(request: AnswerRequest, answers: Mapping[str, Answer], silent: Mapping[str, str]) -> Answer:
    """One answer from those of several devices; `silent` says why each of the others has none. Pure."""
    reason = "; ".join(f"{device}: {why}" for device, why in silent.items())
    if not answers:
        return cannot_tell(request, reason or "no device is in scope")
    share = len(answers) / max(1, request.devices_in_scope, len(request.device_ids))
    if share < 1.0:
        reason = "; ".join(filter(None, (reason, f"{len(answers)} of {request.devices_in_scope} devices answered")))
    build = _presence if request.understanding.task is Task.PRESENCE else _count
    answer = build(answers, share)
    pieces = [piece for one in answers.values() for piece in one.evidence]
    shown = sorted(pieces, key=lambda piece: -max((s.score for s in piece.sightings), default=0.0))[:_MOST_EVIDENCE]
    return replace(
        answer,
        question_id=request.question.question_id,
        placement=request.placement,
        evidence=tuple(shown),
        reason=reason,
        moved_bytes=sum(one.moved_bytes for one in answers.values()),
        cost_usd=sum(one.cost_usd for one in answers.values()),
    )


def _presence(answers: Mapping[str, Answer], share: float) -> Answer:
    """P = 1 - prod(1 - p): there when it is in view of any; its absence is only as sure as the cameras are many."""
    absent = math.prod(1.0 - one.confidence if one.value else one.confidence for one in answers.values())
    value = absent < 0.5
    chosen = [one for one in answers.values() if bool(one.value) is value] or list(answers.values())
    confidence = 1.0 - absent if value else absent * share
    return _said(" ".join(one.text for one in chosen), value, confidence)


def _count(answers: Mapping[str, Answer], share: float) -> Answer:
    """The sum; right when every camera's count is right, so the odds multiply."""
    number = sum(int(one.value or 0) for one in answers.values())
    sure = math.prod(one.confidence for one in answers.values()) * share
    if len(answers) == 1:
        return _said(next(iter(answers.values())).text, number, sure)
    each = ", ".join(f"{int(one.value or 0)} by {device}" for device, one in answers.items())
    return _said(f"{number} now: {each}. Views of cameras may overlap.", number, sure)


def _said(text: str, value: bool | int, confidence: float) -> Answer:
    return Answer("", Outcome.ANSWERED, text, min(0.99, confidence), value=value)
