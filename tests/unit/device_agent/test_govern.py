"""The governor: a budget is held by giving up the least important first, and given back when there is room."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.govern import LEVELS, Governor, share_of
from device_agent.rules import Budget


def ran(governor: Governor, shares: list[float], *, every: float = 5.0) -> None:
    """Feeds one reading for each share of a core; continues from what it was fed before."""
    time, spent = getattr(governor, "_before", None) or (0.0, 0.0)
    governor.hear(time=time, cpu_seconds=spent)
    for share in shares:
        time, spent = time + every, spent + share * every
        governor.hear(time=time, cpu_seconds=spent)


def test_without_a_budget_nothing_is_given_up() -> None:
    governor = Governor(Budget())
    ran(governor, [1.0] * 50)
    assert governor.allowance == LEVELS[0]
    assert governor.given_up == ()
    assert governor.used == pytest.approx(1.0)


def test_milliwatts_become_a_share_by_the_stated_model() -> None:
    assert share_of(Budget(milliwatts=700.0, idle_mw=350.0, core_mw=1400.0)) == pytest.approx(0.25)
    assert share_of(Budget(milliwatts=100.0)) == 0.0
    assert share_of(Budget(cpu_share=0.1)) == 0.1


def test_too_much_gives_up_the_least_important_first() -> None:
    governor = Governor(Budget(cpu_share=0.1))
    seen = []
    for _ in range(10):
        ran(governor, [0.5])
        seen.append(governor.allowance)
    assert seen[0] == LEVELS[1]
    assert seen[-1] == LEVELS[-1]
    assert [LEVELS.index(level) for level in seen] == sorted(LEVELS.index(level) for level in seen)


def test_each_level_allows_no_more_than_the_one_before() -> None:
    for one, two in itertools.pairwise(LEVELS):
        assert two.look_s >= one.look_s
        assert two.encode_s >= one.encode_s
        assert two.alike <= one.alike
        assert two.doze_s >= one.doze_s
        assert two != one


def test_what_was_given_up_is_said_once() -> None:
    governor = Governor(Budget(cpu_share=0.1))
    ran(governor, [0.5] * 3)
    assert governor.given_up == (LEVELS[1].words, LEVELS[3].words)


def test_room_gives_it_back_slowly() -> None:
    governor = Governor(Budget(cpu_share=0.2))
    ran(governor, [0.9] * 4)
    ran(governor, [0.0] * 12)
    after_rest = LEVELS.index(governor.allowance)
    ran(governor, [0.0] * 60)
    assert after_rest > 0
    assert governor.allowance == LEVELS[0]
    assert governor.given_up == ()


def test_near_the_budget_it_holds_still() -> None:
    governor = Governor(Budget(cpu_share=0.2))
    ran(governor, [0.9, 0.9])
    ran(governor, [0.18] * 20)
    level = governor.allowance
    ran(governor, [0.18] * 20)
    assert governor.allowance == level


def test_a_budget_is_held() -> None:
    """A scene that would cost 40 % of a core at full rate, by a model in which cost follows the detector's rate."""
    governor = Governor(Budget(cpu_share=0.12))
    shares: list[float] = []
    for _ in range(200):
        rate = min(5.0, 1.0 / governor.allowance.look_s) if governor.allowance.look_s else 5.0
        shares.append(0.02 + 0.076 * rate)
        ran(governor, shares[-1:])
    assert sum(shares[50:]) / 150 <= 0.12 * 1.1


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=40), st.floats(0.0, 2.0))
def test_any_clock_is_survived(readings: list[tuple[float, float]], limit: float) -> None:
    governor = Governor(Budget(cpu_share=limit))
    for time, spent in readings:
        assert governor.hear(time=time, cpu_seconds=spent) in LEVELS
    assert governor.used >= 0.0
