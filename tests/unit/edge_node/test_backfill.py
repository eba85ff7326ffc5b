"""Asking a device for what is missing: whatever is missing, it ends, and nothing that the device holds stays away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.outbox import Outbox
from edge_node import backfill
from edge_node.backfill import AGAIN_S, SILENT_S, BackFills
from edge_node.sequences import Ranges, ranges, wanted
from foveate.commands import BackFill
from foveate.errors import FoveateError, NotSupported, Unreachable
from foveate.messages import Event, Presence, TriggerKind
from foveate.v1 import device_pb2, event_pb2
from foveate.wire import command_reply_to, device_command_of, event_of, parse

START = 1_700_000_000.0


@dataclass
class Numbers:
    """The numbers of one device, in memory."""

    numbers: set[int] = field(default_factory=set)

    async def had(self, device_id: str) -> Ranges:
        return ranges(self.numbers)

    async def settle(self, device_id: str, numbers: Sequence[int]) -> None:
        self.numbers |= set(numbers)


@dataclass
class Link:
    """Carries requests to a device's outbox, and what it sends again straight to the edge."""

    outbox: Outbox | None
    numbers: Numbers
    error: FoveateError | None = None
    asked: list[BackFill] = field(default_factory=list)
    arrived: list[Event] = field(default_factory=list)
    fills: BackFills | None = None

    async def unhandled(self, *, stream: str, durable: str) -> int:
        return 0

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:
        assert subject == "fv.v1.command.north.body-1"
        order = device_command_of(parse(device_pb2.DeviceCommand, payload))
        assert isinstance(order, BackFill)
        self.asked.append(order)
        if self.error is not None:
            raise self.error
        assert self.outbox is not None
        filled = self.outbox.back_fill(order.after_sequence, order.missing)
        asyncio.get_running_loop().call_soon(self.deliver)
        return command_reply_to(filled).SerializeToString()

    def deliver(self) -> None:
        assert self.outbox is not None
        assert self.fills is not None
        while batch := self.outbox.pending(64):
            for item in batch:
                event = event_of(parse(event_pb2.Event, item.payload))
                self.arrived.append(event)
                self.numbers.numbers.add(event.sequence)
                self.fills.arrive("body-1", event.sequence)
            self.outbox.done([item.number for item in batch])


def _presence(depth: int = 0) -> Presence:
    return Presence("body-1", "north", START, True, outbox_depth=depth)


def _fills(link: Link, clock: list[float]) -> BackFills:
    link.fills = BackFills(local=link, site="north", sequences=link.numbers, now=lambda: clock[0])  # type: ignore[arg-type]
    return link.fills


async def _one_round(fills: BackFills) -> None:
    """What `run` does once for a device that is due."""
    stop = asyncio.Event()
    task = asyncio.create_task(fills.run(stop))
    for _ in range(3):
        await asyncio.sleep(0)
    stop.set()
    await task


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=700),
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 3, 10]),
)
def test_all_that_a_device_holds_arrives_and_all_else_is_settled(
    puts: list[tuple[int, bool]], seed: int, known: int
) -> None:
    """Any history of events, any part of it known at the edge."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        outbox = Outbox(Path(folder) / "outbox.sqlite", max_bytes=1 << 24)
        newest: dict[str, int] = {}
        for number, (key, still) in enumerate(puts, start=1):
            made = Event(f"e{key}", number, "body-1", "n", "r", TriggerKind.OBJECT, START, START, still, 0.5)
            outbox.put(made)
            newest[made.event_id] = number
        while batch := outbox.pending(64):
            outbox.done([item.number for item in batch])
        numbers = Numbers({n for n in range(1, len(puts) + 1) if known and (n * 7919 + seed) % known})
        before = set(numbers.numbers)
        link = Link(outbox, numbers)
        fills = _fills(link, [START])
        fills.hear(_presence())
        asyncio.run(_one_round_to_the_end(fills))
        assert wanted(ranges(numbers.numbers)) == BackFill(len(puts))
        arrived = {event.event_id: event.revision for event in link.arrived}
        assert all(arrived[key] == number for key, number in newest.items() if number not in before)
        assert len(link.asked) <= 3 + len(puts) // 128


async def _one_round_to_the_end(fills: BackFills) -> None:
    assert await fills._fill("body-1", fills._links["body-1"], asyncio.Event())


async def test_a_device_is_asked_when_first_heard_after_silence_and_now_and_then() -> None:
    clock, link = [START], Link(None, Numbers(), error=NotSupported("An old device."))
    fills = _fills(link, clock)
    await _one_round(fills)
    assert link.asked == []
    fills.hear(_presence())
    await _one_round(fills)
    assert len(link.asked) == 1
    clock[0] += SILENT_S - 1  # a heartbeat or two went missing
    fills.hear(_presence())
    await _one_round(fills)
    assert len(link.asked) == 1
    clock[0] += SILENT_S + 1
    fills.hear(_presence())
    await _one_round(fills)
    assert len(link.asked) == 2
    while clock[0] < START + 2 * AGAIN_S:
        clock[0] += SILENT_S / 2
        fills.hear(_presence())
        await _one_round(fills)
    assert len(link.asked) == 3


async def test_a_gap_is_asked_for_once_the_outbox_is_empty_or_patience_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "_TICK_S", 0.0)
    clock, link = [START], Link(None, Numbers(), error=NotSupported("An old device."))
    fills = _fills(link, clock)
    fills.hear(_presence(depth=9))
    await _one_round(fills)
    fills.arrive("body-1", 5)
    fills.arrive("body-1", 900)  # priority goes first: 6 to 899 may still be on their way
    for depth, asked in ((9, 1), (0, 2)):
        fills.hear(_presence(depth))
        await _one_round(fills)
        assert len(link.asked) == asked
    fills.arrive("body-1", 1000)
    for _ in range(20):
        clock[0] += 5
        fills.hear(_presence(depth=9))
        await _one_round(fills)
    assert len(link.asked) == 3


async def test_a_silent_device_is_not_asked_and_one_that_fails_less_and_less_often() -> None:
    clock, link = [START], Link(None, Numbers(), error=Unreachable("No reply."))
    fills, times = _fills(link, clock), []
    fills.hear(_presence())
    for _ in range(1000):
        before = len(link.asked)
        await _one_round(fills)
        times += [clock[0] - START] * (len(link.asked) - before)
        clock[0] += 1
        fills.hear(_presence())
    assert times == [0, 2, 6, 14, 30, 62, 126, 254]
    clock[0] += SILENT_S + 5
    await _one_round(fills)
    assert len(link.asked) == len(times)
