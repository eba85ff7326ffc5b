"""Rows of events and tracks: what an outline answers is what the whole event would."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from foveate.messages import Event, LabelScore, Priority, Sighting, Track, TriggerKind
from foveate.paths import spans_of
from foveate.remembered import outlines, row, track_rows
from foveate.vision.boxes import Box

START = 1_750_000_000.0
BOX = Box(0.25, 0.25, 0.5, 0.5)


def event(tracks: tuple[Track, ...] = (), labels: tuple[LabelScore, ...] = ()) -> Event:
    return Event(
        event_id="event-1",
        revision=2,
        device_id="body-1",
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=START,
        end=START + 9.0,
        open=True,
        score=0.5,
        labels=labels,
        tracks=tracks,
        media_offset=3.0,
    )


def track(number: int, label: str, score: float, *seen: tuple[str, float]) -> Track:
    sightings = tuple(Sighting(START + index, name, sure, BOX) for index, (name, sure) in enumerate(seen))
    return Track(number, label, score, START + number, START + number + 2.0, sightings)


def outlined(made: Event) -> Event:
    rows: list[Any] = [SimpleNamespace(**values) for values in track_rows(made)]
    (found,) = outlines(rows)
    return found


def test_a_track_has_the_score_of_its_best_sighting_under_its_own_name() -> None:
    made = event((track(1, "car", 0.5, ("car", 0.75), ("truck", 0.9)), track(2, "car", 0.6)))
    assert [(one["track_id"], one["score"]) for one in track_rows(made)] == [(1, 0.75), (2, 0.6)]


def test_a_label_that_nobody_followed_stands_for_the_whole_event() -> None:
    made = event((track(1, "car", 0.5),), (LabelScore("car", 0.5), LabelScore("dog", 0.25)))
    _, dog = track_rows(made)
    assert (dog["track_id"], dog["label"], dog["start"], dog["end"]) == (None, "dog", START, START + 9.0)
    assert track_rows(event()) == []


def test_a_row_carries_the_priority_and_every_name() -> None:
    made = event((track(1, "car", 0.5),), (LabelScore("dog", 0.25), LabelScore("car", 0.5)))
    columns = row(replace(made, priority=Priority.URGENT))
    assert (columns["priority"], columns["labels"], columns["embedding"]) == (4, ["dog", "car"], None)


names = st.sampled_from(["person", "car", "dog"])
scores = st.floats(0.05, 0.95)
tracks = st.lists(st.tuples(names, scores, st.lists(st.tuples(names, scores), max_size=3)), max_size=4)
labels = st.dictionaries(names, scores)


@given(tracks, labels)
def test_an_outline_has_the_spans_of_its_event(followed: list[Any], named: dict[str, float]) -> None:
    made = event(
        tuple(track(number, label, score, *seen) for number, (label, score, seen) in enumerate(followed)),
        tuple(LabelScore(label, score) for label, score in named.items()),
    )
    if not followed and not named:
        assert track_rows(made) == []
        return
    outline = outlined(made)
    for label in ("person", "car", "dog"):
        whole = [(span.start, span.end, span.score) for span in spans_of(made, [label])]
        assert [(span.start, span.end, span.score) for span in spans_of(outline, [label])] == whole
    assert (outline.start, outline.end, outline.open, outline.media_offset) == (START, START + 9.0, True, 3.0)
