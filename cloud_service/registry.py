"""Who belongs to the fleet: sites, devices, and the secrets with which devices join.

In: validated sites and devices of `messages.py`. Out: the same as stored, or one sentence why not.
Every change is one transaction and may be repeated. Times are Unix seconds by the clock that is given.
Knows nothing of heartbeats on their way (`liveness.py`) nor of signatures (`enrol.py` is next).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_service.tables import DEVICES, SITES, TOKENS
from foveate import subjects
from foveate.errors import AlreadyExists, NotFound, NotPermitted
from foveate.memory import Memory
from foveate.messages import Device, DeviceKind, Presence, Site

TOKEN_SECONDS = 24 * 3600.0
_TOKEN_BYTES = 32
_BAD_TOKEN = "This join token lets nobody in; register the device again to get a new one."


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered device; `join_token` is empty when the device has joined already."""

    device: Device
    join_token: str = field(default="", repr=False)
    expires: float | None = None


class Registry:
    """The tables of sites, devices and join tokens, in the database of the memory."""

    def __init__(self, memory: Memory, *, clock: Callable[[], float] = time.time) -> None:
        self._memory = memory
        self._clock = clock

    async def register_site(self, site: Site) -> Site:
        """The site as stored; AlreadyExists when it is known in another region."""
        subjects.checked_name(site.site_id, what="site")
        subjects.checked_name(site.region, what="region")
        async with self._memory.transaction() as connection:
            new = insert(SITES).values(site_id=site.site_id, region=site.region)
            await connection.execute(new.on_conflict_do_nothing())
            stored = _site((await connection.execute(select(SITES).where(SITES.c.site_id == site.site_id))).one())
        if stored.region != site.region:
            raise AlreadyExists(
                f"The site {site.site_id} is registered in {stored.region}; give a site in {site.region} another name.",
                site=site.site_id,
                region=stored.region,
            )
        return stored

    async def register_device(self, device: Device) -> Registration:
        """The device as stored, with a new join token until it has joined; an older unused token dies.

        Kind and labels are brought to what is given. NotFound when the site is unknown, AlreadyExists when the name
        is taken at another site.
        """
        subjects.checked_name(device.device_id, what="device")
        for label in device.labels:
            subjects.checked_name(label, what="label")
        async with self._memory.transaction() as connection:
            await _refuse_unknown_site(connection, device.site_id)
            await _store_device(connection, device)
            stored = await _device_of(connection, device.device_id)
            if stored.site_id != device.site_id:
                raise AlreadyExists(
                    f"A device {device.device_id} is registered at the site {stored.site_id}; choose another name.",
                    device=device.device_id,
                    site=stored.site_id,
                )
            if stored.enrolled:
                return Registration(stored)
            expires = self._clock() + TOKEN_SECONDS
            token = await _replace_token(connection, device.device_id, expires=expires)
        return Registration(stored, join_token=token, expires=expires)

    async def admit(
        self, token: str, public_key: str, *, sign: Callable[[Device], Awaitable[str]]
    ) -> tuple[Device, str]:
        """The device behind the token, now joined with this key, and what `sign` made of it.

        A token works once; the same key may repeat it, in case the first answer was lost on the way. NotPermitted for
        every other token, in the same words; when `sign` raises, the token stays unused.
        """
        digest, now = _digest(token), self._clock()
        mine = select(DEVICES.c.public_key, TOKENS.c.device_id, TOKENS.c.expires, TOKENS.c.used)
        mine = mine.join(TOKENS, TOKENS.c.device_id == DEVICES.c.device_id).where(TOKENS.c.digest == digest)
        async with self._memory.transaction() as connection:
            # The device's row is what registering locks too: the two take turns, in one order.
            found = (await connection.execute(mine.with_for_update(of=DEVICES))).one_or_none()
            if found is None or found.expires <= now or (found.used is not None and found.public_key != public_key):
                raise NotPermitted(_BAD_TOKEN)
            device = await _device_of(connection, found.device_id)
            signed = await sign(device)
            await connection.execute(update(TOKENS).where(TOKENS.c.digest == digest).values(used=now))
            changed = update(DEVICES).where(DEVICES.c.device_id == device.device_id).values(public_key=public_key)
            await connection.execute(changed)
        return device, signed

    async def sites(self) -> tuple[Site, ...]:
        """All sites, by name."""
        async with self._memory.transaction() as connection:
            rows = (await connection.execute(select(SITES).order_by(SITES.c.site_id))).all()
        return tuple(_site(row) for row in rows)

    async def site_ids(self) -> tuple[str, ...]:
        """The names of all sites."""
        return tuple(site.site_id for site in await self.sites())

    async def devices(self, *, site_id: str = "") -> tuple[Device, ...]:
        """All devices by site and name, or those of one site; NotFound when that site is unknown."""
        query = _DEVICE_QUERY.order_by(DEVICES.c.site_id, DEVICES.c.device_id)
        async with self._memory.transaction() as connection:
            if site_id:
                await _refuse_unknown_site(connection, site_id)
                query = query.where(DEVICES.c.site_id == site_id)
            return tuple(_device(row) for row in (await connection.execute(query)).all())

    async def device(self, device_id: str) -> Device:
        """One device; NotFound names those that are known."""
        async with self._memory.transaction() as connection:
            return await _device_of(connection, device_id)

    async def save(self, heard: Mapping[tuple[str, str], tuple[float, Presence]]) -> set[tuple[str, str]]:
        """Keeps the last heartbeat of each (site, device) and when it was heard; returns those that are registered."""
        sites = [site for site, device in heard if not device]
        names = [device for _, device in heard if device]
        async with self._memory.transaction() as connection:
            found = select(DEVICES.c.site_id, DEVICES.c.device_id).where(DEVICES.c.device_id.in_(names))
            known = {(row.site_id, row.device_id) for row in (await connection.execute(found)).all()} & heard.keys()
            stored = await connection.scalars(select(SITES.c.site_id).where(SITES.c.site_id.in_(sites)))
            known |= {(site, "") for site in stored}
            # In the order of names: two services that save at once never wait for each other in a circle.
            rows = [{"who": who, **_liveness(*heard[site, who])} for site, who in sorted(known) if who]
            if rows:
                await connection.execute(update(DEVICES).where(DEVICES.c.device_id == bindparam("who")), rows)
            rows = [{"who": site, "seen": heard[site, ""][0]} for site, who in sorted(known) if not who]
            if rows:
                await connection.execute(update(SITES).where(SITES.c.site_id == bindparam("who")), rows)
        return known


