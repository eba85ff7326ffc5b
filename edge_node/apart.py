"""A closer look in a process of its own, so that neither its work nor its crashes hold up events and questions.

In: one clip, event and moment at a time, over a pipe. Out: what `perceive.py` found there, or the error that it met.
The process starts when first needed, works at a low priority, and ends when its parent does, however that ends.
It knows no queue. Next: `gather.py`, which asks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

from edge_node.fetch import Clip
from edge_node.perceive import Found, Perceive
from edge_node.wanted import Moment
from foveate.errors import FoveateError, Unreachable
from foveate.messages import Event
from foveate.telemetry import log_to_stderr

_NICE = 10
_END_S = 5.0
_AGAIN_S = 5.0
_LONGEST_S = 120.0  # of one look, which takes four seconds, or a minute of speech by a large model


class Looks(Protocol):
    """Whatever looks at one clip closely."""

    async def look(self, clip: Clip, event: Event, moment: Moment, *, most: int) -> Found:
        """As `Perceive.look`; TryAgain when it may work later."""
        ...

    async def close(self) -> None:
        """Ends it, also in the middle of a look."""
        ...


class Apart:
    """`Perceive` in a child process; one look at a time."""

    def __init__(self, opens: Callable[[], Perceive], *, longest_s: float = _LONGEST_S) -> None:
        """`opens` is called in the child, so that it must be a plain function or a partial of one.

        A look that takes longer than `longest_s` has hung on its footage, and is ended with its process.
        """
        self._opens, self._longest_s = opens, longest_s
        self._child: SpawnProcess | None = None
        self._end: Connection | None = None
        self._one = threading.Lock()

    async def look(self, clip: Clip, event: Event, moment: Moment, *, most: int) -> Found:
        """As `Perceive.look`; Unreachable when the process ended in the middle, which the next look starts again."""
        answer = await asyncio.to_thread(self._ask, clip, event, moment, most)
        if isinstance(answer, FoveateError):
            raise answer
        return answer

    async def close(self) -> None:
        """Ends the process, also in the middle of a look."""
        await asyncio.to_thread(self._drop)

    def _ask(self, clip: Clip, event: Event, moment: Moment, most: int) -> Found | FoveateError:
        with self._one:
            try:
                end = self._end or self._start()
                end.send((clip, event, moment, most))
                if not end.poll(self._longest_s):
                    raise EOFError
                answer: Found | FoveateError = end.recv()
                return answer
            except (EOFError, OSError) as error:
                self._drop()
                raise Unreachable(
                    "The process that looks closely ended in the middle; it is started again.", retry_after=_AGAIN_S
                ) from error

    def _start(self) -> Connection:
        # A fork would copy the event loop and its connections.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
        child = context.Process(target=_serve, args=(theirs, self._opens, level), name="gather", daemon=True)
        child.start()
        # Only the child's end may stay open: its death must be seen here.
        theirs.close()
        self._child, self._end = child, ours
        return ours

    def _drop(self) -> None:
        child, end, self._child, self._end = self._child, self._end, None, None
        if child is not None:
            child.terminate()
            child.join(_END_S)
            if child.is_alive():
                child.kill()
                child.join()
        if end is not None:
            end.close()


def _serve(end: Connection, opens: Callable[[], Perceive], level: str) -> None:
    """The child: answers until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
    log_to_stderr(app="edge_node", level=level)
    perceive = opens()
    while True:
        try:
            clip, event, moment, most = end.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Found | FoveateError = perceive.look(clip, event, moment, most=most)
        except FoveateError as error:
            answer = error
        with contextlib.suppress(OSError):
            end.send(answer)
