"""`python -m edge_node` as a process: healthy from its settings alone, drained by SIGTERM, clear when it cannot run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

_ROOT = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("FOVEATE_")}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "edge_node"]
        return subprocess.Popen(command, env=plain | environment, cwd=_ROOT, stdout=file, stderr=file)


def healthy(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(check.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
def environment(site_nats: Any, database_url: str, tmp_path: Path) -> dict[str, str]:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: [{name: facts, limits: {FACTS: WORLD}}]", encoding="utf-8")
    values = {
        "SITE": "north",
        "REGION": "eu-west",
        "NATS_URL": site_nats.leaf_ports.url,
        "LOCAL_CREDENTIALS": str(site_nats.keys.credentials("north.edge.local")),
        "BRIDGED_CREDENTIALS": str(site_nats.keys.credentials("north.edge.bridged")),
        "DATABASE_URL": database_url,
        "POLICY": str(policy),
        "DATA_DIR": str(tmp_path / "edge"),
    }
    return {f"FOVEATE_EDGE_{name}": value for name, value in values.items()}


@pytest.fixture
def spawned() -> Iterator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


async def test_gets_healthy_and_drains(
    environment: dict[str, str], spawned: list[subprocess.Popen[bytes]], tmp_path: Path, record_property: Any
) -> None:
    address, log = f"127.0.0.1:{_free_port()}", tmp_path / "edge.log"
    began = time.monotonic()
    child = start(environment | {"FOVEATE_EDGE_LISTEN": address}, log)
    spawned.append(child)
    while not healthy(address):
        assert child.poll() is None, log.read_text()
        assert time.monotonic() - began < 30
    record_property("healthy_s", round(time.monotonic() - began, 2))
    record_property("rss_mb", psutil.Process(child.pid).memory_info().rss // 2**20)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=15) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


async def test_a_missing_setting_is_one_sentence(
    environment: dict[str, str], spawned: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    del environment["FOVEATE_EDGE_POLICY"]
    child = start(environment, tmp_path / "edge.log")
    spawned.append(child)
    assert child.wait(timeout=20) == 2
    said = (tmp_path / "edge.log").read_text().strip()
    assert said == "FOVEATE_EDGE_POLICY is not set; see `foveate-edge --help`."


async def test_a_port_in_use_is_one_sentence(
    environment: dict[str, str], spawned: list[subprocess.Popen[bytes]], site_nats: Any, tmp_path: Path
) -> None:
    taken = f"127.0.0.1:{site_nats.leaf_ports.client}"
    child = start(environment | {"FOVEATE_EDGE_LISTEN": taken}, tmp_path / "edge.log")
    spawned.append(child)
    assert child.wait(timeout=30) != 0
    last = (tmp_path / "edge.log").read_text().strip().splitlines()[-1]
    assert last == f"{taken} is taken by another program; stop it or choose another port."
