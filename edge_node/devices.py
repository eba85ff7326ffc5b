"""The devices of the site as the edge knows them: when last heard of, how wrong their clocks are, their labels.

In: heartbeats, events, and the cloud's registry when it can be reached. Out: `Origin`s for residency, offsets.
A device whose labels nobody told yet counts as having every label that a rule mentions: unknown is not harmless.
Knows no transport; `receive.py` and `egress.py` use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from foveate.messages import Event, Place, Presence
from foveate.residency import Origin, ResidencyPolicy

ALIVE_S = 4.0  # two heartbeats
_SMOOTH = 0.2  # weight of a new clock offset: one delayed heartbeat must not move it far


@dataclass(frozen=True, slots=True)
class Heard:
    """The last heartbeat, when it came (edge clock), and device clock minus edge clock in seconds, smoothed."""

    presence: Presence
    receive_time: float
    clock_offset: float


class Devices:
    """What is known of each device, in memory only: heartbeats come every few seconds."""

    def __init__(self, *, here: Place, policy: ResidencyPolicy, clock: Callable[[], float] = time.time) -> None:
        self._here = here
        self._clock = clock
        self._heard: dict[str, Heard] = {}
        self._labels: dict[str, frozenset[str]] = {}
        self._every_label = frozenset(rule.scope.label for rule in policy.rules if rule.scope.label)

    def hear(self, presence: Presence) -> None:
        """Takes a heartbeat in."""
        now = self._clock()
        offset, before = presence.time - now, self._heard.get(presence.device_id)
        if before is not None and abs(offset - before.clock_offset) < 1.0:
            offset = before.clock_offset + _SMOOTH * (offset - before.clock_offset)
        self._heard[presence.device_id] = Heard(presence, now, offset)

    def learn(self, device_id: str, labels: Iterable[str]) -> None:
        """Adds labels of a device; what one source once said is not unsaid by another."""
        self._labels[device_id] = self._labels.get(device_id, frozenset()) | frozenset(labels)

    def origin(self, device_id: str) -> Origin:
        """Where this device's data was made, with the labels that residency looks at."""
        labels = self._labels.get(device_id, self._every_label)
        return Origin(self._here.region, self._here.site_id, device_id, tuple(sorted(labels)))

    def origin_of(self, event: Event) -> Origin:
        """The origin of an event, with what it says itself added to what is known of its device."""
        known = self._labels.get(event.device_id, frozenset())
        return Origin(event.region, event.site_id, event.device_id, tuple(sorted(known | set(event.device_labels))))

    def alive(self) -> tuple[Presence, ...]:
        """The heartbeats of devices that were heard of within the last seconds."""
        now = self._clock()
        return tuple(heard.presence for heard in self._heard.values() if now - heard.receive_time <= ALIVE_S)

    def device_time(self, device_id: str, edge_time: float) -> float:
        """What the device's clock shows when the edge's shows `edge_time`."""
        heard = self._heard.get(device_id)
        # A few tenths are the way of the heartbeat, not the clock.
        return edge_time + heard.clock_offset if heard and abs(heard.clock_offset) > 0.5 else edge_time
