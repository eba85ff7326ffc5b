"""kill -9 of any one process, then `foveate up`: no event is lost and none is shown twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.command_line import CommandLine

VICTIMS = ["device-cam-1", "edge-site-1", "leaf-site-1", "nats-hub", "postgres", "cloud", "router", "supervisor"]


@pytest.fixture(scope="module")
def lone_fleet(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    line = CommandLine(tmp_path_factory.mktemp("kill"))
    os.chmod(line.data.parent, 0o755)
    try:
        line.ok("up", "--video", str(clips["bikes"]), "--detach")
        line.until(lambda: events(line))
        yield line
    finally:
        line.run("down")


def events(line: CommandLine) -> list[dict]:
    """What the cloud remembers: the far end of the path."""
    ran = line.run("event", "list", "--limit", "1000", "--json")
    return ran.json["events"] if ran.code == 0 else []


def at_edge(line: CommandLine) -> list[dict]:
    ran = line.run("event", "list", "--at", "site-1", "--limit", "1000", "--json")
    return ran.json["events"] if ran.code == 0 else []


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_and_nothing_doubled(lone_fleet: CommandLine, victim: str) -> None:
    line = lone_fleet
    before = {event["id"] for event in line.until(lambda: events(line))}
    supervisor = int(json.loads((line.data / "run.json").read_text())["pid"])
    pid = supervisor if victim == "supervisor" else line.children()[victim]
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert line.ok("up", "--detach")["state"] == "healthy"
    # New events arrive at the far end again, and all that was known before is still there, once.
    line.until(lambda: {event["id"] for event in events(line)} - before, seconds=90)
    for remembered in (events(line), at_edge(line)):
        assert before <= {event["id"] for event in remembered}
    stored = told_by_device(line)
    assert stored
    line.until(lambda: stored <= {event["id"] for event in at_edge(line)}, seconds=90)
    line.until(lambda: stored <= {event["id"] for event in events(line)}, seconds=90)
    # One thing seen is one event: nothing came again under another name.
    seen = [(e["start"], [found["label"] for found in e["labels"]], e["boxes"][:1]) for e in events(line)]
    assert len({json.dumps(what) for what in seen}) == len(seen)


def told_by_device(line: CommandLine) -> set[str]:
    """The events that the device says it has put on its disk, over all of its lives."""
    told = set()
    for path in (line.data / "logs").glob("device-cam-1.log*"):
        for text in path.read_text().splitlines():
            if '"event_id"' in text:
                told.add(json.loads(text)["event_id"])
    return told
