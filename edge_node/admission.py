"""How many questions are answered at once, and when to say "later": past what is measured to fit, nobody queues.

In: questions that want a place, with the time that is left for them. Out: a place, after a short wait, or Overloaded
with the delay after which the present queue will be done. What a question takes is learnt for each kind from those
that were answered. It knows no question and opens nothing. Next: `serve.py`, which answers inside a place.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edge_node.answer import Answerer
from foveate.errors import Overloaded
from foveate.messages import Answer, AnswerRequest, Representation, Tier

_WEIGHT = 0.1  # of the newest in the moving average: the last twenty or so count
_SHORTEST_DELAY_S = 0.05


@dataclass(eq=False, slots=True)
class _Place:
    """Somebody who has a place since `began`, or waits for one."""

    kind: str
    turn: asyncio.Future[None] | None = None
    began: float = 0.0


class Admission:
    """At most `at_once` places; whoever would wait longer than `longest_wait_s` is turned down at once.

    One event loop's tasks use it. First come, first served.
    """

    def __init__(
        self,
        *,
        at_once: int,
        longest_wait_s: float,
        expected_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected_s` is what a kind is taken to need before the first of it was answered."""
        self._at_once, self._longest_wait_s, self._expected_s, self._clock = (
            at_once,
            longest_wait_s,
            expected_s,
            clock,
        )
        self._running: set[_Place] = set()
        self._waiting: deque[_Place] = deque()
        self._means: dict[str, float] = {}
        self.refused = 0
        """How many were turned down so far."""

    @asynccontextmanager
    async def place(self, kind: str = "", *, time_left_s: float = math.inf) -> AsyncIterator[None]:
        """A place for the length of the block; `kind` groups what takes about as long.

        Raises Overloaded when the wait would be too long, or would leave too little of `time_left_s` for the answer.
        """
        wait, needs = self.expected_wait_s(), self.expected_s(kind)
        if wait > 0.0 and (wait > self._longest_wait_s or wait + needs > time_left_s):
            self.refused += 1
            raise Overloaded(
                f"This node answers {self._at_once} questions at once and {len(self._waiting)} wait; ask again later.",
                retry_after=max(wait, needs, _SHORTEST_DELAY_S),
            )
        mine = _Place(kind)
        await self._enter(mine)
        try:
            yield
        finally:
            self._learn(kind, self._clock() - mine.began)
            self._leave(mine)

    def expected_s(self, kind: str) -> float:
        """What an answer of this kind takes, in seconds, by what was measured."""
        return self._means.get(kind, self._expected_s)

    def expected_wait_s(self) -> float:
        """How long a newcomer would wait now: what is left of those at work and all of those who wait, shared out."""
        if len(self._running) < self._at_once:
            return 0.0
        now = self._clock()
        left = sum(max(0.0, self.expected_s(one.kind) - (now - one.began)) for one in self._running)
        queued = sum(self.expected_s(one.kind) for one in self._waiting)
        # Somebody is always in front: those who take longer than expected must not look like no wait at all.
        return max((left + queued) / self._at_once, 1e-3)

    async def _enter(self, mine: _Place) -> None:
        if len(self._running) < self._at_once:
            self._take(mine)
            return
        mine.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine.turn
        except BaseException:
            # Who gives up in the queue leaves it; who was given a place in the same moment hands it on.
            if mine in self._running:
                self._leave(mine)
            else:
                self._waiting.remove(mine)
            raise

    def _take(self, mine: _Place) -> None:
        mine.began = self._clock()
        self._running.add(mine)

    def _leave(self, mine: _Place) -> None:
        self._running.discard(mine)
        if self._waiting and len(self._running) < self._at_once:
            following = self._waiting.popleft()
            self._take(following)
            if following.turn is not None and not following.turn.done():
                following.turn.set_result(None)

    def _learn(self, kind: str, seconds: float) -> None:
        known = self._means.get(kind)
        self._means[kind] = seconds if known is None else known + _WEIGHT * (seconds - known)


class Admitted:
    """An answerer behind two admissions: what it has no place for is Overloaded before anything is looked up.

    `recall` is for answers from memory, which keep a core busy for a moment; `look` is for those that wait for devices
    and pictures, so that a slow camera holds up nobody who asks about yesterday.
    """

    def __init__(self, answerer: Answerer, *, recall: Admission, look: Admission) -> None:
        self._answerer, self._recall, self._look = answerer, recall, look

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer of the wrapped one; raises Overloaded with the delay after which to ask again."""
        placement, wanted = request.placement, request.understanding
        remembered = placement.tier is Tier.EDGE and placement.representation <= Representation.EMBEDDING
        admission = self._recall if remembered and not wanted.now else self._look
        kind = f"{wanted.task} {placement.tier} {placement.representation.name}"
        async with admission.place(kind, time_left_s=request.time_left_s):
            return await self._answerer.answer(request)
