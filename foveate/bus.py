"""NATS at the border: publish with an acknowledgement, request, serve, and consume to ack, nak or term.

In: bytes and subjects of `subjects.py`. Out: bytes and subjects handed to handlers; failures as errors of `errors.py`.
A consumer's handler decides by raising: nothing acknowledges, TryAgain asks for redelivery after its delay,
Never ends the message and hands it to the dead-letter callback with the reason.
Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from foveate.errors import FoveateError, InvalidInput, Never, NotReady, OutOfSpace, TryAgain, Unreachable

logger = logging.getLogger(__name__)

OLDEST_SERVER = (2, 14)  # before, work-queue streams and sourcing lose messages when a hub is killed
_MAX_UNACKNOWLEDGED = 256
_FETCH_WAIT_S = 1.0
# What JetStream answers when a stream with discard=new has reached its limits, or its disk has.
_FULL = {10023, 10047, 10077}

Handler = Callable[[bytes, str], Awaitable[None]]
"""Takes a message's bytes and the subject on which they came, which tells who sent them."""
Responder = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that can never be handled, and why."""

    subject: str
    payload: bytes
    reason: str
    message: str


DeadLetters = Callable[[DeadLetter], Awaitable[None]]


class Bus:
    """One connection to one account of one NATS server."""

    def __init__(self, client: Client, jetstream: JetStreamContext) -> None:
        self.client = client
        self.jetstream = jetstream
        # Requests are handled side by side, since a slow clip must not hold up a quick question.
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the server is reachable right now."""
        return self.client.is_connected

    async def store(self, subject: str, payload: bytes, *, message_id: str, timeout: float = 5.0) -> None:
        """Publishes into a stream and returns once it is on the server's disk.

        Raises Unreachable when no stream confirms in `timeout` seconds, OutOfSpace when the stream is full.
        """
        try:
            await self.jetstream.publish(subject, payload, timeout=timeout, headers={"Nats-Msg-Id": message_id})
        except APIError as error:
            if error.err_code in _FULL:
                raise OutOfSpace(
                    f"The stream behind {subject} is full ({error.description}); free space there.", retry_after=5.0
                ) from error
            raise Unreachable(f"The stream behind {subject} refused: {error.description}.") from error
        except MaxPayloadError as error:
            raise self._too_large(subject, payload) from error
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"No stream confirmed {subject}; it is sent again when the link is back.") from error

    async def send(self, subject: str, payload: bytes) -> None:
        """Publishes without an acknowledgement, for what the next one replaces, such as heartbeats."""
        try:
            await self.client.publish(subject, payload)
        except MaxPayloadError as error:
            raise self._too_large(subject, payload) from error
        except NatsError as error:
            raise Unreachable(f"Could not publish to {subject}: {error}.") from error

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:
        """One question, one reply; Unreachable when nobody listens or nobody answers within `timeout` seconds."""
        try:
            reply = await self.client.request(subject, payload, timeout=timeout)
        except NoRespondersError as error:
            raise Unreachable(f"Nobody listens at {subject}; start that node or check its link.") from error
        except (TimeoutError, NatsTimeoutError) as error:
            raise Unreachable(f"No reply from {subject} within {timeout:.1f} s.") from error
        except MaxPayloadError as error:
            raise self._too_large(subject, payload) from error
        except NatsError as error:
            raise Unreachable(f"Could not ask {subject}: {error}.") from error
        return reply.data

    async def serve(self, subject: str, responder: Responder) -> None:
        """Answers requests, each in a task of its own; the responder turns its errors into replies itself."""

        async def answer(message: Msg) -> None:
            try:
                await message.respond(await responder(message.data))
            except Exception:
                logger.exception("a request was not answered", extra={"subject": message.subject})

        async def spawn(message: Msg) -> None:
            task = asyncio.create_task(answer(message))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        await self.client.subscribe(subject, cb=spawn)

    async def listen(self, subject: str, handler: Handler) -> None:
        """Calls the handler for every message that is not kept by a stream; a failing one is logged and dropped."""

        async def handle(message: Msg) -> None:
            try:
                await handler(message.data, message.subject)
            except FoveateError as error:
                logger.warning("dropped: %s", error, extra={"subject": message.subject})
            except Exception:
                logger.exception("a listener broke", extra={"subject": message.subject})

        await self.client.subscribe(subject, cb=handle)

    async def ensure_stream(self, config: StreamConfig) -> StreamInfo:
        """Creates the stream, or brings an existing one to this configuration."""
        try:
            try:
                return await self.jetstream.update_stream(config)
            except NotFoundError:
                return await self.jetstream.add_stream(config)
        except APIError as error:
            raise NotReady(f"The stream {config.name} could not be set up: {error.description}.") from error
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"JetStream does not answer for the stream {config.name}.") from error

    async def consume(
        self, *, stream: str, durable: str, handler: Handler, dead_letters: DeadLetters, stop: asyncio.Event
    ) -> None:
        """Hands each message of the stream to the handler, in order, until `stop` is set; survives lost links."""
        config = ConsumerConfig(
            durable_name=durable, deliver_policy=DeliverPolicy.ALL, ack_wait=30.0, max_ack_pending=_MAX_UNACKNOWLEDGED
        )
        while not stop.is_set():
            try:
                subscription = await self.jetstream.pull_subscribe("", durable, stream=stream, config=config)
                try:
                    while not stop.is_set():
                        for message in await _fetch(subscription):
                            await _dispose(message, handler, dead_letters)
                finally:
                    # What was fetched and not handled comes again; left subscribed, it would hold up close().
                    await subscription.unsubscribe()
            except (TimeoutError, NatsError) as error:
                if self.client.is_closed:
                    return
                logger.warning("consumer %s lost its stream (%s); trying again", durable, error)
                await asyncio.sleep(1.0)

    def _too_large(self, subject: str, payload: bytes) -> InvalidInput:
        # Sent again it would be as large: this ends the message, where Unreachable would block what waits behind it.
        return InvalidInput(
            f"{len(payload)} bytes for {subject} are more than the {self.client.max_payload} that the server takes; "
            "send less, or raise its max_payload.",
            reason="TOO_LARGE",
        )

    async def acknowledged(self, *, stream: str, durable: str) -> int:
        """The number up to which a consumer acknowledged every message; 0 before it began."""
        try:
            consumer = await self.jetstream.consumer_info(stream, durable)
        except NotFoundError:
            return 0
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"JetStream does not answer for the consumer {durable}.") from error
        return (consumer.ack_floor.stream_seq or 0) if consumer.ack_floor else 0

    async def unhandled(self, *, stream: str, durable: str) -> int:
        """How many messages of the stream a consumer has not acknowledged yet."""
        try:
            consumer = await self.jetstream.consumer_info(stream, durable)
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"JetStream does not answer for the consumer {durable}.") from error
        return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)

    async def forget(self, *, stream: str, up_to: int, subject: str | None = None) -> None:
        """Drops the messages of the stream, or of one subject in it, up to this number."""
        if up_to < 1:
            return
        try:
            await self.jetstream.purge_stream(stream, seq=up_to + 1, subject=subject)
        except NotFoundError:
            return
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"JetStream does not answer for the stream {stream}.") from error

    async def message_id(self, *, stream: str, number: int) -> str:
        """The id of a message in the stream, empty when it is not there any more."""
        try:
            message = await self.jetstream.get_msg(stream, number)
        except NotFoundError:
            return ""
        except (TimeoutError, NatsError) as error:
            raise Unreachable(f"JetStream does not answer for the stream {stream}.") from error
        return str((message.headers or {}).get("Nats-Msg-Id", ""))

    async def close(self) -> None:
        """Lets open requests finish, flushes what was published and closes; never raises."""
        if self._serving:
            await asyncio.wait(self._serving, timeout=2.0)
        try:
            await asyncio.wait_for(self.client.drain(), timeout=3.0)
        except (TimeoutError, NatsError):
            await self.client.close()


