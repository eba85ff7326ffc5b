"""What memory adds to what a model is shown: key frames over the whole span, and what was read and said in it.

In: a placed question and the scene memory. Out: looks of one picture each, as if they had been looked at just now, and
quotations with camera and time. It never fails: without memory there is less to show. Next: `think.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_node.closer import Looked, Window
from edge_node.decode import Frame, Timeline
from edge_node.look import Seen
from edge_node.scene import KeyFrame, Spoken, Written
from foveate.errors import FoveateError, InvalidInput
from foveate.facts import clock
from foveate.messages import Answer, AnswerRequest, ClipHeader, Evidence, Representation
from foveate.vision.draw import read_jpeg

logger = logging.getLogger(__name__)

MOST_FRAMES = 24
_ASKED = 96  # key frames that the spread is taken from
MOST_QUOTES, LONGEST_QUOTE = 24, 500
_NOW_S = 30.0  # how far back what was read or said still belongs to now


class Remembers(Protocol):
    """The part of the scene memory that is shown; `edge_node.scene.Scene` has it."""

    async def key_frames(
        self, device_ids: Sequence[str] | None, start: float | None = None, end: float | None = None, limit: int = 64
    ) -> tuple[KeyFrame, ...]:
        """Key frames of a span, the newest first."""
        ...

    async def written(
        self,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        words: Sequence[str] = (),
        limit: int = 64,
    ) -> tuple[Written, ...]:
        """Lines read in a span, the newest first."""
        ...

    async def spoken(
        self,
        device_ids: Sequence[str] | None,
        start: float | None = None,
        end: float | None = None,
        words: Sequence[str] = (),
        limit: int = 64,
    ) -> tuple[Spoken, ...]:
        """Speech of a span, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a stranger: data, never an instruction."""

    device_id: str
    time: float
    text: str

    def __str__(self) -> str:
        return f"{self.device_id} at {clock(self.time)}: {self.text[:LONGEST_QUOTE]}"


class Recollect:
    """Asks the scene memory on behalf of a model; None for a site without one."""

    def __init__(self, scene: Remembers | None) -> None:
        self._scene = scene

    async def looks(self, request: AnswerRequest) -> list[Looked]:
        """Key frames spread over the span; none for now, which is looked at, nor when people must not be seen."""
        wanted = request.understanding
        if self._scene is None or wanted.now or request.placement.representation < Representation.FRAMES:
            return []
        try:
            found = await self._scene.key_frames(request.device_ids, wanted.start, wanted.end, _ASKED)
        except FoveateError as error:
            logger.info("no key frames", extra={"why": error.reason})
            return []
        return await asyncio.to_thread(_looks, spread(sorted(found, key=lambda frame: frame.time), MOST_FRAMES))

    async def quotes(self, request: AnswerRequest, embedded: Answer) -> list[Quote]:
        """What the embedded answer and earlier steps quote, then what else was read and said, each once."""
        pieces = [piece for piece in (*embedded.evidence, *request.carried) if piece.quote.strip()]
        quotes = [Quote(piece.device_id, piece.start, piece.quote.strip()) for piece in pieces]
        wanted = request.understanding
        start = wanted.start - (_NOW_S if wanted.now else 0.0)
        if self._scene is not None:
            try:
                written = await self._scene.written(request.device_ids, start, wanted.end, limit=MOST_QUOTES)
                spoken = await self._scene.spoken(request.device_ids, start, wanted.end, limit=MOST_QUOTES)
            except FoveateError as error:
                logger.info("no quotations", extra={"why": error.reason})
                written, spoken = (), ()
            quotes += [Quote(line.device_id, line.time, line.text) for line in written]
            quotes += [Quote(stretch.device_id, stretch.start, stretch.text) for stretch in spoken]
        seen: dict[tuple[str, str], Quote] = {}
        for quote in quotes:
            # A sign is read in every key frame that shows it.
            seen.setdefault((quote.device_id, quote.text.casefold()), quote)
        return sorted(list(seen.values())[:MOST_QUOTES], key=lambda quote: quote.time)


def spread(frames: Sequence[KeyFrame], most: int) -> list[KeyFrame]:
    """At most so many of them, evenly, the first and the last among them. Pure."""
    if len(frames) <= most:
        return list(frames)
    return [frames[round(place * (len(frames) - 1) / max(1, most - 1))] for place in range(most)]


def _looks(frames: Sequence[KeyFrame]) -> list[Looked]:
    return [look for frame in frames if (look := _look(frame)) is not None]


def _look(frame: KeyFrame) -> Looked | None:
    """A look of one picture, in which nothing was detected since nobody looked for it; None for a broken JPEG."""
    try:
        picture = read_jpeg(frame.picture)
    except InvalidInput:
        return None
    header = ClipHeader(
        clip_id=frame.key_frame_id,
        device_id=frame.device_id,
        start=frame.time,
        end=frame.time,
        size_bytes=len(frame.picture),
        sha256=hashlib.sha256(frame.picture).digest(),
        media_type="image/jpeg",
        representation=Representation.FRAMES,
        media_offset=frame.media_offset,
    )
    piece = Evidence(frame.device_id, frame.time, frame.time, event_id=frame.event_id)
    seen = Seen(Frame(frame.time, picture), confirmed=(), best_candidate=0.0)
    return Looked(
        Window(frame.device_id, frame.time, frame.time, piece), header, Timeline(frame.time, 0.0, 1.0), (seen,), None
    )
