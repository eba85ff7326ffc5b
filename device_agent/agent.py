"""The running device: keeps the two loops of `pipeline.py` alive, and tends the link to the site.

In: settings and a signal to stop. Out: a device that captures whatever the network does, and that joins, connects,
reports, answers and sends clips as soon as it can. At the end it closes what is open. Read `pipeline.py` for what
happens to a picture. Started by `__main__.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from device_agent.build import Device, build
from device_agent.enrol import credentials
from device_agent.pipeline import Pipeline
from device_agent.report import beat
from device_agent.settings import Settings
from foveate import identity, subjects
from foveate.bus import Bus, connect
from foveate.errors import OutOfSpace, TryAgain

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WORKERS = 4
_DRAIN_S = 2.0
_DIAL_S = 5.0
_LONGEST_WAIT_S = 10.0


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Runs the device until `stop` is set, then drains for up to two seconds; SIGUSR1 is the button.

    Raises what can never work (a bad video, a used token, an unreadable policy); waits for what may come back.
    """
    ready = settings.data_dir / "ready.json"
    ready.unlink(missing_ok=True)
    device = await asyncio.to_thread(build, settings)
    failure: list[Exception] = []
    # Few, since what runs there is rare and each thread costs memory.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=_WORKERS))
    threads = _start(device, failure, stop)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, loop.run_in_executor, None, device.pipeline.press, "the button")
    link = asyncio.create_task(_link(device, stop, ready))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({link, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        device.halt.set()
        device.parts.inbox.close()
        await asyncio.to_thread(_join, threads)
        # The link drains what the threads have just reported, then ends by itself.
        results = await asyncio.gather(link, stopped, return_exceptions=True)
        ready.unlink(missing_ok=True)
        device.parts.recorder.close()
        device.parts.outbox.close()
    for error in (*failure, *results):
        if isinstance(error, Exception):
            raise _first(error)


def _first(error: Exception) -> Exception:
    """The first error of a group: its sentence is for a person, the group's is not."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _start(device: Device, failure: list[Exception], stop: asyncio.Event) -> list[threading.Thread]:
    """Starts capturing and perceiving; a thread that breaks ends the agent instead of leaving it blind."""
    loop = asyncio.get_running_loop()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failure.append(error)
            loop.call_soon_threadsafe(stop.set)

    works = {"capture": device.pipeline.capture, "perceive": device.pipeline.perceive}
    threads = [threading.Thread(target=guarded, args=(work,), name=name, daemon=True) for name, work in works.items()]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: list[threading.Thread]) -> None:
    # A driver may block for ever inside the kernel; the process ends all the same.
    for thread in threads:
        thread.join(timeout=_DRAIN_S)


async def _link(device: Device, stop: asyncio.Event, ready: Path) -> None:
    """Joins, connects, serves and reports until `stop`; then sends what still waits."""
    bus = await _dialled(device.settings, stop)
    if bus is None:
        return
    parts, sender = device.parts, device.parts.sender
    try:
        await bus.serve(subjects.device_ask(sender.site_id, sender.device_id), device.answerer.serve)
        await bus.serve(subjects.device_clip(sender.site_id, sender.device_id), device.desk.serve)
        await bus.serve(subjects.device_command(sender.site_id, sender.device_id), device.commands.serve)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(parts.reporter.run(bus, stop=stop))
            tasks.create_task(beat(bus, sender=sender, presence=device.pipeline.presence, stop=stop))
            tasks.create_task(_say_ready(device.pipeline, ready, stop))
        await _drain(device, bus)
    finally:
        await bus.close()


async def _dialled(settings: Settings, stop: asyncio.Event) -> Bus | None:
    """The connection, however long it takes; None when the agent is stopped before."""
    path = await _until(
        stop, lambda: credentials(settings.data_dir, cloud=settings.cloud_grpc, join_token=settings.join_token)
    )
    if stop.is_set():
        return None
    return await _until(
        stop,
        lambda: connect(
            settings.nats_url,
            credentials=path,
            name=f"device {settings.id}",
            inbox_prefix=subjects.device_inbox(settings.id),
            wait=_DIAL_S,
        ),
    )


async def _until(stop: asyncio.Event, dial: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """Tries again after each TryAgain, more and more slowly; None once `stop` is set."""
    delay = 0.5
    stopped = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        dialling = asyncio.ensure_future(dial())
        await asyncio.wait({dialling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not dialling.done():
            dialling.cancel()
            return None
        try:
            return await dialling
        except TryAgain as error:
            logger.info("waiting: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=max(delay, min(error.retry_after, _LONGEST_WAIT_S)))
            delay = min(_LONGEST_WAIT_S, 2 * delay)
    return None


async def _say_ready(pipeline: Pipeline, ready: Path, stop: asyncio.Event) -> None:
    """Writes `ready.json` once the first frame was looked at; the link is there already."""
    while not (stop.is_set() or pipeline.looked.is_set()):
        await asyncio.sleep(0.05)
    if pipeline.looked.is_set():
        content = json.dumps({"pid": os.getpid(), "time": pipeline.now()})
        try:
            await asyncio.to_thread(identity.write_secret, ready, content)
        except OSError as error:
            raise OutOfSpace(f"{ready} cannot be written ({error.strerror}); free space on this device.") from error


async def _drain(device: Device, bus: Bus) -> None:
    """Sends what waits for up to two seconds, once the threads have closed their events."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            while device.pipeline.perceiving:
                await asyncio.sleep(0.02)
            while await device.parts.reporter.drain(bus):
                pass
    except (TimeoutError, TryAgain):
        logger.info("events wait in the outbox for the next start", extra={"depth": device.parts.outbox.depth})
