"""All triggers together: whatever comes in, each event opens once, rises by one and closes once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.rules import NoveltyRules, ObjectRules, Pace, TriggerRules, Zone
from device_agent.triggers.all import Triggers
from device_agent.triggers.zones import inside
from device_agent.view import Change, Followed, Resemblance
from foveate.commands import Sentence
from foveate.messages import Event, Priority, TriggerKind
from foveate.vision.boxes import Box
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import (
    OFF,
    followed,
    heard,
    looked,
    moving,
    opened,
    stories,
    triggers,
    vector,
    view,
)

LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
PLACES = (Box(0.1, 0.1, 0.2, 0.2), Box(0.6, 0.5, 0.2, 0.3), Box(0.0, 0.0, 1.0, 1.0), Box(0.5, 0.5, 0.0, 0.0))
MOST = 64 + 1 + 1 + 16 + 2 + 16


@cache
def _sight(seed: int) -> Resemblance:
    values = np.random.default_rng(seed).normal(size=16)
    return looked(values, box=PLACES[seed % 3] if seed % 2 else None)


SENTENCES = tuple(Sentence(f"sentence {seed}", vector(np.random.default_rng(seed).normal(size=16))) for seed in (2, 3))

clock = st.one_of(st.sampled_from([0.0, 0.1, 1.0, 5.0]), st.floats(-200.0, 400.0))
objects = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(PLACES), st.sampled_from(["person", "car"]), st.booleans()),
    max_size=4,
    unique_by=lambda item: item[0],
)
changes = st.builds(
    Change,
    st.sampled_from([0.0, 9.0]),
    st.lists(st.sampled_from(PLACES), max_size=2).map(tuple),
    st.lists(st.sampled_from(PLACES), max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
seeing = st.tuples(st.just("see"), objects, changes, st.lists(st.integers(0, 6), max_size=2), st.booleans())
hearing = st.tuples(st.just("hear"), st.floats(0, 1), st.floats(-90, 0), st.booleans())
pressing = st.tuples(st.just("press"), st.sampled_from(["Anna", "Ben", ""]))
others = st.sampled_from([("tick",), ("watch", 0), ("watch", 1), ("watch", 2), ("finish",)])
steps = st.lists(st.tuples(clock, st.one_of(seeing, seeing, seeing, hearing, pressing, others)), max_size=60)
rules = st.sampled_from(
    [
        TriggerRules(),
        TriggerRules(object=ObjectRules(static_s=3.0, zones=("left",), pace=Pace(merge_s=0.0, most_per_minute=2))),
        TriggerRules(object=ObjectRules(labels=("car",), static_s=0.0), novelty=NoveltyRules(memory=2)),
        replace(OFF, motion=TriggerRules().motion),
    ]
)


class _World:
    """Tracks that keep their first sighting while they stay."""

    def __init__(self, asked: TriggerRules) -> None:
        self.triggers: Triggers = triggers(asked, zones=(LEFT,))
        self.watches = asked.text.on
        self.now = 0.0
        self.since: dict[int, float] = {}

    def step(self, what: tuple[object, ...]) -> tuple[Event, ...]:
        name, *rest = what
        if name == "see":
            return self._see(*rest)  # type: ignore[arg-type]
        if name == "hear":
            odds, level, onset = rest
            return self.triggers.hear(heard(self.now, speech=odds, level=level, onset=onset))  # type: ignore[arg-type]
        if name == "press":
            return self._press(str(rest[0]))
        if name == "watch" and self.watches:
            self.triggers.watch(SENTENCES[: rest[0]])  # type: ignore[misc]
        return {"tick": self.triggers.tick, "finish": self.triggers.finish}.get(str(name), lambda _: ())(
            START + self.now
        )

    def _press(self, about: str) -> tuple[Event, ...]:
        told = self.triggers.press(time=START + self.now, about=about)
        assert (told[0].trigger, told[0].about, told[0].open) == (TriggerKind.MANUAL, about, True)
        return told

    def _see(
        self, present: list[tuple[int, Box, str, bool]], change: Change, seen: list[int], start: bool
    ) -> tuple[Event, ...]:
        keys = {key for key, *_ in present}
        self.since = {key: first for key, first in self.since.items() if key in keys and first <= self.now}
        items: list[Followed] = []
        for key, box, label, moved in present:
            first = self.since.setdefault(key, self.now)
            items.append(followed(key, first, self.now, label=label, box=box, moved=moved))
        sights = tuple(_sight(seed) for seed in seen)
        told = self.triggers.see(view(self.now, *items, change=change, resemblances=sights, start=start))
        over = {event.event_id for event in told if not event.open}
        assert [event.event_id in over for event in told] == sorted(event.event_id in over for event in told)[::-1]
        return told


@settings(max_examples=150, deadline=None)
@given(rules, steps)
def test_each_event_opens_once_rises_by_one_and_closes_once(
    asked: TriggerRules, steps: list[tuple[float, tuple[object, ...]]]
) -> None:
    world, told = _World(asked), list[Event]()
    for passed, what in steps:
        world.now += passed
        told += world.step(what)
        last = {key: story[-1] for key, story in stories(told).items()}
        still_open = {key for key, event in last.items() if event.open}
        assert {event.event_id for event in world.triggers.open_events} == still_open
        assert len(still_open) <= MOST
    told += world.triggers.finish(START + world.now)
    assert world.triggers.open_events == ()
    for story in stories(told).values():
        assert [event.revision for event in story] == list(range(1, len(story) + 1))
        assert [event.open for event in story] == [True] * (len(story) - 1) + [False]
        assert len({event.start for event in story}) == 1
        ends = [event.end for event in story]
        assert ends == sorted(ends)
        assert story[0].start <= ends[0]
        kept = world.triggers.protected(story[-1])
        assert kept[0] <= story[0].start <= ends[-1] <= kept[1]


def test_a_clock_set_back_ends_what_is_open_and_begins_anew() -> None:
    trigger = triggers()
    told = list(trigger.see(view(1000, followed(1, 999, 1000))))
    told += trigger.press(time=START + 1000, about="Anna")
    told += trigger.see(view(10, followed(2, 9, 10)))
    assert len(opened(told)) == 3
    assert [event.open for event in trigger.open_events] == [True]
    assert trigger.open_events[0].start == START + 9


def test_a_flood_of_objects_keeps_to_the_rate_and_the_bound() -> None:
    trigger = triggers(replace(OFF, object=ObjectRules(pace=Pace(most_per_minute=500))))
    crowd = [followed(key, 0, 1) for key in range(300)]
    assert len(trigger.see(view(1, *crowd))) == 64
    assert trigger.held_back == 236
    assert len(trigger.finish(START + 2)) == 64


def test_names_tell_what_is_on_and_every_kind_has_rolls() -> None:
    assert set(triggers().names) == {kind.value for kind in TriggerKind}
    assert triggers(OFF).names == ("manual",)
    (event,) = triggers().see(view(1, followed(1, 0, 1)))
    assert triggers().protected(event) == (START - 5, START + 6, Priority.NORMAL)


def test_an_object_takes_over_from_motion() -> None:
    trigger = triggers()
    for tick in range(10):
        trigger.see(view(tick * 0.2, change=moving()))
    told = [e for t in range(10, 60) for e in trigger.see(view(t * 0.2, followed(1, 1.8, t * 0.2), change=moving()))]
    motion = [event for event in told if event.trigger is TriggerKind.MOTION]
    assert (motion[-1].open, round(motion[-1].end - START, 1)) == (False, 1.8)


def test_a_point_is_inside_its_polygon_only() -> None:
    arrow = ((0.0, 0.0), (1.0, 0.5), (0.0, 1.0), (0.4, 0.5))
    assert inside((0.7, 0.5), arrow)
    assert not inside((0.2, 0.5), arrow)  # the notch
    assert not inside((0.9, 0.9), arrow)
    assert not inside((0.5, 0.5), ())
    assert not inside((0.5, 0.5), ((0.0, 0.0), (1.0, 1.0)))
