"""9 place: what may be tried for a question, and in which order.

In: a reading and a `Situation` (fleet, rules, limits left). Out: a `Placing`: the plan that people see, the candidates
behind it, and how the question ends when there are none. Residency, capability, health, time and money filter, in this
order, each with a reason in words; they are never weighed. `check` runs again before every step.
It knows no answers; `choose` puts in order what is left and `settle` is next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.messages import (
    Outcome,
    Place,
    Placement,
    Plan,
    PlannedPlacement,
    Question,
    RejectedPlacement,
    Representation,
    Tier,
    Understanding,
)
from foveate.residency import ResidencyPolicy
from router.able import inability, unseen_sides
from router.candidates import PIXELS, Candidate, Expectations, candidates
from router.choose import choose
from router.scope import FleetView, InScope, in_scope, travels
from router.understand import Reading


@dataclass(frozen=True, slots=True)
class Situation:
    """What holds right now: the fleet, the rules, where the router and its cloud stand, and what is left to spend.

    `cloud` is None where the cloud stands beside the router.
    """

    view: FleetView
    residency: ResidencyPolicy
    here: Place
    expectations: Expectations
    seconds_left: float
    usd_left: float
    cloud: Place | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate that may not be tried; `capable` tells whether its node could have answered it at all.

    `rule` may be empty although residency decided: what no rule mentions stays on the device.
    """

    placement: Placement
    reason: str
    rule: str = ""
    capable: bool = True
    by_residency: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a question ends that has nothing to try."""

    outcome: Outcome
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Placing:
    """A plan with the candidates behind it: `allowed` in order of the plan, then the others that may be tried.

    `ending` is None unless nothing may be tried.
    """

    plan: Plan
    order: tuple[Candidate, ...]
    allowed: tuple[Candidate, ...]
    scope: InScope
    ending: Ending | None = None


def destinations(question: Question, here: Place) -> tuple[Place, ...]:
    """All places that an answer passes: this router, and where the asker is."""
    return (here, question.asker) if question.asker is not None else (here,)


def place(question: Question, reading: Reading, situation: Situation) -> Placing:
    """The placements for a question, filtered and put in order; NotFound for a scope that names nothing known."""
    scope = in_scope(
        situation.view,
        question.scope,
        mentioned=reading.device_ids,
        policy=situation.residency,
        destinations=destinations(question, situation.here),
    )
    understanding = reading.understanding
    allowed: list[Candidate] = []
    rejected: list[Rejection] = []
    if scope.devices:
        for candidate in candidates(understanding, scope.devices, cloud=situation.cloud or situation.here):
            checked = check(candidate, understanding, situation)
            if isinstance(checked, Candidate):
                allowed.append(checked)
            else:
                rejected.append(checked)
    weighed = _with_pictures(allowed) if reading.shown else allowed
    policy = situation.expectations.policy
    order = choose(weighed, policy=policy, seconds=situation.seconds_left, usd=situation.usd_left)
    others = [c for c in allowed if c.placement not in {chosen.placement for chosen in order}]
    ending = None if order else _ending(scope, rejected, understanding)
    spare = [Rejection(c.placement, _spare_because(c, weighed)) for c in others]
    plan = Plan(
        question_id=question.question_id,
        understanding=understanding,
        placements=tuple(_planned(candidate, index) for index, candidate in enumerate(order)),
        rejected=tuple(RejectedPlacement(r.placement, r.reason, r.rule) for r in (*rejected, *spare)),
        reason=ending.reason if ending else _why(order),
        left_out=tuple(str(left) for left in scope.left_out),
    )
    return Placing(plan=plan, order=order, allowed=(*order, *others), scope=scope, ending=ending)


def _with_pictures(allowed: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those that can show something; all of them when no picture may be had."""
    return [c for c in allowed if c.placement.representation in PIXELS] or allowed


def _spare_because(candidate: Candidate, weighed: Sequence[Candidate]) -> str:
    if candidate in weighed:
        return "it may be tried, but would gain less than it costs"
    form = candidate.placement.representation.name
    return f"{form} holds no picture, and the question asks to be shown; tried when the pictures fail"


def check(candidate: Candidate, understanding: Understanding, situation: Situation) -> Candidate | Rejection:
    """The candidate with the devices it may look at and what is expected of it, or why it may not be tried."""
    unable = inability(candidate, understanding, situation.expectations.policy)
    allowed = _resident(candidate, understanding, situation)
    if isinstance(allowed, Rejection):
        return replace(allowed, capable=not unable)
    if unable:
        return Rejection(candidate.placement, unable, capable=False)
    healthy = _healthy(allowed, understanding, situation.view)
    if isinstance(healthy, Rejection):
        return healthy
    expected = situation.expectations.of(healthy, understanding)
    reason = _limits(expected, situation)
    return Rejection(candidate.placement, reason) if reason else expected


