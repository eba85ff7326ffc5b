"""gRPC at the border: a server with health and errors as rich statuses, channels, and the way back to our errors.

In: servicers generated from `proto/`. Out: a listening server, or an error of `errors.py` rebuilt from a status.
Each FoveateError becomes its canonical code, one ErrorInfo and, for the family TryAgain, RetryInfo.
Knows nothing of particular services.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from foveate.errors import (
    FoveateError,
    InvalidInput,
    MalformedMessage,
    NotReady,
    TryAgain,
    Unreachable,
    from_wire,
)
from foveate.wire.scalars import duration, seconds_of

logger = logging.getLogger(__name__)

DOMAIN = "foveate"
CHUNK_BYTES = 64 * 1024
# A status travels in HTTP/2 trailers, of which clients take 8 KiB; an error may quote what somebody sent.
_LONGEST_MESSAGE, _LONGEST_VALUE = 1000, 200  # bytes
# A phone on a train vanishes without a FIN: pings find out within half a minute.
_KEEPALIVE = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000)]
# Otherwise a server that was gone for an hour is missed for two more minutes once it is back.
_CHANNEL = [("grpc.max_reconnect_backoff_ms", 5_000), *_KEEPALIVE]
_SERVER = [("grpc.so_reuseport", 0), ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000), *_KEEPALIVE]


def status_of(error: FoveateError) -> status_pb2.Status:
    """The rich status of an error (google.rpc.Status with ErrorInfo and, where it helps, RetryInfo)."""
    metadata = {name: _cut(value, _LONGEST_VALUE) for name, value in error.carried.items()}
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    if isinstance(error, TryAgain):
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after))))
    code = grpc.StatusCode[error.code].value[0]
    return status_pb2.Status(code=code, message=_cut(error.message, _LONGEST_MESSAGE), details=details)


def error_of(failure: grpc.RpcError) -> FoveateError:
    """The error behind a failed call: the one that the server raised, or Unreachable when there was none."""
    code = failure.code() if callable(getattr(failure, "code", None)) else None
    try:
        status = rpc_status.from_call(cast(grpc.Call, failure)) if code is not None else None
    except ValueError:  # trailers that contradict the code: whoever wrote them is not ours
        status = None
    reason, metadata, delay = "", {}, 0.0
    message = status.message if status else ""
    for detail in status.details if status else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            delay = seconds_of(retry.retry_delay)
    if reason:
        return from_wire(reason=reason, message=message, metadata=metadata, retry_after=delay)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return from_wire(
            reason="DEADLINE_PASSED", message="No answer within the deadline; allow more time.", metadata={}
        )
    details = str(failure.details() if callable(getattr(failure, "details", None)) else failure)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return InvalidInput("The message is larger than the 4 MiB that a call may hold; send less.", reason="TOO_LARGE")
    if "DecodeError" in details:  # gRPC's own words: the request never reached a handler
        return MalformedMessage("The service cannot read the message that was sent; is its text in UTF-8?")
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(f"The service does not answer ({details}); start it with `foveate up`.")
    return from_wire(reason="", message=f"The call failed: {details}.", metadata={}, retry_after=0.0)


@contextmanager
def translated() -> Any:  # noqa: ANN401  a context manager's own type says nothing here
    """Turns any RpcError inside the block into the error that caused it."""
    try:
        yield
    except grpc.RpcError as failure:
        raise error_of(failure) from failure


@asynccontextmanager
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `host:port`, closed at the end of the block."""
    async with grpc.aio.insecure_channel(target, options=_CHANNEL) as opened:
        yield opened


@asynccontextmanager
async def serve(listen: str, register: Callable[[grpc.aio.Server], None], *, grace: float = 2.0) -> AsyncIterator[int]:
    """Serves on `host:port` (port 0: any free one) with gRPC health for the length of the block; yields the port.

    NotReady when the port is taken. At the end health turns NOT_SERVING, and open calls get `grace` seconds.
    """
    server = grpc.aio.server(interceptors=[_Errors()], options=_SERVER)
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise NotReady(f"{listen} is taken by another program; stop it or choose another port.") from error
    if port == 0:
        raise NotReady(f"{listen} is taken by another program; stop it or choose another port.")
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield port
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(grace)


class _Errors(grpc.aio.ServerInterceptor):
    """Ends a call that raised a FoveateError with its rich status; anything else is a bug and is logged."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return handler
        if handler.response_streaming:
            behaviour = handler.stream_stream or handler.unary_stream
            wrap: Callable[..., Any] = _guarded_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            behaviour = handler.stream_unary or handler.unary_unary
            wrap = _guarded_unary
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(
            wrap(behaviour, handler_call_details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _guarded_unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> Any:  # noqa: ANN401
        try:
            return await behaviour(request, context)
        except FoveateError as error:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))
        except Exception as error:
            await _abort_unknown(context, method, error)

    return call


def _guarded_stream(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        try:
            async for response in behaviour(request, context):
                yield response
        except FoveateError as error:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))
        except Exception as error:
            await _abort_unknown(context, method, error)

    return call


async def _abort_unknown(context: Any, method: str, error: Exception) -> None:  # noqa: ANN401
    if isinstance(error, grpc.aio.AbortError):
        raise error
    logger.exception("a call broke", extra={"method": method})
    await context.abort(grpc.StatusCode.INTERNAL, "The service broke on this request; its log says why.")


def _packed(message: Any) -> AnyMessage:  # noqa: ANN401
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _cut(text: str, longest: int) -> str:
    return text.encode()[:longest].decode(errors="ignore")
