"""Views, sounds and vectors made on the spot, and all triggers of a device that has none but those asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from device_agent.rules import Pace, TriggerRules, Zone
from device_agent.sender import Sender
from device_agent.triggers.all import Triggers
from device_agent.triggers.pace import Finding, Pacer
from device_agent.view import Change, Followed, Heard, Resemblance, View
from foveate.messages import Embedding, Event, LabelScore, Sighting, Track, TriggerKind
from foveate.vision.boxes import Box
from tests.unit.device_agent.fakes import START, Ids

SENDER = Sender("body-1", "north", "eu-west", ("police",))
EVERYWHERE = Box(0.0, 0.0, 1.0, 1.0)
QUIET = Change(0.5)
SOMEWHERE = Box(0.4, 0.4, 0.2, 0.2)
OFF = TriggerRules()
OFF = replace(
    OFF,
    motion=replace(OFF.motion, on=False),
    object=replace(OFF.object, on=False),
    novelty=replace(OFF.novelty, on=False),
    sound=replace(OFF.sound, on=False),
    text=replace(OFF.text, on=False),
)


def triggers(rules: TriggerRules | None = None, *, zones: tuple[Zone, ...] = ()) -> Triggers:
    """All of them by default; the vector of track 7 is (7,), that of the whole picture (0,)."""
    return Triggers(
        SENDER,
        rules=rules or TriggerRules(),
        zones=zones,
        new_id=Ids(),
        meaning=lambda key: Embedding("m@1", (float(key or 0),)),
    )


def pacer(pace: Pace | None = None, *, kind: TriggerKind = TriggerKind.MOTION, most_open: int = 4) -> Pacer:
    return Pacer(kind, pace or Pace(), sender=SENDER, new_id=Ids(), most_open=most_open)


def found(start: float, end: float, *, about: str = "") -> Finding:
    return Finding(START + start, START + end, 0.5, media_start=start, about=about)


def view(
    seconds: float,
    *items: Followed,
    change: Change = QUIET,
    resemblances: tuple[Resemblance, ...] = (),
    start: bool = False,
) -> View:
    return View(START + seconds, seconds, change, items, resemblances, start=start)


def moving(*regions: Box, level: float = 9.0) -> Change:
    return Change(level, regions=regions or (SOMEWHERE,))


def followed(
    key: int, start: float, end: float, *, label: str = "person", box: Box = SOMEWHERE, moved: bool = True
) -> Followed:
    """A track whose two sightings are at one place."""
    sightings = tuple(Sighting(START + time, label, 0.6, box) for time in dict.fromkeys((start, end)))
    track = Track(key, label, 0.6, START + start, START + end, sightings)
    return Followed(track, (LabelScore(label, 0.6),), start, moved)


def heard(
    seconds: float, *, speech: float = 0.0, level: float = -60.0, onset: bool = False, length: float = 0.5
) -> Heard:
    return Heard(START + seconds, seconds, length, level, -60.0, speech, onset)


def vector(values: np.ndarray, *, model: str = "m@1") -> Embedding:
    return Embedding(model, tuple(float(value) for value in values / np.linalg.norm(values)))


def looked(features: np.ndarray, meaning: np.ndarray | None = None, *, box: Box | None = None) -> Resemblance:
    return Resemblance(box, vector(features), vector(features if meaning is None else meaning))


def opened(events: list[Event] | tuple[Event, ...]) -> list[Event]:
    return [event for event in events if event.revision == 1]


def stories(events: list[Event]) -> dict[str, list[Event]]:
    """The revisions of each event in the order in which they were told."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.event_id, []).append(event)
    return found
