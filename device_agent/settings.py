"""What a device must be told, from environment variables that start with FOVEATE_DEVICE_.

In: the environment. Out: checked `Settings`, or InvalidInput naming the variable. Next: `pipeline.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from foveate import environment
from foveate.errors import FoveateError
from foveate.messages import DeviceKind
from foveate.subjects import checked_name


class Settings(BaseSettings):
    """The settings of one device; its docstrings are the help."""

    model_config = SettingsConfigDict(env_prefix="FOVEATE_DEVICE_", use_attribute_docstrings=True, extra="ignore")

    id: str
    """Name of this device: lower-case letters, digits and dashes."""
    site: str
    """Name of its site."""
    region: str
    """Legal area of the site, such as eu-west."""
    kind: DeviceKind = DeviceKind.FIXED_CAMERA
    """body-cam, glasses, fixed-camera, phone or robot."""
    labels: str = ""
    """Words that residency rules look at, separated by commas."""
    source: str
    """The camera: path of a video file or of a folder of pictures, rtsp:// URL or /dev/videoN."""
    loop: bool = False
    """Files and folders only: start again at the end."""
    speed: float = Field(default=1.0, gt=0, le=100)
    """Files and folders only: media seconds per second."""
    nats_url: str = "nats://127.0.0.1:4222"
    """The site's NATS server."""
    edge_grpc: str = ""
    """host:port of the edge's gRPC service, where clips are uploaded."""
    cloud_grpc: str = ""
    """host:port of the cloud's gRPC service, for joining; empty: connect without credentials."""
    join_token: str = Field(default="", repr=False)
    """One-time token for joining; not needed once joined."""
    policy: Path
    """The residency policy, a YAML file."""
    data_dir: Path
    """Where recordings, the outbox and the credentials lie."""
    config: Path | None = None
    """The configuration file: masks, zones, triggers, recording, budget (YAML); without one, all have defaults."""
    ring_bytes: int = Field(default=512 << 20, ge=1 << 20)
    """Most bytes of recordings that are kept, where the configuration file does not say."""
    ring_seconds: float = Field(default=3600.0, gt=0)
    """Longest time for which footage without events is kept, where the configuration file does not say."""
    outbox_bytes: int = Field(default=64 << 20, ge=1 << 16)
    """Most bytes of events that wait for the link."""
    analysis_fps: float = Field(default=5.0, gt=0, le=60)
    """Pictures looked at in a second; the detector runs only when it is worth it."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""

    @field_validator("id", "site")
    @classmethod
    def _named(cls, value: str) -> str:
        try:
            return checked_name(value, what="device or site")
        except FoveateError as error:
            raise ValueError(error.message) from error

    @field_validator("config", mode="before")
    @classmethod
    def _none_when_empty(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def label_words(self) -> tuple[str, ...]:
        """The labels as words."""
        return tuple(word.strip() for word in self.labels.split(",") if word.strip())


def load() -> Settings:
    """The settings of this process's environment; InvalidInput names what is missing or wrong."""
    return environment.load(Settings, program="foveate-device")