async def connect(
    url: str, *, credentials: Path | None, name: str, inbox_prefix: str = "_INBOX", wait: float = 10.0
) -> Bus:
    """Connects, and reconnects for ever after; Unreachable when no server answers within `wait` seconds.

    NotReady when the server is older than 2.14 or turns the credentials down.
    """
    client = Client()
    last: list[Exception] = []

    async def note(error: Exception) -> None:
        last.append(error)
        logger.debug("nats: %s", error)

    options: dict[str, object] = {"user_credentials": str(credentials)} if credentials else {}
    try:
        await asyncio.wait_for(
            client.connect(
                url,
                name=name,
                inbox_prefix=inbox_prefix.encode(),
                error_cb=note,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a float works
                ping_interval=20,
                connect_timeout=2,
                **options,  # type: ignore[arg-type]
            ),
            timeout=wait,
        )
    except (TimeoutError, OSError, NatsError) as error:
        await client.close()
        # The refusal may be followed by what it caused, such as a closed connection.
        if any("authorization" in str(cause).lower() for cause in (*last, error)):
            raise NotReady(f"The NATS server at {url} turned these credentials down; enrol again.") from error
        raise Unreachable(f"No NATS server answers at {url}; start it or correct the URL.") from error
    try:
        _refuse_old(client, url)
    except NotReady:
        await client.close()
        raise
    return Bus(client, client.jetstream())


def _refuse_old(client: Client, url: str) -> None:
    version = client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise NotReady(
            f"The NATS server at {url} is {version.major}.{version.minor}; 2.14 keeps messages safe: update it."
        )


async def _fetch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        # One at a time: the client holds a larger batch back up to the whole wait when an old request's end comes
        # late (3 in 100, measured), and single messages still pass at 4000 a second.
        return await subscription.fetch(1, timeout=_FETCH_WAIT_S)
    except (TimeoutError, NatsTimeoutError):
        return []


async def _dispose(message: Msg, handler: Handler, dead_letters: DeadLetters) -> None:
    """Runs the handler and tells the server what became of the message."""
    try:
        if (letter := await _handled(message, handler)) is not None:
            await dead_letters(letter)
            await message.term()
            return
    except TryAgain as error:
        # From the handler, or from a dead-letter office that is closed: an undeliverable message is not lost either.
        logger.warning("will be delivered again: %s", error, extra={"subject": message.subject})
        await message.nak(delay=error.retry_after)
    except Exception:
        # A bug must not lose the message: it comes again, and the log says why.
        logger.exception("the handler broke", extra={"subject": message.subject})
        await message.nak(delay=5.0)
    else:
        await message.ack()


async def _handled(message: Msg, handler: Handler) -> DeadLetter | None:
    """Why the message can never be handled, None once it is."""
    try:
        await handler(message.data, message.subject)
    except Never as error:
        return DeadLetter(message.subject, message.data, error.reason, error.message)
    return None
