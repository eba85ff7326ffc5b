"""Novelty: what is unlike all that this camera remembers ("show me anything unusual").

In: the `features` of `Resemblance`s, whole pictures and crops apart. Out: an event while something new is in view;
after half a minute it is taken in and no longer new. Silent until `ENOUGH` looks were judged, some hours at a few
hundred looks a day. Open-set: it does not know what is new, only how far. Next: `all.py`.
"""

from __future__ import annotations

import numpy as np

from device_agent.rules import NoveltyRules
from device_agent.triggers.memory import Memory, Threshold
from device_agent.triggers.pace import Finding, Pacer
from device_agent.triggers.zones import ZoneMap
from device_agent.view import Resemblance, View
from foveate.messages import Event

ENOUGH = 40
"""Distances of one kind (whole picture or crop) that must be known before it may fire."""

_FIRST = 8  # looks that a memory needs before distances to it tell anything
_SURE = 1.5  # times the threshold: fires at once; nearer, the look after it must agree
_STILL = 0.5  # times the threshold: an open event goes on
_GROWS_USUAL_S = 30.0
_PENDING = 32  # unlike sights of one event that are taken in
_KEY = "novelty"


class NoveltyTrigger:
    """Follows what is new to this camera; one event at a time."""

    def __init__(self, rules: NoveltyRules, *, pacer: Pacer, zones: ZoneMap) -> None:
        self.pacer = pacer
        self._zones = zones
        self._kinds = (
            _Kind(rules.memory, about="the picture is unlike what is usual here"),
            _Kind(rules.memory, about="something is unlike what is usual here"),
        )
        self._since = 0.0
        self._media_start: float | None = None

    def see(self, view: View) -> list[Event]:
        """What this view gives rise to."""
        told = self.tick(view.time)
        going_on = _KEY in self.pacer
        for kind, seen in zip(self._kinds, _parted(view), strict=True):
            newness, newest = kind.judge(seen, light=view.change.light, going_on=going_on)
            if newest is None:
                continue
            if going_on:
                told += self._tell(kind, view, newness, newest) if newness >= _STILL else []
            elif kind.is_new(newness):
                told += self._begin(kind, view, newness, newest)
                going_on = True
        return told

    def tick(self, time: float) -> list[Event]:
        """What ends because time has passed; what was new in it is remembered from now on."""
        told = self.pacer.settle(time)
        if _KEY in self.pacer and time - self._since > _GROWS_USUAL_S:
            told += self.pacer.close(_KEY, now=time)
        if _KEY not in self.pacer:
            for kind in self._kinds:
                kind.take_in()
        return told

    def reset(self) -> None:
        """Remembers what has waited; nothing else hangs on the clock."""
        for kind in self._kinds:
            kind.doubtful = False
            kind.take_in()

    def _begin(self, kind: _Kind, view: View, newness: float, newest: Resemblance) -> list[Event]:
        self._since, self._media_start = view.time, view.media_time
        kind.fired()
        return self._tell(kind, view, newness, newest)

    def _tell(self, kind: _Kind, view: View, newness: float, newest: Resemblance) -> list[Event]:
        found = Finding(
            self._since,
            max(self._since, view.time),
            newness / (newness + 1.0),
            media_start=self._media_start,
            zones=self._zones.under([newest.box] if newest.box is not None else []),
            about=kind.about,
        )
        return self.pacer.tell(_KEY, found, now=view.time, meaning=lambda: newest.meaning)


class _Kind:
    """Whole pictures, or crops: what is remembered, what is far, and what waits to be remembered."""

    def __init__(self, most: int, *, about: str) -> None:
        self.about = about
        self.doubtful = False
        """The last look was new, and not so much that it may fire alone."""
        self._most = most
        self._memory, self._threshold = Memory(most), Threshold()
        self._pending = Memory(_PENDING)
        self._model = ""
        self._relit = False

    def judge(self, seen: list[Resemblance], *, light: bool, going_on: bool) -> tuple[float, Resemblance | None]:
        """The newest of these looks, in units of the threshold; what comes first under new light is never new."""
        self._relit = self._relit or light
        best: tuple[float, Resemblance | None] = (0.0, None)
        for item in seen:
            newness = self._newness(item, going_on=going_on)
            if best[1] is None or newness > best[0]:
                best = newness, item
        if not (seen and self._relit):
            return best
        self._relit = light
        if going_on:
            return best
        self.doubtful = False
        self.take_in()
        return 0.0, best[1]

    def is_new(self, newness: float) -> bool:
        """Whether this look may begin an event, given the one before."""
        before, self.doubtful = self.doubtful, newness >= 1.0
        return newness >= _SURE or (newness >= 1.0 and before)

    def fired(self) -> None:
        """An event has begun: the next one must be further out."""
        self.doubtful = False
        self._threshold.fired()

    def take_in(self) -> None:
        """Remembers what has waited, unless the next look decides about it."""
        if self.doubtful or not len(self._pending):
            return
        for vector in self._pending.vectors:
            self._memory.take_in(vector)
        self._pending = Memory(_PENDING)

    def _newness(self, item: Resemblance, *, going_on: bool) -> float:
        if item.features.model != self._model:
            # Vectors of two models are never compared: all is learned anew.
            self._model, self._memory, self._threshold = item.features.model, Memory(self._most), Threshold()
            self._pending = Memory(_PENDING)
        vector = np.asarray(item.features.values, np.float32)
        distance = self._memory.distance(vector)
        level = self._threshold.level if len(self._threshold) >= ENOUGH else np.inf
        if not going_on and self._memory.looks >= _FIRST:
            self._threshold.learn(distance)
        if going_on or distance >= level:
            self._pending.take_in(vector)
        else:
            self._memory.take_in(vector)
        return float(distance / level)


def _parted(view: View) -> tuple[list[Resemblance], list[Resemblance]]:
    """Whole pictures and crops."""
    whole = [item for item in view.resemblances if item.box is None]
    return whole, [item for item in view.resemblances if item.box is not None]
