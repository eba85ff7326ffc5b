"""The device agent as a process against a real NATS server and a real clip service.

Footage is made on the spot: a grey square that crosses an empty room, so events are of motion.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import grpc
import numpy as np
import pytest
from nats.js.api import StreamConfig

from device_agent.capture import LiveCamera
from device_agent.clock import SteadyClock
from device_agent.outbox import Outbox
from device_agent.report import Release, Reporter
from device_agent.sender import Sender
from foveate import bus, subjects
from foveate.bus import Bus
from foveate.cli.nats_servers import find_nats_server
from foveate.clips import ClipStore, sha256_of
from foveate.errors import Refused, TryAgain
from foveate.messages import (
    AnswerRequest,
    Boundary,
    ClipOrder,
    Event,
    Outcome,
    Pick,
    Place,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    TriggerKind,
    Understanding,
)
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.rpc import serve
from foveate.v1 import answer_service_pb2, clip_service_pb2, event_pb2
from foveate.v1.clip_service_pb2_grpc import ClipServiceServicer, add_ClipServiceServicer_to_server
from foveate.wire import (
    answer_of,
    clip_header_of,
    clip_order_to,
    event_of,
    failure_of,
    parse,
    presence_of,
    request_to,
)

SENDER = Sender("body-1", "north", "eu-west")
POLICY = """
rules:
  - name: at-home
    limits: {FACTS: WORLD, EMBEDDING: REGION, REDACTED_FRAMES: REGION, FRAMES: SITE, CLIP: SITE}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until(true: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)


@dataclass
class NatsServer:
    """A NATS server with JetStream and no accounts, which a test may kill and start again."""

    store: Path
    port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [find_nats_server(), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.store)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def connect(self) -> Bus:
        opened = await bus.connect(self.url, credentials=None, name="test", wait=10)
        await opened.ensure_stream(StreamConfig(name=subjects.EVENTS_STREAM, subjects=[subjects.events("north")]))
        return opened


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "js")
    server.start()
    yield server
    server.kill()


class UploadService(ClipServiceServicer):
    """The edge's half of an upload, on the real store."""

    def __init__(self, store: ClipStore) -> None:
        self.store = store

    async def UploadClip(self, request_iterator, context):
        header = await self.store.receive(request_iterator)
        return clip_service_pb2.UploadClipResponse(size_bytes=header.size_bytes)

    async def GetUpload(self, request, context):
        offset, complete = self.store.offset(request.clip_id)
        return clip_service_pb2.GetUploadResponse(offset_bytes=offset, complete=complete)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[str, ClipStore]]:
    store = ClipStore(tmp_path / "edge", max_bytes=1 << 30)

    def register(server: grpc.aio.Server) -> None:
        add_ClipServiceServicer_to_server(UploadService(store), server)

    async with serve("127.0.0.1:0", register) as port:
        yield f"127.0.0.1:{port}", store


def _footage(path: Path, *, seconds: int = 8) -> Path:
    """A square that crosses the picture from second 2 to second 5; stillness otherwise; a tone beside it."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt, video.gop_size = 320, 240, "yuv420p", 10
        audio = container.add_stream("aac", rate=8000)
        for number in range(seconds * 10):
            image = np.full((240, 320, 3), 90, np.uint8)
            if 20 <= number < 50:
                left = (number - 20) * 9
                image[80:140, left : left + 60] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
            wave = (9000 * np.sin(np.arange(number * 800, number * 800 + 800) / 4)).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 8000, number * 800, Fraction(1, 8000)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


@dataclass
class Agent:
    """`python -m device_agent` with its own data directory."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def ready(self) -> Path:
        return self.folder / "data" / "ready.json"

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    async def start(self) -> None:
        self.ready.unlink(missing_ok=True)  # a killed agent leaves its own behind
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "device_agent"], env={**os.environ, **self.environment}, stderr=log
            )
        await _until(lambda: self.ready.exists() or self.process.poll() is not None, what="the agent's start")
        assert self.process.poll() is None, self.log
        assert json.loads(self.ready.read_text())["pid"] == self.process.pid

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _environment(folder: Path, *, source: Path, nats: str, edge: str = "", **more: str) -> dict[str, str]:
    (folder / "policy.yaml").write_text(POLICY)
    values = {
        "ID": "body-1",
        "SITE": "north",
        "REGION": "eu-west",
        "SOURCE": str(source),
        "NATS_URL": nats,
        "EDGE_GRPC": edge,
        "POLICY": str(folder / "policy.yaml"),
        "DATA_DIR": str(folder / "data"),
        **more,
    }
    return {f"FOVEATE_DEVICE_{name}": value for name, value in values.items()}


@pytest.fixture
def agent(tmp_path: Path, nats_server: NatsServer, edge: tuple[str, ClipStore]) -> Iterator[Agent]:
    source = _footage(tmp_path / "room.mp4")
    found = Agent(tmp_path, _environment(tmp_path, source=source, nats=nats_server.url, edge=edge[0], LOOP="1"))
    yield found
    found.kill()


