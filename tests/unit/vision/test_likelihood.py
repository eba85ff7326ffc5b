"""Counting: the convolution against every possible outcome, and what a score may and may not change."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate.vision.likelihood import PEOPLE, THINGS, Platt, calibration, count, presence

scores = st.lists(st.floats(0.0, 1.0, allow_nan=False), max_size=7)
platts = st.builds(Platt, st.floats(0.1, 8.0), st.floats(-3.0, 3.0))


def by_enumeration(probabilities: list[float]) -> list[float]:
    """P(N = n) by adding up every combination of there and not there."""
    total = [0.0] * (len(probabilities) + 1)
    for present in itertools.product((False, True), repeat=len(probabilities)):
        chance = math.prod(p if is_there else 1.0 - p for p, is_there in zip(probabilities, present, strict=True))
        total[sum(present)] += chance
    return total


@given(scores=scores, platt=platts)
def test_the_count_is_poisson_binomial(scores: list[float], platt: Platt) -> None:
    expected = by_enumeration([platt.probability(score) for score in scores])
    found = count(scores, platt)
    assert found.distribution == pytest.approx(expected, abs=1e-9)
    assert math.fsum(found.distribution) == pytest.approx(1.0)
    assert found.probability == max(found.distribution) == found.distribution[found.value]


@given(scores=scores, platt=platts)
def test_presence_is_at_least_one(scores: list[float], platt: Platt) -> None:
    assert presence(scores, platt) == pytest.approx(count(scores, platt).at_least(1), abs=1e-9)


@given(scores=scores, more=st.floats(0.0, 1.0), platt=platts)
def test_another_candidate_never_makes_presence_less_likely(scores: list[float], more: float, platt: Platt) -> None:
    assert presence([*scores, more], platt) >= presence(scores, platt)


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0), platt=platts)
def test_a_higher_score_never_makes_presence_less_likely(low: float, high: float, platt: Platt) -> None:
    low, high = sorted((low, high))
    assert presence([high], platt) >= presence([low], platt)


@given(scores=scores, platt=platts)
def test_at_least_falls_with_the_number(scores: list[float], platt: Platt) -> None:
    found = count(scores, platt)
    chances = [found.at_least(number) for number in range(-1, len(scores) + 2)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] == 1.0
    assert chances[-1] == 0.0


def test_nothing_seen_is_surely_nothing() -> None:
    assert presence([], PEOPLE) == 0.0
    found = count([], PEOPLE)
    assert (found.value, found.probability, found.distribution) == (0, 1.0, (1.0,))


def test_three_clear_candidates_and_one_faint_are_three() -> None:
    assert count([0.9, 0.9, 0.9, 0.1], PEOPLE).value == 3


def test_the_ends_of_the_scale_have_odds_too() -> None:
    assert 0.0 < PEOPLE.probability(0.0) < 0.001
    assert 0.999 < PEOPLE.probability(1.0) <= 1.0


def test_people_and_things_are_calibrated_apart() -> None:
    assert calibration(("person",)) is PEOPLE
    assert calibration(("car",)) is THINGS
    assert calibration(("person", "car")) is THINGS
    assert THINGS.probability(0.4) > PEOPLE.probability(0.4)
