"""Where everything of a laptop fleet lies and listens: ports, addresses, URLs, credentials, databases.

In come a plan, a data directory, keys and settings; out go the places that children are told and users connect to.
Ports are free ones on the loopback interface, the same as last time when they still are. It starts nothing and
writes nothing but `ports.json`: `foveate.cli.children` is next.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from foveate import identity
from foveate.cli import postgres
from foveate.cli.fleet_plan import EngineSettings, FleetPlan
from foveate.cli.nats_servers import HOST, FleetKeys
from foveate.errors import NotReady

_RELEASE_SECONDS = 1.0
_RANGE = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan, where its data lies, its ports by listener and its keys."""

    plan: FleetPlan
    data: Path
    ports: Mapping[str, int]
    keys: FleetKeys
    settings: EngineSettings
    server: postgres.Postgres | None

    def address(self, name: str) -> str:
        """`host:port` of a listener."""
        return f"{HOST}:{self.ports[name]}"

    @property
    def hub_url(self) -> str:
        """Where cloud and router connect."""
        return self.settings.nats_hub_url or f"nats://{self.address('nats-hub')}"

    @property
    def hub_leaf_url(self) -> str:
        """Where the sites' servers dial in."""
        return self.settings.nats_hub_leaf_url or f"nats-leaf://{self.address('nats-hub-leaf')}"

    def hub_credentials(self, name: str) -> Path:
        """The `.creds` of `cloud`, `router` or `<site>.leaf` at the hub, embedded or external."""
        if self.settings.nats_hub_url and self.settings.nats_credentials:
            return self.settings.nats_credentials.absolute() / f"{name}.creds"
        return self.keys.credentials(name)

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        if self.server is None:
            return postgres.external_url(self.settings.database_url, name)
        return self.server.url(name)

    def databases(self) -> tuple[str, ...]:
        """One for the cloud and one for each site, which never share rows."""
        return ("cloud", *(database_of(site.name) for site in self.plan.sites))

    def endpoints(self) -> dict[str, str]:
        """What clients and tests may connect to, by name."""
        found = {name: self.address(name) for name in self.ports if name.startswith(("edge-", "router-"))}
        found |= {f"leaf-{site.name}": f"nats://{self.address(f'leaf-{site.name}')}" for site in self.plan.sites}
        found |= {f"database-{name}": self.database_url(name) for name in self.databases()}
        return found | {
            "router": self.address("router"),
            "cloud": self.address("cloud"),
            "nats-hub": self.hub_url,
        }


def database_of(site: str) -> str:
    """The database of a site's edge node; names of sites have dashes, names of databases should not."""
    return f"edge_{site.replace('-', '_')}"


def listeners(plan: FleetPlan, settings: EngineSettings) -> tuple[str, ...]:
    """The names of all listeners that the fleet needs a port for."""
    engines = () if settings.nats_hub_url else ("nats-hub", "nats-hub-leaf")
    database = () if settings.database_url else ("postgres",)
    sites = tuple(f"{kind}-{site.name}" for site in plan.sites for kind in ("leaf", "edge", "router"))
    return (*engines, *database, "cloud", "router", *sites)


def refuse_missing_credentials(place: Layout) -> None:
    """Raises NotReady when settings name an external hub without all that is needed to use it."""
    settings = place.settings
    if not settings.nats_hub_url:
        return
    if not settings.nats_hub_leaf_url or settings.nats_credentials is None:
        raise NotReady(
            "FOVEATE_UP_NATS_HUB_URL needs FOVEATE_UP_NATS_HUB_LEAF_URL and FOVEATE_UP_NATS_CREDENTIALS beside it; "
            "set both.",
            reason="SETTINGS",
        )
    for name in ("cloud", "router", *(f"{site.name}.leaf" for site in place.plan.sites)):
        path = place.hub_credentials(name)
        if not path.is_file():
            raise NotReady(f"The hub's credentials {path} are missing; put them there.", reason="SETTINGS")


def choose_ports(names: Iterable[str], *, memory: Path, fixed: Mapping[str, int]) -> dict[str, int]:
    """A free loopback port for each name, the one of last time when it is still free; remembered in `memory`. Blocks.

    A port in `fixed` was asked for: NotReady when another program listens there.
    """
    before: dict[str, int] = {}
    with suppress(OSError, ValueError):
        before = {str(name): int(port) for name, port in json.loads(memory.read_text(encoding="utf-8")).items()}
    chosen: dict[str, int] = {}
    # A process that was just killed holds its ports until the last of its threads has ended.
    deadline = time.monotonic() + _RELEASE_SECONDS
    with ExitStack() as held:
        for name in names:
            wanted = fixed.get(name, 0) or before.get(name, 0)
            while (holder := _bound(wanted)) is None and wanted and time.monotonic() < deadline:
                time.sleep(0.02)
            if holder is None and fixed.get(name):
                raise NotReady(
                    f"Port {wanted} on {HOST}, meant for {name}, is used by another program; stop that program or "
                    "choose another port.",
                    reason="PORT_IN_USE",
                    port=str(wanted),
                )
            holder = holder or _any_free()
            held.enter_context(closing(holder))
            chosen[name] = holder.getsockname()[1]
    identity.write_secret(memory, json.dumps(before | chosen, indent=1) + "\n")
    return chosen


def _any_free() -> socket.socket:
    # Below the range from which systems give outgoing connections their ports, which could take ours meanwhile.
    for port in random.sample(_RANGE, k=64):
        if (holder := _bound(port)) is not None:
            return holder
    raise NotReady("No free port was found on this machine; stop some programs.", reason="PORT_IN_USE")


def _bound(port: int) -> socket.socket | None:
    if port == 0:
        return None
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, port))
        holder.listen()
    except OSError:
        holder.close()
        return None
    return holder
