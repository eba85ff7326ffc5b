"""From pictures that might be shown to those that a model behind an API is sent: which, which parts, at what sizes.

In: candidates with scores and boxes, a token budget, a rule for what a picture costs. Out: `ImagePlan`. It touches no
pixel: whoever holds the pictures cuts and resizes them as planned. Next: `edge_node/think.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.compress.price import TokenRule
from edge_node.compress.sample import uniform
from edge_node.compress.seam import WHOLE, Candidate, ImagePlan, Planned
from edge_node.compress.select import FULL_TOKENS, LOW_TOKENS, best_frames
from edge_node.compress.temporal import STREAMED, Redundancy, batch_frames
from foveate.errors import InvalidInput
from foveate.vision.boxes import Box

_AROUND = 0.5
"""Of a thing's own size, on each side of it in its crop: what it stands on and beside."""
_WORTH = 1.3
"""Times that a crop must show a thing larger than its picture does."""
_ENLARGED = 4.0
"""Times that the pixels of a crop are blown up at most: more adds tokens and shows nothing."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Tokens of a picture at full and at low resolution, at most, and when a thing in it is too small to see.

    A model that takes nothing as small costs its least. Where there are few pictures for the budget, each may cost up
    to `largest`. A thing whose longer side would still be below `seen` pixels gets a crop of its own, blown up to that
    many where the camera had fewer.
    """

    full: int = FULL_TOKENS
    low: int = LOW_TOKENS
    seen: int = 56
    largest: int = 1280

    def affordable(self, pictures: int, *, budget: int, cheapest: int) -> int:
        """Tokens that each of so many pictures may cost at the best: `full`, or its share of the budget if more."""
        return max(self.full, cheapest, min(self.largest, budget // max(pictures, 1)))


def plan_images(
    candidates: Sequence[Candidate],
    *,
    budget: int,
    rule: TokenRule,
    resolution: Resolution | None = None,
    frames: Redundancy = STREAMED,
) -> ImagePlan:
    """What to show of `candidates` for at most `budget` tokens, at least one picture whenever one fits.

    Pictures of a device that look alike are thinned (`frames`) only when not all fit at low resolution; if they still
    do not, the best by score are taken, or, when all scores are equal, an even spread. All are shown at low
    resolution; what is left raises the best ones to full or, when there are few, all of them beyond, and cuts out boxes
    that would be too small even then.
    """
    sizes = resolution or Resolution()
    if not 0 < sizes.low <= sizes.full:
        raise InvalidInput(f"A picture at low resolution costs 1 to {sizes.full} tokens, not {sizes.low}.")
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].time, candidates[i].device_id, i))
    most = max(sizes.low, rule.cheapest)
    low = {i: planned for i in order if (planned := _planned(candidates, i, rule, most)) is not None}
    chosen = _affordable(candidates, low, budget, frames)
    plan = _Plan(candidates, rule, budget)
    for index in chosen:
        plan.show(low[index])
    if not chosen:
        plan.show_one(sorted(order, key=lambda i: -candidates[i].score))
    else:
        _sharpen(plan, sorted(chosen, key=lambda i: -candidates[i].score), sizes)
    pictures = plan.in_order(order)
    return ImagePlan(pictures, budget, len(candidates) - len({picture.index for picture in pictures}))


def filled(
    plan: ImagePlan, candidates: Sequence[Candidate], *, rule: TokenRule, resolution: Resolution | None = None
) -> ImagePlan:
    """The plan, and for what its budget has left an even spread of the pictures that it dropped, at low resolution.

    LongVU leaves such a budget unused. Where a camera stands still, that is most of it, and counts want more moments:
    fill up when pictures are worth more than tokens.
    """
    sizes = resolution or Resolution()
    shown, most = set(plan.frames), max(sizes.low, rule.cheapest)
    rest = sorted((i for i in range(len(candidates)) if i not in shown), key=lambda i: (candidates[i].time, i))
    spare = [planned for i in rest if (planned := _planned(candidates, i, rule, most)) is not None]
    room = (plan.budget - plan.tokens) // max((picture.tokens for picture in spare), default=1)
    added = [spare[place] for place in uniform(len(spare), max(0, room))]
    pictures = sorted((*plan.pictures, *added), key=lambda p: (candidates[p.index].time, p.index))
    return ImagePlan(tuple(pictures), plan.budget, plan.dropped - len(added))


