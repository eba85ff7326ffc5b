"""Fetching pixels: a clip is ordered from the device that recorded it, and arrives as an upload.

In: a device, a span and a representation. Out: a whole, verified clip on disk, or one error: the device refused, has
nothing of that time, or does not answer. Only clips that were ordered are taken in.
It knows no question. Next: `decode.py`, which turns the clip into pictures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uuid_utils

from edge_node.egress import Egress
from foveate import subjects
from foveate.bus import Bus
from foveate.clips import ClipStore
from foveate.errors import MalformedMessage, NotPermitted
from foveate.messages import ClipHeader, ClipOrder, Place, Representation
from foveate.v1 import clip_service_pb2 as pb
from foveate.wire import clip_header_of, clip_order_to, failure_of, parse

LONGEST_S = 120.0
"""Longest span of one order; past it a question would move more than it can look at."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on this edge's disk."""

    header: ClipHeader
    path: Path


class Pulls(Protocol):
    """Where this edge gets clips for its own use."""

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        """The clip of a span; forget it when done."""
        ...

    def forget(self, clip_id: str) -> None:
        """Ends the use of a pulled clip."""
        ...


class Orders(Protocol):
    """Where clips come from for whoever may have them; the order names the destination."""

    async def order(self, order: ClipOrder, *, timeout: float) -> Clip:
        """The clip of an order; forget it when done."""
        ...

    def forget(self, clip_id: str) -> None:
        """Ends the use of an ordered clip."""
        ...


class Fetch:
    """Orders clips over the LOCAL account and takes their uploads in."""

    def __init__(self, *, local: Bus, here: Place, store: ClipStore, egress: Egress) -> None:
        self._local = local
        self._here = here
        self._store = store
        self._egress = egress
        self._ordered: set[str] = set()

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        """The clip of this span for this edge's own use; forget it when done.

        Refused when residency keeps it on the device, NotFound when the device recorded nothing then, Unreachable
        when the device does not deliver within `timeout` seconds.
        """
        order = ClipOrder(
            clip_id=str(uuid_utils.uuid7()),
            device_id=device_id,
            start=start,
            end=min(end, start + LONGEST_S),
            destination=self._here,
            representation=representation,
        )
        return await self.order(order, timeout=timeout)

    async def order(self, order: ClipOrder, *, timeout: float) -> Clip:
        """The clip of an order, whoever it is for; the device checks its destination as well."""
        subjects.checked_name(order.device_id, what="device")
        self._egress.check_clip(order.device_id, order.representation, order.destination)
        subject = subjects.device_clip(self._here.site_id, order.device_id)
        self._ordered.add(order.clip_id)
        try:
            reply = await self._local.request(subject, clip_order_to(order).SerializeToString(), timeout=timeout)
            receipt = parse(pb.ClipReceipt, reply)
            if receipt.WhichOneof("result") == "failure":
                raise failure_of(receipt.failure)
            header = clip_header_of(receipt.header)
            same = (header.clip_id, header.device_id) == (order.clip_id, order.device_id)
            if not same or header.representation > order.representation:
                raise MalformedMessage(f"{order.device_id} delivered another clip than was ordered; update it.")
            return Clip(header, self._store.path(order.clip_id))
        except BaseException:
            self.forget(order.clip_id)
            raise
        finally:
            self._ordered.discard(order.clip_id)

    def forget(self, clip_id: str) -> None:
        """Deletes the clip here: footage stays on its device, and is fetched again if need be."""
        self._store.forget(clip_id)

    async def receive(self, requests: AsyncIterator[pb.UploadClipRequest]) -> ClipHeader:
        """Takes in an upload that was ordered; NotPermitted for any other."""
        first = await anext(aiter(requests), None)
        if first is None or first.header.clip_id not in self._ordered:
            raise NotPermitted("This edge did not order that clip; upload only what was asked for.")
        return await self._store.receive(_from(first, requests))

    def offset(self, clip_id: str) -> tuple[int, bool]:
        """How many bytes of an upload arrived, and whether it is whole."""
        return self._store.offset(clip_id)


async def _from(
    first: pb.UploadClipRequest, rest: AsyncIterator[pb.UploadClipRequest]
) -> AsyncIterator[pb.UploadClipRequest]:
    yield first
    async for request in rest:
        yield request
