"""What the filter lets through and why not: residency, capability, health, time and money, in this order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foveate.errors import NotFound
from foveate.messages import Boundary, Outcome, Place, Representation, Scope, Task, Tier
from foveate.residency import ResidencyPolicy
from router.place import place

Named = Callable[..., list[str]]
FACTS, FRAMES, CLIP = Representation.FACTS, Representation.FRAMES, Representation.CLIP
REDACTED, EMBEDDING = Representation.REDACTED_FRAMES, Representation.EMBEDDING


def reasons(placing: Any) -> dict[str, str]:
    return {str(rejected.placement): rejected.reason for rejected in placing.plan.rejected}


def test_now_of_one_device_starts_on_the_device(world: Any, named: Named) -> None:
    placing = world.place("is there a person in view now?", devices=["body-1"])
    assert named(placing.order)[0] == "device body-1 from FRAMES"
    assert placing.plan.placements[0].placement == placing.order[0].placement
    assert placing.ending is None


def test_the_past_never_goes_to_a_device(world: Any) -> None:
    placing = world.place("was there a person today?", devices=["body-1"])
    assert all(candidate.placement.tier is not Tier.DEVICE for candidate in placing.allowed)


def test_several_devices_are_not_asked_one_by_one(world: Any) -> None:
    placing = world.place("is there a person in view now?", devices=["body-1", "glasses-1"])
    assert all(candidate.placement.tier is not Tier.DEVICE for candidate in placing.allowed)


def test_a_site_that_sees_a_part_is_expected_to_be_less_sure(world: Any) -> None:
    placing = world.place("was there a zebra on any camera?")
    found = {str(c.placement): c for c in placing.allowed}
    assert found["edge north from FACTS"].confidence == pytest.approx(2 / 3 * 0.84 + 1 / 3 * 0.5)
    assert found["cloud cloud from FACTS"].confidence == pytest.approx(0.82)
    assert "sees 2 of 3 devices" in " ".join(p.reason for p in placing.plan.placements)


def test_a_rule_rejects_a_form_and_is_named(world: Any, make_rule: Any) -> None:
    rules = (
        *world.residency.rules,
        make_rule("no-faces", {CLIP: Boundary.DEVICE, FRAMES: Boundary.DEVICE}, device="body-1"),
    )
    world.residency = ResidencyPolicy(rules)
    placing = world.place("when did a bicycle first appear?", devices=["body-1"])
    rejected = {str(r.placement): r for r in placing.plan.rejected}
    assert rejected["edge north from CLIP"].rule == "no-faces"
    assert "CLIP may not go to SITE: rule no-faces" in rejected["edge north from CLIP"].reason
    assert "edge north from REDACTED_FRAMES" in {str(c.placement) for c in placing.allowed}


def test_a_placement_covers_the_devices_that_its_rules_allow(world: Any, make_rule: Any) -> None:
    rules = (*world.residency.rules, make_rule("private", {CLIP: Boundary.DEVICE}, label="private"))
    world.residency = ResidencyPolicy(rules)
    placing = world.place("was there a person on north?")
    found = {str(c.placement): c for c in placing.allowed}
    assert found["edge north from CLIP"].device_ids == ("body-1",)
    assert found["edge north from FACTS"].device_ids == ("body-1", "glasses-1")


def test_a_device_that_may_not_be_heard_is_left_out(world: Any, make_rule: Any) -> None:
    world.residency = ResidencyPolicy(
        (*world.residency.rules, make_rule("wearer", {FACTS: Boundary.SITE}, label="private"))
    )
    placing = world.place("how many people are in view now?")
    assert placing.plan.left_out == ("glasses-1: wearer",)
    assert all("glasses-1" not in candidate.device_ids for candidate in placing.allowed)


def test_none_that_may_be_heard_is_a_refusal_with_its_rule(world: Any, make_rule: Any) -> None:
    world.residency = ResidencyPolicy(
        (*world.residency.rules, make_rule("wearer", {FACTS: Boundary.SITE}, label="private"))
    )
    placing = world.place("how many people has glasses-1 seen?")
    assert placing.ending is not None
    assert (placing.ending.outcome, placing.ending.rule) == (Outcome.REFUSED, "wearer")
    assert "glasses-1: FACTS may not go to REGION" in placing.plan.reason
    assert placing.order == placing.allowed == ()


def test_an_asker_at_the_site_does_not_get_around_the_router(world: Any, make_rule: Any) -> None:
    world.residency = ResidencyPolicy(
        (*world.residency.rules, make_rule("wearer", {FACTS: Boundary.SITE}, label="private"))
    )
    placing = world.place("is there a dog now?", devices=["glasses-1"], asker=Place("eu-west", "north"))
    assert placing.ending is not None
    assert placing.ending.rule == "wearer"


def test_without_any_rule_nothing_travels(world: Any) -> None:
    world.residency = ResidencyPolicy(())
    placing = world.place("is there a dog now?", devices=["body-1"])
    assert placing.ending is not None
    assert placing.ending.outcome is Outcome.REFUSED
    assert placing.plan.left_out == ("body-1: no rule lets it travel",)


def test_what_no_node_can_do_is_cannot_tell(world: Any) -> None:
    placing = world.place("summarise what happened", devices=["body-1"])
    assert placing.ending is not None
    assert (placing.ending.outcome, placing.ending.rule) == (Outcome.CANNOT_TELL, "")
    assert "no edge of this fleet answers summarise questions" in placing.ending.reason


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("what does the sign say?", {"FACTS", "FRAMES", "CLIP"}),
        ("what was said?", {"FACTS", "CLIP"}),
        ("what mood is the man in?", {"FACTS", "FRAMES", "CLIP"}),
        ("extract all plates as json", {"FACTS", "FRAMES", "CLIP"}),
        ("were there more cars than people?", {"FACTS"}),
    ],
)
def test_what_is_not_seen_by_a_detector_is_answered_at_the_edge(world: Any, text: str, forms: set[str]) -> None:
    allowed = [candidate.placement for candidate in world.place(text, devices=["body-1"]).allowed]
    assert {placement.representation.name for placement in allowed if placement.tier is Tier.EDGE} == forms
    assert all(placement.tier is not Tier.DEVICE for placement in allowed)


def test_each_form_says_why_it_cannot(world: Any) -> None:
    heard = reasons(world.place("what was said?", devices=["body-1"]))
    assert heard["edge north from FRAMES"] == "FRAMES carries no sound"
    assert heard["edge north from EMBEDDING"] == "EMBEDDING only finds what looks alike"
    assert heard["cloud cloud from FACTS"] == "no cloud of this fleet answers listen questions"
    read = reasons(world.place("what does the sign say?", devices=["body-1"]))
    assert read["edge north from REDACTED_FRAMES"] == "REDACTED_FRAMES does not show it"


def test_what_was_read_and_heard_stays_at_its_site_whatever_the_cloud_can_do(world: Any) -> None:
    world.policy = replace(world.policy, tasks={**world.policy.tasks, Tier.CLOUD: tuple(Task)})
    placing = world.place("what was said?", devices=["body-1"])
    assert "remembered at its site alone" in reasons(placing)["cloud cloud from FACTS"]


def test_a_fleet_whose_edges_know_any_word_looks_for_any(world: Any, named: Named) -> None:
    world.policy = replace(world.policy, open_vocabulary=(Tier.EDGE,))
    placing = world.place("was there a balloon today?", devices=["cam-1"])
    assert {"edge south from FRAMES", "edge south from CLIP"} < set(named(placing.allowed))
    old = world.place("was there an old car today?", devices=["cam-1"])
    expected = {c.placement.representation: c.confidence for c in old.allowed if c.placement.tier is Tier.EDGE}
    assert expected[FACTS] == pytest.approx((0.84 + 0.5) / 2)
    assert expected[CLIP] == pytest.approx(0.92)


@pytest.mark.parametrize("text", ["Summarise the last hour", "Are there more cars than trucks?"])
def test_a_model_at_the_edge_is_shown_what_it_should_sum_up_or_compare(world: Any, text: str) -> None:
    edge = (*world.policy.tasks[Tier.EDGE], Task.SUMMARISE)
    world.policy = replace(world.policy, open_vocabulary=(Tier.EDGE,), tasks={**world.policy.tasks, Tier.EDGE: edge})
    placing = world.place(text)
    forms = {c.placement.representation.name for c in placing.allowed if c.placement.tier is Tier.EDGE}
    assert {"FRAMES", "CLIP"} <= forms


def test_a_colour_shows_in_pictures_of_an_edge_alone(world: Any) -> None:
    placing = world.place("is there a red car now?", devices=["cam-1"])
    expected = {str(c.placement): c.confidence for c in placing.allowed}
    assert expected["edge south from FRAMES"] == pytest.approx(0.91)
    assert expected["edge south from FACTS"] == pytest.approx((0.84 + 0.5) / 2)
    assert expected["device cam-1 from FRAMES"] == pytest.approx((0.90 + 0.5) / 2)


def test_only_facts_tell_who_stood_in_a_zone(world: Any, named: Named) -> None:
    placing = world.place("is anyone in the doorway zone?", devices=["cam-1"])
    assert set(named(placing.allowed)) == {"edge south from FACTS", "cloud cloud from FACTS"}
    assert reasons(placing)["device cam-1 from FRAMES"] == "only FACTS tell what stood in which zone"
    described = world.place("what colour is the car in the doorway zone?", devices=["cam-1"])
    assert described.ending is not None
    assert "which zone" in described.ending.reason


def test_a_comparison_goes_where_both_sides_are_seen(world: Any, named: Named) -> None:
    placing = world.place("were there more people on body-1 than on cam-1?")
    assert named(placing.allowed) == ["cloud cloud from FACTS"]
    assert "does not see cam-1, which is to be compared" in reasons(placing)["edge north from FACTS"]
    within = world.place("were there more people on body-1 than on glasses-1?")
    assert "edge north from FACTS" in named(within.allowed)


@pytest.mark.parametrize("label", ["private", ""])
def test_a_comparison_of_which_a_rule_hides_one_side_is_refused(world: Any, make_rule: Any, label: str) -> None:
    scope = {"label": label} if label else {"device": "glasses-1"}
    limits = {FACTS: Boundary.SITE} if label else {FACTS: Boundary.DEVICE}
    world.residency = ResidencyPolicy((*world.residency.rules, make_rule("wearer", limits, **scope)))
    placing = world.place("were there more people on body-1 than on glasses-1?")
    assert placing.ending is not None
    assert (placing.ending.outcome, placing.ending.rule) == (Outcome.REFUSED, "wearer")


@pytest.mark.parametrize("text", ["compare the people", "what is the difference between body-1 and cam-1?"])
def test_a_comparison_of_nothing_is_cannot_tell(world: Any, text: str) -> None:
    ending = world.place(text).ending
    assert ending is not None
    assert "names no two things" in ending.reason


def test_the_cloud_is_rejected_by_residency_first_then_by_what_it_can_do(world: Any, make_rule: Any) -> None:
    placing = world.place("was there a dog today?")
    assert "works from FACTS and EMBEDDING only" in reasons(placing)["cloud cloud from CLIP"]
    world.residency = ResidencyPolicy((*world.residency.rules, make_rule("stay", {CLIP: Boundary.SITE})))
    assert "rule stay" in reasons(world.place("was there a dog today?"))["cloud cloud from CLIP"]


def test_an_unnamed_subject_is_looked_for_by_embedding_alone(world: Any, named: Named) -> None:
    placing = world.place("was there a balloon today?", devices=["cam-1"])
    assert set(named(placing.allowed)) == {"edge south from EMBEDDING", "cloud cloud from EMBEDDING"}
    counted = world.place("how many balloons were there?", devices=["cam-1"])
    assert counted.ending is not None
    assert counted.ending.outcome is Outcome.CANNOT_TELL


def test_people_are_not_looked_for_in_redacted_frames(world: Any) -> None:
    assert (
        "people cannot be recognised"
        in reasons(world.place("was there a person today?"))["edge north from REDACTED_FRAMES"]
    )


def test_health_rejects_what_is_offline(world: Any) -> None:
    body, glasses, fixed = world.devices
    world.devices = (replace(body, online=False), glasses, fixed)
    now = reasons(world.place("is there a dog now?", devices=["body-1"]))
    assert now["edge north from FACTS"] == "body-1 offline: there is no view of now"
    past = world.place("was there a dog today?", devices=["body-1"])
    assert reasons(past)["edge north from CLIP"] == "body-1 offline: its recording cannot be fetched"
    assert "edge north from FACTS" in {str(c.placement) for c in past.allowed}
    north, south = world.sites
    world.sites = (replace(north, online=False), south)
    assert (
        reasons(world.place("was there a dog today?", devices=["body-1"]))["edge north from FACTS"]
        == "site north is offline"
    )


def test_a_stale_view_says_nothing_about_health_but_the_cloud_is_gone(world: Any) -> None:
    world.devices = tuple(replace(device, online=False) for device in world.devices)
    world.fresh = False
    placing = world.place("is there a dog now?", devices=["body-1"])
    assert "device body-1 from FRAMES" in {str(c.placement) for c in placing.allowed}
    assert reasons(placing)["cloud cloud from FACTS"] == "the cloud does not answer"


def test_time_and_money_reject(world: Any) -> None:
    world.seconds = 0.5
    assert reasons(world.place("was there a dog today?"))["edge north from CLIP"] == "may take 3.0 s and 0.5 s are left"
    world.seconds, world.usd = 10.0, 1e-6
    assert "would cost" in reasons(world.place("was there a dog today?"))["edge north from CLIP"]


def test_no_time_at_all_is_cannot_tell(world: Any) -> None:
    world.seconds = 0.01
    placing = world.place("is there a dog now?", devices=["body-1"])
    assert placing.ending is not None
    assert placing.ending.outcome is Outcome.CANNOT_TELL
    assert "0.0 s are left" in placing.ending.reason


def test_unknown_names_are_told_with_the_known_ones(world: Any) -> None:
    with pytest.raises(NotFound, match="no device 'body-9'; known are: body-1, cam-1, glasses-1"):
        world.place("is there a dog?", devices=["body-9"])
    question = world.question("is there a dog?", scope=Scope(site_ids=("west",)))
    reading = world.reading("is there a dog?")
    with pytest.raises(NotFound, match="no site 'west'; known are: north, south"):
        place(question, reading, world.situation(reading))


def test_a_device_that_never_joined_counts_only_when_named(world: Any) -> None:
    new = replace(world.devices[0], device_id="body-2", enrolled=False, online=False)
    world.devices = (*world.devices, new)
    assert world.place("was there a dog?").order[0].in_scope == 3
    assert world.place("was there a dog?", devices=["body-2"]).order[0].device_ids == ("body-2",)


def test_words_that_no_detector_checks_lower_what_is_expected(world: Any) -> None:
    plain = world.place("was there a car today?", devices=["cam-1"])
    old = world.place("was there an old car today?", devices=["cam-1"])
    assert old.order[0].confidence < plain.order[0].confidence


def test_every_candidate_is_planned_or_told_why_not(world: Any) -> None:
    placing = world.place("how many people were there today?")
    told = [p.placement for p in placing.plan.placements] + [r.placement for r in placing.plan.rejected]
    assert len(told) == len(set(told)) == 15
    assert all(rejected.reason for rejected in placing.plan.rejected)