def _resident(candidate: Candidate, u: Understanding, situation: Situation) -> Candidate | Rejection:
    """The candidate with the devices whose data may reach its node in this form; a comparison needs all it names."""
    representation = candidate.placement.representation
    verdicts = [
        (
            device,
            travels(situation.residency, device=device, representation=representation, destinations=[candidate.place]),
        )
        for device in candidate.devices
    ]
    devices = tuple(device for device, verdict in verdicts if verdict.allowed)
    needed = unseen_sides(u, devices)
    denied = next((pair for pair in verdicts if pair[0].device_id in needed), None)
    if devices and denied is None:
        return replace(candidate, devices=devices)
    device, verdict = denied or verdicts[0]
    reason = f"{device.device_id}: {verdict.reason(representation)}"
    return Rejection(candidate.placement, reason, rule=verdict.rule, by_residency=True)


def _healthy(candidate: Candidate, u: Understanding, view: FleetView) -> Candidate | Rejection:
    """The candidate with the devices that can be reached, where it needs them."""
    tier, form = candidate.placement.tier, candidate.placement.representation
    if tier is Tier.CLOUD and not view.cloud_answers:
        return Rejection(candidate.placement, "the cloud does not answer")
    if tier is not Tier.CLOUD and not view.site_online(candidate.devices[0].site_id):
        return Rejection(candidate.placement, f"site {candidate.devices[0].site_id} is offline")
    if not u.now and form not in PIXELS:
        return candidate
    online = tuple(device for device in candidate.devices if view.online(device))
    missing = unseen_sides(u, online)
    if online and not missing:
        return replace(candidate, devices=online)
    silent = dict.fromkeys(device.site_id for device in candidate.devices)
    if not any(view.site_online(site) for site in silent):
        return Rejection(candidate.placement, f"site {', '.join(silent)} is offline")
    names = ", ".join(missing or candidate.device_ids)
    what = "there is no view of now" if u.now else "its recording cannot be fetched"
    return Rejection(candidate.placement, f"{names} offline: {what}")


def _limits(candidate: Candidate, situation: Situation) -> str:
    """Which limit the candidate would break, empty when none."""
    if candidate.latency_q95_s > situation.seconds_left:
        return f"may take {candidate.latency_q95_s:.1f} s and {max(0.0, situation.seconds_left):.1f} s are left"
    if candidate.cost_usd > situation.usd_left:
        return f"would cost {candidate.cost_usd:.6f} USD and {max(0.0, situation.usd_left):.6f} USD are left"
    return ""


def _ending(scope: InScope, rejected: Sequence[Rejection], u: Understanding) -> Ending:
    """How it ends when nothing is left: a rule's refusal when a rule stands in the way of what could answer."""
    needed = unseen_sides(u, scope.devices)
    first = next((left for left in scope.left_out if not scope.devices or left.device.device_id in needed), None)
    if first is not None:
        reason = f"{first.device.device_id}: {first.verdict.reason(Representation.FACTS)}"
        return Ending(Outcome.REFUSED, reason, first.verdict.rule)
    refused = next((r for r in rejected if r.by_residency and r.capable), None)
    if refused is not None:
        return Ending(Outcome.REFUSED, refused.reason, refused.rule)
    # What stood in the way of nodes that could answer says more than what others cannot do.
    telling = [r for r in rejected if r.capable] or [r for r in rejected if not r.by_residency] or rejected
    reasons = dict.fromkeys(r.reason for r in telling)
    return Ending(Outcome.CANNOT_TELL, "; ".join(list(reasons)[:2]))


def _planned(candidate: Candidate, index: int) -> PlannedPlacement:
    missing = candidate.in_scope - len(candidate.devices)
    sees = f", sees {len(candidate.devices)} of {candidate.in_scope} devices" if missing else ""
    turn = "tried first" if index == 0 else f"tried if step {index} leaves doubt"
    return PlannedPlacement(
        placement=candidate.placement,
        latency_q95_s=candidate.latency_q95_s,
        cost_usd=candidate.cost_usd,
        confidence=candidate.confidence,
        reason=f"{turn}: expected {candidate.confidence:.2f} sure within {candidate.latency_q95_s:.1f} s{sees}",
    )


def _why(order: Sequence[Candidate]) -> str:
    return f"{len(order)} to try, in the order with the least expected cost of errors, waiting and work"
