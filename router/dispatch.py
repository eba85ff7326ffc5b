"""Sends a placed question to its node: to the cloud by gRPC, to an edge and, through it, to a device by NATS.

In: an `AnswerRequest`. Out: the node's answer, or its error rebuilt from the reply.
It knows no plan; `pipeline` decides what comes after.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from foveate import subjects
from foveate.bus import Bus
from foveate.errors import MalformedMessage, Unreachable
from foveate.messages import Answer, AnswerRequest, Tier
from foveate.rpc import translated
from foveate.v1 import answer_service_pb2 as pb
from foveate.wire import answer_of, failure_of, parse, request_to
from router.settle import NODE_SILENT

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from foveate.v1.answer_service_pb2_grpc import AnswerServiceAsyncStub

logger = logging.getLogger(__name__)


class Dispatcher:
    """The nodes as this router reaches them."""

    def __init__(self, bus: Bus, cloud: AnswerServiceAsyncStub) -> None:
        self._bus = bus
        self._cloud = cloud

    async def ask(self, request: AnswerRequest, *, site_id: str, seconds: float) -> Answer:
        """The node's answer within `seconds`.

        Unreachable with reason NODE_SILENT when the node does not answer at all, MalformedMessage when its reply is
        none or belongs to another question, else the error that the node itself raised.
        """
        if request.placement.tier is Tier.CLOUD:
            reply = await self._ask_cloud(request, seconds=seconds)
        else:
            reply = await self._ask_site(request, site_id=site_id, seconds=seconds)
        return answer_in(reply, request)

    async def _ask_cloud(self, request: AnswerRequest, *, seconds: float) -> pb.AnswerServiceAnswerResponse:
        try:
            with translated():
                message = pb.AnswerServiceAnswerRequest(request=request_to(request))
                reply: pb.AnswerServiceAnswerResponse = await self._cloud.Answer(message, timeout=seconds)
                return reply
        except Unreachable as error:
            raise Unreachable(error.message, reason=NODE_SILENT) from error

    async def _ask_site(
        self, request: AnswerRequest, *, site_id: str, seconds: float
    ) -> pb.AnswerServiceAnswerResponse:
        if not self._bus.connected:
            # A request would wait in the client's buffer until the link is back.
            raise Unreachable("The link to the NATS hub is down; it is tried again by itself.", reason=NODE_SILENT)
        payload = request_to(request).SerializeToString()
        try:
            reply = await self._bus.request(subjects.site_ask(site_id), payload, timeout=seconds)
        except Unreachable as error:
            raise Unreachable(error.message, reason=NODE_SILENT) from error
        return parse(pb.AnswerServiceAnswerResponse, reply)


def answer_in(reply: pb.AnswerServiceAnswerResponse, request: AnswerRequest) -> Answer:
    """The answer in a node's reply; the node's own error when it failed, MalformedMessage for any other reply."""
    match reply.WhichOneof("result"):
        case "failure":
            raise failure_of(reply.failure)
        case "answer":
            answer = answer_of(reply.answer)
        case _:
            raise MalformedMessage(f"{request.placement} replied with nothing; update that node.")
    if answer.question_id != request.question.question_id:
        raise MalformedMessage(f"{request.placement} answered another question; restart that node.")
    # Only a site's own router knows whether it is alone; it signs what its nodes told.
    return replace(answer, alone=False)
