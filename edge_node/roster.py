"""The devices of this site, for whoever asks on site: the registry's last word on them, and who is heard right now.

In: what the cloud's registry told last, kept on disk, and heartbeats through `devices.py`. Out: `Device`s in order of
their names, the same with and without an uplink. It asks nobody: `registry.py` fills it, `on_site.py` shows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_node.devices import Devices
from foveate.errors import FoveateError
from foveate.messages import Device, DeviceKind, Place, Presence
from foveate.v1 import fleet_service_pb2 as pb
from foveate.wire import device_of, device_to, parse

logger = logging.getLogger(__name__)


class Roster:
    """Who belongs to the site, as last heard of."""

    def __init__(self, *, devices: Devices, here: Place, path: Path) -> None:
        """`path` is the file that keeps the registry's last word over a restart without an uplink."""
        self._devices = devices
        self._here = here
        self._path = path
        self._told: dict[str, Device] = {}

    def list(self) -> tuple[Device, ...]:
        """All devices that were ever told of or are heard right now."""
        alive = {presence.device_id: presence for presence in self._devices.alive()}
        names = sorted({*self._told, *alive})
        return tuple(self._device(name, alive.get(name)) for name in names)

    async def recall(self) -> None:
        """Takes up what was kept before the last stop; what cannot be read is passed over."""
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
            self._take([device_of(message) for message in parse(pb.ListDevicesResponse, content).devices])
        except FileNotFoundError:
            return
        except (OSError, FoveateError) as error:
            logger.warning("the remembered devices cannot be read (%s); waiting for the cloud", error)

    async def learn(self, devices: Sequence[Device]) -> None:
        """Takes the registry's word, and keeps it when it is news."""
        before = self._told
        self._take(devices)
        if self._told == before:
            return
        try:
            await asyncio.to_thread(self._write)
        except OSError as error:
            logger.warning("the devices cannot be remembered (%s); free space or correct the folder", error)

    def _take(self, devices: Sequence[Device]) -> None:
        for device in devices:
            self._devices.learn(device.device_id, device.labels)
        self._told = {device.device_id: _lasting(device) for device in devices}

    def _device(self, name: str, presence: Presence | None) -> Device:
        """What is known of one; it carries the labels by which this edge's own guard judges it."""
        here, origin = self._here, self._devices.origin(name)
        known = self._told.get(name) or Device(name, here.site_id, here.region, DeviceKind.FIXED_CAMERA)
        known = replace(known, labels=origin.labels)
        if presence is None:
            return known
        return replace(
            known,
            online=True,
            seen=presence.time,
            trouble=presence.trouble,
            capturing=presence.capturing,
            outbox_depth=presence.outbox_depth,
        )

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{self._path.name}.part")
        told = pb.ListDevicesResponse(devices=[device_to(device) for device in self._told.values()])
        part.write_bytes(told.SerializeToString())
        part.replace(self._path)


def _lasting(device: Device) -> Device:
    """What stays true of a device while nobody hears it."""
    return Device(device.device_id, device.site_id, device.region, device.kind, device.labels, enrolled=device.enrolled)