class _Plan:
    """A plan in the making; nothing gets in that does not fit."""

    def __init__(self, candidates: Sequence[Candidate], rule: TokenRule, budget: int) -> None:
        self.candidates, self.rule = candidates, rule
        self.budget = self.left = budget
        self._whole: dict[int, Planned] = {}
        self._crops: dict[int, list[Planned]] = {}

    def show(self, picture: Planned | None) -> None:
        """The picture at this size, instead of a smaller one that it has; nothing when that is too much."""
        if picture is None:
            return
        had = self._whole.get(picture.index)
        more = picture.tokens - (had.tokens if had else 0)
        if more <= self.left and (had is None or more > 0):
            self._whole[picture.index] = picture
            self.left -= more

    def show_one(self, best_first: Sequence[int]) -> None:
        """One picture, as large as the little that there is allows."""
        for index in best_first:
            picture = _planned(self.candidates, index, self.rule, self.left)
            if picture is not None:
                self.show(picture)
                return

    def cut_out(self, index: int, box: Box, *, most: int, seen: int) -> None:
        """A part of a picture that shows it clearly larger, when that fits."""
        whole = self._whole[index]
        candidate, crop = self.candidates[index], box.expanded(_AROUND)
        enlarged = seen / max(box.width * candidate.width, box.height * candidate.height)
        enlarged = min(max(1.0, enlarged), _ENLARGED)
        if crop == WHOLE or self._shown(index, box):
            return
        picture = _planned(self.candidates, index, self.rule, min(most, self.left), crop, enlarged)
        if picture and picture.width / crop.width >= _WORTH * whole.width:
            self._crops.setdefault(index, []).append(picture)
            self.left -= picture.tokens

    def _shown(self, index: int, box: Box) -> bool:
        return any(_holds(crop.crop, box) for crop in self._crops.get(index, ()))

    def in_order(self, order: Sequence[int]) -> tuple[Planned, ...]:
        """All that is shown."""
        found: list[Planned] = []
        for index in order:
            if index in self._whole:
                found += [self._whole[index], *self._crops.get(index, ())]
        return tuple(found)


def _affordable(candidates: Sequence[Candidate], low: dict[int, Planned], budget: int, frames: Redundancy) -> list[int]:
    """Which pictures there is room for at low resolution, in order of time."""
    indices, budget = list(low), max(0, budget)
    if sum(low[i].tokens for i in indices) > budget:
        unlike = set(_unlike(candidates, indices, frames))
        indices = [i for i in indices if i in unlike] or indices
    if sum(low[i].tokens for i in indices) <= budget:
        return indices
    scores = [candidates[i].score for i in indices]
    each = min(low[i].tokens for i in indices)
    spread = best_frames(len(indices), budget // each, scores if len(set(scores)) > 1 else None)
    left, taken = budget, []
    for place in sorted(spread, key=lambda p: -scores[p]):
        if low[indices[place]].tokens <= left:
            taken.append(int(place))
            left -= low[indices[place]].tokens
    return [indices[place] for place in sorted(taken)]


def _unlike(candidates: Sequence[Candidate], indices: Sequence[int], rule: Redundancy) -> Iterator[int]:
    """Stage 1 for each device apart, since its windows are of one view; one whose features cannot be compared
    keeps all."""
    for device in dict.fromkeys(candidates[i].device_id for i in indices):
        mine = [i for i in indices if candidates[i].device_id == device]
        features = [f for i in mine if (f := candidates[i].features) is not None]
        if len(features) < len(mine) or len({f.shape for f in features}) > 1:
            yield from mine
        else:
            yield from (mine[k] for k in batch_frames(np.stack(features), fit=0, rule=rule))


def _sharpen(plan: _Plan, best_first: Sequence[int], sizes: Resolution) -> None:
    """Spends what is left: for the best first, crops of things too small at any size, or the largest size."""
    most = sizes.affordable(len(best_first), budget=plan.budget, cheapest=plan.rule.cheapest)
    largest = {i: _planned(plan.candidates, i, plan.rule, most) for i in best_first}
    for index in best_first:
        small = [box for box in plan.candidates[index].boxes if _is_small(box, largest[index], sizes.seen)]
        if small:
            for box in small:
                plan.cut_out(index, box, most=most, seen=sizes.seen)
        else:
            plan.show(largest[index])
    for index in best_first:
        # Where crops left too little for the largest size, full resolution may still fit.
        plan.show(largest[index])
        plan.show(_planned(plan.candidates, index, plan.rule, max(sizes.full, plan.rule.cheapest)))


def _is_small(box: Box, picture: Planned | None, seen: int) -> bool:
    part = box.clipped()
    return bool(picture and part.area and max(part.width * picture.width, part.height * picture.height) < seen)


def _planned(
    candidates: Sequence[Candidate],
    index: int,
    rule: TokenRule,
    most: int,
    crop: Box = WHOLE,
    enlarged: float = 1.0,
) -> Planned | None:
    """The picture or a part of it for at most `most` tokens; None when it costs more at any size."""
    candidate = candidates[index]
    left, top, right, bottom = crop.to_pixels(width=candidate.width, height=candidate.height)
    size = rule.fit(round((right - left) * enlarged), round((bottom - top) * enlarged), most)
    return None if size is None else Planned(index, crop, *size, rule.tokens(*size))


def _holds(outer: Box, inner: Box) -> bool:
    across, down = inner.left >= outer.left and inner.right <= outer.right, inner.top >= outer.top
    return across and down and inner.bottom <= outer.bottom
