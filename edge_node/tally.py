"""How many things pictures show: at a moment, now, or the most at once. Pure.

In: what each picture of a clip shows, and what memory counted. Out: a `Tally`, the likeliest number with how likely it
is and the picture that shows it best. It knows no words. Next: `verdict.py`, which makes the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from edge_node.closer import Looked
from edge_node.look import Seen
from foveate.vision import likelihood

SURE = 0.95
"""Ceiling of what pictures alone can prove: one detector, seconds of one camera."""

AROUND_S = 0.45
"""Pictures so close to a moment speak for it: what is hidden in one of them is often seen in the next."""

_RECENT = 5  # pictures that speak for now


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of one clip, its probability, and the picture with so many things confirmed (or the nearest to it)."""

    looked: Looked
    number: int
    sure: float
    seen: Seen


def at_moment(looked: Looked, moment: float, remembered: tuple[int, float] | None) -> Tally:
    """How many were there at a moment, from the pictures around it and, half each, from what memory counted then.

    Each picture gives the chance of every number (Poisson-binomial over its candidates); their mean is what the clip
    says. `remembered` is memory's number with its confidence; what it leaves open is as the pictures say.
    """
    near = [seen for seen in looked.seen if abs(seen.frame.time - moment) <= AROUND_S]
    near = near or [min(looked.seen, key=lambda seen: abs(seen.frame.time - moment))]
    chances = _mean([_distribution(seen) for seen in near])
    if remembered is not None:
        number, sure = remembered
        share = 0.5 + 0.5 * (1.0 - sure)
        chances = [share * chance for chance in chances] + [0.0] * (number + 1 - len(chances))
        chances[number] += 1.0 - share
    value = _median(chances)
    # The picture that shows at least so many nearest to the moment; its surest candidates are what was counted.
    shown = [seen for seen in near if len(seen.candidates) >= value] or near
    best = min(shown, key=lambda seen: (abs(len(seen.confirmed) - value), abs(seen.frame.time - moment)))
    return Tally(looked, value, min(SURE, chances[value]) * best.colour**value, with_boxes(best, value))


def now(looked: Looked) -> Tally:
    """How many are there now, from the chances of the last pictures."""
    recent = looked.seen[-_RECENT:]
    chances = _mean([_distribution(seen) for seen in recent])
    value = _median(chances)
    shown = [seen for seen in reversed(recent) if len(seen.candidates) >= value] or recent
    best = min(shown, key=lambda seen: abs(len(seen.confirmed) - value))
    return Tally(looked, value, _alone(looked, value, chances) * best.colour**value, with_boxes(best, value))


def most(looked: Looked) -> Tally:
    """The most that two pictures show."""
    counts = sorted((len(seen.confirmed) for seen in looked.seen), reverse=True)
    number = counts[min(1, len(counts) - 1)]
    among = [seen for seen in looked.seen if len(seen.confirmed) == number]
    best = max(among or looked.seen, key=lambda seen: likelihood.presence(*_scored(seen)))
    return Tally(looked, number, _exactly(looked, number, best) * best.colour**number, best)


def with_boxes(seen: Seen, number: int) -> Seen:
    """The picture with the surest `number` of its candidates as what it shows."""
    ranked = [*seen.confirmed, *(one for one in seen.candidates if one not in seen.confirmed)]
    return replace(seen, confirmed=tuple(ranked[:number]))


def empty(looked: Looked) -> float:
    """How sure it is that the pictures show nothing: as sure as the best candidate that was not enough is poor."""
    return min(SURE, 1.0 - max(seen.best_candidate for seen in looked.seen))


def _distribution(seen: Seen) -> tuple[float, ...]:
    chosen = seen.candidates or seen.confirmed
    labels = sorted({one.label for one in chosen})
    return likelihood.count([one.score for one in chosen], likelihood.calibration(labels)).distribution


def _median(chances: Sequence[float]) -> int:
    """The number that is off by least: by 0.52 people at 60 moments of PETS09-S2L1; the likeliest number is by 0.55,
    one picture alone by 0.68."""
    return next(n for n, below in enumerate(accumulate(chances)) if below >= 0.5 - 1e-9)


def _alone(looked: Looked, number: int, chances: Sequence[float]) -> float:
    """How sure a number is that pictures alone tell: nothing as far as nothing may be there, else its chance."""
    return empty(looked) if number == 0 else min(SURE, chances[number])


def _mean(distributions: Sequence[Sequence[float]]) -> list[float]:
    longest = max(map(len, distributions))
    return [
        sum(one[number] if number < len(one) else 0.0 for one in distributions) / len(distributions)
        for number in range(longest)
    ]


def _exactly(looked: Looked, number: int, seen: Seen) -> float:
    if number == 0:
        return empty(looked)
    distribution = likelihood.count(*_scored(seen)).distribution
    return distribution[min(number, len(distribution) - 1)]


def _scored(seen: Seen) -> tuple[list[float], likelihood.Platt]:
    scores = sorted((one.score for one in seen.confirmed), reverse=True)
    return scores, likelihood.calibration(sorted({one.label for one in seen.confirmed}))
