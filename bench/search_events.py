"""Remembered events for `search.py`, derived from real footage: real pictures' vectors and labels, made many.

In: clips. Out: seeds (what one picture showed, by the site's detector and encoder), and from them any number of events
of a month whose vectors are a seed's with noise, and whose hours, lengths and cameras are drawn. Nothing is random from
run to run. Next: `search.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from foveate import models
from foveate.messages import Embedding, Event, LabelScore, Priority, Sighting, Track, TriggerKind
from foveate.remembered import EVENTS, TRACKS, row, track_rows
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, NanoDet, report_threshold
from foveate.vision.encode import LiteEncoder

DAYS, DEVICES = 30, 20
NOISE = 0.45
"""Length of the noise that is added to a unit vector: a derived event has cosine 0.91 with its seed."""

_MOST_SEEDS = 40  # pictures of a clip
_SIGHTINGS_PER_S, _MOST_SIGHTINGS = 2.0, 40
# How busy each hour of a day is against the busiest, as in a shop.
_BUSY = (1, 1, 1, 1, 1, 2, 8, 30, 60, 70, 75, 85, 100, 95, 85, 80, 85, 95, 90, 60, 35, 20, 8, 3)


@dataclass(frozen=True, slots=True)
class Seed:
    """What one picture showed."""

    vector: NDArray[np.float32]
    things: tuple[Detection, ...]


def seeds(clips: Sequence[str]) -> tuple[str, list[Seed]]:
    """The encoder's tag, and what pictures evenly drawn from the clips show; those without a thing count too."""
    detector = NanoDet(models.find("nanodet-g"))
    encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))
    found = []
    for clip in clips:
        with av.open(clip) as container:
            stream = container.streams.video[0]
            every = max(1, (stream.frames or 250) // _MOST_SEEDS)
            for number, picture in enumerate(container.decode(stream)):
                if number % every == 0 and number // every < _MOST_SEEDS:
                    image = np.ascontiguousarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)
                    things = (each for each in detector.detect(image) if each.score >= report_threshold(each.label))
                    found.append(Seed(encoder.encode(image).conse, tuple(things)[:4]))
    return encoder.model_tag, found


def events(found: Sequence[Seed], model: str, *, number: int, now: float) -> Iterator[Event]:
    """`number` events of the last month, derived from the seeds; the same ones in every run but for `now`."""
    drawn, rng = random.Random(1), np.random.default_rng(1)
    for index in range(number):
        seed = drawn.choice(found)
        noise = rng.normal(size=seed.vector.shape)
        vector = seed.vector + NOISE * noise / np.linalg.norm(noise)
        vector /= np.linalg.norm(vector)
        day, hour = drawn.randrange(DAYS), drawn.choices(range(24), _BUSY)[0]
        start = now - (day + 1) * 86400.0 + (hour + drawn.random()) * 3600.0
        length = min(120.0, drawn.lognormvariate(2.0, 0.8))
        yield _event(index, seed, drawn, start, length, Embedding(model, tuple(map(float, vector))))


def rows(made: Sequence[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of events and of their tracks, as the memory writes them."""
    return [row(one) for one in made], [each for one in made for each in track_rows(one)]


TABLES = (EVENTS, TRACKS)


def _event(index: int, seed: Seed, drawn: random.Random, start: float, length: float, vector: Embedding) -> Event:
    tracks = tuple(_track(number, thing, drawn, start, length) for number, thing in enumerate(seed.things))
    labels: dict[str, float] = {}
    for track in tracks:
        labels[track.label] = max(labels.get(track.label, 0.0), track.score)
    return Event(
        event_id=f"event-{index:08d}",
        revision=3,
        device_id=f"cam-{drawn.randrange(DEVICES)}",
        site_id="site-1",
        region="eu-west",
        trigger=TriggerKind.OBJECT if tracks else TriggerKind.MOTION,
        start=start,
        end=start + length,
        open=False,
        score=max(labels.values(), default=0.5),
        labels=tuple(LabelScore(label, score) for label, score in labels.items()),
        tracks=tracks,
        embedding=vector,
        receive_time=start + length + 0.5,
        priority=drawn.choice((Priority.LOW, Priority.NORMAL, Priority.NORMAL, Priority.HIGH)),
    )


def _track(number: int, thing: Detection, drawn: random.Random, start: float, length: float) -> Track:
    """A thing that drifts through the picture for a part of the event."""
    begins = start + drawn.random() * length * 0.3
    ends = start + length * (0.7 + 0.3 * drawn.random())
    score = min(0.99, max(0.05, thing.score + drawn.gauss(0.0, 0.1)))
    many = max(2, min(_MOST_SIGHTINGS, int((ends - begins) * _SIGHTINGS_PER_S)))
    across = drawn.uniform(-0.3, 0.3)
    sightings = []
    for step in range(many):
        left = min(1.0 - thing.box.width, max(0.0, thing.box.left + across * step / many))
        box = Box(left, thing.box.top, thing.box.width, thing.box.height)
        seen = min(0.99, max(0.05, score + drawn.gauss(0.0, 0.05)))
        sightings.append(Sighting(begins + (ends - begins) * step / (many - 1), thing.label, seen, box))
    return Track(number, thing.label, score, begins, ends, tuple(sightings))
