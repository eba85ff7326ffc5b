"""Scanning a file: events with their place in it, for a person and as JSON; what cannot be scanned is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agent import __main__ as command
from device_agent import scan

from .test_ladder import film, nothing, passer_by


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("scan") / "v.mkv", passer_by, frames=400)


def test_what_happens_is_found_where_it_happens(crossing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan.main([str(crossing), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seconds"] == pytest.approx(200.0, abs=1.0)
    moved = [event for event in told["events"] if event["start"] > 20.0]
    assert moved, "somebody crossed"
    assert all(148.0 <= event["start"] <= event["end"] <= 165.0 for event in moved)
    seen = [told["rungs"][name]["seen"] for name in ("packets", "luma", "detector")]
    assert seen == sorted(seen, reverse=True)
    assert told["rungs"]["events"]["passed"] == len(told["events"])


def test_a_person_reads_lines(crossing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan.main([str(crossing)]) == 0
    out = capsys.readouterr().out
    assert "00:02:3" in out
    assert "x real time" in out
    assert "packets" in out


def test_nothing_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan.main([str(film(tmp_path / "v.mkv", nothing, frames=60))])
    assert "nothing happened in this file" in capsys.readouterr().out


def test_a_mask_hides_the_passer_by(crossing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "device.yaml"
    rules.write_text("masks: [{name: path, polygon: [[0, 0.2], [1, 0.2], [1, 0.9], [0, 0.9]]}]\n")
    scan.main([str(crossing), "--json", "--config", str(rules)])
    assert [event for event in json.loads(capsys.readouterr().out)["events"] if event["start"] > 20.0] == []


@pytest.mark.parametrize("content", [None, b"", b"I am no video. " * 50])
def test_what_is_no_video_is_one_sentence(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("sys.argv", ["foveate-device", "scan", str(path)])
    assert command.main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_rate_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["foveate-device", "scan", "v.mp4", "--fps", "0"])
    assert command.main() == 2
    assert "--fps 0" in capsys.readouterr().err
