"""In which order to try what the filter let through: every ordered subset is weighed exactly.

The model has two points: a placement's answer turns out sure (confidence SURE) or unsure (GUESS), with the chance that
makes its expected confidence come true. One question is hard or easy for all tiers alike, so after an unsure answer
chances shrink by the correlation rho, as far as both look at the same devices; the same FACTS read elsewhere add
nothing. Expected loss of a path: the cost of each step times the chance to reach it, plus w times the error left.
It knows no residency: only what may be tried comes in. `settle` is next and uses the same `chance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foveate.messages import Placement, Representation, Tier
from router.candidates import Candidate
from router.policy import GUESS, SURE, PlacementPolicy

LONGEST = 5
"""Placements of a plan at most; a fifth is reached about once in a thousand questions."""
WIDEST = 7
"""Candidates that are weighed; of more, those with the least expected loss alone."""

_NOTHING = 1e-12
"""US dollars below which two losses are the same: rounding must not decide."""


@dataclass(frozen=True, slots=True)
class Path:
    """Placements in order; `loss` is in expected US dollars, errors and waiting included."""

    candidates: tuple[Candidate, ...] = ()
    loss: float = 1e9


def chance(candidate: Candidate, *, tried: Sequence[Candidate], sureness: float, policy: PlacementPolicy) -> float:
    """Chance that its answer turns out sure, when earlier answers left us `sureness` (0 unsure to 1 sure)."""
    alone = min(1.0, max(0.0, (candidate.confidence - GUESS) / (SURE - GUESS)))
    if any(_shows_nothing_new(candidate, earlier) for earlier in tried):
        return 0.0
    overlap = max((_overlap(candidate, earlier) for earlier in tried), default=0.0)
    return alone * (1.0 - policy.correlation * overlap * (1.0 - sureness))


def price(candidate: Candidate, policy: PlacementPolicy) -> float:
    """What trying it costs in US dollars, the wait included."""
    return candidate.cost_usd + policy.second_usd * candidate.latency_q95_s


def choose(
    candidates: Sequence[Candidate], *, policy: PlacementPolicy, seconds: float, usd: float
) -> tuple[Candidate, ...]:
    """The ordered subset, never empty when something fits, of least expected loss within seconds and US dollars.

    Ties go to the shorter path, then the cheaper one, then the names: the same input always gives the same plan.
    """
    within = [c for c in candidates if c.latency_q95_s <= seconds and c.cost_usd <= usd]
    order = sorted(within, key=lambda c: (_loss_alone(c, policy), c.cost_usd, c.placement))
    search = _Search(order[:WIDEST], policy=policy, seconds=seconds, usd=usd)
    search.extend(_Walk())
    return search.best.candidates


def _loss_alone(candidate: Candidate, policy: PlacementPolicy) -> float:
    sure = chance(candidate, tried=(), sureness=0.0, policy=policy)
    return price(candidate, policy) - sure * policy.error_usd * (SURE - GUESS)


@dataclass(frozen=True, slots=True)
class _Walk:
    """A path so far, by index: the chance that it is still unsure, and the loss of the parts that ended."""

    path: tuple[int, ...] = ()
    reach: float = 1.0
    spent: float = 0.0
    seconds: float = 0.0
    usd: float = 0.0


class _Search:
    """Depth first over ordered subsets; a branch ends when not even the best that may follow could pay."""

    def __init__(self, candidates: Sequence[Candidate], *, policy: PlacementPolicy, seconds: float, usd: float) -> None:
        self.best = Path()
        self._candidates = candidates
        self._seconds = seconds
        self._usd = usd
        self._error = policy.error_usd
        self._alone = [chance(c, tried=(), sureness=0.0, policy=policy) for c in candidates]
        self._after = [[chance(c, tried=(e,), sureness=0.0, policy=policy) for e in candidates] for c in candidates]
        self._price = [price(c, policy) for c in candidates]

    def extend(self, walk: _Walk) -> None:
        """Weighs every path that begins with this one."""
        rest = [index for index in range(len(self._candidates)) if index not in walk.path]
        if len(walk.path) == LONGEST or not rest or self._floor(walk, rest) >= self.best.loss:
            return
        for index in rest:
            longer = self._extended(walk, index)
            if longer is not None:
                self._weigh(longer)
                self.extend(longer)

    def _extended(self, walk: _Walk, index: int) -> _Walk | None:
        """The path with one more step; None when that breaks a limit or adds nothing."""
        candidate = self._candidates[index]
        seconds, usd = walk.seconds + candidate.latency_q95_s, walk.usd + candidate.cost_usd
        # The earlier step that overlaps most decides, so the least of the pairwise chances does.
        sure = min((self._after[index][earlier] for earlier in walk.path), default=self._alone[index])
        if seconds > self._seconds or usd > self._usd or (walk.path and sure == 0.0):
            return None
        ended = self._price[index] + sure * self._error * (1.0 - SURE)
        return _Walk((*walk.path, index), walk.reach * (1.0 - sure), walk.spent + walk.reach * ended, seconds, usd)

    def _floor(self, walk: _Walk, rest: Sequence[int]) -> float:
        """No longer path loses less: one more step at the least price, and every chance as if nothing were known."""
        unsure = math.prod(1.0 - self._alone[index] for index in rest)
        after = min(self._price[index] for index in rest) + self._error * (
            (1.0 - unsure) * (1.0 - SURE) + unsure * (1.0 - GUESS)
        )
        return walk.spent + walk.reach * after

    def _weigh(self, walk: _Walk) -> None:
        loss = walk.spent + walk.reach * self._error * (1.0 - GUESS)
        if loss > self.best.loss + _NOTHING:
            return
        path = tuple(self._candidates[index] for index in walk.path)
        if _key(path, loss) < _key(self.best.candidates, self.best.loss):
            self.best = Path(path, loss)


def _key(path: tuple[Candidate, ...], loss: float) -> tuple[float, int, float, tuple[Placement, ...]]:
    """What decides between paths: loss, then fewer steps, then less money, then the names."""
    usd = sum(candidate.cost_usd for candidate in path)
    return round(loss / _NOTHING), len(path), usd, tuple(candidate.placement for candidate in path)


def _overlap(candidate: Candidate, earlier: Candidate) -> float:
    """The share of the candidate's devices that the earlier one looked at too."""
    seen = set(earlier.device_ids)
    return sum(device_id in seen for device_id in candidate.device_ids) / len(candidate.device_ids)


def _shows_nothing_new(candidate: Candidate, earlier: Candidate) -> bool:
    """Whether the earlier one rested on the same: a device's FACTS are its own detections, wherever they are read, and
    a node that looked at footage sees it no better in another form."""
    if not set(candidate.device_ids) <= set(earlier.device_ids):
        return False
    now, before = candidate.placement, earlier.placement
    if _is_own_detections(now):
        return _is_own_detections(before)
    if now.representation < Representation.REDACTED_FRAMES:
        return before.representation is now.representation
    looked = before.representation >= Representation.REDACTED_FRAMES
    return looked and (now.tier, now.node) == (before.tier, before.node)


def _is_own_detections(placement: Placement) -> bool:
    return placement.tier is Tier.DEVICE or placement.representation is Representation.FACTS
