"""Hard limits hold whatever the fleet, the rules and the answers: residency, deadline and budget, hop by hop."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import FoveateError, Refused, Unreachable
from foveate.messages import (
    Answer,
    Boundary,
    Device,
    DeviceKind,
    Outcome,
    Place,
    Question,
    Representation,
    Site,
    StepState,
)
from foveate.residency import ResidencyPolicy, Rule, RuleScope, decide
from router.candidates import Candidate, Expectations
from router.latency import Latencies
from router.place import Situation, place
from router.policy import PlacementPolicy
from router.scope import FleetView, origin_of
from router.settle import Move, Settlement, Took
from router.understand import understand

_EXAMPLES = settings(max_examples=300, deadline=None)
_TEXTS = ("is there a person in view now?", "how many cars passed today?", "when did a dog first appear?",
          "was there a balloon?", "what is the man doing?", "is there a red car now?", "was anyone in the door zone?",
          "were there more people at north than at south?", "what was said?", "does a sign say exit?")  # fmt: skip
_SITES = (Site("north", "eu-west", online=True), Site("south", "us-ca", online=True))
_HERE = Place("eu-west")


@st.composite
def fleets(draw: st.DrawFn) -> FleetView:
    devices = tuple(
        Device(
            f"cam-{number}", site.site_id, site.region, DeviceKind.FIXED_CAMERA,
            draw(st.sampled_from([(), ("private",)])), enrolled=True, online=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 4)))
        for site in [draw(st.sampled_from(_SITES))]
    )  # fmt: skip
    return FleetView(_SITES, devices, fresh=draw(st.booleans()))


@st.composite
def policies(draw: st.DrawFn) -> ResidencyPolicy:
    limits = st.dictionaries(st.sampled_from(Representation), st.sampled_from(Boundary), min_size=1)
    scopes = st.builds(
        RuleScope, region=st.sampled_from(["", "eu-west"]), site=st.sampled_from(["", "south"]),
        label=st.sampled_from(["", "private"]),
    )  # fmt: skip
    return ResidencyPolicy(
        tuple(
            Rule(f"rule-{number}", draw(scopes), tuple(draw(limits).items()))
            for number in range(draw(st.integers(0, 4)))
        )
    )


def assert_resident(candidate: Candidate, policy: ResidencyPolicy) -> None:
    """Every device's data may reach the node in that form, and its facts the asker."""
    for device in candidate.devices:
        origin = origin_of(device)
        form = candidate.placement.representation
        assert decide(policy, origin=origin, representation=form, destination=candidate.place).allowed
        assert decide(policy, origin=origin, representation=Representation.FACTS, destination=_HERE).allowed


@_EXAMPLES
@given(fleets(), policies(), st.sampled_from(_TEXTS), st.floats(0.0, 12.0), st.data())
def test_no_step_breaks_a_limit(
    view: FleetView, rules: ResidencyPolicy, text: str, seconds: float, data: st.DataObject
) -> None:
    question = Question("q-00000001", text, 1_773_237_600.0, asker=_HERE)
    reading = understand(question, view)
    expectations = Expectations(PlacementPolicy(), Latencies())
    now = Situation(view, rules, _HERE, expectations, seconds, 0.05)
    placing = place(question, reading, now)
    assert placing == place(question, reading, now), "the same input gives the same plan"
    for candidate in placing.allowed:
        assert_resident(candidate, rules)
    if placing.ending is not None:
        assert not placing.allowed
        assert placing.ending.reason
        return
    settlement = Settlement(placing, reading, policy=PlacementPolicy(), min_confidence=0.55)
    move, tried = settlement.open(now), []
    while move.candidate is not None:
        assert_resident(move.candidate, rules)
        assert move.candidate.latency_q95_s <= now.seconds_left
        assert move.candidate.cost_usd <= now.usd_left
        assert move.seconds <= now.seconds_left + 1e-9
        assert move.candidate.placement not in tried, "nothing is tried twice"
        tried.append(move.candidate.placement)
        took = Took(data.draw(st.floats(0.0, now.seconds_left)), data.draw(st.floats(0.0, now.usd_left)))
        now = replace(now, seconds_left=now.seconds_left - took.seconds, usd_left=now.usd_left - took.usd)
        move = _outcome(settlement, move, took, now, data)
    answer = settlement.conclusion("q-00000001")
    assert answer.outcome is not Outcome.ANSWERED or answer.confidence >= 0.55


def _outcome(settlement: Settlement, move: Move, took: Took, now: Situation, data: st.DataObject) -> Move:
    assert move.candidate is not None
    error: FoveateError | None = data.draw(
        st.sampled_from([None, None, None, Unreachable("gone"), Refused("no", rule="stay")])
    )
    if error is not None:
        following = settlement.failed(move.candidate, error, took, now)
        assert following.steps[0].state is StepState.FAILED
        return following
    confidence = data.draw(st.floats(0.0, 1.0))
    answer = Answer("q-00000001", Outcome.ANSWERED, "Yes.", confidence, value=True)
    return settlement.answered(move.candidate, answer, took, now)
