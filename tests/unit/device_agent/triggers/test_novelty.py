"""Novelty against a memory that is bounded, forgets slowly, and learns what is usual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from device_agent.rules import NoveltyRules, TriggerRules
from device_agent.triggers.all import Triggers
from device_agent.triggers.memory import Memory, Threshold
from device_agent.triggers.novelty import ENOUGH
from device_agent.view import Change, Resemblance
from foveate import models
from foveate.messages import Event, Priority, TriggerKind
from foveate.vision.boxes import Box
from foveate.vision.encode import LiteEncoder
from tests.unit.device_agent.triggers.made import OFF, looked, opened, triggers, view

ONLY = replace(OFF, novelty=TriggerRules().novelty)
WIDTH = 64
A_DAY = 350
CROP = Box(0.2, 0.2, 0.1, 0.1)

Vector = NDArray[np.float32]


def _sight(seed: int) -> Vector:
    """A direction of its own."""
    made = np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return made / np.linalg.norm(made)


def _near(sight: Vector, distance: float, random: np.random.Generator) -> Vector:
    """A unit vector at this 1 - cosine from the sight."""
    aside = random.normal(size=len(sight))
    aside -= (aside @ sight) * sight
    aside /= np.linalg.norm(aside)
    cosine = 1.0 - distance
    return (cosine * sight + np.sqrt(1.0 - cosine**2) * aside).astype(np.float32)


class _Day:
    """A quiet camera that is looked at every four minutes."""

    def __init__(self, trigger: Triggers) -> None:
        self.trigger, self.time, self.told = trigger, 0.0, list[Event]()
        self.random = np.random.default_rng(1)
        self.yard = _sight(1)

    def look(self, *seen: Resemblance, light: bool = False, after: float = 240.0) -> list[Event]:
        self.time += after
        told = list(self.trigger.see(view(self.time, change=Change(0.0, light=light), resemblances=seen)))
        self.told += told
        return told

    def quiet(self, looks: int, *, noise: float = 0.012, box: Box | None = None) -> None:
        for _ in range(looks):
            self.look(looked(_near(self.yard, noise, self.random), box=box))


def test_a_thing_never_seen_fires_once_and_the_second_time_it_is_less_new() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(100)
    assert day.told == []
    (event,) = opened(day.look(looked(_near(day.yard, 0.5, day.random))))
    assert (event.trigger, event.priority) == (TriggerKind.NOVELTY, Priority.HIGH)
    assert event.score > 0.5
    assert "unlike" in event.about
    assert event.embedding is not None
    thing = _near(day.yard, 0.5, day.random)
    first = opened([event for _ in range(5) for event in day.look(looked(thing), after=1.0)])
    assert len(first) <= 1
    day.quiet(20)
    day.told.clear()
    for _ in range(5):
        day.look(looked(_near(thing, 0.012, day.random)), after=1.0)
    assert opened(day.told) == []


def test_it_is_silent_until_enough_is_remembered() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(ENOUGH - 5)
    day.look(looked(_sight(2)))
    assert day.told == []


def test_a_new_thing_that_stays_grows_usual() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(100)
    thing = _sight(2)
    for _ in range(90):
        day.look(looked(_near(thing, 0.012, day.random)), after=1.0)
    (first,) = opened(day.told)
    closed = day.told[-1]
    assert not closed.open
    assert 25 < closed.end - first.start < 40


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_yard_in_noise_and_steps_of_light_cries_at_most_once_a_day(seed: int) -> None:
    """The steps have the distances of gain steps on real streets: up to 0.3, mostly below 0.1; none is announced."""
    day = _Day(triggers(ONLY))
    random = day.random = np.random.default_rng(seed)
    days = 3
    for number in range(days * A_DAY):
        if number % 45 == 0:
            light = _near(day.yard, min(0.3, float(random.exponential(0.06))), random)
        day.look(looked(_near(light, min(0.1, float(random.exponential(0.015))), random)))
    assert len(opened(day.told)) <= days


def test_a_step_of_light_that_is_announced_is_never_new() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(100)
    day.look(light=True)
    dark = _near(day.yard, 0.6, day.random)
    for _ in range(50):
        day.look(looked(_near(dark, 0.012, day.random)), after=1.0)
    assert day.told == []


def test_a_doubtful_look_needs_the_next_one_to_agree() -> None:
    once, twice = _Day(triggers(ONLY)), _Day(triggers(ONLY))
    for day, times in ((once, 1), (twice, 2)):
        day.quiet(200)
        thing = _near(day.yard, 0.2, day.random)
        for _ in range(times):
            day.look(looked(_near(thing, 0.012, day.random)), after=1.0)
        day.quiet(10)
    assert opened(once.told) == []
    assert len(opened(twice.told)) == 1


def test_crops_are_not_compared_with_whole_pictures() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(100)
    thing = _sight(2)
    for _ in range(100):
        day.look(looked(_near(thing, 0.012, day.random), box=CROP))
    assert day.told == []  # crops of it are usual, since nothing else was ever cut out
    (event,) = opened(day.look(looked(thing)))
    assert event.about.startswith("the picture")


def test_vectors_of_another_model_are_learned_anew() -> None:
    day = _Day(triggers(ONLY))
    day.quiet(100)
    other = looked(_sight(2))
    other = replace(other, features=replace(other.features, model="other@1"))
    for _ in range(20):
        day.look(other)
    assert day.told == []


def test_a_camera_without_memory_is_silent() -> None:
    day = _Day(triggers(replace(ONLY, novelty=NoveltyRules(memory=0))))
    day.quiet(200)
    day.look(looked(_sight(2)))
    assert day.told == []


@given(st.integers(1, 12), st.lists(st.integers(0, 30), max_size=80))
def test_a_memory_is_bounded_and_knows_what_it_saw_last(most: int, seen: list[int]) -> None:
    memory = Memory(most)
    for seed in seen:
        memory.take_in(_sight(seed))
        assert memory.distance(_sight(seed)) < 0.01
        assert len(memory) <= most


def test_the_usual_outlasts_what_came_once() -> None:
    memory = Memory(8)
    for seed in range(200):
        memory.take_in(_sight(1000))
        memory.take_in(_sight(seed))
    assert memory.distance(_sight(1000)) < 0.01
    assert memory.distance(_sight(0)) > 0.3


def test_what_never_comes_again_is_forgotten_though_there_is_room() -> None:
    memory = Memory(8)
    memory.take_in(_sight(1))
    for look in range(8 * 16 + 2):
        memory.take_in(_sight(2 + look % 2))
    memory.take_in(_sight(5))
    assert memory.distance(_sight(1)) > 0.3


def test_who_cries_often_must_shout_louder_for_a_while() -> None:
    threshold = Threshold()
    for _ in range(50):
        threshold.learn(0.02)
    calm = threshold.level
    for _ in range(3):
        threshold.fired()
    assert threshold.level > 1.8 * calm
    for _ in range(1500):
        threshold.learn(0.02)
    assert threshold.level == pytest.approx(calm, rel=0.01)


def test_on_real_footage_another_scene_is_new_and_noise_is_not(clips: dict[str, Path]) -> None:
    encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))
    street, portrait = _picture(clips["bikes"]), _picture(clips["carphone_pristine"])
    random = np.random.default_rng(3)
    day = _Day(triggers(ONLY))

    def see(picture: NDArray[np.uint8], gain: float) -> None:
        noisy = picture * gain + random.normal(0.0, 4.0, picture.shape)
        encoded = encoder.encode(np.clip(noisy, 0, 255).astype(np.uint8))
        day.look(looked(encoded.features, encoded.conse))

    for number in range(80):
        see(street, 1.0 + 0.2 * np.sin(number / 5))
    assert day.told == []
    see(portrait, 1.0)
    assert len(opened(day.told)) == 1


def _picture(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")
