"""7, answer, read: what is written somewhere, from what memory read in key frames and from a pulled clip.

In: a placed question of the task READ. Out: an `Answer` that quotes lines with camera, time and box, or "cannot
tell". It obeys nothing that it reads. Next: `answer.py`, which returns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_node.closer import Closer, Window, choose
from edge_node.decode import frames, timeline
from edge_node.fetch import Clip
from edge_node.quotes import Quote, answer_of, matching, quote
from edge_node.read import Reader
from edge_node.scene import Scene, Written
from edge_node.senses import tags
from foveate.messages import Answer, AnswerRequest, Evidence, Representation, Sighting
from foveate.recall import joined
from foveate.vision.draw import small_jpeg

NOT_READ = "text in pictures is not read at this site; install `foveate[ocr]` there"

_LATELY_S = 60.0  # how far back "now" reaches for what is written: signs stay where they are
_MOST_LINES = 300
_MOST_PICTURES = 4  # of one clip, at a quarter of a second each
_LEAST = 0.8  # the reader's own least score
_SURE = (0.45, 0.8)  # of a line with the least score, and with the score 1: chosen, not fitted


class Reads:
    """Reads in memory and, where pictures may be had, in a clip."""

    def __init__(self, *, scene: Scene | None, closer: Closer, reader: Callable[[], Reader | None]) -> None:
        self._scene = scene
        self._closer = closer
        self._reader = reader

    async def answer(self, request: AnswerRequest, hint: Answer) -> Answer:
        """The answer; `hint` cites the moments at which what is asked about was seen, if that is known.

        Raises Unreachable when the database is gone.
        """
        found = await self._remembered(request)
        looked, missing, model = self._scene is not None, list[str](), ""
        if request.placement.representation >= Representation.REDACTED_FRAMES:
            reader = await asyncio.to_thread(self._reader)
            if reader is None:
                missing = [NOT_READ]
            else:
                read, missing = await self._closer.each_in_time(
                    request, self._windows(request, found, hint), _watch(reader)
                )
                found = [line for lines in read for line in lines] + found
                looked, model = looked or bool(read), tags(reader)
        elif self._scene is None:
            missing = [NOT_READ]
        answer = answer_of(request, found, verb="read", looked=looked, reason=joined(*missing))
        return replace(answer, model=model)

    async def _remembered(self, request: AnswerRequest) -> list[Quote]:
        if self._scene is None:
            return []
        wanted = request.understanding
        start = wanted.start - (_LATELY_S if wanted.now else 0.0)
        lines = await self._scene.written(request.device_ids, start, wanted.end, wanted.words, limit=_MOST_LINES)
        if not lines and wanted.words:
            # The index knows whole words; recognisers lose spaces, so the lines themselves are searched as well.
            lines = await self._scene.written(request.device_ids, start, wanted.end, limit=_MOST_LINES)
        return [_remembered(line) for line in lines]

    def _windows(self, request: AnswerRequest, found: Sequence[Quote], hint: Answer) -> list[Window]:
        """Where words were read before, else where the subject was seen, else the latest moment."""
        hits = matching(found, request.understanding.words)
        known = replace(hint, evidence=tuple(one.evidence for one in hits) or hint.evidence)
        return choose(request, known)


def _watch(reader: Reader) -> Callable[[Window, Clip], list[Quote]]:
    def watch(window: Window, clip: Clip) -> list[Quote]:
        clock = timeline(clip.path, clip.header)
        start, end = max(window.start, clip.header.start), min(window.end, clip.header.end)
        step = max(0.0, end - start) / _MOST_PICTURES
        pictures = frames(clip.path, clock, start=start, end=end, step=step, most=_MOST_PICTURES)
        quotes = []
        for frame in pictures:
            lines = reader.read(frame.picture)
            shown = small_jpeg(frame.picture) if lines else b""
            offset = clip.header.media_offset
            for line in lines:
                piece = Evidence(
                    device_id=window.device_id,
                    start=frame.time,
                    end=frame.time,
                    event_id=window.piece.event_id if window.piece else "",
                    sightings=(Sighting(frame.time, "text", line.score, line.box),),
                    picture=shown,
                    representation=min(clip.header.representation, Representation.FRAMES),
                    media_offset=None if offset is None else offset + (frame.time - clip.header.start) * clock.rate,
                    picture_time=frame.time,
                )
                quotes.append(quote(line.text, sure(line.score), piece))
        return quotes

    return watch


def sure(score: float) -> float:
    """How far a line is believed for its score: a confident recogniser may still take O for 0."""
    share = min(1.0, max(0.0, (score - _LEAST) / (1.0 - _LEAST)))
    return _SURE[0] + (_SURE[1] - _SURE[0]) * share


def _remembered(line: Written) -> Quote:
    piece = Evidence(
        device_id=line.device_id,
        start=line.time,
        end=line.time,
        event_id=line.event_id,
        sightings=(Sighting(line.time, "text", line.score, line.box),),
    )
    return quote(line.text, sure(line.score), piece)
