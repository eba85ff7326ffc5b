"""Questions to a real edge over the hub, with a device of flesh in between: a recorded clip, uploaded over gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_node import build, pipeline
from edge_node.models import Models
from edge_node.serve import serving
from edge_node.settings import Settings
from edge_node.tables import RELEASES, TABLES
from foveate import residency, rpc, subjects
from foveate.clips import ClipStore, upload
from foveate.errors import NotPermitted, NotSupported, Refused
from foveate.memory import Memory
from foveate.messages import (
    Answer,
    AnswerRequest,
    ClipHeader,
    ClipOrder,
    Event,
    Evidence,
    LabelScore,
    Outcome,
    Pick,
    Place,
    Placement,
    Question,
    Representation,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
)
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import clip_service_pb2_grpc as clip_grpc
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.v1 import question_pb2 as question_pb
from foveate.v1.answer_service_pb2_grpc import AnswerServiceStub
from foveate.v1.clip_service_pb2_grpc import ClipServiceStub
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture
from foveate.vision.draw import read_jpeg
from foveate.vision.likelihood import PEOPLE, THINGS
from foveate.wire import (
    answer_of,
    answer_to,
    clip_header_to,
    clip_order_of,
    clip_order_to,
    event_to,
    failure_of,
    parse,
    request_of,
    request_to,
    timestamp,
)

HERE, CLOUD = Place("eu-west", "north"), Place("eu-west")
START = float(int(time.time()) - 60)
APPEARS = 3.2  # seconds into the recording: the square comes into view
FPS, SECONDS = 10, 8
POLICY = residency.parse(
    {
        "rules": [
            {"name": "facts-travel", "limits": {"FACTS": "WORLD", "EMBEDDING": "WORLD"}},
            {"name": "pictures", "limits": {"CLIP": "SITE", "FRAMES": "SITE", "REDACTED_FRAMES": "REGION"}},
            {"name": "no-clips", "scope": {"device": "body-1"}, "limits": {"CLIP": "DEVICE", "FRAMES": "DEVICE"}},
            {"name": "private-stays", "scope": {"label": "private"}, "limits": {"FACTS": "SITE"}},
        ]
    },
    source="test",
)


class WhiteSquares:
    """Sees every bright patch as one car, and its shadow, if there is one, as nothing."""

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        bright = np.argwhere(image.min(axis=2) > 200)
        if len(bright) < 50:
            return ()
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
        height, width = image.shape[:2]
        box = Box(left / width, top / height, (right - left) / width, (bottom - top) / height)
        return (Detection("car", 0.5, box), Detection("person", 0.8, box))


def record(path: Path) -> None:
    """Eight seconds of grey; from APPEARS on a white square crosses it."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=FPS, options={"g": "5", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(FPS * SECONDS):
            picture = np.full((180, 320, 3), 60, np.uint8)
            if number / FPS >= APPEARS - 1e-6:
                left = 20 + 2 * number
                picture[60:110, left : left + 60] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@dataclass
class Camera:
    """The device's side of the contract: it answers about now, and uploads its whole recording as the clip."""

    device: str
    recording: Path
    edge_grpc: str = ""
    orders: list[ClipOrder] = field(default_factory=list)
    sees: int = 1
    dawdle: float = 0.0

    async def clip(self, payload: bytes) -> bytes:
        order = clip_order_of(parse(clip_pb.ClipOrder, payload))
        self.orders.append(order)
        await asyncio.sleep(self.dawdle)
        data = self.recording.read_bytes()
        header = ClipHeader(
            clip_id=order.clip_id,
            device_id=self.device,
            start=START,
            end=START + SECONDS,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
            media_type="video/mp4",
            representation=order.representation,
            media_offset=100.0,
        )
        async with rpc.channel(self.edge_grpc) as channel:
            await upload(channel, self.recording, header)
        return clip_pb.ClipReceipt(header=clip_header_to(header)).SerializeToString()

    async def ask(self, payload: bytes) -> bytes:
        request = request_of(parse(question_pb.AnswerRequest, payload))
        value: bool | int = self.sees if request.understanding.task is Task.COUNT else self.sees > 0
        sighting = Sighting(START, "car", 0.9, Box(0.1, 0.1, 0.2, 0.2))
        evidence = Evidence(self.device, START, START, sightings=(sighting,))
        answer = Answer("", Outcome.ANSWERED, f"{self.device} sees {value}.", 0.9, value=value, evidence=(evidence,))
        answer = replace(answer, question_id=request.question.question_id, placement=request.placement)
        return answer_pb.AnswerServiceAnswerResponse(answer=answer_to(answer)).SerializeToString()


