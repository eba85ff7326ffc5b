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
    nats_url: str = "nats://127.0.0.1:4222"
    """The NATS hub, where the sites' bridged accounts meet."""
    credentials: Path | None = None
    """NATS credentials; None for a server that asks for none."""
    cloud_grpc: str = "127.0.0.1:7410"
    """The cloud service, as `host:port`."""
    region: str = ""
    """Legal area where this router and its cloud stand; empty is outside all of them, so only WORLD data gets here."""
    policy: Path | None = None
    """Residency policy (YAML); None takes the one that the cloud serves."""
    placement: Path | None = None
    """Placement policy (YAML); None takes the built-in one."""
    data_dir: Path = Path(".foveate/router")
    """Records, clips on their way, and the fleet as last heard of."""
    clip_bytes: int = 1 << 30
    """Bytes of clips on their way through; the oldest go first."""
    log_level: str = "INFO"


def load() -> Settings:
    """The settings of this process's environment; InvalidInput names what is missing or wrong."""
    return environment.load(Settings, program="foveate-router")


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
