"""What `bench/search.py` derives and how it reads its rounds, by hand."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.vision.boxes import Box
from foveate.vision.detect import Detection

NOW = 1_750_000_000.0


@pytest.fixture(scope="module", autouse=True)
def bench():
    # Its modules import each other as scripts do.
    sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
    yield
    sys.path.pop(0)


def seeds() -> list[Any]:
    from search_events import Seed

    first, second = np.eye(384, dtype=np.float32)[:2]
    return [Seed(first, (Detection("person", 0.8, Box(0.1, 0.1, 0.2, 0.5)),)), Seed(second, ())]


def test_derived_events_are_the_same_each_time_and_lie_in_the_last_month() -> None:
    from search_events import DAYS, events

    made = list(events(seeds(), "eye@1", number=200, now=NOW))
    assert made == list(events(seeds(), "eye@1", number=200, now=NOW))
    assert len({one.event_id for one in made}) == 200
    assert all(NOW - (DAYS + 1) * 86400 <= one.start < one.end for one in made)
    assert {one.labels[0].label for one in made if one.labels} == {"person"}
    for one in made:
        assert all(one.start <= track.start < track.end <= one.end for track in one.tracks)


def test_a_derived_vector_is_near_its_seed_and_of_unit_length() -> None:
    from search_events import events

    for one in events(seeds(), "eye@1", number=50, now=NOW):
        assert one.embedding is not None
        assert np.linalg.norm(one.embedding.values) == pytest.approx(1.0)
        assert max(one.embedding.values[:2]) == pytest.approx(0.91, abs=0.05)


def test_a_track_is_seen_along_its_way() -> None:
    from search_events import _track

    made = _track(3, Detection("car", 0.6, Box(0.9, 0.1, 0.1, 0.1)), random.Random(2), NOW, 30.0)
    times = [seen.time for seen in made.sightings]
    assert times == sorted(times)
    assert (times[0], times[-1]) == pytest.approx((made.start, made.end))
    assert all(seen.box.left >= 0.0 and seen.box.right <= 1.0 + 1e-9 for seen in made.sightings)


def test_a_rate_holds_while_the_slowest_are_quick_and_nobody_is_turned_down() -> None:
    from search import Round, holds

    quick = Round(5.0, seconds=[0.1] * 99 + [0.9])
    assert holds(quick.figures())
    assert not holds(Round(5.0, seconds=[0.1] * 90 + [1.5] * 10).figures())
    quick.refused, quick.delays = 1, [0.4]
    figures = quick.figures()
    assert not holds(figures)
    assert (figures["asked"], figures["answered"], figures["retry_after_s"]) == (101, 100, 0.4)
    assert not holds(Round(5.0).figures())
