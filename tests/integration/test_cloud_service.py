"""The cloud over real engines: a hub and a leaf with JetStream domains, PostgreSQL, gRPC on a free loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from nats.js.api import StorageType, StreamConfig
from sqlalchemy import select

from cloud_service import pipeline
from cloud_service.enrol import Enrolment
from cloud_service.ingest import Ingest
from cloud_service.liveness import Liveness
from cloud_service.reason import Reason
from cloud_service.registry import TOKEN_SECONDS, Registry
from cloud_service.serve import AnswerServicer, EnrolmentServicer, FleetServicer, serving
from cloud_service.settings import Settings
from cloud_service.sources import Sources
from cloud_service.tables import DEAD_LETTERS, TABLES, TOKENS
from edge_node.trim import Trim
from foveate import identity, residency, rpc, subjects
from foveate import messages as m
from foveate.errors import (
    AlreadyExists,
    InvalidInput,
    MalformedMessage,
    NotFound,
    NotPermitted,
    NotReady,
    NotSupported,
    Refused,
    Unreachable,
)
from foveate.identity import Role
from foveate.memory import Memory
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import answer_service_pb2_grpc as answer_grpc
from foveate.v1 import enrolment_service_pb2 as enrolment_pb
from foveate.v1 import enrolment_service_pb2_grpc as enrolment_grpc
from foveate.v1 import fleet_pb2, fleet_service_pb2
from foveate.v1 import fleet_service_pb2_grpc as fleet_grpc
from foveate.vision.boxes import Box
from foveate.wire import answer_of, device_of, device_to, event_of, event_to, presence_to, request_to, site_of, site_to

POLICY = residency.parse(
    {
        "rules": [
            {"name": "facts-travel", "limits": {"FACTS": "WORLD", "EMBEDDING": "REGION"}},
            {"name": "private-stays", "scope": {"label": "private"}, "limits": {"FACTS": "SITE"}},
        ]
    },
    source="test",
)
NOW = 1_750_000_000.0
HERE = m.Place("eu-west")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Cloud:
    """The service's parts and clients of all three services."""

    memory: Memory
    registry: Registry
    liveness: Liveness
    sources: Sources
    ingest: Ingest
    fleet: Any
    enrolment: Any
    answer: Any
    clock: Clock

    async def register(self, *names: str, site: str = "north", region: str = "eu-west", labels: Any = ()) -> list[str]:
        """Registers the site and devices at it; their join tokens."""
        await self.fleet.RegisterSite(fleet_service_pb2.RegisterSiteRequest(site=site_to(m.Site(site, region))))
        return [(await self.add(name, site=site, labels=labels)).join_token for name in names]

    async def add(self, name: str, *, site: str = "north", labels: Any = ()) -> Any:
        """Registers one device."""
        device = m.Device(name, site, "", m.DeviceKind.FIXED_CAMERA, tuple(labels))
        request = fleet_service_pb2.RegisterDeviceRequest(device=device_to(device))
        with rpc.translated():
            return await self.fleet.RegisterDevice(request)

    async def ask(self, request: m.AnswerRequest) -> m.Answer:
        """The answer over gRPC."""
        message = answer_pb.AnswerServiceAnswerRequest(request=request_to(request))
        with rpc.translated():
            return answer_of((await self.answer.Answer(message)).answer)

    async def letters(self) -> list[Any]:
        """All dead letters."""
        async with self.memory.transaction() as connection:
            return list((await connection.execute(select(DEAD_LETTERS).order_by(DEAD_LETTERS.c.reason))).all())


class NoBus:
    """Stands in where a test has no hub: JetStream never answers."""

    async def ensure_stream(self, config: Any) -> None:
        raise Unreachable("no hub in this test")


