"""Any order of storing, sending, crashing and asking again: no event lost, none twice, order kept, no number reused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.outbox import Outbox, Waiting
from foveate.errors import OutOfSpace
from foveate.messages import Event, Priority, TriggerKind
from foveate.v1 import event_pb2
from foveate.wire import event_of, parse
from tests.unit.device_agent.fakes import START

# Synchronising a memory disk costs nothing, and a process that vanishes leaves the same behind.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
EVENT = Event("", 1, "body-1", "north", "eu-west", TriggerKind.OBJECT, START, START + 1, True, 0.5)

puts = st.tuples(st.just("put"), st.integers(0, 3), st.sampled_from(Priority), st.booleans())
sends = st.tuples(st.just("send"), st.integers(1, 12), st.integers(0, 12), st.booleans())
crashes = st.just(("crash",))
asks = st.tuples(st.just("ask"), st.integers(0, 60), st.sets(st.integers(1, 60), max_size=5))
clocks = st.tuples(st.just("clock"), st.floats(-1e9, 1e9))
wipes = st.just(("wipe",))
steps = st.lists(st.one_of(puts, puts, puts, sends, sends, crashes, asks, clocks), max_size=50)
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Receiver:
    """What the stream and the edge make of messages: an id is taken once, the highest revision counts."""

    ids: set[str] = field(default_factory=set)
    events: dict[str, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    taken: list[Event] = field(default_factory=list)

    def take(self, item: Waiting) -> None:
        event = event_of(parse(event_pb2.Event, item.payload))
        assert event.sequence == item.number
        if item.message_id not in self.ids:
            self.ids.add(item.message_id)
            self.taken.append(event)
            self.numbers.add(event.sequence)
            self.events[event.event_id] = max(self.events.get(event.event_id, 0), event.revision)

    def wipe(self) -> None:
        """Forgets all that it was told, but not the ids: the stream still drops a repetition."""
        self.events, self.numbers, self.taken = {}, set(), []


class Device:
    """An outbox that is crashed and opened again, and the events that were put into it."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 24) -> None:
        self.folder, self.max_bytes, self.time = folder, max_bytes, START
        self.newest: dict[str, int] = {}
        self.open: dict[int, Event] = {}
        self.numbers: list[int] = []
        self.made = 0
        self.box = self._opened()

    def _opened(self) -> Outbox:
        return Outbox(self.folder / "outbox.sqlite", max_bytes=self.max_bytes, keep_s=1e10, now=lambda: self.time)

    def crash(self) -> None:
        self.box = self._opened()

    def put(self, slot: int, priority: Priority, closes: bool) -> None:
        before = self.open.pop(slot, None)
        if before is None:
            self.made += 1
            before = replace(EVENT, event_id=f"e{self.made}", revision=0)
        event = replace(before, revision=before.revision + 1, priority=priority, open=not closes)
        self.numbers.append(self.box.put(event))
        self.newest[event.event_id] = event.revision
        if event.open:
            self.open[slot] = event

    def send(self, receiver: Receiver, limit: int, arriving: int, acknowledged: bool) -> None:
        """The link fails after `arriving` messages, and with it, perhaps, their acknowledgements."""
        batch = self.box.pending(limit)[:arriving]
        for item in batch:
            receiver.take(item)
        if acknowledged:
            self.box.done([item.number for item in batch])

    def drain(self, receiver: Receiver) -> None:
        while self.box.depth:
            self.send(receiver, 7, 7, True)

    def run(self, receiver: Receiver, step: tuple) -> None:
        match step:
            case ("put", slot, priority, closes):
                self.put(slot, priority, closes)
            case ("send", limit, arriving, acknowledged):
                self.send(receiver, limit, arriving, acknowledged)
            case ("crash",):
                self.crash()
            case ("ask", after, missing):
                after = min(after, self.box.sequence)
                self.box.back_fill(after, [number for number in missing if number <= after])
            case ("clock", jump):
                self.time += jump
            case ("wipe",):
                receiver.wipe()


