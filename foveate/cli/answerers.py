"""Which model answers at a site: from model configurations that are named, or those that running edges were given.

In: files, or the state of the laptop fleet. Out: one `Answerer` for each. It reads only which model is meant: the edge
alone knows the other keys, and checks them. Next: `fleet.py`, which shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from foveate import document
from foveate.cli import endpoints, run_state
from foveate.cli.run_state import ChildState
from foveate.errors import FoveateError, InvalidInput

VARIABLE = "FOVEATE_EDGE_VLM"
EMBEDDED = "embedded"
_EDGE = "edge-"


@dataclass(frozen=True, slots=True)
class Answerer:
    """What answers at a site: `kind` is openai, transformers or embedded, `origin` a URL or a folder.

    `site` is empty for a file that was merely named; `trouble` says why nothing else is known.
    """

    site: str
    kind: str = EMBEDDED
    model: str = ""
    origin: str = ""
    file: str = ""
    trouble: str = ""


def named(files: Sequence[Path]) -> list[Answerer]:
    """What these model configurations name; NotFound or InvalidInput for one that cannot be read."""
    return [_read(file, site="") for file in files]


def running(data: Path | None) -> list[Answerer]:
    """What each edge of the fleet on this machine was started with; none when no fleet runs. Blocking."""
    state = run_state.read(endpoints.data_directory(data) / "run.json")
    if state is None or not state.alive:
        return []
    return [_of(child) for child in state.children if child.name.startswith(_EDGE) and child.pid]


def _of(child: ChildState) -> Answerer:
    site = child.name.removeprefix(_EDGE)
    try:
        process = psutil.Process(child.pid)
        given = process.environ().get(VARIABLE, "")
        return _read(Path(process.cwd()) / given, site=site) if given else Answerer(site)
    except psutil.Error:
        return Answerer(site, kind="unknown", trouble="its process cannot be looked at")
    except FoveateError as error:
        return Answerer(site, kind="unknown", file=given, trouble=error.message)


def _read(file: Path, *, site: str) -> Answerer:
    written = document.read(file, what="model configuration")
    kind = written.get("kind")
    if kind == EMBEDDED:
        return Answerer(site, file=str(file))
    model, origin = written.get("model"), written.get("url") or written.get("path")
    if not all(isinstance(word, str) and word for word in (kind, model, origin)):
        raise InvalidInput(f"The model configuration {file} needs kind, model, and url or path.", path=str(file))
    bits = {"+": written.get("quantisation", "none"), "+kv-": written.get("cache", "none")}
    squeezed = "".join(f"{mark}{kind}" for mark, kind in bits.items() if kind != "none")
    revision = f"{written.get('revision', 'unstated')}{squeezed}"
    return Answerer(site, str(kind), f"{model}@{revision}", str(origin), str(file))
