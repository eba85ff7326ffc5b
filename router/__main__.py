"""The process `router`: builds its parts from settings, serves, and drains on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from contextlib import AsyncExitStack

from foveate import bus, residency, rpc, telemetry
from foveate.clips import ClipStore
from foveate.errors import FoveateError
from foveate.messages import Place
from foveate.v1.answer_service_pb2_grpc import AnswerServiceStub
from foveate.v1.fleet_service_pb2_grpc import FleetServiceStub
from router import settings
from router.asking import Asking
from router.clips import Clips
from router.dispatch import Dispatcher
from router.fleet import FleetWatch
from router.latency import Latencies
from router.pipeline import Desk
from router.records import Records
from router.serve import ClipsService, Questions, register


async def run() -> None:
    """Runs until told to stop; what began last ends first."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stop.set)
    chosen = settings.load()
    telemetry.log_to_stderr(app="router", level=chosen.log_level)
    placement, here = settings.placement_policy(chosen.placement), Place(region=chosen.region)
    rules = residency.load(chosen.policy) if chosen.policy else None
    async with AsyncExitStack() as stack:
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
        desk = Desk(fleet, nodes, placement, Latencies(), here, time.monotonic)
        asking = Asking(desk, records)
        stack.push_async_callback(asking.close)
        store = ClipStore(chosen.data_dir / "clips", max_bytes=chosen.clip_bytes)
        clips = ClipsService(Clips(bus=hub, store=store, fleet=fleet, here=here), here=here)
        questions = Questions(asking, records)
        await stack.enter_async_context(
            rpc.serve(chosen.listen, lambda server: register(server, questions=questions, clips=clips))
        )
        await stop.wait()


def main() -> None:
    """Exit code 0 after a drain; when it cannot run, one sentence and the error's own code."""
    try:
        asyncio.run(run())
    except FoveateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
