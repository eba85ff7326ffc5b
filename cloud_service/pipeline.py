"""The cloud in one sentence: hear who is there, keep the sources flowing, ingest what they let out.

In: a connection to the hub and the parts. Out: a memory that follows the fleet, until told to stop.
Answers come from beside it, through `serve.py`.
"""

from __future__ import annotations

import asyncio
import contextlib

from cloud_service.ingest import Ingest
from cloud_service.liveness import Liveness
from cloud_service.sources import Sources
from foveate import subjects
from foveate.bus import Bus

_EVERY_SITE = "*"


async def run(*, bus: Bus, liveness: Liveness, sources: Sources, ingest: Ingest, stop: asyncio.Event) -> None:
    """Runs until `stop` is set and what was begun is done; a bug in one part ends them all, and is raised."""
    await bus.listen(subjects.out_presence(_EVERY_SITE), liveness.hear)
    async with asyncio.TaskGroup() as parts:
        parts.create_task(liveness.keep(stop))
        parts.create_task(sources.keep(stop))
        parts.create_task(_ingest(bus, sources=sources, ingest=ingest, stop=stop))


async def _ingest(bus: Bus, *, sources: Sources, ingest: Ingest, stop: asyncio.Event) -> None:
    while not (sources.ready.is_set() or stop.is_set()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sources.ready.wait(), 0.5)
    await bus.consume(
        stream=subjects.INGEST_STREAM,
        durable=subjects.INGEST_DURABLE,
        handler=ingest.take,
        dead_letters=ingest.bury,
        stop=stop,
    )