@contextlib.asynccontextmanager
async def opened(database_url: str, tmp_path: Any, *, bus: Any = None, policy: Any = POLICY) -> AsyncIterator[Cloud]:
    """The cloud, served on a free port."""
    clock = Clock()
    keys = tmp_path / "keys"
    async with contextlib.AsyncExitStack() as stack:
        memory = await stack.enter_async_context(Memory.open(database_url, tables=TABLES))
        registry = Registry(memory, clock=clock)
        liveness = Liveness(registry, clock=clock)
        sources = Sources(bus or NoBus(), sites=registry.site_ids, online=liveness.online)
        ingest = Ingest(memory=memory, registry=registry, policy=policy, region="eu-west", clock=clock)
        reason = Reason(memory=memory, registry=registry, liveness=liveness, policy=policy, text=None)
        chosen = Settings(
            nats_url="nats://unused",
            database_url=database_url,
            region="eu-west",
            policy=tmp_path / "policy.yaml",
            keys_dir=keys,
            data_dir=tmp_path / "cloud",
        )
        address = await stack.enter_async_context(
            serving(
                chosen,
                fleet=FleetServicer(
                    registry=registry, liveness=liveness, sources=sources, memory=memory, policy=policy
                ),
                enrolment=EnrolmentServicer(Enrolment(registry, keys=keys)),
                answer=AnswerServicer(reason),
            )
        )
        assert (tmp_path / "cloud" / "address").read_text() == address
        channel = await stack.enter_async_context(rpc.channel(address))
        stubs = fleet_grpc.FleetServiceStub, enrolment_grpc.EnrolmentServiceStub, answer_grpc.AnswerServiceStub
        yield Cloud(memory, registry, liveness, sources, ingest, *(stub(channel) for stub in stubs), clock)


@pytest.fixture
async def cloud(database_url: str, tmp_path: Any) -> AsyncIterator[Cloud]:
    """A cloud without a hub."""
    async with opened(database_url, tmp_path) as service:
        yield service


def event(number: int, *, device: str = "cam-1", site: str = "north", region: str = "eu-west", **other: Any) -> m.Event:
    """A person in view for four seconds."""
    start = NOW + 10 * number
    sighting = m.Sighting(start, "person", 0.9, Box(0.1, 0.1, 0.2, 0.5))
    track = m.Track(number, "person", 0.9, start, start + 4, (sighting, replace(sighting, time=start + 4)))
    fields: dict[str, Any] = {
        "labels": (m.LabelScore("person", 0.9),),
        "tracks": (track,),
        "device_labels": (),
        "revision": 1,
    }
    return m.Event(
        event_id=f"{site}-{device}-{number}",
        device_id=device,
        site_id=site,
        region=region,
        trigger=m.TriggerKind.OBJECT,
        start=start,
        end=start + 4,
        open=False,
        score=0.9,
        **{**fields, **other},
    )


def wire(found: m.Event) -> bytes:
    """The event as it travels."""
    return event_to(found).SerializeToString()


async def take(cloud: Cloud, found: m.Event, *, site: str = "") -> None:
    """What the cloud does with an event that came out of a site, its own unless another one is named."""
    await cloud.ingest.take(wire(found), subjects.out_event(site or found.site_id))


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 20.0) -> float:
    """Polls until it holds; how long that took. Fails the test when it never does."""
    start = time.monotonic()
    while not await true():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


# Registry and FleetService


async def test_registering_twice_gives_the_same_answer(cloud: Cloud):
    site = fleet_service_pb2.RegisterSiteRequest(site=site_to(m.Site("north", "eu-west")))
    assert site_of((await cloud.fleet.RegisterSite(site)).site) == m.Site("north", "eu-west")
    assert site_of((await cloud.fleet.RegisterSite(site)).site) == m.Site("north", "eu-west")
    first, second = await cloud.add("cam-1", labels=["shop"]), await cloud.add("cam-1", labels=["shop"])
    expected = m.Device("cam-1", "north", "eu-west", m.DeviceKind.FIXED_CAMERA, ("shop",))
    assert device_of(first.device) == device_of(second.device) == expected
    assert first.join_token != second.join_token
    assert first.expire_time.seconds == NOW + TOKEN_SECONDS


