"""When to stop, what to do after a failure or a refusal, and what is said at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foveate.errors import BadVideo, Refused, Unreachable
from foveate.messages import (
    Answer,
    Boundary,
    Evidence,
    Outcome,
    Placement,
    Representation,
    StepState,
    Tier,
)
from foveate.residency import ResidencyPolicy
from router.place import Placing
from router.policy import PlacementPolicy
from router.settle import NODE_SILENT, Settlement, Took, cleared, gain

Make = Callable[..., Answer]
TOOK = Took(0.1, 0.001)


class Case:
    """One question in the world, with its settlement."""

    def __init__(self, world: Any, text: str, devices: tuple[str, ...] = (), minimum: float = 0.55) -> None:
        self.reading = world.reading(text)
        self.placing: Placing = world.place(text, devices=devices)
        self.situation = world.situation(self.reading)
        self.settlement = Settlement(self.placing, self.reading, policy=world.policy, min_confidence=minimum)
        self.move = self.settlement.open(self.situation)
        self.steps = list(self.move.steps)

    def __str__(self) -> str:
        return str(self.move.candidate.placement) if self.move.candidate else "stop"

    def answered(self, answer: Answer) -> None:
        assert self.move.candidate is not None
        self.move = self.settlement.answered(self.move.candidate, answer, TOOK, self.situation)
        self.steps.extend(self.move.steps)

    def failed(self, error: Any) -> None:
        assert self.move.candidate is not None
        self.move = self.settlement.failed(self.move.candidate, error, TOOK, self.situation)
        self.steps.extend(self.move.steps)

    def end(self) -> Answer:
        return self.settlement.conclusion("q-00000001")


def test_a_sure_answer_ends_it(world: Any, make_answer: Make) -> None:
    case = Case(world, "is there a person in view now?", ("body-1",))
    assert str(case) == "device body-1 from FRAMES"
    case.answered(make_answer(0.97))
    assert str(case) == "stop"
    assert [step.state for step in case.steps] == [StepState.ANSWERED]
    assert "sure enough" in case.steps[0].reason
    assert case.end().outcome is Outcome.ANSWERED


def test_an_unsure_answer_goes_on_and_the_best_one_wins(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog on any camera?")
    case.answered(make_answer(0.475, value=False))
    assert case.steps[0].state is StepState.UNSURE
    assert case.move.partial is not None
    assert str(case) != "stop"
    while str(case) != "cloud cloud from FACTS":
        case.answered(make_answer(0.475, value=False))
    case.answered(make_answer(0.93, value=False, text="No: no dog."))
    assert str(case) == "stop"
    assert case.steps[-1].state is StepState.ANSWERED
    assert (case.end().text, case.end().value) == ("No: no dog.", False)


def test_the_stopping_rule_by_hand(world: Any) -> None:
    # w=0.1, l=0.002, rho=0.5. A look with E=0.735 has s=0.5 alone; it costs 0.001 and 0.5 s: 0.002 in all.
    # p=0.80: sureness (0.80-0.5)/0.47=0.6383, s=0.5*(1-0.5*0.3617)=0.40957; w*s*(0.97-0.80)=0.0069627; gain 0.0049627.
    # p=0.95: sureness 0.95745, s=0.48936; w*s*0.02=0.00097872; gain -0.00102128: stop.
    one = world.place("was there a dog today?", devices=["cam-1"]).order[0]
    look = replace(
        one, placement=Placement(Tier.CLOUD, "x", Representation.FACTS), latency_q95_s=0.5, cost_usd=0.001,
        confidence=0.735,
    )  # fmt: skip
    tried = [replace(one, placement=Placement(Tier.EDGE, "south", Representation.CLIP))]
    policy = PlacementPolicy(error_usd=0.1, second_usd=0.002, correlation=0.5)
    assert gain(look, p=0.80, tried=tried, policy=policy) == pytest.approx(0.0049627, abs=1e-6)
    assert gain(look, p=0.95, tried=tried, policy=policy) == pytest.approx(-0.0010213, abs=1e-6)
    # Where it breaks even: w*s(p)*(0.97-p) = 0.002 lies between 0.91 and 0.93.
    assert gain(look, p=0.91, tried=tried, policy=policy) > 0 > gain(look, p=0.93, tried=tried, policy=policy)


def test_what_the_asker_does_not_accept_is_worth_a_guess(world: Any, make_answer: Make) -> None:
    strict = Case(world, "is there a person in view now?", ("body-1",), minimum=0.95)
    strict.answered(make_answer(0.94))
    assert str(strict) != "stop"
    easy = Case(world, "is there a person in view now?", ("body-1",))
    easy.answered(make_answer(0.94))
    assert str(easy) == "stop"


def test_below_the_least_confidence_it_cannot_tell_and_gives_its_best_guess(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    while str(case) != "stop":
        case.answered(replace(make_answer(0.4, text="Yes: a dog."), document='{"dog": true}'))
    answer = case.end()
    assert (answer.outcome, answer.value, answer.document) == (Outcome.CANNOT_TELL, None, "")
    assert "0.40 sure, below the 0.55" in answer.reason
    assert "best guess: Yes: a dog. (0.40)" in answer.reason
    assert {step.state for step in case.steps} == {StepState.UNSURE}


def test_a_silent_node_is_not_asked_again(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    assert str(case).startswith("edge south")
    case.failed(Unreachable("Nobody listens.", reason=NODE_SILENT))
    assert case.steps[0].state is StepState.FAILED
    assert str(case) == "cloud cloud from FACTS"
    skipped = [step for step in case.steps if step.state is StepState.SKIPPED]
    assert skipped
    assert all("did not answer a moment ago" in step.reason for step in skipped)
    case.answered(make_answer(0.95))
    assert case.end().outcome is Outcome.ANSWERED


def test_a_failed_look_is_replaced_by_another_form(world: Any) -> None:
    case = Case(world, "when did a bicycle first appear?", ("cam-1",))
    asked = []
    while str(case) != "stop":
        asked.append(str(case))
        case.failed(BadVideo("The clip does not decode."))
    assert len(asked) == len(set(asked))
    assert {"edge south from CLIP", "edge south from FRAMES", "edge south from REDACTED_FRAMES"} <= set(asked)
    answer = case.end()
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "The clip does not decode." in answer.reason


def test_who_asks_to_be_shown_gets_footage_first_and_facts_when_it_fails(world: Any, make_answer: Make) -> None:
    case = Case(world, "show me the first bicycle", ("cam-1",))
    assert [str(c.placement) for c in case.placing.order] == ["edge south from CLIP"]
    while case.move.candidate is not None and case.move.candidate.placement.representation > Representation.EMBEDDING:
        case.failed(BadVideo("The clip does not decode."))
    assert str(case) == "edge south from FACTS"
    case.answered(make_answer(0.96, value=1e9))
    assert case.end().outcome is Outcome.ANSWERED


def test_a_refusal_is_never_worked_around(world: Any) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    assert str(case) == "edge south from FACTS"
    case.failed(Refused("FACTS may not leave.", rule="stay"))
    assert str(case) == "stop"
    skipped = [step for step in case.steps if step.state is StepState.SKIPPED]
    assert any(step.placement.tier is Tier.CLOUD for step in skipped)
    answer = case.end()
    assert (answer.outcome, answer.rule) == (Outcome.REFUSED, "stay")


def test_after_a_refused_clip_facts_are_still_allowed(world: Any, make_answer: Make) -> None:
    world.policy = replace(world.policy, second_usd=0.0)
    case = Case(world, "was there a dog today?", ("cam-1",))
    while str(case) != "edge south from CLIP":
        case.answered(make_answer(0.4))
    refusal = make_answer(0.0, outcome=Outcome.REFUSED, value=None, reason="CLIP stays.", rule="stay")
    case.answered(refusal)
    assert "refused by its own guard (rule stay): CLIP stays." in case.steps[-1 - len(case.move.steps) + 1].reason
    assert "CLIP" not in str(case)


def test_time_that_ran_out_skips_what_is_left(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    case.situation = world.situation(case.reading, spent_s=9.9)
    case.answered(make_answer(0.6))
    assert str(case) == "stop"
    assert "0.1 s are left" in case.steps[1].reason
    assert case.steps[1].state is StepState.SKIPPED
    assert case.end().outcome is Outcome.ANSWERED


def test_residency_is_checked_again_before_each_step(world: Any, make_answer: Make, make_rule: Any) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    tight = make_rule("tightened", dict.fromkeys(Representation, Boundary.DEVICE))
    world.residency = ResidencyPolicy((*world.residency.rules, tight))
    case.situation = world.situation(case.reading)
    case.answered(make_answer(0.4))
    assert str(case) == "stop"
    assert all("rule tightened" in step.reason for step in case.steps if step.state is StepState.SKIPPED)


def test_each_step_leaves_the_later_ones_their_time(world: Any) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    later = sum(candidate.latency_q95_s for candidate in case.placing.order[1:])
    assert case.move.seconds == pytest.approx(10.0 - later)


def test_an_old_car_that_was_found_is_not_called_old(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there an old car today?", ("cam-1",), minimum=0.3)
    case.answered(make_answer(0.97, text="Yes: a car."))
    assert str(case) == "stop"
    answer = case.end()
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "the detector cannot check 'old'; best guess: Yes: a car." in answer.reason
    assert case.steps[0].state is StepState.UNSURE


def test_an_old_car_that_a_model_of_any_words_found_is_one(world: Any, make_answer: Make) -> None:
    world.policy = replace(world.policy, open_vocabulary=(Tier.EDGE,))
    case = Case(world, "was there an old car today?", ("cam-1",))
    assert str(case) == "edge south from CLIP"
    case.answered(make_answer(0.97, text="Yes: an old car."))
    assert (case.end().outcome, case.steps[0].state) == (Outcome.ANSWERED, StepState.ANSWERED)


def facts_first(world: Any) -> None:
    """Makes waiting dear, so that what is at hand is asked before pictures are fetched."""
    world.policy = replace(world.policy, second_usd=0.012, correlation=0.0)


def test_a_red_car_in_facts_is_looked_at_in_pictures(world: Any, make_answer: Make) -> None:
    facts_first(world)
    case = Case(world, "was there a red car today?", ("cam-1",))
    assert str(case) == "edge south from FACTS"
    case.answered(make_answer(0.97, text="Yes: a car."))
    assert "without pictures nobody can tell that it is red" in case.steps[0].reason
    assert (case.steps[0].state, case.steps[0].confidence) == (StepState.UNSURE, 0.5)
    assert str(case) in ("edge south from FRAMES", "edge south from CLIP")
    case.answered(make_answer(0.92, text="Yes: a red car."))
    assert (case.end().outcome, case.end().text) == (Outcome.ANSWERED, "Yes: a red car.")


def test_a_red_car_in_facts_alone_is_not_called_red(world: Any, make_answer: Make) -> None:
    facts_first(world)
    case = Case(world, "was there a red car today?", ("cam-1",), minimum=0.3)
    case.answered(make_answer(0.97, text="Yes: a car."))
    while str(case) != "stop":
        case.failed(Unreachable("offline"))
    answer = case.end()
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "without pictures nobody can tell that it is red; best guess: Yes: a car." in answer.reason


def test_pictures_that_do_not_show_the_colour_keep_their_doubt(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a red car today?", ("cam-1",))
    case.answered(make_answer(0.45, reason="it is too dark to tell colours"))
    assert case.steps[0].confidence == 0.45
    while str(case) != "stop":
        case.answered(make_answer(0.45, reason="it is too dark to tell colours"))
    assert case.end().outcome is Outcome.CANNOT_TELL


def test_what_was_read_is_not_carried_to_the_cloud(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog on any camera?")
    found = Evidence("body-1", 1.0, 2.0, quote="exit")
    case.answered(make_answer(0.5, evidence=(found,)))
    tiers = {c.placement.tier: c for c in case.placing.allowed if "body-1" in c.device_ids}
    carried = {tier: case.settlement.carried(c, case.situation) for tier, c in tiers.items()}
    assert [e.quote for e in carried[Tier.EDGE]] == ["exit"]
    assert [e.quote for e in carried[Tier.CLOUD]] == [""]


def test_no_car_at_all_is_no_red_car_either(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a red car today?", ("cam-1",))
    case.answered(make_answer(0.95, value=False, text="No: no car."))
    assert (case.end().outcome, case.end().value) == (Outcome.ANSWERED, False)


@pytest.mark.parametrize(("present", "text"), [(True, "No: a person."), (False, "Yes: nobody there.")])
def test_an_absence_that_was_asked_for_is_answered_as_asked(
    world: Any, make_answer: Make, present: bool, text: str
) -> None:
    case = Case(world, "is nobody there?", ("body-1",))
    case.answered(make_answer(0.97, value=present, text="Yes: a person." if present else "No: nobody there."))
    assert (case.end().value, case.end().text) == (not present, text)


def test_a_part_of_the_devices_does_not_speak_for_all(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog on any camera?")
    while not str(case).startswith("edge south"):
        case.answered(make_answer(0.4, value=False))
    case.answered(make_answer(0.95, value=False))
    step = next(step for step in case.steps if step.placement.node == "south")
    assert step.confidence == pytest.approx(1 / 3 * 0.95 + 2 / 3 * 0.5)


def test_what_is_found_stands_for_all(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog on any camera?")
    case.answered(make_answer(0.95, value=True))
    assert case.steps[0].confidence == 0.95


def test_the_answer_says_who_was_left_out_and_what_was_widened(world: Any, make_answer: Make, make_rule: Any) -> None:
    limits = {Representation.FACTS: Boundary.SITE}
    world.residency = ResidencyPolicy((*world.residency.rules, make_rule("wearer", limits, label="private")))
    case = Case(world, "was there an officer on north?")
    case.answered(make_answer(0.97))
    assert "without glasses-1: wearer" in case.end().reason
    assert "does not tell 'officer'" in case.end().reason


def test_evidence_is_cleared_of_what_may_not_reach_the_asker(world: Any, make_answer: Make, make_rule: Any) -> None:
    limits = {Representation.FRAMES: Boundary.SITE}
    world.residency = ResidencyPolicy((*world.residency.rules, make_rule("faces", limits, device="body-1")))
    candidate = world.place("was there a dog?", devices=["body-1"]).order[0]
    frames = Evidence("body-1", 1.0, 2.0, picture=b"jpeg", representation=Representation.FRAMES)
    redacted = replace(frames, representation=Representation.REDACTED_FRAMES)
    stranger = replace(frames, device_id="cam-1")
    answer = make_answer(0.9, evidence=(frames, redacted, stranger))
    kept = cleared(answer, candidate, residency=world.residency, destinations=(world.here,))
    assert [(e.picture, e.representation) for e in kept.evidence] == [
        (b"", Representation.FACTS),
        (b"jpeg", Representation.REDACTED_FRAMES),
    ]
    assert kept.placement == candidate.placement


def test_of_two_answers_that_are_as_sure_the_one_with_a_picture_wins(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    case.answered(make_answer(0.4, text="Yes: remembered."))
    shown = Evidence("cam-1", 1.0, 2.0, picture=b"jpeg", representation=Representation.FRAMES)
    case.answered(make_answer(0.4, text="Yes: look.", evidence=(shown,)))
    assert "best guess: Yes: look." in case.end().reason


def test_what_is_carried_on_holds_no_pictures(world: Any, make_answer: Make) -> None:
    case = Case(world, "was there a dog today?", ("cam-1",))
    evidence = Evidence("cam-1", 1.0, 2.0, picture=b"jpeg", representation=Representation.FRAMES)
    case.answered(make_answer(0.4, evidence=(evidence,)))
    assert case.move.candidate is not None
    (carried,) = case.settlement.carried(case.move.candidate, case.situation)
    assert (carried.picture, carried.representation) == (b"", Representation.FACTS)