@dataclass
class Fixture:
    """One edge with two cameras, seen from the router."""

    nats: Any
    memory: Memory
    router: Any
    cameras: dict[str, Camera]
    grpc: str
    clips: Path

    async def ask(self, request: AnswerRequest) -> Answer:
        """As who asks would: on site over gRPC, everybody else through the hub."""
        if request.question.asker != HERE:
            return await self.ask_through_the_hub(request)
        async with rpc.channel(self.grpc) as channel:
            with rpc.translated():
                response = await AnswerServiceStub(channel).Answer(
                    answer_pb.AnswerServiceAnswerRequest(request=request_to(request)), timeout=15
                )
        return answer_of(response.answer)

    async def ask_through_the_hub(self, request: AnswerRequest) -> Answer:
        reply = await self.router.request(
            subjects.site_ask("north"), request_to(request).SerializeToString(), timeout=15
        )
        response = parse(answer_pb.AnswerServiceAnswerResponse, reply)
        if response.WhichOneof("result") == "failure":
            raise failure_of(response.failure)
        return answer_of(response.answer)


class RouterClips(clip_grpc.ClipServiceServicer):
    """Where the router takes clips in."""

    def __init__(self, store: ClipStore) -> None:
        self.store = store

    async def UploadClip(self, request_iterator: Any, context: Any) -> Any:
        header = await self.store.receive(request_iterator)
        return clip_pb.UploadClipResponse(size_bytes=header.size_bytes)

    async def GetUpload(self, request: Any, context: Any) -> Any:
        arrived, complete = self.store.offset(request.clip_id)
        return clip_pb.GetUploadResponse(offset_bytes=arrived, complete=complete)

    async def GetClip(self, request: Any, context: Any) -> Any:
        raise NotSupported("not here")
        yield


@pytest.fixture
async def site(site_nats: Any, database_url: str, tmp_path: Path) -> AsyncIterator[Fixture]:
    recording = tmp_path / "recording.mp4"
    record(recording)
    cameras = {name: Camera(name, recording) for name in ("fixed-1", "body-1")}
    async with AsyncExitStack() as stack:
        store = ClipStore(tmp_path / "router", max_bytes=10**8)
        taking = [(clip_grpc.add_ClipServiceServicer_to_server, RouterClips(store))]
        router_port = await stack.enter_async_context(serving("127.0.0.1:0", *taking))
        memory = await stack.enter_async_context(Memory.open(database_url, tables=TABLES))
        chosen = Settings(
            site="north",
            region="eu-west",
            nats_url="unused",
            database_url=database_url,
            policy=Path("unused"),
            data_dir=tmp_path / "edge",
            router_grpc=f"127.0.0.1:{router_port}",
            cloud_region="eu-west",
        )
        edge = build.edge(
            chosen,
            policy=POLICY,
            models=Models(WhiteSquares(), None),
            memory=memory,
            local=await site_nats.connect("edge.local"),
            bridged=await site_nats.connect("edge.bridged"),
        )
        await pipeline.prepare(edge.parts)
        port = await stack.enter_async_context(serving("127.0.0.1:0", *edge.services))
        stop = asyncio.Event()
        task = asyncio.create_task(pipeline.run(edge.parts, stop))
        local = await site_nats.connect("edge.local")
        for name, camera in cameras.items():
            camera.edge_grpc = f"127.0.0.1:{port}"
            edge.parts.devices.learn(name, ())
            await local.serve(subjects.device_ask("north", name), camera.ask)
            await local.serve(subjects.device_clip("north", name), camera.clip)
        router = await site_nats.connect("router")
        await asyncio.sleep(0.3)  # interest crosses the leaf link
        yield Fixture(site_nats, memory, router, cameras, f"127.0.0.1:{port}", tmp_path / "edge" / "clips")
        stop.set()
        await asyncio.wait_for(task, timeout=15)


def event(start: float, end: float, *, device: str = "fixed-1", label: str = "car", score: float = 0.7) -> Event:
    sighting = Sighting(START + start, label, score, Box(0.3, 0.3, 0.2, 0.3))
    return Event(
        event_id=f"{device}-{start}",
        revision=1,
        device_id=device,
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=START + start,
        end=START + end,
        open=False,
        score=score,
        labels=(LabelScore(label, score),),
        tracks=(Track(1, label, score, START + start, START + end, (sighting,)),),
        media_offset=100.0 + start,
    )


