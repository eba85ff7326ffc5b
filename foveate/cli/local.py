"""The fleet on one machine: the same processes and engines as in production, under one data directory.

In come a plan and a directory; out go a running fleet, its end, its state, and progress for whoever shows it.
`up` holds the directory's lock for as long as the fleet runs; `detach` does that in a process of its own, which is
this module run as a program. A second `up` keeps keys, ports, databases and streams.
On a laptop the operator's key lies in the data directory and signs for cloud, router and edges; devices enrol.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from foveate import errors
from foveate.cli import children, fleet_plan, layout, nats_servers, postgres, run_state
from foveate.cli.fleet_plan import EngineSettings, FleetPlan
from foveate.cli.layout import Layout
from foveate.cli.run_state import RunState
from foveate.cli.supervise import ChildSpec, StageEvent, Supervisor
from foveate.errors import AlreadyExists, FoveateError, NotReady
from foveate.telemetry import log_to_stderr

logger = logging.getLogger(__name__)

Progress = Callable[[StageEvent], None]
Specs = Callable[[Layout], list[ChildSpec]]
_REVIVE = signal.SIGUSR1
_UP = {"healthy", "degraded"}
_DOWN_SECONDS = 60.0
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class RunningFleet:
    """A fleet that is up; `already_up` when another process runs it, which `stop` then leaves alone."""

    state: RunState
    already_up: bool
    supervisor: Supervisor | None = None
    lock: contextlib.ExitStack | None = None

    @property
    def endpoints(self) -> dict[str, str]:
        """Where the services listen, by name: `router`, `cloud`, `edge-<site>`, `nats-hub`, ..."""
        return self.state.endpoints

    async def stop(self) -> None:
        """Drain every child and let go of the data directory."""
        if self.supervisor is not None:
            await self.supervisor.stop()
        if self.lock is not None:
            self.lock.close()


def everything(place: Layout) -> list[ChildSpec]:
    """The specs of a whole fleet; NotReady when an app is not installed."""
    require_apps()
    return children.engines(place) + children.apps(place)


async def up(plan: FleetPlan | None, *, data_dir: Path, progress: Progress, specs: Specs = everything) -> RunningFleet:
    """Start the fleet of `plan`, or of the plan that the directory remembers, and return once it is healthy.

    A fleet that runs already is returned as it is, after its missing children were started again. Raises NotReady
    when an engine is missing, a port is taken or a child does not start, AlreadyExists when a fleet of another plan
    runs on the directory. Must be followed by `stop` on what it returns.
    """
    settings = EngineSettings()
    _make_private(data_dir)
    holding = contextlib.ExitStack()
    try:
        while not holding.enter_context(run_state.locked(data_dir / "lock")):
            if (running := await _attach(plan, data_dir, seconds=settings.start_seconds)) is not None:
                holding.close()
                return running
        chosen = plan or _remembered(data_dir)
        orphans = await asyncio.to_thread(run_state.end_orphans, run_state.read(data_dir / "run.json"))
        if orphans:
            logger.warning("ended what a killed fleet left running: %s", ", ".join(orphans))
        supervisor = Supervisor(data_dir, progress=progress)
        holding.enter_context(_revived_by_signal(supervisor))
        place = await asyncio.to_thread(_lay_out, chosen, data_dir, settings)
        supervisor.publish(endpoints=place.endpoints())
        state = await supervisor.start(specs(place))
    except BaseException:
        holding.close()
        raise
    return RunningFleet(state=state, already_up=False, supervisor=supervisor, lock=holding)


async def serve(
    plan: FleetPlan | None,
    *,
    data_dir: Path,
    progress: Progress,
    on_up: Callable[[RunningFleet], None],
    specs: Specs = everything,
) -> None:
    """The fleet in this process until SIGINT or SIGTERM, which drain it, also in the middle of its start."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    running: list[RunningFleet] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(up(plan, data_dir=data_dir, progress=progress, specs=specs))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    try:
        running.append(starting.result())
        on_up(running[0])
        if not running[0].already_up:
            await stopping
    finally:
        stopping.cancel()
        for fleet in running:
            await fleet.stop()


