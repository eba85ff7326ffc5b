"""The router process on a real NATS server and real gRPC: questions, failures, repeats and clips.

The edge and the cloud here are small test responders over the real wire: they say what each test tells them to.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from foveate import bus, rpc, subjects, wire
from foveate import messages as m
from foveate.cli import asking
from foveate.cli.nats_servers import find_nats_server
from foveate.clips import upload
from foveate.errors import DeadlinePassed, FoveateError, InvalidInput, NotFound, Refused, Unreachable
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.v1 import question_pb2
from foveate.v1 import question_service_pb2 as question_pb
from foveate.v1.answer_service_pb2_grpc import AnswerServiceServicer, add_AnswerServiceServicer_to_server
from foveate.v1.clip_service_pb2_grpc import ClipServiceStub
from foveate.v1.fleet_service_pb2_grpc import FleetServiceServicer, add_FleetServiceServicer_to_server
from foveate.v1.question_service_pb2_grpc import QuestionServiceStub
from tests.integration.barrier import all_sent

_RULES = """
rules:
  - {name: open, limits: {CLIP: WORLD, FRAMES: WORLD, REDACTED_FRAMES: WORLD, EMBEDDING: WORLD, FACTS: WORLD}}
  - {name: wearer, scope: {label: private}, limits: {FACTS: SITE, CLIP: SITE}}
"""
Say = Callable[[m.AnswerRequest], m.Answer]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def saying(confidence: float, **given: Any) -> Say:
    """A responder's script: the same answer to every request."""

    def say(request: m.AnswerRequest) -> m.Answer:
        placement = request.placement
        answer = m.Answer(request.question.question_id, m.Outcome.ANSWERED, f"Yes, says {placement}.", confidence, True)
        return replace(answer, placement=placement, **given)

    return say


class TestCloud(FleetServiceServicer, AnswerServiceServicer):
    """A test responder: a registry of two sites, and an answer by script."""

    __test__ = False

    def __init__(self) -> None:
        self.say: Say = saying(0.96)
        self.asked: list[m.AnswerRequest] = []

    async def ListSites(self, request: Any, context: Any) -> fleet_pb.ListSitesResponse:
        sites = [m.Site("north", "eu-west", online=True), m.Site("south", "us-ca", online=True)]
        return fleet_pb.ListSitesResponse(sites=[wire.site_to(site) for site in sites])

    async def ListDevices(self, request: Any, context: Any) -> fleet_pb.ListDevicesResponse:
        devices = [
            m.Device("body-1", "north", "eu-west", m.DeviceKind.BODY_CAM, enrolled=True, online=True),
            m.Device("glasses-1", "north", "eu-west", m.DeviceKind.GLASSES, ("private",), enrolled=True, online=True),
            m.Device("cam-1", "south", "us-ca", m.DeviceKind.FIXED_CAMERA, enrolled=True, online=True),
        ]
        return fleet_pb.ListDevicesResponse(devices=[wire.device_to(device) for device in devices])

    async def Answer(self, request: Any, context: Any) -> answer_pb.AnswerServiceAnswerResponse:
        self.asked.append(wire.request_of(request.request))
        return answer_pb.AnswerServiceAnswerResponse(answer=wire.answer_to(self.say(self.asked[-1])))


@dataclass
class TestEdge:
    """A test responder for one site's edge: answers by script, and uploads a made-up clip when ordered."""

    __test__ = False

    site: str
    router: str
    folder: Path
    say: Say = field(default_factory=lambda: saying(0.97))
    asked: list[m.AnswerRequest] = field(default_factory=list)

    async def ask(self, payload: bytes) -> bytes:
        request = wire.request_of(wire.parse(question_pb2.AnswerRequest, payload))
        self.asked.append(request)
        try:
            reply = answer_pb.AnswerServiceAnswerResponse(answer=wire.answer_to(self.say(request)))
        except FoveateError as error:
            reply = answer_pb.AnswerServiceAnswerResponse(failure=wire.failure_to(error))
        return reply.SerializeToString()

    async def clip(self, payload: bytes) -> bytes:
        order = wire.clip_order_of(wire.parse(clip_pb.ClipOrder, payload))
        path = self.folder / "clip.mp4"
        path.write_bytes(bytes(range(256)) * 1000)
        digest = hashlib.sha256(path.read_bytes()).digest()
        header = m.ClipHeader(
            order.clip_id, order.device_id, order.start, order.end, path.stat().st_size, digest, "video/mp4",
            order.representation,
        )  # fmt: skip
        async with rpc.channel(self.router) as channel:
            await upload(channel, path, header)
        return clip_pb.ClipReceipt(header=wire.clip_header_to(header)).SerializeToString()


