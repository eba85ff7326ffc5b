"""The search over ordered subsets, against one by brute force, and what must hold of any plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.messages import Device, DeviceKind, Place, Placement, Representation, Tier
from router.candidates import Candidate
from router.choose import LONGEST, chance, choose, price
from router.policy import GUESS, SURE, PlacementPolicy

_CAMERA = Device("body-1", "north", "eu-west", DeviceKind.BODY_CAM)
_EXAMPLES = settings(max_examples=200, deadline=None)


def candidate(node: str, *, confidence: float, seconds: float, usd: float, form: Representation) -> Candidate:
    placement = Placement(Tier.EDGE, node, form)
    return Candidate(placement, Place("eu-west", node), (_CAMERA,), 1, seconds, usd, confidence)


@st.composite
def several(draw: st.DrawFn) -> list[Candidate]:
    forms = st.sampled_from(Representation)
    names = draw(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), forms), min_size=1, max_size=5, unique=True))
    return [
        candidate(
            node,
            form=form,
            confidence=draw(st.floats(0.5, 0.97)),
            seconds=draw(st.floats(0.01, 5.0)),
            usd=draw(st.floats(0.0, 0.02)),
        )
        for node, form in names
    ]


def loss(path: tuple[Candidate, ...], policy: PlacementPolicy) -> float:
    """The expected loss of a path, written down anew."""
    reach, total = 1.0, 0.0
    for index, step in enumerate(path):
        sure = chance(step, tried=path[:index], sureness=0.0, policy=policy)
        total += reach * (price(step, policy) + sure * policy.error_usd * (1 - SURE))
        reach *= 1 - sure
    return total + reach * policy.error_usd * (1 - GUESS)


@_EXAMPLES
@given(several(), st.floats(0.0, 1.0))
def test_no_ordered_subset_is_better(candidates: list[Candidate], correlation: float) -> None:
    policy = PlacementPolicy(correlation=correlation)
    chosen = choose(candidates, policy=policy, seconds=100.0, usd=1.0)
    paths = (p for n in range(1, len(candidates) + 1) for p in permutations(candidates, n))
    assert loss(chosen, policy) <= min(loss(path, policy) for path in paths) + 1e-12


@_EXAMPLES
@given(several(), st.floats(0.0, 10.0), st.floats(0.0, 0.05))
def test_a_plan_never_breaks_the_deadline_or_the_budget(
    candidates: list[Candidate], seconds: float, usd: float
) -> None:
    chosen = choose(candidates, policy=PlacementPolicy(), seconds=seconds, usd=usd)
    assert sum(c.latency_q95_s for c in chosen) <= seconds or not chosen
    assert sum(c.cost_usd for c in chosen) <= usd or not chosen
    assert bool(chosen) == any(c.latency_q95_s <= seconds and c.cost_usd <= usd for c in candidates)
    assert len(chosen) <= LONGEST


@_EXAMPLES
@given(several(), st.integers(0, 4), st.floats(0.0005, 0.01))
def test_a_cheaper_identical_placement_is_never_passed_over(
    candidates: list[Candidate], index: int, less: float
) -> None:
    dear = candidates[index % len(candidates)]
    dear = replace(dear, cost_usd=dear.cost_usd + less)
    cheap = replace(dear, placement=replace(dear.placement, node="z"), cost_usd=dear.cost_usd - less)
    others = [c for c in candidates if c.placement != dear.placement]
    chosen = choose([dear, *others, cheap], policy=PlacementPolicy(), seconds=100.0, usd=1.0)
    if dear in chosen:
        assert cheap in chosen[: chosen.index(dear)]


@_EXAMPLES
@given(several(), st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_come_does_not_matter(candidates: list[Candidate], random: object) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    policy = PlacementPolicy()
    assert choose(candidates, policy=policy, seconds=100.0, usd=1.0) == choose(
        shuffled, policy=policy, seconds=100.0, usd=1.0
    )


def test_what_shows_nothing_new_adds_nothing() -> None:
    clip = candidate("a", form=Representation.CLIP, confidence=0.8, seconds=1.0, usd=0.0)
    frames = candidate("a", form=Representation.FRAMES, confidence=0.9, seconds=1.0, usd=0.0)
    facts = candidate("a", form=Representation.FACTS, confidence=0.8, seconds=0.1, usd=0.0)
    elsewhere = replace(facts, placement=Placement(Tier.CLOUD, "cloud", Representation.FACTS))
    device = replace(frames, placement=Placement(Tier.DEVICE, "body-1", Representation.FRAMES))
    new = {
        (before.placement, then.placement)
        for before in (clip, frames, facts, elsewhere, device)
        for then in (clip, frames, facts, elsewhere, device)
        if before is not then and chance(then, tried=[before], sureness=0.0, policy=PlacementPolicy()) > 0
    }
    assert (clip.placement, frames.placement) not in new
    assert (frames.placement, clip.placement) not in new
    assert (facts.placement, elsewhere.placement) not in new
    assert (device.placement, facts.placement) not in new
    assert (facts.placement, clip.placement) in new
    assert (device.placement, frames.placement) in new


def test_an_unsure_answer_about_other_devices_says_little() -> None:
    other = replace(_CAMERA, device_id="cam-1")
    part = candidate("a", form=Representation.FACTS, confidence=0.8, seconds=0.1, usd=0.0)
    whole = replace(part, placement=Placement(Tier.CLOUD, "cloud", Representation.FACTS), devices=(_CAMERA, other))
    policy = PlacementPolicy(correlation=0.5)
    alone = chance(whole, tried=[], sureness=0.0, policy=policy)
    assert chance(whole, tried=[part], sureness=0.0, policy=policy) == alone * (1 - 0.5 * 0.5)


def test_a_hand_computed_plan() -> None:
    # w=0.1, l=0.002. a: s=(0.735-0.5)/0.47=0.5, step 0.0002; b: s=(0.97-0.5)/0.47=1, step 0.006.
    # a alone: 0.0002+0.5*0.003+0.5*0.05=0.0267; b alone: 0.006+0.003=0.009;
    # a then b with rho=0: 0.0002+0.0015+0.5*(0.006+0.003)=0.0062: the cheap look first pays.
    policy = PlacementPolicy(correlation=0.0)
    a = candidate("a", form=Representation.FACTS, confidence=0.735, seconds=0.1, usd=0.0)
    b = candidate("b", form=Representation.CLIP, confidence=0.97, seconds=3.0, usd=0.0)
    assert choose([b, a], policy=policy, seconds=10.0, usd=1.0) == (a, b)
    assert abs(loss((a, b), policy) - 0.0062) < 1e-9
    # With rho=1 an unsure look makes the next one hopeless, so the sure one goes alone.
    assert choose([b, a], policy=replace(policy, correlation=1.0), seconds=10.0, usd=1.0) == (b,)
