"""Gathering: key frames, text and speech of events come into the scene memory while the stream goes on.

In: moments that are wanted (`wanted.py`), devices that are heard, and a share of one core. Out: what `perceive.py`
found, in `scene.py`'s memory. One moment at a time, the important first, the devices in turns; past the share it takes
fewer, and says how many it passed over. Residency is asked as for any pull. Next: `recall` over what is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from sqlalchemy import Executable

from edge_node.apart import Looks
from edge_node.devices import Devices
from edge_node.fetch import Clip, Pulls
from edge_node.perceive import Found
from edge_node.scene import KeyFrame, Spoken, Written
from edge_node.wanted import Moment, Wanted
from foveate.errors import FoveateError, Refused, TryAgain
from foveate.memory import Memory
from foveate.messages import Event, Representation

logger = logging.getLogger(__name__)

SHARE = 0.5
"""Of one core, for looking and listening; pulling is waiting and costs next to none."""
MOST_FRAMES = 3

_WRITTEN_S = 2.0  # until a device has written what it filmed
_PULL_S = 15.0
_TICK_S = 1.0
_BACK_OFF_S = (30.0, 120.0, 600.0, 1800.0)  # after the first, second, ... try; past the last one it is gone
_DEVICE_PAUSE_S = 30.0  # after the first that is not delivered, doubled with each of the next until one is
_LONGEST_PAUSE_S = 1800.0
_TELL_S = 60.0
_BEHIND = (8, 40)  # moments that wait: from there on two key frames, then one


class Scenes(Protocol):
    """Where key frames, text and speech are kept."""

    async def keep(
        self,
        event_id: str,
        frames: Sequence[KeyFrame],
        written: Sequence[Written],
        spoken: Sequence[Spoken],
        also: Sequence[Executable] = (),
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> bool:
        """Keeps them, and `also`, in one transaction, instead of what was kept of the event from `start` to `end`.

        False, and nothing is kept, when the event is no longer remembered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the moments since the start, and how much was worked for them (seconds)."""

    kept: int = 0
    passed_over: int = 0
    refused: int = 0
    gone: int = 0
    again: int = 0
    frames: int = 0
    lines: int = 0
    stretches: int = 0
    seconds: float = 0.0
    waiting: int = 0


class Gather:
    """The worker of one site; its `statements` go into the transaction of each event."""

    def __init__(
        self,
        *,
        wanted: Wanted,
        memory: Memory,
        scene: Scenes,
        fetch: Pulls,
        devices: Devices,
        looks: Looks,
        share: float = SHARE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`share` of one core, 0 for none at all: then nothing is wanted either."""
        self._wanted, self._memory, self._scene, self._fetch = wanted, memory, scene, fetch
        self._devices, self._looks, self._share, self._clock = devices, looks, share, clock
        self._served: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._turn = 0
        self._spent = 0.0
        self.told = Told()

    def statements(self, event: Event) -> Sequence[Executable]:
        """What notes the event's moments as wanted, in the transaction that remembers it: one statement or none."""
        return self._wanted.statements(event) if self._share > 0 else ()

    async def run(self, stop: asyncio.Event) -> None:
        """Looks at what waits until `stop` is set; what is under way then stays wanted."""
        if self._share <= 0:
            return
        work = [asyncio.create_task(self._work()), asyncio.create_task(self._keep_bounded())]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*work, stopped):
                task.cancel()
            await self._looks.close()
        for task in work:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def gather_one(self) -> bool:
        """Looks at the moment whose turn it is and keeps what it shows; False when none can be had now."""
        moment = await self._next()
        if moment is None:
            return False
        self._turn += 1
        self._served[moment.device_id] = self._turn
        if moment.tries >= len(_BACK_OFF_S):
            await self._settle(moment, state="gone", reason=f"It was begun {moment.tries} times and never ended.")
            return True
        await self._wanted.begin(moment, again_in=_BACK_OFF_S[moment.tries])
        try:
            found = await self._look(moment)
        except Refused as error:
            await self._settle(moment, state="refused", reason=error.message)
        except TryAgain as error:
            self._pause(moment.device_id)
            await self._again(moment, error)
        except FoveateError as error:
            await self._settle(moment, state="gone", reason=error.message)
        else:
            self._failed.pop(moment.device_id, None)
            await self._keep(moment, found)
        return True

    def _pause(self, device_id: str) -> None:
        """Each wait for a device that never delivers is one in which no other is looked at."""
        failed = self._failed[device_id] = self._failed.get(device_id, 0) + 1
        pause = min(_LONGEST_PAUSE_S, _DEVICE_PAUSE_S * 2.0 ** min(failed - 1, 10))
        self._not_before[device_id] = self._clock() + pause

    async def _look(self, moment: Moment) -> Found | None:
        """What the moment shows, None when its event is no longer remembered."""
        event = await self._memory.get(moment.event_id)
        if event is None:
            return None
        clip = await self._pull(moment)
        began = time.perf_counter()
        try:
            most = MOST_FRAMES - sum(self.told.waiting > behind for behind in _BEHIND)
            return await self._looks.look(clip, event, moment, most=most)
        finally:
            self._spent = time.perf_counter() - began
            self.told = replace(self.told, seconds=self.told.seconds + self._spent)
            self._fetch.forget(clip.header.clip_id)

    async def _pull(self, moment: Moment) -> Clip:
        """The clip with its sound, or without where only frames may reach the site."""
        span = {"start": moment.start, "end": moment.end, "timeout": _PULL_S}
        try:
            return await self._fetch.pull(moment.device_id, representation=Representation.CLIP, **span)
        except Refused:
            return await self._fetch.pull(moment.device_id, representation=Representation.FRAMES, **span)

    async def _next(self) -> Moment | None:
        """The newest of the most important, of the device that was served longest ago."""
        now = self._clock()
        heard = [beat.device_id for beat in self._devices.alive() if self._not_before.get(beat.device_id, 0.0) <= now]
        found = await self._wanted.waiting(heard) if heard else ()
        ready = [one for one in found if one.end + _WRITTEN_S <= self._devices.device_time(one.device_id, now)]
        highest = max((one.priority for one in ready), default=0)
        return min(
            (one for one in ready if one.priority == highest),
            key=lambda one: self._served.get(one.device_id, 0),
            default=None,
        )

    async def _keep(self, moment: Moment, found: Found | None) -> None:
        done = self._wanted.settled(moment, state="kept")
        kept = found is not None and await self._scene.keep(
            moment.event_id,
            found.frames,
            found.written,
            found.spoken,
            (done,),
            start=moment.start,
            end=moment.end,
        )
        if found is None or not kept:
            await self._settle(moment, state="gone", reason="The event is no longer remembered.")
            return
        self.told = replace(
            self.told,
            kept=self.told.kept + 1,
            frames=self.told.frames + len(found.frames),
            lines=self.told.lines + len(found.written),
            stretches=self.told.stretches + len(found.spoken),
        )

    async def _again(self, moment: Moment, error: TryAgain) -> None:
        if moment.tries + 1 >= len(_BACK_OFF_S):
            await self._settle(moment, state="gone", reason=error.message)
            return
        logger.info("no footage to look at yet: %s", error.message, extra={"event_id": moment.event_id})
        await self._wanted.later(moment, reason=error.message)
        self.told = replace(self.told, again=self.told.again + 1)

    async def _settle(self, moment: Moment, *, state: str, reason: str) -> None:
        # Where a rule refuses one moment it refuses them all, which is no news.
        level = logging.DEBUG if state == "refused" else logging.INFO
        logger.log(level, "a moment is not looked at: %s", reason, extra={"event_id": moment.event_id})
        await self._wanted.settle(moment, state=state, reason=reason)
        if state == "refused":
            self.told = replace(self.told, refused=self.told.refused + 1)
        else:
            self.told = replace(self.told, gone=self.told.gone + 1)

    async def _work(self) -> None:
        while True:
            pause = _TICK_S
            try:
                while await self.gather_one():
                    # As long as it worked, it rests: that makes its share of one core.
                    await asyncio.sleep(self._spent * (1.0 / self._share - 1.0))
                    self._spent = 0.0
            except TryAgain as error:
                logger.warning("gathering waits: %s", error)
                pause = error.retry_after
            except OSError as error:
                logger.warning("gathering waits (%s); free space on this edge", error.strerror)
                pause = _DEVICE_PAUSE_S
            await asyncio.sleep(pause)

    async def _keep_bounded(self) -> None:
        """Holds the table to its bound every second, and says once a minute what became of it."""
        said, at = self.told, self._clock()
        while True:
            with contextlib.suppress(TryAgain):  # the worker says it
                dropped = await self._wanted.bound()
                waiting = await self._wanted.depth()
                self.told = replace(self.told, passed_over=self.told.passed_over + dropped, waiting=waiting)
            if self._clock() - at >= _TELL_S:
                self._tell(said)
                said, at = self.told, self._clock()
            await asyncio.sleep(_TICK_S)

    def _tell(self, before: Told) -> None:
        if (dropped := self.told.passed_over - before.passed_over) > 0:
            logger.warning(
                "%d moments were passed over: more happens than %.2g of a core can look at", dropped, self._share
            )
        if self.told != before:
            logger.info("gathered since the start", extra=asdict(self.told))
