"""What the README shows is run: its two commands, its demo and every `foveate` line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import CommandLine, Ran

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
ASKED = [command for command in COMMANDS if command.startswith("foveate ")]


def test_the_first_two_commands_are_all_that_is_needed() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    for command, runs in (("make demo", ".venv/bin/foveate demo"), ("make test", ".venv/bin/pytest")):
        planned = subprocess.run(
            [*command.split(), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert runs in planned.stdout
        assert "pip install" in planned.stdout


def test_nothing_is_left_to_fill_in() -> None:
    assert "BENCH" not in README
    assert "TODO" not in README
    assert "_TABLE" not in README


def test_ci_runs_the_second_command() -> None:
    assert (ROOT / ".ci" / "run").read_text().strip().endswith("make test")


def test_the_demo_prints_what_is_shown(demo: tuple[Ran, Path]) -> None:
    shown = next(block for block in BLOCKS if block.startswith("$ make demo"))
    printed = _stories(demo[0].err)
    expected = _stories(shown)
    assert len(expected) >= 6
    for question, story in expected.items():
        assert question in printed, f"the demo does not ask {question!r}"
        assert story <= printed[question], f"{question}: {story - printed[question]} is not printed"


def _stories(text: str) -> dict[str, set[str]]:
    """For each question, how its steps and itself ended: `✓ answered edge south from CLIP`, `refused`, ..."""
    stories: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        if asked := re.match(r"\d  (\S.*)", line):
            current = stories.setdefault(asked[1].strip(), set())
        elif step := re.match(r"\s*([✓↑✗·] \w+) (\w+ ?[\w-]*? from [A-Z_]+)", line):
            current.add(f"{step[1]} {step[2]}")
        elif end := re.match(r"\s*(answer|refused|cannot tell) ", line):
            current.add(end[1])
    return stories


@pytest.mark.parametrize("command", ASKED, ids=lambda command: command[:60])
def test_every_command_works(command: str, fleet: CommandLine, clips: dict[str, Path], tmp_path: Path) -> None:
    arguments = [argument.replace("door.mp4", str(clips["bikes"])) for argument in shlex.split(command)[1:]]
    if arguments[0] in ("up", "down", "demo"):
        assert fleet.run(*arguments[:1], "--help", data=False).code == 0
        for option in (a for a in arguments if a.startswith("--")):
            assert option in fleet.run(arguments[0], "--help", data=False).out
        return
    if arguments[0] == "explain":
        fleet.ok("ask", "is there a person in view?", "--device", "cam-2")
    arguments = [str(tmp_path / a) if a.endswith(".mp4") else a for a in arguments]
    ran = fleet.run(*arguments, data=arguments[0] != "models")
    assert ran.code in (0, 5), ran.err
    assert "Traceback" not in ran.err


def test_a_recording_is_scanned(clips: dict[str, Path]) -> None:
    scans = [command for command in COMMANDS if command.startswith("foveate-device ")]
    assert scans
    for command in scans:
        arguments = [argument.replace("door.mp4", str(clips["bikes"])) for argument in shlex.split(command)[1:]]
        ran = subprocess.run(
            [sys.executable, "-m", "device_agent", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "x real time" in ran.stdout


def test_the_map_names_files_that_exist() -> None:
    drawn = README.split("## Map of the files")[1]
    for path in re.findall(r"^([\w./-]+/?) {2,}\S", drawn, flags=re.MULTILINE):
        assert (ROOT / path).exists(), path
