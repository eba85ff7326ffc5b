"""What one device can be told and asked, and what it tells of itself: frozen dataclasses.

In: values that were validated at a border. Out: the same. Nothing here is what a camera saw.
Times are Unix seconds. Knows nothing of the wire: `wire/commands.py` is next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from foveate.messages import Embedding, Priority


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a device's ladder: what came to it, what it passed up, and its CPU seconds."""

    name: str
    seen: int
    passed: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A span without footage, and why; `end` is None while it lasts."""

    start: float
    end: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ring buffer holds of one priority; None for footage without any event."""

    priority: Priority | None
    size_bytes: int
    start: float


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device tells of itself when asked."""

    device_id: str
    time: float
    uptime_s: float
    rungs: tuple[Rung, ...] = ()
    cpu_seconds: float = 0.0
    budget_share: float | None = None
    used_share: float = 0.0
    given_up: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    gaps: tuple[Gap, ...] = ()
    outbox_depth: int = 0
    sequence: int = 0
    triggers: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a device watches for by likeness: the asker's words, and their vector."""

    text: str
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class TellState:
    """Command: tell how you are."""


@dataclass(frozen=True, slots=True)
class Press:
    """Command: make a manual event; `about` says who or what pressed the button."""

    about: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Command: watch for these sentences and no others."""

    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class WatchTexts:
    """Command to a site: watch for these texts, which the edge compiles."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackFill:
    """Command: send again what came after a sequence number, and these numbers below it."""

    after_sequence: int
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BackFilled:
    """How many revisions are sent again, and which numbers the device no longer holds."""

    resent: int
    gone: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pressed:
    """The id of the event that a press made."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Watching:
    """The texts that a device now watches for."""

    texts: tuple[str, ...]


DeviceCommand = TellState | Press | Watch | BackFill
SiteCommand = TellState | Press | WatchTexts
Reply = DeviceState | Pressed | Watching | BackFilled


_TELLING = ("encoder", "detector", "events")  # rungs whose counts rise with what happens before the camera


def without_facts(state: DeviceState) -> DeviceState:
    """The state without what counts or dates events: it tells that something happened, if not what."""
    rungs = tuple(rung for rung in state.rungs if rung.name not in _TELLING)
    return replace(state, rungs=rungs, kept=(), sequence=0, outbox_depth=0, trouble="")
