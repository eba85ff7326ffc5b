"""The outbox: on disk before it is sent, in order, bounded, and there after a crash."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.outbox import Outbox
from foveate.commands import BackFilled
from foveate.errors import InvalidInput, OutOfSpace
from foveate.messages import Priority
from foveate.v1 import event_pb2
from foveate.wire import event_of, parse
from tests.unit.device_agent.fakes import START, JumpingClock
from tests.unit.device_agent.stored import event, fill, memory_disk, outbox, seen, waiting

__all__ = ["memory_disk"]  # a fixture


def test_what_was_put_is_there_after_a_crash_in_order(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for key in range(5):
        box.put(event(key))
    again = outbox(tmp_path)  # the first one was never closed, as by `kill -9`
    assert [item.message_id for item in again.pending(10)] == [f"e{key}.1" for key in range(5)]
    assert again.depth == 5
    assert event_of(parse(event_pb2.Event, again.pending(1)[0].payload)).event_id == "e0"


def test_only_what_was_acknowledged_goes(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for key in range(4):
        box.put(event(key))
    first, second, *_ = box.pending(2)
    box.done([first.number, second.number])
    assert [item.message_id for item in outbox(tmp_path).pending(10)] == ["e2.1", "e3.1"]
    assert box.depth == 2


def test_a_full_outbox_says_so_and_drops_nothing_but_replaced_revisions(tmp_path: Path) -> None:
    box = outbox(tmp_path, max_bytes=2000)
    with pytest.raises(OutOfSpace, match="restore the link"):
        fill(box, [event(n % 3, n) if n < 40 else event(n) for n in range(1, 200)])
    found = box.pending(1000)
    assert {"e0.39", "e1.37", "e2.38", "e40.1"} <= {item.message_id for item in found}
    assert sum(len(item.payload) for item in found) <= 2000


def test_a_disk_error_is_want_of_space(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box._file.database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutOfSpace, match="free space"):
        fill(box, [event(key) for key in range(2000)])
    assert box.depth == len(box.pending(10_000))


def test_the_file_survives_as_a_database(tmp_path: Path) -> None:
    outbox(tmp_path).put(event(1))
    with sqlite3.connect(tmp_path / "outbox.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_full_disk_is_said_whatever_is_tried_and_nothing_goes(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for number in range(4):
        box.put(event(number))
    found = box.pending(10)
    box._file.database.execute("PRAGMA query_only = ON")  # as a full disk does, it refuses every write
    with pytest.raises(OutOfSpace, match="free space"):
        box.done([found[0].number])
    box._file.database.execute("PRAGMA query_only = OFF")
    assert box.pending(10) == found
    box.done([found[0].number])
    assert box.pending(10) == found[1:]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"this was a database once" * 500)
    box = Outbox(path, max_bytes=10**6)
    box.put(event(1))
    assert box.depth == 1
    assert (tmp_path / "outbox.sqlite.damaged").exists()


def test_a_week_offline_fits(memory_disk: Path) -> None:
    """An event every 30 s in four revisions: 20,160 in 64 MiB, here both divided by 32."""
    box, most = outbox(memory_disk, (64 << 20) // 32), 20_160 // 32
    for key in range(most):
        for revision in (1, 2, 3, 4):
            box.put(seen(key, revision=revision, still=revision < 4))
    assert box.held.thinned == 0
    assert box.trouble == ""
    newest = {event.event_id: event for event in waiting(box)}
    assert len(newest) == most
    assert all(event.revision == 4 and not event.open and event.embedding for event in newest.values())
    box.close()
    assert (memory_disk / "outbox.sqlite").stat().st_size < 1.15 * (64 << 20) / 32


def test_a_full_outbox_makes_the_least_priority_smaller_and_says_so(memory_disk: Path) -> None:
    box = outbox(memory_disk, 200_000)
    stored = [box.put(seen(key, priority=Priority.HIGH if key % 4 == 0 else Priority.LOW)) for key in range(90)]
    events = waiting(box)
    assert sorted(event.sequence for event in events) == stored
    low = [event for event in events if event.priority is Priority.LOW]
    assert all(event.embedding for event in events if event.priority is Priority.HIGH)
    assert 0 < sum(event.embedding is None for event in low) < len(low)
    assert all((t.start, t.end) == (START, START + 16) for event in events for t in event.tracks)
    assert f"{box.held.thinned} events wait without their vectors" in box.trouble
    box.done(stored)
    assert box.trouble == ""


def test_noise_cannot_shut_out_the_button(memory_disk: Path) -> None:
    box = outbox(memory_disk, 60_000)
    with pytest.raises(OutOfSpace):
        fill(box, [seen(key, priority=Priority.LOW) for key in range(200)])
    depth = box.depth
    box.put(seen(900, priority=Priority.URGENT))
    assert box.depth == depth + 1
    assert waiting(box)[0].priority is Priority.URGENT
    assert waiting(box)[0].embedding is not None


def test_a_rising_priority_takes_what_waits_along(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put(event(1))
    box.put(event(2))
    box.put(replace(event(1, 2), priority=Priority.URGENT))
    assert [item.message_id for item in box.pending(9)] == ["e1.1", "e1.2", "e2.1"]


def test_a_flood_of_urgent_events_delays_the_rest_and_never_stops_it(memory_disk: Path) -> None:
    box, sent = outbox(memory_disk), []
    low = [box.put(replace(event(key, still=False), priority=Priority.LOW)) for key in range(40)]
    for turn in range(6):
        for key in range(64):
            box.put(replace(event(1000 + 64 * turn + key, still=False), priority=Priority.URGENT))
        batch = [item.number for item in box.pending(64)]
        sent += batch
        box.done(batch)
    assert set(low) <= set(sent)


def test_what_was_sent_is_sent_again_under_another_id_when_asked(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for key in range(5):
        box.put(event(key, still=False))
    box.put(event(4, 2, still=False))
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
    box = outbox(memory_disk, 1 << 22)
    for key in range(600):
        box.put(event(key, still=False))
    box.done([item.number for item in box.pending(1000)])
    assert box.back_fill(0) == BackFilled(256, ())
    assert box.back_fill(256) == BackFilled(256, ())
    assert box.back_fill(512) == BackFilled(88, ())
    assert box.depth == 600


def test_what_was_sent_is_kept_within_bytes_and_age_and_gives_way(memory_disk: Path) -> None:
    clock = JumpingClock()
    box = Outbox(memory_disk / "outbox.sqlite", max_bytes=40_000, keep_s=3600.0, now=clock.now)
    for key in range(100):
        box.put(replace(event(key, still=False), priority=Priority.HIGH if key == 3 else Priority.LOW))
        box.done([item.number for item in box.pending(10)])
    held = box.held
    assert 0 < held.kept < 100
    assert held.kept_bytes <= 20_000
    assert box.back_fill(box.sequence, [4]).resent == 1  # the one of high priority outlived those after it
    while box.held.waiting_bytes < 30_000:
        box.put(event(1000 + box.depth, still=False))
    assert box.held.kept_bytes + box.held.waiting_bytes <= 40_000
    depth = box.depth
    clock.time += 3601
    box.done([])
    assert (box.held.kept, box.depth) == (0, depth)


def test_an_outbox_that_lost_its_numbers_learns_them_from_the_edge(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for key in range(3):
        box.put(event(key, still=False))
    box.done([item.number for item in box.pending(10)])
    assert box.back_fill(5000) == BackFilled(3, ())  # the edge knows 5000 numbers of this device
    assert box.depth == 3
    assert box.put(event(9)) == 5001
    assert outbox(tmp_path).put(event(10)) > 5001


def test_a_row_that_nobody_can_read_stops_nothing(memory_disk: Path) -> None:
    box = outbox(memory_disk, 60_000)
    box.put(seen(1, priority=Priority.LOW, still=True))
    box.put(seen(2, priority=Priority.LOW, still=True))
    box._file.run("UPDATE revision SET payload = x'ff00ff' WHERE sequence = 1")
    assert [event.tracks[0].track_id for event in box.left_open()] == [2]
    with pytest.raises(OutOfSpace):
        fill(box, [seen(key, priority=Priority.LOW) for key in range(10, 200)])


def test_a_database_that_breaks_in_use_is_begun_anew_and_numbers_go_on(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    numbers = [box.put(event(key)) for key in range(3)]
    box._file.run("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "outbox.sqlite").open("r+b") as file:
        file.write(b"broken" * 4000)
    box._file.run("PRAGMA shrink_memory")  # so that it is read again
    with pytest.raises(OutOfSpace):
        fill(box, [event(key) for key in range(3, 20)])
    assert "set aside" in box.trouble
    assert box.put(event(900)) > numbers[-1]
    assert (tmp_path / "outbox.sqlite.damaged").exists()
