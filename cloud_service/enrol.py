"""Letting a device in: a one-time token and a public key become a signed right to speak for that device alone.

In: what a device sent, the registry, the seeds of the sites' LOCAL accounts. Out: a NATS user JWT.
The private half of the device's key is never seen here. Knows nothing of gRPC: `serve.py` is next.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from cloud_service.registry import Registry
from foveate import identity, subjects
from foveate.errors import NotReady
from foveate.identity import Role
from foveate.messages import Device


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A device that may connect to its site's server; the JWT does not expire by itself."""

    device_id: str
    user_jwt: str


class Enrolment:
    """Signs with `<site>.local.nk` in `keys`; a site whose seed is not there cannot take devices."""

    def __init__(self, registry: Registry, *, keys: Path) -> None:
        self._registry = registry
        self._keys = keys

    async def enrol(self, *, join_token: str, public_key: str) -> Enrolled:
        """The device let in.

        InvalidInput for a key that is none, NotPermitted for a token that lets nobody in, NotReady without a seed.
        """
        identity.checked_public_key(public_key, Role.USER)
        device, jwt = await self._registry.admit(
            join_token, public_key, sign=lambda device: asyncio.to_thread(self._sign, device, public_key)
        )
        return Enrolled(device_id=device.device_id, user_jwt=jwt)

    def _sign(self, device: Device, public_key: str) -> str:
        path = self._keys / f"{subjects.checked_name(device.site_id, what='site')}.local.nk"
        try:
            account = identity.key_from_seed(path.read_text(encoding="ascii"))
        except OSError as error:
            raise NotReady(
                f"The key of the site {device.site_id} is not at {path}; put its LOCAL account's seed there.",
                site=device.site_id,
            ) from error
        return identity.user_jwt(
            account,
            user=public_key,
            name=device.device_id,
            permissions=identity.device_permissions(device.site_id, device.device_id),
        )
