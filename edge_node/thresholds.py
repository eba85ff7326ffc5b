"""From what a model's confidence is to what it is worth: a threshold and a calibration for each model and task.

In: pairs of (confidence, right) that were measured offline, or the file that keeps what was made of them. Out: the
confidence below which the model thinks, and how likely an answer of some confidence is right. Pure but for reading
the file. A quantised model is another model: the tag says so. Next: `gate.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from foveate import document
from foveate.errors import InvalidInput
from foveate.messages import Task
from foveate.vision.likelihood import Platt

DEFAULT = 0.97
"""What VideoAuto-R1 uses with Qwen2.5-VL-7B (0.98 with Qwen3-VL-8B): for a model that nobody calibrated here."""

CAP = 0.7
"""Ceiling of an uncalibrated model's confidence: language models are surer than they are right."""

ALPHA, DELTA = 0.05, 0.1
"""Error allowed among those that do not think, and the chance of promising that in vain."""

ALWAYS = math.inf
"""The threshold of a model that is never sure enough: it always thinks."""

Pair = tuple[float, bool]
"""The confidence of one answer, 0 to 1, and whether it was right."""

_KEYS = ("model", "task", "threshold", "pairs", "alpha", "slope", "offset", "thinking_tokens")
_STEPS = 50  # of Newton's method; it needs about eight
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Bar:
    """What is known of one model at one task; `pairs` is what it rests on, 0 for nothing measured here.

    `thinking_tokens` is the mean length of its thinking, 0.0 when unknown.
    """

    threshold: float = DEFAULT
    pairs: int = 0
    alpha: float = ALPHA
    platt: Platt | None = None
    thinking_tokens: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether confidences of this model at this task mean something."""
        return self.platt is not None

    def worth(self, confidence: float) -> float:
        """How likely an answer of this raw confidence is right; at most CAP when that was never measured."""
        return min(confidence, CAP) if self.platt is None else self.platt.probability(confidence)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Bars by (model tag, task); `defaults` are thresholds that an operator set by hand, which calibrate nothing."""

    bars: Mapping[tuple[str, Task], Bar] = field(default_factory=dict)
    defaults: Mapping[Task, float] = field(default_factory=dict)

    def of(self, model: str, task: Task) -> Bar:
        """The bar of this very tag and task; one that says it is not calibrated when there is none."""
        return self.bars.get((model, task)) or Bar(self.defaults.get(task, DEFAULT))


def least_pairs(alpha: float = ALPHA, delta: float = DELTA) -> int:
    """The fewest pairs, all right, that bear out an error of at most `alpha`: (1 - alpha)^n <= delta. 45 for 5 %."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def threshold_of(pairs: Sequence[Pair], *, alpha: float = ALPHA, delta: float = DELTA) -> float | None:
    """The lowest threshold at which the error among those at or above it is <= alpha, with probability 1 - delta.

    Learn-then-Test with a fixed sequence (Angelopoulos et al., 2021): from the highest confidences downwards, exact
    binomial tests, until one fails. None for too few pairs; ALWAYS when not even the highest confidences will do.
    """
    ranked = sorted(pairs, key=lambda pair: -pair[0])
    if len(ranked) < least_pairs(alpha, delta):
        return None
    found, count, wrong = ALWAYS, 0, 0
    for confidence, group in groupby(ranked, key=lambda pair: pair[0]):
        for _, right in group:
            count, wrong = count + 1, wrong + (not right)
        if count < least_pairs(alpha, delta):
            continue
        if _at_most(wrong, count, alpha) > delta:
            break
        found = confidence
    return found


def calibration_of(pairs: Sequence[Pair]) -> Platt | None:
    """Platt's map from confidence to the chance of being right, by Newton's method; None for fewer than 45 pairs.

    With Platt's targets instead of 0 and 1, so that a perfect record does not make a certainty. One that would turn
    the order around is replaced by the base rate: such confidences tell nothing.
    """
    if len(pairs) < least_pairs():
        return None
    right = sum(good for _, good in pairs)
    high, low = (right + 1) / (right + 2), 1 / (len(pairs) - right + 2)
    targets = [high if good else low for _, good in pairs]
    places = [_logit(confidence) for confidence, _ in pairs]
    slope, offset = _newton(places, targets)
    return Platt(slope, offset) if slope > 0 else Platt(0.0, _logit(sum(targets) / len(targets)))


def bar_of(pairs: Sequence[Pair], *, alpha: float = ALPHA, thinking_tokens: float = 0.0) -> Bar:
    """All that can be learnt from the pairs of one model at one task."""
    threshold = threshold_of(pairs, alpha=alpha)
    return Bar(
        threshold=DEFAULT if threshold is None else threshold,
        pairs=len(pairs),
        alpha=alpha,
        platt=calibration_of(pairs),
        thinking_tokens=thinking_tokens,
    )


def load(path: Path) -> dict[tuple[str, Task], Bar]:
    """The bars that a file keeps; NotFound or InvalidInput with the row at fault."""
    written = document.read(path, what="calibration")
    rows = written.get("bars")
    if set(written) != {"bars"} or not isinstance(rows, list):
        raise InvalidInput(f"The calibration {path} needs the one key `bars`, a list of rows.", path=str(path))
    return dict(_row(row, where=f"bars[{index}] of {path}") for index, row in enumerate(rows))


def dump(bars: Mapping[tuple[str, Task], Bar]) -> str:
    """The file's text."""
    return str(yaml.safe_dump({"bars": list(_rows(bars))}, sort_keys=False))


