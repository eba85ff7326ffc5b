"""The cloud's three gRPC services as thin adapters: protobuf in, our own nouns inside, protobuf out.

In: calls of the command line, of devices that join and of the router. Out: what registry, enrolment, memory and
reason say. Errors become statuses in `foveate.rpc`. Knows no rule of its own. Next: `__main__`, which serves them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cloud_service.enrol import Enrolment
from cloud_service.liveness import Liveness
from cloud_service.reason import Reason
from cloud_service.registry import Registry
from cloud_service.settings import Settings
from cloud_service.sources import Sources
from foveate import rpc
from foveate.errors import FoveateError, InvalidInput, NotReady
from foveate.memory import Memory
from foveate.residency import ResidencyPolicy
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import answer_service_pb2_grpc as answer_grpc
from foveate.v1 import enrolment_service_pb2 as enrolment_pb
from foveate.v1 import enrolment_service_pb2_grpc as enrolment_grpc
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.v1 import fleet_service_pb2_grpc as fleet_grpc
from foveate.wire import (
    answer_to,
    device_of,
    device_to,
    event_to,
    optional_moment,
    policy_to,
    request_of,
    site_of,
    site_to,
    timestamp,
)

logger = logging.getLogger(__name__)

DEFAULT_PAGE, LARGEST_PAGE = 50, 1000
Context = grpc.aio.ServicerContext[Any, Any]


class FleetServicer(fleet_grpc.FleetServiceServicer):
    """Sites, devices, events and the policy."""

    def __init__(
        self, *, registry: Registry, liveness: Liveness, sources: Sources, memory: Memory, policy: ResidencyPolicy
    ) -> None:
        self._registry = registry
        self._liveness = liveness
        self._sources = sources
        self._memory = memory
        self._policy = policy

    async def RegisterSite(
        self, request: fleet_pb.RegisterSiteRequest, context: Context
    ) -> fleet_pb.RegisterSiteResponse:
        """Stores the site and sources its events; while the hub is away, that is done later."""
        site = await self._registry.register_site(site_of(request.site))
        try:
            await self._sources.apply()
        except FoveateError as error:
            logger.warning("a new site is not sourced yet: %s", error, extra={"site_id": site.site_id})
        return fleet_pb.RegisterSiteResponse(site=site_to(self._liveness.of_site(site)))

    async def RegisterDevice(
        self, request: fleet_pb.RegisterDeviceRequest, context: Context
    ) -> fleet_pb.RegisterDeviceResponse:
        """Stores the device and returns what it joins with."""
        registration = await self._registry.register_device(device_of(request.device))
        counts = await self._memory.counts()
        device = self._liveness.of_device(registration.device, events=counts.get(registration.device.device_id, 0))
        return fleet_pb.RegisterDeviceResponse(
            device=device_to(device),
            join_token=registration.join_token,
            expire_time=None if registration.expires is None else timestamp(registration.expires),
        )

    async def ListSites(self, request: fleet_pb.ListSitesRequest, context: Context) -> fleet_pb.ListSitesResponse:
        """All sites, by name."""
        sites = await self._registry.sites()
        return fleet_pb.ListSitesResponse(sites=[site_to(self._liveness.of_site(site)) for site in sites])

    async def ListDevices(self, request: fleet_pb.ListDevicesRequest, context: Context) -> fleet_pb.ListDevicesResponse:
        """Devices by site and name."""
        devices = await self._registry.devices(site_id=request.site_id)
        counts = await self._memory.counts()
        return fleet_pb.ListDevicesResponse(
            devices=[
                device_to(self._liveness.of_device(device, events=counts.get(device.device_id, 0)))
                for device in devices
            ]
        )

    async def GetDevice(self, request: fleet_pb.GetDeviceRequest, context: Context) -> fleet_pb.GetDeviceResponse:
        """One device."""
        device = await self._registry.device(request.device_id)
        counts = await self._memory.counts()
        live = self._liveness.of_device(device, events=counts.get(device.device_id, 0))
        return fleet_pb.GetDeviceResponse(device=device_to(live))

    async def ListEvents(self, request: fleet_pb.ListEventsRequest, context: Context) -> fleet_pb.ListEventsResponse:
        """Remembered events, newest first."""
        if not 0 <= request.page_size <= LARGEST_PAGE:
            raise InvalidInput(
                f"The page size is {request.page_size}; ask for 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}.",
                field="page_size",
            )
        if request.device_id:
            await self._registry.device(request.device_id)
        events = await self._memory.select(
            device_ids=(request.device_id,) if request.device_id else None,
            labels=(request.label,) if request.label else (),
            start=optional_moment(request, "start_time"),
            limit=request.page_size or DEFAULT_PAGE,
        )
        return fleet_pb.ListEventsResponse(events=[event_to(event) for event in events])

    async def GetPolicy(self, request: fleet_pb.GetPolicyRequest, context: Context) -> fleet_pb.GetPolicyResponse:
        """The residency policy in force."""
        return fleet_pb.GetPolicyResponse(policy=policy_to(self._policy))


class EnrolmentServicer(enrolment_grpc.EnrolmentServiceServicer):
    """Devices that join."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    async def Enrol(self, request: enrolment_pb.EnrolRequest, context: Context) -> enrolment_pb.EnrolResponse:
        """A token and a public key for a JWT."""
        enrolled = await self._enrolment.enrol(join_token=request.join_token, public_key=request.public_key)
        return enrolment_pb.EnrolResponse(user_jwt=enrolled.user_jwt, device_id=enrolled.device_id)


class AnswerServicer(answer_grpc.AnswerServiceServicer):
    """The router's placed questions."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    async def Answer(
        self, request: answer_pb.AnswerServiceAnswerRequest, context: Context
    ) -> answer_pb.AnswerServiceAnswerResponse:
        """This node's own answer."""
        answer = await self._reason.answer(request_of(request.request))
        return answer_pb.AnswerServiceAnswerResponse(answer=answer_to(answer))


@asynccontextmanager
async def serving(
    chosen: Settings, *, fleet: FleetServicer, enrolment: EnrolmentServicer, answer: AnswerServicer
) -> AsyncIterator[str]:
    """Serves all three, and health, for the length of the block; yields `host:port`, also kept in the file `address`.

    NotReady when the port is taken or the directory cannot be written.
    """

    def register(server: grpc.aio.Server) -> None:
        fleet_grpc.add_FleetServiceServicer_to_server(fleet, server)
        enrolment_grpc.add_EnrolmentServiceServicer_to_server(enrolment, server)
        answer_grpc.add_AnswerServiceServicer_to_server(answer, server)

    async with rpc.serve(chosen.listen, register) as port:
        address = f"{chosen.listen.rpartition(':')[0]}:{port}"
        try:
            chosen.data_dir.mkdir(parents=True, exist_ok=True)
            (chosen.data_dir / "address").write_text(address, encoding="ascii")
        except OSError as error:
            raise NotReady(f"{chosen.data_dir} cannot be written ({error}); name another directory.") from error
        logger.info("serving", extra={"address": address})
        yield address
