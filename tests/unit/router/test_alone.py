"""A site's own router: the cloud counts while it answers, and what was answered without it says so."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from foveate.errors import Unreachable
from foveate.messages import (
    Answer,
    AnswerRequest,
    Evidence,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    Understanding,
)
from foveate.residency import ResidencyPolicy
from foveate.rpc import status_of
from foveate.v1 import answer_service_pb2 as pb
from foveate.v1 import fleet_service_pb2 as fleet_pb
from foveate.wire import answer_to
from router.scope import FleetView
from router.settle import NODE_SILENT
from router.site_fleet import SiteFleet
from router.site_nodes import SiteNodes
from router.uplink import Uplink

ANSWER = Answer("q-1", Outcome.ANSWERED, "Yes.", 0.9, value=True)


def failure(*, details: bytes = b"") -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata(*([("grpc-status-details-bin", details)] if details else []))
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers, details="no link")


class Service:
    """A node or a registry, which answers or fails."""

    def __init__(self, *, raises: Exception | None = None) -> None:
        self.raises = raises
        self.asked: list[Any] = []

    async def Answer(self, message: Any, *, timeout: float) -> pb.AnswerServiceAnswerResponse:
        self.asked.append(message)
        if self.raises:
            raise self.raises
        return pb.AnswerServiceAnswerResponse(answer=answer_to(ANSWER))

    async def ListSites(self, message: Any, *, timeout: float) -> fleet_pb.ListSitesResponse:
        if self.raises:
            raise self.raises
        return fleet_pb.ListSitesResponse()


def request(tier: Tier) -> AnswerRequest:
    return AnswerRequest(
        question=Question("q-1", "is there a person?", 0.0),
        understanding=Understanding(Task.PRESENCE, "person", ("person",), 0.0, 1.0, now=True, pick=Pick.ANY, reason=""),
        placement=Placement(tier, "north", Representation.FACTS),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
        carried=(Evidence("cam-1", 0.0, 1.0),),
    )


async def uplink(cloud: Service) -> Uplink:
    link = Uplink(cloud, site_id="north")  # type: ignore[arg-type]
    await link.look()
    return link


async def test_an_answer_without_the_cloud_says_so_beside_its_own_reason() -> None:
    cloud = Service(raises=failure())
    link = await uplink(cloud)
    alone = link.sign(replace(ANSWER, reason="dark"))
    assert alone.alone
    assert alone.reason == "dark; site north answered alone, of its own cameras: the cloud does not answer"
    cloud.raises = None
    await link.look()
    assert link.sign(ANSWER) == ANSWER


async def test_a_site_that_has_no_cloud_is_always_alone() -> None:
    link = Uplink(None, site_id="north")
    await link.look()
    assert link.sign(ANSWER).alone


@pytest.mark.parametrize("raises", [None, failure()])
async def test_the_cloud_is_asked_only_while_it_answers(raises: Exception | None) -> None:
    edge = SimpleNamespace(view=lambda: FleetView(fresh=True), residency=lambda: ResidencyPolicy(rules=()))
    fleet = SiteFleet(edge=edge, uplink=await uplink(Service(raises=raises)))  # type: ignore[arg-type]
    assert fleet.view().cloud_answers is (raises is None)


async def test_the_cloud_gets_the_question_and_nothing_that_was_seen_here() -> None:
    edge, cloud = Service(), Service()
    nodes = SiteNodes(edge=edge, cloud=cloud, uplink=await uplink(cloud))  # type: ignore[arg-type]
    for tier, carried in ((Tier.EDGE, 1), (Tier.CLOUD, 0)):
        assert await nodes.ask(request(tier), site_id="north", seconds=1.0) == ANSWER
        assert len((edge if tier is Tier.EDGE else cloud).asked[0].request.carried) == carried


async def test_a_cloud_that_was_called_in_vain_is_gone_at_once() -> None:
    cloud = Service()
    link = await uplink(cloud)
    cloud.raises = failure()
    with pytest.raises(Unreachable) as raised:
        await SiteNodes(edge=Service(), cloud=cloud, uplink=link).ask(  # type: ignore[arg-type]
            request(Tier.CLOUD), site_id="", seconds=1.0
        )
    assert raised.value.reason == NODE_SILENT
    assert not link.up


async def test_a_device_that_does_not_answer_is_not_its_edge() -> None:
    """An edge that tells of a silent device lives, and is asked again."""
    told = status_of(Unreachable("cam-1 does not answer.")).SerializeToString()
    edge = Service(raises=failure(details=told))
    nodes = SiteNodes(edge=edge, cloud=None, uplink=Uplink(None, site_id="north"))  # type: ignore[arg-type]
    with pytest.raises(Unreachable) as raised:
        await nodes.ask(request(Tier.DEVICE), site_id="north", seconds=1.0)
    assert raised.value.reason != NODE_SILENT
    edge.raises = failure()
    with pytest.raises(Unreachable) as raised:
        await nodes.ask(request(Tier.EDGE), site_id="north", seconds=1.0)
    assert raised.value.reason == NODE_SILENT
