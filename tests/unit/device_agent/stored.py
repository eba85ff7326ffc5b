"""Events of one device, and the outbox and reporter that tests put them into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.outbox import Outbox
from device_agent.report import Release, Reporter
from device_agent.sender import Sender
from foveate.messages import (
    Boundary,
    Embedding,
    Event,
    LabelScore,
    Priority,
    Representation,
    Sighting,
    Track,
    TriggerKind,
)
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import event_pb2
from foveate.vision.boxes import Box
from foveate.wire import event_of, parse
from tests.unit.device_agent.fakes import START, JumpingClock

SENDER = Sender("body-1", "north", "eu-west")
EVENT = Event(
    event_id="0190",
    revision=1,
    device_id="body-1",
    site_id="north",
    region="eu-west",
    trigger=TriggerKind.OBJECT,
    start=START,
    end=START + 1,
    open=True,
    score=0.5,
    labels=(LabelScore("person", 0.5),),
    embedding=Embedding("m@1", (1.0, 0.0)),
)


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A folder for many writes, in memory where the machine has such a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def event(key: int, revision: int = 1, *, still: bool = True) -> Event:
    return replace(EVENT, event_id=f"e{key}", revision=revision, open=still)


def seen(key: int, *, priority: Priority = Priority.NORMAL, revision: int = 1, still: bool = False) -> Event:
    """An event as large as real ones: a vector of 384 numbers and a path of 16 sightings."""
    path = tuple(Sighting(START + n, "person", 0.7, Box(0.01 * n, 0.2, 0.1, 0.2)) for n in range(4 * revision))
    track = Track(key, "person", 0.7, START, START + 16, path)
    vector = Embedding("efficientnet-lite0@1", tuple(0.05 + 0.0001 * n for n in range(384)))
    ident = f"0190b0a0-0000-7000-8000-{key:012d}"
    changes = {"revision": revision, "priority": priority, "open": still}
    return replace(EVENT, event_id=ident, tracks=(track,), embedding=vector, **changes)


def outbox(folder: Path, max_bytes: int = 1 << 20) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=max_bytes)


def fill(box: Outbox, events: list[Event]) -> None:
    for event in events:
        box.put(event)


def waiting(box: Outbox) -> list[Event]:
    return [event_of(parse(event_pb2.Event, item.payload)) for item in box.pending(10_000)]


def policy(**limits: Boundary) -> ResidencyPolicy:
    return ResidencyPolicy((Rule("r", RuleScope(), tuple((Representation[k], v) for k, v in limits.items())),))


def reporter(outbox: Outbox, policy: ResidencyPolicy) -> Reporter:
    return Reporter(outbox, sender=SENDER, release=Release(policy, SENDER), clock=JumpingClock())
