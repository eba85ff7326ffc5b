"""Joining through a real gRPC service: the key is made here, survives a failed try, and its seed never travels."""

from __future__ import annotations

import stat
from pathlib import Path

import grpc
import pytest

from device_agent.enrol import credentials
from foveate import identity
from foveate.errors import NotPermitted, NotReady, Unreachable
from foveate.identity import Role
from foveate.rpc import serve
from foveate.v1 import enrolment_service_pb2
from foveate.v1.enrolment_service_pb2_grpc import (
    EnrolmentServiceServicer,
    add_EnrolmentServiceServicer_to_server,
)


class Office(EnrolmentServiceServicer):
    """Signs for whoever brings the token; the first key that brought it keeps it."""

    def __init__(self) -> None:
        self.account = identity.make_key(Role.ACCOUNT)
        self.asked: list[enrolment_service_pb2.EnrolRequest] = []

    async def Enrol(self, request, context):
        self.asked.append(request)
        if request.join_token != "good" or request.public_key != self.asked[0].public_key:
            raise NotPermitted("This join token is used up or wrong; register the device again.")
        jwt = identity.user_jwt(
            self.account,
            user=request.public_key,
            name="body-1",
            permissions=identity.device_permissions("north", "body-1"),
        )
        return enrolment_service_pb2.EnrolResponse(user_jwt=jwt, device_id="body-1")


async def test_a_device_joins_once(tmp_path: Path) -> None:
    office = Office()

    def register(server: grpc.aio.Server) -> None:
        add_EnrolmentServiceServicer_to_server(office, server)

    with pytest.raises(Unreachable):
        await credentials(tmp_path, cloud="127.0.0.1:1", join_token="good")
    async with serve("127.0.0.1:0", register) as port:
        cloud = f"127.0.0.1:{port}"
        # Killed while it enrolled, it joins with what it stored: the token is not needed again.
        path = await credentials(tmp_path, cloud=cloud, join_token="")
        assert path is not None
        assert await credentials(tmp_path, cloud=cloud, join_token="") == path
    assert len(office.asked) == 1
    jwt, key = identity.parse_credentials(path.read_text())
    assert identity.verify(jwt, issuer=office.account.public).subject == key.public == office.asked[0].public_key
    assert key.seed.encode() not in office.asked[0].SerializeToString()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (tmp_path / "device.seed").exists()
    assert not (tmp_path / "device.join").exists()


async def test_a_wrong_token_and_none_at_all(tmp_path: Path) -> None:
    def register(server: grpc.aio.Server) -> None:
        add_EnrolmentServiceServicer_to_server(Office(), server)

    async with serve("127.0.0.1:0", register) as port:
        with pytest.raises(NotPermitted):
            await credentials(tmp_path, cloud=f"127.0.0.1:{port}", join_token="bad")
        with pytest.raises(NotReady, match="FOVEATE_DEVICE_JOIN_TOKEN"):
            await credentials(tmp_path, cloud=f"127.0.0.1:{port}", join_token="")
    assert await credentials(tmp_path, cloud="", join_token="") is None
    assert not (tmp_path / "device.creds").exists()
