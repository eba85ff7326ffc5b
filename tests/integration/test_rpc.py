"""gRPC over a real loopback socket: health, errors of every kind of call, ports that are taken."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from foveate import rpc
from foveate.errors import DeadlinePassed, InvalidInput, Never, NotReady, Overloaded, Unreachable


class Trouble:
    """A service with one method of each kind, which raises what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def unary(self, request: bytes, context: Any) -> bytes:
        return self._done(request)

    async def stream_in(self, requests: Any, context: Any) -> bytes:
        whole = b"".join([part async for part in requests])
        return self._done(whole)

    async def stream_out(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        yield self._done(request)

    async def both(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for part in requests:
            yield self._done(part)

    async def slow(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0.6)
        return request

    def _done(self, request: bytes) -> bytes:
        if self.error:
            raise self.error
        return request

    def register(self, server: grpc.aio.Server) -> None:
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "StreamIn": grpc.stream_unary_rpc_method_handler(self.stream_in),
            "StreamOut": grpc.unary_stream_rpc_method_handler(self.stream_out),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("trouble", handlers),))


async def parts() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


async def called(channel: grpc.aio.Channel, kind: str) -> list[bytes]:
    """All that one call of this kind answers."""
    with rpc.translated():
        match kind:
            case "Unary":
                return [await channel.unary_unary("/trouble/Unary")(b"ab")]
            case "StreamIn":
                return [await channel.stream_unary("/trouble/StreamIn")(parts())]
            case "StreamOut":
                return [part async for part in channel.unary_stream("/trouble/StreamOut")(b"ab")]
            case _:
                return [part async for part in channel.stream_stream("/trouble/Both")(parts())]


KINDS = {"Unary": [b"ab"], "StreamIn": [b"ab"], "StreamOut": [b"ab", b"ab"], "Both": [b"a", b"b"]}


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
async def channel(trouble: Trouble) -> AsyncIterator[grpc.aio.Channel]:
    async with rpc.serve("127.0.0.1:0", trouble.register) as port, rpc.channel(f"127.0.0.1:{port}") as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_call_answers_and_fails_with_our_errors(
    trouble: Trouble, channel: grpc.aio.Channel, kind: str
):
    assert await called(channel, kind) == KINDS[kind]
    trouble.error = Overloaded("Too much; ask later.", retry_after=7.5, node="north")
    with pytest.raises(Overloaded, match="ask later") as caught:
        await called(channel, kind)
    assert (caught.value.retry_after, caught.value.metadata) == (7.5, {"node": "north"})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bug_is_logged_here_and_hidden_there(
    trouble: Trouble, channel: grpc.aio.Channel, kind: str, caplog: pytest.LogCaptureFixture
):
    trouble.error = ZeroDivisionError("secret")
    with caplog.at_level(logging.ERROR), pytest.raises(Never) as caught:
        await called(channel, kind)
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


async def test_an_error_that_quotes_a_huge_input_still_arrives(trouble: Trouble, channel: grpc.aio.Channel):
    trouble.error = InvalidInput("🎥" * 50_000, name="é" * 50_000)
    with pytest.raises(InvalidInput, match="🎥"):
        await called(channel, "Unary")


async def test_a_deadline_is_ours_too(channel: grpc.aio.Channel):
    with pytest.raises(DeadlinePassed), rpc.translated():
        await channel.unary_unary("/trouble/Slow")(b"", timeout=0.1)


async def test_nobody_there_and_unknown_methods(channel: grpc.aio.Channel):
    with pytest.raises(Never, match="Method not found"), rpc.translated():
        await channel.unary_unary("/trouble/None")(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with rpc.channel(f"127.0.0.1:{taken.getsockname()[1]}") as nowhere:
            with pytest.raises(Unreachable, match="foveate up"), rpc.translated():
                await nowhere.unary_unary("/trouble/Unary")(b"", timeout=5)


async def test_a_taken_port_is_one_sentence(trouble: Trouble):
    async with rpc.serve("127.0.0.1:0", trouble.register) as port:
        with pytest.raises(NotReady, match=f"127.0.0.1:{port} is taken"):
            async with rpc.serve(f"127.0.0.1:{port}", trouble.register):
                pass


async def test_health_is_served_and_open_calls_get_their_grace(trouble: Trouble):
    async with rpc.serve("127.0.0.1:0", trouble.register) as port:
        opened = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        health = await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        slow = asyncio.ensure_future(opened.unary_unary("/trouble/Slow")(b"done"))
        await asyncio.sleep(0.1)
    assert await slow == b"done"
    await opened.close()
