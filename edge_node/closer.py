"""A closer look: which moments of which cameras to fetch, and what their pictures show.

In: a placed question and what memory says. Out: `Looked`, one for each clip that came, and why others did not.
It fetches, decodes and detects, but decides nothing. Next: `verdict.py`, which weighs pictures against memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_node.decode import Frame, Timeline, frames, timeline
from edge_node.devices import Devices
from edge_node.fetch import Clip, Pulls
from edge_node.look import Look, Seen
from foveate.errors import FoveateError
from foveate.messages import Answer, AnswerRequest, ClipHeader, Evidence, Task

logger = logging.getLogger(__name__)

MOST_WINDOWS = 3
MOST_FRAMES = 16
NOW_S, NEWEST_S = 3.0, 2.0  # what is fetched for now, and the end of it that is looked at
LATEST_S = 6.0
BEFORE_S, AFTER_S = 2.0, 3.0  # around the first sighting that memory has
NEAR_S = 1.2  # around the moment that a presence or a count is about
_STEP_S = 0.2  # five pictures a second
_REFINED = 10  # pictures between two of those
_ENOUGH = 4  # pictures after the first sighting that make it sure
_LOOKING_S = 1.0  # time kept for decoding and detecting when a clip is waited for


@dataclass(frozen=True, slots=True)
class Window:
    """A moment of one camera that is worth looking at, by its own clock, and what memory has of it."""

    device_id: str
    start: float
    end: float
    piece: Evidence | None = None


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
        windows = [self._by_device_clock(window) for window in choose(request, memory)]
        results = await asyncio.gather(*(self._one(request, window) for window in windows))
        return [r for r in results if isinstance(r, Looked)], [r for r in results if isinstance(r, str)]

    async def _one(self, request: AnswerRequest, window: Window) -> Looked | str:
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
                looked = await asyncio.to_thread(self._watch, request, window, clip)
                fields = {"fetch_s": round(fetched - began, 3), "look_s": round(time.perf_counter() - fetched, 3)}
                logger.info("a clip was looked at", extra={"device": window.device_id, **fields})
                return looked
            finally:
                self._fetch.forget(clip.header.clip_id)
        except FoveateError as error:
            return f"{window.device_id} gave no pictures: {error.message}"

    def _watch(self, request: AnswerRequest, window: Window, clip: Clip) -> Looked:
        """Decodes and detects; blocking."""
        clock = timeline(clip.path, clip.header)
        wanted, end = request.understanding, min(window.end, clip.header.end)
        start = max(window.start, clip.header.start, end - NEWEST_S if wanted.now else 0.0)
        step = max(_STEP_S, (end - start) / MOST_FRAMES)
        pictures = frames(clip.path, clock, start=start, end=end, step=step, most=MOST_FRAMES)
        find = wanted.task is Task.FIND
        seen = self._look.over(pictures, wanted.labels, enough=_ENOUGH if find else 0)
        first = next((index for index, one in enumerate(seen) if one.confirmed), None)
        exact = None if first is None else seen[first]
        if first and find:
            exact = self._refined(clip, clock, seen[first - 1].frame, seen[first], wanted.labels)
        return Looked(window, clip.header, clock, seen, exact)

    def _refined(self, clip: Clip, clock: Timeline, before: Frame, hit: Seen, labels: Sequence[str]) -> Seen:
        """The first picture between `before` and `hit` that shows it."""
        between = frames(clip.path, clock, start=before.time, end=hit.frame.time, step=0.0, most=_REFINED)
        finer = self._look.over(between, labels, enough=1)
        return next((one for one in finer if one.confirmed), hit)

    def _by_device_clock(self, window: Window) -> Window:
        """Moments that memory knows are by the device's clock already; "now" is by ours."""
        if window.piece is not None:
            return window
        start = self._devices.device_time(window.device_id, window.start)
        return replace(window, start=start, end=start + window.end - window.start)


def choose(request: AnswerRequest, memory: Answer) -> list[Window]:
    """The windows to look at, at most three: now, around what memory found, or the latest of the span. Pure."""
    wanted = request.understanding
    devices = request.device_ids[:MOST_WINDOWS]
    if wanted.now:
        now = request.question.ask_time
        pieces = {piece.device_id: piece for piece in memory.evidence}
        return [replace(_latest(d, now, NOW_S), piece=None) for d in sorted(devices, key=lambda d: d not in pieces)]
    pieces_found = _best_of_each_device(request, memory)
    if pieces_found:
        return [_around(piece, memory, wanted.task) for piece in pieces_found[:MOST_WINDOWS]]
    end = min(wanted.end, request.question.ask_time)
    return [_latest(d, end, min(LATEST_S, max(0.5, end - wanted.start))) for d in devices]


def _best_of_each_device(request: AnswerRequest, memory: Answer) -> list[Evidence]:
    """The first piece of each device, since memory cites the best first; a find is about one moment only."""
    pieces: dict[str, Evidence] = {}
    for piece in memory.evidence:
        if piece.device_id in request.device_ids:
            pieces.setdefault(piece.device_id, piece)
    found = list(pieces.values())
    return found[:1] if request.understanding.task is Task.FIND else found


def _around(piece: Evidence, memory: Answer, task: Task) -> Window:
    # Memory cites those who were there in the order in which they came: the last one made it the most at once.
    cited = memory.evidence[-1] if task is Task.COUNT else piece
    if task is Task.FIND and isinstance(memory.value, float):
        moment = memory.value
    else:
        moment = cited.sightings[0].time if cited.sightings else cited.start
    before, after = (BEFORE_S, AFTER_S) if task is Task.FIND else (NEAR_S, NEAR_S)
    return Window(piece.device_id, moment - before, moment + after, piece)


def _latest(device_id: str, end: float, seconds: float) -> Window:
    return Window(device_id, end - seconds, end)
