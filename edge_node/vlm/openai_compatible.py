"""A model behind an OpenAI-compatible server: vLLM, SGLang, NIM, llama.cpp, Ollama.

In: prompts. Out: what the model said within the time given, or one error; a queue that is full says so at once.
It speaks HTTP by httpx and not by the package `openai`, whose client retries past our deadline, reads bodies of any
size and brings ten packages for one POST. It knows no task. `chat_format.py` knows the bodies. Next: `gate.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from edge_node.vlm.chat_format import Manner, body_of, said_of
from edge_node.vlm.seam import Prompt, Said
from foveate.errors import (
    DeadlinePassed,
    FoveateError,
    MalformedMessage,
    NotReady,
    NotSupported,
    Overloaded,
    TryAgain,
    Unreachable,
)

logger = logging.getLogger(__name__)

MOST_BYTES = 4 * 1024 * 1024
"""Of a response: 64 Ki characters with their log-probabilities; what goes on longer is cut off and is no answer."""

RETRIES: Mapping[int | str, int] = {
    "connect": 2,  # the server restarts
    "broken": 1,  # the connection ended midway: it may have crashed on this very question
    "nonsense": 1,  # a body that is no chat completion
    408: 1,
    425: 1,
    429: 3,
    500: 1,
    502: 2,
    503: 3,  # vLLM and llama.cpp while they load
    504: 1,
    529: 2,  # overloaded, as some gateways say it
}
"""How often each way of failing is tried again; what is not named here is not. A timeout never is: it was the time."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_LEAST_S = 0.05  # of what is left, for an attempt to be worth making
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server is asked: seconds of one call, calls side by side, and calls that may wait for a place."""

    timeout_s: float = 60.0
    at_once: int = 2
    waiting: int = 8


class OpenAiCompatible:
    """A `Vlm` over `POST {url}/chat/completions`; `url` ends with the version, such as http://host:8000/v1."""

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        url: str,
        manner: Manner,
        tag: str,
        sees: bool,
        limits: Limits,
        key: Callable[[], str],
    ) -> None:
        """`key` gives the bearer token, empty for none; it is asked in a thread before each call and never kept."""
        self._client = client
        self._url = url.rstrip("/") + "/chat/completions"
        self._manner = manner
        self._tag = tag
        self._sees = sees
        self._limits = limits
        self._key = key
        self._places = asyncio.Semaphore(limits.at_once)
        self._waiting = 0

    @property
    def tag(self) -> str:
        """`model@revision`, as configured: what a server calls itself is not taken for it."""
        return self._tag

    @property
    def sees(self) -> bool:
        """Whether it takes pictures, as configured."""
        return self._sees

    async def say(self, prompt: Prompt, *, timeout: float) -> Said:
        """What the model writes within `timeout` seconds, waiting for a place included.

        DeadlinePassed, Overloaded (the queue here or there is full), Unreachable, NotReady (its key is refused),
        NotSupported (it refuses this request), MalformedMessage (it answers nonsense).
        """
        if prompt.shown and not self._sees:
            raise NotSupported(f"The model {self._tag} takes no pictures; ask it in words or name one that does.")
        allowed = min(timeout, self._limits.timeout_s)
        if allowed < _LEAST_S:
            raise self._too_late(allowed)
        deadline = time.monotonic() + allowed
        try:
            async with asyncio.timeout(allowed):
                await self._take_place()
                try:
                    content, key = await asyncio.to_thread(self._prepared, prompt)
                    return await self._persist(content, key, deadline)
                finally:
                    self._places.release()
        except TimeoutError:
            raise self._too_late(allowed) from None

    async def _take_place(self) -> None:
        if self._places.locked() and self._waiting >= self._limits.waiting:
            raise Overloaded(
                f"The model {self._tag} has {self._limits.at_once} questions in hand and {self._waiting} waiting; "
                "ask again later.",
                retry_after=1.0,
            )
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1

    def _prepared(self, prompt: Prompt) -> tuple[bytes, str]:
        """Encodes pictures and reads the key; blocking."""
        return json.dumps(body_of(prompt, self._manner)).encode(), self._key()

    async def _persist(self, content: bytes, key: str, deadline: float) -> Said:
        """Attempts until one succeeds, the table is used up, or the next would begin past the deadline."""
        used: dict[int | str, int] = {}
        while True:
            try:
                return await self._attempt(content, key)
            except _Failed as failed:
                used[failed.kind] = used.get(failed.kind, 0) + 1
                if used[failed.kind] > RETRIES.get(failed.kind, 0):
                    raise failed.error from None
                wait = failed.wait if failed.wait is not None else _wait(sum(used.values()))
                if time.monotonic() + wait + _LEAST_S > deadline:
                    raise failed.error from None
                logger.info("the model server is asked again", extra={"why": str(failed.kind), "wait_s": wait})
                await asyncio.sleep(wait)

    async def _attempt(self, content: bytes, key: str) -> Said:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            async with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                data = await _bounded(response)
        except httpx.ConnectError as error:
            raise _Failed("connect", self._unreachable("does not answer")) from error
        except httpx.TimeoutException as error:
            raise _Failed("timeout", self._unreachable("cannot be reached in time")) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise _Failed("broken", self._unreachable("broke off midway")) from error
        except MalformedMessage as error:
            raise _Failed("nonsense", error) from error
        if response.status_code != 200:
            raise _Failed(response.status_code, self._refusal(response, data, key), _retry_after(response))
        try:
            return said_of(data)
        except MalformedMessage as error:
            raise _Failed("nonsense", error) from error

    def _refusal(self, response: httpx.Response, data: bytes, key: str) -> FoveateError:
        """The error that a status other than 200 means."""
        status, told = response.status_code, _told(data, key)
        if status in (401, 403):
            return NotReady(f"The server of the model {self._tag} refuses the key; put its key file right.")
        if status in (429, 529):
            after = _retry_after(response)
            message = f"The server of the model {self._tag} has too much to do; ask again later."
            return Overloaded(message, retry_after=1.0 if after is None else after)
        if status >= 500 or status in (408, 425):
            return self._unreachable(f"failed with status {status}")
        return NotSupported(
            f"The server of the model {self._tag} refuses the request with status {status}{told}; correct its "
            "configuration.",
            status=str(status),
        )

    def _unreachable(self, what: str) -> TryAgain:
        return Unreachable(f"The server of the model {self._tag} {what}; see that it runs, and ask again.")

    def _too_late(self, seconds: float) -> DeadlinePassed:
        return DeadlinePassed(f"The model {self._tag} gave no answer within {max(0.0, seconds):.1f} s; give it more.")


