"""Sentences that the edge has pushed, against what the camera shows."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from device_agent.rules import TriggerRules
from device_agent.triggers.all import Triggers
from device_agent.triggers.match import ENOUGH, MOST_SENTENCES
from foveate.commands import Sentence
from foveate.errors import InvalidInput
from foveate.messages import Event, TriggerKind
from tests.unit.device_agent.triggers.made import OFF, looked, opened, triggers, vector, view

ONLY = replace(OFF, text=TriggerRules().text)
YARD, DOG, FIRE = np.eye(8)[0], np.eye(8)[1], np.eye(8)[2]
FEATURES = np.ones(4)


def _sentence(text: str, towards: np.ndarray, *, model: str = "m@1") -> Sentence:
    """Like every sentence it resembles the yard a little."""
    return Sentence(text, vector(towards + 0.3 * YARD, model=model))


A_DOG, A_FIRE = _sentence("a dog", DOG), _sentence("a fire", FIRE)


def _see(trigger: Triggers, second: float, meaning: np.ndarray) -> list[Event]:
    noisy = meaning + np.random.default_rng(int(second * 10) + 100_000).normal(0.0, 0.01, len(meaning))
    return list(trigger.see(view(second, resemblances=(looked(FEATURES, noisy),))))


def _warm(*sentences: Sentence, looks: int = 60) -> Triggers:
    trigger = triggers(ONLY)
    trigger.watch(sentences)
    assert [event for number in range(looks) for event in _see(trigger, number - looks, YARD)] == []
    return trigger


def test_a_sentence_fires_when_it_stands_out_and_says_which() -> None:
    trigger = _warm(A_DOG, A_FIRE)
    told = [event for second in range(5) for event in _see(trigger, second, YARD + DOG)]
    for second in range(5, 30):
        told += _see(trigger, second, YARD)
    (event,) = opened(told)
    assert (event.trigger, event.about) == (TriggerKind.TEXT_MATCH, "a dog")
    assert 0.5 <= event.score <= 1.0
    assert event.embedding is not None
    assert (told[-1].open, told[-1].end - event.start) == (False, 4)


def test_a_sentence_pushed_later_has_a_baseline_at_once() -> None:
    trigger = _warm()
    assert trigger.watch((A_FIRE,)) == ("a fire",)
    assert [event.about for event in _see(trigger, 0, YARD + FIRE)] == ["a fire"]


def test_what_the_camera_always_shows_is_no_match_however_alike() -> None:
    trigger = triggers(ONLY)
    trigger.watch((A_DOG,))
    assert [event for second in range(200) for event in _see(trigger, second, DOG)] == []


def test_it_is_silent_before_it_knows_what_is_usual() -> None:
    trigger = _warm(A_DOG, looks=ENOUGH - 1)
    assert _see(trigger, 0, YARD + DOG) == []


def test_a_change_in_another_direction_is_no_match() -> None:
    """The cosine rises by 0.19, more than a match needs, but most of the change is about something else."""
    trigger = _warm(Sentence("a dog", vector(0.5 * DOG + 0.85 * np.eye(8)[3])))
    assert _see(trigger, 0, YARD + DOG + 2.2 * FIRE) == []


def test_what_matches_for_long_is_scenery_until_it_has_gone() -> None:
    trigger = _warm(A_DOG)
    told = [event for second in range(400) for event in _see(trigger, second, YARD + DOG)]
    assert len(opened(told)) == 1
    assert not told[-1].open
    for second in range(400, 500):
        told += _see(trigger, second, YARD)
    assert len(opened(told + _see(trigger, 500, YARD + DOG))) == 2


def test_what_is_no_longer_watched_for_ends() -> None:
    trigger = _warm(A_DOG)
    (event,) = _see(trigger, 0, YARD + DOG)
    trigger.watch((A_FIRE,))
    (closed,) = _see(trigger, 1, YARD + DOG)
    assert (closed.event_id, closed.open) == (event.event_id, False)


def test_vectors_of_another_model_are_never_compared(caplog: pytest.LogCaptureFixture) -> None:
    trigger = triggers(ONLY)
    trigger.watch((_sentence("a dog", DOG, model="other@1"),))
    with caplog.at_level(logging.WARNING):
        told = [event for second in range(60) for event in _see(trigger, second, YARD)]
        told += _see(trigger, 60, YARD + DOG)
    assert told == []
    assert len(caplog.records) == 1


def test_too_many_sentences_and_a_trigger_that_is_off_are_refused() -> None:
    many = tuple(replace(A_DOG, text=f"dog {number}") for number in range(MOST_SENTENCES + 1))
    with pytest.raises(InvalidInput, match="at most 16"):
        triggers(ONLY).watch(many)
    with pytest.raises(InvalidInput, match="does not watch"):
        triggers(OFF).watch((A_DOG,))
