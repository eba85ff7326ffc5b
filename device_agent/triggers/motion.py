"""Motion that no followed object explains.

In: `View`s. Out: one event for each stretch of such motion. One noisy picture never makes an event: it takes two
moving views in a row and `least_s`, whichever comes later. A shift of light and a camera that moves make none at all.
It does not know why something moves. Next: `all.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from device_agent.rules import MotionRules
from device_agent.triggers.pace import Finding, Pacer
from device_agent.triggers.zones import ZoneMap
from device_agent.view import View
from foveate.messages import Embedding, Event
from foveate.vision.boxes import Box

_KEY = "motion"
_FLICKER_S = 0.5  # a quiet view this soon after a moving one does not end a stretch that has not fired yet
_APART_S = 3.0  # moving views further apart than this belong to two stretches
_JITTER_S = 0.05  # so that two views at one a second are a second apart
_SHADOW = 0.15  # an object's motion reaches beyond its box by this share of its size
_EXPLAINED = 0.4  # of the smaller of region and box
_HALF_LEVEL = 10.0  # a change this many times its noise scores one half


@dataclass(slots=True)
class _Stretch:
    """Unexplained motion so far."""

    start: float
    media_start: float | None
    last: float
    views: int = 0
    score: float = 0.0
    boxes: tuple[Box, ...] = ()


class MotionTrigger:
    """Follows what moves without a name."""

    def __init__(
        self,
        rules: MotionRules,
        *,
        pacer: Pacer,
        zones: ZoneMap,
        meaning: Callable[[], Embedding | None],
        explained: bool,
    ) -> None:
        """`explained` says whether objects have events of their own; `meaning` gives the whole picture's vector."""
        self.pacer = pacer
        self._rules, self._zones, self._meaning, self._explained = rules, zones, meaning, explained
        self._stretch: _Stretch | None = None

    def see(self, view: View) -> list[Event]:
        """What this view gives rise to."""
        told = self.pacer.settle(view.time)
        change = view.change
        if change.roving or change.cut:
            self._stretch = None
            return told
        if change.light:
            return told  # Neither motion nor its end: a bright car shifts the exposure while it passes.
        regions = self._unexplained(view)
        if not regions:
            self._rest(view.time)
            return told
        return told + self._move(view, regions)

    def tick(self, time: float) -> list[Event]:
        """What ends because time has passed."""
        return self.pacer.settle(time)

    def reset(self) -> None:
        """Forgets what has begun and not fired yet."""
        self._stretch = None

    def _unexplained(self, view: View) -> tuple[Box, ...]:
        movers = [item.track.sightings[-1].box for item in view.followed if item.moved and item.track.sightings]
        if not (self._explained and movers):
            return view.change.regions
        reach = [box.expanded(_SHADOW) for box in movers]
        return tuple(region for region in view.change.regions if not any(_explains(box, region) for box in reach))

    def _rest(self, time: float) -> None:
        stretch = self._stretch
        if stretch is not None and _KEY not in self.pacer and time - stretch.last > _FLICKER_S:
            self._stretch = None

    def _move(self, view: View, regions: tuple[Box, ...]) -> list[Event]:
        stretch = self._stretch
        if stretch is None or self._is_over(stretch, view.time):
            self._stretch = stretch = _Stretch(view.time, view.media_time, view.time)
        stretch.last = max(stretch.last, view.time)
        stretch.views += 1
        level = max(0.0, view.change.level)
        stretch.score = max(stretch.score, level / (level + _HALF_LEVEL))
        if _KEY not in self.pacer and (stretch.views < 2 or not self._is_long(stretch)):
            stretch.boxes = (*stretch.boxes, regions[0])[-2:]
            return []
        found = Finding(
            stretch.start,
            stretch.last,
            stretch.score,
            media_start=stretch.media_start,
            zones=self._zones.under((*stretch.boxes, *regions)),
        )
        return self.pacer.tell(_KEY, found, now=view.time, meaning=self._meaning)

    def _is_long(self, stretch: _Stretch) -> bool:
        return stretch.last - stretch.start >= self._rules.least_s - _JITTER_S

    def _is_over(self, stretch: _Stretch, time: float) -> bool:
        """Whether motion now belongs to another stretch: of an event that was closed, or of a time too far away."""
        if _KEY in self.pacer:
            return False
        fired = stretch.views >= 2 and self._is_long(stretch)
        return fired or not 0.0 <= time - stretch.last <= max(_APART_S, self._rules.pace.merge_s)


def _explains(box: Box, region: Box) -> bool:
    across = min(box.right, region.right) - max(box.left, region.left)
    down = min(box.bottom, region.bottom) - max(box.top, region.top)
    smaller = min(box.area, region.area)
    return across > 0.0 and down > 0.0 and across * down >= _EXPLAINED * smaller
