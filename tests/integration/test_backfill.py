"""Back-fill through real servers: whatever is killed, wiped or cut, every event is remembered once."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from device_agent.clock import SteadyClock
from device_agent.outbox import Outbox
from device_agent.report import Release, Reporter
from device_agent.sender import Sender
from edge_node import backfill
from edge_node.sequences import Sequences, size, wanted
from edge_node.tables import DEAD_LETTERS, TABLES
from foveate import subjects
from foveate.bus import Bus
from foveate.commands import BackFill
from foveate.errors import Overloaded
from foveate.memory import Memory
from foveate.messages import Boundary, Event, Presence, Priority, Representation, TriggerKind
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import device_pb2
from foveate.wire import command_reply_to, device_command_of, parse, presence_to
from tests.integration.test_edge_events import rows, running_edge, until

ROOT = Path(__file__).resolve().parents[2]
SENDER = Sender("body-1", "north", "eu-west")
NOW = time.time()
EVENT = Event("", 1, "body-1", "north", "eu-west", TriggerKind.OBJECT, NOW, NOW + 1, True, 0.5)
ALLOWED = ResidencyPolicy((Rule("all", RuleScope(), ((Representation.FACTS, Boundary.SITE),)),))


@dataclass
class Device:
    """The device's side: its real outbox and reporter, a heartbeat, and the command that asks for back-fill."""

    bus: Bus
    outbox: Outbox
    reporter: Reporter
    asked: list[BackFill]
    made: int = 0

    async def command(self, payload: bytes) -> bytes:
        order = device_command_of(parse(device_pb2.DeviceCommand, payload))
        assert isinstance(order, BackFill)
        self.asked.append(order)
        filled = await asyncio.to_thread(self.reporter.back_fill, order)
        return command_reply_to(filled).SerializeToString()

    def see(self, number: int, *, revisions: int = 2, priority: Priority = Priority.NORMAL) -> None:
        """So many events, each in so many revisions."""
        for _ in range(number):
            self.made += 1
            for revision in range(1, revisions + 1):
                event = replace(EVENT, event_id=f"e{self.made}", revision=revision, open=revision < revisions)
                self.reporter.put(replace(event, priority=priority))

    async def beat(self) -> None:
        presence = Presence("body-1", "north", time.time(), True, outbox_depth=self.outbox.depth)
        payload = presence_to(presence).SerializeToString()
        while True:
            await self.bus.send(subjects.presence("north", "body-1"), payload)
            await asyncio.sleep(0.3)

    async def was_asked(self) -> bool:
        return bool(self.asked)

    async def sent(self) -> bool:
        return self.reporter.depth == 0


@asynccontextmanager
async def device(nats: Any, folder: Path) -> AsyncIterator[Device]:
    """A device that reports and lives."""
    link = await nats.connect("edge.local")
    outbox = Outbox(folder / "outbox.sqlite", max_bytes=1 << 24)
    reporter = Reporter(outbox, sender=SENDER, release=Release(ALLOWED, SENDER), clock=SteadyClock())
    made, stop = Device(link, outbox, reporter, []), asyncio.Event()
    await link.serve(subjects.device_command("north", "body-1"), made.command)
    tasks = [asyncio.create_task(reporter.run(link, stop=stop)), asyncio.create_task(made.beat())]
    try:
        yield made
    finally:
        stop.set()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        outbox.close()


async def remembered(memory: Any) -> dict[str, int]:
    found = await memory.select(device_ids=None, limit=10_000)
    assert len({event.event_id for event in found}) == len(found)
    return {event.event_id: event.revision for event in found}


async def complete(memory: Any, made: Device, *, revisions: int = 2, seconds: float = 40.0) -> None:
    """Waits until every event is there in its last revision and every number is settled."""
    expected = {f"e{number}": revisions for number in range(1, made.made + 1)}

    async def there() -> bool:
        had = await Sequences(memory).had("body-1")
        return await remembered(memory) == expected and wanted(had) == BackFill(made.outbox.sequence)

    await until(there, what="every event", seconds=seconds)
    assert await rows(memory, DEAD_LETTERS) == []


