"""From what cameras show to the pictures that a model is shown, and from a picture's number back to evidence.

In: looks at clips, a token budget and the model's rule for what a picture costs. Out: `Shown` pictures, cut and sized
as `compress/plan.py` plans them, and `Evidence` with boxes and JPEG. Blocking: resizing takes a millisecond each.
It asks nobody. Next: `think.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from edge_node.closer import Closer, Looked
from edge_node.compress.plan import Resolution, plan_images
from edge_node.compress.price import PatchTokens, TokenRule
from edge_node.compress.seam import Candidate, Planned
from edge_node.devices import Devices
from edge_node.fetch import Pulls
from edge_node.look import Look, Seen
from edge_node.vlm.seam import Shown
from foveate.messages import Answer, AnswerRequest, Evidence, Placement, Representation, Task, Understanding
from foveate.vision.draw import small_jpeg

BUDGET = 4096
"""Tokens of all pictures of one prompt: sixteen at 256."""

_Name = tuple[str, Placement, Understanding, tuple[str, ...]]
_MOST_BOXES = 3  # enlarged in one picture
_MOST_EVIDENCE = 3


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many tokens of pictures a model is shown, what one costs it, and its sizes."""

    budget: int = BUDGET
    rule: TokenRule = field(default_factory=PatchTokens)
    resolution: Resolution = field(default_factory=Resolution)


@dataclass(frozen=True, slots=True)
class Sheet:
    """The pictures of one prompt; `moments[i]` is the look and the moment that `shown[i]` was taken from."""

    shown: tuple[Shown, ...]
    moments: tuple[tuple[Looked, Seen], ...]
    enlarged: bool
    """Whether some are parts of the one before them."""

    def evidence(
        self, number: int | None, representation: Representation, *, boxes: bool, rather_boxed: bool = False
    ) -> tuple[Evidence, ...]:
        """Picture `number` (from 1) as evidence; without a number the first, middle and last of them.

        With `rather_boxed`, one in which the detector found the thing instead, if it is in none that the model named.
        """
        cited = self._cited(number)
        boxed = [index for index, (_, seen) in enumerate(self.moments) if seen.confirmed]
        if rather_boxed and boxed and not set(cited) & set(boxed):
            cited = [max(boxed, key=lambda index: self.moments[index][1].best_candidate)]
        return tuple(_evidence(*self.moments[index], representation, boxes=boxes) for index in cited)

    def _cited(self, number: int | None) -> list[int]:
        if number is not None and 1 <= number <= len(self.moments):
            return [number - 1]
        spread = np.linspace(0, len(self.moments) - 1, min(_MOST_EVIDENCE, len(self.moments)))
        return [round(float(place)) for place in spread]


class LookOnce(Closer):
    """A closer look that is taken once for a placed question, however many answerers want it."""

    def __init__(self, *, fetch: Pulls, look: Look, devices: Devices) -> None:
        super().__init__(fetch=fetch, look=look, devices=devices)
        self._kept: dict[_Name, tuple[list[Looked], list[str]] | None] = {}

    @contextmanager
    def keeping(self, request: AnswerRequest) -> Iterator[None]:
        """Keeps the first look for this request until the block ends: its pictures take 1.5 MB each."""
        name = _name(request)
        self._kept[name] = None
        try:
            yield
        finally:
            self._kept.pop(name, None)

    async def look(self, request: AnswerRequest, memory: Answer) -> tuple[list[Looked], list[str]]:
        """As `Closer.look`, or what that gave before when the request is kept."""
        name = _name(request)
        if (before := self._kept.get(name)) is not None:
            return before
        found = await super().look(request, memory)
        if name in self._kept:
            self._kept[name] = found
        return found


def _name(request: AnswerRequest) -> _Name:
    # A question may be answered from smaller ones, of which each looks for something else.
    return request.question.question_id, request.placement, request.understanding, request.device_ids


def sheet(task: Task, looked: Sequence[Looked], allowance: Allowance) -> Sheet:
    """What to show of these looks within the allowance, in order of time; blocking."""
    moments = [(one, seen) for one in looked for seen in one.seen]
    # In a count nothing may be shown twice; what happened in all is not what one detector knows best.
    boxes, scored = task is not Task.COUNT, task not in (Task.DESCRIBE, Task.SUMMARISE)
    candidates = [_candidate(one, seen, boxes=boxes, scored=scored) for one, seen in moments]
    plan = plan_images(candidates, budget=allowance.budget, rule=allowance.rule, resolution=allowance.resolution)
    return Sheet(
        shown=tuple(_shown(planned, *moments[planned.index]) for planned in plan.pictures),
        moments=tuple(moments[planned.index] for planned in plan.pictures),
        enlarged=any(not planned.whole for planned in plan.pictures),
    )


def _candidate(looked: Looked, seen: Seen, *, boxes: bool, scored: bool) -> Candidate:
    height, width = seen.frame.picture.shape[:2]
    best = sorted(seen.confirmed, key=lambda detection: -detection.score)[:_MOST_BOXES]
    return Candidate(
        device_id=looked.window.device_id,
        time=seen.frame.time,
        width=width,
        height=height,
        score=seen.best_candidate if scored else 0.0,
        boxes=tuple(detection.box for detection in best) if boxes else (),
    )


def _shown(planned: Planned, looked: Looked, seen: Seen) -> Shown:
    image = Image.fromarray(seen.frame.picture)
    if not planned.whole:
        image = image.crop(planned.crop.to_pixels(width=image.width, height=image.height))
    if image.size != (planned.width, planned.height):
        image = image.resize((planned.width, planned.height), Image.Resampling.BICUBIC)
    return Shown(np.asarray(image, np.uint8), looked.window.device_id, seen.frame.time)


def _evidence(looked: Looked, seen: Seen, representation: Representation, *, boxes: bool) -> Evidence:
    piece, time = looked.window.piece, seen.frame.time
    return Evidence(
        device_id=looked.window.device_id,
        event_id=piece.event_id if piece else "",
        start=time,
        end=time,
        sightings=seen.sightings if boxes else (),
        picture=small_jpeg(seen.frame.picture),
        representation=min(representation, Representation.FRAMES),
        media_offset=looked.media_offset(time),
        picture_time=time,
    )
