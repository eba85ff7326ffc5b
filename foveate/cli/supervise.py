"""Child processes with health gates: started in the order of what they need, kept alive, drained in reverse.

In come `ChildSpec`s; out go running processes, `StageEvent`s for whoever shows progress, and `run.json`.
Each child leads a session of its own, so that Ctrl-C reaches only the supervisor. A dead child is started again
with back-off, at most 5 times in 60 s; then the fleet goes on without it and says so.
It knows no engine and no app: `foveate.cli.local` writes the specs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from foveate.cli import run_state
from foveate.cli.run_state import ChildState, RunState
from foveate.errors import FoveateError, InvalidInput, NotReady

logger = logging.getLogger(__name__)

RESTARTS = 5
WINDOW = 60.0  # seconds
_BACK_OFF = 0.25  # seconds before the first restart; doubles
_POLL = 0.05  # seconds between two looks at a health gate
_LOG_LIMIT = 8 * 1024 * 1024  # bytes after which a log is set aside at the next start


@dataclass(frozen=True, slots=True)
class StageEvent:
    """A child, or the fleet itself (`name` "fleet"), came to another state `seconds` after the start."""

    name: str
    state: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run: a command line and what its environment has on top of ours."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child: `launch` is awaited before every start, `ready` is polled until it says yes.

    `after` names children that must be healthy first. When an `essential` child does not start, nothing does; any
    other one is reported and tried again while the fleet goes on. Times are in seconds.
    """

    name: str
    launch: Callable[[], Awaitable[Launch]]
    ready: Callable[[], Awaitable[bool]]
    after: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    essential: bool = True
    timeout: float = 60.0
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    state: ChildState
    log: Path
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    process: subprocess.Popen[bytes] | None = None
    error: FoveateError | None = None
    starts: deque[float] = field(default_factory=deque)
    log_start: int = 0


