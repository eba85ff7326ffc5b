"""The twenty devices of `stream.py`: simulated, but for their cameras as real as any.

In: a running fleet's keys and addresses, and one short clip. Out: devices with credentials of their own that send
heartbeats and, every so often, an event in two revisions, open and closed, with a track and a vector; and that upload
the same clip whenever the edge orders one. They film nothing: their events are made up, and counted as such.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import uuid_utils

from foveate import bus, identity, rpc, subjects
from foveate import messages as m
from foveate.bus import Bus
from foveate.cli.nats_servers import FleetKeys
from foveate.clips import upload
from foveate.identity import Role
from foveate.v1 import clip_service_pb2 as pb
from foveate.vision.boxes import Box
from foveate.wire import clip_header_to, clip_order_of, event_to, parse, presence_to

VECTOR = "conse-lite0-minilm@simulated"
"""Its vectors mean nothing, so that they compare with no real one."""
OPEN_S = 2.0
_SIGHTINGS = 8
_BEAT_S = 1.5


@dataclass(frozen=True, slots=True)
class Simulated:
    """Where the simulated devices belong, the clip that they upload and how often they have something to tell."""

    site: str
    region: str
    edge_grpc: str
    nats_url: str
    keys: FleetKeys
    clip: Path
    clip_s: float
    every_s: float


@dataclass(slots=True)
class Sent:
    """When each revision was handed to NATS (Unix seconds), and how many clips were uploaded."""

    at: dict[tuple[str, int], float] = field(default_factory=dict)
    clips: int = 0


@asynccontextmanager
async def simulated(about: Simulated, count: int, folder: Path) -> AsyncIterator[Sent]:
    """`count` devices that are there until the end."""
    sent = Sent()
    async with AsyncExitStack() as stack:
        # The tasks end before their connections do.
        connections = [await _connected(about, f"sim-{number:02}", folder, stack) for number in range(1, count + 1)]
        tasks = [
            asyncio.create_task(_Device(about, name, opened, sent).run(about.every_s * number / count))
            for number, (name, opened) in enumerate(connections)
        ]
        try:
            yield sent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _connected(about: Simulated, name: str, folder: Path, stack: AsyncExitStack) -> tuple[str, Bus]:
    user, account = identity.make_key(Role.USER), about.keys.sites[about.site].local
    permissions = identity.device_permissions(about.site, name)
    jwt = identity.user_jwt(account, user=user.public, name=name, permissions=permissions)
    path = folder / f"{name}.creds"
    identity.write_secret(path, identity.credentials_file(jwt, user.seed))
    inbox = subjects.device_inbox(name)
    opened = await bus.connect(about.nats_url, credentials=path, name=name, inbox_prefix=inbox)
    stack.push_async_callback(opened.close)
    return name, opened


class _Device:
    def __init__(self, about: Simulated, name: str, opened: Bus, sent: Sent) -> None:
        self._about, self._name, self._bus, self._sent = about, name, opened, sent
        self._random = np.random.default_rng(int(name.rpartition("-")[2]))
        self._number = 0
        data = about.clip.read_bytes()
        self._size, self._digest = len(data), hashlib.sha256(data).digest()

    async def run(self, wait: float) -> None:
        """Heartbeats and events, the first one after `wait` seconds, so that not all come at once."""
        await self._bus.serve(subjects.device_clip(self._about.site, self._name), self._clip)
        await asyncio.gather(self._beat(), self._tell(wait))

    async def _beat(self) -> None:
        while True:
            beat = m.Presence(self._name, self._about.site, time.time(), True)
            await self._bus.send(subjects.presence(self._about.site, self._name), presence_to(beat).SerializeToString())
            await asyncio.sleep(_BEAT_S)

    async def _tell(self, wait: float) -> None:
        due = time.monotonic() + wait
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += self._about.every_s
            begun = self._event(time.time())
            await self._store(begun)
            await asyncio.sleep(OPEN_S)
            await self._store(replace(begun, revision=2, open=False, end=begun.start + OPEN_S))

    async def _store(self, event: m.Event) -> None:
        self._number += 1
        now = time.time()
        event = replace(event, report_time=now, sequence=self._number)
        self._sent.at[event.event_id, event.revision] = now
        await self._bus.store(
            subjects.event(self._about.site, self._name),
            event_to(event).SerializeToString(),
            message_id=f"{event.event_id}.{event.revision}",
        )

    def _event(self, now: float) -> m.Event:
        vector = self._random.normal(size=384)
        vector /= np.linalg.norm(vector)
        places = self._random.uniform(0.1, 0.6, (_SIGHTINGS, 2))
        sightings = tuple(
            m.Sighting(now + OPEN_S * step / _SIGHTINGS, "person", 0.7, Box(float(x), float(y), 0.2, 0.3))
            for step, (x, y) in enumerate(places)
        )
        return m.Event(
            event_id=str(uuid_utils.uuid7()),
            revision=1,
            device_id=self._name,
            site_id=self._about.site,
            region=self._about.region,
            trigger=m.TriggerKind.OBJECT,
            start=now,
            end=now,
            open=True,
            score=0.7,
            labels=(m.LabelScore("person", 0.7),),
            tracks=(m.Track(1, "person", 0.7, now, now + OPEN_S, sightings),),
            embedding=m.Embedding(VECTOR, tuple(vector.tolist())),
        )

    async def _clip(self, payload: bytes) -> bytes:
        order = clip_order_of(parse(pb.ClipOrder, payload))
        header = m.ClipHeader(
            clip_id=order.clip_id,
            device_id=self._name,
            start=order.start,
            end=order.start + self._about.clip_s,
            size_bytes=self._size,
            sha256=self._digest,
            media_type="video/mp4",
            representation=order.representation,
        )
        async with rpc.channel(self._about.edge_grpc) as channel:
            await upload(channel, self._about.clip, header)
        self._sent.clips += 1
        return pb.ClipReceipt(header=clip_header_to(header)).SerializeToString()