async def test_an_edge_restored_from_nothing_gets_its_memory_back(
    site_nats: Any, postgres_server: Any, tmp_path: Path
) -> None:
    async with device(site_nats, tmp_path) as made:
        async with running_edge(site_nats, postgres_server.database(), tmp_path / "edge") as (_, memory):
            made.see(300)
            await complete(memory, made)
        async with running_edge(site_nats, postgres_server.database(), tmp_path / "edge") as (edge, memory):
            await complete(memory, made)
            # The 300 first revisions are not held any more: they were told so once, and settled.
            assert edge.parts.back_fills.counts["gone"] == 300
            assert edge.parts.back_fills.counts["resent"] == 300
            made.see(5)
            await complete(memory, made)


async def test_a_jump_of_numbers_is_asked_for_and_only_once(site_nats: Any, database_url: str, tmp_path: Path) -> None:
    async with (
        device(site_nats, tmp_path) as made,
        running_edge(site_nats, database_url, tmp_path / "edge") as (edge, memory),
    ):
        made.see(3)
        await complete(memory, made)
        await until(made.was_asked, what="the first question")
        # A disk of the site's server that was replaced takes what was confirmed with it.
        made.reporter._loop = None
        made.see(4)
        made.outbox.done([item.number for item in made.outbox.pending(99)])
        made.reporter._loop = asyncio.get_running_loop()
        made.see(1)
        await complete(memory, made)
        assert tuple(range(7, 15)) in [order.missing for order in made.asked]
        assert edge.parts.back_fills.counts["resent"] >= 4
        # Nothing is missing now; a device that is well is left in peace.
        await asyncio.sleep(1.5)
        quiet = len(made.asked)
        made.see(2)
        await complete(memory, made)
        await asyncio.sleep(1.0)
        assert len(made.asked) == quiet


async def test_hours_without_an_edge_are_filled_the_important_first(
    site_nats: Any, database_url: str, tmp_path: Path
) -> None:
    async with device(site_nats, tmp_path) as made:
        async with running_edge(site_nats, database_url, tmp_path / "edge") as (_, memory):
            made.see(2)
            await complete(memory, made)
        # The site's server dies with its edge; the device sees on.
        await asyncio.to_thread(site_nats.leaf.kill)
        made.see(120, priority=Priority.LOW)
        made.see(3, priority=Priority.URGENT)
        await asyncio.to_thread(site_nats.leaf.start)
        await until(made.sent, what="an empty outbox", seconds=30)
        stream = made.bus.jetstream
        last = (await stream.stream_info(subjects.EVENTS_STREAM)).state.last_seq
        order = [
            (await stream.get_msg(subjects.EVENTS_STREAM, number)).headers["Nats-Msg-Id"]
            for number in range(last - 245, last + 1)
        ]
        assert order[:6] == [f"e{event}.{revision}" for event in (123, 124, 125) for revision in (1, 2)]
        async with running_edge(site_nats, database_url, tmp_path / "edge") as (_, memory):
            await complete(memory, made)


