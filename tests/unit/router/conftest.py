"""A small fleet, rules and questions for the router's pure tests: no socket, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from foveate.messages import (
    Answer,
    Boundary,
    Constraints,
    Device,
    DeviceKind,
    Outcome,
    Place,
    Question,
    Representation,
    Scope,
    Site,
)
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from router.candidates import Candidate, Expectations
from router.latency import Latencies
from router.place import Placing, Situation, place
from router.policy import PlacementPolicy
from router.scope import FleetView
from router.understand import Reading, understand

WEDNESDAY_14H = 1_773_237_600.0  # 2026-03-11 14:00 UTC
ALL = dict.fromkeys(Representation, Boundary.WORLD)


def rule(name: str, limits: dict[Representation, Boundary], **scope: str) -> Rule:
    """A rule of the residency policy."""
    return Rule(name, RuleScope(**scope), tuple(limits.items()))


@dataclass
class World:
    """Everything that decides about a question, with values that let everything through unless a test says else."""

    devices: tuple[Device, ...]
    sites: tuple[Site, ...]
    residency: ResidencyPolicy = field(default_factory=lambda: ResidencyPolicy((rule("open", ALL),)))
    policy: PlacementPolicy = field(default_factory=PlacementPolicy)
    latencies: Latencies = field(default_factory=Latencies)
    here: Place = field(default_factory=lambda: Place("eu-west"))
    fresh: bool = True
    seconds: float = 10.0
    usd: float = 0.05

    @property
    def view(self) -> FleetView:
        return FleetView(self.sites, self.devices, self.fresh)

    def question(self, text: str, **given: object) -> Question:
        question = Question("q-00000001", text, WEDNESDAY_14H, asker=self.here)
        return replace(question, **given)  # type: ignore[arg-type]

    def reading(self, text: str) -> Reading:
        return understand(self.question(text), self.view)

    def situation(self, reading: Reading | None = None, *, spent_s: float = 0.0, spent_usd: float = 0.0) -> Situation:
        qualified = reading is not None and bool(reading.unseen)
        expectations = Expectations(self.policy, self.latencies, qualified=qualified)
        return Situation(
            self.view, self.residency, self.here, expectations, self.seconds - spent_s, self.usd - spent_usd
        )

    def place(self, text: str, *, devices: Sequence[str] = (), asker: Place | None = None) -> Placing:
        question = self.question(text, scope=Scope(device_ids=tuple(devices)), asker=asker or self.here)
        reading = understand(question, self.view)
        return place(question, reading, self.situation(reading))


@pytest.fixture
def world() -> World:
    """Body camera and glasses at north in eu-west, a fixed camera at south in us-ca; all are online."""
    body = Device("body-1", "north", "eu-west", DeviceKind.BODY_CAM, ("worn",), enrolled=True, online=True)
    glasses = Device("glasses-1", "north", "eu-west", DeviceKind.GLASSES, ("private",), enrolled=True, online=True)
    fixed = Device("cam-1", "south", "us-ca", DeviceKind.FIXED_CAMERA, ("entrance",), enrolled=True, online=True)
    sites = (Site("north", "eu-west", online=True), Site("south", "us-ca", online=True))
    return World(devices=(body, glasses, fixed), sites=sites)


@pytest.fixture
def make_rule() -> Callable[..., Rule]:
    """Builds a rule: name, limits, and the scope as keywords."""
    return rule


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """Builds a node's answer with a confidence."""

    def make(confidence: float, *, value: bool | int | float | None = True, **given: object) -> Answer:
        answer = Answer("q-00000001", Outcome.ANSWERED, "Yes: a person is in view.", confidence, value=value)
        return replace(answer, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def constraints() -> Callable[..., Constraints]:
    """Builds constraints."""
    return Constraints


@pytest.fixture
def named() -> Callable[[Sequence[Candidate]], list[str]]:
    """Candidates in words, which tests compare."""
    return lambda candidates: [str(candidate.placement) for candidate in candidates]
