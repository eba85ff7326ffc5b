"""From an edge's log and what was right to the calibration file of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge_node.thresholds import load
from foveate.messages import Task
from tools import calibrate_gate


def test_the_log_and_the_truth_make_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def decided(number: int, **changes: object) -> str:
        row = {"message": "the model decided", "question_id": f"q-{number}", "model": "m@awq", "task": "count"}
        return json.dumps(row | {"raw": 0.99, "thought": False, "thinking": 0} | changes)

    log = [decided(number) for number in range(45)]
    log += [decided(number, raw=0.4) for number in range(45, 55)]
    log += [decided(1, thought=True, thinking=t) for t in (100, 120)]
    log += [decided(2, task="find"), decided(3, raw=-1.0), decided(99), "Traceback (most recent call last):", "7"]
    log += [json.dumps({"message": "answered", "question_id": "q-1"})]
    (tmp_path / "edge.log").write_text("\n".join(log))
    truth = [json.dumps({"question_id": f"q-{number}", "right": number < 45}) for number in range(55)]
    (tmp_path / "right.jsonl").write_text("\n".join(truth))
    files = ["--log", str(tmp_path / "edge.log"), "--right", str(tmp_path / "right.jsonl")]
    monkeypatch.setattr(sys, "argv", ["calibrate_gate", *files])
    calibrate_gate.main()
    out, err = capsys.readouterr()
    (tmp_path / "calibration.yaml").write_text(out)
    bars = load(tmp_path / "calibration.yaml")
    counted = bars["m@awq", Task.COUNT]
    assert (counted.threshold, counted.pairs, counted.thinking_tokens) == (0.99, 55, 110.0)
    assert counted.worth(0.99) == pytest.approx(46 / 47, abs=0.01)
    assert counted.worth(0.4) == pytest.approx(1 / 12, abs=0.01)
    assert not bars["m@awq", Task.FIND].calibrated
    assert "m@awq at find: 1 answers" in err
