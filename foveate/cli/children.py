"""The children of a laptop fleet, written down as specs: engines first, then the four apps.

In comes the layout of the fleet; out go `ChildSpec`s with their gates, environments and ports. Apps are started
as `python -m APP`, are configured by their environment alone, and devices are registered so that they can join.
It runs nothing: `foveate.cli.supervise` does, and `foveate.cli.local` calls both.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import yaml

from foveate import identity, rpc
from foveate.cli import nats_servers, postgres
from foveate.cli.fleet_plan import DevicePlan, SitePlan
from foveate.cli.health import grpc_serves as grpc_serves
from foveate.cli.layout import Layout, database_of
from foveate.cli.nats_servers import Ports
from foveate.cli.supervise import ChildSpec, Launch
from foveate.errors import FoveateError, NotReady
from foveate.messages import Device, Site
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from foveate.wire.fleet import device_to, site_to

_LOCAL_POLICY = Path(__file__).with_name("local_policy.yaml")
_ROUTER_LOOKS_S = 1.2  # the router asks the cloud for the fleet every second
_HEARTBEAT_S = 8.0  # a heartbeat takes at most two turns of two seconds to the cloud
_ROOT = Path(__file__).resolve().parents[2]


def engines(layout: Layout) -> list[ChildSpec]:
    """PostgreSQL, the hub and one leaf server per site; what settings name elsewhere is left out."""
    specs = [_leaf(layout, site) for site in layout.plan.sites]
    if not layout.settings.nats_hub_url:
        specs.append(_hub(layout))
    if layout.server is not None:
        specs.append(_database(layout, layout.server))
    return specs


def apps(layout: Layout) -> list[ChildSpec]:
    """The cloud service, the router, an edge node and a router of its own per site, and an agent per device."""
    hub = () if layout.settings.nats_hub_url else ("nats-hub",)
    database = () if layout.server is None else ("postgres",)
    cloud, router = _cloud_env(layout), _router_env(layout)
    specs = [
        _service("cloud", "cloud_service", layout, env=cloud, listener="cloud", after=hub + database),
        _service("router", "router", layout, env=router, listener="router", after=hub),
    ]
    for site in layout.plan.sites:
        name, after = f"edge-{site.name}", (f"leaf-{site.name}", *database)
        env = _edge_env(layout, site)
        specs.append(_service(name, "edge_node", layout, env=env, listener=name, after=after))
        own, env = f"router-{site.name}", _site_router_env(layout, site)
        specs.append(_service(own, "router", layout, env=env, listener=own, after=(name,)))
    return specs + [_device(layout, device) for device in layout.plan.devices]


async def register(layout: Layout, device: DevicePlan) -> str:
    """Make the site and the device known to the cloud; returns the token with which the device joins, once."""
    region = layout.plan.region_of(device.site)
    site = Site(site_id=device.site, region=region)
    known = Device(device_id=device.id, site_id=device.site, region=region, kind=device.kind, labels=device.labels)
    async with rpc.channel(layout.address("cloud")) as channel:
        with rpc.translated():
            fleet = FleetServiceStub(channel)
            await fleet.RegisterSite(fleet_pb.RegisterSiteRequest(site=site_to(site)), timeout=10.0)
            answer = await fleet.RegisterDevice(fleet_pb.RegisterDeviceRequest(device=device_to(known)), timeout=10.0)
    if not answer.join_token:
        raise NotReady(
            f"{device.id} has joined before, but its credentials are gone from {layout.data}; give it another id.",
            reason="CREDENTIALS_LOST",
            device=device.id,
        )
    return str(answer.join_token)


def configuration(device: DevicePlan, home: Path) -> dict[str, str]:
    """The variable that names a device's configuration; what the plan says in place is written to `home` first."""
    path = home / "device.yaml"
    if isinstance(device.config, Mapping):
        identity.write_secret(path, yaml.safe_dump(dict(device.config), allow_unicode=True, sort_keys=False))
    elif device.config is not None:
        path = device.config
    return {} if device.config is None else {"FOVEATE_DEVICE_CONFIG": str(path)}


