"""The funnel reads well at any width and without colour, and the JSON tells the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from foveate import messages as m
from foveate.cli import as_json, funnel, showing
from foveate.cli.__main__ import app
from foveate.commands import DeviceState, Gap, Kept, Rung
from foveate.errors import Unreachable

BARS = set("░█▐▌")
NOW = 1_790_000_000.0
STATE = DeviceState(
    device_id="cam-1",
    time=NOW,
    uptime_s=86_400.0,
    rungs=(
        Rung("packets", 86_400, 2204, 0.41),
        Rung("luma", 2204, 210, 3.13),
        Rung("encoder", 210, 44, 1.31),
        Rung("detector", 180, 44, 3.9),
        Rung("events", 44, 3, 0.01),
    ),
    cpu_seconds=12.3,
    budget_share=0.05,
    used_share=0.032,
    given_up=("The detector looks every 0.5 s.", "Packets [bold] weigh less."),
    kept=(Kept(None, 120_400_000, NOW - 3600), Kept(m.Priority.HIGH, 3_000_000, NOW - 90_000)),
    gaps=(Gap(NOW - 500, NOW - 480, "the camera sent nothing"), Gap(NOW - 20, None, "the disk is full")),
    outbox_depth=2,
    sequence=812,
    triggers=("motion", "object"),
    masks=("door",),
)


def drawn(state: DeviceState, *, width: int = 100) -> list[str]:
    screen = Console(width=width, record=True, force_terminal=False, highlight=False)
    funnel.draw(screen, state)
    return screen.export_text().splitlines()


def test_each_rung_is_one_line_with_all_its_figures() -> None:
    lines = drawn(STATE)
    assert max(map(len, lines)) <= 100
    (encoder,) = [line for line in lines if "encoder" in line]
    # 210 of 2204 came up, 44 went on, at 1310 ms / 210.
    assert [word for word in encoder.split() if not set(word) & BARS] == [
        "encoder",
        "210",
        "9.5",
        "%",
        "44",
        "1.31",
        "6.24",
    ]
    (packets,) = [line for line in lines if "packets " in line]
    assert [word for word in packets.split() if not set(word) & BARS] == [
        "packets",
        "86,400",
        "2,204",
        "0.410",
        "0.005",
    ]
    text = "\n".join(lines)
    # 12.3 s less what the rungs took is 3.54 s; of 86,400 s all of it is 0.014 %.
    assert any("the rest" in line and line.rstrip().endswith("3.54") for line in lines)
    assert "12.3 s of CPU in 1 d 0 h: 0.01 % of one core, 3.2 % lately" in text
    assert "64 % of it used lately" in text
    assert "Packets [bold] weigh less." in text


def test_it_looks_like_a_funnel_down_to_three_in_86_400() -> None:
    names = [rung.name for rung in STATE.rungs]
    bars = [next(line for line in drawn(STATE) if f" {name} " in line) for name in names]
    came, went = ([sum(map(bar.count, cells)) for bar in bars] for cells in ("░█▐▌", "█▐▌"))
    assert came == sorted(came, reverse=True)
    assert went == sorted(went, reverse=True)
    assert came[0] >= 30
    assert 2 <= went[-1] <= 6
    # What one rung passes up is what the next one gets.
    assert abs(went[0] - came[1]) <= 1


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_it_fits_the_terminal(width: int) -> None:
    assert max(map(len, drawn(STATE, width=width))) <= min(width, 100)


def test_a_device_that_saw_nothing_is_drawn_too() -> None:
    text = "\n".join(drawn(DeviceState("cam-1", NOW, 0.0, rungs=(Rung("packets", 0, 0, 0.0), Rung("luma", 0, 0, 0.0)))))
    assert "luma" in text
    assert "none is set, so nothing was given up" in text
    assert "in 0 s: 0 % of one core" in text


@given(seen=st.integers(0, 10**12), passed=st.integers(0, 10**12), width=st.integers(1, 60))
def test_a_bar_is_centred_and_something_is_never_nothing(seen: int, passed: int, width: int) -> None:
    bar = funnel.bar(seen, passed, max(seen, passed), width=width)
    assert len(bar) == width
    assert bool(set(bar) & BARS) == (seen > 0 or passed > 0)
    assert bool(set(bar) & set("█▐▌")) == (passed > 0)
    if set(bar) & BARS:
        assert bar[::-1].translate(str.maketrans("▐▌", "▌▐")) == bar
    if seen >= passed > 0:
        assert " " not in bar


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (funnel.figure(0.0), "0"),
        (funnel.figure(0.0004), "< 0.001"),
        (funnel.figure(9.876), "9.88"),
        (funnel.figure(12345.6), "12,346"),
        (funnel.percent(0.00001), "< 0.01 %"),
        (funnel.percent(1.5), "150 %"),
        (funnel.lasting(59.9), "59 s"),
        (funnel.lasting(3700), "1 h 1 min"),
        (funnel.lasting(90), "1 min 30 s"),
        (funnel.lasting(200_000), "2 d 7 h"),
    ],
)
def test_figures_are_short_and_honest(shown: str, words: str) -> None:
    assert shown == words


def test_the_details_tell_what_is_kept_and_what_is_missing() -> None:
    screen = Console(width=100, record=True, force_terminal=False, highlight=False)
    gaps = tuple(Gap(NOW - 10_000 + n, NOW - 9_999 + n, f"reason {n}") for n in range(6))
    funnel.details(screen, replace(STATE, gaps=gaps + STATE.gaps[1:], trouble="The disk is full."))
    text = screen.export_text()
    for words in (
        "packets 86,400 → luma 2,204 → encoder 210 → detector 180 → events 44 → 3 passed up",
        "idle 120.4 MB since 13:13:20; high 3.0 MB since 2026-09-20 13:13:20",
        "14:13:00 to now: the disk is full",
        "reason 5",
        "and 2 before",
        "motion, object",
        "door",
        "2 event revisions wait to be sent, 812 were ever stored",
        "The disk is full.",
    ):
        assert words in text
    assert "reason 1" not in text


def test_the_funnel_for_machines() -> None:
    shown = as_json.funnel([STATE], silent={"cam-2": "cam-2 does not answer."})
    json.dumps(shown)
    device = shown["devices"][0]
    assert device["rungs"][1] == {
        "name": "luma",
        "seen": 2204,
        "passed": 210,
        "share": pytest.approx(2204 / 86_400, abs=1e-6),
        "cpu_seconds": 3.13,
        "cpu_ms_each": pytest.approx(1.4201, abs=1e-3),
    }
    assert (device["budget_share"], device["given_up"][0]) == (0.05, "The detector looks every 0.5 s.")
    assert [kept["priority"] for kept in device["kept"]] == [None, "high"]
    assert device["gaps"][1] == {"start": as_json.iso(NOW - 20), "end": None, "reason": "the disk is full"}
    assert shown["silent"] == [{"device": "cam-2", "reason": "cam-2 does not answer."}]


def event(**changes: object) -> m.Event:
    labels = (m.LabelScore("person", 0.9),)
    plain = m.Event(
        "event-1", 1, "cam-1", "north", "eu", m.TriggerKind.OBJECT, NOW, NOW + 2, open=False, score=0.9, labels=labels
    )
    return replace(plain, **changes)


def listed(*events: m.Event, width: int = 200) -> str:
    screen = Console(width=width, record=True, force_terminal=False)
    showing.events(screen, events)
    return screen.export_text()


def test_an_event_shows_priority_zones_and_about_where_they_are_set() -> None:
    assert not {"zones", "about", "priority"} & set(listed(event()).split())
    pressed = event(priority=m.Priority.URGENT, zones=("door", "yard"), about="the [red] bell")
    text = listed(event(), pressed)
    for words in ("zones", "door, yard", "about", "the [red] bell", "priority", "urgent"):
        assert words in text
    shown = as_json.event(pressed)
    assert (shown["priority"], shown["zones"], shown["about"]) == ("urgent", ["door", "yard"], "the [red] bell")


def test_no_part_of_an_id_is_lost_in_a_narrow_terminal() -> None:
    name = "01a2048f-b064-7408-a6c7-b8ce4d64bab0"
    lines = listed(event(event_id=name, about="a long story about a bell"), width=100).splitlines()
    assert name in "".join(line.split()[-1] for line in lines[1:])


def test_a_silent_device_is_one_line_that_names_it() -> None:
    screen = Console(width=100, record=True, force_terminal=False)
    showing.silent(screen, "cam-1", Unreachable("The link is down."))
    showing.silent(screen, "cam-1", Unreachable("cam-1 sleeps; wake it."))
    assert [line.split(None, 1)[1].rstrip() for line in screen.export_text().splitlines()] == [
        "cam-1: The link is down.",
        "cam-1 sleeps; wake it.",
    ]


@pytest.mark.parametrize(
    "arguments", [["device", "watch", "cam-1"], ["device", "watch", "cam-1", "a van", "--none"]], ids=" ".join
)
def test_watching_needs_sentences_or_none(arguments: list[str]) -> None:
    result = CliRunner().invoke(app(), [*arguments, "--router", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "--none" in result.stderr


def test_too_long_a_sentence_is_bad_input() -> None:
    result = CliRunner().invoke(app(), ["device", "watch", "cam-1", "x" * 201, "--router", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "200 characters" in result.stderr.replace("\n", " ")
