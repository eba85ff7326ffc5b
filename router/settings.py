"""What a router is started with, from `FOVEATE_ROUTER_*` and the files that it names.

In: the environment. Out: checked settings and parsed policies.
It knows no process; `__main__` is next.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic_settings import BaseSettings, SettingsConfigDict

from foveate import environment
from foveate.errors import InvalidInput, NotFound
from router.policy import PlacementPolicy, parse


class Settings(BaseSettings):
    """One router."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, env_prefix="FOVEATE_ROUTER_", extra="ignore")

    listen: str = "127.0.0.1:7420"
    """Where people, programs and the edges' uploads come in, as `host:port`."""
    site: str = ""
    """Site whose own router this is, which goes on without an uplink; empty for the router of the whole fleet."""
    edge_grpc: str = ""
    """Edge node of that site, as `host:port`."""
    nats_url: str = "nats://127.0.0.1:4222"
    """The NATS hub, where the sites' bridged accounts meet; a site's own router needs none."""
    credentials: Path | None = None
    """NATS credentials; None for a server that asks for none."""
    cloud_grpc: str = "127.0.0.1:7410"
    """The cloud service, as `host:port`; empty for a site that has none."""
    region: str = ""
    """Legal area where this router and its cloud stand; empty is outside all of them, so only WORLD data gets here."""
    cloud_region: str = ""
    """Legal area of the cloud, for a site's own router, which stands in that of its site."""
    policy: Path | None = None
    """Residency policy (YAML); None takes the one that the cloud serves, or the site's edge."""
    placement: Path | None = None
    """Placement policy (YAML); None takes the built-in one."""
    data_dir: Path = Path(".foveate/router")
    """Records, clips on their way, and the fleet as last heard of."""
    clip_bytes: int = 1 << 30
    """Bytes of clips on their way through; the oldest go first."""
    log_level: str = "INFO"


def load() -> Settings:
    """The settings of this process's environment; InvalidInput names what is missing or wrong."""
    chosen = environment.load(Settings, program="foveate-router")
    if bool(chosen.site) != bool(chosen.edge_grpc):
        raise InvalidInput("A site's own router needs both FOVEATE_ROUTER_SITE and FOVEATE_ROUTER_EDGE_GRPC; set both.")
    return chosen


def placement_policy(path: Path | None) -> PlacementPolicy:
    """The placement policy in a YAML file, the built-in one without a file; NotFound or InvalidInput."""
    if path is None:
        return PlacementPolicy()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"No placement policy at {path}; name one that exists.", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not YAML ({error}); correct it.", path=str(path)) from error
    return parse(document, source=str(path))
