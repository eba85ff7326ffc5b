"""One device over gRPC, through the router and its site: how it is, its button, and what it watches for.

In: the router's address and a device's name. Out: dataclasses of `commands.py`; the errors on the way as ours.
Knows nothing of how they are shown: `funnel.py` is next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from foveate import rpc, wire
from foveate.commands import DeviceState
from foveate.errors import FoveateError
from foveate.v1 import device_service_pb2 as pb
from foveate.v1.device_service_pb2_grpc import DeviceServiceStub

# More than the router waits for the site, so that the router's own words about a silent one arrive first.
_TIMEOUT_S = 10.0


async def states(router: str, devices: Sequence[str]) -> list[DeviceState | FoveateError]:
    """The state of each device or why there is none, in the order of the names; all are asked at once."""
    async with rpc.channel(router) as channel:
        stub = DeviceServiceStub(channel)

        async def state(device: str) -> DeviceState | FoveateError:
            try:
                with rpc.translated():
                    response = await stub.GetDeviceState(pb.GetDeviceStateRequest(device_id=device), timeout=_TIMEOUT_S)
                return wire.device_state_of(response.state)
            except FoveateError as error:
                return error

        return await asyncio.gather(*map(state, devices))


async def state(router: str, device: str) -> DeviceState:
    """The device's state; NotFound for an unknown one, Unreachable for one that does not answer."""
    (found,) = await states(router, [device])
    if isinstance(found, FoveateError):
        raise found
    return found


async def press(router: str, device: str, about: str) -> str:
    """Presses the button; returns the event's id. Errors as `state`."""
    async with rpc.channel(router) as channel:
        with rpc.translated():
            request = pb.PressDeviceRequest(device_id=device, about=about)
            return str((await DeviceServiceStub(channel).PressDevice(request, timeout=_TIMEOUT_S)).event_id)


async def watch(router: str, device: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Sets what the device watches for, and returns that; no texts turn it off. Errors as `state`."""
    async with rpc.channel(router) as channel:
        with rpc.translated():
            request = pb.WatchDeviceRequest(device_id=device, texts=texts)
            return tuple((await DeviceServiceStub(channel).WatchDevice(request, timeout=_TIMEOUT_S)).texts)
