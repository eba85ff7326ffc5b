"""Joining: a key made here, a one-time token, and in return the right to speak for this device.

In: the cloud's address and a join token. Out: `device.creds` (mode 0600), read by the NATS client from then on. The
private half of the key never leaves. It knows nothing of cameras. Next: `pipeline.py` connects with the file.
"""

from __future__ import annotations

import logging
from pathlib import Path

from foveate import identity
from foveate.errors import NotPermitted, NotReady
from foveate.rpc import channel, translated
from foveate.v1.enrolment_service_pb2 import EnrolRequest
from foveate.v1.enrolment_service_pb2_grpc import EnrolmentServiceStub

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0


async def credentials(data_dir: Path, *, cloud: str, join_token: str) -> Path | None:
    """The device's credentials file, made by enrolling the first time; None when no cloud is named and none is there.

    Raises Unreachable while the cloud does not answer, NotPermitted for a token that is used up or wrong and NotReady
    when there is no token.
    """
    path = data_dir / "device.creds"
    if path.exists():
        return path
    if not cloud:
        return None
    token = data_dir / "device.join"
    if not join_token and token.exists():
        join_token = token.read_text(encoding="utf-8").strip()
    if not join_token:
        raise NotReady(
            "This device has not joined yet; register it and set FOVEATE_DEVICE_JOIN_TOKEN to the token it was given."
        )
    # Seed and token are stored first: a device that dies between enrolling and writing must not be locked out, and the
    # cloud answers the same token again when it comes with the same key.
    identity.write_secret(token, join_token + "\n")
    seed = data_dir / "device.seed"
    key = identity.load_or_make_key(seed, identity.Role.USER)
    try:
        jwt = await _enrol(cloud, join_token=join_token, public_key=key.public)
    except NotPermitted:
        token.unlink()
        raise
    identity.write_secret(path, identity.credentials_file(jwt, key.seed))
    seed.unlink(missing_ok=True)
    token.unlink(missing_ok=True)
    logger.info("enrolled", extra={"public_key": key.public})
    return path


async def _enrol(cloud: str, *, join_token: str, public_key: str) -> str:
    async with channel(cloud) as opened:
        with translated():
            request = EnrolRequest(join_token=join_token, public_key=public_key)
            response = await EnrolmentServiceStub(opened).Enrol(request, timeout=_TIMEOUT_S)
    return response.user_jwt