def _hub(layout: Layout) -> ChildSpec:
    ports = Ports(client=layout.ports["nats-hub"], leaf=layout.ports["nats-hub-leaf"])
    home = layout.data / "nats" / "hub"

    async def launch() -> Launch:
        configuration = nats_servers.write_hub(layout.keys, home=home, ports=ports)
        return Launch(nats_servers.command(nats_servers.find_nats_server(), configuration))

    return ChildSpec(
        name="nats-hub",
        launch=launch,
        ready=lambda: nats_servers.serves(ports),
        ports={"client": ports.client, "leaf": ports.leaf},
    )


def _leaf(layout: Layout, site: SitePlan) -> ChildSpec:
    ports = Ports(client=layout.ports[f"leaf-{site.name}"])
    home = layout.data / "nats" / f"site-{site.name}"

    async def launch() -> Launch:
        configuration = nats_servers.write_leaf(
            layout.keys,
            site.name,
            home=home,
            ports=ports,
            hub=layout.hub_leaf_url,
            credentials=layout.hub_credentials(f"{site.name}.leaf"),
        )
        return Launch(nats_servers.command(nats_servers.find_nats_server(), configuration))

    return ChildSpec(
        name=f"leaf-{site.name}",
        launch=launch,
        ready=lambda: nats_servers.serves(ports),
        # A link that is there from the first dial spares the hub its 40 s wait before it sources again.
        after=() if layout.settings.nats_hub_url else ("nats-hub",),
        ports={"client": ports.client},
    )


def _database(layout: Layout, server: postgres.Postgres) -> ChildSpec:
    async def launch() -> Launch:
        await asyncio.to_thread(postgres.prepare, server)
        return Launch(server.command())

    def look() -> bool:
        if not postgres.accepts(server):
            return False
        for name in layout.databases():
            postgres.create_database(server.url(name))
        return True

    return ChildSpec(
        name="postgres",
        launch=launch,
        ready=lambda: asyncio.to_thread(look),
        ports={"client": server.port},
        stop_signal=postgres.FAST_SHUTDOWN,
    )


def _service(
    name: str, module: str, layout: Layout, *, env: Mapping[str, str], listener: str, after: tuple[str, ...]
) -> ChildSpec:
    address = layout.address(listener)
    return ChildSpec(
        name=name,
        launch=_launcher(module, env),
        ready=lambda: grpc_serves(address),
        after=after,
        ports={"grpc": layout.ports[listener]},
        timeout=layout.settings.start_seconds,
    )


def _device(layout: Layout, device: DevicePlan) -> ChildSpec:
    home = layout.data / "devices" / device.id
    ready = home / "ready.json"
    joined = (home / "device.creds").exists()

    async def launch() -> Launch:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        ready.unlink(missing_ok=True)
        seen.clear()
        env = _device_env(layout, device, home) | configuration(device, home)
        # One of the two is there once a token was traded, or is being traded.
        if not any((home / name).exists() for name in ("device.creds", "device.join")):
            env["FOVEATE_DEVICE_JOIN_TOKEN"] = await register(layout, device)
        return await _launcher("device_agent", env)()

    seen: list[float] = []

    async def look() -> bool:
        if not ready.exists():
            return False
        if not seen and await _online(layout, device.id):
            seen.append(time.monotonic())
        # Its first heartbeat has reached the cloud, and from there the router; a cut uplink holds nobody up.
        known = bool(seen) and time.monotonic() - seen[0] > _ROUTER_LOOKS_S
        return known or time.time() - ready.stat().st_mtime > _HEARTBEAT_S

    return ChildSpec(
        name=f"device-{device.id}",
        launch=launch,
        ready=look,
        after=(f"leaf-{device.site}",) if joined else (f"leaf-{device.site}", "cloud"),
        essential=False,
        timeout=layout.settings.start_seconds / 2,
    )


