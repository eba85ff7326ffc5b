"""Runs questions, each once: a repeated id joins the run that goes on, or gets the record of the first.

In: questions with the seconds their caller waits. Out: what happens, as it happens, the record last. A run goes on when
its caller hangs up, so that a call that was cut can be made again.
It knows no gRPC; `serve` is next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from foveate.errors import DeadlinePassed, FoveateError, InvalidInput, Overloaded, TryAgain, Unreachable
from foveate.messages import Question, QuestionRecord
from router.pipeline import Desk, Happening, pursue
from router.records import Records

logger = logging.getLogger(__name__)

MOST = 64
"""Questions at once; more wait at the caller, since each may hold pictures."""
_GRACE_S = 0.1
"""Time that is kept back from the caller's deadline, for the record's way home."""


class Asking:
    """Questions that run now, and the way to those that ran before."""

    def __init__(self, desk: Desk, records: Records) -> None:
        self._desk = desk
        self._records = records
        self._runs: dict[str, _Run] = {}

    async def ask(self, question: Question, *, seconds: float | None) -> AsyncIterator[Happening]:
        """What happens to the question; `seconds` is how long the caller waits, None for ever.

        Overloaded past MOST questions at once, Unreachable while no fleet is known.
        """
        run = self._runs.get(question.question_id)
        if run is None:
            first = await asyncio.to_thread(self._records.first, question.question_id)
            if first is not None:
                yield first.plan
                for step in first.steps:
                    yield step
                yield first
                return
            # Another call with this id may have begun while the records were read.
            run = self._runs.get(question.question_id) or self._begin(question, seconds)
        async for happening in run.follow():
            yield happening

    async def close(self) -> None:
        """Ends what still runs; its callers are told to try again."""
        runs = list(self._runs.values())
        for run in runs:
            run.task.cancel()
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)

    def _begin(self, question: Question, seconds: float | None) -> _Run:
        if len(self._runs) >= MOST:
            raise Overloaded(f"{MOST} questions are being answered; ask again in a moment.", retry_after=1.0)
        view = self._desk.fleet.view()
        if not view.sites and not view.fresh:
            raise Unreachable(
                "The fleet is not known yet, as the registry does not answer; start the cloud, at a site its edge."
            )
        time = _time_for(question, seconds, default=self._desk.policy.deadline_s)
        run = _Run()
        self._runs[question.question_id] = run
        run.task = asyncio.create_task(self._run(question, run, time))
        return run

    async def _run(self, question: Question, run: _Run, seconds: float) -> None:
        try:
            async for happening in pursue(question, self._desk, seconds=seconds):
                if isinstance(happening, QuestionRecord):
                    happening = await self._kept(happening)
                run.add(happening)
            run.end(None)
        except FoveateError as error:
            run.end(error)
        except asyncio.CancelledError:
            run.end(Unreachable("This router is stopping; ask again in a moment."))
            raise
        except Exception as error:
            logger.exception("a question broke", extra={"question_id": question.question_id})
            run.end(error)
        finally:
            del self._runs[question.question_id]

    async def _kept(self, record: QuestionRecord) -> QuestionRecord:
        """The record that stands under this id; an answer that cannot be kept is given all the same."""
        try:
            return await asyncio.to_thread(self._records.keep, record)
        except TryAgain as error:
            extra = {"question_id": record.question.question_id}
            logger.warning("the record was not kept: %s", error, extra=extra)
            return record


def _time_for(question: Question, waits: float | None, *, default: float) -> float:
    """Seconds for the whole question: its own deadline or the default, within what the caller waits."""
    own = question.constraints.deadline_s
    if waits is not None and waits <= _GRACE_S:
        raise DeadlinePassed("The call's deadline leaves no time to answer; allow more.")
    wanted = default if own is None else own
    if not wanted < float("inf"):
        raise InvalidInput("The deadline must be a number of seconds.")
    return wanted if waits is None else min(wanted, waits - _GRACE_S)


class _Run:
    """What happened so far to one question, for all who follow it."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self._happened: list[Happening] = []
        self._over = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def add(self, happening: Happening) -> None:
        """Something happened."""
        self._happened.append(happening)
        self._wake()

    def end(self, error: Exception | None) -> None:
        """Nothing more will happen."""
        self._over, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self) -> AsyncIterator[Happening]:
        """All that happened and will; raises the error that ended it."""
        told = 0
        while True:
            news = self._news
            while told < len(self._happened):
                yield self._happened[told]
                told += 1
            if self._over and told == len(self._happened):
                break
            if news is self._news:
                await news.wait()
        if self._error is not None:
            raise self._error
