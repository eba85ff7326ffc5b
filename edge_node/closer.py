"""A closer look: which moments of which cameras to fetch, and what their pictures show.

In: a placed question and what memory says. Out: `Looked`, one for each clip that came, and why others did not.
It fetches, decodes and detects, but decides nothing. Next: `verdict.py`, which weighs pictures against memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from edge_node.decode import Frame, Timeline, frames, timeline
from edge_node.devices import Devices
from edge_node.fetch import Clip, Pulls
from edge_node.look import Look, Seen
from foveate.errors import FoveateError
from foveate.facts import moment_of
from foveate.messages import Answer, AnswerRequest, ClipHeader, Evidence, Pick, Task
from foveate.vision.boxes import Box

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MOST_WINDOWS = 3
MOST_FRAMES = 16
NOW_S, NEWEST_S = 3.0, 2.0  # what is fetched for now, and the end of it that is looked at
LATEST_S = 6.0
BEFORE_S, AFTER_S = 2.0, 3.0  # around the first sighting that memory has
BRIEF_S = 0.7  # around the moment that a question names to the second
NEAR_S = 1.2  # around the moment that a presence or a count is about
_STEP_S = 0.2  # five pictures a second
_REFINED = 10  # pictures between two of those
_ENOUGH = 4  # pictures after the first sighting that make it sure
_MOST_BOXES, _CLEAR = 4, 0.3  # crops of one picture, and the detector's score from which one is worth encoding
_TELLING_S = 0.6  # time kept for answering without what is late
_LATE = "the pictures did not come and could not be looked at in time"
_LOOKING_S = 1.0  # time kept for decoding and detecting when a clip is waited for


@dataclass(frozen=True, slots=True)
class Window:
    """A moment of one camera that is worth looking at, by its own clock, and what memory has of it.

    `shift` is how many seconds its clock is ahead of ours, where the moment was named by ours.
    """

    device_id: str
    start: float
    end: float
    piece: Evidence | None = None
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What the pictures of one window show; `first` is when a thing is first seen, to the very picture."""

    window: Window
    header: ClipHeader
    clock: Timeline
    seen: tuple[Seen, ...]
    first: Seen | None

    def media_offset(self, time: float) -> float | None:
        """The place of a moment in the source, None for live ones."""
        offset = self.header.media_offset
        return None if offset is None else offset + (time - self.header.start) * self.clock.rate


class Closer:
    """Fetches and looks, several cameras side by side."""

    def __init__(self, *, fetch: Pulls, look: Look, devices: Devices) -> None:
        self._fetch = fetch
        self._look = look
        self._devices = devices

    async def look(self, request: AnswerRequest, memory: Answer) -> tuple[list[Looked], list[str]]:
        """What the best windows show, and one sentence for each camera that did not deliver."""

        def watch(window: Window, clip: Clip) -> Looked:
            return self._watch(request, window, clip)

        return await self.each(request, choose(request, memory), watch)

    async def each(
        self, request: AnswerRequest, windows: Sequence[Window], work: Callable[[Window, Clip], Result]
    ) -> tuple[list[Result], list[str]]:
        """What `work`, which may block, makes of the clip of each window, and one sentence for each without a clip."""
        there = [self._by_device_clock(window) for window in windows]
        results = await asyncio.gather(*(self._one(request, window, work) for window in there))
        return [r for r, _ in results if r is not None], [why for _, why in results if why]

    def boxes(self, frame: Frame) -> list[Box]:
        """Where the clearest things of a picture are, whatever they are called; blocking."""
        return [one.box for one in self._look.detect(frame.picture)[:_MOST_BOXES] if one.score >= _CLEAR]

    async def look_in_time(self, request: AnswerRequest, memory: Answer) -> tuple[list[Looked], list[str]]:
        """As `look`; nothing, and why, when time runs out."""
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s - _TELLING_S)):
                return await self.look(request, memory)
        except TimeoutError:
            return [], [_LATE]

    async def each_in_time(
        self, request: AnswerRequest, windows: Sequence[Window], work: Callable[[Window, Clip], Result]
    ) -> tuple[list[Result], list[str]]:
        """As `each`; nothing, and why, when time runs out."""
        try:
            async with asyncio.timeout(max(0.1, request.time_left_s - _TELLING_S)):
                return await self.each(request, windows, work)
        except TimeoutError:
            return [], [_LATE]

    async def _one(
        self, request: AnswerRequest, window: Window, work: Callable[[Window, Clip], Result]
    ) -> tuple[Result | None, str]:
        timeout = max(0.2, request.time_left_s - _LOOKING_S)
        began = time.perf_counter()
        try:
            clip = await self._fetch.pull(
                window.device_id,
                start=window.start,
                end=window.end,
                representation=request.placement.representation,
                timeout=timeout,
            )
            fetched = time.perf_counter()
            try:
                result = await asyncio.to_thread(work, window, clip)
                fields = {"fetch_s": round(fetched - began, 3), "look_s": round(time.perf_counter() - fetched, 3)}
                logger.info("a clip was looked at", extra={"device": window.device_id, **fields})
                return result, ""
            finally:
                self._fetch.forget(clip.header.clip_id)
        except FoveateError as error:
            return None, f"{window.device_id} gave no pictures: {error.message}"
        except Exception as error:
            # Footage of strangers meets decoders and networks here: what they choke on leaves memory to answer.
            logger.exception("a clip could not be looked at", extra={"device": window.device_id})
            return None, f"the clip of {window.device_id} could not be looked at ({type(error).__name__})"

    def _watch(self, request: AnswerRequest, window: Window, clip: Clip) -> Looked:
        """Decodes and detects; blocking."""
        clock = timeline(clip.path, clip.header)
        wanted, end = request.understanding, min(window.end, clip.header.end)
        start = max(window.start, clip.header.start, end - NEWEST_S if wanted.now else 0.0)
        step = max(_STEP_S, (end - start) / MOST_FRAMES)
        pictures = frames(clip.path, clock, start=start, end=end, step=step, most=MOST_FRAMES)
        find, last = wanted.task is Task.FIND, wanted.pick is Pick.LAST
        enough = _ENOUGH if find and not last else 0
        seen = self._look.over(pictures, wanted.labels, enough=enough, colours=wanted.colours)
        hits = [index for index, one in enumerate(seen) if one.confirmed]
        exact = seen[hits[-1 if find and last else 0]] if hits else None
        if find and exact is not None:
            exact = self._refined(request, clip, clock, seen, hits[-1 if last else 0])
        return Looked(window, clip.header, clock, seen, exact)

    def _refined(self, request: AnswerRequest, clip: Clip, clock: Timeline, seen: Sequence[Seen], hit: int) -> Seen:
        """The very picture that is the first with it, or the last one, between that at `hit` and its neighbour."""
        wanted = request.understanding
        step = 1 if wanted.pick is Pick.LAST else -1
        if not 0 <= hit + step < len(seen):
            return seen[hit]
        ends = sorted((seen[hit].frame.time, seen[hit + step].frame.time))
        between = frames(clip.path, clock, start=ends[0], end=ends[1], step=0.0, most=_REFINED)
        finer = self._look.over(between, wanted.labels, enough=0 if step > 0 else 1, colours=wanted.colours)
        confirmed = [one for one in finer if one.confirmed]
        return confirmed[-1 if step > 0 else 0] if confirmed else seen[hit]

    def _by_device_clock(self, window: Window) -> Window:
        """Moments that memory knows are by the device's clock already; "now" is by ours."""
        if window.piece is not None:
            return window
        start = self._devices.device_time(window.device_id, window.start)
        return replace(window, start=start, end=start + window.end - window.start, shift=start - window.start)


