"""What a placement is expected to give and to cost, and what an error and a second are worth.

In: nothing, or a parsed YAML document. Out: a frozen `PlacementPolicy`. The numbers are cold-start constants: prices
from list prices, confidences and latencies as guesses of the embedded answerers until `latency.py` has measured.
It knows no question and no fleet; `candidates` is next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from foveate.errors import InvalidInput
from foveate.messages import Representation, Task, Tier

GUESS = 0.5
"""Confidence of knowing nothing: what an unsure answer and a missing one are worth."""
SURE = 0.97
"""Confidence of an answer that turned out sure; the two-point model of `choose` knows only this and GUESS."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars: `second` of a tier's work, `gigabyte` of footage that it makes cross the site's boundary."""

    second: float
    gigabyte: float = 0.0


@dataclass(frozen=True, slots=True)
class Prior:
    """What is expected of a kind of placement before anything was measured."""

    confidence: float
    latency_q95_s: float


Kind = tuple[Tier, Representation, Task]

# Hardware over three years plus energy at 0.30 USD/kWh: a camera's chip (100 USD, 3 W), an edge box (1000 USD, 30 W),
# and a cloud machine at 0.47 USD/h; each rung about ten times the one below. Egress: the usual list price.
_PRICES: Mapping[Tier, Price] = {
    Tier.DEVICE: Price(second=1.3e-6),
    Tier.EDGE: Price(second=1.3e-5),
    Tier.CLOUD: Price(second=1.3e-4, gigabyte=0.09),
}
_TASKS: Mapping[Tier, tuple[Task, ...]] = {
    Tier.DEVICE: (Task.PRESENCE, Task.COUNT),
    Tier.EDGE: (
        *(Task.PRESENCE, Task.COUNT, Task.FIND, Task.READ, Task.LISTEN, Task.COMPARE, Task.DESCRIBE, Task.EXTRACT),
    ),
    Tier.CLOUD: (Task.PRESENCE, Task.COUNT, Task.FIND, Task.COMPARE),
}
# Presence, count and find; seconds that 95 of 100 keep to, on a small machine that does other work as well.
_EMBEDDED: tuple[tuple[Tier, Representation, tuple[float, float, float], float], ...] = (
    (Tier.DEVICE, Representation.FRAMES, (0.90, 0.82, 0.50), 0.3),
    (Tier.EDGE, Representation.FACTS, (0.84, 0.80, 0.84), 0.4),
    (Tier.EDGE, Representation.EMBEDDING, (0.62, 0.50, 0.64), 0.8),
    (Tier.EDGE, Representation.REDACTED_FRAMES, (0.85, 0.78, 0.84), 3.5),
    (Tier.EDGE, Representation.FRAMES, (0.91, 0.85, 0.90), 3.0),
    (Tier.EDGE, Representation.CLIP, (0.92, 0.86, 0.91), 3.0),
    (Tier.CLOUD, Representation.FACTS, (0.82, 0.78, 0.82), 1.5),
    (Tier.CLOUD, Representation.EMBEDDING, (0.62, 0.50, 0.64), 2.0),
)
# What is read, heard, told apart or filled in; the embedded default describes with what its detector has names for.
_OTHERS: Mapping[Kind, Prior] = {
    (Tier.EDGE, Representation.FACTS, Task.READ): Prior(0.66, 0.6),
    (Tier.EDGE, Representation.FRAMES, Task.READ): Prior(0.74, 5.0),
    (Tier.EDGE, Representation.CLIP, Task.READ): Prior(0.74, 5.0),
    (Tier.EDGE, Representation.FACTS, Task.LISTEN): Prior(0.66, 0.6),
    (Tier.EDGE, Representation.CLIP, Task.LISTEN): Prior(0.72, 8.0),
    (Tier.EDGE, Representation.FACTS, Task.COMPARE): Prior(0.76, 0.6),
    (Tier.CLOUD, Representation.FACTS, Task.COMPARE): Prior(0.74, 1.5),
    (Tier.EDGE, Representation.FACTS, Task.DESCRIBE): Prior(0.56, 0.6),
    (Tier.EDGE, Representation.FRAMES, Task.DESCRIBE): Prior(0.72, 3.0),
    (Tier.EDGE, Representation.CLIP, Task.DESCRIBE): Prior(0.72, 3.0),
    (Tier.EDGE, Representation.FACTS, Task.EXTRACT): Prior(0.62, 0.8),
    (Tier.EDGE, Representation.FRAMES, Task.EXTRACT): Prior(0.66, 6.0),
    (Tier.EDGE, Representation.CLIP, Task.EXTRACT): Prior(0.66, 6.0),
}


