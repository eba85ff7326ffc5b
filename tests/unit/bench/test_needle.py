"""The needle bench: the days that it builds have the truth that they claim, and its score cannot flatter."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _benches_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])


def test_a_day_holds_its_three_events_where_it_says(clips: dict[str, Path], tmp_path: Path) -> None:
    stream = importlib.import_module("needle_stream")
    told: list[int] = []
    day = stream.build(stream.wheel_footage(), tmp_path / "day.mkv", seed=3, seconds=240, told=told.append)
    assert told == [0]
    with av.open(str(day.path)) as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(shown) == day.frames == 240
    assert [int(start // 80) for start, _ in day.events] == [0, 1, 2], "one in each third"
    for start, _ in day.events:
        before, quiet, busy = (shown[int(start) + offset].ravel() for offset in (-4, -3, 2))
        # Light may step at any time; the pattern changes only when somebody walks through it.
        assert np.corrcoef(before, quiet)[0, 1] > 0.97
        assert np.corrcoef(quiet, busy)[0, 1] < 0.95


def test_the_score_counts_what_was_missed_and_what_was_false() -> None:
    needle = importlib.import_module("needle")
    day = needle.Day(
        Path("day.mkv"), "made", 86_400, ((1000.0, 1005.0), (40_000.0, 40_004.0), (80_000.0, 80_003.0)), 8, 8
    )
    alarms = ((0.0, 3.0), (1002.0, 1003.0), (1004.0, 1009.0), (20_000.0, 20_001.0), (80_020.0, 80_021.0))
    row = needle.scored(day, needle.Ran(alarms, 10.0, 20.0, {"packets": 86_400}))
    assert (row["events"], row["found"], row["inventory"]) == (3, 1, 1)
    assert row["false_alarms"] == 2, "two alarms of one event are one finding; 17 s beside an event is false"
    assert row["realtime_factor"] == 4320.0


def test_the_peers_line_is_read() -> None:
    needle = importlib.import_module("needle")
    assert needle._dvr_spans("00:09:26.000,00:10:29.000,01:30:08.000,01:31:11.500\n") == [
        (566.0, 629.0),
        (5408.0, 5471.5),
    ]
    assert needle._dvr_spans("") == []