_DEVICE_QUERY = select(DEVICES, SITES.c.region).join(SITES, SITES.c.site_id == DEVICES.c.site_id)


async def _device_of(connection: AsyncConnection, device_id: str) -> Device:
    found = (await connection.execute(_DEVICE_QUERY.where(DEVICES.c.device_id == device_id))).one_or_none()
    if found is None:
        known = (await connection.scalars(select(DEVICES.c.device_id).order_by(DEVICES.c.device_id).limit(20))).all()
        raise NotFound(f"No device is called {device_id}; {_known('device', known)}.", device=device_id)
    return _device(found)


async def _store_device(connection: AsyncConnection, device: Device) -> None:
    """Inserts or corrects the row, and locks it until the end of the transaction; another site's row stays as it is."""
    values = {"kind": device.kind.value, "labels": list(device.labels)}
    new = insert(DEVICES).values(
        device_id=device.device_id, site_id=device.site_id, trouble="", capturing=False, outbox_depth=0, **values
    )
    same_site = DEVICES.c.site_id == device.site_id
    await connection.execute(
        new.on_conflict_do_update(index_elements=[DEVICES.c.device_id], set_=values, where=same_site)
    )


async def _replace_token(connection: AsyncConnection, device_id: str, *, expires: float) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    await connection.execute(delete(TOKENS).where(TOKENS.c.device_id == device_id))
    await connection.execute(insert(TOKENS).values(digest=_digest(token), device_id=device_id, expires=expires))
    return token


async def _refuse_unknown_site(connection: AsyncConnection, site_id: str) -> None:
    known = (await connection.scalars(select(SITES.c.site_id).order_by(SITES.c.site_id))).all()
    if site_id not in known:
        raise NotFound(f"No site is called {site_id}; {_known('site', known[:20])}.", site=site_id)


def _known(what: str, names: Any) -> str:  # noqa: ANN401  a sequence of rows' scalars
    return f"known {what}s are {', '.join(names)}" if names else f"register a {what} first"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _liveness(seen: float, presence: Presence) -> dict[str, Any]:
    return {
        "seen": seen,
        "trouble": presence.trouble,
        "capturing": presence.capturing,
        "outbox_depth": presence.outbox_depth,
    }


def _site(row: Row[Any]) -> Site:
    return Site(site_id=row.site_id, region=row.region, seen=row.seen)


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        site_id=row.site_id,
        region=row.region,
        kind=DeviceKind(row.kind),
        labels=tuple(row.labels),
        enrolled=row.public_key is not None,
        seen=row.seen,
        trouble=row.trouble,
        capturing=row.capturing,
        outbox_depth=row.outbox_depth,
    )
