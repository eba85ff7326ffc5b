"""The button."""

from __future__ import annotations

from dataclasses import replace

from device_agent.rules import ManualRules, Pace, TriggerRules
from device_agent.triggers.manual import MOST_OPEN
from foveate.messages import Embedding, Priority, TriggerKind
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.triggers.made import OFF, opened, stories, triggers, view


def test_a_press_is_an_urgent_event_of_its_length_with_rolls_of_its_own() -> None:
    trigger = triggers(OFF)
    trigger.see(view(1))
    (event,) = trigger.press(time=START + 1.5, about="Anna")
    assert (event.trigger, event.priority, event.about) == (TriggerKind.MANUAL, Priority.URGENT, "Anna")
    assert (event.start, event.end, event.media_offset) == (START + 1.5, START + 1.5, 1)
    assert trigger.open_events == (event,)
    told = [again for second in range(2, 40) for again in trigger.see(view(second))]
    assert (told[-1].open, told[-1].end) == (False, START + 11.5)
    assert told[-1].embedding == Embedding("m@1", (0.0,))
    assert trigger.protected(told[-1]) == (START - 28.5, START + 41.5, Priority.URGENT)


def test_no_press_is_held_back_whatever_the_rate() -> None:
    trigger = triggers(replace(OFF, manual=ManualRules(pace=Pace(most_per_minute=0, priority=Priority.HIGH))))
    told = [event for number in range(40) for event in trigger.press(time=START + number / 10, about=str(number))]
    assert len(opened(told)) == 40
    assert len(trigger.open_events) == MOST_OPEN
    assert trigger.held_back == 0


def test_pressing_again_makes_it_longer_and_tells_the_same_id() -> None:
    trigger = triggers(OFF)
    first = trigger.press(time=START, about="Anna")[0]
    again = trigger.press(time=START + 8, about=" Anna ")[0]
    other = trigger.press(time=START + 8, about="Ben")[0]
    assert (again.event_id, again.revision) == (first.event_id, 2)
    assert other.event_id != first.event_id
    told = [event for second in range(9, 60) for event in trigger.see(view(second))]
    assert stories(told)[first.event_id][-1].end == START + 18


def test_a_press_after_the_end_is_told_first() -> None:
    trigger = triggers(OFF)
    first = trigger.press(time=START, about="Anna")[0]
    told = trigger.press(time=START + 100, about="Anna")
    assert [event.open for event in told] == [True, False]
    assert told[0].event_id != first.event_id == told[1].event_id


def test_it_ends_without_views_too() -> None:
    trigger = triggers(TriggerRules())
    trigger.press(time=START, about="Anna")
    told = [event for second in range(30) for event in trigger.tick(START + second)]
    assert (told[-1].open, told[-1].end) == (False, START + 10)
