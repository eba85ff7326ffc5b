"""The placement policy's file, and latencies that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.errors import InvalidInput, NotFound
from foveate.messages import Placement, Representation, Task, Tier
from router import settings
from router.latency import ENOUGH, WINDOW, Latencies
from router.policy import PlacementPolicy, Price, Prior, parse

_PRIOR = {"tier": "edge", "representation": "CLIP", "task": "count", "confidence": 1, "latency_q95_s": 1}
_EDGE = Placement(Tier.EDGE, "north", Representation.CLIP)


def test_a_file_changes_what_it_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "placement.yaml"
    path.write_text(
        "error_usd: 0.5\n"
        "prices: {cloud: {second: 0.001, gigabyte: 0.02}}\n"
        "tasks: {edge: [presence, describe]}\n"
        "priors: [{tier: edge, representation: CLIP, task: describe, confidence: 0.8, latency_q95_s: 4}]\n"
    )
    policy, built_in = settings.placement_policy(path), PlacementPolicy()
    assert policy.error_usd == 0.5
    assert policy.deadline_s == built_in.deadline_s
    assert policy.prices == {**built_in.prices, Tier.CLOUD: Price(0.001, 0.02)}
    assert policy.tasks[Tier.EDGE] == (Task.PRESENCE, Task.DESCRIBE)
    assert policy.prior(Tier.EDGE, Representation.CLIP, Task.DESCRIBE) == Prior(0.8, 4.0)
    assert policy.prior(Tier.EDGE, Representation.CLIP, Task.COUNT) == built_in.prior(*_KIND)


_KIND = (Tier.EDGE, Representation.CLIP, Task.COUNT)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "a mapping"),
        ({"error": 1}, "error_usd"),
        ({"error_usd": -1}, "error_usd"),
        ({"error_usd": "much"}, "'much'"),
        ({"error_usd": True}, "True"),
        ({"deadline_s": float("nan")}, "deadline_s"),
        ({"min_confidence": 1.2}, "0 to 1"),
        ({"prices": {"fog": {"second": 1}}}, "edge"),
        ({"prices": {"edge": {"gigabyte": 1}}}, "second"),
        ({"tasks": {"edge": ["guess"]}}, "guess"),
        ({"tasks": {"edge": "presence"}}, "a list"),
        ({"priors": [{"tier": "edge"}]}, "confidence"),
        ({"priors": [{**_PRIOR, "representation": "SMELL"}]}, "SMELL"),
    ],
)
def test_a_mistake_in_the_file_is_named(document: object, named: str) -> None:
    with pytest.raises(InvalidInput, match=named) as raised:
        parse(document, source="placement.yaml")
    assert "placement.yaml" in str(raised.value)


def test_a_file_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No placement policy"):
        settings.placement_policy(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InvalidInput, match="is not YAML"):
        settings.placement_policy(tmp_path / "bad.yaml")


def test_an_unknown_kind_is_expected_to_be_a_guess() -> None:
    assert PlacementPolicy().prior(Tier.DEVICE, Representation.CLIP, Task.LISTEN) == Prior(0.5, 5.0)


def test_each_rung_costs_about_ten_times_the_one_below() -> None:
    device, edge, cloud = (PlacementPolicy().cost(tier, seconds=1.0) for tier in Tier)
    assert edge / device == pytest.approx(10)
    assert cloud / edge == pytest.approx(10)
    assert PlacementPolicy().cost(Tier.CLOUD, seconds=0.0, crossing_bytes=10**9) == pytest.approx(0.09)


def test_too_few_measurements_leave_the_prior() -> None:
    latencies = Latencies()
    for _ in range(ENOUGH - 1):
        latencies.took(_EDGE, Task.COUNT, 0.1)
    assert latencies.q95(_EDGE, Task.COUNT, otherwise=3.0) == 3.0
    latencies.took(_EDGE, Task.COUNT, 0.1)
    assert latencies.q95(_EDGE, Task.COUNT, otherwise=3.0) == 0.1
    assert latencies.q95(_EDGE, Task.FIND, otherwise=3.0) == 3.0


def test_the_quantile_is_of_the_last_steps() -> None:
    latencies = Latencies()
    for number in range(1, 2 * WINDOW + 1):
        latencies.took(_EDGE, Task.COUNT, float(number))
    # The last 64 are 65..128; the 62nd of them (0.95 * 65 rounded up) is 126.
    assert latencies.q95(_EDGE, Task.COUNT, otherwise=3.0) == 126.0


def test_a_wrong_setting_is_named_as_people_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEATE_ROUTER_CLIP_BYTES", "many")
    with pytest.raises(InvalidInput, match="FOVEATE_ROUTER_CLIP_BYTES"):
        settings.load()