class Inbox:
    """Every revision in the stream, once each time that it lies there."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def read(self, opened: Bus) -> list[Event]:
        state = (await opened.jetstream.stream_info(subjects.EVENTS_STREAM)).state
        for sequence in range(len(self.events) + 1, state.last_seq + 1):
            message = await opened.jetstream.get_msg(subjects.EVENTS_STREAM, sequence)
            self.events.append(event_of(parse(event_pb2.Event, message.data or b"")))
        return self.events


def _ask(task: Task, label: str) -> bytes:
    understanding = Understanding(task, label, (label,), time.time(), time.time(), True, Pick.ANY, "as written")
    question = Question("q1", "?", time.time(), asker=Place("eu-west", "north"))
    placement = Placement(Tier.DEVICE, "body-1", Representation.FRAMES)
    request = AnswerRequest(question, understanding, placement, ("body-1",), 1, 2.0)
    return request_to(request).SerializeToString()


async def test_events_arrive_once_although_the_server_is_killed(nats_server: NatsServer, tmp_path: Path) -> None:
    clock = SteadyClock()
    outbox = Outbox(tmp_path / "outbox.sqlite", max_bytes=1 << 24)
    rule = Rule("all", RuleScope(), ((Representation.FACTS, Boundary.SITE),))
    reporter = Reporter(outbox, sender=SENDER, release=Release(ResidencyPolicy((rule,)), SENDER), clock=clock)
    event = Event("e0", 1, "body-1", "north", "eu-west", TriggerKind.OBJECT, clock.now(), clock.now(), False, 0.5)
    opened, stop = await nats_server.connect(), asyncio.Event()
    running = asyncio.create_task(reporter.run(opened, stop=stop))
    for key in range(300):
        await asyncio.to_thread(reporter.put, replace(event, event_id=f"e{key}"))
        if key == 100:
            nats_server.kill()
        if key == 200:
            nats_server.start()
    await _until(lambda: outbox.depth == 0, what="the outbox is empty", seconds=30)
    stop.set()
    await running
    arrived = [item.event_id for item in await Inbox().read(opened)]
    assert arrived == [f"e{key}" for key in range(300)]
    await opened.close()


async def test_the_agent_sees_answers_and_drains(nats_server: NatsServer, agent: Agent) -> None:
    opened, beats = await nats_server.connect(), []

    async def beat(payload: bytes, _subject: str) -> None:
        beats.append(presence_of(parse(event_pb2.Presence, payload)))

    await opened.listen(subjects.presence("north", "body-1"), beat)
    await agent.start()
    inbox, latencies = Inbox(), []
    while not [event for event in await inbox.read(opened) if not event.open]:
        started = time.perf_counter()
        reply = await opened.request(subjects.device_ask("north", "body-1"), _ask(Task.COUNT, "person"), timeout=5)
        latencies.append(time.perf_counter() - started)
        answer = answer_of(answer_service_pb2.AnswerServiceAnswerResponse.FromString(reply).answer)
        assert answer.outcome is Outcome.ANSWERED
        assert (answer.value, answer.text) == (0, "No person is in view of body-1.")
        assert time.time() - answer.evidence[0].start < 1.0
        assert len(latencies) < 2000
    closed = next(event for event in inbox.events if not event.open)
    assert closed.trigger is TriggerKind.MOTION
    assert closed.media_offset == pytest.approx(2.0, abs=0.4)
    assert closed.end - closed.start == pytest.approx(3.0, abs=0.6)
    assert closed.embedding is not None
    await _until(lambda: bool(beats), what="a heartbeat")
    assert beats[-1].capturing
    assert beats[-1].trouble == ""
    latencies.sort()
    p95 = latencies[int(len(latencies) * 0.95)]
    assert p95 < 0.5, f"an answer took {p95:.3f} s (p95); the aim on an idle machine is 0.15 s"
    assert agent.stop() == 0, agent.log
    assert not agent.ready.exists()
    last = {event.event_id: event for event in await inbox.read(opened)}
    assert not any(event.open for event in last.values())
    await opened.close()


async def test_an_agent_killed_with_an_open_event_closes_it_at_the_next_start(
    nats_server: NatsServer, agent: Agent
) -> None:
    opened, inbox = await nats_server.connect(), Inbox()
    await agent.start()
    while not await inbox.read(opened):
        await asyncio.sleep(0.05)
    agent.kill()
    (left,) = {event.event_id for event in inbox.events}
    await agent.start()
    while all(event.open for event in await inbox.read(opened) if event.event_id == left):
        await asyncio.sleep(0.05)
    story = [event for event in inbox.events if event.event_id == left]
    assert [event.revision for event in story] == list(range(1, len(story) + 1))
    assert agent.stop() == 0
    await opened.close()


async def test_clips_reach_the_edge_as_the_policy_lets_them(
    nats_server: NatsServer, agent: Agent, edge: tuple[str, ClipStore]
) -> None:
    opened, (_, store) = await nats_server.connect(), edge
    await agent.start()
    begin = time.time()
    await asyncio.sleep(3.0)
    site, region = Place("eu-west", "north"), Place("eu-west")

    async def order(name: str, form: Representation, to: Place) -> clip_service_pb2.ClipReceipt:
        wanted = ClipOrder(name, "body-1", begin + 0.5, begin + 2.0, to, form)
        payload = clip_order_to(wanted).SerializeToString()
        reply = await opened.request(subjects.device_clip("north", "body-1"), payload, timeout=20)
        return clip_service_pb2.ClipReceipt.FromString(reply)

    for name, form, to, sound in (
        ("clip", Representation.CLIP, site, True),
        ("frames", Representation.FRAMES, site, False),
        ("redacted", Representation.REDACTED_FRAMES, region, False),
    ):
        header = clip_header_of((await order(name, form, to)).header)
        assert sha256_of(store.path(name)) == header.sha256
        assert header.representation is form
        assert begin - 0.6 <= header.start <= begin + 0.5 <= begin + 1.9 <= header.end <= begin + 2.4
        with av.open(str(store.path(name))) as clip:
            assert bool(clip.streams.audio) is sound
            assert len(list(clip.decode(clip.streams.video[0]))) >= 4
    assert (await order("clip", Representation.CLIP, site)).WhichOneof("result") == "header"
    refused = failure_of((await order("away", Representation.CLIP, region)).failure)
    assert isinstance(refused, Refused)
    assert refused.metadata["rule"] == "at-home"
    assert agent.stop() == 0
    await opened.close()


async def test_capture_goes_on_without_a_network_and_the_end_of_a_file_is_said(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    source = _footage(tmp_path / "short.mp4", seconds=3)
    agent = Agent(tmp_path, _environment(tmp_path, source=source, nats=nats_server.url))
    nats_server.kill()
    with (tmp_path / "agent.log").open("ab") as log:
        agent.process = subprocess.Popen(
            [sys.executable, "-m", "device_agent"], env={**os.environ, **agent.environment}, stderr=log
        )
    try:
        await _until(lambda: bool(list((tmp_path / "data" / "ring").glob("*.nut"))), what="recording")
        nats_server.start()
        opened, beats = await nats_server.connect(), []

        async def beat(payload: bytes, _subject: str) -> None:
            beats.append(presence_of(parse(event_pb2.Presence, payload)))

        await opened.listen(subjects.presence("north", "body-1"), beat)
        await _until(lambda: any("has ended" in item.trouble for item in beats), what="the end is said")
        assert not beats[-1].capturing
        assert agent.process.poll() is None
        assert agent.stop() == 0
        await opened.close()
    finally:
        agent.kill()


@pytest.mark.parametrize("kind", ["missing", "text", "policy"])
def test_what_can_never_work_ends_with_one_sentence(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "v.mp4"
    if kind == "text":
        source.write_text("no video " * 50)
    elif kind == "policy":
        _footage(source, seconds=1)
    environment = _environment(tmp_path, source=source, nats="nats://127.0.0.1:1")
    if kind == "policy":
        (tmp_path / "policy.yaml").write_text("rules: 3")
    ran = subprocess.run(
        [sys.executable, "-m", "device_agent"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    *_, logged, sentence = ran.stderr.strip().splitlines()
    assert ran.returncode == 2
    assert json.loads(logged)["level"] == "error"
    assert sentence.endswith(".")
    assert "Traceback" not in ran.stderr


def test_a_camera_that_hangs_or_disappears_is_tried_again() -> None:
    """A server that takes the connection and says nothing, and then one that is gone."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop, port = threading.Event(), listener.getsockname()[1]
    camera = LiveCamera(f"rtsp://user:secret@127.0.0.1:{port}/live", clock=SteadyClock(), stop=stop, patience=0.5)
    troubles: list[str] = []

    def watch() -> None:
        for _ in camera.packets():
            raise AssertionError("a silent camera sends no packets")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not any("cannot be read" in trouble for trouble in troubles):
        troubles.append(camera.condition.trouble)
        if any("sent nothing" in trouble for trouble in troubles):
            listener.close()
        time.sleep(0.05)
    stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert any("has sent nothing for" in trouble for trouble in troubles), set(troubles)
    assert any("cannot be read" in trouble for trouble in troubles), set(troubles)
    assert not any("secret" in trouble for trouble in troubles)
    assert not camera.condition.capturing


async def test_an_unreachable_stream_is_try_again(nats_server: NatsServer) -> None:
    opened = await bus.connect(nats_server.url, credentials=None, name="test")
    with pytest.raises(TryAgain):
        await opened.store("fv.v1.event.nowhere.x", b"", message_id="1", timeout=0.5)
    await opened.close()
