"""What the cloud keeps besides events: sites, devices, join tokens and letters that nobody could read.

In: nothing. Out: SQLModel tables, made by `Memory.open(url, tables=TABLES)` in the same database as the events.
Times are Unix seconds by this service's clock. Knows no query: `registry.py` is next.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel


class LivenessBase(SQLModel):
    """What a heartbeat leaves behind."""

    seen: float | None = None
    trouble: str = ""
    capturing: bool = False
    outbox_depth: int = Field(default=0, sa_type=BigInteger)


class SiteBase(SQLModel):
    """What is registered of a site."""

    site_id: str = Field(primary_key=True)
    region: str


class SiteRow(SiteBase, table=True):
    """A registered site."""

    __tablename__ = "cloud_site"

    seen: float | None = None


class DeviceBase(SQLModel):
    """What is registered of a device; its name is unique in the fleet, since questions use it alone."""

    device_id: str = Field(primary_key=True)
    site_id: str = Field(foreign_key="cloud_site.site_id", index=True)
    kind: str
    labels: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))


class DeviceRow(DeviceBase, LivenessBase, table=True):
    """A registered device; `public_key` is set once it has joined."""

    __tablename__ = "cloud_device"

    public_key: str | None = None


class JoinToken(SQLModel, table=True):
    """A secret that lets one device in once; only its SHA-256 is kept, so a stolen table opens nothing."""

    __tablename__ = "cloud_join_token"

    digest: str = Field(primary_key=True)
    device_id: str = Field(foreign_key="cloud_device.device_id", index=True)
    expires: float
    used: float | None = None


class DeadLetterRow(SQLModel, table=True):
    """A message that could not be ingested, and why; a refused one keeps no payload.

    The SHA-256 of the payload is the key, so a redelivery is the same letter.
    """

    __tablename__ = "cloud_dead_letter"

    digest: str = Field(primary_key=True)
    time: float = Field(index=True)
    subject: str
    reason: str
    message: str
    payload: bytes | None = None


SITES: Table = SiteRow.__table__  # type: ignore[attr-defined]
DEVICES: Table = DeviceRow.__table__  # type: ignore[attr-defined]
TOKENS: Table = JoinToken.__table__  # type: ignore[attr-defined]
DEAD_LETTERS: Table = DeadLetterRow.__table__  # type: ignore[attr-defined]
TABLES = (SITES, DEVICES, TOKENS, DEAD_LETTERS)
