"""The running device: builds the parts from settings, keeps the two loops alive, and tends the link to the site.

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
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uuid_utils

from device_agent.answer import Answerer
from device_agent.capture import open_camera
from device_agent.clips import ClipDesk
from device_agent.clock import SteadyClock
from device_agent.enrol import credentials
from device_agent.frames import Decoder, Inbox
from device_agent.funnel import Funnel
from device_agent.ladder import Ladder
from device_agent.look import Looker, OneEye
from device_agent.outbox import Outbox
from device_agent.pipeline import Pipeline
from device_agent.record import Recorder
from device_agent.report import Release, Reporter, beat
from device_agent.rules import Retention
from device_agent.sender import Sender
from device_agent.settings import Settings
from device_agent.trigger import Trigger
from device_agent.weigh import PacketGate
from foveate import identity, models, residency, subjects
from foveate.bus import Bus, connect
from foveate.errors import NotReady, OutOfSpace, TryAgain
from foveate.vision.detect import NanoDet
from foveate.vision.encode import LiteEncoder

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WORKERS = 4
_DRAIN_S = 2.0
_DIAL_S = 5.0
_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """All that runs."""

    settings: Settings
    sender: Sender
    pipeline: Pipeline
    inbox: Inbox
    recorder: Recorder
    outbox: Outbox
    reporter: Reporter
    answerer: Answerer
    desk: ClipDesk
    halt: threading.Event


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Runs the device until `stop` is set, then drains for up to two seconds.

    Raises what can never work (a bad video, a used token, an unreadable policy); waits for what may come back.
    """
    ready = settings.data_dir / "ready.json"
    ready.unlink(missing_ok=True)
    parts = await asyncio.to_thread(_build, settings)
    failure: list[Exception] = []
    # Few, since what runs there is rare and each thread costs memory.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=_WORKERS))
    threads = _start(parts, failure, stop)
    link = asyncio.create_task(_link(parts, stop, ready))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({link, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        parts.halt.set()
        parts.inbox.close()
        await asyncio.to_thread(_join, threads)
        # The link drains what the threads have just reported, then ends by itself.
        results = await asyncio.gather(link, stopped, return_exceptions=True)
        ready.unlink(missing_ok=True)
        parts.recorder.close()
        parts.outbox.close()
    for error in (*failure, *results):
        if isinstance(error, Exception):
            raise error


def _build(settings: Settings) -> _Parts:
    """Every part, with nothing started. Blocking: opens networks, databases and the camera's file."""
    policy = residency.load(settings.policy)
    data, clock, halt = _writable(settings.data_dir), SteadyClock(), threading.Event()
    sender = Sender(settings.id, settings.site, settings.region, settings.label_words)
    camera = open_camera(settings.source, loop=settings.loop, speed=settings.speed, clock=clock, stop=halt)
    eye, funnel, decoder = OneEye(NanoDet(models.find("nanodet-g"))), Funnel(), Decoder()
    encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))
    looker = Looker(eye=eye, encoder=encoder, funnel=funnel)
    outbox = Outbox(data / "outbox.sqlite", max_bytes=settings.outbox_bytes)
    reporter = Reporter(outbox, sender=sender, release=Release(policy, sender), clock=clock)
    reporter.close_left_open()
    retention = Retention(max_bytes=settings.ring_bytes, idle_s=settings.ring_seconds)
    recorder = Recorder(data / "ring", retention=retention)
    inbox = Inbox()
    pipeline = Pipeline(
        camera=camera,
        recorder=recorder,
        inbox=inbox,
        decoder=decoder,
        looker=looker,
        ladder=Ladder(gate=PacketGate(), decoder=decoder, looker=looker, funnel=funnel, fps=settings.analysis_fps),
        funnel=funnel,
        trigger=Trigger(sender, new_id=lambda: str(uuid_utils.uuid7()), meaning=looker.meaning),
        reporter=reporter,
        clock=clock,
    )
    answerer = Answerer(pipeline, detector=eye, policy=policy, sender=sender, now=clock.now)
    desk = ClipDesk(
        recorder,
        detector=eye,
        policy=policy,
        sender=sender,
        edge=settings.edge_grpc,
        folder=data / "clips",
    )
    return _Parts(settings, sender, pipeline, inbox, recorder, outbox, reporter, answerer, desk, halt)


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotReady(
            f"{folder} cannot be made ({error.strerror}); set FOVEATE_DEVICE_DATA_DIR to a folder that can be written.",
            path=str(folder),
        ) from error
    return folder


def _start(parts: _Parts, failure: list[Exception], stop: asyncio.Event) -> list[threading.Thread]:
    """Starts capturing and perceiving; a thread that breaks ends the agent instead of leaving it blind."""
    loop = asyncio.get_running_loop()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failure.append(error)
            loop.call_soon_threadsafe(stop.set)

    works = {"capture": parts.pipeline.capture, "perceive": parts.pipeline.perceive}
    threads = [threading.Thread(target=guarded, args=(work,), name=name, daemon=True) for name, work in works.items()]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: list[threading.Thread]) -> None:
    # A driver may block for ever inside the kernel; the process ends all the same.
    for thread in threads:
        thread.join(timeout=_DRAIN_S)


async def _link(parts: _Parts, stop: asyncio.Event, ready: Path) -> None:
    """Joins, connects, serves and reports until `stop`; then sends what still waits."""
    bus = await _dialled(parts.settings, stop)
    if bus is None:
        return
    sender = parts.sender
    try:
        await bus.serve(subjects.device_ask(sender.site_id, sender.device_id), parts.answerer.serve)
        await bus.serve(subjects.device_clip(sender.site_id, sender.device_id), parts.desk.serve)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(parts.reporter.run(bus, stop=stop))
            tasks.create_task(beat(bus, sender=sender, presence=lambda: parts.pipeline.presence(sender), stop=stop))
            tasks.create_task(_say_ready(parts.pipeline, ready, stop))
        await _drain(parts, bus)
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


async def _drain(parts: _Parts, bus: Bus) -> None:
    """Sends what waits for up to two seconds, once the threads have closed their events."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            while parts.pipeline.perceiving:
                await asyncio.sleep(0.02)
            while await parts.reporter.drain(bus):
                pass
    except (TimeoutError, TryAgain):
        logger.info("events wait in the outbox for the next start", extra={"depth": parts.outbox.depth})
