"""The archive: footage of what matters is pulled to the edge while the device still has it, within a budget of bytes.

In: closed events of a priority that is worth it, devices that are heard. Out: their clips in a folder, a row for each
saying `waiting`, `kept` or `gone` and why, and pulls that are answered from here when a device is away or has
overwritten its footage. Residency is asked as for any pull. It knows no question. Next: `closer.py`, which pulls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, case, select, update
from sqlalchemy.dialects.postgresql import insert

from edge_node.devices import Devices
from edge_node.egress import Egress
from edge_node.fetch import Clip, Pulls
from edge_node.tables import ARCHIVE
from foveate.errors import FoveateError, MalformedMessage, Refused, TryAgain
from foveate.memory import Memory
from foveate.messages import ClipHeader, Event, Place, Priority, Representation
from foveate.v1 import clip_service_pb2 as pb
from foveate.wire import clip_header_of, clip_header_to, parse, utc

logger = logging.getLogger(__name__)

AROUND_S = 3.0
"""Footage before and after an event that belongs to it."""
LONGEST_S = 30.0
_WRITTEN_S = 2.0  # until a device has written what it filmed
_PULL_S = 20.0
_TICK_S = 1.0
_PAUSE_S = 30.0  # before a device that did not deliver is asked again
_C = ARCHIVE.c


class Archive:
    """Clips of events in a folder, and a row for each in the database of the events."""

    def __init__(
        self,
        *,
        memory: Memory,
        devices: Devices,
        fetch: Pulls,
        folder: Path,
        least: Priority | None,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`least` is the priority from which on footage is worth keeping, None for no archive at all."""
        self._memory, self._devices, self._fetch = memory, devices, fetch
        self._folder, self._least, self._max_bytes, self._clock = folder, least, max_bytes, clock
        self._not_before: dict[str, float] = {}
        self.in_use: dict[str, int] = {}
        """Kept clips that somebody looks at right now; they are not deleted meanwhile."""

    def wanted(self, event: Event) -> Sequence[Executable]:
        """The statement that notes the event's footage as wanted, none while it is open or too unimportant."""
        if self._least is None or event.open or event.priority < self._least:
            return ()
        start = event.start - AROUND_S
        row = insert(ARCHIVE).values(
            event_id=event.event_id,
            device_id=event.device_id,
            priority=int(event.priority),
            start=start,
            end=min(event.end + AROUND_S, start + LONGEST_S),
            time=utc(self._clock()),
        )
        # A later revision may have another end; footage that is here or gone stays as it is.
        changed = {name: row.excluded[name] for name in ("priority", "start", "end")}
        return (
            row.on_conflict_do_update(index_elements=[_C.event_id], set_=changed, where=ARCHIVE.c.state == "waiting"),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Pulls what waits from devices that are heard, one clip at a time, until `stop` is set."""
        if self._least is None:
            return
        work = asyncio.create_task(self._work())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A pull that is under way would hold up the end of the process for seconds.
            work.cancel()
            stopped.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    async def _work(self) -> None:
        adopted = False
        while True:
            pause = _TICK_S
            try:
                if not adopted:
                    await self.adopt()
                    adopted = True
                while await self.pull_one():
                    pass
            except TryAgain as error:
                logger.warning("the archive waits: %s", error)
                pause = error.retry_after
            except OSError as error:
                # A full disk here must not end the site's memory and answers as well.
                logger.warning("the archive cannot be written (%s); free space on this edge", error.strerror)
                pause = _PAUSE_S
            await asyncio.sleep(pause)

    async def pull_one(self) -> bool:
        """Pulls the most important clip that waits, the oldest first: it is overwritten first. False for none.

        What did not come before waits until everything else was asked for.
        """
        item = await self._next()
        if item is None:
            return False
        try:
            clip = await self._fetch.pull(
                item.device_id, start=item.start, end=item.end, representation=Representation.CLIP, timeout=_PULL_S
            )
        except (TryAgain, Refused) as error:
            # A rule may say no only because the labels of a device are not known yet.
            logger.info("no footage for the archive yet: %s", error, extra={"event_id": item.event_id})
            self._not_before[item.device_id] = self._clock() + _PAUSE_S
            await self._note(item.event_id, reason=error.message, time=utc(self._clock()))
            return True
        except FoveateError as error:
            logger.info("no footage for the archive: %s", error, extra={"event_id": item.event_id})
            await self._note(item.event_id, state="gone", reason=error.message)
            return True
        try:
            await self._keep(item, clip)
        finally:
            self._fetch.forget(clip.header.clip_id)
        return True

    async def find(self, device_id: str, start: float, end: float) -> Clip | None:
        """A kept clip that holds the whole span; give it back with `release`."""
        query = (
            select(ARCHIVE)
            .where(_C.device_id == device_id, _C.state == "kept", _C.start <= start, _C.end >= end)
            .order_by(_C.end - _C.start)
            .limit(1)
        )
        async with self._memory.transaction() as connection:
            row = (await connection.execute(query)).first()
        if row is None or not self._path(row.clip_id).exists():
            return None
        self.in_use[row.clip_id] = self.in_use.get(row.clip_id, 0) + 1
        return Clip(clip_header_of(parse(pb.ClipHeader, row.header)), self._path(row.clip_id))

    def release(self, clip_id: str) -> None:
        """Says that a clip from `find` is no longer looked at."""
        if self.in_use.get(clip_id, 0) > 1:
            self.in_use[clip_id] -= 1
        else:
            self.in_use.pop(clip_id, None)

    async def _next(self) -> Any:  # noqa: ANN401  a row
        now = self._clock()
        heard = [beat.device_id for beat in self._devices.alive() if self._not_before.get(beat.device_id, 0) <= now]
        failed = _C.reason != ""  # then it goes behind the others that failed, and they take turns
        query = (
            select(ARCHIVE)
            .where(_C.device_id.in_(heard), _C.state == "waiting")
            .order_by(failed, case((failed, _C.time)), _C.priority.desc(), _C.start)
            .limit(64)
        )
        async with self._memory.transaction() as connection:
            rows = (await connection.execute(query)).all()
        filmed = (row for row in rows if row.end + _WRITTEN_S <= self._devices.device_time(row.device_id, now))
        return next(filmed, None)

    async def _keep(self, item: Any, clip: Clip) -> None:  # noqa: ANN401  a row
        """The files first, then the row: files without a row are taken up again, a row without files would lie."""
        header = replace(clip.header, offset_bytes=0)
        about = {"event_id": item.event_id, "priority": item.priority}
        about["header"] = clip_header_to(header).SerializeToString().hex()
        await asyncio.to_thread(self._take, clip.path, header.clip_id, json.dumps(about))
        await self._note(item.event_id, **_kept(header))
        await self._make_room()

    async def adopt(self) -> None:
        """Takes up clips that no row names, as a killed process or a database that was lost leaves them."""
        query = select(_C.clip_id).where(_C.state == "kept")
        async with self._memory.transaction() as connection:
            named = set((await connection.scalars(query)).all())
        for path in await asyncio.to_thread(lambda: sorted(self._folder.glob("*.media"))):
            if path.stem in named:
                continue
            try:
                about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
                header = clip_header_of(parse(pb.ClipHeader, bytes.fromhex(about["header"])))
                row = {"event_id": str(about["event_id"]), "priority": int(about["priority"])}
            except (OSError, ValueError, KeyError, TypeError, MalformedMessage):
                logger.warning("%s belongs to no event and is deleted", path.name)
                self._delete(path.stem)
                continue
            row |= {"device_id": header.device_id, "time": utc(self._clock()), **_kept(header)}
            again = insert(ARCHIVE).values(row).on_conflict_do_update(index_elements=[_C.event_id], set_=row)
            async with self._memory.transaction() as connection:
                await connection.execute(again)

    def _take(self, source: Path, clip_id: str, about: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(clip_id).with_suffix(".json").write_text(about, encoding="utf-8")
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(self._path(clip_id))

    def _delete(self, clip_id: str) -> None:
        for suffix in (".media", ".json"):
            self._path(clip_id).with_suffix(suffix).unlink(missing_ok=True)

    async def _make_room(self) -> None:
        """Deletes the least priority and the oldest until the bytes fit."""
        query = select(_C.event_id, _C.clip_id, _C.size_bytes).where(_C.state == "kept").order_by(_C.priority, _C.start)
        async with self._memory.transaction() as connection:
            rows = (await connection.execute(query)).all()
        over = sum(row.size_bytes for row in rows) - self._max_bytes
        for row in rows:
            if over <= 0:
                return
            if row.clip_id not in self.in_use:
                await self._note(row.event_id, state="gone", reason="The archive was full; give it more bytes.")
                self._delete(row.clip_id)
                over -= row.size_bytes

    async def _note(self, event_id: str, **values: Any) -> None:  # noqa: ANN401  columns
        async with self._memory.transaction() as connection:
            await connection.execute(update(ARCHIVE).where(_C.event_id == event_id).values(**values))

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.media"


def _kept(header: ClipHeader) -> dict[str, Any]:
    """The columns of a clip that is here: its own span, since a device may have begun to film in the middle of it."""
    return {
        "state": "kept",
        "reason": "",
        "clip_id": header.clip_id,
        "header": clip_header_to(header).SerializeToString(),
        "size_bytes": header.size_bytes,
        "start": header.start,
        "end": header.end,
    }


class ArchiveFirst:
    """Pulls from the archive what lies there, and the rest from the devices."""

    def __init__(self, fetch: Pulls, *, archive: Archive, egress: Egress, here: Place) -> None:
        self._fetch, self._archive, self._egress, self._here = fetch, archive, egress, here

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        """As `Fetch.pull`; what lies in the archive needs no device, but the same leave."""
        if representation in (Representation.CLIP, Representation.FRAMES):
            self._egress.check_clip(device_id, representation, self._here)
            if (clip := await self._archive.find(device_id, start, end)) is not None:
                return clip
        return await self._fetch.pull(device_id, start=start, end=end, representation=representation, timeout=timeout)

    def forget(self, clip_id: str) -> None:
        """Ends the use of a pulled clip; what is archived stays."""
        self._archive.release(clip_id)
        self._fetch.forget(clip_id)
