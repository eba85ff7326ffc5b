"""Residency: the strictest rule wins, silence means the device, and mistakes in a policy are one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate.errors import InvalidInput, NotFound
from foveate.messages import Boundary, Place, Representation
from foveate.residency import (
    Origin,
    ResidencyPolicy,
    Rule,
    RuleScope,
    crossing,
    decide,
    load,
    most_telling,
    parse,
)

BODY = Origin("eu-west", "north", "body-1", ("officer",))
names = st.sampled_from(["", "eu-west", "us-ca", "north", "south", "body-1", "glasses-1", "officer"])
scopes = st.builds(RuleScope, names, names, names, names)
limits = st.lists(st.tuples(st.sampled_from(Representation), st.sampled_from(Boundary)), min_size=1, max_size=4).map(
    tuple
)
rules = st.builds(Rule, st.text("abc", min_size=1, max_size=3), scopes, limits)
policies = st.lists(rules, max_size=5).map(lambda found: ResidencyPolicy(tuple(found)))
origins = st.builds(
    Origin,
    st.sampled_from(["eu-west", "us-ca"]),
    st.sampled_from(["north", "south"]),
    st.sampled_from(["body-1", "glasses-1"]),
    st.sampled_from([(), ("officer",)]),
)
places = st.builds(
    Place,
    st.sampled_from(["", "eu-west", "us-ca"]),
    st.sampled_from(["", "north", "south"]),
    st.sampled_from(["", "body-1", "glasses-1"]),
)
forms = st.sampled_from(Representation)


def mentions(policy: ResidencyPolicy, origin: Origin, form: Representation) -> list[Boundary]:
    return [b for rule in policy.rules if rule.scope.matches(origin) for f, b in rule.limits if f is form]


@pytest.mark.parametrize(
    ("place", "boundary"),
    [
        (Place("eu-west", "north", "body-1"), Boundary.DEVICE),
        (Place("eu-west", "north", "glasses-1"), Boundary.SITE),
        (Place("eu-west", "north"), Boundary.SITE),
        (Place("eu-west", "south", "body-1"), Boundary.REGION),
        (Place("eu-west"), Boundary.REGION),
        (Place("us-ca", "north", "body-1"), Boundary.WORLD),
        (Place(), Boundary.WORLD),
    ],
)
def test_how_far_a_place_is(place: Place, boundary: Boundary):
    assert crossing(BODY, place) is boundary


def test_data_of_no_device_does_not_count_as_staying_on_one():
    assert crossing(Origin("eu-west", "north", ""), Place("eu-west", "north")) is Boundary.SITE
    assert crossing(Origin("", "", ""), Place()) is Boundary.WORLD


@given(policy=policies, origin=origins, form=forms, place=places)
def test_the_strictest_matching_rule_wins(policy: ResidencyPolicy, origin: Origin, form: Representation, place: Place):
    verdict = decide(policy, origin=origin, representation=form, destination=place)
    said = mentions(policy, origin, form)
    assert verdict.farthest == min(said, default=Boundary.DEVICE)
    assert verdict.allowed == (crossing(origin, place) <= verdict.farthest)
    assert bool(verdict.rule) == bool(said)


@given(policy=policies, origin=origins, form=forms, place=places)
def test_what_no_rule_mentions_never_leaves_the_device(
    policy: ResidencyPolicy, origin: Origin, form: Representation, place: Place
):
    silent = ResidencyPolicy(
        tuple(rule for rule in policy.rules if not mentions(ResidencyPolicy((rule,)), origin, form))
    )
    allowed = decide(silent, origin=origin, representation=form, destination=place).allowed
    assert allowed == (crossing(origin, place) is Boundary.DEVICE)


@given(policy=policies, more=rules, origin=origins, form=forms, place=places)
def test_one_more_rule_never_widens_what_a_rule_limits(
    policy: ResidencyPolicy, more: Rule, origin: Origin, form: Representation, place: Place
):
    if not mentions(policy, origin, form):
        return
    before = decide(policy, origin=origin, representation=form, destination=place)
    after = decide(ResidencyPolicy((*policy.rules, more)), origin=origin, representation=form, destination=place)
    assert after.farthest <= before.farthest
    assert before.allowed or not after.allowed


@given(policy=policies, origin=origins, form=forms, place=places)
def test_the_order_of_rules_does_not_matter(
    policy: ResidencyPolicy, origin: Origin, form: Representation, place: Place
):
    turned = ResidencyPolicy(tuple(Rule(r.name, r.scope, r.limits[::-1]) for r in reversed(policy.rules)))
    assert turned.revision == policy.revision
    assert decide(turned, origin=origin, representation=form, destination=place) == decide(
        policy, origin=origin, representation=form, destination=place
    )


@given(policy=policies, origin=origins, form=forms, place=places)
def test_the_form_that_is_offered_instead_is_the_most_telling_one_allowed(
    policy: ResidencyPolicy, origin: Origin, form: Representation, place: Place
):
    offered, verdict = most_telling(policy, origin=origin, wanted=form, destination=place)
    assert verdict == decide(policy, origin=origin, representation=form, destination=place)
    allowed = [
        lesser
        for lesser in Representation
        if lesser <= form
        and lesser is not Representation.EMBEDDING
        and decide(policy, origin=origin, representation=lesser, destination=place).allowed
    ]
    assert offered == max(allowed, default=None)


def test_a_refusal_names_the_rule_in_words():
    policy = parse({"rules": [{"name": "faces-stay", "limits": {"CLIP": "SITE"}}]}, source="p")
    verdict = decide(policy, origin=BODY, representation=Representation.CLIP, destination=Place("eu-west"))
    assert verdict.rule == "faces-stay"
    assert verdict.reason(Representation.CLIP) == "CLIP may not go to REGION: rule faces-stay keeps it to SITE"


def test_another_policy_has_another_revision():
    one, other = ({"rules": [{"name": "a", "limits": {"CLIP": where}}]} for where in ("SITE", "REGION"))
    assert parse(one, source="p").revision != parse(other, source="p").revision
    assert len(parse(one, source="p").revision) == 12


GOOD = """
rules:
  - name: facts-travel
    limits: {FACTS: WORLD, EMBEDDING: REGION}
  - name: officers
    scope: {region: eu-west, site: north, device: body-1, label: officer}
    limits: {CLIP: SITE}
