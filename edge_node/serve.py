"""The edge's replies: to the router over the bridged account, to devices and people on site over gRPC.

In: bytes and calls. Out: guarded answers, clips, events; failures as data over NATS and as statuses over gRPC.
Every answer passes `egress.guard_answer`, wherever it goes. It decides nothing itself. Next: `__main__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from edge_node.answer import Answerer
from edge_node.egress import Egress
from edge_node.fetch import Clip, Orders
from foveate import rpc, subjects
from foveate.bus import Bus
from foveate.clips import upload
from foveate.errors import DeadlinePassed, FoveateError, NotReady
from foveate.messages import Answer, AnswerRequest, ClipOrder, Outcome, Place, Tier
from foveate.residency import Origin, farthest
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import question_pb2
from foveate.wire import answer_to, clip_header_to, clip_order_of, failure_to, parse, request_of

logger = logging.getLogger(__name__)

CLIP_S = 60.0
"""Longest that a clip for somebody elsewhere may take, cut and upload together."""


class Site:
    """What the site does for whoever asks, with residency on the way out."""

    def __init__(
        self, *, answerer: Answerer, egress: Egress, orders: Orders, here: Place, cloud: Place, router_grpc: str
    ) -> None:
        self._answerer = answerer
        self._egress = egress
        self._orders = orders
        self._here = here
        self._origin = Origin(here.region, here.site_id, "")
        self._cloud = cloud
        self._router_grpc = router_grpc

    async def answer(self, request: AnswerRequest, *, on_site: bool) -> Answer:
        """The guarded answer to whoever asks; an asker that does not say where they are is on site or nowhere.

        Off site every reply passes the hub and the router, wherever the asker claims to be.
        """
        asker = request.question.asker or (self._here if on_site else Place())
        # Nobody is nearer than the site that tells them, not even who claims to stand at the device.
        asker = farthest(self._origin, self._here, asker) if on_site else farthest(self._origin, asker, self._cloud)
        request = replace(request, question=replace(request.question, asker=asker))
        if request.placement.tier is Tier.DEVICE:
            # It is about that device alone, whatever else is named beside it.
            request = replace(request, device_ids=(request.placement.node,))
        admitted = self._egress.admit(request, asker)
        if isinstance(admitted, Answer):
            return await self._egress.guard_answer(admitted, asker)
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s)):
                answer = await self._answerer.answer(admitted)
        except TimeoutError as error:
            raise DeadlinePassed("The site did not answer within the deadline; allow more time.") from error
        if answer.outcome is not Outcome.REFUSED:
            answer = replace(answer, question_id=request.question.question_id, placement=request.placement)
        return await self._egress.guard_answer(answer, asker, device_ids=admitted.device_ids)

    async def send_clip(self, order: ClipOrder) -> Clip:
        """Uploads what was ordered to the router, when residency lets it go there; returns what was sent."""
        order = replace(order, destination=farthest(self._origin, order.destination, self._cloud))
        verdict = self._egress.check_clip(order.device_id, order.representation, order.destination)
        if not self._router_grpc:
            raise NotReady("This edge knows no router to upload to; set FOVEATE_EDGE_ROUTER_GRPC.")
        clip = await self._orders.order(order, timeout=CLIP_S / 2)
        try:
            await self._egress.record_clip(clip.header, order.destination, verdict)
            async with rpc.channel(self._router_grpc) as channel:
                await upload(channel, clip.path, clip.header)
        finally:
            self._orders.forget(order.clip_id)
        return clip


class Relay:
    """Serves the router's requests in the bridged account."""

    def __init__(self, *, bridged: Bus, site: Site, here: Place) -> None:
        self._bridged = bridged
        self._site = site
        self._here = here

    async def run(self) -> None:
        """Subscribes; requests are handled side by side for as long as the connection lives."""
        await self._bridged.serve(subjects.site_ask(self._here.site_id), self.ask)
        await self._bridged.serve(subjects.site_clip(self._here.site_id), self.clip)

    async def ask(self, payload: bytes) -> bytes:
        """A placed question's bytes to the reply's."""
        began = time.monotonic()
        try:
            request = request_of(parse(question_pb2.AnswerRequest, payload))
            answer = await self._site.answer(request, on_site=False)
            reply = answer_pb.AnswerServiceAnswerResponse(answer=answer_to(answer))
            logger.info(
                "answered",
                extra={
                    "question_id": answer.question_id,
                    "placement": str(request.placement),
                    "outcome": answer.outcome.value,
                    "confidence": round(answer.confidence, 3),
                    "seconds": round(time.monotonic() - began, 3),
                },
            )
        except FoveateError as error:
            reply = answer_pb.AnswerServiceAnswerResponse(failure=failure_to(error))
        return reply.SerializeToString()

    async def clip(self, payload: bytes) -> bytes:
        """A clip order's bytes to the receipt's."""
        try:
            clip = await self._site.send_clip(clip_order_of(parse(clip_pb.ClipOrder, payload)))
            receipt = clip_pb.ClipReceipt(header=clip_header_to(clip.header))
        except FoveateError as error:
            receipt = clip_pb.ClipReceipt(failure=failure_to(error))
        return receipt.SerializeToString()


@contextlib.asynccontextmanager
async def serving(listen: str, *services: Any) -> AsyncIterator[int]:  # noqa: ANN401  (add function, servicer) pairs
    """gRPC with health on `listen` for the length of the block; each service is an add function and its servicer."""

    def register(server: grpc.aio.Server) -> None:
        for add, servicer in services:
            add(servicer, server)

    async with rpc.serve(listen, register) as port:
        logger.info("serving on port %s", port)
        yield port