def choose(request: AnswerRequest, memory: Answer) -> list[Window]:
    """The windows to look at, at most three: now, around what memory found, or the latest of the span. Pure."""
    wanted = request.understanding
    devices = request.device_ids[:MOST_WINDOWS]
    if wanted.now:
        now = request.question.ask_time
        pieces = {piece.device_id: piece for piece in memory.evidence}
        return [replace(_latest(d, now, NOW_S), piece=None) for d in sorted(devices, key=lambda d: d not in pieces)]
    moment = moment_of(wanted)
    if moment is not None and wanted.task in (Task.PRESENCE, Task.COUNT):
        cited = {piece.device_id: piece for piece in reversed(memory.evidence)}
        return [Window(d, moment - BRIEF_S, moment + BRIEF_S, cited.get(d)) for d in devices]
    pieces_found = _best_of_each_device(request, memory)
    if pieces_found:
        return [_around(request, piece, memory) for piece in pieces_found[:MOST_WINDOWS]]
    return [_newest(request, device) for device in devices]


def _best_of_each_device(request: AnswerRequest, memory: Answer) -> list[Evidence]:
    """The first piece of each device, since memory cites the best first; a find is about one moment only.

    Of what has a colour memory knows candidates only, so that each of them is worth a look.
    """
    wanted = request.understanding
    cited = [piece for piece in memory.evidence if piece.device_id in request.device_ids]
    if wanted.colours and wanted.task is not Task.COUNT:
        return cited
    pieces: dict[str, Evidence] = {}
    for piece in cited:
        pieces.setdefault(piece.device_id, piece)
    found = list(pieces.values())
    return found[:1] if wanted.task is Task.FIND else found


def _around(request: AnswerRequest, piece: Evidence, memory: Answer) -> Window:
    wanted, find = request.understanding, request.understanding.task is Task.FIND
    # Memory cites those who were there in the order in which they came: the last one made it the most at once.
    cited = memory.evidence[-1] if wanted.task is Task.COUNT else piece
    if not find and cited.end < wanted.start:
        # It became scenery before the span: whether it still stands there is for pictures of the span to show.
        return _newest(request, piece.device_id)
    if find and isinstance(memory.value, float) and not wanted.colours:
        moment = memory.value
    else:
        moment = cited.sightings[0].time if cited.sightings else cited.start
    before, after = (BEFORE_S, AFTER_S) if find else (NEAR_S, NEAR_S)
    if find and wanted.pick is Pick.LAST:
        before, after = AFTER_S, BEFORE_S
    start, end = moment - before, moment + after
    if not find and wanted.start <= moment <= wanted.end:
        # What was there a second before the asked time does not count.
        start, end = max(start, wanted.start), min(end, wanted.end)
    return Window(piece.device_id, start, end, piece)


def _newest(request: AnswerRequest, device_id: str) -> Window:
    """The latest of the span of the question."""
    wanted = request.understanding
    end = min(wanted.end, request.question.ask_time)
    return _latest(device_id, end, min(LATEST_S, max(0.5, end - wanted.start)))


def _latest(device_id: str, end: float, seconds: float) -> Window:
    return Window(device_id, end - seconds, end)