def _priors() -> dict[Kind, Prior]:
    tasks = (Task.PRESENCE, Task.COUNT, Task.FIND)
    return dict(_OTHERS) | {
        (tier, representation, task): Prior(confidence, seconds)
        for tier, representation, confidences, seconds in _EMBEDDED
        for task, confidence in zip(tasks, confidences, strict=True)
    }


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """What the choice weighs; hard limits are in the question's constraints and the residency policy."""

    error_usd: float = 0.10
    """w: what a wrong answer costs; with `second_usd` it says how long a person waits to be surer."""
    second_usd: float = 0.002
    """l: what a second of waiting costs, about 7 USD an hour."""
    deadline_s: float = 10.0
    """For questions that name none."""
    max_cost_usd: float = 0.05
    """For questions that name none."""
    min_confidence: float = 0.55
    """Below it the final answer is "cannot tell"; a little above a coin's 0.5."""
    correlation: float = 0.3
    """rho: how much an unsure answer makes the next one likely to be unsure, 0 not at all to 1 surely."""
    prices: Mapping[Tier, Price] = field(default_factory=lambda: dict(_PRICES))
    priors: Mapping[Kind, Prior] = field(default_factory=_priors)
    tasks: Mapping[Tier, tuple[Task, ...]] = field(default_factory=lambda: dict(_TASKS))
    """What the nodes of each tier can do; a fleet with a vision-language model at its edges names more."""
    open_vocabulary: tuple[Tier, ...] = ()
    """Tiers whose model looks for any words in pictures, not for the detector's names alone."""

    def prior(self, tier: Tier, representation: Representation, task: Task) -> Prior:
        """What is expected; a kind that nobody named gives no more than a guess in five seconds."""
        return self.priors.get((tier, representation, task), Prior(GUESS, 5.0))

    def cost(self, tier: Tier, *, seconds: float, crossing_bytes: int = 0) -> float:
        """US dollars of so many seconds at a tier and so many bytes out of a site."""
        price = self.prices.get(tier, Price(0.0))
        return price.second * seconds + price.gigabyte * crossing_bytes / 1e9


_NUMBERS = ("error_usd", "second_usd", "deadline_s", "max_cost_usd", "min_confidence", "correlation")
_FRACTIONS = {"min_confidence", "correlation", "confidence"}


def parse(document: Any, *, source: str) -> PlacementPolicy:  # noqa: ANN401  YAML may hold anything
    """The policy in a parsed YAML document; what it does not name keeps its default.

    `prices: {edge: {second: 1.0e-5}}`, `tasks: {edge: [presence, describe]}`, `open_vocabulary: [edge]`, `priors:
    [{tier: edge, representation: CLIP, task: count, confidence: 0.9, latency_q95_s: 2}]`. InvalidInput names the place
    of a mistake.
    """
    known = [f.name for f in fields(PlacementPolicy)]
    document = _mapping(document, known, where=source)
    policy = PlacementPolicy()
    changes: dict[str, Any] = {
        key: _number(document[key], key, where=f"{source}: {key}") for key in _NUMBERS if key in document
    }
    if "prices" in document:
        entries = _mapping(document["prices"], list(Tier), where=f"{source}: prices")
        changes["prices"] = {
            **policy.prices,
            **{Tier(k): _price(v, where=f"{source}: {k}") for k, v in entries.items()},
        }
    if "tasks" in document:
        entries = _mapping(document["tasks"], list(Tier), where=f"{source}: tasks")
        changes["tasks"] = {**policy.tasks, **{Tier(k): _tasks(v, where=f"{source}: {k}") for k, v in entries.items()}}
    if "open_vocabulary" in document:
        changes["open_vocabulary"] = _tiers(document["open_vocabulary"], where=f"{source}: open_vocabulary")
    if "priors" in document:
        changes["priors"] = {
            **policy.priors,
            **dict(_prior(item, source) for item in _list(document["priors"], source)),
        }
    return replace(policy, **changes)


def _mapping(value: Any, known: list[str] | list[Tier], *, where: str) -> dict[str, Any]:  # noqa: ANN401
    names = [str(name) for name in known]
    if not isinstance(value, dict) or set(value) - set(names):
        raise InvalidInput(f"{where}: expected a mapping with keys out of {', '.join(names)}.")
    return value


def _list(value: Any, where: str) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise InvalidInput(f"{where}: expected a list.")
    return value


def _number(value: Any, key: str, *, where: str) -> float:  # noqa: ANN401
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (key in _FRACTIONS and value > 1):
        raise InvalidInput(f"{where}: {value!r} must be a number from 0{' to 1' if key in _FRACTIONS else ' up'}.")
    return float(value)


def _price(value: Any, *, where: str) -> Price:  # noqa: ANN401
    entries = _mapping(value, ["second", "gigabyte"], where=where)
    if "second" not in entries:
        raise InvalidInput(f"{where}: a price needs `second`, in US dollars.")
    return Price(**{key: _number(number, key, where=where) for key, number in entries.items()})


def _tasks(value: Any, *, where: str) -> tuple[Task, ...]:  # noqa: ANN401
    try:
        return tuple(Task(task) for task in _list(value, where))
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}; tasks are {', '.join(Task)}.") from error


def _tiers(value: Any, *, where: str) -> tuple[Tier, ...]:  # noqa: ANN401
    try:
        return tuple(Tier(tier) for tier in _list(value, where))
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}; tiers are {', '.join(Tier)}.") from error


def _prior(item: Any, source: str) -> tuple[Kind, Prior]:  # noqa: ANN401
    where = f"{source}: priors"
    keys = ["tier", "representation", "task", "confidence", "latency_q95_s"]
    entry = _mapping(item, keys, where=where)
    if set(entry) != set(keys):
        raise InvalidInput(f"{where}: each names {', '.join(keys)}.")
    try:
        kind = (Tier(entry["tier"]), Representation[str(entry["representation"])], Task(entry["task"]))
    except (ValueError, KeyError) as error:
        raise InvalidInput(f"{where}: {error} is unknown.") from error
    numbers = [_number(entry[key], key, where=where) for key in keys[3:]]
    return kind, Prior(*numbers)
