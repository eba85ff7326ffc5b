"""What questions are understood as: a labelled list, asserted exactly, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from foveate import errors
from foveate.messages import Pick, Question, Scope, Task
from router.scope import FleetView
from router.understand import LIVE_S, MEMORY_S, understand

_LISTED = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def ask(world: Any) -> Callable[..., Any]:
    return lambda text, **given: understand(world.question(text, **given), world.view)


@pytest.mark.parametrize("listed", _LISTED["understood"], ids=lambda listed: listed["ask"])
def test_a_listed_question_is_understood_exactly(listed: dict[str, Any], world: Any) -> None:
    reading = world.reading(listed["ask"])
    found, asked = reading.understanding, world.question("x").ask_time
    assert found.task is Task(listed["task"])
    assert list(found.labels) == listed.get("labels", [])
    if not found.labels:
        assert found.subject == listed.get("subject", "")
    assert found.now is listed.get("now", False)
    if not found.now:
        minutes = listed.get("minutes", [-MEMORY_S / 60, 0.0])
        assert [(found.start - asked) / 60, (found.end - asked) / 60] == pytest.approx(minutes)
    assert found.pick is Pick(listed.get("pick", "any"))
    assert list(reading.device_ids) == listed.get("devices", [])
    assert list(reading.unseen) == listed.get("unseen", [])
    assert list(reading.wider) == listed.get("wider", [])
    assert reading.negated is listed.get("negated", False)
    assert reading.shown is listed.get("shown", False)


def test_the_list_is_long_enough_to_mean_something() -> None:
    asked = [listed["ask"] for listed in _LISTED["understood"]]
    assert len(set(asked)) == len(asked) >= 120
    assert {listed["task"] for listed in _LISTED["understood"]} == {task.value for task in Task}


@pytest.mark.parametrize("listed", _LISTED["refused"], ids=lambda listed: listed["ask"])
def test_a_listed_question_is_refused_with_what_to_do(listed: dict[str, str], world: Any) -> None:
    with pytest.raises(getattr(errors, listed["error"]), match=r"ask in English|known are: body-1"):
        world.reading(listed["ask"])


def test_now_reaches_back_as_far_as_events_take_to_arrive(ask: Callable[..., Any]) -> None:
    found = ask("is there a person in view?").understanding
    assert found.end - found.start == LIVE_S


def test_what_the_asker_set_wins_over_the_text(ask: Callable[..., Any]) -> None:
    found = ask("is there a car now?", scope=Scope(start=1_700_000_000.0, end=1_700_000_060.0)).understanding
    assert (found.start, found.end, found.now) == (1_700_000_000.0, 1_700_000_060.0, False)


def test_a_scope_that_contradicts_the_text_is_refused(ask: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidInput, match="drop one of the two"):
        ask("was there a car in the last 5 minutes?", scope=Scope(end=1_700_000_000.0))


@pytest.mark.parametrize(
    "text", ["was there a car in the last 99999999999 weeks?", f"was there a car {'9' * 400} days ago?"]
)
def test_absurd_spans_stay_within_what_the_wire_takes(text: str, ask: Callable[..., Any]) -> None:
    found = ask(text).understanding
    assert 946_684_800.0 <= found.start <= found.end


def test_the_reason_says_what_no_detector_checks_and_what_was_widened(ask: Callable[..., Any]) -> None:
    reason = ask("is there an officer in a red hat at the door?").understanding.reason
    assert "the detector cannot check 'in a red hat at the door'" in reason
    assert "does not tell 'officer' from any other person" in reason


def test_the_reason_names_a_guess(ask: Callable[..., Any]) -> None:
    assert "which is a guess" in ask("cars yesterday").understanding.reason


def test_it_needs_no_fleet() -> None:
    question = Question("q", "how many cars are there?", 1_700_000_000.0)
    assert understand(question, FleetView()).understanding.labels == ("car",)
