"""Real engines for the integration tests: PostgreSQL with pgvector, a NATS hub and a site's leaf server.

Everything listens on free loopback ports, lives under pytest's temporary folder and is ended by its process id.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foveate import bus
from foveate.bus import Bus
from foveate.cli import nats_servers, postgres
from foveate.cli.nats_servers import FleetKeys, Ports
from foveate.cli.postgres import Postgres


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], *, what: str, seconds: float = 30.0) -> None:
    """Polls until it holds; fails the test when it never does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


@dataclass
class Child:
    """A process that a test started and ends itself."""

    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd="/", start_new_session=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class PostgresServer:
    """A cluster of its own with the process that serves it."""

    cluster: Postgres
    child: Child

    def start(self) -> None:
        self.child.start()
        wait_until(lambda: postgres.accepts(self.cluster), what=f"PostgreSQL ({self.child.log})")

    def kill(self) -> None:
        """What `kill -9` does; afterwards its orphaned children are gone as well."""
        self.child.kill()
        postgres.end_leftovers(self.cluster.data)

    def database(self) -> str:
        """The URL of a new, empty database."""
        url = self.cluster.url(f"t{uuid.uuid4().hex[:12]}")
        postgres.create_database(url)
        return url


def _make_postgres(folder: Path) -> PostgresServer:
    cluster = postgres.at(postgres.find_postgres(), home=folder / "postgres", port=free_port())
    postgres.prepare(cluster)
    return PostgresServer(cluster, Child(cluster.command(), folder / "postgres.log"))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole session."""
    server = _make_postgres(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.child.stop(signal.SIGINT)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may kill."""
    server = _make_postgres(tmp_path)
    server.start()
    yield server
    server.child.stop(signal.SIGINT)


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> str:
    """An empty database."""
    return postgres_server.database()


@dataclass
class SiteNats:
    """A hub and the leaf server of one site, with everybody's credentials."""

    site: str
    keys: FleetKeys
    hub: Child
    leaf: Child
    hub_ports: Ports
    leaf_ports: Ports
    opened: list[Bus] = field(default_factory=list)

    def start(self) -> None:
        self.hub.start()
        self.leaf.start()
        wait_until(lambda: self._linked(), what=f"the leaf link ({self.leaf.log})")

    def _linked(self) -> bool:
        return b"Leafnode connection created" in self.leaf.log.read_bytes()

    async def connect(self, name: str) -> Bus:
        """A connection as `edge.local`, `edge.bridged` (at the leaf) or `cloud` and `router` (at the hub)."""
        at_hub = name in ("cloud", "router")
        credentials = self.keys.credentials(name if at_hub else f"{self.site}.{name}")
        url = (self.hub_ports if at_hub else self.leaf_ports).url
        opened = await bus.connect(url, credentials=credentials, name=name)
        self.opened.append(opened)
        return opened


@pytest.fixture
async def site_nats(tmp_path: Path) -> AsyncIterator[SiteNats]:
    """A running hub and leaf of the site `north`."""
    site, binary = "north", nats_servers.find_nats_server()
    keys = nats_servers.load_keys(tmp_path / "keys", sites=(site,))
    nats_servers.mint_credentials(keys)
    hub_ports, leaf_ports = Ports(free_port(), free_port()), Ports(free_port())
    hub = nats_servers.write_hub(keys, home=tmp_path / "hub", ports=hub_ports)
    leaf = nats_servers.write_leaf(
        keys,
        site,
        home=tmp_path / "leaf",
        ports=leaf_ports,
        hub=f"nats-leaf://127.0.0.1:{hub_ports.leaf}",
        credentials=keys.credentials(f"{site}.leaf"),
    )
    nats = SiteNats(
        site,
        keys,
        Child(nats_servers.command(binary, hub), tmp_path / "hub.log"),
        Child(nats_servers.command(binary, leaf), tmp_path / "leaf.log"),
        hub_ports,
        leaf_ports,
    )
    nats.start()
    yield nats
    for opened in nats.opened:
        await opened.close()
    nats.leaf.stop()
    nats.hub.stop()
