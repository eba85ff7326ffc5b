"""The process `router`: builds its parts from settings, serves, and drains on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from foveate import environment, rpc, telemetry
from foveate.errors import FoveateError
from router import settings
from router.build import build
from router.serve import register

_WHAT = "Places questions on devices, edges and the cloud."


async def run() -> None:
    """Runs until told to stop; what began last ends first."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stop.set)
    chosen = settings.load()
    telemetry.log_to_stderr(app="router", level=chosen.log_level)
    async with AsyncExitStack() as stack:
        services = await build(chosen, stack)
        await stack.enter_async_context(rpc.serve(chosen.listen, lambda server: register(server, services)))
        await stop.wait()


def main() -> None:
    """Exit code 0 after a drain; when it cannot run, one sentence and the error's own code."""
    environment.answer_help(
        settings.Settings, program="foveate-router", description="Places questions on devices, edges and the cloud."
    )
    try:
        asyncio.run(run())
    except FoveateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