async def test_a_device_that_does_not_deliver_is_asked_ever_more_slowly(
    site_nats: Any, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_FIRST_PAUSE_S", 0.5)
    link, asked = await site_nats.connect("edge.local"), []

    async def busy(payload: bytes) -> bytes:
        asked.append(time.monotonic())
        return command_reply_to(Overloaded("Not now.")).SerializeToString()

    await link.serve(subjects.device_command("north", "body-1"), busy)
    beat = presence_to(Presence("body-1", "north", time.time(), True)).SerializeToString()
    async with running_edge(site_nats, database_url, tmp_path / "edge"):
        while len(asked) < 4:
            await link.send(subjects.presence("north", "body-1"), beat)
            await asyncio.sleep(0.2)
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert [gap >= least for gap, least in zip(gaps, (0.5, 1.0, 2.0), strict=True)] == [True] * 3


DEVICE = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from tests.integration import test_backfill as t
from foveate import bus, subjects

async def run(folder, url, credentials):
    link = await bus.connect(url, credentials=credentials, name="device", wait=60)
    outbox = t.Outbox(folder / "outbox.sqlite", max_bytes=1 << 24)
    release = t.Release(t.ALLOWED, t.SENDER)
    reporter = t.Reporter(outbox, sender=t.SENDER, release=release, clock=t.SteadyClock())
    reporter.close_left_open()
    made = t.Device(link, outbox, reporter, [])
    await link.serve(subjects.device_command("north", "body-1"), made.command)
    asyncio.create_task(reporter.run(link, stop=asyncio.Event()))
    asyncio.create_task(made.beat())
    for number in range(int(sys.argv[4]), int(sys.argv[5])):
        for revision in (1, 2, 3):
            event = replace(t.EVENT, event_id=f"e{number}", revision=revision, open=revision < 3)
            await asyncio.to_thread(reporter.put, event)
            print(number, revision, flush=True)
            await asyncio.sleep(0.003)
    await asyncio.sleep(600)

asyncio.run(run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def _start_device(nats: Any, folder: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    credentials = str(nats.keys.credentials("north.edge.local"))
    command = [sys.executable, "-c", DEVICE, str(folder), nats.leaf_ports.url, credentials, str(first), str(last)]
    with (folder / "device.out").open("ab") as out, (folder / "device.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=log)


def _start_edge(nats: Any, url: str, folder: Path) -> subprocess.Popen[bytes]:
    policy = folder / "policy.yaml"
    policy.write_text("rules: [{name: facts, limits: {FACTS: WORLD}}]", encoding="utf-8")
    values = {
        "SITE": "north",
        "REGION": "eu-west",
        "NATS_URL": nats.leaf_ports.url,
        "LOCAL_CREDENTIALS": str(nats.keys.credentials("north.edge.local")),
        "BRIDGED_CREDENTIALS": str(nats.keys.credentials("north.edge.bridged")),
        "DATABASE_URL": url,
        "POLICY": str(policy),
        "DATA_DIR": str(folder / "edge"),
    }
    chosen = {f"FOVEATE_EDGE_{name}": value for name, value in values.items()}
    plain = {key: value for key, value in os.environ.items() if not key.startswith("FOVEATE_")}
    with (folder / "edge.log").open("ab") as log:
        command = [sys.executable, "-m", "edge_node"]
        return subprocess.Popen(command, cwd=ROOT, env=plain | chosen, stdout=log, stderr=log)


def _stored(folder: Path) -> dict[str, int]:
    """The last revision of each event of which the device said that it is on disk."""
    found: dict[str, int] = {}
    # A process that is killed may leave half a line behind, and what came after it begins on the same one.
    for line in (folder / "device.out").read_text().splitlines():
        words = line.split()
        if len(words) == 2 and all(word.isdecimal() for word in words):
            found[f"e{words[0]}"] = int(words[1])
    return found


async def test_device_edge_and_server_are_killed_and_nothing_is_lost_or_doubled(
    site_nats: Any, database_url: str, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    rng = random.Random(7)
    tmp_path.joinpath("device").mkdir()
    edge = _start_edge(site_nats, database_url, tmp_path)
    processes.append(edge)
    total = 0
    for victim in ("device", "edge", "server", "device"):
        camera = _start_device(site_nats, tmp_path / "device", total + 1, total + 1000)
        processes.append(camera)
        await asyncio.sleep(3.0 + rng.random())
        if victim == "edge":
            edge.kill()
            edge.wait()
            edge = _start_edge(site_nats, database_url, tmp_path)
            processes.append(edge)
        elif victim == "server":
            await asyncio.to_thread(site_nats.leaf.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(site_nats.leaf.start)
        await asyncio.sleep(rng.random())
        camera.kill()
        camera.wait()
        total += 1000
    stored = _stored(tmp_path / "device")
    assert len(stored) > 100
    # The last start sees nothing new: it only closes what was open and delivers what waits.
    processes.append(_start_device(site_nats, tmp_path / "device", 0, 0))
    async with watching(database_url) as memory:

        async def there() -> bool:
            found = await remembered(memory)
            # What was open when its device was killed is closed by the next start, in a revision of its own.
            return found.keys() >= stored.keys() and all(found[key] >= stored[key] for key in stored)

        await until(there, what="every event", seconds=90)

        async def settled() -> bool:
            had = await Sequences(memory).had("body-1")
            return len(had) == 1 and had[0][0] == 1

        await until(settled, what="every number", seconds=60)
        found = await memory.select(device_ids=None, limit=10_000)
        assert all(not event.open for event in found)
        assert size(await Sequences(memory).had("body-1")) >= sum(stored.values())
        assert await rows(memory, DEAD_LETTERS) == []


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Memory]:
    """The edge's database, looked at from outside."""
    async with Memory.open(url, tables=TABLES) as memory:
        yield memory
