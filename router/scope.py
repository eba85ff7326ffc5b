"""Which devices a question is about, and which of them may not be heard.

In: the router's view of the fleet, the scope that the asker set and the names that the text mentions. Out: devices in
a fixed order, with those left out because not even FACTS of theirs may reach the asker, each with its rule.
It knows no tasks and no placements; `candidates` is next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from foveate.errors import NotFound
from foveate.messages import Device, Place, Representation, Scope, Site
from foveate.residency import Origin, ResidencyPolicy, Verdict, crossing, decide


@dataclass(frozen=True, slots=True)
class FleetView:
    """Sites and devices as the registry last told.

    `fresh` is False while the registry does not answer: who was online then says nothing about now. `cloud` is whether
    the cloud answers where somebody else tells of the fleet, None where the cloud itself does.
    """

    sites: tuple[Site, ...] = ()
    devices: tuple[Device, ...] = ()
    fresh: bool = True
    cloud: bool | None = None

    @property
    def cloud_answers(self) -> bool:
        """Whether the cloud can be asked."""
        return self.fresh if self.cloud is None else self.cloud

    def device(self, device_id: str) -> Device | None:
        """The device of that name."""
        return next((device for device in self.devices if device.device_id == device_id), None)

    def online(self, device: Device) -> bool:
        """Whether the device can be asked; True as well when nobody can tell."""
        return device.online or not self.fresh

    def site_online(self, site_id: str) -> bool:
        """Whether the site's edge node can be asked; True as well when nobody can tell."""
        return not self.fresh or any(site.online for site in self.sites if site.site_id == site_id)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A device whose FACTS may not reach the asker, and the verdict that says so."""

    device: Device
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.device.device_id}: {self.verdict.rule or 'no rule lets it travel'}"


@dataclass(frozen=True, slots=True)
class InScope:
    """The devices to ask, in order of site and name, and those that may not be heard."""

    devices: tuple[Device, ...]
    left_out: tuple[LeftOut, ...] = ()


def origin_of(device: Device) -> Origin:
    """Where data of this device is made."""
    return Origin(device.region, device.site_id, device.device_id, device.labels)


def in_scope(
    view: FleetView,
    scope: Scope,
    *,
    mentioned: Collection[str],
    policy: ResidencyPolicy,
    destinations: Sequence[Place],
) -> InScope:
    """The devices that the question is about; `destinations` are all places that an answer passes.

    What the asker set by name wins over what the text mentions. NotFound names the known ones when a name is
    unknown or when there is no device at all.
    """
    _refuse_unknown(scope.device_ids, [d.device_id for d in view.devices], what="device")
    _refuse_unknown(scope.site_ids, [s.site_id for s in view.sites], what="site")
    chosen = [device for device in view.devices if _asked_for(device, scope)]
    if not scope.device_ids and any(device.device_id in mentioned for device in chosen):
        chosen = [device for device in chosen if device.device_id in mentioned]
    if not chosen:
        where = f" at {', '.join(scope.site_ids)}" if scope.site_ids else ""
        raise NotFound(f"There is no device{where} to ask; register one and start its agent.")
    heard, left_out = [], []
    for device in sorted(chosen, key=lambda d: (d.site_id, d.device_id)):
        verdict = travels(policy, device=device, representation=Representation.FACTS, destinations=destinations)
        if verdict.allowed:
            heard.append(device)
        else:
            left_out.append(LeftOut(device, verdict))
    return InScope(tuple(heard), tuple(left_out))


def travels(
    policy: ResidencyPolicy, *, device: Device, representation: Representation, destinations: Sequence[Place]
) -> Verdict:
    """The verdict on the farthest of the places, since data that passes all of them reaches that one too."""
    farthest = max(destinations, key=lambda place: crossing(origin_of(device), place))
    return decide(policy, origin=origin_of(device), representation=representation, destination=farthest)


def _asked_for(device: Device, scope: Scope) -> bool:
    if scope.site_ids and device.site_id not in scope.site_ids:
        return False
    if scope.device_ids:
        return device.device_id in scope.device_ids
    # A device that never joined has seen nothing; it counts only when it is asked for by name.
    return device.enrolled or device.online


def _refuse_unknown(names: Iterable[str], known: Sequence[str], *, what: str) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none yet"
            raise NotFound(f"There is no {what} {name!r}; known are: {listed}.", **{what: name})