"""


def test_a_policy_is_read_from_a_file(tmp_path: Path):
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD, encoding="utf-8")
    policy = load(file)
    assert [rule.name for rule in policy.rules] == ["facts-travel", "officers"]
    assert policy.rules[1] == Rule(
        "officers",
        RuleScope("eu-west", "north", "body-1", "officer"),
        ((Representation.CLIP, Boundary.SITE),),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "one key, `rules`"),
        ("- a", "one key, `rules`"),
        ("rules: {}", "one key, `rules`"),
        ("rules: []\nrule: []", "one key, `rules`"),
        ("rules: [", "is not YAML"),
        ("rules: [{name: a, limits: {CLIP: SITE}}, {name: a, limits: {CLIP: WORLD}}]", "two rules are named 'a'"),
        ("rules: [x]", r"rules\[0\]: a rule has"),
        ("rules: [{name: a}]", r"rules\[0\]: a rule has"),
        ("rules: [{name: a, limits: {}}]", r"rules\[0\]: a rule has"),
        ("rules: [{name: a, limit: {CLIP: SITE}}]", r"rules\[0\]: a rule has"),
        ("rules: [{limits: {CLIP: SITE}}]", "needs a `name`"),
        ("rules: [{name: 3, limits: {CLIP: SITE}}]", "needs a `name`"),
        ("rules: [{name: a, limits: [CLIP]}]", "`limits` maps"),
        ("rules: [{name: a, limits: {CLIPS: SITE}}]", "'CLIPS' is unknown"),
        ("rules: [{name: a, limits: {CLIP: site}}]", "'site' is unknown"),
        ("rules: [{name: a, limits: {CLIP, FRAMES: SITE}}]", "'None' is unknown"),
        ("rules: [{name: a, limits: {CLIP: SITE, CLIP: WORLD}}]", "'CLIP' stands twice"),
        ("rules: [{name: a, scope: {sites: n}, limits: {CLIP: SITE}}]", "`scope` takes device, label, region, site"),
        ("rules: [{name: a, scope: {site: 3}, limits: {CLIP: SITE}}]", "`scope` takes"),
        ("rules: [{name: a, scope: {site: ''}, limits: {CLIP: SITE}}]", "`scope` takes"),
        ("rules: [{name: a, scope: [north], limits: {CLIP: SITE}}]", "`scope` takes"),
    ],
)
def test_a_mistake_in_a_policy_is_one_sentence(tmp_path: Path, text: str, sentence: str):
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=sentence) as mistake:
        load(file)
    assert "policy.yaml" in mistake.value.message
    assert "\n" not in mistake.value.message


def test_a_file_that_is_missing_or_no_text_is_said(tmp_path: Path):
    with pytest.raises(NotFound, match="name one that exists"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is not YAML"):
        load(tmp_path / "b.yaml")


@pytest.mark.parametrize("boundary", Boundary)
def test_a_limit_given_twice_is_the_stricter_one(boundary: Boundary):
    rule = Rule("a", RuleScope(), ((Representation.CLIP, boundary), (Representation.CLIP, Boundary.SITE)))
    assert rule.limit(Representation.CLIP) is min(boundary, Boundary.SITE)
    assert rule.limit(Representation.FACTS) is None