class _Failed(Exception):
    """One attempt: which row of the table it is, the error to raise when that is used up, and how long to wait."""

    def __init__(self, kind: int | str, error: FoveateError, wait: float | None = None) -> None:
        super().__init__(str(kind))
        self.kind = kind
        self.error = error
        self.wait = wait


async def _bounded(response: httpx.Response) -> bytes:
    """The body as it came, at most MOST_BYTES of it; compressed ones are refused, since they were not asked for."""
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MalformedMessage("The model server's response is compressed, which was not asked for; turn that off.")
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > MOST_BYTES:
            raise MalformedMessage(f"The model server's response goes on past {MOST_BYTES} bytes; it was cut off.")
    return bytes(data)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server wants to be left alone, as a number or a date; None when it does not say."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), 3600.0)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(3600.0, max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _wait(attempts: int) -> float:
    """Doubles with each attempt; spread, so that questions that failed together do not come back together."""
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempts - 1)) * random.uniform(0.5, 1.0))


def _told(data: bytes, key: str) -> str:
    """What the server says of its refusal, short and without the key."""
    try:
        error = json.loads(data).get("error")
        words = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        return ""
    if not isinstance(words, str) or not words.strip():
        return ""
    # All of it is searched for the key before it is cut, lest half of the key be left.
    return f" ({' '.join((words.replace(key, '...') if key else words).split())[:200]})"
