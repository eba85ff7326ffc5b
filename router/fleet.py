"""Watches the registry: who is in the fleet, who is online, and which residency rules hold.

In: the cloud's FleetService. Out: a `FleetView` and a policy, refreshed every second; the last known ones are kept on
disk, so that questions go on while the cloud is gone or this router starts before it.
It knows no question; `scope` reads the view.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveate.errors import FoveateError
from foveate.residency import ResidencyPolicy
from foveate.rpc import translated
from foveate.v1 import fleet_service_pb2 as pb
from foveate.wire import device_of, parse, policy_of, site_of
from router.scope import FleetView

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from foveate.v1.fleet_service_pb2_grpc import FleetServiceAsyncStub

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
_PATIENCE_S = 2.0
_SITES, _DEVICES, _POLICY = "sites.binpb", "devices.binpb", "policy.binpb"


class FleetWatch:
    """The fleet as the cloud tells it; `policy` is None to take the cloud's rules as well."""

    def __init__(self, stub: FleetServiceAsyncStub, folder: Path, *, policy: ResidencyPolicy | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stub = stub
        self._folder = folder
        self._given = policy
        # No rule lets nothing travel: what is not known yet is refused.
        self._policy = policy or ResidencyPolicy(rules=())
        self._view = FleetView(fresh=False)
        self._kept: object = None

    def view(self) -> FleetView:
        """Sites and devices as last heard of."""
        return self._view

    def residency(self) -> ResidencyPolicy:
        """The rules in force."""
        return self._policy

    async def recall(self) -> None:
        """Takes up what was known before the last stop; what cannot be read is passed over."""
        try:
            stored = await asyncio.to_thread(self._read)
            sites = parse(pb.ListSitesResponse, stored[_SITES])
            devices = parse(pb.ListDevicesResponse, stored[_DEVICES])
            self._take(sites, devices, parse(pb.GetPolicyResponse, stored[_POLICY]), fresh=False)
            self._kept = self._lasting()
        except FileNotFoundError:
            return
        except (OSError, FoveateError) as error:
            logger.warning("the remembered fleet cannot be read (%s); waiting for the cloud", error)

    async def refresh(self) -> None:
        """Asks the cloud once; the view turns stale when it does not answer."""
        try:
            with translated():
                sites = await self._stub.ListSites(pb.ListSitesRequest(), timeout=_PATIENCE_S)
                devices = await self._stub.ListDevices(pb.ListDevicesRequest(), timeout=_PATIENCE_S)
                policy = pb.GetPolicyResponse()
                if self._given is None:
                    policy = await self._stub.GetPolicy(pb.GetPolicyRequest(), timeout=_PATIENCE_S)
            self._take(sites, devices, policy, fresh=True)
        except FoveateError as error:
            if self._view.fresh:
                logger.warning("the registry does not answer; going on with what it last told: %s", error)
            self._view = replace(self._view, fresh=False)
            return
        await self._keep(
            {
                _SITES: sites.SerializeToString(),
                _DEVICES: devices.SerializeToString(),
                _POLICY: policy.SerializeToString(),
            }
        )

    async def watch(self) -> None:
        """Refreshes every second until it is cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_S)

    def _take(
        self, sites: pb.ListSitesResponse, devices: pb.ListDevicesResponse, policy: pb.GetPolicyResponse, *, fresh: bool
    ) -> None:
        view = FleetView(
            sites=tuple(site_of(site) for site in sites.sites),
            devices=tuple(device_of(device) for device in devices.devices),
            fresh=fresh,
        )
        self._policy = self._given or policy_of(policy.policy)
        self._view = view

    async def _keep(self, current: dict[str, bytes]) -> None:
        """Writes what changed, other than heartbeats, which are stale on disk anyway."""
        if self._kept == self._lasting():
            return
        try:
            await asyncio.to_thread(self._write, current)
            self._kept = self._lasting()
        except OSError as error:
            logger.warning("the fleet cannot be remembered (%s); free space or correct the folder", error)

    def _lasting(self) -> object:
        devices = [(d.device_id, d.site_id, d.region, d.kind, d.labels, d.enrolled) for d in self._view.devices]
        return [(site.site_id, site.region) for site in self._view.sites], devices, self._policy

    def _read(self) -> dict[str, bytes]:
        return {name: (self._folder / name).read_bytes() for name in (_SITES, _DEVICES, _POLICY)}

    def _write(self, current: dict[str, bytes]) -> None:
        for name, content in current.items():
            part = self._folder / f"{name}.part"
            part.write_bytes(content)
            part.replace(self._folder / name)
