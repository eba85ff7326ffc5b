"""Ways to choose pictures within a budget, and what is still answered from what they kept.

In: reels, a budget in tokens. Out: plans; from those, answers by the carried detector at the planned sizes. It knows no
truth but what a question carries. Next: `compress.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from compress_footage import FPS, Question, Reel
from numpy.typing import NDArray
from PIL import Image

from edge_node.compress.plan import Resolution, filled, plan_images
from edge_node.compress.price import TokenRule
from edge_node.compress.sample import last, uniform
from edge_node.compress.seam import WHOLE, Candidate, ImagePlan, Planned
from edge_node.compress.temporal import STREAMED, PaperRule, Redundancy, ReleasedRule, StreamedFrames
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, NanoDet, report_threshold

Way = Callable[[Reel, int, int], ImagePlan]
"""Of a reel, the number of pictures that there are so far, and a budget."""

Sampler = Callable[[int, int], Sequence[int] | NDArray[np.intp]]
"""Of how many frames, how many may be kept."""

MAPS = "LongVU streaming, maps"
"""Stage 1 on whole feature maps, as LongVU does, instead of on the pooled features that devices send."""

_SAME = 0.5
"""Share of the smaller of two boxes that both cover when they show one thing."""
_TWICE = 0.65
"""Overlap of two boxes of one picture that are one thing, as in `edge_node/look.py`."""
_RIGHT_WITHIN = 1


@dataclass(slots=True)
class Eye:
    """The detector on planned pictures; each picture at each size is looked at once in the whole run."""

    detector: NanoDet
    _seen: dict[tuple[int, Box, int, int], tuple[Detection, ...]] = field(default_factory=dict)

    def look(self, reel: Reel, planned: Planned) -> tuple[Detection, ...]:
        """Clear detections in the planned picture, their boxes on the whole one."""
        picture = reel.pictures[planned.index]
        key = (id(picture), planned.crop, planned.width, planned.height)
        if key not in self._seen:
            height, width = picture.shape[:2]
            left, top, right, bottom = planned.crop.to_pixels(width=width, height=height)
            part = Image.fromarray(picture[top:bottom, left:right])
            small = np.asarray(part.resize((planned.width, planned.height), Image.Resampling.BILINEAR))
            found = [d for d in self.detector.detect(small) if d.score >= report_threshold(d.label)]
            self._seen[key] = tuple(replace(d, box=_on_whole(d.box, planned.crop)) for d in found)
        return self._seen[key]

    def at_full_size(self, reel: Reel, index: int) -> tuple[Detection, ...]:
        """What the camera's own picture shows: the ceiling, and where a device's boxes come from."""
        height, width = reel.pictures[index].shape[:2]
        return self.look(reel, Planned(index, WHOLE, width, height, 0))


def ways(eye: Eye, *, rule: TokenRule, sizes: Resolution) -> dict[str, Way]:
    """Each by its name; all get the same budget. LongVU's scores are ConSE x MiniLM for the reel's subject."""
    low, full = replace(sizes, full=sizes.low), replace(sizes, low=sizes.full)

    def sampled(choose: Sampler, size: Resolution) -> Way:
        def plan(reel: Reel, count: int, budget: int) -> ImagePlan:
            height, width = reel.pictures[0].shape[:2]
            fit = rule.fit(width, height, max(size.full, rule.cheapest))
            most = budget // rule.tokens(*fit) if fit else 0
            return _plan(reel, choose(count, most), budget, rule, size, scored=False)

        return plan

    def streamed(frames: Redundancy, *, crops: bool = False, maps: bool = False) -> Way:
        return lambda reel, count, budget: _plan(
            reel, stage_one(reel, count, frames, maps=maps)[0], budget, rule, sizes, eye=eye if crops else None
        )

    def batch(*, fill: bool) -> Way:
        return lambda reel, count, budget: _plan(
            reel, range(count), budget, rule, sizes, frames=ReleasedRule(), fill=fill
        )

    def half(reel: Reel, count: int, budget: int) -> ImagePlan:
        now = sampled(last, low)(reel, count, budget // 2)
        kept = [i for i in stage_one(reel, count, STREAMED)[0] if i not in now.frames]
        before = _plan(reel, kept, budget - now.tokens, rule, sizes)
        return ImagePlan((*before.pictures, *now.pictures), budget, 0)

    def scored(reel: Reel, count: int, budget: int) -> ImagePlan:
        return _plan(reel, range(count), budget, rule, sizes)

    return {
        "LongVU streaming": streamed(STREAMED),
        MAPS: streamed(STREAMED, maps=True),
        "LongVU streaming, paper's rule": streamed(PaperRule()),
        "LongVU streaming, with crops": streamed(STREAMED, crops=True),
        "LongVU streaming, half last N": half,
        "LongVU batch": batch(fill=False),
        "LongVU batch, filled up": batch(fill=True),
        "stage 3 alone (best of all)": scored,
        "uniform, low": sampled(uniform, low),
        "uniform, full": sampled(uniform, full),
        "last N, low": sampled(last, low),
        "last N, full": sampled(last, full),
    }


def stage_one(reel: Reel, count: int, rule: Redundancy, *, maps: bool = False) -> tuple[list[int], list[int]]:
    """(frames that stay of the first `count`, for each of them how many more came before it was let out)."""
    vectors = reel.features if not maps or reel.maps is None else reel.maps.reshape(len(reel), -1)
    stream: StreamedFrames[int] = StreamedFrames(rule)
    kept: list[int] = []
    waits: list[int] = []
    for number in range(count):
        came = stream.push(number, vectors[number])
        kept += came
        waits += [number - one for one in came]
    left = stream.flush()
    return [*kept, *left], [*waits, *(count - 1 - one for one in left)]


def candidates(reel: Reel, indices: Sequence[int], *, scored: bool, looks: bool, eye: Eye | None) -> list[Candidate]:
    """Some of the reel's pictures; boxes of interest are those that a device would report of the full size."""
    found = []
    for index in indices:
        height, width = reel.pictures[index].shape[:2]
        boxes = () if eye is None else eye.at_full_size(reel, index)
        found.append(
            Candidate(
                reel.name,
                index / FPS,
                width,
                height,
                score=float(reel.scores[index]) if scored else 0.0,
                features=reel.features[index] if looks else None,
                boxes=tuple(d.box for d in boxes if d.label in reel.labels),
            )
        )
    return found