@QUICK
@given(steps)
def test_no_event_is_lost_or_doubled_and_order_is_kept(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        device, receiver = Device(Path(folder)), Receiver()
        for step in steps:
            device.run(receiver, step)
        device.drain(receiver)
        assert receiver.events == device.newest
        by_event: dict[str, list[int]] = {}
        for event in receiver.taken:
            by_event.setdefault(event.event_id, []).append(event.revision)
        assert all(revisions == sorted(revisions) for revisions in by_event.values())
        assert device.numbers == list(range(1, len(device.numbers) + 1))
        left = {event.event_id: event.revision for event in device.box.left_open()}
        assert left == {event.event_id: event.revision for event in device.open.values()}


@QUICK
@given(st.lists(st.one_of(puts, puts, sends, crashes, wipes), max_size=50))
def test_an_edge_that_forgot_everything_gets_every_event_back(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        device, receiver = Device(Path(folder)), Receiver()
        for step in steps:
            device.run(receiver, step)
        receiver.wipe()
        settled: set[int] = set()
        for _ in range(9):
            device.drain(receiver)
            settled |= receiver.numbers
            last = device.box.sequence
            filled = device.box.back_fill(last, [n for n in range(1, last + 1) if n not in settled])
            settled |= set(filled.gone)
            if not filled.resent and not filled.gone:
                break
        else:
            raise AssertionError("asking again never ended")
        assert receiver.events == device.newest
        assert settled == set(range(1, last + 1))


@QUICK
@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 5)), min_size=1, max_size=40), st.integers(1, 20))
def test_priority_goes_first_and_the_longest_waiting_is_never_forgotten(
    events: list[tuple[Priority, int]], limit: int
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        device = Device(Path(folder))
        for priority, slot in events:
            device.put(slot, priority, closes=True)
        batch = device.box.pending(limit)
        sent = [event_of(parse(event_pb2.Event, item.payload)) for item in batch]
        assert [(-event.priority, event.sequence) for event in sent] == sorted(
            (-event.priority, event.sequence) for event in sent
        )
        everything = sorted((-priority, number) for number, (priority, _) in enumerate(events, start=1))
        fair = limit // 8
        assert {event.sequence for event in sent} >= {number for _, number in everything[: limit - fair]}
        rest = sorted(number for _, number in everything[limit - fair :])
        assert {event.sequence for event in sent} >= set(rest[:fair])
        assert len(sent) == min(limit, len(events))


@QUICK
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["crash", "database", "number", "damage"])), max_size=8))
def test_no_number_is_given_twice_whatever_is_lost(rounds: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        device = Device(folder)
        for number, lost in rounds:
            for _ in range(number):
                device.put(0, Priority.NORMAL, closes=True)
            device.box.close()
            database = folder / "outbox.sqlite"
            if lost == "database":
                database.unlink()
            elif lost == "damage":
                database.write_bytes(b"no database any more" * 300)
            elif lost == "number":
                (folder / "outbox.number").unlink()
            device.crash()
            # One of the two files is lost at a time; the next number brings the other one back.
            device.put(0, Priority.NORMAL, closes=True)
        assert device.numbers == sorted(set(device.numbers))


@QUICK
@given(st.lists(st.one_of(puts, puts, puts, sends), max_size=80))
def test_a_full_outbox_loses_nothing_that_it_took(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        device, receiver = Device(Path(folder), max_bytes=4000), Receiver()
        stored: dict[str, int] = {}
        for step in steps:
            try:
                before = dict(device.open)
                device.run(receiver, step)
            except OutOfSpace:
                # What was refused is not stored: the event goes on as it was before.
                device.open = before
                continue
            stored.update(device.newest)
            held = device.box.held
            assert held.waiting_bytes + held.kept_bytes <= 4000
        device.drain(receiver)
        assert receiver.events == stored
