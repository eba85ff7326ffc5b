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
from router.site_fleet import SiteFleet
from router.site_nodes import SiteNodes
from router.uplink import Uplink


async def build(chosen: Settings, stack: AsyncExitStack) -> Services:
    """The services; Unreachable without a NATS hub, NotFound or InvalidInput for a policy that cannot be read."""
    return await (_of_a_site if chosen.site else _of_the_fleet)(chosen, stack)


async def _of_the_fleet(chosen: Settings, stack: AsyncExitStack) -> Services:
    """The router beside the cloud, which reaches sites over the hub."""
    placement, here = placement_policy(chosen.placement), Place(region=chosen.region)
    rules = residency.load(chosen.policy) if chosen.policy else None
    records = _records(chosen, stack)
    hub = await bus.connect(chosen.nats_url, credentials=chosen.credentials, name="router")
    stack.push_async_callback(hub.close)
    cloud = await stack.enter_async_context(rpc.channel(chosen.cloud_grpc))
    fleet = FleetWatch(FleetServiceStub(cloud), chosen.data_dir / "fleet", policy=rules)
    await _watched(fleet, stack)
    nodes = Dispatcher(hub, AnswerServiceStub(cloud))
    questions = _questions(Desk(fleet, nodes, placement, Latencies(), here, time.monotonic), records, stack)
    store = ClipStore(chosen.data_dir / "clips", max_bytes=chosen.clip_bytes)
    clips = Clips(bus=hub, store=store, fleet=fleet, here=here)
    devices = DevicesService(Devices(bus=hub, fleet=fleet))
    return Services(questions, ClipsService(clips, here=here), devices)


async def _of_a_site(chosen: Settings, stack: AsyncExitStack) -> Services:
    """A site's own router, which reaches the edge on the site's network and needs nothing else."""
    placement, here = placement_policy(chosen.placement), Place(chosen.region, chosen.site)
    rules = residency.load(chosen.policy) if chosen.policy else None
    records = _records(chosen, stack)
    edge = await stack.enter_async_context(rpc.channel(chosen.edge_grpc))
    cloud = await stack.enter_async_context(rpc.channel(chosen.cloud_grpc)) if chosen.cloud_grpc else None
    watch = FleetWatch(FleetServiceStub(edge), chosen.data_dir / "fleet", policy=rules)
    await _watched(watch, stack)
    uplink = Uplink(FleetServiceStub(cloud) if cloud else None, site_id=chosen.site)
    await uplink.look()
    stack.callback(asyncio.create_task(uplink.watch()).cancel)
    asked = AnswerServiceStub(cloud) if cloud else None
    desk = Desk(
        SiteFleet(edge=watch, uplink=uplink),
        SiteNodes(edge=AnswerServiceStub(edge), cloud=asked, uplink=uplink),
        placement,
        Latencies(),
        here,
        time.monotonic,
        cloud=Place(region=chosen.cloud_region),
        sign=uplink.sign,
    )
    return Services(_questions(desk, records, stack))


def _records(chosen: Settings, stack: AsyncExitStack) -> Records:
    return stack.enter_context(contextlib.closing(Records(chosen.data_dir / "questions.sqlite")))


def _questions(desk: Desk, records: Records, stack: AsyncExitStack) -> Questions:
    asking = Asking(desk, records)
    stack.push_async_callback(asking.close)
    return Questions(asking, records)


async def _watched(fleet: FleetWatch, stack: AsyncExitStack) -> None:
    await fleet.recall()
    await fleet.refresh()
    stack.callback(asyncio.create_task(fleet.watch()).cancel)
