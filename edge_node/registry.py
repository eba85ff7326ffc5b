"""The labels of the site's devices, as the cloud's registry has them: residency rules look at labels.

In: the cloud's FleetService, asked now and then. Out: labels told to `devices.py`, which is next. A cloud that cannot
be reached changes nothing: events carry labels too, and a device whose labels nobody told is treated strictly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from edge_node.devices import Devices
from foveate import rpc
from foveate.errors import FoveateError
from foveate.v1 import fleet_service_pb2 as pb
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from foveate.wire import device_of

logger = logging.getLogger(__name__)

EVERY_S, AGAIN_S = 30.0, 2.0


async def learn_labels(cloud_grpc: str, *, site: str, devices: Devices, stop: asyncio.Event) -> None:
    """Asks until `stop` is set: every half minute, and soon again while the cloud does not answer."""
    if not cloud_grpc:
        return
    async with rpc.channel(cloud_grpc) as channel:
        stub = FleetServiceStub(channel)
        while not stop.is_set():
            pause = EVERY_S
            try:
                with rpc.translated():
                    answer = await stub.ListDevices(pb.ListDevicesRequest(site_id=site), timeout=5)
                for message in answer.devices:
                    device = device_of(message)
                    devices.learn(device.device_id, device.labels)
            except FoveateError as error:
                logger.debug("labels were not learnt: %s", error)
                pause = AGAIN_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=pause)
