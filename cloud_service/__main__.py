"""The process `cloud_service`: builds its parts from settings, serves, and drains on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from cloud_service import pipeline, settings
from cloud_service.enrol import Enrolment
from cloud_service.ingest import Ingest
from cloud_service.liveness import Liveness
from cloud_service.reason import Reason
from cloud_service.registry import Registry
from cloud_service.serve import AnswerServicer, EnrolmentServicer, FleetServicer, serving
from cloud_service.sources import Sources
from cloud_service.tables import TABLES
from foveate import bus, environment, models, residency, telemetry
from foveate.errors import FoveateError
from foveate.memory import Memory
from foveate.text import TextEncoder

_WHAT = "The registry of a fleet, and its reasoning over all sites."


async def run() -> None:
    """Runs until told to stop; what began last ends first."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stop.set)
    chosen = settings.load()
    telemetry.log_to_stderr(app="cloud_service", level=chosen.log_level)
    policy = residency.load(chosen.policy)
    text = TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(Memory.open(chosen.database_url, tables=TABLES))
        hub = await bus.connect(chosen.nats_url, credentials=chosen.credentials, name="cloud")
        stack.push_async_callback(hub.close)
        registry = Registry(memory)
        liveness = Liveness(registry)
        sources = Sources(hub, sites=registry.site_ids, online=liveness.online)
        ingest = Ingest(memory=memory, registry=registry, policy=policy, region=chosen.region)
        reason = Reason(memory=memory, registry=registry, liveness=liveness, policy=policy, text=text)
        fleet = FleetServicer(registry=registry, liveness=liveness, sources=sources, memory=memory, policy=policy)
        joining, answering = EnrolmentServicer(Enrolment(registry, keys=chosen.keys_dir)), AnswerServicer(reason)
        await stack.enter_async_context(serving(chosen, fleet=fleet, enrolment=joining, answer=answering))
        await pipeline.run(bus=hub, liveness=liveness, sources=sources, ingest=ingest, stop=stop)


def main() -> None:
    """Exit code 0 after a drain; when it cannot run, one sentence and the error's own code."""
    environment.answer_help(
        settings.Settings,
        program="foveate-cloud",
        description="The registry of a fleet, and its reasoning over all sites.",
    )
    try:
        asyncio.run(run())
    except FoveateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
