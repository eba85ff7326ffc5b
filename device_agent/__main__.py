"""Starts the device agent: `foveate-device` or `python -m device_agent`.

In: settings from the environment, SIGTERM and SIGINT. Out: an exit code, and on failure one JSON line and one plain
sentence on standard error. It knows nothing of what the agent does. Next: `agent.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

# Before NumPy is imported: a device has other work for its cores, and each thread costs memory.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from device_agent import agent, scan, settings  # noqa: E402
from foveate import environment  # noqa: E402
from foveate.errors import FoveateError  # noqa: E402
from foveate.telemetry import log_to_stderr  # noqa: E402

logger = logging.getLogger("device_agent")


def main() -> int:
    """Runs until it is told to stop, or scans one file; returns the exit code."""
    if sys.argv[1:2] == ["scan"]:
        return _guarded(lambda: scan.main(sys.argv[2:]))
    environment.answer_help(
        settings.Settings,
        program="foveate-device",
        description="Watches one camera for Foveate; `foveate-device scan FILE` looks through a recording instead.",
    )
    log_to_stderr(app="device", level=os.environ.get("FOVEATE_DEVICE_LOG_LEVEL", "INFO"))
    return _guarded(lambda: asyncio.run(_run(settings.load())) or 0)


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except FoveateError as error:
        logger.error("stopped", extra={"reason": error.reason, **error.metadata})
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    except Exception:
        logger.exception("a bug stopped the device agent")
        sys.stderr.write("The device agent broke; its log says why.\n")
        return 1


async def _run(chosen: settings.Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await agent.run(chosen, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