async def test_a_site_keeps_its_region_and_a_device_its_site(cloud: Cloud):
    await cloud.register("cam-1")
    await cloud.register(site="south", region="us-ca")
    with pytest.raises(AlreadyExists, match="north is registered in eu-west"), rpc.translated():
        await cloud.fleet.RegisterSite(fleet_service_pb2.RegisterSiteRequest(site=site_to(m.Site("north", "us-ca"))))
    with pytest.raises(AlreadyExists, match="cam-1 is registered at the site north"):
        await cloud.add("cam-1", site="south", labels=["stolen"])
    assert (await cloud.registry.device("cam-1")).labels == ()


async def test_unknown_names_are_answered_with_the_known_ones(cloud: Cloud):
    with pytest.raises(NotFound, match="No site is called east; register a site first"):
        await cloud.add("cam-1", site="east")
    await cloud.register("cam-1")
    with pytest.raises(NotFound, match="known sites are north"):
        await cloud.add("cam-2", site="east")
    with pytest.raises(NotFound, match="known devices are cam-1"), rpc.translated():
        await cloud.fleet.GetDevice(fleet_service_pb2.GetDeviceRequest(device_id="cam-9"))
    with pytest.raises(NotFound, match="known sites are north"), rpc.translated():
        await cloud.fleet.ListDevices(fleet_service_pb2.ListDevicesRequest(site_id="east"))


@pytest.mark.parametrize("name", ["", "Has Space", "a.b", "*", ">", "x" * 33, "\x00"])
async def test_names_that_cannot_stand_in_a_subject_are_refused(cloud: Cloud, name: str):
    await cloud.register()
    with pytest.raises(InvalidInput):
        await cloud.add(name)
    with pytest.raises(InvalidInput):
        await cloud.add("cam-1", labels=[name])
    with pytest.raises(InvalidInput), rpc.translated():
        await cloud.fleet.RegisterSite(fleet_service_pb2.RegisterSiteRequest(site=site_to(m.Site(name, "eu-west"))))


async def test_two_callers_at_once_leave_one_token_that_works(cloud: Cloud):
    await cloud.register()
    tokens = [answer.join_token for answer in await asyncio.gather(*(cloud.add("cam-1") for _ in range(6)))]
    async with cloud.memory.transaction() as connection:
        stored = (await connection.execute(select(TOKENS))).all()
    assert len(stored) == 1
    assert not any(token in repr(stored) for token in tokens)


async def test_an_unset_kind_is_refused(cloud: Cloud):
    await cloud.register()
    with pytest.raises(InvalidInput), rpc.translated():
        await cloud.fleet.RegisterDevice(
            fleet_service_pb2.RegisterDeviceRequest(device=fleet_pb2.Device(device_id="cam-1", site_id="north"))
        )


async def test_heartbeats_make_devices_online_until_they_fall_silent(cloud: Cloud):
    await cloud.register("cam-1")
    beat = m.Presence("cam-1", "north", NOW - 3600, True, trouble="disk\x00 low\n", outbox_depth=2**40)
    for presence in (beat, m.Presence("", "north", NOW, False), m.Presence("invented", "north", NOW, True)):
        await cloud.liveness.hear(presence_to(presence).SerializeToString(), subjects.out_presence("north"))
    with pytest.raises(MalformedMessage, match="speaks for north"):
        await cloud.liveness.hear(presence_to(beat).SerializeToString(), subjects.out_presence("south"))
    await cloud.liveness.flush()
    await cloud.memory.upsert(event(1))

    async def seen() -> tuple[m.Device, m.Site]:
        device = await cloud.fleet.GetDevice(fleet_service_pb2.GetDeviceRequest(device_id="cam-1"))
        sites = await cloud.fleet.ListSites(fleet_service_pb2.ListSitesRequest())
        return device_of(device.device), site_of(sites.sites[0])

    device, site = await seen()
    assert (device.online, device.capturing, device.seen, device.events) == (True, True, NOW, 1)
    assert (device.trouble, device.outbox_depth) == ("disk low", 2**40)
    assert (site.online, site.seen) == (True, NOW)
    cloud.clock.now += 6.5
    device, site = await seen()
    assert (device.online, device.capturing, device.seen, site.online) == (False, False, NOW, False)
    # A restarted service has heard of nobody yet, but remembers when.
    assert Liveness(cloud.registry).of_device(await cloud.registry.device("cam-1"), events=0).seen == NOW


async def test_events_are_listed_newest_first_by_device_label_and_time(cloud: Cloud):
    await cloud.register("cam-1", "cam-2")
    for number in range(3):
        await cloud.memory.upsert(event(number))
    await cloud.memory.upsert(event(9, device="cam-2", labels=(m.LabelScore("car", 0.8),), tracks=()))

    async def listed(**request: Any) -> list[str]:
        answer = await cloud.fleet.ListEvents(fleet_service_pb2.ListEventsRequest(**request))
        return [event_of(found).event_id for found in answer.events]

    assert await listed() == ["north-cam-2-9", "north-cam-1-2", "north-cam-1-1", "north-cam-1-0"]
    assert await listed(device_id="cam-1", page_size=2) == ["north-cam-1-2", "north-cam-1-1"]
    assert await listed(label="car") == ["north-cam-2-9"]
    later = fleet_service_pb2.ListEventsRequest()
    later.start_time.FromSeconds(int(NOW + 20))
    assert await listed(start_time=later.start_time) == ["north-cam-2-9", "north-cam-1-2"]
    with pytest.raises(InvalidInput, match="page size"), rpc.translated():
        await listed(page_size=-1)
    with pytest.raises(NotFound), rpc.translated():
        await listed(device_id="cam-7")


async def test_the_policy_in_force_is_shown(cloud: Cloud):
    answer = await cloud.fleet.GetPolicy(fleet_service_pb2.GetPolicyRequest())
    assert answer.policy.revision == POLICY.revision
    assert [rule.name for rule in answer.policy.rules] == ["facts-travel", "private-stays"]


# EnrolmentService


async def enrol(cloud: Cloud, token: str, key: str) -> Any:
    with rpc.translated():
        return await cloud.enrolment.Enrol(enrolment_pb.EnrolRequest(join_token=token, public_key=key))


@pytest.fixture
def account(tmp_path: Any) -> identity.KeyPair:
    """The LOCAL account of the site `north`."""
    return identity.load_or_make_key(tmp_path / "keys" / "north.local.nk", Role.ACCOUNT)


async def test_a_token_lets_its_device_in_once(cloud: Cloud, account: identity.KeyPair):
    (token,) = await cloud.register("cam-1")
    key = identity.make_key(Role.USER).public
    answer = await enrol(cloud, token, key)
    claims = identity.verify(answer.user_jwt, issuer=account.public)
    assert (claims.subject, claims.name, answer.device_id) == (key, "cam-1", "cam-1")
    assert claims.nats["pub"]["allow"] == [subjects.event("north", "cam-1"), subjects.presence("north", "cam-1")]
    assert not answer.HasField("expire_time")
    # The first answer may be lost: the same key may ask again, another may not.
    assert identity.verify((await enrol(cloud, token, key)).user_jwt, issuer=account.public).subject == key
    with pytest.raises(NotPermitted):
        await enrol(cloud, token, identity.make_key(Role.USER).public)
    again = await cloud.add("cam-1")
    assert (again.join_token, again.device.enrolled, again.HasField("expire_time")) == ("", True, False)


async def test_bad_tokens_are_turned_down_in_the_same_words(cloud: Cloud, account: identity.KeyPair):
    (replaced,) = await cloud.register("cam-1")
    used = (await cloud.add("cam-1")).join_token
    key, other = identity.make_key(Role.USER).public, identity.make_key(Role.USER).public
    await enrol(cloud, used, key)
    (expired,) = await cloud.register("cam-2")
    cloud.clock.now += TOKEN_SECONDS
    refusals = set()
    for token in ("", "wrong", replaced, used, expired):
        with pytest.raises(NotPermitted) as refused:
            await enrol(cloud, token, other)
        refusals.add((refused.value.message, refused.value.reason, tuple(refused.value.metadata)))
    assert len(refusals) == 1


async def test_a_bad_key_or_a_missing_seed_leaves_the_token_unused(cloud: Cloud, tmp_path: Any):
    (token,) = await cloud.register("cam-1")
    key = identity.make_key(Role.USER)
    for bad in ("", key.public[:-1], key.seed, identity.make_key(Role.ACCOUNT).public, "é" * 56):
        with pytest.raises(InvalidInput):
            await enrol(cloud, token, bad)
    with pytest.raises(NotReady, match="north"):
        await enrol(cloud, token, key.public)
    identity.load_or_make_key(tmp_path / "keys" / "north.local.nk", Role.ACCOUNT)
    assert (await enrol(cloud, token, key.public)).device_id == "cam-1"


# Ingest


async def test_an_event_is_checked_against_the_registry_and_the_policy(cloud: Cloud):
    await cloud.register("cam-1")
    await cloud.register("cam-p", labels=["private"])
    vector = m.Embedding("conse@1", (0.6, 0.8))
    await take(cloud, event(1, embedding=vector))
    await take(cloud, event(1, embedding=vector))
    assert (await cloud.memory.get("north-cam-1-1")).embedding == m.Embedding("conse@1", pytest.approx((0.6, 0.8)))
    with pytest.raises(Refused, match="private-stays") as refused:
        await take(cloud, event(1, device="cam-p"))  # the label is only in the registry
    assert refused.value.metadata["rule"] == "private-stays"
    with pytest.raises(NotFound, match="cam-9"):
        await take(cloud, event(1, device="cam-9"))
    await cloud.register(site="south")
    with pytest.raises(NotFound, match="registered at north"):
        await take(cloud, event(1, site="south"))
    with pytest.raises(InvalidInput):
        await take(cloud, event(2, labels=(m.LabelScore("per\x00son", 0.5),)))
    with pytest.raises(MalformedMessage, match="speaks for north"):
        await take(cloud, event(3), site="south")
    assert await cloud.memory.counts() == {"cam-1": 1}


async def test_an_embedding_that_may_not_be_here_is_not_kept(cloud: Cloud):
    await cloud.register("cam-u", site="south", region="us-ca")
    far = event(1, device="cam-u", site="south", region="us-ca", embedding=m.Embedding("conse@1", (1.0,)))
    await take(cloud, far)
    kept = await cloud.memory.get(far.event_id)
    assert kept is not None
    assert kept.embedding is None


async def test_what_sites_let_out_is_ingested_once_through_restarts(database_url: str, site_nats: Any, tmp_path: Any):
    hub, edge = await site_nats.connect("cloud"), await site_nats.connect("edge.bridged")
    async with opened(database_url, tmp_path, bus=hub) as cloud, running(cloud, hub):
        await cloud.register("cam-1")
        await cloud.register("cam-p", labels=["private"])
        # The edge comes later than the site's registration: the hub alone would look again after 40 s.
        await asyncio.sleep(1.0)
        await edge.ensure_stream(
            StreamConfig(name=subjects.OUT_STREAM, subjects=[subjects.out_event("north")], storage=StorageType.FILE)
        )
        await send(edge, *(wire(event(number)) for number in range(5)))
        await send(edge, wire(event(7, device="cam-p")), b"no event at all")
        with beating(edge, cloud):
            took = await until(lambda: remembered(cloud, 5))
            print(f"first events after {took:.2f} s")  # noqa: T201  shown by pytest -s
            await until(lambda: buried(cloud, 2))
            refused, broken = sorted(await cloud.letters(), key=lambda letter: letter.reason != "REFUSED")
            assert (refused.payload, broken.payload) == (None, b"no event at all")
            assert "private-stays" in refused.message
            assert broken.reason == "MALFORMED_MESSAGE"

            words: asyncio.Queue[bytes] = asyncio.Queue()

            async def note(payload: bytes, _subject: str) -> None:
                await words.put(payload)

            await edge.listen(subjects.site_ingested("north"), note)
            await cloud.sources.trim()
            assert (await hub.jetstream.stream_info(subjects.INGEST_STREAM)).state.messages == 1
            # Told so, the site keeps what the cloud has no longer; another disk's numbers are not believed.
            word, trim = await asyncio.wait_for(words.get(), 5), Trim(local=edge, bridged=edge, site="north")
            await trim.ingested(word.split()[0] + b" another-id.1", subjects.site_ingested("north"))
            assert (await edge.jetstream.stream_info(subjects.OUT_STREAM)).state.messages == 7
            await trim.ingested(word, subjects.site_ingested("north"))
            assert (await edge.jetstream.stream_info(subjects.OUT_STREAM)).state.messages == 0
            site_nats.hub.kill()
            await send(edge, wire(event(5)), wire(replace(event(5), revision=2, score=0.5)))
            site_nats.hub.start()
            took = await until(lambda: remembered(cloud, 6), seconds=30)
            print(f"after a hub restart: {took:.2f} s")  # noqa: T201
            await until(lambda: is_revision(cloud, "north-cam-1-5", 2))
        assert await cloud.memory.counts() == {"cam-1": 6}
        state = (await hub.jetstream.stream_info(subjects.INGEST_STREAM)).state
        assert state.messages == 3, "the hub sourced again what it had"
        info = await hub.jetstream.stream_info(subjects.INGEST_STREAM)
        assert not info.config.subjects
        delays = []
        for number in range(20, 30):
            await send(edge, wire(event(number)))
            delays.append(await until(lambda: remembered(cloud, len(delays) + 7)))
        print(f"edge to cloud memory: max {max(delays) * 1000:.0f} ms")  # noqa: T201


@contextlib.asynccontextmanager
async def running(cloud: Cloud, bus: Any) -> AsyncIterator[None]:
    """The pipeline at work."""
    stop = asyncio.Event()
    work = asyncio.create_task(
        pipeline.run(bus=bus, liveness=cloud.liveness, sources=cloud.sources, ingest=cloud.ingest, stop=stop)
    )
    yield
    stop.set()
    await asyncio.wait_for(work, 10)


@contextlib.contextmanager
def beating(edge: Any, cloud: Cloud) -> Any:
    """The site's edge node sends its heartbeat, and time passes for the cloud."""

    async def beat() -> None:
        while True:
            with contextlib.suppress(Exception):
                cloud.clock.now = time.time()
                presence = m.Presence("", "north", time.time(), False)
                await edge.send(subjects.out_presence("north"), presence_to(presence).SerializeToString())
            await asyncio.sleep(0.5)

    task = asyncio.create_task(beat())
    yield
    task.cancel()


async def send(edge: Any, *payloads: bytes) -> None:
    for payload in payloads:
        await edge.store(subjects.out_event("north"), payload, message_id=str(hash(payload)))


async def remembered(cloud: Cloud, number: int) -> bool:
    return sum((await cloud.memory.counts()).values()) >= number


async def buried(cloud: Cloud, number: int) -> bool:
    return len(await cloud.letters()) >= number


async def is_revision(cloud: Cloud, event_id: str, revision: int) -> bool:
    found = await cloud.memory.get(event_id)
    return found is not None and found.revision == revision


# AnswerService


def question(
    *devices: str,
    task: m.Task = m.Task.PRESENCE,
    subject: str = "person",
    asker: m.Place | None = HERE,
    placement: m.Placement | None = None,
) -> m.AnswerRequest:
    """About the first minute after NOW."""
    understanding = m.Understanding(task, subject, (subject,), NOW - 5, NOW + 60, False, m.Pick.ANY, "")
    return m.AnswerRequest(
        question=m.Question("q1", "a person?", NOW + 60, asker=asker),
        understanding=understanding,
        placement=placement or m.Placement(m.Tier.CLOUD, "cloud", m.Representation.FACTS),
        device_ids=devices,
        devices_in_scope=len(devices),
        time_left_s=5.0,
    )


