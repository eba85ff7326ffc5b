"""Every way to answer a question, before any filter.

In: the reading of a question, the devices in scope and the policy. Out: `Candidate`s: a placement, the place where
its node stands, the devices it would look at, and what is expected of it.
It knows no residency and no limits; `place` is next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from foveate.messages import Device, Pick, Place, Placement, Representation, Task, Tier, Understanding
from router.latency import Latencies
from router.policy import GUESS, PlacementPolicy

CLOUD_NODE = "cloud"
PIXELS = (Representation.REDACTED_FRAMES, Representation.FRAMES, Representation.CLIP)
"""The forms that show something."""
_EVERY = (
    Representation.FACTS,
    Representation.EMBEDDING,
    Representation.REDACTED_FRAMES,
    Representation.FRAMES,
    Representation.CLIP,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A placement that may be tried: seconds, US dollars and confidence are expectations.

    `in_scope` is how many devices the question is about in all.
    """

    placement: Placement
    place: Place
    devices: tuple[Device, ...]
    in_scope: int
    latency_q95_s: float = 0.0
    cost_usd: float = 0.0
    confidence: float = GUESS

    @property
    def device_ids(self) -> tuple[str, ...]:
        """The names of the devices it looks at."""
        return tuple(device.device_id for device in self.devices)


@dataclass(frozen=True, slots=True)
class Expectations:
    """What candidates are weighed with: the policy, what was measured, and whether words remain that no one sees."""

    policy: PlacementPolicy
    latencies: Latencies
    qualified: bool = False

    def checks_all(self, placement: Placement, understanding: Understanding) -> bool:
        """Whether the node can tell all that the words ask of the thing it finds."""
        words = not self.qualified or checks_words(placement, self.policy)
        return words and (not understanding.colours or shows_colour(placement))

    def of(self, candidate: Candidate, understanding: Understanding) -> Candidate:
        """The candidate with its expectations filled in."""
        placement, task = candidate.placement, understanding.task
        prior = self.policy.prior(placement.tier, placement.representation, task)
        seconds = self.latencies.q95(placement, task, otherwise=prior.latency_q95_s)
        confidence = covered(prior.confidence, seen=len(candidate.devices), of=candidate.in_scope)
        # Only the absence of its kind can be told of a thing that is asked for more closely: half the answers at best.
        confidence = confidence if self.checks_all(placement, understanding) else (confidence + GUESS) / 2
        cost = self.policy.cost(placement.tier, seconds=seconds)
        return replace(candidate, latency_q95_s=seconds, cost_usd=cost, confidence=confidence)


def checks_words(placement: Placement, policy: PlacementPolicy) -> bool:
    """Whether words that no detector knows can be checked there: pictures, before a model that takes any words."""
    return placement.tier in policy.open_vocabulary and placement.representation in PIXELS


def shows_colour(placement: Placement) -> bool:
    """Whether a colour can be checked there: a device tells its detections alone, and facts have no colours."""
    return placement.tier is not Tier.DEVICE and placement.representation in PIXELS


def covered(confidence: float, *, seen: int, of: int) -> float:
    """Confidence about all devices when only `seen` of them are looked at: the rest is a guess, in proportion."""
    share = seen / of if of else 0.0
    return share * confidence + (1.0 - share) * GUESS


def stands_for_all(understanding: Understanding, value: bool | int | float | str | None) -> bool:
    """Whether such an answer from a part of the devices settles the question for all: found is found."""
    if understanding.task is Task.PRESENCE:
        return value is True
    return understanding.task is Task.FIND and value is not None and understanding.pick is Pick.ANY


def candidates(understanding: Understanding, devices: Sequence[Device], *, cloud: Place) -> Iterator[Candidate]:
    """All placements, from the device up to the cloud, in a fixed order."""
    total = len(devices)
    if understanding.now and total == 1 and understanding.task in (Task.PRESENCE, Task.COUNT):
        device = devices[0]
        place = Place(device.region, device.site_id, device.device_id)
        placement = Placement(Tier.DEVICE, device.device_id, Representation.FRAMES)
        yield Candidate(placement, place, (device,), total)
    for site in sorted({(device.region, device.site_id) for device in devices}):
        here = tuple(device for device in devices if device.site_id == site[1])
        for representation in _EVERY:
            yield Candidate(Placement(Tier.EDGE, site[1], representation), Place(*site), here, total)
    for representation in _EVERY:
        yield Candidate(Placement(Tier.CLOUD, CLOUD_NODE, representation), cloud, tuple(devices), total)