async def detach(plan: FleetPlan | None, *, data_dir: Path, progress: Progress) -> RunState:
    """Start the fleet in a process of its own and return once it is up; raises what that process met."""
    settings = EngineSettings()
    _make_private(data_dir)
    if run_state.is_locked(data_dir / "lock"):
        running = await _attach(plan, data_dir, seconds=settings.start_seconds)
        if running is not None:
            return running.state
    fleet_plan.save(plan or _remembered(data_dir), data_dir / "plan.json")
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))
    with (logs / "fleet.log").open("ab") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "foveate.cli.local", "--data", str(data_dir)),
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return await _follow(process, data_dir, progress)


async def down(data_dir: Path) -> bool:
    """End the fleet on the directory, drained, wherever it was started; returns False when none was running."""
    path, lock = data_dir / "run.json", data_dir / "lock"
    if not lock.exists() or not run_state.is_locked(lock):
        return bool(await asyncio.to_thread(run_state.end_orphans, run_state.read(path)))
    told, deadline = 0, time.monotonic() + _DOWN_SECONDS
    while run_state.is_locked(lock):
        # Read again each time: a fleet that is just starting writes its number a moment after it took the lock.
        state = run_state.read(path)
        if state is not None and state.alive and state.pid != told:
            os.kill(state.pid, signal.SIGTERM)
            told = state.pid
        if time.monotonic() > deadline:
            await asyncio.to_thread(_end_by_force, state)
        await asyncio.sleep(_POLL)
    # Nothing, unless the one that ran it ended without draining.
    await asyncio.to_thread(run_state.end_orphans, run_state.read(path))
    return True


def status(data_dir: Path) -> RunState | None:
    """The fleet on the directory as far as another process can know it; None when there never was one."""
    state = run_state.read(data_dir / "run.json")
    if state is None or state.alive or state.state in {"stopped", "failed"}:
        return state
    return replace(state, state="stopped", trouble="The fleet was killed; `foveate up` resumes it.")


