"""understand -> place -> settle: one question, from its text to its record.

In: a question, the seconds it may take, and a `Desk` with the fleet, the nodes and the policy. Out, as it happens: the
plan, steps, answers in hand, and last the record.
It knows no wire: `dispatch` asks the nodes and `fleet` watches who is there; `serve` shows what happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from foveate.errors import DeadlinePassed, FoveateError
from foveate.messages import Answer, AnswerRequest, Outcome, Place, Plan, Question, QuestionRecord, Step, Tier
from foveate.residency import ResidencyPolicy
from router.candidates import Expectations
from router.latency import Latencies
from router.place import Ending, Placing, Situation, destinations, place
from router.policy import PlacementPolicy
from router.scope import FleetView
from router.settle import Move, Settlement, Took, cleared
from router.understand import Reading, understand

Happening = Plan | Step | Answer | QuestionRecord


class Nodes(Protocol):
    """Whoever answers placed questions."""

    async def ask(self, request: AnswerRequest, *, site_id: str, seconds: float) -> Answer:
        """One node's answer; a FoveateError when it has none. `site_id` is where the node is, empty for the cloud."""


class Fleet(Protocol):
    """Whoever knows the fleet and its rules."""

    def view(self) -> FleetView:
        """Sites and devices as last heard of."""

    def residency(self) -> ResidencyPolicy:
        """The rules in force."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a question needs to be answered; `here` is where this router stands, `clock` is monotonic.

    `cloud` is where the cloud stands, None for here; `sign` has the last word on every answer.
    """

    fleet: Fleet
    nodes: Nodes
    policy: PlacementPolicy
    latencies: Latencies
    here: Place
    clock: Callable[[], float]
    cloud: Place | None = None
    sign: Callable[[Answer], Answer] = lambda answer: answer


async def pursue(question: Question, desk: Desk, *, seconds: float) -> AsyncIterator[Happening]:
    """Answers the question within `seconds` and yields what happens on the way, the record last.

    InvalidInput for what is not English, NotFound for a scope that names nothing known.
    """
    question = replace(question, asker=question.asker or desk.here)
    course = _Course(question, desk, seconds=seconds)
    reading = understand(question, desk.fleet.view())
    placing = place(question, reading, course.situation(reading))
    yield placing.plan
    async for happening in _settled(course, reading, placing):
        yield happening
    yield course.record(placing.plan)


class _Course:
    """What one question has spent so far, and what came of it."""

    def __init__(self, question: Question, desk: Desk, *, seconds: float) -> None:
        self.question = question
        self.desk = desk
        self.steps: list[Step] = []
        self.answer: Answer | None = None
        self._seconds = seconds
        self._started = desk.clock()

    def situation(self, reading: Reading, *, besides: Took | None = None) -> Situation:
        """What holds right now; `besides` is a step that is over but not in `steps` yet."""
        limit = self.question.constraints.max_cost_usd
        budget = self.desk.policy.max_cost_usd if limit is None else limit
        return Situation(
            view=self.desk.fleet.view(),
            residency=self.desk.fleet.residency(),
            here=self.desk.here,
            expectations=Expectations(self.desk.policy, self.desk.latencies, qualified=bool(reading.unseen)),
            seconds_left=self._seconds - (self.desk.clock() - self._started),
            usd_left=budget - self.spent - (besides.usd if besides else 0.0),
            cloud=self.desk.cloud,
        )

    @property
    def spent(self) -> float:
        """US dollars of all steps."""
        return sum(step.cost_usd for step in self.steps)

    def record(self, plan: Plan) -> QuestionRecord:
        """All that is kept of the question once it has its answer."""
        assert self.answer is not None, "a course ends with an answer"
        latency = self.desk.clock() - self._started
        answer = self.desk.sign(self.answer)
        return QuestionRecord(self.question, plan, tuple(self.steps), answer, latency, self.spent)


async def _settled(course: _Course, reading: Reading, placing: Placing) -> AsyncIterator[Step | Answer]:
    """Asks node after node until it is settled; leaves the answer in the course."""
    if placing.ending is not None:
        course.answer = _ended(course.question, placing.ending)
        return
    limit = course.question.constraints.min_confidence
    policy = course.desk.policy
    minimum = policy.min_confidence if limit is None else limit
    settlement = Settlement(placing, reading, policy=policy, min_confidence=minimum)
    move = settlement.open(course.situation(reading))
    while True:
        course.steps.extend(move.steps)
        for step in move.steps:
            yield step
        if move.candidate is None:
            break
        if move.partial is not None:
            yield move.partial
        move = await _step(course, reading, settlement, move)
    course.answer = settlement.conclusion(course.question.question_id)


async def _step(course: _Course, reading: Reading, settlement: Settlement, move: Move) -> Move:
    """Asks one node and returns what to do next."""
    candidate = move.candidate
    assert candidate is not None, "a move without a candidate is the last one"
    request = AnswerRequest(
        question=course.question,
        understanding=reading.understanding,
        placement=candidate.placement,
        device_ids=candidate.device_ids,
        devices_in_scope=candidate.in_scope,
        time_left_s=move.seconds,
        carried=settlement.carried(candidate, course.situation(reading)),
    )
    desk, tier = course.desk, candidate.placement.tier
    site_id = "" if tier is Tier.CLOUD else candidate.place.site_id
    started = desk.clock()
    try:
        async with asyncio.timeout(move.seconds):
            answer = await desk.nodes.ask(request, site_id=site_id, seconds=move.seconds)
    except (FoveateError, TimeoutError) as raised:
        seconds = desk.clock() - started
        took = Took(seconds, desk.policy.cost(tier, seconds=seconds))
        error = raised if isinstance(raised, FoveateError) else DeadlinePassed(f"No answer within {seconds:.1f} s.")
        return settlement.failed(candidate, error, took, course.situation(reading, besides=took))
    seconds = desk.clock() - started
    desk.latencies.took(candidate.placement, reading.understanding.task, seconds)
    took = Took(seconds, _cost(answer, tier, seconds, desk.policy))
    residency, places = desk.fleet.residency(), destinations(course.question, desk.here)
    answer = cleared(replace(answer, cost_usd=took.usd), candidate, residency=residency, destinations=places)
    return settlement.answered(candidate, answer, took, course.situation(reading, besides=took))


def _cost(answer: Answer, tier: Tier, seconds: float, policy: PlacementPolicy) -> float:
    """US dollars of a step: what the node says it spent, or the tier's time and the footage that left a site."""
    crossing = answer.moved_bytes if tier is Tier.CLOUD else 0
    return max(answer.cost_usd, policy.cost(tier, seconds=seconds, crossing_bytes=crossing))


def _ended(question: Question, ending: Ending) -> Answer:
    """The answer to a question for which nothing may be tried."""
    refused = ending.outcome is Outcome.REFUSED
    text = f"Refused: {ending.reason}." if refused else "I cannot tell: no placement can answer this."
    return Answer(question.question_id, ending.outcome, text, 0.0, reason=ending.reason, rule=ending.rule)
