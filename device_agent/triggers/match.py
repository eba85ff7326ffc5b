"""Text match: what resembles one of the sentences that the edge has pushed.

In: `Sentence`s, and the `meaning` of `Resemblance`s of the same model. Out: an event while a sentence stands out.
No absolute likeness is needed: a sentence's baseline is its likeness to what this camera has shown of late, which
is kept whether or not anybody watches, so that a new sentence has one at once. A recall channel: it finds candidates
for the edge and proves nothing. Next: `all.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.rules import TextRules
from device_agent.triggers.pace import Finding, Pacer
from device_agent.triggers.zones import ZoneMap
from device_agent.view import Resemblance, View
from foveate.commands import Sentence
from foveate.errors import InvalidInput
from foveate.messages import Event

logger = logging.getLogger(__name__)

MOST_SENTENCES = 16
ENOUGH = 24
"""Looks of one kind (whole picture or crop) that must be known before a sentence may fire."""

# On three real scenes with 350 disturbed quiet pictures each, the quiet ones rose by at most 0.06, vehicles by 0.15
# to 0.29 for sentences about them.
_RISE = 0.12  # least rise of the cosine above the median
_STILL = 0.06  # an open event goes on
_SPREADS = 6.0  # least rise in robust standard deviations
_LEAST_SPREAD = 0.01
_TOWARDS = 0.2  # least cosine between the sentence and the change itself: much change in any direction is not enough
_WINDOW = 128
_LONGEST_S = 120.0  # what matches longer is scenery until it has gone

Vector = NDArray[np.float32]


class TextTrigger:
    """Watches for sentences; one event at a time for each."""

    def __init__(self, rules: TextRules, *, pacer: Pacer, zones: ZoneMap) -> None:
        self.pacer = pacer
        self._rules, self._zones = rules, zones
        self._watched: dict[str, tuple[str, Vector]] = {}
        self._lately = (_Lately(), _Lately())
        self._since: dict[str, tuple[float, float | None]] = {}
        self._scenery: set[str] = set()
        self._wondered = False

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        """Watches for these and no others; the texts. InvalidInput when it is off, or there are too many."""
        if not self._rules.on:
            raise InvalidInput("This device does not watch for sentences; set triggers.text.on in its configuration.")
        if len(sentences) > MOST_SENTENCES:
            count = str(len(sentences))
            raise InvalidInput(
                f"A device watches for at most {MOST_SENTENCES} sentences and was given {count}; leave some out.",
                count=count,
            )
        vectors = {item.text: (item.embedding.model, _unit(item.embedding.values)) for item in sentences}
        self._watched, self._wondered = vectors, False
        self._scenery &= set(vectors)
        return tuple(vectors)

    def see(self, view: View) -> list[Event]:
        """What this view gives rise to."""
        told = self.tick(view.time)
        best: dict[str, _Match] = {}
        for item in view.resemblances:
            lately = self._lately[item.box is not None]
            vector, model = _unit(item.meaning.values), item.meaning.model
            for text, match in self._matches(item, vector, lately):
                best[text] = max(best.get(text, match), match, key=lambda one: one.rise)
            if not any(match.holds for match in best.values()):
                lately.add(vector, model)
        return told + [event for text, match in best.items() for event in self._tell(text, match, view)]

    def tick(self, time: float) -> list[Event]:
        """What ends because time has passed, or because nobody asks for it any more."""
        told = self.pacer.settle(time)
        for text in self.pacer.keys:
            if text not in self._watched:
                told += self.pacer.close(text, now=time)
        self._since = {text: begun for text, begun in self._since.items() if text in self.pacer}
        return told

    def reset(self) -> None:
        """Forgets when matches began."""
        self._since.clear()

    def _matches(self, item: Resemblance, vector: Vector, lately: _Lately) -> list[tuple[str, _Match]]:
        model = item.meaning.model
        known = {text: row for text, (tag, row) in self._watched.items() if tag == model and len(row) == len(vector)}
        if len(known) < len(self._watched):
            self._wonder(model)
        if not known or lately.model != model or len(lately) < ENOUGH:
            return []
        return list(zip(known, lately.match(np.stack(list(known.values())), item, vector), strict=True))

    def _tell(self, text: str, match: _Match, view: View) -> list[Event]:
        going_on = text in self.pacer
        if text in self._scenery:
            if match.rise < _STILL:
                self._scenery.discard(text)
            return []
        if not (match.rise >= _STILL if going_on else match.holds):
            return []
        since, media = self._since.setdefault(text, (view.time, view.media_time))
        found = Finding(
            since,
            max(since, view.time),
            min(1.0, match.rise / (2.0 * _RISE)),
            media_start=media,
            zones=self._zones.under([match.item.box] if match.item.box is not None else []),
            about=text,
        )
        if view.time - since > _LONGEST_S:
            self._scenery.add(text)
            return self.pacer.close(text, now=view.time, found=found)
        return self.pacer.tell(text, found, now=view.time, meaning=lambda: match.item.meaning)

    def _wonder(self, model: str) -> None:
        if not self._wondered:
            logger.warning("a sentence is of another model; have the edge compile it again", extra={"model": model})
        self._wondered = True


@dataclass(frozen=True, slots=True)
class _Match:
    """How far a look stands out towards a sentence."""

    item: Resemblance
    rise: float
    spreads: float
    towards: float

    @property
    def holds(self) -> bool:
        """Whether it may begin an event."""
        return self.rise >= _RISE and self.spreads >= _SPREADS and self.towards >= _TOWARDS


class _Lately:
    """What the camera has shown of late: the last `_WINDOW` looks."""

    def __init__(self) -> None:
        self.model = ""
        self._looks: Vector = np.zeros((0, 0), np.float32)
        self._taken = 0

    def __len__(self) -> int:
        return min(self._taken, _WINDOW)

    def add(self, vector: Vector, model: str) -> None:
        """Takes in one look; those of another model are forgotten."""
        if model != self.model or self._looks.shape[1] != len(vector):
            self.model, self._looks, self._taken = model, np.zeros((_WINDOW, len(vector)), np.float32), 0
        self._looks[self._taken % _WINDOW] = vector
        self._taken += 1

    def match(self, sentences: Vector, item: Resemblance, vector: Vector) -> list[_Match]:
        """The look against what was usual for each sentence: median and median deviation from it (Hampel 1974)."""
        looks = self._looks[: len(self)]
        likeness = looks @ sentences.T
        usual = np.median(likeness, axis=0)
        spread = np.maximum(_LEAST_SPREAD, 1.4826 * np.median(np.abs(likeness - usual), axis=0))
        rise = sentences @ vector - usual
        towards = sentences @ _unit(vector - looks.mean(axis=0))
        return [_Match(item, *map(float, row)) for row in zip(rise, rise / spread, towards, strict=True)]


def _unit(values: tuple[float, ...] | Vector) -> Vector:
    vector = np.asarray(values, np.float32)
    unit: Vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit
