"""The real engines of a laptop fleet: what the servers let through, what stays, and what outlives a kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import nats
import psutil
import psycopg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ExternalStream, StreamConfig, StreamSource

from foveate import bus, identity, subjects
from foveate.cli import children, fleet_plan, layout, local, nats_servers, postgres, run_state
from foveate.cli.fleet_plan import DevicePlan, FleetPlan, SitePlan
from foveate.cli.layout import Layout
from foveate.cli.local import RunningFleet
from foveate.cli.supervise import ChildSpec, Launch, StageEvent
from foveate.errors import AlreadyExists, NotReady, Unreachable
from foveate.identity import Permissions, Role
from tests.integration.barrier import all_sent

A, B = "north", "south"


def plan() -> FleetPlan:
    """Two sites in two regions; the cameras are never started here."""
    return FleetPlan(
        sites=(SitePlan(A, "eu-west"), SitePlan(B, "us-ca")),
        devices=(DevicePlan("body-1", A, "rtsp://localhost/1"), DevicePlan("door-1", B, "rtsp://localhost/2")),
        cloud_region="us-ca",
    )


async def start(data: Path, events: list[StageEvent] | None = None) -> RunningFleet:
    progress = (lambda _: None) if events is None else events.append
    return await local.up(plan(), data_dir=data, progress=progress, specs=children.engines)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[RunningFleet]:
    running = await start(tmp_path)
    yield running
    await running.stop()


class Clients:
    """Connections that end with the test, and what the servers said against them."""

    def __init__(self, fleet: RunningFleet, data: Path) -> None:
        self.fleet, self.keys = fleet, nats_servers.load_keys(data / "keys", sites=(A, B))
        self.data, self.open, self.refusals = data, list[Client](), list[str]()

    async def as_named(self, endpoint: str, name: str) -> Client:
        return await self._connect(endpoint, self.keys.credentials(name), "_INBOX")

    async def as_device(self, site: str, device: str) -> Client:
        permissions = identity.device_permissions(site, device)
        path = self._sign(self.keys.sites[site].local, device, permissions)
        return await self._connect(f"leaf-{site}", path, subjects.device_inbox(device))

    async def as_thief(self, site: str) -> Client:
        """Somebody who owns the site's machine: every right in the bridged account that its server can give."""
        all_rights = Permissions(publish_allow=(">",), subscribe_allow=(">",))
        path = self._sign(self.keys.sites[site].bridged, "thief", all_rights)
        return await self._connect(f"leaf-{site}", path, "_INBOX")

    def _sign(self, account: identity.KeyPair, name: str, permissions: Permissions) -> Path:
        user = identity.make_key(Role.USER)
        jwt = identity.user_jwt(account, user=user.public, name=name, permissions=permissions)
        path = self.data / f"{name}.creds"
        identity.write_secret(path, identity.credentials_file(jwt, user.seed))
        return path

    async def _connect(self, endpoint: str, credentials: Path, inbox: str) -> Client:
        async def note(error: Exception) -> None:
            self.refusals.append(str(error).lower())

        client = await nats.connect(
            self.fleet.endpoints[endpoint],
            user_credentials=str(credentials),
            inbox_prefix=inbox.encode(),
            error_cb=note,
        )
        self.open.append(client)
        return client


@pytest.fixture
async def clients(fleet: RunningFleet, tmp_path: Path) -> AsyncIterator[Clients]:
    made = Clients(fleet, tmp_path)
    yield made
    for client in made.open:
        await client.close()


async def until(true: Callable[[], object], *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def messages(client: Client, stream: str) -> int:
    return (await client.jetstream().stream_info(stream)).state.messages


async def grows_to(client: Client, stream: str, count: int, *, seconds: float = 60.0) -> int:
    deadline = time.monotonic() + seconds
    while (found := await messages(client, stream)) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return found


async def ingest(hub: Client, *sites: str) -> None:
    sources = [
        StreamSource(
            name=subjects.OUT_STREAM,
            external=ExternalStream(api=f"$JS.{subjects.domain(site)}.API"),
        )
        for site in sites
    ]
    await hub.jetstream().add_stream(StreamConfig(name=subjects.INGEST_STREAM, sources=sources))


async def outlet(edge: Client, site: str) -> None:
    await edge.jetstream().add_stream(StreamConfig(name=subjects.OUT_STREAM, subjects=[subjects.out_all(site)]))


async def test_engines_are_healthy_soon_on_the_loopback_interface_only(fleet: RunningFleet, tmp_path: Path) -> None:
    assert fleet.state.state == "healthy"
    assert fleet.state.seconds < 30
    names = {child.name for child in fleet.state.children}
    assert names == {"nats-hub", f"leaf-{A}", f"leaf-{B}", "postgres"}
    for child in fleet.state.children:
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(child.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) == {"127.0.0.1"}
    secrets = [*(tmp_path / "keys").rglob("*.*"), *(tmp_path / "nats").rglob("nats.conf"), tmp_path / "run.json"]
    assert len(secrets) > 10
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


async def test_the_hub_sources_what_a_site_lets_out_and_nothing_else(clients: Clients) -> None:
    hub = await clients.as_named("nats-hub", "cloud")
    bridged = await clients.as_named(f"leaf-{A}", f"{A}.edge.bridged")
    inside = await clients.as_named(f"leaf-{A}", f"{A}.edge.local")
    await outlet(bridged, A)
    await inside.jetstream().add_stream(StreamConfig(name=subjects.EVENTS_STREAM, subjects=[subjects.events(A)]))
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await hub.subscribe("fv.v1.>", cb=hear)
    await all_sent(hub)
    device = await clients.as_device(A, "body-1")
    for number in range(5):
        await bridged.jetstream().publish(subjects.out_event(A), b"%d" % number)
        await device.jetstream().publish(subjects.event(A, "body-1"), b"%d" % number)
    await ingest(hub, A)
    assert await grows_to(hub, subjects.INGEST_STREAM, 5) == 5
    # The attempt to steal: source the LOCAL account's stream through the site's own JetStream domain.
    theft = StreamSource(name=subjects.EVENTS_STREAM, external=ExternalStream(api=f"$JS.{subjects.domain(A)}.API"))
    await hub.jetstream().add_stream(StreamConfig(name="THEFT", sources=[theft]))
    await asyncio.sleep(3.0)
    assert await messages(hub, "THEFT") == 0
    assert await messages(hub, subjects.INGEST_STREAM) == 5
    assert await messages(inside, subjects.EVENTS_STREAM) == 5
    assert heard == []


async def test_a_request_reaches_the_edge_of_its_site_only(clients: Clients) -> None:
    router = await clients.as_named("nats-hub", "router")
    edge = await clients.as_named(f"leaf-{A}", f"{A}.edge.bridged")

    async def answer(message: Msg) -> None:
        await message.respond(b"one person")

    await edge.subscribe(subjects.site_ask(A), cb=answer)
    await all_sent(edge)
    reply = None
    for _ in range(100):  # the interest travels to the hub in its own time
        try:
            reply = await router.request(subjects.site_ask(A), b"how many?", timeout=5.0)
            break
        except NoRespondersError:
            await asyncio.sleep(0.05)
    assert reply is not None
    assert reply.data == b"one person"
    with pytest.raises((NoRespondersError, NatsTimeout)):
        await router.request(subjects.site_ask(B), b"how many?", timeout=0.5)


async def test_a_site_neither_hears_nor_speaks_as_another(clients: Clients) -> None:
    hub = await clients.as_named("nats-hub", "cloud")
    for site in (A, B):
        await outlet(await clients.as_named(f"leaf-{site}", f"{site}.edge.bridged"), site)
    await ingest(hub, A, B)
    thief = await clients.as_thief(A)
    stolen: list[bytes] = []

    async def hear(message: Msg) -> None:
        stolen.append(message.data)

    for subject in (">", "fv.v1.>", f"fv.v1.site.{B}.>", f"fv.v1.out.{B}.>", "_INBOX.>", f"$JS.site-{B}.API.>"):
        await thief.subscribe(subject, cb=hear)
    await all_sent(thief)
    south = await clients.as_named(f"leaf-{B}", f"{B}.edge.bridged")
    asked: list[bytes] = []

    async def answer(message: Msg) -> None:
        asked.append(message.data)
        await message.respond(b"secret answer")

    await south.subscribe(subjects.site_ask(B), cb=answer)
    await all_sent(south)
    await asyncio.sleep(0.3)
    await south.jetstream().publish(subjects.out_event(B), b"secret event")
    assert await grows_to(hub, subjects.INGEST_STREAM, 1) == 1
    assert (await hub.request(subjects.site_ask(B), b"secret question", timeout=5.0)).data == b"secret answer"
    await thief.publish(subjects.out_event(B), b"forged")
    await thief.publish(subjects.site_ask(B), b"forged")
    await all_sent(thief)
    with pytest.raises((NoRespondersError, NatsTimeout)):
        await thief.request(f"$JS.site-{B}.API.STREAM.INFO.{subjects.OUT_STREAM}", b"", timeout=0.5)
    with pytest.raises((NoRespondersError, NatsTimeout)):
        await thief.request(f"$JS.hub.API.STREAM.INFO.{subjects.INGEST_STREAM}", b"", timeout=0.5)
    await asyncio.sleep(0.5)
    assert not [data for data in stolen if b"secret" in data]
    assert asked == [b"secret question"]
    assert await messages(hub, subjects.INGEST_STREAM) == 1


async def test_a_device_speaks_only_of_itself(clients: Clients) -> None:
    edge = await clients.as_named(f"leaf-{A}", f"{A}.edge.local")
    await edge.jetstream().add_stream(StreamConfig(name=subjects.EVENTS_STREAM, subjects=[subjects.events(A)]))
    device = await clients.as_device(A, "body-1")
    assert (await device.jetstream().publish(subjects.event(A, "body-1"), b"mine")).seq == 1

    async def answer(message: Msg) -> None:
        await message.respond(b"here")

    await device.subscribe(subjects.device_ask(A, "body-1"), cb=answer)
    await all_sent(device)
    assert (await edge.request(subjects.device_ask(A, "body-1"), b"?", timeout=5.0)).data == b"here"
    assert clients.refusals == []
    for subject in (subjects.event(A, "body-2"), subjects.device_ask(A, "body-1"), "$JS.API.STREAM.NAMES", "other"):
        await device.publish(subject, b"forged")
    for subject in (subjects.device_ask(A, "body-2"), "fv.v1.event.>", "_INBOX.>", "_INBOX_body-2.>", ">"):
        await device.subscribe(subject)
    await all_sent(device)
    await until(lambda: len(clients.refusals) >= 9)
    assert all("permissions violation" in refusal for refusal in clients.refusals)
    assert await messages(edge, subjects.EVENTS_STREAM) == 1


async def test_a_credential_of_another_account_or_past_its_date_is_turned_down(
    clients: Clients, tmp_path: Path
) -> None:
    stranger = identity.make_key(Role.ACCOUNT)
    user = identity.make_key(Role.USER)
    rights = identity.device_permissions(A, "body-1")
    old = identity.user_jwt(
        clients.keys.sites[A].local, user=user.public, name="old", permissions=rights, expires=time.time() - 60
    )
    foreign = identity.user_jwt(stranger, user=user.public, name="foreign", permissions=rights)
    path = tmp_path / "tried.creds"
    for jwt in (old, foreign):
        identity.write_secret(path, identity.credentials_file(jwt, user.seed))
        with pytest.raises((NotReady, Unreachable)):
            await bus.connect(clients.fleet.endpoints[f"leaf-{A}"], credentials=path, name="stranger", wait=1.0)
    good = identity.user_jwt(clients.keys.sites[A].local, user=user.public, name="good", permissions=rights)
    identity.write_secret(path, identity.credentials_file(good, user.seed))
    welcome = await bus.connect(clients.fleet.endpoints[f"leaf-{A}"], credentials=path, name="good", wait=5.0)
    await welcome.close()


FLEET = """
import asyncio, sys
from pathlib import Path
from foveate.cli import children, fleet_plan, local
plan = fleet_plan.load(Path(sys.argv[2]))
asyncio.run(local.serve(plan, data_dir=Path(sys.argv[1]), progress=lambda _: None,
                        on_up=lambda fleet: print("up", flush=True), specs=children.engines))
"""


@contextlib.contextmanager
def fleet_in_a_process(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A fleet of engines whose supervisor is another process; at the end nothing of it is left."""
    fleet_plan.save(plan(), data / "given.json")
    root = str(Path(local.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", FLEET, str(data), str(data / "given.json")],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        run_state.end_orphans(run_state.read(data / "run.json"))


async def bridged_edge(fleet: RunningFleet | run_state.RunState, data: Path) -> Client:
    path = data / "keys" / f"{A}.edge.bridged.creds"
    return await nats.connect(fleet.endpoints[f"leaf-{A}"], user_credentials=str(path))


@pytest.mark.parametrize("victims", ["supervisor", "all"])
async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, victims: str) -> None:
    with fleet_in_a_process(tmp_path) as process:
        first = local.status(tmp_path)
        assert first is not None
        url = first.endpoints[f"database-edge_{A}"].replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("create table memory (id int primary key, place vector(3))")
            connection.execute("insert into memory values (1, '[1,2,3]')")
            assert connection.execute("show fsync").fetchone() == ("on",)
        edge = await bridged_edge(first, tmp_path)
        await outlet(edge, A)
        await edge.jetstream().publish(subjects.out_event(A), b"kept")
        await edge.close()
        process.kill()
        process.wait()
        if victims == "all":  # as after a power cut: nobody drains, and postmaster.pid stays behind
            for child in first.children:
                os.kill(child.pid, signal.SIGKILL)
        killed = local.status(tmp_path)
        assert killed is not None
        assert killed.state == "stopped"
        assert "foveate up" in killed.trouble
        second = await start(tmp_path)
        try:
            assert second.state.state == "healthy"
            assert not [child for child in first.children if run_state.is_same(child.pid, child.create_time)]
            assert second.endpoints == first.endpoints
            with psycopg.connect(url) as connection:
                nearest = connection.execute("select id from memory order by place <-> '[1,2,2]' limit 1")
                assert nearest.fetchone() == (1,)
            edge = await bridged_edge(second, tmp_path)
            assert await messages(edge, subjects.OUT_STREAM) == 1
            await edge.close()
        finally:
            await second.stop()
        assert not [child for child in second.state.children if run_state.is_same(child.pid, child.create_time)]
        assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("name", [f"leaf-{B}", "nats-hub", "postgres"])
async def test_a_second_up_waits_for_what_was_killed_and_down_drains(tmp_path: Path, name: str) -> None:
    with fleet_in_a_process(tmp_path) as process:
        first = local.status(tmp_path)
        assert first is not None
        again = await start(tmp_path)
        assert again.already_up
        victim = next(child for child in first.children if child.name == name)
        os.kill(victim.pid, signal.SIGKILL)
        while run_state.is_same(victim.pid, victim.create_time):
            await asyncio.sleep(0.01)
        again = await start(tmp_path)
        assert again.state.state == "healthy"
        assert next(child for child in again.state.children if child.name == name).pid != victim.pid
        with psycopg.connect(again.endpoints["database-cloud"].replace("+psycopg", "")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert await local.down(tmp_path)
        assert process.wait(20) == 0
        assert not [child for child in again.state.children if run_state.is_same(child.pid, child.create_time)]
        assert not await local.down(tmp_path)


async def test_a_postmaster_file_that_names_a_stranger_is_cleared(tmp_path: Path) -> None:
    server = postgres.at(postgres.find_postgres(), home=tmp_path / "postgres", port=1)
    postgres.prepare(server)
    lock = server.data / "postmaster.pid"
    lock.write_text(f"{os.getppid()}\n{server.data}\n", encoding="ascii")
    postgres.prepare(server)
    assert not lock.exists()
    assert psutil.pid_exists(os.getppid())


async def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    server = postgres.at(postgres.find_postgres(), home=tmp_path / "postgres", port=1)
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("9.6\n", encoding="ascii")
    with pytest.raises(NotReady, match=r"was made by PostgreSQL 9\.6"):
        postgres.prepare(server)


async def test_a_second_up_finds_the_first(fleet: RunningFleet, tmp_path: Path) -> None:
    again = await start(tmp_path)
    assert again.already_up
    assert again.endpoints == fleet.endpoints
    await again.stop()
    assert all(run_state.is_same(child.pid, child.create_time) for child in fleet.state.children)
    other = FleetPlan(sites=(SitePlan(A),), devices=(DevicePlan("x", A, "rtsp://localhost/1"),))
    with pytest.raises(AlreadyExists, match="run `foveate down` first"):
        await local.up(other, data_dir=tmp_path, progress=lambda _: None, specs=children.engines)


async def test_ports_stay_the_same_while_they_are_free(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = layout.choose_ports(("a", "b"), memory=memory, fixed={})
    assert len(set(first.values())) == 2
    assert layout.choose_ports(("a", "b"), memory=memory, fixed={}) == first
    with socket.create_server(("127.0.0.1", first["a"])):
        second = layout.choose_ports(("a", "b"), memory=memory, fixed={})
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]
    memory.write_text("{", encoding="utf-8")
    assert set(layout.choose_ports(("a",), memory=memory, fixed={})) == {"a"}


async def test_a_port_that_was_asked_for_and_is_taken_gets_one_sentence(
    fleet: RunningFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fleet.endpoints["nats-hub"].rpartition(":")[2]
    monkeypatch.setenv("FOVEATE_UP_ROUTER_PORT", taken)
    with pytest.raises(NotReady, match=f"Port {taken} on 127.0.0.1, meant for router, is used by another program"):
        await start(tmp_path / "other")


async def test_a_fleet_in_the_background_hands_its_error_back(
    fleet: RunningFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fleet.endpoints["nats-hub"].rpartition(":")[2]
    monkeypatch.setenv("FOVEATE_UP_ROUTER_PORT", taken)
    with pytest.raises(NotReady, match=f"Port {taken} on 127.0.0.1, meant for router"):
        await local.detach(plan(), data_dir=tmp_path / "other", progress=lambda _: None)
    state = local.status(tmp_path / "other")
    assert state is not None
    assert state.state == "failed"
    assert state.error == "NotReady"
    assert not await local.down(tmp_path / "other")


async def test_a_second_up_revives_what_was_given_up(tmp_path: Path) -> None:
    repaired = tmp_path / "repaired"
    program = f"import pathlib, sys, time\npathlib.Path({str(repaired)!r}).exists() or sys.exit(2)\ntime.sleep(600)"

    async def launch() -> Launch:
        return Launch((sys.executable, "-I", "-S", "-c", program))

    async def ready() -> bool:
        return repaired.exists()

    def camera(_: Layout) -> list[ChildSpec]:
        return [ChildSpec(name="camera", launch=launch, ready=ready, essential=False)]

    async def start_camera() -> RunningFleet:
        return await local.up(plan(), data_dir=tmp_path / "data", progress=lambda _: None, specs=camera)

    first = await start_camera()
    try:
        assert first.state.state == "degraded"
        assert "camera ended with exit code 2" in first.state.children[0].trouble
        repaired.touch()
        again = await start_camera()
        assert again.already_up
        assert again.state.state == "healthy"
    finally:
        await first.stop()


async def test_a_directory_without_a_fleet_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="foveate up --video PATH"):
        await local.up(None, data_dir=tmp_path, progress=lambda _: None, specs=children.engines)
    assert local.status(tmp_path) is None
    assert not await local.down(tmp_path)


async def test_an_external_hub_and_database_replace_the_embedded_ones(
    fleet: RunningFleet, clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = nats_servers.load_keys(tmp_path / "keys", sites=(A, B, "west"))
    nats_servers.mint_credentials(keys)
    hub_leaf = next(child for child in fleet.state.children if child.name == "nats-hub").ports["leaf"]
    prefix = fleet.endpoints["database-cloud"].replace("+psycopg", "").replace("/cloud", "/mine_")
    monkeypatch.setenv("FOVEATE_UP_NATS_HUB_URL", fleet.endpoints["nats-hub"])
    monkeypatch.setenv("FOVEATE_UP_DATABASE_URL", prefix)
    west = FleetPlan(sites=(SitePlan("west"),), devices=(DevicePlan("cam-1", "west", "rtsp://localhost/1"),))

    async def start_west() -> RunningFleet:
        return await local.up(west, data_dir=tmp_path / "west", progress=lambda _: None, specs=children.engines)

    with pytest.raises(NotReady, match="NATS_HUB_LEAF_URL"):
        await start_west()
    monkeypatch.setenv("FOVEATE_UP_NATS_HUB_LEAF_URL", f"nats-leaf://127.0.0.1:{hub_leaf}")
    monkeypatch.setenv("FOVEATE_UP_NATS_CREDENTIALS", str(tmp_path / "keys"))
    running = await start_west()
    try:
        assert [child.name for child in running.state.children] == ["leaf-west"]
        assert running.endpoints["nats-hub"] == fleet.endpoints["nats-hub"]
        with psycopg.connect(running.endpoints["database-edge_west"].replace("+psycopg", "")) as connection:
            assert connection.execute("select '[1]'::vector(1)").fetchone() == ("[1]",)
            assert connection.info.dbname == "mine_edge_west"
        edge = await nats.connect(
            running.endpoints["leaf-west"],
            user_credentials=str(tmp_path / "west" / "keys" / "west.edge.bridged.creds"),
        )
        clients.open.append(edge)
        await outlet(edge, "west")
        await edge.jetstream().publish(subjects.out_event("west"), b"1")
        hub = await clients.as_named("nats-hub", "cloud")
        await ingest(hub, "west")
        assert await grows_to(hub, subjects.INGEST_STREAM, 1) == 1
    finally:
        await running.stop()
