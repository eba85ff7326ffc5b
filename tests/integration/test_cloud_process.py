"""The process `cloud_service` as it is started in production: health, SIGTERM, and one sentence when it cannot run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from foveate import rpc
from foveate.v1 import fleet_pb2, fleet_service_pb2
from foveate.v1 import fleet_service_pb2_grpc as fleet_grpc

ROOT = Path(__file__).parents[2]


def environment(tmp_path: Path, **given: str) -> dict[str, str]:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules:\n  - {name: facts, limits: {FACTS: WORLD}}\n", encoding="utf-8")
    values = {
        "NATS_URL": "nats://127.0.0.1:9",
        "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:9/none",
        "REGION": "eu-west",
        "POLICY": str(policy),
        "KEYS_DIR": str(tmp_path / "keys"),
        "DATA_DIR": str(tmp_path / "cloud"),
        **given,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOVEATE_")}
    return {**inherited, **{f"FOVEATE_CLOUD_{name}": value for name, value in values.items()}}


def started(env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cloud_service"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    )


async def address_of(process: subprocess.Popen[str], file: Path) -> str:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    return file.read_text(encoding="ascii")


async def test_it_serves_survives_a_kill_and_drains_on_sigterm(tmp_path: Path, database_url: str, site_nats: Any):
    env = environment(
        tmp_path,
        DATABASE_URL=database_url,
        NATS_URL=site_nats.hub_ports.url,
        CREDENTIALS=str(site_nats.keys.credentials("cloud")),
        KEYS_DIR=str(site_nats.keys.directory),
    )
    file = tmp_path / "cloud" / "address"
    first = started(env)
    async with rpc.channel(await address_of(first, file)) as channel:
        healthy = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert healthy.status == health_pb2.HealthCheckResponse.SERVING
        site = fleet_pb2.Site(site_id="north", region="eu-west")
        fleet = fleet_grpc.FleetServiceStub(channel)
        await fleet.RegisterSite(fleet_service_pb2.RegisterSiteRequest(site=site))
    first.kill()
    first.communicate()
    file.unlink()

    second = started(env)
    async with rpc.channel(await address_of(second, file)) as channel:
        sites = await fleet_grpc.FleetServiceStub(channel).ListSites(fleet_service_pb2.ListSitesRequest())
        assert [found.site_id for found in sites.sites] == ["north"]
    await asyncio.sleep(1.5)
    begin = time.monotonic()
    second.send_signal(signal.SIGTERM)
    _, log = await asyncio.to_thread(second.communicate, timeout=15)
    assert second.returncode == 0, log
    assert time.monotonic() - begin < 6
    assert "Traceback" not in log
    assert "exception" not in log.lower()


@pytest.mark.parametrize(
    ("given", "code", "sentence"),
    [
        ({}, 75, "The database does not answer"),
        ({"DATABASE_URL": "sqlite://"}, 2, "must start with postgresql"),
        ({"POLICY": "/nowhere/policy.yaml"}, 4, "No residency policy at /nowhere/policy.yaml"),
    ],
)
def test_it_says_in_one_sentence_why_it_cannot_run(tmp_path: Path, given: dict[str, str], code: int, sentence: str):
    process = started(environment(tmp_path, **given))
    _, log = process.communicate(timeout=30)
    assert process.returncode == code
    assert sentence in log
    assert "Traceback" not in log
