"""REDACTED_FRAMES made here, for a device that could not make them.

In: orders and pulls. Out: the device's own redacted clip, or one that this edge made of its FRAMES, when those may
reach the site; every other form passes through. A refusal is never worked around.
It decides nothing about who may have the clip: `egress.py` did. Next: `fetch.py` and `archive.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import uuid_utils

from edge_node.decode import timeline
from edge_node.egress import Egress
from edge_node.fetch import Clip, Orders, Pulls
from foveate.clips import sha256_of
from foveate.errors import BadVideo, FoveateError, NotSupported, OutOfSpace, Overloaded, Refused, Unreachable
from foveate.messages import ClipOrder, Place, Representation
from foveate.vision.blur import Looks, redact_clip

logger = logging.getLogger(__name__)

COULD_NOT = (NotSupported, Unreachable, Overloaded, OutOfSpace, BadVideo)
"""What a device says, or fails to say, that has no detector, no time or no room to hide people."""
_SHARE = 0.5  # of the time for the device's own try; the rest is for ours


class RedactHere:
    """Wraps the ways to clips; people are hidden on this edge when the device could not do it."""

    def __init__(
        self, orders: Orders, *, pulls: Pulls, detector: Looks, egress: Egress, here: Place, folder: Path
    ) -> None:
        """`pulls` may know an archive; `folder` holds what was made here until it is forgotten."""
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.mp4"):
            left.unlink()
        self._orders, self._pulls, self._detector = orders, pulls, detector
        self._egress, self._here, self._folder = egress, here, folder

    async def order(self, order: ClipOrder, *, timeout: float) -> Clip:
        """As `Fetch.order`."""
        if order.representation is not Representation.REDACTED_FRAMES:
            return await self._orders.order(order, timeout=timeout)
        return await self._either(order, lambda own: self._orders.order(order, timeout=own), timeout=timeout)

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        """As `Fetch.pull`."""

        def theirs(seconds: float) -> Awaitable[Clip]:
            return self._pulls.pull(device_id, start=start, end=end, representation=representation, timeout=seconds)

        if representation is not Representation.REDACTED_FRAMES:
            return await theirs(timeout)
        order = ClipOrder(str(uuid_utils.uuid7()), device_id, start, end, self._here, representation)
        return await self._either(order, theirs, timeout=timeout)

    def forget(self, clip_id: str) -> None:
        """Deletes what was made here, and ends the use of what was not."""
        self._path(clip_id).unlink(missing_ok=True)
        self._orders.forget(clip_id)
        self._pulls.forget(clip_id)

    async def _either(self, order: ClipOrder, theirs: Callable[[float], Awaitable[Clip]], *, timeout: float) -> Clip:
        """The device's clip, else ours; the device's error when its FRAMES may not come here or do not."""
        try:
            return await theirs(_SHARE * timeout)
        except COULD_NOT as error:
            could_not = error
        try:
            self._egress.check_clip(order.device_id, Representation.REDACTED_FRAMES, order.destination)
            made = await self._made(order, timeout=(1.0 - _SHARE) * timeout)
        except Refused:
            raise could_not from None
        except FoveateError as error:
            logger.info("people could not be hidden here either: %s", error, extra={"device_id": order.device_id})
            raise could_not from error
        logger.info("people were hidden here, as the device could not: %s", could_not)
        return made

    async def _made(self, order: ClipOrder, *, timeout: float) -> Clip:
        frames = await self._pulls.pull(
            order.device_id,
            start=order.start,
            end=order.end,
            representation=Representation.FRAMES,
            timeout=timeout,
        )
        try:
            return await asyncio.to_thread(self._redact, order, frames)
        finally:
            self._pulls.forget(frames.header.clip_id)

    def _redact(self, order: ClipOrder, frames: Clip) -> Clip:
        """The clip with people hidden, from the asked start to the asked end. Blocking."""
        header, target = frames.header, self._path(order.clip_id)
        clock = timeline(frames.path, header)
        skip = max(0.0, (order.start - header.start) * clock.rate)
        until = (min(order.end, header.end) - header.start) * clock.rate
        try:
            begin = redact_clip(frames.path, target, detector=self._detector, skip=skip, until=until)
            made = replace(
                header,
                clip_id=order.clip_id,
                start=header.start + begin / clock.rate,
                end=max(header.start + begin / clock.rate, min(order.end, header.end)),
                size_bytes=target.stat().st_size,
                sha256=sha256_of(target),
                media_type="video/mp4",
                representation=Representation.REDACTED_FRAMES,
                offset_bytes=0,
                media_offset=None if header.media_offset is None else header.media_offset + begin,
            )
        except OSError as error:
            target.unlink(missing_ok=True)
            raise OutOfSpace(f"The clip could not be written ({error.strerror}); free space on this edge.") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return Clip(made, target)

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.mp4"
