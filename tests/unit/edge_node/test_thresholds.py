"""Thresholds and calibration from pairs: numbers done by hand, and the file that keeps them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edge_node.thresholds import (
    ALWAYS,
    CAP,
    DEFAULT,
    Bar,
    Thresholds,
    bar_of,
    calibration_of,
    dump,
    least_pairs,
    load,
    threshold_of,
)
from foveate.errors import InvalidInput, NotFound
from foveate.messages import Task
from foveate.vision.likelihood import Platt


def test_the_fewest_pairs_that_prove_anything() -> None:
    assert 0.95**44 > 0.1 >= 0.95**45
    assert least_pairs(0.05, 0.1) == 45
    assert least_pairs(0.2, 0.1) == 11


def test_too_few_pairs_prove_nothing() -> None:
    assert threshold_of([(0.99, True)] * 44) is None
    bar = bar_of([(0.99, True)] * 44)
    assert (bar.threshold, bar.calibrated, bar.worth(0.99), bar.worth(0.3)) == (DEFAULT, False, CAP, 0.3)


def test_the_threshold_goes_as_low_as_the_error_allows() -> None:
    # 45 right at 0.99 pass: 0.95^45 = 0.0994. One wrong among 60: P(X <= 1) = 0.0461 + 0.1455 > 0.1 fails.
    pairs = [(0.99, True)] * 45 + [(0.9, True)] * 14 + [(0.9, False)]
    assert threshold_of(pairs) == 0.99
    # One wrong among 77: 0.95^77 + 77 * 0.05 * 0.95^76 = 0.0193 + 0.0781 = 0.0974 passes.
    more = [(0.99, True)] * 45 + [(0.9, True)] * 31 + [(0.9, False)]
    assert threshold_of(more) == 0.9
    assert threshold_of([*more, *[(0.5, False)] * 5]) == 0.9


def test_a_model_that_is_surely_wrong_always_thinks() -> None:
    assert threshold_of([(0.99, False)] * 45) == ALWAYS
    assert bar_of([(0.99, False)] * 45).threshold > 1.0


def test_equal_confidences_stand_or_fall_together() -> None:
    assert threshold_of([(0.9, True)] * 50 + [(0.9, False)] * 20) == ALWAYS


def test_calibration_finds_the_base_rates() -> None:
    # At 0.9 three of four are right, at 0.5 one of four: slope 1, offset -log 3, but for Platt's targets.
    pairs = [(0.9, True)] * 72 + [(0.9, False)] * 24 + [(0.5, True)] * 12 + [(0.5, False)] * 36
    platt = calibration_of(pairs)
    assert platt is not None
    assert (platt.slope, platt.offset) == (pytest.approx(1.0, abs=0.05), pytest.approx(-math.log(3), abs=0.06))
    assert platt.probability(0.9) == pytest.approx(0.75, abs=0.01)


def test_calibration_never_makes_a_certainty_nor_turns_the_order_around() -> None:
    perfect = calibration_of([(0.999, True)] * 60)
    assert perfect is not None
    assert perfect.probability(0.999) == pytest.approx(61 / 62, abs=1e-3)
    backwards = calibration_of([(0.99, False)] * 30 + [(0.6, True)] * 30)
    assert backwards is not None
    assert backwards.probability(0.99) == backwards.probability(0.6) == pytest.approx(0.5)


def test_a_quantised_model_is_another_model() -> None:
    bar = Bar(0.9, 60, platt=Platt(1.0, 0.0))
    table = Thresholds({("qwen@bf16", Task.COUNT): bar}, {Task.FIND: 0.8})
    assert table.of("qwen@bf16", Task.COUNT) is bar
    assert table.of("qwen@bf16+w4a16", Task.COUNT) == Bar()
    assert table.of("qwen@bf16", Task.FIND) == Bar(0.8)


def test_the_file_keeps_all_of_it(tmp_path: Path) -> None:
    bars = {
        ("qwen@awq", Task.COUNT): Bar(0.93, 212, 0.05, Platt(1.2, -0.3), 131.5),
        ("qwen@awq", Task.FIND): Bar(ALWAYS, 60, 0.1),
    }
    (tmp_path / "bars.yaml").write_text(dump(bars))
    assert load(tmp_path / "bars.yaml") == bars


@pytest.mark.parametrize(
    "text",
    [
        "bars: 7",
        "bars: []\nmore: 1",
        "bars: [7]",
        "bars: [{model: m@1, task: count, threshold: 0.9}]",
        "bars: [{model: m@1, task: guess, threshold: 0.9, pairs: 50}]",
        "bars: [{model: m@1, task: count, threshold: high, pairs: 50}]",
        "bars: [{model: m@1, task: count, threshold: .nan, pairs: 50}]",
        "bars: [{model: m@1, task: count, threshold: -1, pairs: 50}]",
        "bars: [{model: m@1, task: count, threshold: 0.9, pairs: 50, slope: 1.0}]",
        "bars: [{model: m@1, task: count, threshold: 0.9, pairs: 5, slope: 1.0, offset: 0.0}]",
        "bars: [{model: m@1, task: count, threshold: 0.9, pairs: 50, slope: .inf, offset: 0.0}]",
        "bars: [{model: m@1, task: count, threshold: 0.9, pairs: 50, colour: red}]",
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bars.yaml").write_text(text)
    with pytest.raises(InvalidInput):
        load(tmp_path / "bars.yaml")
    with pytest.raises(NotFound):
        load(tmp_path / "none.yaml")
