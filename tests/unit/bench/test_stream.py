"""The stream bench: flat is flat, growth shows, and nothing that is never found is passed over in silence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    return importlib.import_module("stream")


def test_what_was_needed_to_warm_up_does_not_count(stream: Any) -> None:
    told = stream.flatness([100.0, 200.0, 300.0] + [310.0] * 20, warm=3)
    assert (told["median_mb"], told["max_over_median"], told["end_over_start"]) == (310.0, 1.0, 1.0)
    assert (told["start_mb"], told["samples"]) == (100.0, 20)


def test_growth_and_peaks_show(stream: Any) -> None:
    grows = stream.flatness([100.0 + step for step in range(100)], warm=0)
    assert grows["max_over_median"] == pytest.approx(199 / 149.5, abs=1e-3)
    assert grows["end_over_start"] > 1.8
    assert stream.flatness([100.0] * 50 + [150.0] + [100.0] * 50, warm=0)["max_over_median"] == 1.5


def test_latency_is_from_sending_to_finding_and_what_is_never_found_is_counted(stream: Any) -> None:
    devices = importlib.import_module("stream_devices")
    sent = devices.Sent(at={("a", 1): 10.0, ("a", 2): 12.0, ("b", 1): 11.0})
    found = stream.Searchable({("a", 1): 10.1, ("a", 2): 12.3, ("other", 1): 5.0})
    told = stream.searched(sent, found)
    assert (told["events_sent"], told["revisions_sent"], told["events_never_found"]) == (2, 3, 1)
    assert told["searchable_ms"]["p50"] == pytest.approx(200.0, abs=0.1)
    # A revision that the next one overtook was found all the same.
    overtaken = stream.searched(sent, stream.Searchable({("a", 2): 12.1, ("b", 1): 11.1}))
    assert overtaken["events_never_found"] == 0
