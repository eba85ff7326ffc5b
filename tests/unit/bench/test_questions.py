"""The questions bench: its truth is what the files say, its questions are answerable, and its score cannot flatter."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foveate import messages as m
from foveate.errors import InvalidInput
from foveate.vision.boxes import Box

ROOT = Path(__file__).resolve().parents[3]
BEGAN = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _benches_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])


@pytest.fixture
def truth() -> ModuleType:
    return importlib.import_module("question_truth")


@pytest.fixture
def score() -> ModuleType:
    return importlib.import_module("question_score")


@pytest.fixture
def folder(clips: dict[str, Path], tmp_path: Path) -> Path:
    """Ten seconds of a street with a made-up truth: what matters here is the reading, not the footage."""
    (tmp_path / "street.mp4").symlink_to(clips["bikes"])
    (tmp_path / "boxes.txt").write_text("1,7,64,27.2,128,136,1\n26,7,512,27.2,64,136,1\n26,8,0,0,64,27.2,1\n")
    document = {
        "street.mp4": {
            "fps": 25,
            "ground_truth": "boxes.txt",
            "vehicle_passes_s": [{"from": 2.0, "to": 4.0}, {"from": 3.5, "to": 6.0}],
            "bottle_count": [[0, 3], [5.0, 1]],
            "dog_in_view_s": [[7.0, 8.0]],
            "hand_in_view_s": [[1.0, 2.0]],
        }
    }
    (tmp_path / "events.json").write_text(json.dumps(document))
    return tmp_path


def test_the_truth_of_a_clip_is_what_the_file_says(truth: ModuleType, folder: Path) -> None:
    clips = {clip.label: clip for clip in truth.read_clips(folder)}
    assert sorted(clips) == ["bottle", "car", "dog", "person"], "a hand is no thing that a detector knows"
    assert [clips["car"].at(second) for second in (1.0, 2.0, 3.8, 5.0, 6.5)] == [0, 1, 2, 1, 0]
    assert [clips["bottle"].at(second) for second in (0.0, 4.9, 5.0, 9.0)] == [3, 3, 1, 1]
    assert (clips["dog"].at(7.5), clips["dog"].at(8.2)) == (1, 0)
    people = clips["person"]
    assert people.at(0.0) == 1
    assert people.at(1.0) == 2
    assert (people.at(0.0, "west"), people.at(1.0, "west"), people.at(1.0, "east")) == (1, 1, 1)
    assert people.boxes is not None
    assert people.boxes[0][0].iou(Box(0.1, 0.1, 0.2, 0.5)) == pytest.approx(1.0)


def test_questions_are_the_same_for_the_same_seed_and_their_truth_is_beyond_doubt(
    truth: ModuleType, folder: Path
) -> None:
    clips = truth.read_clips(folder)
    asked = truth.make(clips, each=6, seed=5)
    assert [one.text for one in asked] == [one.text for one in truth.make(clips, each=6, seed=5)]
    assert {one.kind for one in asked} >= {"presence at a time", "count at a time", "most at once", "first seen"}
    for one in asked:
        if one.kind == "count at a time":
            around = one.clip.within(one.start - one.clip.guard_s, one.start + one.clip.guard_s)
            assert set(around) == {one.truth}
        if one.kind == "first seen":
            assert one.clip.at(one.truth) > 0
            assert not any(one.clip.within(one.start, one.truth - 0.15))
        if one.kind == "last seen":
            assert not any(one.clip.within(one.truth + 0.15, one.end))


@pytest.mark.parametrize("content", [None, "no json", "{}", '{"a.mp4": {}}'])
def test_a_folder_without_truth_is_refused(
    truth: ModuleType, clips: dict[str, Path], tmp_path: Path, content: str | None
) -> None:
    (tmp_path / "a.mp4").symlink_to(clips["bikes"])
    if content is not None:
        (tmp_path / "events.json").write_text(content)
    with pytest.raises(InvalidInput):
        truth.read_clips(tmp_path)


def _told(score: ModuleType, truth: ModuleType, kind: str, true: Any, value: Any, **changes: Any) -> Any:
    clip = truth.Clip(Path("a.mp4"), "person", 10.0, (1,) * 101, 0.2, {}, ((Box(0.0, 0.0, 0.5, 0.5),),) * 101)
    outcome = m.Outcome.CANNOT_TELL if value is None else m.Outcome.ANSWERED
    answer = m.Answer("q", outcome, "said", changes.pop("confidence", 0.9), value=value, **changes)
    understanding = m.Understanding(m.Task.COUNT, "", (), BEGAN, BEGAN, False, m.Pick.ANY, "")
    plan = m.Plan("q", understanding, (), (), "")
    record = m.QuestionRecord(m.Question("q", "?", BEGAN), plan, (), answer, 0.5, 1e-6)
    return score.Told("edge", truth.Asked(clip, kind, "?", true, 4.0, 4.0), record, BEGAN, "cam-1")


def _seen(*boxes: Box, at: float = 4.0, device: str = "cam-1") -> m.Evidence:
    sightings = tuple(m.Sighting(BEGAN + at, "person", 0.9, box) for box in boxes)
    return m.Evidence(device, BEGAN, BEGAN + 10, sightings=sightings)


def test_only_the_true_value_is_right(score: ModuleType, truth: ModuleType) -> None:
    def right(true: Any, value: Any) -> bool:
        return bool(_told(score, truth, "k", true, value).right)

    assert [right(True, True), right(True, False), right(False, False), right(True, None)] == [True, False, True, False]
    assert [right(2, 2), right(2, 3), right(2, None), right(1, True)] == [True, False, False, False]
    assert [right(4.0, BEGAN + 5.9), right(4.0, BEGAN + 6.1), right(4.0, None)] == [True, False, False]


def test_evidence_holds_only_with_a_box_for_each_thing_at_the_time_by_the_camera(
    score: ModuleType, truth: ModuleType
) -> None:
    one, two = Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 0.2, 0.2)

    def holds(value: Any, *pieces: m.Evidence) -> bool:
        return bool(_told(score, truth, "count at a time", 2, value, evidence=pieces).holds)

    assert holds(2, _seen(one, two))
    assert holds(2, _seen(one), _seen(two))
    assert not holds(2, _seen(one))
    assert not holds(
        2, m.Evidence("cam-1", BEGAN, BEGAN + 9, sightings=(*_seen(one).sightings, *_seen(one, at=4.5).sightings))
    )
    assert not holds(1, _seen(one, at=8.0))
    assert not holds(1, _seen(one, device="cam-2"))
    assert not holds(True)


def test_the_overlap_is_with_the_true_box_of_that_moment(score: ModuleType, truth: ModuleType) -> None:
    told = _told(score, truth, "k", 1, 1, evidence=(_seen(Box(0.0, 0.0, 0.5, 0.25)),))
    assert told.overlaps() == [pytest.approx(0.5)]
    assert replace(told, asked=replace(told.asked, clip=replace(told.asked.clip, boxes=None))).overlaps() == []


def test_the_calibration_error_is_that_of_the_formula(score: ModuleType) -> None:
    # Two bins: .95 (two of three right) and .55 (one of one right): 3/4 * |2/3 - .95| + 1/4 * |1 - .55| = .325.
    said = [(0.95, True), (0.95, True), (0.95, False), (0.55, True)]
    assert score.ece(said) == pytest.approx(0.75 * abs(2 / 3 - 0.95) + 0.25 * 0.45)


def test_rows_count_what_was_asked_answered_and_right(score: ModuleType, truth: ModuleType) -> None:
    told = [
        _told(score, truth, "count at a time", 2, 2, confidence=1.0),
        _told(score, truth, "count at a time", 2, 4, confidence=1.0),
        _told(score, truth, "count at a time", 2, None),
        _told(score, truth, "first seen", 4.0, BEGAN + 4.5, confidence=1.0),
    ]
    rows = {row["kind"]: row for row in score.rows(told)}
    counts = rows["count at a time"]
    assert (counts["asked"], counts["accuracy"], counts["right_of_asked"]) == (3, 0.5, 0.333)
    assert (counts["abstained"], counts["count_error"], counts["ece"]) == (0.333, 1.0, 0.5)
    assert rows["first seen"]["time_error_s"] == 0.5
    assert rows["all"]["asked"] == 4
