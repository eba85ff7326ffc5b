"""Every NATS subject, stream and durable name, made here and nowhere else.

In: names of sites and devices. Out: subjects, from general to specific (tokens `[a-z0-9-]`), and stream names.
Two accounts meet at a site: LOCAL, which never leaves the leaf server, and the bridged one, which the hub sees.
Knows nothing of connections: `bus.py` is next.
"""

from __future__ import annotations

import re

from foveate.errors import InvalidInput, MalformedMessage

ROOT = "fv.v1"

# LOCAL account of a site.
EVENTS_STREAM = "EVENTS"
EVENTS_DURABLE = "edge-receive"
# Bridged account of a site, and its copy at the hub.
OUT_STREAM = "OUT"
INGEST_STREAM = "INGEST"
INGEST_DURABLE = "cloud-ingest"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def checked_name(name: str, *, what: str) -> str:
    """The name itself when it may stand in a subject; else InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a {what}: use 1 to 32 lower-case letters, digits and dashes.", name=name
        )
    return name


def event(site: str, device: str) -> str:
    """LOCAL: a device's events, kept by the stream EVENTS."""
    return f"{ROOT}.event.{site}.{device}"


def events(site: str) -> str:
    """LOCAL: all events of a site."""
    return f"{ROOT}.event.{site}.*"


def presence(site: str, device: str) -> str:
    """LOCAL: a device's heartbeat."""
    return f"{ROOT}.presence.{site}.{device}"


def presences(site: str) -> str:
    """LOCAL: all heartbeats of a site."""
    return f"{ROOT}.presence.{site}.*"


def device_ask(site: str, device: str) -> str:
    """LOCAL request: a placed question for a device."""
    return f"{ROOT}.ask.{site}.{device}"


def device_clip(site: str, device: str) -> str:
    """LOCAL request: a clip order for a device."""
    return f"{ROOT}.clip.{site}.{device}"


def device_command(site: str, device: str) -> str:
    """LOCAL request: a command for a device: tell your state, press, watch, fill back."""
    return f"{ROOT}.command.{site}.{device}"


def out_event(site: str) -> str:
    """Bridged: events that residency let out, kept by the stream OUT."""
    return f"{ROOT}.out.{site}.event"


def out_presence(site: str) -> str:
    """Bridged: heartbeats of the site and of its devices."""
    return f"{ROOT}.out.{site}.presence"


def out_all(site: str) -> str:
    """Bridged: all that the stream OUT keeps."""
    return f"{ROOT}.out.{site}.>"


def out_everywhere() -> str:
    """Hub: what all sites let out."""
    return f"{ROOT}.out.>"


def site_ask(site: str) -> str:
    """Bridged request: the router's placed question for an edge or, through it, a device."""
    return f"{ROOT}.site.{site}.ask"


def site_clip(site: str) -> str:
    """Bridged request: the router's clip order for an edge."""
    return f"{ROOT}.site.{site}.clip"


def site_device(site: str) -> str:
    """Bridged request: the router's command for one of the site's devices, which the edge passes on."""
    return f"{ROOT}.site.{site}.device"


def site_ingested(site: str) -> str:
    """Bridged: the cloud's word on how far it has ingested the site's OUT."""
    return f"{ROOT}.site.{site}.ingested"


def domain(site: str) -> str:
    """JetStream domain of a site's leaf server."""
    return f"site-{site}"


def device_inbox(device: str) -> str:
    """Prefix of a device's reply subjects; its rights allow no other."""
    return f"_INBOX_{device}"


def tokens(subject: str) -> tuple[str, ...]:
    """The subject's parts; `fv.v1.event.north.body-1` has site at 3 and device at 4."""
    return tuple(subject.split("."))


def check_speaker(subject: str, *, site: str, device: str | None = None) -> None:
    """MalformedMessage when a message speaks for another site or device than the one its subject belongs to.

    A server lets everyone publish on their own subjects only, so the subject is known to be true.
    """
    parts = tokens(subject)
    wanted = (site,) if device is None else (site, device)
    if parts[3 : 3 + len(wanted)] != wanted:
        spoken = "/".join(wanted)
        raise MalformedMessage(
            f"A message on {subject} speaks for {spoken}; its sender may only speak for itself.", subject=subject
        )