class Supervisor:
    """Owns the children of one data directory; the caller holds the lock and calls `stop` in the end."""

    def __init__(self, directory: Path, *, progress: Callable[[StageEvent], None]) -> None:
        self._state_file = directory / "run.json"
        self._logs = directory / "logs"
        self._progress = progress
        self._began = time.monotonic()
        self._children: dict[str, _Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._run = RunState(
            pid=os.getpid(),
            create_time=run_state.create_time_of(os.getpid()),
            state="starting",
            started=time.time(),
        )

    @property
    def state(self) -> RunState:
        """The fleet as it is now."""
        return replace(self._run, children=tuple(child.state for child in self._children.values()))

    def publish(self, *, endpoints: Mapping[str, str]) -> None:
        """Tell in `run.json` where the services of the fleet listen."""
        self._run = replace(self._run, endpoints=dict(endpoints))
        self._write()

    async def start(self, specs: Iterable[ChildSpec]) -> RunState:
        """Start all and return once each is healthy or, when not essential, has been reported.

        Raises the error of the first essential child that did not start, after all others were drained.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        self._logs.chmod(0o700)
        for spec in specs:
            log = self._logs / f"{spec.name}.log"
            state = ChildState(name=spec.name, ports=dict(spec.ports), log=str(log), stop_signal=spec.stop_signal)
            self._children[spec.name] = _Child(spec=spec, state=state, log=log)
        self._write()
        self._keepers = [asyncio.create_task(self._keep(child)) for child in self._children.values()]
        settled = [asyncio.create_task(self._settled(child)) for child in self._children.values()]
        try:
            await asyncio.gather(*settled)
        except BaseException as error:
            for task in settled:
                task.cancel()
            await asyncio.gather(*settled, return_exceptions=True)
            await self.stop(error if isinstance(error, FoveateError) else None)
            raise
        self._judge()
        return self.state

    async def stop(self, error: FoveateError | None = None) -> None:
        """Drain all in reverse order of what they need; what does not end in its grace is killed."""
        if self._stopping:
            return
        self._stopping = True
        self._fleet("stopping")
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        left = dict(self._children)
        while left:
            needed = {name for child in left.values() for name in child.spec.after}
            last = [name for name in left if name not in needed] or list(left)
            await asyncio.gather(*(self._end(left.pop(name)) for name in last))
        self._fleet("failed" if error else "stopped", error)

    def revive(self) -> None:
        """Try again at once what was given up or waits for its next restart."""
        for child in self._children.values():
            child.starts.clear()
            child.wake.set()

    async def _settled(self, child: _Child) -> None:
        await child.settled.wait()
        if child.error is not None and child.spec.essential:
            raise child.error

    async def _keep(self, child: _Child) -> None:
        for name in child.spec.after:
            await self._children[name].settled.wait()
        while True:
            final = await self._life(child)
            child.settled.set()
            child.wake.clear()
            if final or self._used_up(child):
                self._judge()
                await child.wake.wait()
            else:
                delay = _BACK_OFF * 2 ** max(len(child.starts) - 1, 0)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.wake.wait(), delay)

    async def _life(self, child: _Child) -> bool:
        """One start, health and death; returns whether another start could not help."""
        child.starts.append(time.monotonic())
        try:
            await self._launch(child)
            await self._gate(child)
        except FoveateError as error:
            child.error = error
            self._change(child, "failed", error.message)
            return isinstance(error, InvalidInput)
        except Exception as error:
            logger.exception("%s could not be started", child.spec.name)
            child.error = NotReady(f"{child.spec.name} could not be started ({error}); see its log {child.log}.")
            self._change(child, "failed", child.error.message)
            return False
        child.error = None
        self._change(child, "healthy")
        child.settled.set()
        self._judge()
        await self._death(child)
        if not child.spec.essential and child.process is not None and child.process.returncode == 0:
            self._change(child, "stopped")  # a recording came to its end
            return True
        again = "foveate starts it again" if not self._used_up(child) else _given_up()
        self._change(child, "restarting", f"{self._epitaph(child)}; {again}.")
        self._judge()
        return False

    async def _launch(self, child: _Child) -> None:
        self._change(child, "starting")
        launch = await child.spec.launch()
        if child.log.exists() and child.log.stat().st_size > _LOG_LIMIT:
            child.log.replace(child.log.with_suffix(".log.1"))
        with child.log.open("ab") as log:
            child.log_start = log.tell()
            try:
                child.process = subprocess.Popen(
                    launch.command,
                    env={**os.environ, **launch.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotReady(f"{child.spec.name} could not be started ({error}); {_REINSTALL}.") from error
        pid = child.process.pid
        child.state = replace(
            child.state,
            pid=pid,
            create_time=run_state.create_time_of(pid),
            restarts=child.state.restarts + (1 if child.state.pid else 0),
        )
        self._write()

    async def _gate(self, child: _Child) -> None:
        deadline = time.monotonic() + child.spec.timeout
        while not await child.spec.ready():
            if child.process is not None and child.process.poll() is not None:
                message = f"{self._epitaph(child)} while it started; its log is {child.log}."
                raise _death_error(child.process.returncode)(message, reason="CHILD_DIED", child=child.spec.name)
            if time.monotonic() > deadline and child.state.health == "starting":
                self._late(child)
            await asyncio.sleep(_POLL)

    def _late(self, child: _Child) -> None:
        message = (
            f"{child.spec.name} is not ready after {child.spec.timeout:.0f} s ({self._last_line(child)}); its log is "
            f"{child.log}."
        )
        if child.spec.essential and not child.settled.is_set():
            raise NotReady(message, reason="NOT_HEALTHY", child=child.spec.name)
        # A camera that hangs must not hold the others up; it turns healthy whenever it comes.
        self._change(child, "unready", message)
        child.settled.set()
        self._judge()

    async def _death(self, child: _Child) -> None:
        while child.process is not None and child.process.poll() is None:
            await asyncio.sleep(2 * _POLL)

    async def _end(self, child: _Child) -> None:
        process = child.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(child.spec.stop_signal)
            deadline = time.monotonic() + child.spec.grace
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            if process.poll() is None:
                logger.warning("%s did not end in %.0f s and was killed", child.spec.name, child.spec.grace)
                run_state.kill_tree(process.pid)
                await asyncio.to_thread(process.wait)
        self._change(child, "stopped")

    def _used_up(self, child: _Child) -> bool:
        while child.starts and time.monotonic() - child.starts[0] > WINDOW:
            child.starts.popleft()
        return len(child.starts) > RESTARTS

    def _epitaph(self, child: _Child) -> str:
        code = child.process.returncode if child.process is not None else 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{child.spec.name} {how} ({self._last_line(child)})"

    def _last_line(self, child: _Child) -> str:
        with contextlib.suppress(OSError), child.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(child.log_start, end - 8192))
            lines = log.read().decode(errors="replace").strip().splitlines()
            if lines:
                return f"its last words: {_words(lines[-1]).rstrip('.')}"
        return "it said nothing"

    def _change(self, child: _Child, health: str, trouble: str = "") -> None:
        child.state = replace(child.state, health=health, trouble=trouble)
        if trouble:
            logger.warning("%s", trouble)
        self._write()
        self._progress(StageEvent(child.spec.name, health, time.monotonic() - self._began, trouble))

    def _judge(self) -> None:
        if self._stopping or not all(child.settled.is_set() for child in self._children.values()):
            return
        whole = all(child.state.health in {"healthy", "stopped"} for child in self._children.values())
        if not self._run.seconds:
            self._run = replace(self._run, seconds=time.monotonic() - self._began)
        self._fleet("healthy" if whole else "degraded")

    def _fleet(self, state: str, error: FoveateError | None = None) -> None:
        if state == self._run.state:
            return
        text, kind = (error.message, type(error).__name__) if error else ("", "")
        self._run = replace(self._run, state=state, trouble=text, error=kind)
        self._write()
        self._progress(StageEvent("fleet", state, time.monotonic() - self._began, text))

    def _write(self) -> None:
        try:
            run_state.write(self.state, self._state_file)
        except OSError as error:  # a full disk must not end the fleet
            logger.warning("%s could not be written (%s); free some space", self._state_file, error)


_REINSTALL = "run `pip install foveate[local]`"


def _given_up() -> str:
    return (
        f"it died {RESTARTS + 1} times in {WINDOW:.0f} s, so the fleet goes on without it until the next `foveate up`"
    )


def _death_error(code: int) -> type[FoveateError]:
    # Our apps end with 2 when what they were given can never work; a restart would only repeat that.
    return InvalidInput if code == InvalidInput.exit_code else NotReady


def _words(line: str) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(line).get("message", line))[:300]
    return line[-300:]
