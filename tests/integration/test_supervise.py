"""The supervisor with real child processes: gates, deaths, drains, orphans and the lock."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from foveate.cli import run_state, supervise
from foveate.cli.supervise import ChildSpec, Launch, StageEvent, Supervisor
from foveate.errors import InvalidInput, NotReady

STEADY = """
import pathlib, signal, sys, time
def end(*_):
    with open("{order}", "a") as order: order.write("{name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path("{ready}").touch()
print("{name} runs", flush=True)
while True: time.sleep(0.05)
"""


class Bench:
    """Writes small programs and the specs that run them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[StageEvent] = []
        self.supervisor = Supervisor(root, progress=self.events.append)

    def program(self, name: str, text: str) -> Callable[[], Awaitable[Launch]]:
        path = self.root / f"{name}.py"
        path.write_text(text, encoding="utf-8")

        async def launch() -> Launch:
            self.ready_file(name).unlink(missing_ok=True)
            return Launch((sys.executable, "-I", "-S", str(path)))

        return launch

    def ready_file(self, name: str) -> Path:
        return self.root / f"{name}.ready"

    def spec(self, name: str, text: str = STEADY, **options: object) -> ChildSpec:
        async def ready() -> bool:
            return self.ready_file(name).exists()

        filled = text.replace("{order}", str(self.root / "order")).replace("{name}", name)
        launch = self.program(name, filled.replace("{ready}", str(self.ready_file(name))))
        return ChildSpec(name=name, launch=launch, ready=ready, **options)  # type: ignore[arg-type]

    def child(self, name: str) -> run_state.ChildState:
        return next(child for child in self.supervisor.state.children if child.name == name)

    def sentences(self) -> list[str]:
        return [event.message for event in self.events if event.message]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.supervisor.stop()
    run_state.end_orphans(made.supervisor.state, grace=1.0)


async def until(true: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_starts_in_order_of_need_and_drains_in_reverse(bench: Bench, tmp_path: Path) -> None:
    specs = [bench.spec("app", after=("server",)), bench.spec("server"), bench.spec("last", after=("app",))]
    state = await bench.supervisor.start(specs)
    assert state.state == "healthy"
    healthy = [event.name for event in bench.events if event.state == "healthy"]
    assert healthy == ["server", "app", "last", "fleet"]
    pids = [child.pid for child in state.children]
    assert all(os.getsid(pid) == pid != os.getsid(0) for pid in pids)
    assert "server runs" in (tmp_path / "logs" / "server.log").read_text()
    await bench.supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["last", "app", "server"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    stored = run_state.read(tmp_path / "run.json")
    assert stored is not None
    assert stored.state == "stopped"
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600


async def test_a_child_that_dies_while_it_starts_names_its_last_words_and_its_log(bench: Bench, tmp_path: Path) -> None:
    broken = bench.spec("broken", 'import sys\nprint("first")\nsys.exit("the disk is on fire")')
    with pytest.raises(NotReady) as caught:
        await bench.supervisor.start([bench.spec("steady"), broken])
    message = caught.value.message
    assert "broken ended with exit code 1 (its last words: the disk is on fire)" in message
    assert str(tmp_path / "logs" / "broken.log") in message
    assert "\n" not in message
    assert bench.supervisor.state.state == "failed"
    assert not psutil.pid_exists(bench.child("steady").pid)


async def test_the_last_words_of_a_log_in_json_are_its_message(bench: Bench) -> None:
    line = json.dumps({"level": "error", "message": "no such table"})
    with pytest.raises(NotReady, match="its last words: no such table"):
        await bench.supervisor.start([bench.spec("app", f"import sys\nsys.exit('{line}')")])


async def test_a_child_that_never_gets_ready_is_named(bench: Bench) -> None:
    silent = bench.spec("silent", "import time\ntime.sleep(600)", timeout=0.3)
    with pytest.raises(NotReady, match="silent is not ready after 0 s"):
        await bench.supervisor.start([silent])
    assert not psutil.pid_exists(bench.child("silent").pid)


async def test_a_camera_that_hangs_holds_nobody_up_and_joins_later(bench: Bench) -> None:
    text = "import pathlib, time\ntime.sleep(1.5)\npathlib.Path('{ready}').touch()\ntime.sleep(600)"
    late = bench.spec("camera", text, timeout=0.2, essential=False)
    state = await bench.supervisor.start([bench.spec("server"), late])
    assert state.state == "degraded"
    assert bench.child("camera").health == "unready"
    await until(lambda: bench.supervisor.state.state == "healthy")


async def test_input_that_can_never_work_is_not_tried_again(bench: Bench) -> None:
    bad = bench.spec("camera", "import sys\nprint('not a video')\nsys.exit(2)", essential=False)
    state = await bench.supervisor.start([bench.spec("server"), bad])
    assert state.state == "degraded"
    assert InvalidInput.exit_code == 2
    await asyncio.sleep(1.0)
    assert sum(event.name == "camera" and event.state == "starting" for event in bench.events) == 1
    assert any("not a video" in sentence for sentence in bench.sentences())


async def test_a_recording_that_ends_is_no_trouble(bench: Bench) -> None:
    text = "import pathlib, time\npathlib.Path('{ready}').touch()\ntime.sleep(0.5)"
    await bench.supervisor.start([bench.spec("server"), bench.spec("camera", text, essential=False)])
    await until(lambda: bench.child("camera").health == "stopped")
    await asyncio.sleep(0.5)
    assert bench.supervisor.state.state == "healthy"
    assert not psutil.pid_exists(bench.child("camera").pid)


async def test_a_killed_child_comes_back(bench: Bench) -> None:
    await bench.supervisor.start([bench.spec("app")])
    before = bench.child("app")
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: bench.child("app").pid != before.pid and bench.supervisor.state.state == "healthy")
    assert bench.child("app").restarts == 1
    expected = "app was killed by SIGKILL (its last words: app runs); foveate starts it again."
    assert expected in bench.sentences()


async def test_a_child_that_keeps_dying_is_given_up_and_revived_on_demand(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_BACK_OFF", 0.01)
    text = "import pathlib, time\npathlib.Path('{ready}').touch()\ntime.sleep(0.2)\nraise SystemExit('no luck')"
    await bench.supervisor.start([bench.spec("server"), bench.spec("app", text)])
    await until(lambda: any("goes on without it" in sentence for sentence in bench.sentences()))
    starts = [event for event in bench.events if event.name == "app" and event.state == "starting"]
    assert len(starts) == 1 + supervise.RESTARTS
    assert bench.supervisor.state.state == "degraded"
    assert psutil.pid_exists(bench.child("server").pid)
    (bench.root / "app.py").write_text((bench.root / "server.py").read_text().replace("server", "app"))
    bench.supervisor.revive()
    await until(lambda: bench.supervisor.state.state == "healthy")


async def test_one_that_ignores_the_drain_is_killed(bench: Bench) -> None:
    text = (
        "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path('{ready}').touch()\ntime.sleep(600)"
    )
    await bench.supervisor.start([bench.spec("stubborn", text, grace=0.3)])
    pid = bench.child("stubborn").pid
    await bench.supervisor.stop()
    assert not psutil.pid_exists(pid)


async def test_orphans_of_a_killed_supervisor_are_ended_and_strangers_are_not(bench: Bench, tmp_path: Path) -> None:
    def sleeper() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])

    orphan, stranger = sleeper(), sleeper()
    try:
        started = run_state.create_time_of(orphan.pid)
        children = (
            run_state.ChildState(name="orphan", pid=orphan.pid, create_time=started),
            # The number came back to another process: the start time tells them apart.
            run_state.ChildState(name="ended", pid=stranger.pid, create_time=started - 3600),
        )
        state = run_state.RunState(pid=orphan.pid, create_time=1.0, state="healthy", children=children)
        run_state.write(state, tmp_path / "run.json")
        read = run_state.read(tmp_path / "run.json")
        assert read == state
        assert not state.alive
        assert run_state.end_orphans(read, grace=5.0) == ["orphan"]
        assert not run_state.is_same(orphan.pid, started)
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


async def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    text = (
        f"import sys, time; sys.path.insert(0, {str(Path(run_state.__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom foveate.cli import run_state\n"
        f"with run_state.locked(Path({str(lock)!r})) as mine:\n    print(mine, flush=True)\n    time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert run_state.is_locked(lock)
    finally:
        holder.kill()
        holder.communicate()
    assert not run_state.is_locked(lock)


async def test_an_unusable_state_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert run_state.read(tmp_path / "run.json") is None
    assert run_state.read(tmp_path / "missing.json") is None
