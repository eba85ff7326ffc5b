"""Speech and sudden sounds."""

from __future__ import annotations

from dataclasses import replace

from device_agent.rules import SoundRules, TriggerRules
from foveate.messages import TriggerKind
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import OFF, heard, opened, stories, triggers

ONLY = replace(OFF, sound=TriggerRules().sound)


def test_speech_is_one_event_over_short_pauses() -> None:
    trigger = triggers(ONLY)
    likelihoods = [0.1] * 4 + [0.9] * 6 + [0.1] * 3 + [0.4] + [0.8] * 4 + [0.0] * 20
    told = [event for n, odds in enumerate(likelihoods) for event in trigger.hear(heard(n * 0.5, speech=odds))]
    (event,) = opened(told)
    assert (event.trigger, event.about, event.start) == (TriggerKind.SOUND, "speech", START + 2.0)
    assert (told[-1].open, told[-1].end) == (False, START + 9.0)
    assert told[-1].score == 0.9


def test_a_lull_within_speech_is_still_speech_and_a_click_is_none() -> None:
    trigger = triggers(ONLY)
    clicks = [event for n in range(40) for event in trigger.hear(heard(n, speech=0.9 * (n % 9 == 0), length=0.1))]
    assert clicks == []
    lulls = [0.6, 0.36, 0.4, 0.36, 0.6] * 4
    told = [event for n, odds in enumerate(lulls) for event in trigger.hear(heard(50 + n * 2, speech=odds))]
    assert len(opened(told)) == 1


def test_a_sudden_sound_lasts_while_it_is_loud() -> None:
    trigger = triggers(ONLY)
    told = list(trigger.hear(heard(0, level=-60)))
    told += trigger.hear(heard(1, level=-30, onset=True))
    told += trigger.hear(heard(1.5, level=-50))
    for number in range(10):
        told += trigger.hear(heard(2 + number, level=-58))
    (story,) = stories(told).values()
    assert (story[0].about, story[0].start, story[-1].end) == ("sudden sound", START + 1, START + 2)
    assert story[0].score == 0.75


def test_a_rise_below_the_rule_a_silence_and_speech_that_is_not_asked_for_are_no_events() -> None:
    trigger = triggers(replace(ONLY, sound=SoundRules(speech=False)))
    assert trigger.hear(heard(0, level=-50, onset=True)) == ()
    assert trigger.hear(heard(1, level=float("-inf"), onset=True)) == ()
    assert trigger.hear(heard(2, speech=1.0)) == ()
    assert trigger.hear(heard(3, speech=float("nan"))) == ()


def test_a_device_whose_sound_is_off_hears_nothing() -> None:
    assert triggers(OFF).hear(heard(1, level=0, onset=True, speech=1.0)) == ()
