"""The outbox: on disk before it is sent, in order, bounded, and there after a crash."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.outbox import Outbox
from device_agent.report import Release, Reporter
from device_agent.sender import Sender
from foveate.commands import BackFilled
from foveate.errors import InvalidInput, OutOfSpace
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
    box._file.database.execute("PRAGMA max_page_count = 1")
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
    box._file.database.execute("PRAGMA query_only = ON")  # as a full disk does, it refuses every write
    with pytest.raises(OutOfSpace, match="free space"):
        box.done([waiting[0].number])
    box._file.database.execute("PRAGMA query_only = OFF")
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


def _seen(key: int, *, priority: Priority = Priority.NORMAL, revision: int = 1, still: bool = False) -> Event:
    """An event as large as real ones: a vector of 384 numbers and a path of 16 sightings."""
    path = tuple(Sighting(START + n, "person", 0.7, Box(0.01 * n, 0.2, 0.1, 0.2)) for n in range(4 * revision))
    track = Track(key, "person", 0.7, START, START + 16, path)
    vector = Embedding("efficientnet-lite0@1", tuple(0.05 + 0.0001 * n for n in range(384)))
    ident = f"0190b0a0-0000-7000-8000-{key:012d}"
    changes = {"revision": revision, "priority": priority, "open": still}
    return replace(EVENT, event_id=ident, tracks=(track,), embedding=vector, **changes)


def _waiting(box: Outbox) -> list[Event]:
    return [event_of(parse(event_pb2.Event, item.payload)) for item in box.pending(10_000)]


def test_a_week_offline_fits(memory_disk: Path) -> None:
    """An event every 30 s in four revisions: 20,160 in 64 MiB, here both divided by 32."""
    box, most = _outbox(memory_disk, (64 << 20) // 32), 20_160 // 32
    for key in range(most):
        for revision in (1, 2, 3, 4):
            box.put(_seen(key, revision=revision, still=revision < 4))
    assert box.held.thinned == 0
    assert box.trouble == ""
    newest = {event.event_id: event for event in _waiting(box)}
    assert len(newest) == most
    assert all(event.revision == 4 and not event.open and event.embedding for event in newest.values())
    box.close()
    assert (memory_disk / "outbox.sqlite").stat().st_size < 1.15 * (64 << 20) / 32


def test_a_full_outbox_makes_the_least_priority_smaller_and_says_so(memory_disk: Path) -> None:
    box = _outbox(memory_disk, 200_000)
    stored = [box.put(_seen(key, priority=Priority.HIGH if key % 4 == 0 else Priority.LOW)) for key in range(90)]
    events = _waiting(box)
    assert sorted(event.sequence for event in events) == stored
    low = [event for event in events if event.priority is Priority.LOW]
    assert all(event.embedding for event in events if event.priority is Priority.HIGH)
    assert 0 < sum(event.embedding is None for event in low) < len(low)
    assert all((t.start, t.end) == (START, START + 16) for event in events for t in event.tracks)
    assert f"{box.held.thinned} events wait without their vectors" in box.trouble
    box.done(stored)
    assert box.trouble == ""


def test_noise_cannot_shut_out_the_button(memory_disk: Path) -> None:
    box = _outbox(memory_disk, 60_000)
    with pytest.raises(OutOfSpace):
        _fill(box, [_seen(key, priority=Priority.LOW) for key in range(200)])
    depth = box.depth
    box.put(_seen(900, priority=Priority.URGENT))
    assert box.depth == depth + 1
    assert _waiting(box)[0].priority is Priority.URGENT
    assert _waiting(box)[0].embedding is not None


def test_a_rising_priority_takes_what_waits_along(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    box.put(_event(1))
    box.put(_event(2))
    box.put(replace(_event(1, 2), priority=Priority.URGENT))
    assert [item.message_id for item in box.pending(9)] == ["e1.1", "e1.2", "e2.1"]


def test_a_flood_of_urgent_events_delays_the_rest_and_never_stops_it(memory_disk: Path) -> None:
    box, sent = _outbox(memory_disk), []
    low = [box.put(replace(_event(key, still=False), priority=Priority.LOW)) for key in range(40)]
    for turn in range(6):
        for key in range(64):
            box.put(replace(_event(1000 + 64 * turn + key, still=False), priority=Priority.URGENT))
        batch = [item.number for item in box.pending(64)]
        sent += batch
        box.done(batch)
    assert set(low) <= set(sent)


def test_what_was_sent_is_sent_again_under_another_id_when_asked(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    for key in range(5):
        box.put(_event(key, still=False))
    box.put(_event(4, 2, still=False))
    box.done([item.number for item in box.pending(10)])
    assert (box.depth, box.held.kept) == (0, 5)
    filled = box.back_fill(4, [2])
    assert filled == BackFilled(2, (5,))  # 5 was replaced by 6
    assert [item.message_id for item in box.pending(10)] == ["e1.1.1", "e4.2.1"]
    assert box.back_fill(4, [2]) == filled  # asked twice, sent once
    box.done([item.number for item in box.pending(10)])
    box.back_fill(5)
    assert [item.message_id for item in box.pending(10)] == ["e4.2.2"]
    with pytest.raises(InvalidInput):
        box.back_fill(1 << 60)


def test_a_large_gap_is_answered_piece_by_piece(memory_disk: Path) -> None:
    box = _outbox(memory_disk, 1 << 22)
    for key in range(600):
        box.put(_event(key, still=False))
    box.done([item.number for item in box.pending(1000)])
    assert box.back_fill(0) == BackFilled(256, ())
    assert box.back_fill(256) == BackFilled(256, ())
    assert box.back_fill(512) == BackFilled(88, ())
    assert box.depth == 600


def test_what_was_sent_is_kept_within_bytes_and_age_and_gives_way(memory_disk: Path) -> None:
    clock = JumpingClock()
    box = Outbox(memory_disk / "outbox.sqlite", max_bytes=40_000, keep_s=3600.0, now=clock.now)
    for key in range(100):
        box.put(replace(_event(key, still=False), priority=Priority.HIGH if key == 3 else Priority.LOW))
        box.done([item.number for item in box.pending(10)])
    held = box.held
    assert 0 < held.kept < 100
    assert held.kept_bytes <= 20_000
    assert box.back_fill(box.sequence, [4]).resent == 1  # the one of high priority outlived those after it
    while box.held.waiting_bytes < 30_000:
        box.put(_event(1000 + box.depth, still=False))
    assert box.held.kept_bytes + box.held.waiting_bytes <= 40_000
    depth = box.depth
    clock.time += 3601
    box.done([])
    assert (box.held.kept, box.depth) == (0, depth)


def test_an_outbox_that_lost_its_numbers_learns_them_from_the_edge(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    for key in range(3):
        box.put(_event(key, still=False))
    box.done([item.number for item in box.pending(10)])
    assert box.back_fill(5000) == BackFilled(3, ())  # the edge knows 5000 numbers of this device
    assert box.depth == 3
    assert box.put(_event(9)) == 5001
    assert _outbox(tmp_path).put(_event(10)) > 5001


def test_a_row_that_nobody_can_read_stops_nothing(memory_disk: Path) -> None:
    box = _outbox(memory_disk, 60_000)
    box.put(_seen(1, priority=Priority.LOW, still=True))
    box.put(_seen(2, priority=Priority.LOW, still=True))
    box._file.run("UPDATE revision SET payload = x'ff00ff' WHERE sequence = 1")
    assert [event.tracks[0].track_id for event in box.left_open()] == [2]
    with pytest.raises(OutOfSpace):
        _fill(box, [_seen(key, priority=Priority.LOW) for key in range(10, 200)])


def test_a_database_that_breaks_in_use_is_begun_anew_and_numbers_go_on(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    numbers = [box.put(_event(key)) for key in range(3)]
    box._file.run("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "outbox.sqlite").open("r+b") as file:
        file.write(b"broken" * 4000)
    box._file.run("PRAGMA shrink_memory")  # so that it is read again
    with pytest.raises(OutOfSpace):
        _fill(box, [_event(key) for key in range(3, 20)])
    assert "set aside" in box.trouble
    assert box.put(_event(900)) > numbers[-1]
    assert (tmp_path / "outbox.sqlite.damaged").exists()


def test_the_reporter_refuses_what_the_edge_could_not_read_and_goes_on(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    reporter = _reporter(box, _policy(FACTS=Boundary.SITE))
    reporter.put(replace(_event(1), start=5.0, end=6.0))
    assert "Event e1.1 could not be reported" in reporter.trouble
    reporter.put(replace(_event(2), score=float("nan")))
    reporter.put(replace(_event(3), start=float("nan")))
    reporter.put(replace(_event(4), end=START - 60))
    (only,) = _waiting(box)
    assert (only.event_id, only.start, only.end) == ("e4", START, START)


class Broken:
    """A link on which some messages break the client itself, and then everything is well again."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def store(self, subject: str, payload: bytes, *, message_id: str) -> None:
        if message_id == "e1.1":
            raise ValueError("the client has a bug")
        self.taken.append(message_id)


async def test_a_message_that_breaks_the_client_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    box = _outbox(tmp_path)
    reporter, link = _reporter(box, _policy(FACTS=Boundary.SITE)), Broken()
    for key in (0, 1, 2):
        reporter.put(_event(key, still=False))
    for _ in range(2):
        with pytest.raises(ValueError, match="bug"):
            await reporter.drain(link)
    await reporter.drain(link)
    assert link.taken == ["e0.1", "e2.1"]
    assert "Event e1.1 could not be reported" in reporter.trouble
    assert reporter.depth == 0


def test_the_greater_of_what_found_no_room_is_stored_first(memory_disk: Path) -> None:
    box = _outbox(memory_disk, 60_000)
    reporter = _reporter(box, _policy(FACTS=Boundary.SITE, EMBEDDING=Boundary.SITE))
    for key in range(300):
        reporter.put(_seen(key, priority=Priority.LOW))
    assert reporter.depth > box.depth
    reporter.put(_seen(900, priority=Priority.URGENT))
    assert _waiting(box)[0].priority is Priority.URGENT
