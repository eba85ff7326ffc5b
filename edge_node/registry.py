"""The site's devices as the cloud's registry has them: residency rules look at their labels.

In: the cloud's FleetService, asked now and then. Out: devices told to `roster.py`, which is next and keeps them. A
cloud that cannot be reached changes nothing: a device whose labels nobody ever told is treated strictly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from edge_node.roster import Roster
from foveate import rpc
from foveate.errors import FoveateError
from foveate.v1 import fleet_service_pb2 as pb
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from foveate.wire import device_of

logger = logging.getLogger(__name__)

EVERY_S, AGAIN_S = 30.0, 2.0


async def learn_labels(cloud_grpc: str, *, site: str, roster: Roster, stop: asyncio.Event) -> None:
    """Recalls what was known, then asks until `stop` is set: every half minute, soon again while nobody answers."""
    await roster.recall()
    if not cloud_grpc:
        return
    async with rpc.channel(cloud_grpc) as channel:
        stub = FleetServiceStub(channel)
        while not stop.is_set():
            pause = EVERY_S
            try:
                with rpc.translated():
                    answer = await stub.ListDevices(pb.ListDevicesRequest(site_id=site), timeout=5)
                await roster.learn([device_of(message) for message in answer.devices])
            except FoveateError as error:
                logger.debug("labels were not learnt: %s", error)
                pause = AGAIN_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=pause)