def _plan(
    reel: Reel,
    chosen: Sequence[int] | NDArray[np.intp],
    budget: int,
    rule: TokenRule,
    sizes: Resolution,
    *,
    scored: bool = True,
    frames: Redundancy | None = None,
    fill: bool = False,
    eye: Eye | None = None,
) -> ImagePlan:
    """A plan of some of the reel's pictures; with `frames`, these are thinned by looks first."""
    indices = [int(i) for i in chosen]
    given = candidates(reel, indices, scored=scored, looks=frames is not None, eye=eye)
    plan = plan_images(given, budget=budget, rule=rule, resolution=sizes, frames=frames or STREAMED)
    plan = filled(plan, given, rule=rule, resolution=sizes) if fill else plan
    return replace(plan, pictures=tuple(replace(p, index=indices[p.index]) for p in plan.pictures))


def answered(reels: Sequence[Reel], way: Way, budget: int, *, eye: Eye, rule: TokenRule) -> dict[str, Any]:
    """Shares kept, and how the reels' questions come out."""
    rows: dict[str, list[dict[str, Any]]] = {}
    frames, tokens = [], []
    for reel in reels:
        height, width = reel.pictures[0].shape[:2]
        every = rule.tokens(width, height)
        plans: dict[float, ImagePlan] = {}
        for question in reel.questions:
            count = min(len(reel), round(question.at * FPS))
            if question.at not in plans:
                plan = plans[question.at] = way(reel, count, budget)
                assert plan.tokens <= budget
                frames.append(len(plan.frames) / count)
                tokens.append(plan.tokens / (count * every))
            name = f"{question.kind}, {'now' if question.recent else 'before'}"
            rows.setdefault(name, []).append(judged(reel, question, plans[question.at].pictures, eye))
    figures = {name: summed(found) for name, found in sorted(rows.items())}
    return {"frames_kept": round(fmean(frames), 3), "tokens_kept": round(fmean(tokens), 3), **figures}


def ceiling(reels: Sequence[Reel], *, eye: Eye) -> dict[str, Any]:
    """Every picture as the camera gave it: what the detector itself gets right."""

    def all_of(reel: Reel, count: int, budget: int) -> ImagePlan:
        height, width = reel.pictures[0].shape[:2]
        return ImagePlan(tuple(Planned(i, WHOLE, width, height, 0) for i in range(count)), budget, 0)

    return {**answered(reels, all_of, 0, eye=eye, rule=_Free()), "frames_kept": 1.0, "tokens_kept": 1.0}


class _Free:
    """A price list on which nothing costs anything worth telling."""

    cheapest = 1

    def tokens(self, width: int, height: int) -> int:
        return 1

    def fit(self, width: int, height: int, most: int) -> tuple[int, int]:
        return width, height


def judged(reel: Reel, question: Question, pictures: Sequence[Planned], eye: Eye) -> dict[str, Any]:
    """Whether a picture of the asked time was kept, and what the answer from such pictures is worth."""
    inside = [p for p in pictures if question.start - 1e-6 <= p.index / FPS <= question.end + 1e-6]
    if question.kind == "when":
        spans = [q.truth for q in reel.questions if q.kind == "when"]
        best = max(pictures, key=lambda p: reel.scores[p.index], default=None)
        first = best is not None and any(s[0] <= best.index / FPS <= s[1] for s in spans if isinstance(s, tuple))
        return {"held": bool(inside), "right": first}
    by_index: dict[int, list[Detection]] = {}
    for picture in inside:
        _merge(by_index.setdefault(picture.index, []), eye.look(reel, picture), reel.labels)
    most = max(map(len, by_index.values()), default=0)
    if question.kind == "whether":
        return {"held": bool(inside), "right": bool(inside) and (most > 0) == question.truth}
    error = abs(most - int(question.truth)) if inside and not isinstance(question.truth, tuple) else None
    return {"held": bool(inside), "right": error is not None and error <= _RIGHT_WITHIN, "error": error}


def summed(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares over questions; the mean error is of those that could be answered."""
    errors = [one["error"] for one in found if one.get("error") is not None]
    return {
        "questions": len(found),
        "held": round(fmean(one["held"] for one in found), 3),
        "right": round(fmean(one["right"] for one in found), 3),
        **({"error": round(fmean(errors), 2)} if errors else {}),
    }


def _merge(into: list[Detection], found: Sequence[Detection], labels: frozenset[str]) -> None:
    """Adds what is seen anew: twice in one picture is one thing under two names, again in a crop is the same thing."""
    before = [one.box for one in into]
    for d in found:
        anew = all(_shared(d.box, box) < _SAME for box in before)
        if d.label in labels and anew and all(d.box.iou(other.box) < _TWICE for other in into):
            into.append(d)


def _shared(one: Box, other: Box) -> float:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0.0, across) * max(0.0, down) / max(min(one.area, other.area), 1e-9)


def _on_whole(box: Box, crop: Box) -> Box:
    left, top = crop.left + box.left * crop.width, crop.top + box.top * crop.height
    return Box(left, top, box.width * crop.width, box.height * crop.height)
