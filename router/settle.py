"""10 settle: after each answer, stop or go on; at the end, say what is known.

In: a placing and the answers of nodes as they come. Out: `Move`s (what to try next, with the steps to show) and the
final answer. Having an answer with confidence p it stops unless w(1-p) > cost + l*latency + w(1 - E[p_j | p]) for
some later placement j (algorithms 5.3). Every limit is checked again before each step, and a refusal is never worked
around. It knows no clock and no wire: `pipeline` asks the nodes in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.errors import FoveateError, Refused
from foveate.messages import Answer, Evidence, Outcome, Place, Representation, Step, StepState, Tier
from foveate.residency import ResidencyPolicy
from router.candidates import Candidate, checks_words
from router.choose import chance, choose, price
from router.judge import acceptable, beyond_sight, conclude, judged, rank, unchecked
from router.place import Placing, Rejection, Situation, check
from router.policy import GUESS, SURE, PlacementPolicy
from router.scope import travels
from router.understand import Reading

NODE_SILENT = "NODE_SILENT"
"""Reason of an error that tells that the node itself did not answer, whatever it would have worked from."""
_REACH = {Tier.DEVICE: 0, Tier.EDGE: 1, Tier.CLOUD: 2}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that would not release something, although the plan allowed it."""

    candidate: Candidate
    reason: str
    rule: str

    def covers(self, candidate: Candidate) -> bool:
        """Whether trying the candidate would get around it: as telling or more, at as wide a reach or wider."""
        mine, other = self.candidate.placement, candidate.placement
        return (
            bool(set(self.candidate.device_ids) & set(candidate.device_ids))
            and other.representation >= mine.representation
            and _REACH[other.tier] >= _REACH[mine.tier]
        )


@dataclass(frozen=True, slots=True)
class Move:
    """What happened last, as steps to show, an unsure answer in hand, and what to try next; None to stop.

    `seconds` is how long the next step may take, so that those planned after it keep their time.
    """

    steps: tuple[Step, ...] = ()
    partial: Answer | None = None
    candidate: Candidate | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Took:
    """What one step spent."""

    seconds: float
    usd: float


def gain(candidate: Candidate, *, p: float, tried: Sequence[Candidate], policy: PlacementPolicy) -> float:
    """US dollars that trying it is expected to bring with an answer of confidence p in hand; above 0 is worth it.

    It is w(1-p) - [cost + l*latency + w(1 - E[p_j | p])], where E is over the surer of the two answers.
    """
    sureness = min(1.0, max(0.0, (p - GUESS) / (SURE - GUESS)))
    sure = chance(candidate, tried=tried, sureness=sureness, policy=policy)
    expected = sure * max(SURE, p) + (1.0 - sure) * p
    return policy.error_usd * (expected - p) - price(candidate, policy)


