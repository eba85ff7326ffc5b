"""The process `edge_node`: builds its parts from settings, serves, and drains on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from edge_node import build, models, pipeline, settings
from edge_node.serve import serving
from edge_node.tables import TABLES
from edge_node.vlm import configure
from foveate import bus, environment, residency, telemetry
from foveate.errors import FoveateError
from foveate.memory import Memory

_WHAT = "The edge node of one site."


async def run() -> None:
    """Runs until told to stop; what began last ends first."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stop.set)
    chosen = settings.load()
    telemetry.log_to_stderr(app="edge_node", level=chosen.log_level)
    policy = residency.load(chosen.policy)
    async with AsyncExitStack() as stack:
        vlm = await stack.enter_async_context(configure.of_site(chosen.vlm))
        networks = await asyncio.to_thread(models.of, chosen, vlm=vlm)
        memory = await stack.enter_async_context(Memory.open(chosen.database_url, tables=TABLES))
        local = await bus.connect(chosen.nats_url, credentials=chosen.local_credentials, name="edge")
        stack.push_async_callback(local.close)
        bridged = await bus.connect(chosen.nats_url, credentials=chosen.bridged_credentials, name="edge-out")
        stack.push_async_callback(bridged.close)
        edge = build.edge(chosen, policy=policy, models=networks, memory=memory, local=local, bridged=bridged)
        await pipeline.prepare(edge.parts)
        await stack.enter_async_context(serving(chosen.listen, *edge.services))
        await pipeline.run(edge.parts, stop)


def main() -> None:
    """Exit code 0 after a drain; when it cannot run, one sentence and the error's own code."""
    environment.answer_help(settings.Settings, program="foveate-edge", description=_WHAT)
    try:
        asyncio.run(run())
    except FoveateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
