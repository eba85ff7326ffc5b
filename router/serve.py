"""The router's gRPC services: questions, clips with the edges' uploads, and commands for devices.

In: calls. Out: streams of what happens. Only translates between the wire and `asking`, `records`, `clips`, `devices`.
It knows no policy; errors become statuses in `foveate.rpc`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from uuid_utils import uuid7

from foveate.errors import InvalidInput
from foveate.messages import Answer, ClipHeader, ClipOrder, Place, Plan, Representation, Step
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import device_service_pb2 as device_pb
from foveate.v1 import question_service_pb2 as pb
from foveate.v1 import residency_pb2
from foveate.v1.clip_service_pb2_grpc import ClipServiceServicer, add_ClipServiceServicer_to_server
from foveate.v1.device_service_pb2_grpc import DeviceServiceServicer, add_DeviceServiceServicer_to_server
from foveate.v1.question_service_pb2_grpc import QuestionServiceServicer, add_QuestionServiceServicer_to_server
from foveate.wire import (
    answer_to,
    clip_header_to,
    clip_order_of,
    device_state_to,
    place_to,
    plan_to,
    question_of,
    record_to,
    step_to,
)
from router.asking import Asking
from router.clips import Clips
from router.devices import Devices
from router.pipeline import Happening
from router.records import Records

_PAGE, _LARGEST_PAGE = 20, 200


class Questions(QuestionServiceServicer):
    """Ask, and look up what was asked."""

    def __init__(self, asking: Asking, records: Records) -> None:
        self._asking = asking
        self._records = records

    async def Ask(
        self, request: pb.AskRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.AskResponse]:
        """Plan, steps and partial answers as they happen, then the record."""
        question = question_of(request.question)
        async for happening in self._asking.ask(question, seconds=context.time_remaining()):
            yield _response(happening)

    async def GetQuestion(
        self, request: pb.GetQuestionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetQuestionResponse:
        """One record, by its id or a unique beginning of it."""
        record = await asyncio.to_thread(self._records.find, request.question_id)
        return pb.GetQuestionResponse(record=record_to(record))

    async def ListQuestions(
        self, request: pb.ListQuestionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListQuestionsResponse:
        """The newest records, without pictures, which GetQuestion brings."""
        if request.page_size < 0:
            raise InvalidInput("page_size must be 0 or more.", field="page_size")
        count = min(request.page_size or _PAGE, _LARGEST_PAGE)
        records = await asyncio.to_thread(self._records.newest, count)
        return pb.ListQuestionsResponse(records=[_without_pictures(record_to(record)) for record in records])


class ClipsService(ClipServiceServicer):
    """Clips for people, uploads from edges."""

    def __init__(self, clips: Clips, *, here: Place) -> None:
        self._clips = clips
        self._here = here

    async def UploadClip(
        self, request_iterator: AsyncIterator[clip_pb.UploadClipRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> clip_pb.UploadClipResponse:
        """Takes in a clip that was ordered."""
        header = await self._clips.receive(request_iterator)
        return clip_pb.UploadClipResponse(size_bytes=header.size_bytes)

    async def GetUpload(
        self, request: clip_pb.GetUploadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> clip_pb.GetUploadResponse:
        """How much of an upload has arrived."""
        offset, complete = self._clips.progress(request.clip_id)
        return clip_pb.GetUploadResponse(offset_bytes=offset, complete=complete)

    async def GetClip(
        self, request: clip_pb.GetClipRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[clip_pb.GetClipResponse]:
        """A clip from the device that recorded it: its header, then its bytes."""
        order = _order_of(request, here=self._here)
        async for part in self._clips.fetch(order, seconds=context.time_remaining()):
            if isinstance(part, ClipHeader):
                yield clip_pb.GetClipResponse(header=clip_header_to(part))
            else:
                yield clip_pb.GetClipResponse(chunk=part)


class DevicesService(DeviceServiceServicer):
    """One device, reached through its site."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def GetDeviceState(
        self, request: device_pb.GetDeviceStateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> device_pb.GetDeviceStateResponse:
        """What the device tells of itself."""
        state = await self._devices.state(request.device_id, seconds=context.time_remaining())
        return device_pb.GetDeviceStateResponse(state=device_state_to(state))

    async def PressDevice(
        self, request: device_pb.PressDeviceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> device_pb.PressDeviceResponse:
        """Makes a manual event."""
        event_id = await self._devices.press(request.device_id, request.about, seconds=context.time_remaining())
        return device_pb.PressDeviceResponse(event_id=event_id)

    async def WatchDevice(
        self, request: device_pb.WatchDeviceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> device_pb.WatchDeviceResponse:
        """Sets the sentences that the device watches for."""
        texts = await self._devices.watch(request.device_id, request.texts, seconds=context.time_remaining())
        return device_pb.WatchDeviceResponse(texts=texts)


@dataclass(frozen=True, slots=True)
class Services:
    """All that a router serves; at a site the edge serves clips, and devices are commanded from the hub."""

    questions: Questions
    clips: ClipsService | None = None
    devices: DevicesService | None = None


def register(server: grpc.aio.Server, services: Services) -> None:
    """Adds the services to the server."""
    add_QuestionServiceServicer_to_server(services.questions, server)
    if services.clips is not None:
        add_ClipServiceServicer_to_server(services.clips, server)
    if services.devices is not None:
        add_DeviceServiceServicer_to_server(services.devices, server)


def _response(happening: Happening) -> pb.AskResponse:
    match happening:
        case Plan():
            return pb.AskResponse(plan=plan_to(happening))
        case Step():
            return pb.AskResponse(step=step_to(happening))
        case Answer():
            return pb.AskResponse(partial=answer_to(happening))
        case _:
            return pb.AskResponse(record=record_to(happening))


def _without_pictures(record: pb.QuestionRecord) -> pb.QuestionRecord:
    """A list of records must stay within one message of 4 MiB."""
    for evidence in record.answer.evidence:
        evidence.ClearField("picture")
    return record


def _order_of(request: clip_pb.GetClipRequest, *, here: Place) -> ClipOrder:
    """The order behind a request, with an id of its own; what is unset takes its default."""
    message = clip_pb.ClipOrder(
        clip_id=str(uuid7()),
        device_id=request.device_id,
        start_time=request.start_time if request.HasField("start_time") else None,
        end_time=request.end_time if request.HasField("end_time") else None,
        destination=request.asker if request.HasField("asker") else place_to(here),
        representation=request.representation
        or residency_pb2.Representation.Value(f"REPRESENTATION_{Representation.CLIP.name}"),
    )
    return clip_order_of(message)
