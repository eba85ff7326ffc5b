"""Reporting: only what residency allows, whatever the disk and the link do, and nothing stops it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foveate.messages import Boundary, Priority
from foveate.v1 import event_pb2
from foveate.wire import event_of, parse
from tests.unit.device_agent.fakes import START
from tests.unit.device_agent.stored import event, memory_disk, outbox, policy, reporter, seen, waiting

__all__ = ["memory_disk"]  # a fixture


def test_residency_takes_out_the_vector_or_the_whole_event(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    reporter(box, policy(FACTS=Boundary.SITE)).put(event(1))
    reporter(box, policy(FACTS=Boundary.DEVICE, EMBEDDING=Boundary.WORLD)).put(event(2))
    (only,) = box.pending(10)
    assert event_of(parse(event_pb2.Event, only.payload)).embedding is None
    assert only.message_id == "e1.1"


def test_events_wait_in_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    told = reporter(box, policy(FACTS=Boundary.SITE))
    box._max_bytes = 0
    for revision in (1, 2, 3):
        told.put(event(1, revision))
    assert box.depth == 0
    assert told.depth == 1
    assert told.trouble
    box._max_bytes = 1 << 20
    told.retry()
    assert [item.message_id for item in box.pending(10)] == ["e1.3"]
    assert told.trouble == ""


def test_the_reporter_refuses_what_the_edge_could_not_read_and_goes_on(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    told = reporter(box, policy(FACTS=Boundary.SITE))
    told.put(replace(event(1), start=5.0, end=6.0))
    assert "Event e1.1 could not be reported" in told.trouble
    told.put(replace(event(2), score=float("nan")))
    told.put(replace(event(3), start=float("nan")))
    told.put(replace(event(4), end=START - 60))
    (only,) = waiting(box)
    assert (only.event_id, only.start, only.end) == ("e4", START, START)


class Broken:
    """A link on which some messages break the client itself, and then everything is well again."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.payloads: list[bytes] = []

    async def store(self, subject: str, payload: bytes, *, message_id: str) -> None:
        if message_id == "e1.1":
            raise ValueError("the client has a bug")
        self.taken.append(message_id)
        self.payloads.append(payload)


async def test_a_message_that_breaks_the_client_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    told, link = reporter(box, policy(FACTS=Boundary.SITE)), Broken()
    for key in (0, 1, 2):
        told.put(event(key, still=False))
    for _ in range(2):
        with pytest.raises(ValueError, match="bug"):
            await told.drain(link)
    await told.drain(link)
    assert link.taken == ["e0.1", "e2.1"]
    assert "Event e1.1 could not be reported" in told.trouble
    assert told.depth == 0


def test_the_greater_of_what_found_no_room_is_stored_first(memory_disk: Path) -> None:
    box = outbox(memory_disk, 60_000)
    told = reporter(box, policy(FACTS=Boundary.SITE, EMBEDDING=Boundary.SITE))
    for key in range(300):
        told.put(seen(key, priority=Priority.LOW))
    assert told.depth > box.depth
    told.put(seen(900, priority=Priority.URGENT))
    assert waiting(box)[0].priority is Priority.URGENT


async def test_a_policy_that_became_stricter_holds_for_what_waits(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Broken()
    reporter(box, policy(FACTS=Boundary.SITE, EMBEDDING=Boundary.SITE)).put(event(2, still=False))
    await reporter(box, policy(FACTS=Boundary.SITE)).drain(link)
    assert event_of(parse(event_pb2.Event, link.payloads[0])).embedding is None
    box.back_fill(0)
    await reporter(box, policy(FACTS=Boundary.DEVICE)).drain(link)
    assert (link.taken, box.depth) == (["e2.1"], 0)


def test_events_left_open_by_a_killed_process_are_closed_once(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put(event(1))
    box.put(event(1, 2))
    box.put(event(2))
    box.put(event(2, 2, still=False))
    again = outbox(tmp_path)
    reporter(again, policy(FACTS=Boundary.SITE, EMBEDDING=Boundary.SITE)).close_left_open()
    last = event_of(parse(event_pb2.Event, again.pending(10)[-1].payload))
    assert (last.event_id, last.revision, last.open) == ("e1", 3, False)
    assert again.left_open() == []