def request(
    task: Task = Task.PRESENCE,
    representation: Representation = Representation.FACTS,
    *,
    devices: tuple[str, ...] = ("fixed-1",),
    asker: Place = HERE,
    tier: Tier = Tier.EDGE,
    **changes: Any,
) -> AnswerRequest:
    wanted = Understanding(task, "car", ("car",), START, START + SECONDS, False, Pick.ANY, "")
    node = "north" if tier is Tier.EDGE else devices[0]
    return AnswerRequest(
        question=Question("q-1", "a car?", ask_time=START + SECONDS, asker=asker),
        understanding=replace(wanted, **changes),
        placement=Placement(tier, node, representation),
        device_ids=devices,
        devices_in_scope=len(devices),
        time_left_s=10.0,
    )


async def test_recalls_the_past_from_facts(site: Fixture) -> None:
    await site.memory.upsert(event(3.5, 8))
    answer = await site.ask(request(Task.FIND, pick=Pick.FIRST))
    assert answer.value == pytest.approx(START + 3.5)
    assert "103.5 s into its source" in answer.text
    assert answer.evidence[0].event_id == "fixed-1-3.5"
    assert site.cameras["fixed-1"].orders == []


async def test_asks_all_devices_about_now_and_adds_up(site: Fixture) -> None:
    site.cameras["body-1"].sees = 2
    both = ("fixed-1", "body-1")
    answer = await site.ask(request(Task.COUNT, devices=both, now=True))
    assert (answer.value, answer.confidence) == (3, pytest.approx(0.81))
    assert answer.placement == Placement(Tier.EDGE, "north", Representation.FACTS)
    site.cameras["fixed-1"].sees = 0
    there = await site.ask(request(Task.PRESENCE, devices=both, now=True))
    assert there.value is True
    assert there.confidence == pytest.approx(1 - 0.9 * 0.1)


async def test_relays_a_question_to_one_device(site: Fixture) -> None:
    answer = await site.ask(request(Task.COUNT, tier=Tier.DEVICE, now=True))
    assert (answer.value, answer.text) == (1, "fixed-1 sees 1.")
    assert answer.placement is not None
    assert answer.placement.tier is Tier.DEVICE


async def test_finds_the_very_first_picture_in_a_clip(site: Fixture) -> None:
    """The device noticed the square late; the pixels tell when it came."""
    await site.memory.upsert(event(3.9, 8))
    answer = await site.ask(request(Task.FIND, Representation.CLIP, pick=Pick.FIRST))
    assert answer.value == pytest.approx(START + APPEARS, abs=0.051)
    assert answer.moved_bytes == site.cameras["fixed-1"].recording.stat().st_size
    (piece,) = answer.evidence
    assert piece.media_offset == pytest.approx(100.0 + APPEARS, abs=0.051)
    assert piece.representation is Representation.FRAMES
    assert read_jpeg(piece.picture).shape == (180, 320, 3)
    box = piece.sightings[0].box
    assert (box.left, box.top) == (pytest.approx(84 / 320, abs=0.02), pytest.approx(60 / 180, abs=0.02))
    order = site.cameras["fixed-1"].orders[0]
    assert (order.start, order.end) == (pytest.approx(START + 1.9), pytest.approx(START + 6.9))
    assert list(site.clips.iterdir()) == []


async def test_counts_and_sees_in_pictures_when_memory_is_empty(site: Fixture) -> None:
    counted = await site.ask(request(Task.COUNT, Representation.CLIP))
    assert counted.value == 1
    seen = await site.ask(request(Task.PRESENCE, Representation.FRAMES))
    assert seen.value is True
    assert seen.confidence == pytest.approx(THINGS.probability(0.5))


async def test_pictures_that_contradict_memory_cost_confidence(site: Fixture) -> None:
    await site.memory.upsert(event(0.0, 1.0, score=0.5))
    recalled, sure = await site.ask(request()), THINGS.probability(0.5)
    assert (recalled.value, recalled.confidence) == (True, pytest.approx(sure))
    looked = await site.ask(request(Task.PRESENCE, Representation.CLIP))
    odds = sure * 0.05 / (sure * 0.05 + (1 - sure) * 0.95)
    assert (looked.value, looked.confidence) == (False, pytest.approx(1 - odds))
    assert "memory and pictures differ" in looked.text
    assert "what was remembered" in looked.reason


