"""What can be set from outside, each as FOVEATE_EDGE_<NAME>.

In: the environment. Out: one frozen `Settings`. Knows nothing of what is done with it; `__main__` is next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from foveate import environment


class Settings(BaseSettings):
    """Settings of the process; a wrong one ends it with one sentence before anything starts."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, env_prefix="FOVEATE_EDGE_", frozen=True)

    site: str
    """Name of the site, such as north; it stands in subjects and in every device's rights."""

    region: str
    """Legal area that the site lies in, such as eu-west; residency decides by it."""

    listen: str = "127.0.0.1:0"
    """Where gRPC is served for devices and people on site, as host:port; port 0 takes a free one."""

    nats_url: str
    """The site's own NATS server, such as nats://127.0.0.1:4223."""

    local_credentials: Path | None = None
    """`.creds` file of a user of the LOCAL account, which never leaves the site."""

    bridged_credentials: Path | None = None
    """`.creds` file of a user of the bridged account, which the hub sees."""

    database_url: str
    """PostgreSQL with pgvector, as postgresql+psycopg://user:password@host:port/database."""

    policy: Path
    """Residency policy (YAML). There is no default: what may leave the site is for a person to say."""

    data_dir: Path
    """Directory of this process; clips lie in it for as long as a question needs them."""

    router_grpc: str = ""
    """Router to which clips are uploaded that people elsewhere asked for, as host:port; empty refuses them."""

    cloud_grpc: str = ""
    """Cloud service whose registry knows the labels of the site's devices, as host:port; empty goes by events alone."""

    cloud_region: str = ""
    """Legal area of the cloud service; empty is outside all of them, so that only what may go to WORLD goes there."""

    clip_bytes: int = 2 * 1024**3
    """Most bytes of clips on disk; the oldest are forgotten first."""

    archive_priority: Literal["none", "low", "normal", "high", "urgent"] = "high"
    """Least priority of the events whose footage is copied to the edge, as far as residency lets clips reach it."""

    archive_bytes: int = 1024**3
    """Most bytes of archived footage; the least priority and the oldest goes first."""

    vlm: Path | None = None
    """Which vision-language model answers here (YAML); none leaves the embedded default, which is no such model."""

    text_model: Path | None = None
    """Folder of PP-OCRv4's networks, which read text; none takes those of the package rapidocr-onnxruntime if any."""

    speech_model: Path | None = None
    """Folder of a Whisper model in CTranslate2's format; without one, speech is found but not transcribed."""

    gather_share: float = Field(default=0.5, ge=0.0, le=8.0)
    """Share of one core for key frames, text and speech of events; 0 gathers none."""

    memory_days: float = Field(default=30.0, gt=0.0)
    """How long events, key frames, text and speech are remembered."""

    memory_bytes: int = Field(default=20 * 1024**3, gt=0)
    """Most bytes of them; the least priority and the oldest goes first."""

    release_days: float = Field(default=365.0, gt=0.0)
    """How long it is kept what left the site, when, for whom and by which rule."""

    recalls_at_once: int = Field(default=2, ge=1, le=256)
    """Questions answered from memory at once; past half a second of waiting, more are told when to come again."""

    looks_at_once: int = Field(default=8, ge=1, le=256)
    """Questions at once that wait for devices, pictures or a model."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


def load() -> Settings:
    """The settings of this process's environment; InvalidInput names what is missing or wrong."""
    return environment.load(Settings, program="foveate-edge")
