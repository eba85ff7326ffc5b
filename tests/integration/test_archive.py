"""The archive of footage: what matters is kept at the edge within its bytes, and serves when the device cannot."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from edge_node import build, pipeline
from edge_node.archive import Archive, ArchiveFirst
from edge_node.devices import Devices
from edge_node.fetch import Clip
from edge_node.models import Models
from edge_node.serve import serving
from edge_node.settings import Settings
from edge_node.tables import ARCHIVE, TABLES
from foveate import rpc, subjects
from foveate.errors import FoveateError, NotFound, Refused, Unreachable
from foveate.memory import Memory
from foveate.messages import ClipHeader, Event, Pick, Place, Presence, Priority, Representation, TriggerKind
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1.answer_service_pb2_grpc import AnswerServiceStub
from foveate.wire import answer_of, event_to, failure_to, presence_to, request_to
from tests.integration.test_edge_answers import (
    APPEARS,
    HERE,
    POLICY,
    START,
    Camera,
    Task,
    WhiteSquares,
    event,
    record,
    request,
)
from tests.integration.test_edge_events import until

NOW = 1_700_000_000.0
KIB = 1024


class Recordings:
    """Stands for the devices: gives a clip of `size` bytes of any span, or the error that was set for its device."""

    def __init__(self, folder: Path, *, size: int = 10 * KIB) -> None:
        self.folder, self.size = folder, size
        self.errors: dict[str, FoveateError] = {}
        self.pulled: list[tuple[str, float, float]] = []
        self.forgotten: list[str] = []
        self.asked: set[Representation] = set()

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        self.asked.add(representation)
        if device_id in self.errors:
            raise self.errors[device_id]
        self.pulled.append((device_id, start, end))
        clip_id, data = f"clip-{len(self.pulled)}", bytes(self.size)
        path = self.folder / f"{clip_id}.upload"
        path.write_bytes(data)
        digest = hashlib.sha256(data).digest()
        return Clip(ClipHeader(clip_id, device_id, start, end, len(data), digest, "video/mp4", representation), path)

    def forget(self, clip_id: str) -> None:
        self.forgotten.append(clip_id)


class Site:
    """An archive over a real database, whose devices and time are told to it."""

    def __init__(self, memory: Memory, folder: Path, *, max_bytes: int = 10**9) -> None:
        self.memory, self.folder, self.now = memory, folder, NOW
        self.devices = Devices(here=Place("eu-west", "north"), policy=POLICY, clock=lambda: self.now)
        self.recordings = Recordings(folder)
        self.archive = Archive(
            memory=memory,
            devices=self.devices,
            fetch=self.recordings,
            folder=folder / "archive",
            least=Priority.HIGH,
            max_bytes=max_bytes,
            clock=lambda: self.now,
        )

    def hear(self, *device_ids: str) -> None:
        for device_id in device_ids:
            self.devices.hear(Presence(device_id, "north", self.now, True))

    async def close(self, key: str, *, at: float = 0.0, length: float = 5.0, **changes: Any) -> None:
        start = NOW - 1000 + at
        made = Event(key, 1, "fixed-1", "north", "eu-west", TriggerKind.OBJECT, start, start + length, False, 0.5)
        made = replace(made, **({"priority": Priority.HIGH} | changes))
        await self.memory.upsert(made, also=self.archive.wanted(made))

    async def rows(self) -> dict[str, Any]:
        async with self.memory.transaction() as connection:
            return {row.event_id: row for row in (await connection.execute(select(ARCHIVE))).all()}

    async def pull_all(self) -> None:
        while await self.archive.pull_one():
            pass


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with Memory.open(database_url, tables=TABLES) as memory:
        yield Site(memory, tmp_path)


async def test_only_closed_events_that_matter_are_wanted_and_at_most_half_a_minute(site: Site) -> None:
    await site.close("open", open=True)
    await site.close("normal", priority=Priority.NORMAL)
    await site.close("short")
    await site.close("long", length=600)
    found = await site.rows()
    assert found.keys() == {"short", "long"}
    assert (found["short"].start, found["short"].end) == (NOW - 1003, NOW - 992)
    assert (found["long"].start, found["long"].end) == (NOW - 1003, NOW - 973)
    # A later revision moves the end of what was not pulled yet.
    await site.close("short", revision=2, length=8.0)
    assert (await site.rows())["short"].end == NOW - 989


async def test_nothing_is_pulled_before_the_device_is_heard_then_the_important_and_the_oldest_first(site: Site) -> None:
    await site.close("new", at=60)
    await site.close("old", at=0)
    await site.close("button", at=90, priority=Priority.URGENT)
    await site.close("now", at=1000 - 6, priority=Priority.URGENT)
    await site.pull_all()
    assert site.recordings.pulled == []
    site.hear("fixed-1")
    await site.pull_all()
    starts = [start - (NOW - 1003) for _, start, _ in site.recordings.pulled]
    assert starts == [90, 0, 60]  # the last event's end is still being filmed
    site.now += 5
    site.hear("fixed-1")
    await site.pull_all()
    assert {row.state for row in (await site.rows()).values()} == {"kept"}
    assert len(site.recordings.forgotten) == 4
    assert site.recordings.asked == {Representation.CLIP}
    assert len(list((site.folder / "archive").glob("*.media"))) == 4


async def test_a_clip_that_never_comes_does_not_keep_the_others_from_being_pulled(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.close("stuck", priority=Priority.URGENT)
    await site.close("other", at=60)
    site.hear("fixed-1")
    pull = site.recordings.pull

    async def slow(device_id: str, *, start: float, **rest: Any) -> Clip:
        if start < NOW - 1000:
            raise Unreachable("No reply within 20 s.")
        return await pull(device_id, start=start, **rest)

    monkeypatch.setattr(site.recordings, "pull", slow)
    await site.pull_all()
    assert {row.state for row in (await site.rows()).values()} == {"waiting"}
    site.now += 31
    site.hear("fixed-1")
    await site.pull_all()
    assert {key: row.state for key, row in (await site.rows()).items()} == {"stuck": "waiting", "other": "kept"}


async def test_what_the_device_no_longer_holds_is_a_gap_with_its_reason(site: Site) -> None:
    await site.close("lost")
    site.hear("fixed-1")
    site.recordings.errors["fixed-1"] = NotFound("body-1 recorded nothing then; it keeps an hour.")
    await site.pull_all()
    row = (await site.rows())["lost"]
    assert (row.state, row.reason) == ("gone", "body-1 recorded nothing then; it keeps an hour.")


@pytest.mark.parametrize("error", [Unreachable("No reply."), Refused("Rule no-clips keeps it.", rule="no-clips")])
async def test_a_device_that_does_not_deliver_is_asked_again_later(site: Site, error: FoveateError) -> None:
    await site.close("waits")
    await site.close("other", device_id="fixed-2")
    site.hear("fixed-1", "fixed-2")
    site.recordings.errors["fixed-1"] = error
    await site.pull_all()
    found = await site.rows()
    assert (found["waits"].state, found["waits"].reason) == ("waiting", error.message)
    assert found["other"].state == "kept"
    site.recordings.errors.clear()
    await site.pull_all()
    assert (await site.rows())["waits"].state == "waiting"
    site.now += 31
    site.hear("fixed-1")
    await site.pull_all()
    assert (await site.rows())["waits"].state == "kept"


async def test_the_least_and_oldest_makes_room(database_url: str, tmp_path: Path) -> None:
    async with Memory.open(database_url, tables=TABLES) as memory:
        site = Site(memory, tmp_path, max_bytes=25 * KIB)
        site.hear("fixed-1")
        for number, priority in enumerate((Priority.URGENT, Priority.HIGH, Priority.HIGH)):
            await site.close(f"e{number}", at=30.0 * number, priority=priority)
        await site.pull_all()
        found = await site.rows()
        assert {key: row.state for key, row in found.items()} == {"e0": "kept", "e1": "gone", "e2": "kept"}
        assert "full" in found["e1"].reason
        kept = list((tmp_path / "archive").glob("*.media"))
        assert sum(path.stat().st_size for path in kept) <= 25 * KIB


async def test_a_lost_database_finds_its_footage_again(site: Site, postgres_server: Any, tmp_path: Path) -> None:
    await site.close("e1")
    site.hear("fixed-1")
    await site.pull_all()
    (tmp_path / "archive" / "stray.media").write_bytes(b"of no event")
    async with Memory.open(postgres_server.database(), tables=TABLES) as memory:
        restored = Site(memory, tmp_path)
        await restored.archive.adopt()
        assert (await restored.rows())["e1"].state == "kept"
        await restored.close("e1")  # the event itself comes back by back-fill
        restored.hear("fixed-1")
        await restored.pull_all()
        assert restored.recordings.pulled == []
        clip = await restored.archive.find("fixed-1", NOW - 1001, NOW - 995)
        assert clip is not None
        assert clip.path.read_bytes() == bytes(10 * KIB)
    assert not (tmp_path / "archive" / "stray.media").exists()


class Strict:
    """Egress that lets clips of one device reach the site."""

    def check_clip(self, device_id: str, representation: Representation, destination: Place) -> None:
        if device_id != "fixed-1":
            raise Refused("no rule lets it", rule="none")


async def test_a_span_within_an_archived_clip_needs_no_device_but_the_same_leave(site: Site) -> None:
    await site.close("e1")
    await site.close("e2", device_id="fixed-2")
    site.hear("fixed-1", "fixed-2")
    await site.pull_all()
    site.recordings.errors = {name: Unreachable("away") for name in ("fixed-1", "fixed-2")}
    near = ArchiveFirst(site.recordings, archive=site.archive, egress=Strict(), here=HERE)
    inside: dict[str, Any] = {"start": NOW - 1002, "end": NOW - 993, "timeout": 1.0}
    for representation in (Representation.CLIP, Representation.FRAMES):
        clip = await near.pull("fixed-1", representation=representation, **inside)
        assert clip.path.exists()
    with pytest.raises(Refused):
        await near.pull("fixed-2", representation=Representation.CLIP, **inside)
    for otherwise in ({"representation": Representation.REDACTED_FRAMES}, {"end": NOW - 980}):
        with pytest.raises(Unreachable):
            await near.pull("fixed-1", **({"representation": Representation.CLIP} | inside | otherwise))
    assert site.archive.in_use == {clip.header.clip_id: 2}
    near.forget(clip.header.clip_id)
    near.forget(clip.header.clip_id)
    assert site.archive.in_use == {}
    assert clip.path.exists()


async def test_a_question_is_answered_although_the_device_lost_its_footage(
    site_nats: Any, database_url: str, tmp_path: Path
) -> None:
    recording = tmp_path / "recording.mp4"
    record(recording)
    camera = Camera("fixed-1", recording)
    lost = False

    async def deliver(payload: bytes) -> bytes:
        if lost:
            return clip_pb.ClipReceipt(failure=failure_to(NotFound("The ring buffer is empty."))).SerializeToString()
        return await camera.clip(payload)

    chosen = Settings(
        site="north",
        region="eu-west",
        nats_url="unused",
        database_url=database_url,
        policy=Path("unused"),
        data_dir=tmp_path / "edge",
    )
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(Memory.open(database_url, tables=TABLES))
        local, bridged = await site_nats.connect("edge.local"), await site_nats.connect("edge.bridged")
        models = Models(WhiteSquares(), None)
        edge = build.edge(chosen, policy=POLICY, models=models, memory=memory, local=local, bridged=bridged)
        await pipeline.prepare(edge.parts)
        port = await stack.enter_async_context(serving("127.0.0.1:0", *edge.services))
        camera.edge_grpc = f"127.0.0.1:{port}"
        stop = asyncio.Event()
        task = asyncio.create_task(pipeline.run(edge.parts, stop))
        device = await site_nats.connect("edge.local")
        await device.serve(subjects.device_clip("north", "fixed-1"), deliver)
        seen = replace(event(3.5, 7), priority=Priority.URGENT)
        payload = event_to(seen).SerializeToString()
        await device.store(subjects.event("north", "fixed-1"), payload, message_id="e1")

        async def kept() -> bool:
            beat = presence_to(Presence("fixed-1", "north", time.time(), True)).SerializeToString()
            await device.send(subjects.presence("north", "fixed-1"), beat)
            async with memory.transaction() as connection:
                return await connection.scalar(select(ARCHIVE.c.state)) == "kept"

        await until(kept, what="the clip in the archive")
        lost = True
        asked = request_to(request(Task.FIND, Representation.CLIP, pick=Pick.FIRST))
        async with rpc.channel(camera.edge_grpc) as channel:
            reply = await AnswerServiceStub(channel).Answer(answer_pb.AnswerServiceAnswerRequest(request=asked))
        answer = answer_of(reply.answer)
        stop.set()
        await asyncio.wait_for(task, timeout=15)
    assert answer.value == pytest.approx(START + APPEARS, abs=0.051)
    assert answer.evidence[0].picture
    assert "no pictures" not in answer.reason
    (order,) = camera.orders
    assert (order.start, order.end) == (pytest.approx(START + 0.5), pytest.approx(START + 10))
