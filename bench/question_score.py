"""How good answers are whose truth is known: accuracy, errors, calibration, abstention, and what the evidence is worth.

In: `Told` (a question, its record, and when the clip began). Out: one row of figures for each placement and kind.
Pure. Next: `questions.py`, which prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import numpy as np
from question_truth import Asked

from foveate.messages import Evidence, Outcome, QuestionRecord, Sighting

BINS = 10
NEAR_S = 2.0
"""A moment this close to the true one is right."""
_SLACK_S = 1.0  # evidence may lie this far outside of what was asked about


@dataclass(frozen=True, slots=True)
class Told:
    """A question with what came of it; `began` is the Unix time of the clip's beginning, `device_id` its camera."""

    placement: str
    asked: Asked
    record: QuestionRecord
    began: float
    device_id: str

    @property
    def answered(self) -> bool:
        """Whether it is an answer and no abstention."""
        return self.record.answer.outcome is Outcome.ANSWERED

    @property
    def error(self) -> float | None:
        """How far a number, or a moment in seconds, is off; None for presence and abstentions."""
        value, truth = self.record.answer.value, self.asked.truth
        if not self.answered or isinstance(truth, bool) or isinstance(value, bool | str) or value is None:
            return None
        return abs(value - self.began - truth) if isinstance(truth, float) else abs(value - truth)

    @property
    def right(self) -> bool:
        """Whether the value is the true one; a moment within NEAR_S."""
        value, truth = self.record.answer.value, self.asked.truth
        if isinstance(truth, bool):
            return self.answered and value is truth
        return self.error is not None and self.error <= (NEAR_S if isinstance(truth, float) else 0.0)

    @property
    def claims(self) -> bool:
        """Whether the answer says that something is there, so that its evidence has to show it."""
        value = self.record.answer.value
        return self.answered and value is not False and value != 0

    @property
    def holds(self) -> bool:
        """Whether the evidence contains what is claimed: the camera, the time, and a box for each thing counted."""
        pieces = [piece for piece in self.record.answer.evidence if piece.device_id == self.device_id]
        boxes = [seen for piece in pieces for seen in piece.sightings if self._within(seen.time)]
        value = self.record.answer.value
        number = value if isinstance(value, int) and not isinstance(value, bool) else 1
        if isinstance(value, float):
            boxes = [seen for seen in boxes if abs(seen.time - value) <= NEAR_S]
        return len(_distinct(boxes, pieces)) >= number

    def overlaps(self) -> list[float]:
        """The overlap of each box with the true box that it fits best, at its own time; empty without true boxes."""
        clip = self.asked.clip
        if clip.boxes is None or not self.claims:
            return []
        found = []
        for piece in self.record.answer.evidence:
            for seen in piece.sightings:
                index = round((seen.time - self.began) / 0.1)
                true = clip.boxes[min(len(clip.boxes) - 1, max(0, index))]
                found.append(max((seen.box.iou(box) for box in true), default=0.0))
        return found

    def _within(self, time: float) -> bool:
        if self.asked.live:
            return True
        start, end = self.began + self.asked.start - _SLACK_S, self.began + self.asked.end + _SLACK_S
        return start <= time <= end


def _distinct(boxes: Sequence[Sighting], pieces: Sequence[Evidence]) -> list[Sighting]:
    """One box for each thing: of boxes of the same piece and moment all count, of later moments none anew."""
    most: list[Sighting] = []
    for piece in pieces:
        by_time: dict[float, list[Sighting]] = {}
        for seen in piece.sightings:
            if seen in boxes:
                by_time.setdefault(seen.time, []).append(seen)
        most += max(by_time.values(), key=len, default=[])
    return most


def rows(told: Iterable[Told]) -> list[dict[str, Any]]:
    """A row for each placement and kind, and one of all kinds for each placement."""
    by_placement: dict[str, dict[str, list[Told]]] = {}
    for one in told:
        kinds = by_placement.setdefault(one.placement, {"all": []})
        kinds.setdefault(one.asked.kind, []).append(one)
        kinds["all"].append(one)
    return [
        {"placement": placement, "kind": kind, **figures(group)}
        for placement, kinds in by_placement.items()
        for kind, group in sorted(kinds.items(), key=lambda item: (item[0] == "all", item[0]))
    ]


def figures(told: Sequence[Told]) -> dict[str, Any]:
    """Shares are 0 to 1; accuracy is of what was answered, `right_of_asked` of everything."""
    answered = [one for one in told if one.answered]
    claims = [one for one in answered if one.claims]
    numbers = [one.error for one in answered if one.error is not None and not isinstance(one.asked.truth, float)]
    moments = [one.error for one in answered if one.error is not None and isinstance(one.asked.truth, float)]
    overlaps = [overlap for one in answered for overlap in one.overlaps()]
    seconds = [one.record.latency_s for one in told]
    return {
        "asked": len(told),
        "accuracy": _share(one.right for one in answered),
        "right_of_asked": _share(one.right for one in told),
        "abstained": _share(not one.answered for one in told),
        "count_error": _rounded(mean(numbers)) if numbers else None,
        "time_error_s": _rounded(median(moments)) if moments else None,
        "within_2_s": _share(error <= NEAR_S for error in moments),
        "ece": _rounded(ece([(one.record.answer.confidence, one.right) for one in answered])) if answered else None,
        "evidence_holds": _share(one.holds for one in claims),
        "evidence_iou": _rounded(mean(overlaps)) if overlaps else None,
        "latency_p50_s": _rounded(float(np.percentile(seconds, 50))),
        "latency_p95_s": _rounded(float(np.percentile(seconds, 95))),
        "cost_usd": float(f"{mean(one.record.cost_usd for one in told):.3g}"),
    }


def ece(said: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error over ten equal bins: sum of n_b/N |accuracy_b - confidence_b| (Naeini et al. 2015)."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in said:
        bins.setdefault(min(BINS - 1, int(confidence * BINS)), []).append((confidence, right))
    off = (
        len(group) * abs(mean(right for _, right in group) - mean(confidence for confidence, _ in group))
        for group in bins.values()
    )
    return sum(off) / len(said)


def _share(values: Iterable[bool]) -> float | None:
    found = list(values)
    return _rounded(sum(found) / len(found)) if found else None


def _rounded(value: float) -> float:
    return round(value, 3)