async def test_pictures_of_another_region_go_redacted_and_say_so(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8))
    answer = await site.ask(request(Task.FIND, Representation.FRAMES, asker=CLOUD))
    (piece,) = answer.evidence
    assert piece.representation is Representation.REDACTED_FRAMES
    assert "pictures sent as REDACTED_FRAMES: rule pictures keeps FRAMES to SITE" in answer.reason
    assert answer.rule == "pictures"
    plain = await site.ask(request(Task.FIND, Representation.FRAMES, asker=HERE))
    hidden, shown = read_jpeg(piece.picture), read_jpeg(plain.evidence[0].picture)
    left, top, right, bottom = piece.sightings[0].box.expanded(0.1).to_pixels(width=320, height=180)
    changed = np.abs(hidden.astype(int) - shown.astype(int)).max(axis=2) > 20
    assert changed[top:bottom, left:right].mean() > 0.1
    changed[top - 8 : bottom + 8, left - 8 : right + 8] = False
    assert not changed.any()
    async with site.memory.transaction() as connection:
        facts, row = (await connection.execute(RELEASES.select())).all()
    assert (row.what, row.destination, row.representation) == ("answer q-1", "eu-west", "REDACTED_FRAMES")
    assert (row.size_bytes, row.sha256) == (len(piece.picture), hashlib.sha256(piece.picture).hexdigest())
    assert (facts.representation, facts.device_id, facts.rule) == ("FACTS", "fixed-1", "facts-travel")
    assert facts.size_bytes > 0
    assert "question q-1" in facts.why


async def test_whoever_claims_to_be_on_site_gets_through_the_hub_what_the_hub_may_see(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8))
    answer = await site.ask_through_the_hub(request(Task.FIND, Representation.FRAMES, asker=HERE))
    assert answer.evidence[0].representation is Representation.REDACTED_FRAMES
    assert answer.rule == "pictures"
    async with site.memory.transaction() as connection:
        told = (await connection.execute(RELEASES.select())).all()
    assert [(row.destination, row.representation) for row in told] == [
        ("eu-west", "FACTS"),
        ("eu-west", "REDACTED_FRAMES"),
    ]
    clip = ClipOrder("clip-x", "fixed-1", START, START + 2, HERE, Representation.CLIP)
    payload = clip_order_to(clip).SerializeToString()
    reply = await site.router.request(subjects.site_clip("north"), payload, timeout=15)
    assert isinstance(failure_of(parse(clip_pb.ClipReceipt, reply).failure), Refused)
    assert site.cameras["fixed-1"].orders[1:] == []


async def test_pictures_for_the_world_are_left_out(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8))
    answer = await site.ask(request(Task.FIND, Representation.FRAMES, asker=Place("us-ca")))
    assert answer.outcome is Outcome.ANSWERED
    assert answer.evidence[0].picture == b""
    assert "pictures left out: rule pictures keeps FRAMES to SITE" in answer.reason


async def test_facts_that_must_stay_are_refused_with_the_rule(site: Fixture) -> None:
    for made in (event(3.9, 8, device="glasses-1"),):
        await site.memory.upsert(replace(made, device_labels=("private",)))
    answer = await site.ask(request(devices=("glasses-1",), asker=CLOUD))
    assert (answer.outcome, answer.rule) == (Outcome.REFUSED, "private-stays")
    assert answer.evidence == ()
    assert "private-stays" in answer.text
    on_site = await site.ask(request(devices=("glasses-1",), asker=HERE))
    assert on_site.value is True


async def test_a_device_that_keeps_its_clips_leaves_memory_to_answer(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8, device="body-1"))
    answer = await site.ask(request(Task.PRESENCE, Representation.CLIP, devices=("body-1",)))
    assert answer.value is True
    assert "body-1 gave no pictures: CLIP may not go to SITE: rule no-clips keeps it to DEVICE" in answer.reason
    assert "this is what memory alone says" in answer.reason
    assert site.cameras["body-1"].orders == []


async def test_people_cannot_be_verified_on_redacted_pictures(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8, label="person"))
    asked = request(Task.PRESENCE, Representation.REDACTED_FRAMES, labels=("person",), subject="person", asker=CLOUD)
    answer = await site.ask(asked)
    assert answer.value is True
    assert answer.confidence == pytest.approx(PEOPLE.probability(0.7))
    assert "people cannot be verified on REDACTED_FRAMES" in answer.reason
    assert answer.evidence[0].representation is Representation.REDACTED_FRAMES
    assert answer.evidence[0].picture


