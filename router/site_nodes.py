"""The nodes as a site's own router reaches them: its edge and, through it, devices, by gRPC on the site's network.

In: an `AnswerRequest`. Out: the node's answer, or its error. Asked for the cloud it calls the cloud, with the question
alone: what was seen here leaves through the edge's guard, which is not on that way.
It knows no plan; `pipeline` decides what comes after.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from foveate.errors import Unreachable
from foveate.messages import Answer, AnswerRequest, Tier
from foveate.rpc import error_of
from foveate.v1 import answer_service_pb2 as pb
from foveate.wire import request_to
from router.dispatch import answer_in
from router.settle import NODE_SILENT
from router.uplink import Uplink

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from foveate.v1.answer_service_pb2_grpc import AnswerServiceAsyncStub

_DETAILS = "grpc-status-details-bin"


class SiteNodes:
    """The edge of one site and, while the uplink stands, the cloud; `cloud` is None where there is none."""

    def __init__(self, *, edge: AnswerServiceAsyncStub, cloud: AnswerServiceAsyncStub | None, uplink: Uplink) -> None:
        self._edge = edge
        self._cloud = cloud
        self._uplink = uplink

    async def ask(self, request: AnswerRequest, *, site_id: str, seconds: float) -> Answer:
        """The node's answer within `seconds`; errors as those of `dispatch.Dispatcher.ask`."""
        if request.placement.tier is not Tier.CLOUD:
            return await _called(self._edge, request, seconds=seconds)
        if self._cloud is None:
            raise Unreachable("This site has no cloud; set FOVEATE_ROUTER_CLOUD_GRPC.", reason=NODE_SILENT)
        try:
            return await _called(self._cloud, replace(request, carried=()), seconds=seconds)
        except Unreachable as error:
            if error.reason == NODE_SILENT:
                self._uplink.lost()
            raise


async def _called(node: AnswerServiceAsyncStub, request: AnswerRequest, *, seconds: float) -> Answer:
    """One call's answer; Unreachable with reason NODE_SILENT when the node itself said nothing."""
    message = pb.AnswerServiceAnswerRequest(request=request_to(request))
    try:
        reply = await node.Answer(message, timeout=seconds)
    except grpc.aio.AioRpcError as failure:
        error = error_of(failure)
        # A node that answers puts its own error into the details: then it is a device that does not.
        own = any(key == _DETAILS for key, _ in failure.trailing_metadata() or ())
        if isinstance(error, Unreachable) and not own:
            raise Unreachable(error.message, reason=NODE_SILENT) from failure
        raise error from failure
    return answer_in(reply, request)
