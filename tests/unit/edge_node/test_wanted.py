"""Which parts of an event are looked at: one of a short event, one in two minutes of a long one, all of sound."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql

from edge_node.wanted import LOOKED_S, Wanted, parts
from foveate.messages import Event, Priority, Sighting, Track, TriggerKind
from foveate.vision.boxes import Box

T = 1_700_000_000.0


def event(length: float, *, open: bool = False, sound: bool = False, best: float | None = None) -> Event:
    tracks = ()
    if best is not None:
        sighting = Sighting(T + best, "person", 0.8, Box(0.4, 0.4, 0.3, 0.3))
        far = Sighting(T + 1, "person", 0.8, Box(0.4, 0.4, 0.1, 0.1))
        tracks = (Track(1, "person", 0.8, T, T + length, (far, sighting)),)
    trigger = TriggerKind.SOUND if sound else TriggerKind.OBJECT
    made = Event("e", 1, "cam", "north", "eu", trigger, T, T + length, open, 0.5)
    return Event(**{name: getattr(made, name) for name in made.__slots__} | {"tracks": tracks})


def spans(made: Event) -> list[tuple[int, float, float]]:
    return [(part.number, part.start - T, part.end - T) for part in parts(made)]


def test_a_short_event_is_looked_at_when_it_closes_a_little_wider_than_it_was() -> None:
    assert spans(event(3, open=True)) == []
    assert spans(event(3)) == [(0, -0.5, 3.5)]
    assert spans(event(0)) == [(0, -0.5, 0.5)]
    assert spans(event(-5)) == [(0, -0.5, 0.5)]


def test_of_a_longer_one_eight_seconds_around_where_its_object_is_largest() -> None:
    assert spans(event(60, best=30)) == [(0, 26, 26 + LOOKED_S)]
    assert spans(event(60, best=59)) == [(0, 60 - LOOKED_S, 60)]
    assert spans(event(60, best=2)) == [(0, 0, LOOKED_S)]
    assert spans(event(60)) == [(0, 0, LOOKED_S)]


def test_a_long_one_is_looked_at_every_two_minutes_while_it_goes_on() -> None:
    assert spans(event(119, open=True)) == []
    assert spans(event(130, open=True)) == [(0, 0, 8)]
    assert spans(event(250, open=True)) == [(0, 0, 8), (1, 120, 128)]
    assert spans(event(250)) == [(0, 0, 8), (1, 120, 128), (2, 240, 248)]
    # The rest is less than a second: no part of its own.
    assert [number for number, *_ in spans(event(240.5))] == [0, 1]


def test_one_revision_notes_at_most_three_parts() -> None:
    assert [number for number, *_ in spans(event(7200, open=True))] == [57, 58, 59]


def test_sound_is_heard_without_gaps() -> None:
    assert spans(event(12, sound=True)) == [(0, 0, 12)]
    assert spans(event(75, sound=True)) == [(0, 0, 30), (1, 30, 60), (2, 60, 75)]


def test_the_statement_is_one_and_leaves_alone_what_was_looked_at() -> None:
    wanted: Any = Wanted(memory=None, clock=lambda: T)  # type: ignore[arg-type]
    assert wanted.statements(event(3, open=True)) == ()
    (statement,) = wanted.statements(event(250))
    shown = str(statement.compile(dialect=postgresql.dialect()))
    assert "ON CONFLICT (event_id, part) DO NOTHING" in shown
    assert shown.count("INSERT") == 1
    noted = statement.compile().params.values()
    assert {T, T + 120.0, T + 240.0, int(Priority.NORMAL)} <= {
        value for value in noted if isinstance(value, float | int)
    }