async def test_a_silent_device_costs_no_exception(site: Fixture) -> None:
    answer = await site.ask(request(Task.PRESENCE, Representation.CLIP, devices=("ghost-1",)))
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "ghost-1" in answer.reason
    now = await site.ask(request(Task.COUNT, devices=("fixed-1", "ghost-1"), now=True))
    assert now.value == 1
    assert now.confidence == pytest.approx(0.45)
    assert "ghost-1" in now.reason


async def test_a_device_that_dawdles_leaves_memory_to_answer_in_time(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8))
    site.cameras["fixed-1"].dawdle = 30.0
    began = time.monotonic()
    answer = await site.ask(replace(request(Task.PRESENCE, Representation.CLIP), time_left_s=1.5))
    assert time.monotonic() - began < 1.5
    assert answer.value is True
    assert "this is what memory alone says" in answer.reason


async def test_what_needs_a_vlm_cannot_be_told(site: Fixture) -> None:
    answer = await site.ask(request(Task.DESCRIBE, Representation.CLIP))
    assert (
        answer.reason
        == "the embedded default lists things, numbers, colours, text and speech, and sees nothing beyond that"
    )


async def test_a_clip_for_somebody_elsewhere_goes_to_the_router_or_is_refused(site: Fixture, tmp_path: Path) -> None:
    async def order(representation: Representation) -> Any:
        wanted = ClipOrder(f"clip-{representation}", "fixed-1", START, START + 2, CLOUD, representation)
        reply = await site.router.request(
            subjects.site_clip("north"), clip_order_to(wanted).SerializeToString(), timeout=15
        )
        return parse(clip_pb.ClipReceipt, reply)

    refused = await order(Representation.CLIP)
    error = failure_of(refused.failure)
    assert isinstance(error, Refused)
    assert error.metadata["rule"] == "pictures"
    sent = await order(Representation.REDACTED_FRAMES)
    assert sent.header.size_bytes == site.cameras["fixed-1"].recording.stat().st_size
    assert (tmp_path / "router" / "clip-3.media").read_bytes() == site.cameras["fixed-1"].recording.read_bytes()


async def test_people_on_site_ask_list_and_fetch_over_grpc(site: Fixture) -> None:
    await site.memory.upsert(event(3.9, 8))
    async with rpc.channel(site.grpc) as channel:
        asked = request(Task.PRESENCE)
        asked = replace(asked, question=replace(asked.question, asker=None))
        reply = await AnswerServiceStub(channel).Answer(
            answer_pb.AnswerServiceAnswerRequest(request=request_to(asked)), timeout=10
        )
        assert reply.answer.present
        listed = await FleetServiceStub(channel).ListEvents(fleet_pb.ListEventsRequest(), timeout=10)
        assert [made.event_id for made in listed.events] == ["fixed-1-3.9"]
        with pytest.raises(NotSupported, match="ask the cloud"), rpc.translated():
            await FleetServiceStub(channel).RegisterSite(fleet_pb.RegisterSiteRequest(), timeout=10)
        wanted = clip_pb.GetClipRequest(device_id="fixed-1", start_time=timestamp(START), end_time=timestamp(START + 2))
        parts = [part async for part in ClipServiceStub(channel).GetClip(wanted, timeout=10)]
        assert b"".join(part.chunk for part in parts[1:]) == site.cameras["fixed-1"].recording.read_bytes()


async def test_an_upload_that_nobody_ordered_is_turned_away(site: Fixture) -> None:
    camera = site.cameras["fixed-1"]
    data = camera.recording.read_bytes()
    digest = hashlib.sha256(data).digest()
    header = ClipHeader("unordered", "fixed-1", START, START + 8, len(data), digest, "video/mp4", Representation.CLIP)
    async with rpc.channel(site.grpc) as channel:
        with pytest.raises(NotPermitted, match="did not order"):
            await upload(channel, camera.recording, header)
    assert list(site.clips.iterdir()) == []


async def test_garbage_from_the_router_gets_a_failure_not_silence(site: Fixture) -> None:
    reply = await site.router.request(subjects.site_ask("north"), b"\xff\xff", timeout=5)
    failure = parse(answer_pb.AnswerServiceAnswerResponse, reply).failure
    assert failure.reason == "MALFORMED_MESSAGE"


async def test_an_event_over_the_wire_is_soon_an_answer(site: Fixture) -> None:
    local = await site.nats.connect("edge.local")
    await local.store(subjects.event("north", "fixed-1"), event_to(event(3.9, 8)).SerializeToString(), message_id="one")
    deadline = time.monotonic() + 5
    while (answer := await site.ask(request())).value is not True:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert answer.evidence[0].event_id == "fixed-1-3.9"
