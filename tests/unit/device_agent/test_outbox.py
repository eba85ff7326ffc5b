"""The outbox: on disk before it is sent, in order, bounded, and there after a crash."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.outbox import Outbox
from device_agent.report import Release, Reporter
from device_agent.sender import Sender
from foveate.errors import OutOfSpace
from foveate.messages import Boundary, Embedding, Event, LabelScore, Representation, TriggerKind
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import event_pb2
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


def _event(key: int, revision: int = 1, *, still: bool = True) -> Event:
    return replace(EVENT, event_id=f"e{key}", revision=revision, open=still)


def _outbox(folder: Path, max_bytes: int = 1 << 20) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=max_bytes)


def _fill(box: Outbox, events: list[Event]) -> None:
    for event in events:
        box.put(event)


def _policy(**limits: Boundary) -> ResidencyPolicy:
    return ResidencyPolicy((Rule("r", RuleScope(), tuple((Representation[k], v) for k, v in limits.items())),))


def _reporter(outbox: Outbox, policy: ResidencyPolicy) -> Reporter:
    return Reporter(outbox, sender=SENDER, release=Release(policy, SENDER), clock=JumpingClock())


def test_what_was_put_is_there_after_a_crash_in_order(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    for key in range(5):
        box.put(_event(key))
    again = _outbox(tmp_path)  # the first one was never closed, as by `kill -9`
    assert [item.message_id for item in again.pending(10)] == [f"e{key}.1" for key in range(5)]
    assert again.depth == 5
    assert event_of(parse(event_pb2.Event, again.pending(1)[0].payload)).event_id == "e0"


def test_only_what_was_acknowledged_goes(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    for key in range(4):
        box.put(_event(key))
    first, second, *_ = box.pending(2)
    box.done([first.number, second.number])
    assert [item.message_id for item in _outbox(tmp_path).pending(10)] == ["e2.1", "e3.1"]
    assert box.depth == 2


def test_a_full_outbox_says_so_and_drops_nothing_but_replaced_revisions(tmp_path: Path) -> None:
    box = _outbox(tmp_path, max_bytes=2000)
    with pytest.raises(OutOfSpace, match="restore the link"):
        _fill(box, [_event(n % 3, n) if n < 40 else _event(n) for n in range(1, 200)])
    waiting = box.pending(1000)
    assert {"e0.39", "e1.37", "e2.38", "e40.1"} <= {item.message_id for item in waiting}
    assert sum(len(item.payload) for item in waiting) <= 2000


def test_a_disk_error_is_want_of_space(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    box._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutOfSpace, match="free space"):
        _fill(box, [_event(key) for key in range(2000)])
    assert box.depth == len(box.pending(10_000))


def test_events_left_open_by_a_killed_process_are_closed_once(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    box.put(_event(1))
    box.put(_event(1, 2))
    box.put(_event(2))
    box.put(_event(2, 2, still=False))
    again = _outbox(tmp_path)
    _reporter(again, _policy(FACTS=Boundary.SITE, EMBEDDING=Boundary.SITE)).close_left_open()
    last = event_of(parse(event_pb2.Event, again.pending(10)[-1].payload))
    assert (last.event_id, last.revision, last.open) == ("e1", 3, False)
    assert again.left_open() == []


def test_residency_takes_out_the_vector_or_the_whole_event(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    _reporter(box, _policy(FACTS=Boundary.SITE)).put(_event(1))
    _reporter(box, _policy(FACTS=Boundary.DEVICE, EMBEDDING=Boundary.WORLD)).put(_event(2))
    (only,) = box.pending(10)
    assert event_of(parse(event_pb2.Event, only.payload)).embedding is None
    assert only.message_id == "e1.1"


def test_events_wait_in_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    reporter = _reporter(box, _policy(FACTS=Boundary.SITE))
    box._max_bytes = 0
    for revision in (1, 2, 3):
        reporter.put(_event(1, revision))
    assert box.depth == 0
    assert reporter.depth == 1
    assert reporter.trouble
    box._max_bytes = 1 << 20
    reporter.retry()
    assert [item.message_id for item in box.pending(10)] == ["e1.3"]
    assert reporter.trouble == ""


def test_the_file_survives_as_a_database(tmp_path: Path) -> None:
    _outbox(tmp_path).put(_event(1))
    with sqlite3.connect(tmp_path / "outbox.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_full_disk_is_said_whatever_is_tried_and_nothing_goes(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    for number in range(4):
        box.put(_event(number))
    waiting = box.pending(10)
    box._database.execute("PRAGMA query_only = ON")  # as a full disk does, it refuses every write
    with pytest.raises(OutOfSpace, match="free space"):
        box.done([waiting[0].number])
    box._database.execute("PRAGMA query_only = OFF")
    assert box.pending(10) == waiting
    box.done([waiting[0].number])
    assert box.pending(10) == waiting[1:]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"this was a database once" * 500)
    box = Outbox(path, max_bytes=10**6)
    box.put(_event(1))
    assert box.depth == 1
    assert (tmp_path / "outbox.sqlite.damaged").exists()
