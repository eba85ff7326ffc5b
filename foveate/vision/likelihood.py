"""How sure a count is: from the detector's scores to the probability of each number of objects.

In: the scores of one label's candidates on one picture. Out: P(at least one) and the distribution of the
count. Pure Python; it knows no pixels, boxes or time. Next: the answers of `device_agent` and `edge_node`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(slope × logit(score) + offset), the log-odds of a score in 0..1 (Platt, 1999)."""

    slope: float
    offset: float

    def probability(self, score: float) -> float:
        """The probability that a candidate with this score (0..1) is a real object of its label."""
        held = min(max(score, 1e-3), 1.0 - 1e-3)  # no score is a certainty
        return _sigmoid(self.slope * math.log(held / (1.0 - held)) + self.offset)


PEOPLE = Platt(3.9, -0.2)
"""NanoDet-g INT8 on people: fitted by `tools/fit_likelihood.py` to 3,638 candidates of PETS09-S2L1, IoU >= 0.4.

Brier score 0.054 raw, 0.016 fitted; count error 3.9 raw, 0.5 fitted. Checked on a clip of one man in a car: 0.08.
"""

THINGS = Platt(3.5, 1.5)
"""The other 79 names, whose scores lie lower: even odds near the threshold of 0.40 at which phantoms end.

Chosen, not fitted: a fit to two clips wanted still lower scores, which empty rooms reach as well.
"""


def calibration(labels: Sequence[str]) -> Platt:
    """The calibration for candidates of any of these labels."""
    return PEOPLE if tuple(labels) == ("person",) else THINGS


@dataclass(frozen=True, slots=True)
class Count:
    """The likeliest number, how likely it is, and `distribution[n]` = P(N = n) for n = 0 .. candidates."""

    value: int
    probability: float
    distribution: tuple[float, ...]

    def at_least(self, number: int) -> float:
        """P(N >= number)."""
        return 1.0 if number <= 0 else min(1.0, math.fsum(self.distribution[number:]))


def presence(scores: Sequence[float], platt: Platt) -> float:
    """P(N >= 1) = 1 - prod(1 - p), candidates taken as independent; 0.0 without any candidate."""
    return 1.0 - math.prod(1.0 - platt.probability(score) for score in scores)


def count(scores: Sequence[float], platt: Platt) -> Count:
    """The mode of the Poisson-binomial distribution of the candidates, by exact convolution (the smaller of equals).

    Objects for which the detector gave no candidate at all are not counted, so in a crowd the count is a lower bound.
    """
    distribution = [1.0]
    for score in scores:
        distribution = _with_one_more(distribution, platt.probability(score))
    value = max(range(len(distribution)), key=distribution.__getitem__)
    return Count(value, distribution[value], tuple(distribution))


def _with_one_more(distribution: list[float], p: float) -> list[float]:
    absent = [(1.0 - p) * mass for mass in distribution] + [0.0]
    present = [0.0] + [p * mass for mass in distribution]
    return [first + second for first, second in zip(absent, present, strict=True)]


def _sigmoid(value: float) -> float:
    if value >= 0.0:
        return 1.0 / (1.0 + math.exp(-value))
    return math.exp(value) / (1.0 + math.exp(value))