@pytest.fixture
async def two_sites(cloud: Cloud) -> Cloud:
    """cam-1 at north saw a person twice; fixed-1 at south (another region) once, a cat-lover saw a cat."""
    await cloud.register("cam-1")
    await cloud.register("fixed-1", site="south", region="us-ca")
    await cloud.register("cam-p", labels=["private"])
    for number, device, site, region in (
        (0, "cam-1", "north", "eu-west"),
        (1, "cam-1", "north", "eu-west"),
        (3, "fixed-1", "south", "us-ca"),
    ):
        await cloud.memory.upsert(event(number, device=device, site=site, region=region))
    cloud.clock.now = NOW + 59
    for site in ("north", "south"):
        await cloud.liveness.hear(
            presence_to(m.Presence("", site, NOW, False)).SerializeToString(), subjects.out_presence(site)
        )
    return cloud


async def test_answers_come_from_all_sites_and_name_them(two_sites: Cloud):
    answer = await two_sites.ask(question("cam-1", "fixed-1"))
    assert (answer.outcome, answer.value) == (m.Outcome.ANSWERED, True)
    assert answer.confidence > 0.9
    assert {piece.device_id for piece in answer.evidence} == {"cam-1", "fixed-1"}
    alone = await two_sites.ask(question("fixed-1"))
    assert "person in view of fixed-1" in alone.text
    count = await two_sites.ask(question("cam-1", "fixed-1", task=m.Task.COUNT))
    assert count.value == 1
    none = await two_sites.ask(question("cam-1", "fixed-1", subject="car"))
    assert none.value is False
    assert "cam-1 at north, fixed-1 at south" in none.text


async def test_a_silent_site_makes_an_absence_unsure_but_not_a_sighting(two_sites: Cloud):
    sure = await two_sites.ask(question("cam-1", "fixed-1", subject="car"))
    two_sites.liveness._heard.pop(("south", ""))
    unsure = await two_sites.ask(question("cam-1", "fixed-1", subject="car"))
    assert unsure.confidence == pytest.approx(sure.confidence / 2)
    assert "south was heard of never" in unsure.reason
    assert (await two_sites.ask(question("cam-1", "fixed-1"))).confidence > 0.9


async def test_who_never_let_anything_out_is_not_covered(two_sites: Cloud):
    await two_sites.register("cam-quiet")
    both = await two_sites.ask(question("cam-1", "cam-quiet", subject="car"))
    one = await two_sites.ask(question("cam-1", subject="car"))
    assert both.confidence < one.confidence
    assert "cam-quiet" in both.reason
    assert (await two_sites.ask(question("cam-quiet"))).outcome is m.Outcome.CANNOT_TELL


async def test_the_policy_is_asked_again_for_where_the_asker_is(two_sites: Cloud):
    with pytest.raises(Refused, match="private-stays"):
        await two_sites.ask(question("cam-p"))
    mixed = await two_sites.ask(question("cam-1", "cam-p"))
    assert mixed.value is True
    assert "cam-p is left out by the rule private-stays" in mixed.reason


async def test_what_the_cloud_cannot_do_is_said(two_sites: Cloud):
    pixels = m.Placement(m.Tier.CLOUD, "cloud", m.Representation.FRAMES)
    with pytest.raises(NotSupported, match="FRAMES"):
        await two_sites.ask(question("cam-1", placement=pixels))
    with pytest.raises(NotSupported, match="edge north"):
        await two_sites.ask(question("cam-1", placement=m.Placement(m.Tier.EDGE, "north", m.Representation.FACTS)))
    with pytest.raises(NotFound, match="cam-9"):
        await two_sites.ask(question("cam-9"))
    described = await two_sites.ask(question("cam-1", task=m.Task.DESCRIBE))
    assert described.outcome is m.Outcome.CANNOT_TELL
