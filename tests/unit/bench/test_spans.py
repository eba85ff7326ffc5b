"""Scoring of events and tracks: what is perfect, what is half, and that nothing counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.spans import pairs, scored, stays
from bench.tracking import read_truth, score
from foveate.vision.boxes import Box

TRUE = [(0.0, 10.0), (20.0, 30.0)]


def test_what_is_found_exactly_is_perfect() -> None:
    figures = scored(TRUE, TRUE)
    assert figures["0.3"] == figures["0.5"] == {"matched": 2, "recall": 1.0, "precision": 1.0}
    assert figures["start_error_s"] == {"median": 0.0, "most": 0.0, "median_signed": 0.0}


def test_no_event_is_matched_twice() -> None:
    figures = scored(TRUE, [(0.0, 9.0), (1.0, 10.0), (20.0, 24.0)])
    assert figures["0.3"] == {"matched": 2, "recall": 1.0, "precision": 0.667}
    assert figures["0.5"] == {"matched": 1, "recall": 0.5, "precision": 0.333}
    assert figures["start_error_s"]["most"] == 0.0


def test_as_many_as_possible_are_matched_before_the_best_ones() -> None:
    """The first span would overlap most with what the second one needs."""
    assert pairs([(0.0, 10.0), (4.0, 14.0)], [(3.0, 12.0), (-5.0, 7.0)], overlap=0.3) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("true", "found"), [([], []), (TRUE, []), ([], TRUE)])
def test_nothing_is_scored_without_a_fall(true: list[tuple[float, float]], found: list[tuple[float, float]]) -> None:
    figures = scored(true, found)
    assert figures["0.3"]["matched"] == 0
    assert figures["start_error_s"] is None


def test_who_comes_again_after_a_while_stays_twice() -> None:
    frames = {0: {1}, 10: {1, 2}, 25: {1}, 60: {1}, 70: {1}}
    assert stays(frames, fps=10, gap_s=2.0) == [(0.0, 2.5), (1.0, 1.0), (6.0, 7.0)]


def test_truth_is_read_as_fractions_from_frame_0(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,9,50,25,10,50,1,-1,-1,0\n2,9,50,25,10,50,0,-1,-1,0\n")
    assert read_truth(path, width=100, height=100) == {0: {9: Box(0.5, 0.25, 0.1, 0.5)}}


def test_a_track_that_changes_its_id_halfway_is_half_right() -> None:
    pytest.importorskip("trackeval")
    box = Box(0.1, 0.1, 0.2, 0.4)
    truth = [{1: box}] * 10
    perfect, broken = score(truth, truth), score(truth, [{7: box}] * 5 + [{8: box}] * 5)
    assert (perfect["hota"], perfect["mota"], perfect["idf1"]) == (1.0, 1.0, 1.0)
    assert (broken["idf1"], broken["id_switches"]) == (0.5, 1)