async def _online(layout: Layout, device: str) -> bool:
    """Whether the cloud has heard of the device lately."""
    try:
        async with rpc.channel(layout.address("cloud")) as channel:
            with rpc.translated():
                answer = await FleetServiceStub(channel).GetDevice(
                    fleet_pb.GetDeviceRequest(device_id=device), timeout=1.0
                )
    except FoveateError:
        return False
    return answer.device.online


def _launcher(module: str, env: Mapping[str, str]) -> Callable[[], Awaitable[Launch]]:
    # A source tree that is not installed works from any directory.
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    launch = Launch((sys.executable, "-m", module), {**env, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"})

    async def ready_made() -> Launch:
        return launch

    return ready_made


def _cloud_env(layout: Layout) -> dict[str, str]:
    return _env(
        layout,
        "CLOUD",
        LISTEN=layout.address("cloud"),
        NATS_URL=layout.hub_url,
        CREDENTIALS=str(layout.hub_credentials("cloud")),
        DATABASE_URL=layout.database_url("cloud"),
        REGION=layout.plan.cloud_region,
        KEYS_DIR=str(layout.keys.local_directory),
        DATA_DIR=str(layout.data / "cloud"),
    )


def _router_env(layout: Layout) -> dict[str, str]:
    return _env(
        layout,
        "ROUTER",
        LISTEN=layout.address("router"),
        NATS_URL=layout.hub_url,
        CREDENTIALS=str(layout.hub_credentials("router")),
        CLOUD_GRPC=layout.address("cloud"),
        REGION=layout.plan.cloud_region,
        DATA_DIR=str(layout.data / "router"),
    )


def _site_router_env(layout: Layout, site: SitePlan) -> dict[str, str]:
    return _env(
        layout,
        "ROUTER",
        SITE=site.name,
        REGION=site.region,
        LISTEN=layout.address(f"router-{site.name}"),
        EDGE_GRPC=layout.address(f"edge-{site.name}"),
        CLOUD_GRPC=layout.address("cloud"),
        CLOUD_REGION=layout.plan.cloud_region,
        DATA_DIR=str(layout.data / f"router-{site.name}"),
    )


def _edge_env(layout: Layout, site: SitePlan) -> dict[str, str]:
    model = {"VLM": str(site.vlm)} if site.vlm else {}
    return _env(
        layout,
        "EDGE",
        **model,
        SITE=site.name,
        REGION=site.region,
        LISTEN=layout.address(f"edge-{site.name}"),
        NATS_URL=f"nats://{layout.address(f'leaf-{site.name}')}",
        LOCAL_CREDENTIALS=str(layout.keys.credentials(f"{site.name}.edge.local")),
        BRIDGED_CREDENTIALS=str(layout.keys.credentials(f"{site.name}.edge.bridged")),
        DATABASE_URL=layout.database_url(database_of(site.name)),
        DATA_DIR=str(layout.data / f"edge-{site.name}"),
        ROUTER_GRPC=layout.address("router"),
        CLOUD_GRPC=layout.address("cloud"),
        CLOUD_REGION=layout.plan.cloud_region,
    )


def _device_env(layout: Layout, device: DevicePlan, home: Path) -> dict[str, str]:
    return _env(
        layout,
        "DEVICE",
        ID=device.id,
        SITE=device.site,
        REGION=layout.plan.region_of(device.site),
        KIND=device.kind.value,
        LABELS=",".join(device.labels),
        SOURCE=device.source,
        LOOP=str(device.loop).lower(),
        SPEED=str(device.speed),
        NATS_URL=f"nats://{layout.address(f'leaf-{device.site}')}",
        EDGE_GRPC=layout.address(f"edge-{device.site}"),
        CLOUD_GRPC=layout.address("cloud"),
        DATA_DIR=str(home),
    )


def _env(layout: Layout, app: str, **values: str) -> dict[str, str]:
    values["POLICY"] = str(layout.plan.policy or _LOCAL_POLICY)
    Path(values["DATA_DIR"]).mkdir(parents=True, exist_ok=True, mode=0o700)
    return {f"FOVEATE_{app}_{name}": value for name, value in values.items()}
