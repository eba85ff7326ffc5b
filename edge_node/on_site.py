"""gRPC for the site itself: devices upload their clips, people on site ask, list events and fetch clips.

In: calls on the site's network. Out: what `serve.Site`, the clip store and the memory say; errors become statuses.
The registry lives in the cloud: this site tells what it knows of itself, and where to register. Next: `__main__`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import uuid_utils

from edge_node.egress import Egress
from edge_node.fetch import Clip, Fetch, Orders
from edge_node.roster import Roster
from edge_node.serve import Site
from foveate import messages
from foveate.clips import chunks
from foveate.errors import NotFound, NotSupported
from foveate.memory import Memory
from foveate.messages import ClipOrder, Place, Representation
from foveate.residency import ResidencyPolicy
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import answer_service_pb2_grpc as answer_grpc
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import clip_service_pb2_grpc as clip_grpc
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.v1 import fleet_service_pb2_grpc as fleet_grpc
from foveate.v1 import residency_pb2 as residency_pb
from foveate.wire import (
    answer_to,
    clip_header_to,
    device_to,
    event_to,
    moment,
    optional_moment,
    place_of,
    policy_to,
    request_of,
    site_to,
)
from foveate.wire.scalars import enum_of

DEFAULT_PAGE, LARGEST_PAGE = 50, 1000
_CLIP_S = 30.0
Context = grpc.aio.ServicerContext[Any, Any]


class AnswerServicer(answer_grpc.AnswerServiceServicer):
    """Placed questions of people on site, which work without any uplink."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def Answer(
        self, request: answer_pb.AnswerServiceAnswerRequest, context: Context
    ) -> answer_pb.AnswerServiceAnswerResponse:
        """The site's answer."""
        answer = await self._site.answer(request_of(request.request), on_site=True)
        return answer_pb.AnswerServiceAnswerResponse(answer=answer_to(answer))


class ClipServicer(clip_grpc.ClipServiceServicer):
    """Uploads of devices, and clips for people on site."""

    def __init__(self, *, fetch: Fetch, orders: Orders, egress: Egress, here: Place) -> None:
        self._fetch = fetch
        self._orders = orders
        self._egress = egress
        self._here = here

    async def UploadClip(self, request_iterator: Any, context: Context) -> clip_pb.UploadClipResponse:  # noqa: ANN401
        """Takes in a clip that this edge ordered."""
        header = await self._fetch.receive(request_iterator)
        return clip_pb.UploadClipResponse(size_bytes=header.size_bytes)

    async def GetUpload(self, request: clip_pb.GetUploadRequest, context: Context) -> clip_pb.GetUploadResponse:
        """How much of an upload arrived."""
        arrived, complete = self._fetch.offset(request.clip_id)
        return clip_pb.GetUploadResponse(offset_bytes=arrived, complete=complete)

    async def GetClip(
        self, request: clip_pb.GetClipRequest, context: Context
    ) -> AsyncIterator[clip_pb.GetClipResponse]:
        """Cuts a clip on the device, as far as residency lets it reach the person who asks."""
        order = self._order(request)
        verdict = self._egress.check_clip(order.device_id, order.representation, order.destination)
        clip = await self._orders.order(order, timeout=_CLIP_S)
        try:
            await self._egress.record_clip(clip.header, order.destination, verdict)
            yield clip_pb.GetClipResponse(header=clip_header_to(clip.header))
            async for block in _blocks(clip):
                yield clip_pb.GetClipResponse(chunk=block)
        finally:
            self._orders.forget(clip.header.clip_id)

    def _order(self, request: clip_pb.GetClipRequest) -> ClipOrder:
        wanted = request.representation or residency_pb.REPRESENTATION_CLIP
        return ClipOrder(
            clip_id=str(uuid_utils.uuid7()),
            device_id=request.device_id,
            start=moment(request, "start_time"),
            end=moment(request, "end_time"),
            destination=place_of(request.asker) if request.HasField("asker") else self._here,
            representation=enum_of(
                Representation, residency_pb.Representation, wanted, "GetClipRequest.representation"
            ),
        )


class FleetServicer(fleet_grpc.FleetServiceServicer):
    """What this site remembers and knows of itself; the registry of the fleet is the cloud's."""

    def __init__(self, *, memory: Memory, here: Place, egress: Egress, roster: Roster, policy: ResidencyPolicy) -> None:
        self._memory = memory
        self._here = here
        self._egress = egress
        self._roster = roster
        self._policy = policy

    async def ListEvents(self, request: fleet_pb.ListEventsRequest, context: Context) -> fleet_pb.ListEventsResponse:
        """Remembered events, newest first, as far as residency shows them to people on site."""
        events = await self._memory.select(
            device_ids=[request.device_id] if request.device_id else None,
            labels=[request.label] if request.label else (),
            start=optional_moment(request, "start_time"),
            limit=min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE) if request.page_size >= 0 else DEFAULT_PAGE,
        )
        shown = (self._egress.reduced(event, self._here) for event in events)
        return fleet_pb.ListEventsResponse(events=[event_to(event) for event in shown if event is not None])

    async def RegisterSite(self, request: Any, context: Context) -> NoReturn:  # noqa: ANN401
        """Not here."""
        _ask_the_cloud()

    async def RegisterDevice(self, request: Any, context: Context) -> NoReturn:  # noqa: ANN401
        """Not here."""
        _ask_the_cloud()

    async def ListSites(self, request: fleet_pb.ListSitesRequest, context: Context) -> fleet_pb.ListSitesResponse:
        """This site, which is online for whoever can ask it."""
        own = messages.Site(self._here.site_id, self._here.region, online=True, seen=time.time())
        return fleet_pb.ListSitesResponse(sites=[site_to(own)])

    async def ListDevices(self, request: fleet_pb.ListDevicesRequest, context: Context) -> fleet_pb.ListDevicesResponse:
        """The devices of this site, as last heard of."""
        wanted = request.site_id in ("", self._here.site_id)
        return fleet_pb.ListDevicesResponse(devices=map(device_to, self._roster.list()) if wanted else ())

    async def GetDevice(self, request: fleet_pb.GetDeviceRequest, context: Context) -> fleet_pb.GetDeviceResponse:
        """One device of this site."""
        known = {device.device_id: device for device in self._roster.list()}
        if (device := known.get(request.device_id)) is None:
            listed = ", ".join(known) or "none yet"
            raise NotFound(f"There is no device {request.device_id!r} here; known are: {listed}.")
        return fleet_pb.GetDeviceResponse(device=device_to(device))

    async def GetPolicy(self, request: fleet_pb.GetPolicyRequest, context: Context) -> fleet_pb.GetPolicyResponse:
        """The rules that this edge keeps."""
        return fleet_pb.GetPolicyResponse(policy=policy_to(self._policy))


def _ask_the_cloud() -> NoReturn:
    raise NotSupported("An edge node registers nothing; ask the cloud service.")


async def _blocks(clip: Clip) -> AsyncIterator[bytes]:
    """The file's blocks, each read in a thread."""
    reader = iter(chunks(clip.path))
    while (block := await asyncio.to_thread(next, reader, None)) is not None:
        yield block
