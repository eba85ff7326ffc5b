"""The agent's own part: what ends it says so in the sentence of the error that was met."""

from __future__ import annotations

import asyncio

import pytest

from device_agent import agent
from foveate.errors import OutOfSpace


async def test_an_error_within_the_link_is_told_by_its_own_sentence() -> None:
    async def full() -> None:
        raise OutOfSpace("ready.json cannot be written; free space on this device.")

    with pytest.raises(ExceptionGroup) as met:
        async with asyncio.TaskGroup() as link:
            link.create_task(full())
    assert isinstance(agent._first(met.value), OutOfSpace)
    assert agent._first(met.value).args == ("ready.json cannot be written; free space on this device.",)
