"""Which router is asked: the fleet's, a named site's own, or a site's own when the fleet's is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foveate.cli import endpoints, run_state
from foveate.cli.run_state import RunState
from foveate.errors import InvalidInput, NotReady, Unreachable

TWO = {"router": "a:1", "router-north": "b:2", "router-south": "c:3"}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FOVEATE_ROUTER", raising=False)
    monkeypatch.setattr(endpoints, "grpc_serves", gone)
    write(tmp_path, TWO)
    return tmp_path


def write(folder: Path, where: dict[str, str]) -> None:
    me = os.getpid()
    state = RunState(me, run_state.create_time_of(me), "healthy", (), endpoints=where)
    run_state.write(state, folder / "run.json")


async def gone(address: str) -> bool:
    return False


async def there(address: str) -> bool:
    return True


async def test_the_fleets_router_comes_first(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "grpc_serves", there)
    assert await endpoints.router(given=None, at=None, data=fleet) == ("a:1", "")


async def test_a_named_site_is_asked_itself(fleet: Path) -> None:
    assert await endpoints.router(given=None, at="south", data=fleet) == ("c:3", "south")
    with pytest.raises(NotReady, match="router-west"):
        await endpoints.router(given=None, at="west", data=fleet)
    with pytest.raises(InvalidInput, match="either"):
        await endpoints.router(given="a:1", at="south", data=fleet)


async def test_the_only_site_in_question_stands_in(fleet: Path) -> None:
    assert await endpoints.router(given=None, at=None, data=fleet, sites=["north"]) == ("b:2", "north")
    with pytest.raises(Unreachable, match="--at north or --at south"):
        await endpoints.router(given=None, at=None, data=fleet)
    write(fleet, {"router": "a:1", "router-north": "b:2"})
    assert await endpoints.router(given=None, at=None, data=fleet) == ("b:2", "north")


async def test_a_router_that_the_user_named_is_not_replaced(fleet: Path) -> None:
    assert await endpoints.router(given="z:9", at=None, data=fleet) == ("z:9", "")
