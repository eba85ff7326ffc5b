"""`foveate` as a user runs it: a process with arguments, an exit code and what it printed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOVEATE = (sys.executable, "-m", "foveate.cli")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`foveate` on one data directory."""

    data: Path

    def run(self, *arguments: str, timeout: float = 120.0, data: bool = True) -> Ran:
        command = [*FOVEATE, *arguments, *(("--data", str(self.data)) if data else ())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, timeout: float = 120.0) -> dict[str, Any]:
        ran = self.run(*arguments, "--json", timeout=timeout)
        assert ran.code == 0, f"{arguments}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran.json

    def children(self) -> dict[str, int]:
        state = json.loads((self.data / "run.json").read_text())
        return {child["name"]: child["pid"] for child in state["children"]}

    def until(self, what: Callable[[], Any], *, seconds: float = 60.0) -> Any:
        """Polls until `what` gives something truthy, which it returns."""
        deadline = time.monotonic() + seconds
        while True:
            if found := what():
                return found
            assert time.monotonic() < deadline, f"nothing within {seconds} s"
            time.sleep(0.2)
