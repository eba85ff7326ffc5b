"""12: the cloud's own answer, from the events of all sites that let them out.

In: a question that the router placed here. Out: an answer that names sites and says what it does not cover.
It sees facts and embeddings, never pictures, and asks nobody. Next: `serve.py`, which hands it to the router.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from cloud_service.liveness import Liveness
from cloud_service.registry import Registry
from foveate.errors import NotFound, NotSupported, Refused
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Device, Outcome, Pick, Place, Representation, Site, Task, Tier
from foveate.recall import Sentences, recall
from foveate.residency import Origin, ResidencyPolicy, Verdict, decide
from foveate.wire import utc

_FORMS = (Representation.FACTS, Representation.EMBEDDING)
_LATE_SECONDS = 6.0  # a site that was heard of so shortly before a moment was there at that moment


class Reason:
    """Answers from the cloud's memory; the policy is asked once more before anything leaves for the asker."""

    def __init__(
        self,
        *,
        memory: Memory,
        registry: Registry,
        liveness: Liveness,
        policy: ResidencyPolicy,
        text: Sentences | None,
    ) -> None:
        self._memory = memory
        self._registry = registry
        self._liveness = liveness
        self._policy = policy
        self._text = text

    async def answer(self, request: AnswerRequest) -> Answer:
        """NotSupported for another tier or a form with pictures, NotFound for an unknown device, Refused when no
        device in it may be told of where the asker is."""
        _refuse_unsupported(request)
        known = {device.device_id: device for device in await self._registry.devices()}
        devices = [_known(known, device_id) for device_id in request.device_ids]
        verdicts = {device.device_id: self._verdict(device, request.question.asker) for device in devices}
        told = [device for device in devices if verdicts[device.device_id].allowed]
        if devices and not told:
            raise _refusal(devices, verdicts)
        answer = await recall(replace(request, device_ids=tuple(d.device_id for d in told)), self._memory, self._text)
        kept = [f"{d.device_id} is left out by the rule {verdicts[d.device_id].rule}" for d in devices if d not in told]
        sites = {site.site_id: self._liveness.of_site(site) for site in await self._registry.sites()}
        answer = unsure_of_silent(answer, request, devices=told, sites=sites)
        return with_sites(replace(answer, reason="; ".join(filter(None, (answer.reason, *kept)))), told)

    def _verdict(self, device: Device, asker: Place | None) -> Verdict:
        origin = Origin(device.region, device.site_id, device.device_id, device.labels)
        # Without a place the asker is outside every region: the strictest reading.
        return decide(self._policy, origin=origin, representation=Representation.FACTS, destination=asker or Place())


def unsure_of_silent(
    answer: Answer, request: AnswerRequest, *, devices: list[Device], sites: Mapping[str, Site]
) -> Answer:
    """The answer with less confidence when sites in it were silent: what they saw may still be on its way.

    That something was seen stays as sure as it was; that nothing, how many, or which was last, does not.
    """
    seen = answer.value is True and request.understanding.task is Task.PRESENCE
    unmoved = seen or (answer.value is not None and _is_found(request))
    if answer.outcome is not Outcome.ANSWERED or unmoved:
        return answer
    end = min(request.understanding.end, request.question.ask_time)
    silent = {name for name, site in sites.items() if site.seen is None or site.seen < end - _LATE_SECONDS}
    behind = [device for device in devices if device.site_id in silent]
    if not behind:
        return answer
    words = [_silence(sites[name]) for name in sorted({device.site_id for device in behind})]
    return replace(
        answer,
        confidence=answer.confidence * (1 - len(behind) / len(devices)),
        reason="; ".join(filter(None, (answer.reason, *words))),
    )


def with_sites(answer: Answer, devices: list[Device]) -> Answer:
    """The answer with "DEVICE at SITE" for each device in its words, when several sites are in it."""
    site_of = {device.device_id: device.site_id for device in devices}
    if len(set(site_of.values())) < 2:
        return answer
    names = "|".join(map(re.escape, sorted(site_of, key=len, reverse=True)))
    whole = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])")

    def named(words: str) -> str:
        return whole.sub(lambda found: f"{found[0]} at {site_of[found[0]]}", words)

    return replace(answer, text=named(answer.text), reason=named(answer.reason))


def _is_found(request: AnswerRequest) -> bool:
    wanted = request.understanding
    return wanted.task is Task.FIND and wanted.pick is Pick.ANY


def _silence(site: Site) -> str:
    when = "never" if site.seen is None else f"last at {utc(site.seen):%Y-%m-%d %H:%M:%S} UTC"
    return f"the site {site.site_id} was heard of {when}, so what it saw may not be here"


def _refuse_unsupported(request: AnswerRequest) -> None:
    placement = request.placement
    if placement.tier is not Tier.CLOUD:
        raise NotSupported(f"This is the cloud; ask the {placement.tier} {placement.node} itself.")
    if placement.representation not in _FORMS:
        raise NotSupported(
            f"The cloud answers from FACTS and EMBEDDING, not from {placement.representation.name}; ask the edge."
        )


def _known(known: Mapping[str, Device], device_id: str) -> Device:
    if device_id not in known:
        raise NotFound(
            f"No device is called {device_id}; known devices are {', '.join(sorted(known)[:20]) or 'none'}.",
            device=device_id,
        )
    return known[device_id]


def _refusal(devices: list[Device], verdicts: Mapping[str, Verdict]) -> Refused:
    verdict = verdicts[devices[0].device_id]
    names = ", ".join(device.device_id for device in devices)
    return Refused(
        f"What {names} saw may not be told there: {verdict.reason(Representation.FACTS)}; ask from within it.",
        rule=verdict.rule,
    )