def require_apps() -> None:
    """Raises NotReady when an app or a library of the extra `local` is not installed."""
    names = ("cloud_service.__main__", "router.__main__", "edge_node.__main__", "device_agent.__main__")
    for name in (*names, "av", "onnxruntime", "sqlmodel", "pgvector", "tokenizers"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise NotReady(
                f"{name.partition('.')[0]} is not installed; run `pip install foveate[local]`.", reason="EXTRA_MISSING"
            )


def _end_by_force(state: RunState | None) -> None:
    if state is not None and state.alive:
        run_state.kill_tree(state.pid)


@contextlib.contextmanager
def _revived_by_signal(supervisor: Supervisor) -> Iterator[None]:
    # By default this signal ends a process: another `foveate up` must find it taken for as long as the lock is held.
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
        loop.add_signal_handler(_REVIVE, supervisor.revive)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.remove_signal_handler(_REVIVE)


def _lay_out(plan: FleetPlan, data_dir: Path, settings: EngineSettings) -> Layout:
    names = layout.listeners(plan, settings)
    ports = layout.choose_ports(names, memory=data_dir / "ports.json", fixed={"router": settings.router_port})
    keys = nats_servers.load_keys(data_dir / "keys", sites=tuple(site.name for site in plan.sites))
    nats_servers.refuse_old(nats_servers.find_nats_server())
    nats_servers.mint_credentials(keys)
    server = None
    if not settings.database_url:
        server = postgres.at(postgres.find_postgres(), home=data_dir / "postgres", port=ports["postgres"])
    place = Layout(plan=plan, data=data_dir, ports=ports, keys=keys, settings=settings, server=server)
    layout.refuse_missing_credentials(place)
    if server is None:
        for name in place.databases():
            postgres.create_database(place.database_url(name))
    fleet_plan.save(plan, data_dir / "plan.json")
    return place


async def _attach(plan: FleetPlan | None, data_dir: Path, *, seconds: float) -> RunningFleet | None:
    """The fleet that another process runs here, once it is whole; None when that process is going away."""
    deadline = time.monotonic() + seconds
    nudged = False
    while run_state.is_locked(data_dir / "lock"):
        state = run_state.read(data_dir / "run.json")
        if state is not None and state.alive and state.state in _UP:
            _refuse_other_plan(plan, data_dir)
            # A child that died this moment is missing before its supervisor has noticed.
            whole = state.state == "healthy" and run_state.all_run(state)
            if whole or (nudged and time.monotonic() > deadline - seconds / 2):
                return RunningFleet(state=state, already_up=True)
            if state.state == "degraded" and not nudged:
                os.kill(state.pid, _REVIVE)
                nudged = True
        if time.monotonic() > deadline:
            who = f"process {state.pid}" if state else "another process"
            raise NotReady(
                f"{data_dir} is in use by {who}, which is not up yet; wait for it or run `foveate down`.",
                reason="LOCKED",
            )
        await asyncio.sleep(_POLL)
    return None


def _refuse_other_plan(plan: FleetPlan | None, data_dir: Path) -> None:
    if plan is not None and plan != _remembered(data_dir):
        raise AlreadyExists(
            f"A fleet with other cameras runs on {data_dir}; run `foveate down` first, or choose another --data."
        )


def _remembered(data_dir: Path) -> FleetPlan:
    path = data_dir / "plan.json"
    if not path.exists():
        raise NotReady(f"There is no fleet on {data_dir} yet; name a camera by `foveate up --video PATH`.")
    return fleet_plan.load(path)


async def _follow(process: subprocess.Popen[bytes], data_dir: Path, progress: Progress) -> RunState:
    began, shown = time.monotonic(), dict[str, str]()
    while True:
        code = process.poll()
        state = run_state.read(data_dir / "run.json")
        if state is not None and state.pid == process.pid:
            for child in state.children:
                if shown.get(child.name) != child.health:
                    shown[child.name] = child.health
                    progress(StageEvent(child.name, child.health, time.monotonic() - began, child.trouble))
            if state.state in _UP:
                return state
            if state.state == "failed" and code is not None:
                raise getattr(errors, state.error, NotReady)(state.trouble)
        if code is not None:
            log = data_dir / "logs" / "fleet.log"
            raise NotReady(f"The fleet's own process ended with exit code {code}; its log is {log}.")
        await asyncio.sleep(_POLL)


def _make_private(data_dir: Path) -> None:
    # Root runs PostgreSQL as somebody else, who must be able to pass through; every secret inside is 0600.
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _record_failure(data_dir: Path, error: FoveateError) -> None:
    before = run_state.read(data_dir / "run.json")
    if before is not None and before.pid == os.getpid():
        return
    with run_state.locked(data_dir / "lock") as mine:
        if mine:
            state = RunState(
                pid=os.getpid(),
                create_time=run_state.create_time_of(os.getpid()),
                state="failed",
                trouble=error.message,
                error=type(error).__name__,
            )
            run_state.write(state, data_dir / "run.json")


def main() -> int:
    """`python -m foveate.cli.local --data DIR`: the fleet of DIR/plan.json, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="foveate.cli.local")
    parser.add_argument("--data", type=Path, required=True)
    data_dir = parser.parse_args().data.absolute()
    log_to_stderr(app="fleet")

    def note(event: StageEvent) -> None:
        logger.info("%s is %s", event.name, event.state, extra={"seconds": round(event.seconds, 2)})

    try:
        asyncio.run(serve(None, data_dir=data_dir, progress=note, on_up=lambda _: None))
    except FoveateError as error:
        logger.error("%s", error.message)
        _record_failure(data_dir, error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
