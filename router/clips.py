"""Brings a clip from the device that recorded it to the person who asks, through its edge and this router.

In: a `ClipOrder` without an id. Out: the header and the file's chunks, once the edge has uploaded it here. What no
order waits for is not taken in.
It knows no question; `serve` shows it to the wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from foveate import subjects
from foveate.bus import Bus
from foveate.clips import ClipStore, chunks
from foveate.errors import MalformedMessage, NotFound, NotPermitted, Refused, Unreachable
from foveate.messages import ClipHeader, ClipOrder, Device, Place, Representation
from foveate.residency import farthest
from foveate.v1 import clip_service_pb2 as pb
from foveate.wire import clip_header_of, clip_order_to, failure_of, parse
from router.pipeline import Fleet
from router.scope import origin_of, travels

logger = logging.getLogger(__name__)

_PATIENCE_S = 60.0
"""For a clip whose caller names no deadline."""
_MEDIA = (Representation.REDACTED_FRAMES, Representation.FRAMES, Representation.CLIP)


class Clips:
    """Clips on their way through this router, which stands at `here`."""

    def __init__(self, *, bus: Bus, store: ClipStore, fleet: Fleet, here: Place) -> None:
        self._bus = bus
        self._store = store
        self._fleet = fleet
        self._here = here
        self._ordered: dict[str, ClipOrder] = {}

    async def fetch(self, order: ClipOrder, *, seconds: float | None) -> AsyncIterator[ClipHeader | bytes]:
        """The header, then chunks; `order.destination` is where the asker is.

        NotFound for an unknown device, Refused when a rule keeps the media from the asker or from this router.
        """
        device = self._fleet.view().device(order.device_id)
        if device is None:
            known = ", ".join(sorted(d.device_id for d in self._fleet.view().devices)) or "none yet"
            raise NotFound(f"There is no device {order.device_id!r}; known are: {known}.", device=order.device_id)
        if order.representation not in _MEDIA:
            raise MalformedMessage(f"A clip is {', '.join(form.name for form in _MEDIA)}; name one of them.")
        self._guard(device, order)
        order = replace(order, destination=farthest(origin_of(device), self._here, order.destination))
        self._ordered[order.clip_id] = order
        try:
            header = await self._order(device, order, seconds=seconds or _PATIENCE_S)
            yield header
            async for block in _blocks(self._store, order.clip_id):
                yield block
        finally:
            del self._ordered[order.clip_id]
            await asyncio.to_thread(self._store.forget, order.clip_id)

    async def receive(self, requests: AsyncIterator[pb.UploadClipRequest]) -> ClipHeader:
        """Takes in an edge's upload; NotPermitted when nobody waits for it or it shows more than was ordered."""
        return await self._store.receive(self._expected(requests))

    def progress(self, clip_id: str) -> tuple[int, bool]:
        """How many bytes arrived, and whether the clip is whole."""
        return self._store.offset(clip_id)

    async def _expected(self, requests: AsyncIterator[pb.UploadClipRequest]) -> AsyncIterator[pb.UploadClipRequest]:
        first = True
        async for request in requests:
            if first and request.WhichOneof("part") == "header":
                header = clip_header_of(request.header)
                order = self._ordered.get(header.clip_id)
                if order is None or order.device_id != header.device_id:
                    raise NotPermitted("Nobody here waits for this clip; wait for an order.", clip_id=header.clip_id)
                if header.representation > order.representation:
                    raise NotPermitted(f"{order.representation.name} was ordered; upload nothing that shows more.")
            first = False
            yield request

    def _guard(self, device: Device, order: ClipOrder) -> None:
        places = (self._here, order.destination)
        form = order.representation
        verdict = travels(self._fleet.residency(), device=device, representation=form, destinations=places)
        if not verdict.allowed:
            raise Refused(
                f"{verdict.reason(form)}; ask for a lesser form or ask from closer.",
                rule=verdict.rule,
                device=device.device_id,
            )

    async def _order(self, device: Device, order: ClipOrder, *, seconds: float) -> ClipHeader:
        if not self._bus.connected:
            raise Unreachable("The link to the NATS hub is down; it is tried again by itself.")
        payload = clip_order_to(order).SerializeToString()
        reply = await self._bus.request(subjects.site_clip(device.site_id), payload, timeout=seconds)
        receipt = parse(pb.ClipReceipt, reply)
        match receipt.WhichOneof("result"):
            case "failure":
                raise failure_of(receipt.failure)
            case "header":
                return self._store.header(order.clip_id)
            case _:
                raise MalformedMessage(f"The edge of {device.site_id} replied with nothing; update it.")


async def _blocks(store: ClipStore, clip_id: str) -> AsyncIterator[bytes]:
    """The clip's bytes, read in threads."""
    blocks = chunks(store.path(clip_id))
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
