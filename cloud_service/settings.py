"""What can be set from outside, each as FOVEATE_CLOUD_<NAME>.

In: the environment. Out: one frozen `Settings`. Knows nothing of what is done with it; `__main__` is next.
"""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from foveate import environment


class Settings(BaseSettings):
    """Settings of the process; a wrong one ends it with one sentence before anything starts."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, env_prefix="FOVEATE_CLOUD_", frozen=True)

    listen: str = "127.0.0.1:0"
    """Where gRPC is served; port 0 takes a free one. Loopback, since callers are not authenticated yet."""

    nats_url: str
    """The hub, such as nats://127.0.0.1:4222; this process dials it."""

    credentials: Path | None = None
    """`.creds` file of a user of the hub's account; none only for a server without authentication."""

    database_url: str
    """PostgreSQL with pgvector, as postgresql+psycopg://user:password@host:port/database."""

    region: str
    """Legal area that this service stands in, such as eu-west; residency decides by it."""

    policy: Path
    """Residency policy (YAML). There is no default: which data may be here is for a person to say."""

    keys_dir: Path
    """Directory with `<site>.local.nk`, the seed of each site's LOCAL account, with which devices are let in."""

    data_dir: Path
    """Directory of this process; `address` in it holds the host:port that gRPC is served at."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


def load() -> Settings:
    """The settings of this process's environment; InvalidInput names what is missing or wrong."""
    return environment.load(Settings, program="foveate-cloud")
