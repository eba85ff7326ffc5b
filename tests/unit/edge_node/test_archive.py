"""The archive's loop: what breaks in it ends neither it nor the site."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any, cast

import pytest

from edge_node import archive as module
from edge_node.archive import Archive
from foveate.messages import Priority


async def test_a_full_disk_makes_the_archive_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = cast(Any, None)
    archive = Archive(memory=nothing, devices=nothing, fetch=nothing, folder=tmp_path, least=Priority.HIGH, max_bytes=1)
    stop, pulls = asyncio.Event(), list[int]()

    async def adopt() -> None:
        pass

    async def pull_one() -> bool:
        pulls.append(1)
        if len(pulls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        stop.set()
        return False

    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(archive, "adopt", adopt)
    monkeypatch.setattr(archive, "pull_one", pull_one)
    async with asyncio.timeout(5):
        await archive.run(stop)
    assert len(pulls) == 2
