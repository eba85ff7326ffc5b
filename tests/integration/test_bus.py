"""NATS over a real server: storing, requests, consumers through restarts, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from foveate import bus, identity, subjects
from foveate.bus import Bus, DeadLetter
from foveate.errors import InvalidInput, MalformedMessage, NotReady, OutOfSpace, Unreachable
from foveate.identity import Role

EVENT = subjects.event("north", "cam-1")


def stream(**other: Any) -> StreamConfig:
    return StreamConfig(
        name=subjects.EVENTS_STREAM,
        subjects=[subjects.events("north")],
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        **other,
    )


@pytest.fixture
async def edge(site_nats: Any) -> Bus:
    connected: Bus = await site_nats.connect("edge.local")
    return connected


@contextlib.asynccontextmanager
async def consuming(edge: Bus, handler: Any, letters: list[DeadLetter]) -> AsyncIterator[None]:
    """A consumer at work."""
    stop = asyncio.Event()

    async def bury(letter: DeadLetter) -> None:
        letters.append(letter)

    work = asyncio.create_task(
        edge.consume(
            stream=subjects.EVENTS_STREAM,
            durable=subjects.EVENTS_DURABLE,
            handler=handler,
            dead_letters=bury,
            stop=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(work, 10)


async def until(true: Any, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_a_stream_is_made_and_brought_to_another_configuration(edge: Bus):
    assert (await edge.ensure_stream(stream(max_bytes=1 << 20))).config.max_bytes == 1 << 20
    assert (await edge.ensure_stream(stream(max_bytes=1 << 21))).config.max_bytes == 1 << 21
    with pytest.raises(NotReady, match="EVENTS"):
        await edge.ensure_stream(StreamConfig(name=subjects.EVENTS_STREAM, storage=StorageType.MEMORY))


async def test_a_repeated_message_id_is_stored_once(edge: Bus):
    await edge.ensure_stream(stream())
    for _ in range(3):
        await edge.store(EVENT, b"one", message_id="one")
    assert (await edge.jetstream.stream_info(subjects.EVENTS_STREAM)).state.messages == 1


async def test_a_full_stream_and_a_missing_one_say_so(edge: Bus):
    with pytest.raises(Unreachable):
        await edge.store(EVENT, b"x", message_id="x", timeout=0.5)
    await edge.ensure_stream(stream(max_msgs=1))
    await edge.store(EVENT, b"1", message_id="1")
    with pytest.raises(OutOfSpace) as full:
        await edge.store(EVENT, b"2", message_id="2")
    assert full.value.retry_after == 5.0


async def test_what_is_too_large_ends_instead_of_coming_again(edge: Bus):
    await edge.ensure_stream(stream())
    huge = bytes(2 << 20)
    for attempt in (
        edge.store(EVENT, huge, message_id="x"),
        edge.send(EVENT, huge),
        edge.request(EVENT, huge, timeout=1),
    ):
        with pytest.raises(InvalidInput, match="2097152 bytes") as large:
            await attempt
        assert large.value.reason == "TOO_LARGE"


async def test_requests_are_answered_side_by_side(edge: Bus):
    async def respond(payload: bytes) -> bytes:
        await asyncio.sleep(0.5 if payload == b"slow" else 0)
        if payload == b"broken":
            raise ZeroDivisionError
        return payload.upper()

    subject = subjects.device_ask("north", "cam-1")
    await edge.serve(subject, respond)
    slow = asyncio.create_task(edge.request(subject, b"slow", timeout=3))
    await asyncio.sleep(0.05)
    begin = time.monotonic()
    assert await edge.request(subject, b"quick", timeout=3) == b"QUICK"
    assert time.monotonic() - begin < 0.4
    assert await slow == b"SLOW"
    with pytest.raises(Unreachable, match=r"No reply from .* within 0\.2 s"):
        await edge.request(subject, b"broken", timeout=0.2)
    with pytest.raises(Unreachable, match="Nobody listens"):
        await edge.request(subjects.device_ask("north", "cam-2"), b"", timeout=1)


async def test_a_listener_survives_what_it_cannot_read(edge: Bus):
    heard = []

    async def hear(payload: bytes, subject: str) -> None:
        heard.append(payload)
        if payload == b"1":
            raise MalformedMessage("No heartbeat.")
        if payload == b"2":
            raise ZeroDivisionError

    await edge.listen(subjects.presences("north"), hear)
    for number in (b"1", b"2", b"3"):
        await edge.send(subjects.presence("north", "cam-1"), number)
    await until(lambda: len(heard) == 3)


async def test_each_message_is_handled_once_retried_or_buried(edge: Bus):
    await edge.ensure_stream(stream())
    tried: list[bytes] = []
    letters: list[DeadLetter] = []

    async def handle(payload: bytes, subject: str) -> None:
        tried.append(payload)
        if payload == b"bad":
            raise MalformedMessage("No event.")
        if payload == b"later" and tried.count(b"later") == 1:
            raise Unreachable("The database is away.", retry_after=0.2)

    for payload in (b"good", b"bad", b"later"):
        await edge.store(EVENT, payload, message_id=payload.decode())
    async with consuming(edge, handle, letters):
        await until(lambda: tried.count(b"later") == 2)
        await asyncio.sleep(0.5)
    assert sorted(tried) == [b"bad", b"good", b"later", b"later"]
    assert letters == [DeadLetter(EVENT, b"bad", "MALFORMED_MESSAGE", "No event.")]
    info = await edge.jetstream.consumer_info(subjects.EVENTS_STREAM, subjects.EVENTS_DURABLE)
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_a_killed_server_loses_nothing_that_was_confirmed(edge: Bus, site_nats: Any):
    await edge.ensure_stream(stream())
    handled: list[bytes] = []

    async def handle(payload: bytes, subject: str) -> None:
        handled.append(payload)

    async with consuming(edge, handle, []):
        for number in range(20):
            await edge.store(EVENT, b"%d" % number, message_id=str(number))
        site_nats.leaf.kill()
        with pytest.raises(Unreachable):
            await edge.store(EVENT, b"lost?", message_id="lost?", timeout=0.3)
        site_nats.leaf.start()
        await until(lambda: edge.connected)

        async def again() -> None:
            with contextlib.suppress(Unreachable):
                await edge.store(EVENT, b"20", message_id="20", timeout=1)

        while b"20" not in handled:
            await again()
            await asyncio.sleep(0.1)
        await until(lambda: len(set(handled) - {b"lost?"}) == 21, seconds=40)


async def test_messages_reach_an_idle_consumer_at_once(edge: Bus):
    await edge.ensure_stream(stream())
    delays: list[float] = []

    async def handle(payload: bytes, subject: str) -> None:
        delays.append(time.monotonic() - float(payload))

    async with consuming(edge, handle, []):
        for number in range(12):
            await asyncio.sleep(0.1 + 0.17 * (number % 7))
            await edge.store(EVENT, str(time.monotonic()).encode(), message_id=str(number))
        await until(lambda: len(delays) == 12)
    assert max(delays) < 0.4


async def test_closing_is_quick_while_a_consumer_was_idle(edge: Bus):
    await edge.ensure_stream(stream())

    async def handle(payload: bytes, subject: str) -> None:
        pass

    async with consuming(edge, handle, []):
        await edge.store(EVENT, b"1", message_id="1")
        await asyncio.sleep(1.2)
    begin = time.monotonic()
    await edge.close()
    assert time.monotonic() - begin < 1.0


async def test_wrong_credentials_and_no_server_are_told_apart(site_nats: Any, tmp_path: Any):
    with pytest.raises(Unreachable, match="No NATS server answers"):
        await bus.connect("nats://127.0.0.1:9", credentials=None, name="x", wait=1.0)
    stranger = identity.make_key(Role.ACCOUNT)
    user = identity.make_key(Role.USER)
    jwt = identity.user_jwt(stranger, user=user.public, name="x", permissions=identity.hub_permissions())
    path = tmp_path / "stranger.creds"
    identity.write_secret(path, identity.credentials_file(jwt, user.seed))
    with pytest.raises(NotReady, match="turned these credentials down"):
        await bus.connect(site_nats.hub_ports.url, credentials=path, name="x", wait=2.0)


async def test_a_server_that_is_too_old_is_refused():
    async def greet(reader: Any, writer: Any) -> None:
        info = '{"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}'
        writer.write(f"INFO {info}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        writer.close()
        left.set()

    left = asyncio.Event()
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(NotReady, match=r"is 2\.9; 2\.14 keeps messages safe"):
            await bus.connect(f"nats://127.0.0.1:{port}", credentials=None, name="x")
        await asyncio.wait_for(left.wait(), 5)