def _rows(bars: Mapping[tuple[str, Task], Bar]) -> Iterator[dict[str, Any]]:
    for (model, task), bar in bars.items():
        row: dict[str, Any] = {"model": model, "task": task.value, "threshold": bar.threshold, "pairs": bar.pairs}
        row |= {"alpha": bar.alpha, "thinking_tokens": bar.thinking_tokens}
        yield row | ({"slope": bar.platt.slope, "offset": bar.platt.offset} if bar.platt else {})


def _row(row: Any, *, where: str) -> tuple[tuple[str, Task], Bar]:  # noqa: ANN401  YAML may hold anything
    if not isinstance(row, dict) or set(row) - set(_KEYS) or not {"model", "task", "threshold", "pairs"} <= set(row):
        raise InvalidInput(f"{where} needs model, task, threshold and pairs, and knows only {', '.join(_KEYS)}.")
    model, task = row["model"], row["task"]
    if not isinstance(model, str) or not model or task not in [one.value for one in Task]:
        raise InvalidInput(f"{where} needs a model's tag, such as name@revision, and one of the tasks.")
    numbers = {key: _number(row[key], where=f"{key} of {where}") for key in row if key not in ("model", "task")}
    pairs, both = int(numbers["pairs"]), {"slope", "offset"} & set(numbers)
    if len(both) == 1 or (both and (numbers["slope"] < 0 or pairs < least_pairs())):
        raise InvalidInput(f"{where} needs slope (0 or more) and offset together, from at least {least_pairs()} pairs.")
    bar = Bar(
        threshold=numbers["threshold"],
        pairs=pairs,
        alpha=numbers.get("alpha", ALPHA),
        platt=Platt(numbers["slope"], numbers["offset"]) if both else None,
        thinking_tokens=numbers.get("thinking_tokens", 0.0),
    )
    return (model, Task(task)), bar


def _number(value: Any, *, where: str) -> float:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise InvalidInput(f"{where} is {value!r}; give a number.")
    if value < 0 and not where.startswith("offset "):
        raise InvalidInput(f"{where} is {value!r}; give 0 or more.")
    if math.isinf(value) and not where.startswith("threshold "):
        raise InvalidInput(f"{where} is {value!r}; give a finite number.")
    return float(value)


def _at_most(wrong: int, count: int, alpha: float) -> float:
    """P(X <= wrong) for X ~ Binomial(count, alpha)."""
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(alpha)
        + (count - k) * math.log1p(-alpha)
        for k in range(wrong + 1)
    )
    return math.fsum(math.exp(log) for log in logs)


def _logit(confidence: float) -> float:
    held = min(max(confidence, 1e-3), 1.0 - 1e-3)  # as Platt.probability holds it
    return math.log(held / (1.0 - held))


def _newton(places: Sequence[float], targets: Sequence[float]) -> tuple[float, float]:
    """The slope and offset of least log-loss; far from it the curve is flat, so steps are halved until they help."""
    at, loss = (1.0, 0.0), _loss(places, targets, (1.0, 0.0))
    for _ in range(_STEPS):
        step = _step(places, targets, at)
        share = 1.0
        while share > 1e-6:
            tried = at[0] - share * step[0], at[1] - share * step[1]
            if (less := _loss(places, targets, tried)) < loss:
                break
            share /= 2
        else:
            break
        at, loss = tried, less
    return at


def _step(places: Sequence[float], targets: Sequence[float], at: tuple[float, float]) -> tuple[float, float]:
    """Newton's step: the inverse of the Hessian [[a, b], [b, c]] times the gradient."""
    chances = [1.0 / (1.0 + math.exp(-max(-35.0, min(35.0, at[0] * x + at[1])))) for x in places]
    misses = [p - t for p, t in zip(chances, targets, strict=True)]
    weights = [p * (1.0 - p) for p in chances]
    down = math.fsum(miss * x for miss, x in zip(misses, places, strict=True)) + _RIDGE * at[0]
    across = math.fsum(misses)
    a = math.fsum(w * x * x for w, x in zip(weights, places, strict=True)) + _RIDGE
    b = math.fsum(w * x for w, x in zip(weights, places, strict=True))
    c = math.fsum(weights) + 1e-12
    determinant = a * c - b * b
    return (c * down - b * across) / determinant, (a * across - b * down) / determinant


def _loss(places: Sequence[float], targets: Sequence[float], at: tuple[float, float]) -> float:
    """Cross-entropy with a little ridge, which keeps confidences that are all alike solvable."""
    total = _RIDGE * at[0] ** 2 / 2
    for x, target in zip(places, targets, strict=True):
        odds = max(-35.0, min(35.0, at[0] * x + at[1]))
        total += math.log1p(math.exp(-odds)) + (1.0 - target) * odds
    return total
