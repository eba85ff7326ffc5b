"""Which model answers at a site, as `foveate models` tells it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveate.cli import answerers, run_state
from foveate.cli.__main__ import app
from foveate.cli.run_state import ChildState, RunState

QWEN = "kind: openai\nurl: http://gpu-1:8000/v1\nmodel: qwen2.5-vl-7b\nrevision: awq\nkey_file: key\n"


def test_a_named_configuration_is_listed(tmp_path: Path) -> None:
    (tmp_path / "north.yaml").write_text(QWEN)
    (tmp_path / "south.yaml").write_text("kind: transformers\npath: weights\nmodel: smolvlm\nquantisation: w4a16\n")
    files = ["--vlm", str(tmp_path / "north.yaml"), "--vlm", str(tmp_path / "south.yaml"), "--data", str(tmp_path)]
    north, south = json.loads(CliRunner().invoke(app(), ["models", "--json", *files]).stdout)["answerers"]
    assert (north["kind"], north["model"], north["origin"]) == ("openai", "qwen2.5-vl-7b@awq", "http://gpu-1:8000/v1")
    assert (south["model"], south["origin"]) == ("smolvlm@unstated+w4a16", "weights")
    shown = CliRunner().invoke(app(), ["models", *files]).stdout
    assert "qwen2.5-vl-7b@awq" in shown.replace("\n", "")


@pytest.mark.parametrize("text", ["kind: openai\nmodel: m\n", "7", "kind: [openai]\nmodel: m\nurl: u\n"])
def test_a_file_that_names_no_model_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / "vlm.yaml").write_text(text)
    result = CliRunner().invoke(app(), ["models", "--vlm", str(tmp_path / "vlm.yaml"), "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert CliRunner().invoke(app(), ["models", "--vlm", str(tmp_path / "none.yaml")]).exit_code == 4


def test_a_running_edge_tells_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answerers.running(tmp_path) == []
    me, begun = os.getpid(), run_state.create_time_of(os.getpid())
    child = ChildState("edge-north", health="healthy", pid=me, create_time=begun)
    others = (ChildState("router", pid=me, create_time=begun), ChildState("edge-south", pid=2**22 - 1))
    run_state.write(RunState(me, begun, "healthy", (child, *others)), tmp_path / "run.json")
    north, south = answerers.running(tmp_path)
    assert (north.site, north.kind, north.trouble) == ("north", "embedded", "")
    assert (south.site, south.kind) == ("south", "unknown")

    class Given:
        """A process that was started with a configuration; a test's own environment is the one it began with."""

        def __init__(self, pid: int) -> None:
            self.pid = pid

        def environ(self) -> dict[str, str]:
            return {answerers.VARIABLE: "north.yaml"}

        def cwd(self) -> str:
            return str(tmp_path)

    monkeypatch.setattr(answerers.psutil, "Process", Given)
    assert "north.yaml" in answerers._of(child).trouble
    (tmp_path / "north.yaml").write_text(QWEN)
    assert answerers._of(child).model == "qwen2.5-vl-7b@awq"