@dataclass
class Rig:
    """A router process between test responders."""

    folder: Path
    router: str
    cloud: TestCloud
    edge: TestEdge
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    end_cloud: Callable[[], Any] | None = None

    async def start(self) -> None:
        log = (self.folder / "router.log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "router", env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        async with rpc.channel(self.router) as channel:
            await asyncio.wait_for(channel.channel_ready(), timeout=20)

    async def stop(self, with_signal: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(with_signal)
        return await asyncio.wait_for(self.process.wait(), timeout=15)

    async def ask(self, text: str, **given: Any) -> list[Any]:
        """Everything that happened, in order."""
        question = replace(m.Question(str(uuid7()), text, time.time()), **given)
        return [item async for item in asking.ask(self.router, question)]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """NATS without accounts, a test cloud, a test edge at `south`, and the router as its own process."""
    nats_port, router, cloud = free_port(), f"127.0.0.1:{free_port()}", TestCloud()
    command = [find_nats_server(), "-a", "127.0.0.1", "-p", str(nats_port)]
    with (tmp_path / "nats.log").open("ab") as log:
        nats = await asyncio.create_subprocess_exec(*map(str, command), stdout=log, stderr=log, start_new_session=True)

    def register(server: Any) -> None:
        add_FleetServiceServicer_to_server(cloud, server)
        add_AnswerServiceServicer_to_server(cloud, server)

    (tmp_path / "rules.yaml").write_text(_RULES)
    services, links = AsyncExitStack(), AsyncExitStack()
    async with links, services:
        port = await services.enter_async_context(rpc.serve("127.0.0.1:0", register, grace=0.1))
        settings = {
            "LISTEN": router, "NATS_URL": f"nats://127.0.0.1:{nats_port}", "CLOUD_GRPC": f"127.0.0.1:{port}",
            "REGION": "eu-west", "POLICY": str(tmp_path / "rules.yaml"), "DATA_DIR": str(tmp_path / "router"),
        }  # fmt: skip
        env = {**os.environ, **{f"FOVEATE_ROUTER_{name}": value for name, value in settings.items()}}
        edge = TestEdge("south", router, tmp_path)
        link = await _connected(settings["NATS_URL"])
        links.push_async_callback(link.close)
        await link.serve(subjects.site_ask("south"), edge.ask)
        await link.serve(subjects.site_clip("south"), edge.clip)
        await all_sent(link.client)
        running = Rig(tmp_path, router, cloud, edge, env, end_cloud=services.aclose)
        await running.start()
        yield running
        await running.stop()
    nats.terminate()
    await nats.wait()


async def _connected(url: str) -> bus.Bus:
    for _ in range(50):
        try:
            return await bus.connect(url, credentials=None, name="test-edge", wait=1.0)
        except Unreachable:
            await asyncio.sleep(0.1)
    return await bus.connect(url, credentials=None, name="test-edge")


def steps_of(happened: list[Any]) -> list[tuple[str, m.StepState]]:
    return [(str(item.placement), item.state) for item in happened if isinstance(item, m.Step)]


async def test_an_unsure_edge_escalates_and_everything_is_shown_in_order(rig: Rig) -> None:
    picture = m.Evidence("cam-1", time.time(), time.time(), picture=b"jpeg", representation=m.Representation.FRAMES)
    scripts = {m.Representation.FACTS: saying(0.4), m.Representation.CLIP: saying(0.96, evidence=(picture,))}
    rig.edge.say = lambda request: scripts[request.placement.representation](request)
    happened = await rig.ask("was there a car today?", scope=m.Scope(device_ids=("cam-1",)))
    assert [type(item) for item in happened] == [m.Plan, m.Step, m.Answer, m.Step, m.QuestionRecord]
    assert steps_of(happened) == [
        ("edge south from FACTS", m.StepState.UNSURE),
        ("edge south from CLIP", m.StepState.ANSWERED),
    ]
    record = happened[-1]
    assert (record.answer.outcome, record.answer.value) == (m.Outcome.ANSWERED, True)
    assert record.answer.evidence[0].picture == b"jpeg"
    assert record.cost_usd == pytest.approx(sum(step.cost_usd for step in record.steps))
    assert record.latency_s >= sum(step.latency_s for step in record.steps)
    assert rig.edge.asked[0].device_ids == ("cam-1",)
    assert rig.edge.asked[1].time_left_s <= 10.0
    assert rig.edge.asked[0].question.asker == m.Place("eu-west")


async def test_an_unreachable_edge_fails_and_the_cloud_answers(rig: Rig) -> None:
    happened = await rig.ask("was there a car today?", scope=m.Scope(device_ids=("body-1",)))
    taken = steps_of(happened)
    assert taken[0] == ("edge north from FACTS", m.StepState.FAILED)
    assert taken[-1] == ("cloud cloud from FACTS", m.StepState.ANSWERED)
    assert "Nobody listens at fv.v1.site.north.ask" in happened[1].reason
    assert rig.cloud.asked[0].placement.tier is m.Tier.CLOUD
    assert happened[-1].answer.outcome is m.Outcome.ANSWERED


async def test_now_of_one_camera_is_asked_of_the_device_through_its_edge(rig: Rig) -> None:
    rig.edge.say = saying(0.97)
    happened = await rig.ask("is there a person in view of cam-1 now?")
    assert steps_of(happened) == [("device cam-1 from FRAMES", m.StepState.ANSWERED)]
    assert rig.edge.asked[0].understanding.now


async def test_a_repeated_id_returns_the_first_answer_even_after_a_kill(rig: Rig) -> None:
    rig.edge.say = saying(0.97, text="first")
    first = await rig.ask("is there a dog on cam-1 now?", question_id=(question_id := str(uuid7())))
    await rig.stop(signal.SIGKILL)
    await rig.start()
    rig.edge.say = saying(0.97, text="second")
    again = await rig.ask("is there a dog on cam-1 now?", question_id=question_id)
    assert [type(item) for item in again] == [m.Plan, m.Step, m.QuestionRecord]
    assert again[-1] == first[-1]
    assert len(rig.edge.asked) == 1
    assert await asking.recorded(rig.router, question_id[:13]) == first[-1]
    assert [r.question.question_id for r in await asking.newest(rig.router, count=5)] == [question_id]


async def test_two_calls_with_one_id_share_one_run(rig: Rig) -> None:
    given = {"question_id": str(uuid7())}
    both = await asyncio.gather(*(rig.ask("is there a dog on cam-1 now?", **given) for _ in range(2)))
    assert both[0][-1] == both[1][-1]
    assert len(rig.edge.asked) == 1


async def test_a_refusal_names_its_rule_and_asks_nobody(rig: Rig) -> None:
    happened = await rig.ask("how many people has glasses-1 seen?")
    answer = happened[-1].answer
    assert (answer.outcome, answer.rule) == (m.Outcome.REFUSED, "wearer")
    assert [type(item) for item in happened] == [m.Plan, m.QuestionRecord]
    assert not rig.cloud.asked


async def test_a_refusing_edge_is_respected(rig: Rig) -> None:
    def refuse(request: m.AnswerRequest) -> m.Answer:
        raise Refused("FACTS stay here by a newer rule.", rule="newer")

    rig.edge.say = refuse
    happened = await rig.ask("was there a car on cam-1 today?")
    answer = happened[-1].answer
    assert (answer.outcome, answer.rule) == (m.Outcome.REFUSED, "newer")
    assert not rig.cloud.asked


@pytest.mark.parametrize(
    ("text", "given", "error"),
    [
        ("   ", {}, InvalidInput),
        ("x" * 10_000, {}, InvalidInput),
        ("¿hay una persona?", {}, InvalidInput),
        ("is there a dog?", {"constraints": m.Constraints(answer_schema="{")}, InvalidInput),
        ("x" * 5_000_000, {}, InvalidInput),
        ("is there a dog?", {"scope": m.Scope(device_ids=("cam-9",))}, NotFound),
        ("is there a dog?", {"scope": m.Scope(site_ids=("west",))}, NotFound),
    ],
)
async def test_bad_input_gets_its_status(rig: Rig, text: str, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await rig.ask(text, **given)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "request_bytes",
    [
        question_pb.AskRequest(question=question_pb2.Question(text="x" * 5_000_000)).SerializeToString(),
        question_pb.AskRequest(question=question_pb2.Question(text="x" * 10_000)).SerializeToString(),
        b"\x0a\x06\x12\x04\xff\xfe\xff\xff",  # a text that is no UTF-8
        b"\xff" * 10,
    ],
    ids=["5 MB", "10 kB", "no UTF-8", "no message"],
)
async def test_what_others_send_is_one_sentence_and_does_no_harm(rig: Rig, request_bytes: bytes) -> None:
    async with rpc.channel(rig.router) as channel:
        call = channel.unary_stream("/foveate.v1.QuestionService/Ask")(request_bytes, timeout=10)
        with pytest.raises(InvalidInput) as raised, rpc.translated():
            _ = [response async for response in call]
    assert len(raised.value.message) < 300
    assert (await rig.ask("is there a dog on cam-1 now?"))[-1].answer.outcome is m.Outcome.ANSWERED


async def test_a_document_and_what_was_read_come_through(rig: Rig) -> None:
    quote = m.Evidence("cam-1", time.time(), time.time(), quote="exit <b>")
    rig.edge.say = saying(0.9, value="exit", document='{"text": "exit"}', evidence=(quote,), tokens=m.Tokens(412, 9))
    schema = '{"type": "object"}'
    happened = await rig.ask('what does the sign say, "exit"?', constraints=m.Constraints(answer_schema=schema))
    asked, answer = rig.edge.asked[0], happened[-1].answer
    assert (asked.understanding.task, asked.understanding.words) == (m.Task.EXTRACT, ("exit",))
    assert asked.question.constraints.answer_schema == schema
    assert (answer.value, answer.document, answer.tokens) == ("exit", '{"text": "exit"}', m.Tokens(412, 9))
    assert answer.evidence[0].quote == "exit <b>"
    found = await asking.recorded(rig.router, happened[-1].question.question_id)
    assert found.answer == answer


async def test_deadlines_are_kept(rig: Rig) -> None:
    happened = await rig.ask("was there a car on cam-1 today?", constraints=m.Constraints(deadline_s=0.05))
    assert happened[-1].answer.outcome is m.Outcome.CANNOT_TELL
    assert "s are left" in happened[-1].answer.reason
    question = wire.question_to(m.Question("q-00000001", "was there a car on cam-1 today?", time.time()))
    async with rpc.channel(rig.router) as channel:
        with pytest.raises(DeadlinePassed), rpc.translated():
            async for _ in QuestionServiceStub(channel).Ask(question_pb.AskRequest(question=question), timeout=0.05):
                pass


async def test_questions_go_on_when_the_cloud_is_gone(rig: Rig) -> None:
    assert rig.end_cloud is not None
    rig.edge.say = saying(0.97)
    await rig.end_cloud()
    await rig.stop()
    await rig.start()
    happened = await rig.ask("was there a car on cam-1 today?")
    assert happened[-1].answer.outcome is m.Outcome.ANSWERED
    rejected = {str(r.placement): r.reason for r in happened[0].rejected}
    assert rejected["cloud cloud from FACTS"] == "the cloud does not answer"


async def test_a_clip_comes_through_the_edge_whole(rig: Rig) -> None:
    request = clip_pb.GetClipRequest(
        device_id="cam-1", start_time=wire.timestamp(1e9), end_time=wire.timestamp(1e9 + 2)
    )
    async with rpc.channel(rig.router) as channel:
        parts = [part async for part in ClipServiceStub(channel).GetClip(request, timeout=20)]
    header = wire.clip_header_of(parts[0].header)
    content = b"".join(part.chunk for part in parts[1:])
    assert (len(content), hashlib.sha256(content).digest()) == (header.size_bytes, header.sha256)
    assert header.representation is m.Representation.CLIP
    assert not list((rig.folder / "router" / "clips").iterdir())


async def test_a_clip_is_refused_by_its_rule_and_uploads_that_nobody_ordered_too(rig: Rig) -> None:
    request = clip_pb.GetClipRequest(
        device_id="glasses-1", start_time=wire.timestamp(1e9), end_time=wire.timestamp(1e9 + 2)
    )
    path = rig.folder / "stray.mp4"
    path.write_bytes(b"stray")
    digest = hashlib.sha256(b"stray").digest()
    stray = m.ClipHeader("stray", "cam-1", 1e9, 1e9 + 1, 5, digest, "video/mp4", m.Representation.CLIP)
    async with rpc.channel(rig.router) as channel:
        with pytest.raises(Refused, match="rule wearer"), rpc.translated():
            async for _ in ClipServiceStub(channel).GetClip(request, timeout=20):
                pass
        with pytest.raises(FoveateError, match="Nobody here waits"):
            await upload(channel, path, stray, tries=1)
    assert await rig.stop() == 0
