"""Builds a router from its settings: links, fleet, records, questions, clips and commands.

In: settings and a stack that ends what is built, the last first. Out: the services, ready to be registered.
Nothing connects on import; `__main__` is the only caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

from foveate import bus, residency, rpc
from foveate.clips import ClipStore
from foveate.messages import Place
from foveate.v1.answer_service_pb2_grpc import AnswerServiceStub
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from router.asking import Asking
from router.clips import Clips
from router.devices import Devices
from router.dispatch import Dispatcher
from router.fleet import FleetWatch
from router.latency import Latencies
from router.pipeline import Desk
from router.records import Records
from router.serve import ClipsService, DevicesService, Questions, Services
from router.settings import Settings, placement_policy


async def build(chosen: Settings, stack: AsyncExitStack) -> Services:
    """The services; Unreachable without a NATS hub, NotFound or InvalidInput for a policy that cannot be read."""
    placement, here = placement_policy(chosen.placement), Place(region=chosen.region)
    rules = residency.load(chosen.policy) if chosen.policy else None
    records = stack.enter_context(contextlib.closing(Records(chosen.data_dir / "questions.sqlite")))
    hub = await bus.connect(chosen.nats_url, credentials=chosen.credentials, name="router")
    stack.push_async_callback(hub.close)
    cloud = await stack.enter_async_context(rpc.channel(chosen.cloud_grpc))
    fleet = FleetWatch(FleetServiceStub(cloud), chosen.data_dir / "fleet", policy=rules)
    await fleet.recall()
    await fleet.refresh()
    watching = asyncio.create_task(fleet.watch())
    stack.callback(watching.cancel)
    nodes = Dispatcher(hub, AnswerServiceStub(cloud))
    asking = Asking(Desk(fleet, nodes, placement, Latencies(), here, time.monotonic), records)
    stack.push_async_callback(asking.close)
    store = ClipStore(chosen.data_dir / "clips", max_bytes=chosen.clip_bytes)
    clips = Clips(bus=hub, store=store, fleet=fleet, here=here)
    devices = DevicesService(Devices(bus=hub, fleet=fleet))
    return Services(Questions(asking, records), ClipsService(clips, here=here), devices)