class Settlement:
    """One question on its way from the plan to its answer."""

    def __init__(self, placing: Placing, reading: Reading, *, policy: PlacementPolicy, min_confidence: float) -> None:
        self._placing = placing
        self._reading = reading
        self._policy = policy
        self._min_confidence = min_confidence
        self._rest = list(placing.order)
        self._spare = [c for c in placing.allowed if c not in placing.order]
        self._best: Answer | None = None
        self._tried: list[Candidate] = []
        self._refusals: list[Refusal] = []
        self._silent: set[tuple[Tier, str]] = set()
        self._failures: list[str] = []

    def open(self, situation: Situation) -> Move:
        """The first move."""
        return self._next(situation)

    def answered(self, candidate: Candidate, answer: Answer, took: Took, situation: Situation) -> Move:
        """The move after a node's answer; one whose guard refused counts as refused."""
        if answer.outcome is Outcome.REFUSED:
            error = Refused(answer.reason or answer.text, rule=answer.rule)
            return self.failed(candidate, error, took, situation)
        self._tried.append(candidate)
        heard = judged(answer, candidate, self._reading, self._policy)
        if self._best is None or rank(heard, self._min_confidence) > rank(self._best, self._min_confidence):
            self._best = heard
        following = self._next(situation)
        going_on = following.candidate is not None
        step = self._step_of(candidate, heard, took, going_on=going_on)
        return replace(following, steps=(step, *following.steps), partial=self._best if going_on else None)

    def failed(self, candidate: Candidate, error: FoveateError, took: Took, situation: Situation) -> Move:
        """The move after a node that did not answer: what is left is put in order anew."""
        reason = error.message
        if isinstance(error, Refused):
            rule = error.metadata.get("rule", "")
            self._refusals.append(Refusal(candidate, reason, rule))
            reason = f"refused by its own guard{f' (rule {rule})' if rule else ''}: {reason}"
        if error.reason == NODE_SILENT:
            self._silent.add((candidate.placement.tier, candidate.placement.node))
        self._failures.append(f"{candidate.placement}: {reason}")
        step = Step(candidate.placement, StepState.FAILED, reason, 0.0, took.seconds, took.usd)
        blocked = self._order_anew(situation)
        following = self._next(situation)
        return replace(following, steps=(step, *blocked, *following.steps))

    def _order_anew(self, situation: Situation) -> list[Step]:
        """Chooses again among all that may still be tried; planned placements that may not are steps to show."""
        reasons = [(c, self._hurdle(c, situation)) for c in self._rest]
        reasons += [(c, self._refused(c)) for c in self._spare]
        left = [c for c in (*self._rest, *self._spare) if not self._hurdle(c, situation)]
        self._rest = list(choose(left, policy=self._policy, seconds=situation.seconds_left, usd=situation.usd_left))
        self._spare = [c for c in left if c not in self._rest]
        return [_skipped(c, reason) for c, reason in reasons if reason]

    def carried(self, candidate: Candidate, situation: Situation) -> tuple[Evidence, ...]:
        """The FACTS that the answer in hand rests on, of the devices whose FACTS may reach the candidate's node."""
        devices = {
            device.device_id
            for device in candidate.devices
            if travels(
                situation.residency,
                device=device,
                representation=Representation.FACTS,
                destinations=[candidate.place],
            ).allowed
        }
        evidence = self._best.evidence if self._best else ()
        # What was read or heard leaves its site in an answer to the asker alone.
        at_site = candidate.placement.tier is not Tier.CLOUD
        return tuple(
            replace(e, picture=b"", quote=e.quote if at_site else "", representation=Representation.FACTS)
            for e in evidence
            if e.device_id in devices
        )

    def conclusion(self, question_id: str) -> Answer:
        """The final answer once there is no next move."""
        refusal = self._refusals[0] if self._refusals else None
        return conclude(
            self._best,
            question_id=question_id,
            reading=self._reading,
            policy=self._policy,
            min_confidence=self._min_confidence,
            left_out=self._placing.plan.left_out,
            refused=(refusal.reason, refusal.rule) if refusal else None,
            failures=self._failures,
        )

    def _next(self, situation: Situation) -> Move:
        """The next planned placement that may still be tried and is worth it; those passed over become steps."""
        if self._best is not None and self._settled(self._best):
            return Move()
        skipped = []
        while self._rest:
            candidate = self._rest.pop(0)
            reason = self._hurdle(candidate, situation)
            if not reason and self._best is not None and self._gain(candidate) <= 0:
                reason = "would gain less than it costs"
            if reason:
                skipped.append(_skipped(candidate, reason))
                continue
            later = sum(other.latency_q95_s for other in self._rest)
            floor = min(candidate.latency_q95_s, situation.seconds_left)
            seconds = max(floor, situation.seconds_left - later)
            return Move(steps=tuple(skipped), candidate=candidate, seconds=seconds)
        return Move(steps=tuple(skipped))

    def _settled(self, best: Answer) -> bool:
        """Whether no later placement is worth it; few can check what no detector sees."""
        if beyond_sight(best, self._reading, self._policy):
            return not any(checks_words(c.placement, self._policy) and self._gain(c) > 0 for c in self._rest)
        return not any(self._gain(c) > 0 for c in self._rest)

    def _gain(self, candidate: Candidate) -> float:
        # What would end as "cannot tell" is worth no more than a guess.
        best = self._best
        p = max(GUESS, best.confidence) if best and acceptable(best, self._min_confidence) else GUESS
        return gain(candidate, p=p, tried=self._tried, policy=self._policy)

    def _hurdle(self, candidate: Candidate, situation: Situation) -> str:
        """Why it may not be tried any more, empty when it may."""
        refused = self._refused(candidate)
        if refused:
            return refused
        if (candidate.placement.tier, candidate.placement.node) in self._silent:
            return f"{candidate.placement.node} did not answer a moment ago"
        checked = check(candidate, self._reading.understanding, situation)
        return checked.reason if isinstance(checked, Rejection) else ""

    def _refused(self, candidate: Candidate) -> str:
        refusal = next((refusal for refusal in self._refusals if refusal.covers(candidate)), None)
        return f"{refusal.candidate.placement} was refused, which is not worked around" if refusal else ""

    def _step_of(self, candidate: Candidate, heard: Answer, took: Took, *, going_on: bool) -> Step:
        sure = heard is self._best and acceptable(heard, self._min_confidence) and not going_on
        sure = sure and not unchecked(heard, self._reading, self._policy)
        state = StepState.ANSWERED if sure else StepState.UNSURE
        reason = self._words(heard, sure=sure, going_on=going_on)
        return Step(candidate.placement, state, reason, heard.confidence, took.seconds, took.usd)

    def _words(self, heard: Answer, *, sure: bool, going_on: bool) -> str:
        said = f"{heard.confidence:.2f} sure"
        if heard.outcome is Outcome.CANNOT_TELL:
            said = f"cannot tell: {heard.reason or heard.text}"
        elif heard.reason:
            said += f" ({heard.reason})"
        missing = unchecked(heard, self._reading, self._policy)
        if missing:
            return f"found something, but {'; '.join(missing)}{': another look is worth its cost' * going_on}"
        if sure:
            return f"{said}: sure enough, another look would gain less than it costs"
        if going_on:
            return f"{said}: another look is worth its cost"
        if self._best is not None and heard is not self._best:
            return f"{said}: less than the answer in hand"
        return f"{said}: not sure enough, and nothing is left that is worth trying"


def _skipped(candidate: Candidate, reason: str) -> Step:
    return Step(candidate.placement, StepState.SKIPPED, reason, 0.0, 0.0, 0.0)


def cleared(
    answer: Answer, candidate: Candidate, *, residency: ResidencyPolicy, destinations: Sequence[Place]
) -> Answer:
    """The answer with evidence of the devices it was asked of alone, and pictures only where they may reach the asker.

    The sender guards both already; what crosses a border is checked on either side of it.
    """
    devices = {device.device_id: device for device in candidate.devices}
    kept = []
    for evidence in answer.evidence:
        device = devices.get(evidence.device_id)
        if device is None:
            continue
        verdict = travels(residency, device=device, representation=evidence.representation, destinations=destinations)
        if evidence.picture and not verdict.allowed:
            evidence = replace(evidence, picture=b"", representation=Representation.FACTS)
        kept.append(evidence)
    return replace(answer, evidence=tuple(kept), placement=candidate.placement)
