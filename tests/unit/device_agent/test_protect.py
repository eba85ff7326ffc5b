"""The list of spans that matter: bounded, and evidence stays in it longest."""

from __future__ import annotations

from pathlib import Path

from device_agent.protect import Protected
from foveate.messages import Priority


def test_many_small_events_do_not_push_the_button_out(tmp_path: Path) -> None:
    path = tmp_path / "protected.txt"
    spans = Protected(path)
    spans.add(0.0, 10.0, Priority.URGENT)
    for number in range(3000):
        spans.add(1000.0 + 100 * number, 1001.0 + 100 * number, Priority.LOW)
        if spans.crowded:
            spans.forget(before=-1.0)
    for known in (spans, Protected(path)):
        assert known.of(0.0, 10.0) == Priority.URGENT
        assert known.of(300_900.0, 300_901.0) == Priority.LOW
        assert not known.crowded
