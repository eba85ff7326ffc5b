"""Clips on demand: cut what was recorded, hide what must be hidden, upload it to the edge.

In: a clip order over NATS. Out: the clip at the edge's gRPC service, and a receipt; or the failure, with the residency
rule that refused. A repeated order gets the first receipt. Without privacy masks nothing is coded again, unless people
are to be blurred. It does not know what the clip is for. Next: `edge_node`'s clip service.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import av

from device_agent.burn import burn_clip
from device_agent.cut import Cut
from device_agent.masks import Masks
from device_agent.record import Recorder
from device_agent.sender import Sender
from foveate import clips
from foveate.errors import BadVideo, FoveateError, InvalidInput, NotFound, OutOfSpace, Refused
from foveate.messages import ClipHeader, ClipOrder, Place, Representation
from foveate.residency import Origin, ResidencyPolicy, decide
from foveate.rpc import channel
from foveate.v1 import clip_service_pb2
from foveate.vision.blur import redact_clip
from foveate.vision.detect import Detector
from foveate.wire import clip_header_to, clip_order_of, failure_to, parse

logger = logging.getLogger(__name__)

_AT_ONCE = 2
_REMEMBERED = 64
_LONGEST_S = 600.0
_PICTURES = {Representation.CLIP, Representation.FRAMES, Representation.REDACTED_FRAMES}


class ClipDesk:
    """Serves clip orders, two at a time."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        detector: Detector,
        policy: ResidencyPolicy,
        sender: Sender,
        edge: str,
        folder: Path,
        masks: Masks,
    ) -> None:
        """`edge` is the host and port of the edge's gRPC service; `folder` holds clips until they are uploaded."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._recorder, self._detector, self._policy = recorder, detector, policy
        self._sender, self._edge, self._folder = sender, edge, folder
        self._masks = masks
        self._origin = Origin(sender.region, sender.site_id, sender.device_id, sender.labels)
        self._busy = asyncio.Semaphore(_AT_ONCE)
        self._receipts: OrderedDict[str, ClipHeader] = OrderedDict()

    async def serve(self, payload: bytes) -> bytes:
        """An order's bytes to a receipt's."""
        try:
            order = clip_order_of(parse(clip_service_pb2.ClipOrder, payload))
            header = await self.deliver(order)
        except FoveateError as error:
            logger.info("no clip: %s", error)
            return clip_service_pb2.ClipReceipt(failure=failure_to(error)).SerializeToString()
        return clip_service_pb2.ClipReceipt(header=clip_header_to(header)).SerializeToString()

    async def deliver(self, order: ClipOrder) -> ClipHeader:
        """Cuts, converts and uploads; returns the header of what is now at the edge."""
        self._check(order)
        async with self._busy:
            if order.clip_id in self._receipts:
                return self._receipts[order.clip_id]
            made = await asyncio.to_thread(self._make, order)
            try:
                header = await asyncio.to_thread(self._header, order, made)
                async with channel(self._edge) as opened:
                    await clips.upload(opened, made.path, header)
            finally:
                made.path.unlink(missing_ok=True)
            self._receipts[order.clip_id] = header
            while len(self._receipts) > _REMEMBERED:
                self._receipts.popitem(last=False)
        return header

    def _check(self, order: ClipOrder) -> None:
        if order.device_id != self._sender.device_id:
            raise NotFound(f"This is {self._sender.device_id}, not {order.device_id}; ask that device.")
        if order.representation not in _PICTURES:
            raise InvalidInput(f"A clip cannot travel as {order.representation.name}; ask for CLIP or FRAMES.")
        if order.end - order.start > _LONGEST_S:
            raise InvalidInput(f"A clip has at most {_LONGEST_S:.0f} s; ask for several.")
        # The edge is on the way to every destination, so it must be allowed as well.
        for place in (Place(self._sender.region, self._sender.site_id), order.destination):
            verdict = decide(self._policy, origin=self._origin, representation=order.representation, destination=place)
            if not verdict.allowed:
                raise Refused(
                    f"The clip stays on {order.device_id}: {verdict.reason(order.representation)}.", rule=verdict.rule
                )

    def _make(self, order: ClipOrder) -> Cut:
        target = self._folder / order.clip_id
        sound = order.representation is Representation.CLIP
        try:
            made = self._recorder.cut(order.start, order.end, target=target, sound=sound)
            redact = order.representation is Representation.REDACTED_FRAMES
            return self._hidden(order, made, redact=redact) if redact or self._masks else made
        except OSError as error:
            raise OutOfSpace(f"The clip could not be written ({error.strerror}); free space on the device.") from error
        except av.FFmpegError as error:
            # Silence would look like a device that is off.
            raise BadVideo("The recording of that span cannot be coded again; ask for another one.") from error

    def _hidden(self, order: ClipOrder, made: Cut, *, redact: bool) -> Cut:
        """The clip made anew without what must not be seen; what lies between key frame and asked start is left out."""
        target = made.path.with_stem(f"{made.path.stem}-hidden")
        skip = max(0.0, (order.start - made.start) * made.rate)
        try:
            if redact:
                target = target.with_suffix(".mp4")
                made = replace(made, media_type="video/mp4")
                begin = redact_clip(made.path, target, detector=self._detector, prepare=self._masks.burn, skip=skip)
            else:
                begin = burn_clip(made.path, target, masks=self._masks, skip=skip)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            made.path.unlink(missing_ok=True)
        offset = None if made.media_offset is None else made.media_offset + begin
        return replace(made, path=target, start=made.start + begin / made.rate, media_offset=offset)

    def _header(self, order: ClipOrder, made: Cut) -> ClipHeader:
        return ClipHeader(
            clip_id=order.clip_id,
            device_id=order.device_id,
            start=made.start,
            end=made.end,
            size_bytes=made.path.stat().st_size,
            sha256=clips.sha256_of(made.path),
            media_type=made.media_type,
            representation=order.representation,
            media_offset=made.media_offset,
        )
