"""Brings a command to one device, through the edge of its site, and the reply back.

In: a device's name and what to tell it. Out: its state, the id of a manual event, or what it now watches for; a
failure anywhere on the way is raised here. Only the name and the words go down; nothing that a camera saw comes up.
It knows no question; `serve` shows it to the wire. Next: `edge_node/command.py`, over NATS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from foveate import subjects
from foveate.bus import Bus
from foveate.commands import DeviceState, Press, Pressed, Reply, SiteCommand, TellState, Watching
from foveate.errors import MalformedMessage, NotFound, Unreachable
from foveate.messages import Device
from foveate.v1 import device_pb2 as pb
from foveate.wire import command_reply_of, parse, site_command_to, watch_texts_of
from router.pipeline import Fleet

R = TypeVar("R", bound=Reply)

PATIENCE_S = 7.0
"""More than the edge waits for its device, whose silence the edge then puts into words."""


class Devices:
    """The fleet's devices as this router reaches them."""

    def __init__(self, *, bus: Bus, fleet: Fleet) -> None:
        self._bus = bus
        self._fleet = fleet

    async def state(self, device_id: str, *, seconds: float | None = None) -> DeviceState:
        """How the device is. NotFound for an unknown one, Unreachable for one that does not answer."""
        return await self._send(device_id, TellState(), DeviceState, seconds)

    async def press(self, device_id: str, about: str, *, seconds: float | None = None) -> str:
        """The id of a new manual event, which is `about` whoever or whatever pressed. Errors as `state`."""
        return (await self._send(device_id, Press(about), Pressed, seconds)).event_id

    async def watch(self, device_id: str, texts: Sequence[str], *, seconds: float | None = None) -> tuple[str, ...]:
        """What the device now watches for. InvalidInput for too many or too long texts; errors as `state`."""
        return (await self._send(device_id, watch_texts_of(texts), Watching, seconds)).texts

    async def _send(self, device_id: str, command: SiteCommand, kind: type[R], seconds: float | None) -> R:
        """The device's reply, within what the caller waits and at most PATIENCE_S."""
        device = self._known(device_id)
        if not self._bus.connected:
            # A request would wait in the client's buffer until the link is back.
            raise Unreachable("The link to the NATS hub is down; it is tried again by itself.")
        payload = site_command_to(device.device_id, command).SerializeToString()
        patience = PATIENCE_S if seconds is None else min(PATIENCE_S, seconds)
        try:
            answer = await self._bus.request(subjects.site_device(device.site_id), payload, timeout=patience)
        except Unreachable as error:
            raise Unreachable(
                f"The edge of {device.site_id} does not answer for {device.device_id}; "
                "start it or check its link to the hub.",
                device=device.device_id,
                site=device.site_id,
            ) from error
        reply = command_reply_of(parse(pb.DeviceCommandReply, answer))
        if not isinstance(reply, kind):
            raise MalformedMessage(f"The edge of {device.site_id} replied to another command; update it.")
        return reply

    def _known(self, device_id: str) -> Device:
        view = self._fleet.view()
        device = view.device(device_id)
        if device is None:
            known = ", ".join(sorted(d.device_id for d in view.devices)) or "none yet"
            raise NotFound(f"There is no device {device_id!r}; known are: {known}.", device=device_id)
        if view.fresh and not (device.enrolled or device.online):
            raise Unreachable(f"{device_id} has never joined; start its agent with its join token.", device=device_id)
        return device
