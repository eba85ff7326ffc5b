"""What an operator may set for one device, as frozen dataclasses with the defaults that suit most cameras.

In: nothing. Out: the words of the device's configuration file, one class for each part that reads them.
`configure.py` fills them in from YAML and refuses what contradicts itself. Times are seconds, points are fractions of
the picture's width and height.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foveate.messages import Priority

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mask:
    """A privacy mask: what lies inside is neither looked at nor ever leaves the device."""

    name: str
    polygon: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Zone:
    """A named part of the picture; an object is in it when the middle of its lower edge is."""

    name: str
    polygon: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """How one trigger's events are drawn together and held back.

    What follows within `merge_s` belongs to the same event. `pre_s` and `post_s` of footage around an event are kept
    with it. At most `most_per_minute` events begin in a minute; the rest are counted, not sent.
    """

    pre_s: float = 5.0
    post_s: float = 5.0
    merge_s: float = 3.0
    most_per_minute: int = 30
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class MotionRules:
    """Motion that no followed object explains, lasting at least `least_s`."""

    on: bool = True
    least_s: float = 1.0
    pace: Pace = field(default_factory=lambda: Pace(priority=Priority.LOW, most_per_minute=10, merge_s=1.0))


@dataclass(frozen=True, slots=True)
class ObjectRules:
    """Objects that enter and leave. Empty `labels` or `zones` mean all.

    What has not moved for `static_s` no longer counts as an event: a parked car is scenery until it drives off.
    """

    on: bool = True
    labels: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    static_s: float = 120.0
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class NoveltyRules:
    """What is unlike all that this camera remembers: `memory` vectors, the oldest and most usual forgotten first."""

    on: bool = True
    memory: int = 256
    pace: Pace = field(default_factory=lambda: Pace(priority=Priority.HIGH, most_per_minute=4, merge_s=10.0))


@dataclass(frozen=True, slots=True)
class SoundRules:
    """Speech, and sounds that rise suddenly by `onset_db` above the usual level."""

    on: bool = True
    speech: bool = True
    onset_db: float = 15.0
    pace: Pace = field(default_factory=lambda: Pace(most_per_minute=10))


@dataclass(frozen=True, slots=True)
class TextRules:
    """Sentences pushed by the edge; `on: false` refuses them."""

    on: bool = True
    pace: Pace = field(default_factory=lambda: Pace(priority=Priority.HIGH, most_per_minute=10, merge_s=10.0))


@dataclass(frozen=True, slots=True)
class ManualRules:
    """The button: each press is an event of `length_s`."""

    length_s: float = 10.0
    pace: Pace = field(default_factory=lambda: Pace(priority=Priority.URGENT, pre_s=30.0, post_s=30.0))


@dataclass(frozen=True, slots=True)
class TriggerRules:
    """All triggers of a device."""

    motion: MotionRules = field(default_factory=MotionRules)
    object: ObjectRules = field(default_factory=ObjectRules)
    novelty: NoveltyRules = field(default_factory=NoveltyRules)
    sound: SoundRules = field(default_factory=SoundRules)
    text: TextRules = field(default_factory=TextRules)
    manual: ManualRules = field(default_factory=ManualRules)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long footage is kept at most, by the priority of the events in it; idle footage has none.

    `max_bytes` is the whole ring; when it is full, idle footage goes first, then the least priority, oldest first.
    """

    max_bytes: int = 512 << 20
    idle_s: float = 3600.0
    low_s: float = 6 * 3600.0
    normal_s: float = 24 * 3600.0
    high_s: float = 7 * 24 * 3600.0
    urgent_s: float = 30 * 24 * 3600.0
    masked_originals: bool = False
    """Burn the privacy masks into the recording itself, which then is encoded again on the device."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the agent may take: a share of one core, or milliwatts by the model `idle_mw + share × core_mw`.

    At most one of `cpu_share` and `milliwatts` is given; without either there is no limit.
    """

    cpu_share: float | None = None
    milliwatts: float | None = None
    idle_mw: float = 350.0
    core_mw: float = 1400.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole of a device's configuration file."""

    masks: tuple[Mask, ...] = ()
    zones: tuple[Zone, ...] = ()
    triggers: TriggerRules = field(default_factory=TriggerRules)
    recording: Retention = field(default_factory=Retention)
    budget: Budget = field(default_factory=Budget)
