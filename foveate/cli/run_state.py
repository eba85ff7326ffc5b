"""What is running on a data directory, as any process may learn it: the lock and `run.json`.

In come the supervisor's children; out go the lock (an flock, which the kernel drops with its holder and which is
therefore never stale), an atomically replaced state file, and the end of what a killed supervisor left behind.
A process is known by its number and its start time, since numbers come back. Next: `foveate.cli.supervise`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from foveate import identity

logger = logging.getLogger(__name__)

_SAME_START = 2.0  # seconds; the kernel's idea of the boot time moves a little with the clock


@dataclass(frozen=True, slots=True)
class ChildState:
    """One child: `health` is waiting, starting, healthy, unready, restarting, failed or stopped."""

    name: str
    health: str = "waiting"
    pid: int = 0
    create_time: float = 0.0
    ports: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    stop_signal: int = signal.SIGTERM
    log: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class RunState:
    """The fleet: `state` is starting, healthy, degraded, stopping, stopped or failed.

    When it failed, `trouble` is the sentence and `error` the name of its class in `errors.py`.
    """

    pid: int
    create_time: float
    state: str
    children: tuple[ChildState, ...] = ()
    endpoints: dict[str, str] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0
    trouble: str = ""
    error: str = ""

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return is_same(self.pid, self.create_time)


def write(state: RunState, path: Path) -> None:
    """Replace the state file at once; its owner alone may read it, since endpoints hold passwords."""
    identity.write_secret(path, json.dumps(asdict(state), indent=1) + "\n")


def read(path: Path) -> RunState | None:
    """The last state written, None when there is none or when it is unusable."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        children = tuple(ChildState(**child) for child in document.pop("children"))
        return RunState(children=children, **document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("the state file %s is unusable (%s) and is ignored", path, error)
        return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock for the length of the block; yields False when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock."""
    with locked(path) as mine:
        return not mine


def is_same(pid: int, create_time: float) -> bool:
    """Whether the process that had this number and start time still runs."""
    return _process(pid, create_time) is not None


def all_run(state: RunState) -> bool:
    """Whether every child that should run does, by the process table rather than by what was written."""
    return all(is_same(child.pid, child.create_time) for child in state.children if child.health != "stopped")


def create_time_of(pid: int) -> float:
    """When the process started, in Unix seconds; 0 when it has ended already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def end_orphans(state: RunState | None, *, grace: float = 10.0) -> list[str]:
    """End the children that a killed supervisor left running, newest first; returns their names. Blocks."""
    if state is None:
        return []
    found = [(child, _process(child.pid, child.create_time)) for child in reversed(state.children)]
    orphans = [(child, process) for child, process in found if process is not None]
    for child, process in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(child.stop_signal)
    _, left = psutil.wait_procs([process for _, process in orphans], timeout=grace)
    for process in left:
        kill_tree(process.pid)
    psutil.wait_procs(left, timeout=grace)
    return [child.name for child, _ in orphans]


def kill_tree(pid: int) -> None:
    """Kill one process of ours and what it started; nothing happens when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _process(pid: int, create_time: float) -> psutil.Process | None:
    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - create_time) < _SAME_START
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
