"""7, answer, for things that the detector has no name for: several weak channels, fused, then checked in pictures.

In: a placed question without labels. Out: an `Answer` of low, stated confidence, or "cannot tell". The channels are
likeness of events and of key frames, words that were read or said, and the detector's names as text; ranks are fused
(RRF), and the best few are looked at again in a clip: whole picture, three squares and the detector's boxes, against
what the same camera usually shows. Next: `answer.py`, which returns it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_node.closer import AFTER_S, BEFORE_S, MOST_WINDOWS, Closer, Window
from edge_node.decode import Frame, frames, timeline
from edge_node.fetch import Clip
from edge_node.scene import Scene
from edge_node.senses import tags
from foveate.facts import MOST_EVENTS, cannot_tell, clock
from foveate.likeness import CEILING, lead
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Embedding, Evidence, Outcome, Representation, Sighting, Task
from foveate.recall import PICTURES_OF, Sentences, encoded, joined, pictured, recall
from foveate.vision.boxes import Box
from foveate.vision.draw import small_jpeg
from foveate.vision.encode import Encoder

CHECKED = 0.6
"""Ceiling when pictures bear out what memory found: two looks by one encoder, so chosen little above one's 0.47."""

VIEWS = 0.05
"""What the best of several views is ahead of one view by chance alone; taken off before it is compared."""

_FUSE = 60  # of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)
_MOST = 50  # candidates of one channel
_PICTURES = 3
_NAMES_ALIKE = 0.75  # cosine of two short sentences from which a name of the detector speaks for the subject
_SQUARES = 3

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A moment of an event that one channel found, with its likeness when it has one."""

    device_id: str
    event_id: str
    time: float


@dataclass(frozen=True, slots=True)
class Checked:
    """The view of a clip that is most alike the subject."""

    window: Window
    time: float
    alike: float
    evidence: Evidence


class Likens:
    """Finds what resembles a subject, and looks again where pictures may be had."""

    def __init__(
        self,
        *,
        memory: Memory,
        scene: Scene | None,
        text: Sentences | None,
        closer: Closer,
        encoder: Callable[[], Encoder | None],
    ) -> None:
        self._memory = memory
        self._scene = scene
        self._text = text
        self._closer = closer
        self._encoder = encoder

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer; raises Unreachable when the database is gone."""
        remembered = await recall(request, self._memory, self._text)
        form, text = request.placement.representation, self._text
        space = PICTURES_OF.get(text.model_tag) if text is not None else None
        if text is None or space is None or form < Representation.EMBEDDING or request.understanding.task is Task.COUNT:
            return remembered
        remembered = replace(remembered, model=tags(text))
        if form < Representation.REDACTED_FRAMES:
            return remembered
        encoder = await asyncio.to_thread(self._encoder)
        if encoder is None or encoder.model_tag != space:
            return remembered
        wanted = Embedding(space, await asyncio.to_thread(encoded, request, text))
        fused = fuse(await self._channels(request, wanted, text))[:MOST_WINDOWS]
        if not fused:
            return remembered
        usual = {device: await self._usual(request, wanted, device) for device in {c.device_id for c in fused}}
        windows = [
            Window(c.device_id, c.time - BEFORE_S, c.time + AFTER_S, Evidence(c.device_id, c.time, c.time, c.event_id))
            for c in fused
        ]
        look = _look(self._closer, encoder, np.asarray(wanted.values, np.float32), request)
        checked, missing = await self._closer.each_in_time(request, windows, look)
        answer = _weighed(request, remembered, [one for one in checked if one is not None], usual)
        return replace(answer, reason=joined(answer.reason, *missing), model=tags(text, encoder))

    async def _channels(self, request: AnswerRequest, wanted: Embedding, text: Sentences) -> list[list[Candidate]]:
        understanding = request.understanding
        devices, start, end = request.device_ids, understanding.start, understanding.end
        events = await self._memory.nearest(wanted, device_ids=devices, start=start, end=end, limit=_MOST)
        channels = [[Candidate(e.device_id, e.event_id, _moment(e.start, e.end)) for e, _ in events]]
        channels.append(await self._by_name(request, wanted, text))
        if self._scene is not None:
            alike = await self._scene.nearest(wanted, device_ids=devices, start=start, end=end, limit=_MOST)
            channels.append([Candidate(f.device_id, f.event_id, f.time) for f, _ in alike])
            if understanding.subject:
                words = (understanding.subject,)
                read = await self._scene.written(devices, start, end, words, limit=_MOST)
                said = await self._scene.spoken(devices, start, end, words, limit=_MOST)
                channels.append([Candidate(line.device_id, line.event_id, line.time) for line in read])
                channels.append([Candidate(one.device_id, one.event_id, one.start) for one in said])
        return channels

    async def _by_name(self, request: AnswerRequest, wanted: Embedding, text: Sentences) -> list[Candidate]:
        """Events with a thing whose name, as a sentence, is close to the subject."""
        understanding = request.understanding
        outlines = await self._memory.tracks(
            device_ids=request.device_ids,
            labels=(),
            start=understanding.start,
            end=understanding.end,
            limit=MOST_EVENTS,
        )
        labels = sorted({track.label for event in outlines for track in event.tracks})
        if not labels:
            return []
        vectors = await asyncio.to_thread(text.encode, [pictured(label) for label in labels])
        alike = np.asarray(vectors, np.float32) @ np.asarray(wanted.values, np.float32)
        near = {label: float(score) for label, score in zip(labels, alike, strict=True) if score >= _NAMES_ALIKE}
        found = [(near[t.label] * t.score, e, t) for e in outlines for t in e.tracks if t.label in near]
        ranked = sorted(found, key=lambda each: -each[0])[:_MOST]
        return [Candidate(e.device_id, e.event_id, _moment(t.start, t.end)) for _, e, t in ranked]

    async def _usual(self, request: AnswerRequest, wanted: Embedding, device: str) -> float | None:
        """What this camera's key frames, else its events, usually have of the subject, whenever they were."""
        if self._scene is not None:
            kept = await self._scene.key_frames((device,), limit=_MOST)
            values = [k.embedding.values for k in kept if k.embedding and k.embedding.model == wanted.model]
            if len(values) > 1:
                return statistics.median(float(np.dot(one, wanted.values)) for one in values)
        end = request.question.ask_time
        return await self._memory.median_likeness(wanted, device_ids=(device,), start=None, end=end)


def fuse(channels: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """One candidate for each event, best first, by the sum of 1 / (60 + rank) over the channels. Pure."""
    scores: dict[tuple[str, str], float] = {}
    first: dict[tuple[str, str], Candidate] = {}
    for channel in channels:
        ranked = list({(one.device_id, one.event_id): one for one in reversed(channel)}.values())[::-1]
        for rank, one in enumerate(ranked, start=1):
            key = (one.device_id, one.event_id)
            first.setdefault(key, one)
            scores[key] = scores.get(key, 0.0) + 1.0 / (_FUSE + rank)
    return [first[key] for key in sorted(scores, key=lambda key: -scores[key])]


def views(frame: Frame) -> list[Box]:
    """The whole picture and three squares of its short side, from one end of the long side to the other."""
    height, width = frame.picture.shape[:2]
    side = min(height, width)
    across, down = side / width, side / height
    boxes = [Box(0.0, 0.0, 1.0, 1.0)]
    for step in range(_SQUARES):
        share = step / (_SQUARES - 1)
        boxes.append(Box(share * (1.0 - across), share * (1.0 - down), across, down))
    return boxes


def _look(
    closer: Closer, encoder: Encoder, wanted: Vector, request: AnswerRequest
) -> Callable[[Window, Clip], Checked | None]:
    def look(window: Window, clip: Clip) -> Checked | None:
        clock_of = timeline(clip.path, clip.header)
        start, end = max(window.start, clip.header.start), min(window.end, clip.header.end)
        step = max(0.0, end - start) / _PICTURES
        best: tuple[float, Frame, Box] | None = None
        for frame in frames(clip.path, clock_of, start=start, end=end, step=step, most=_PICTURES):
            for box in [*views(frame), *closer.boxes(frame)]:
                left, top, right, bottom = box.to_pixels(width=frame.picture.shape[1], height=frame.picture.shape[0])
                part = np.ascontiguousarray(frame.picture[top:bottom, left:right])
                alike = float(encoder.encode(part).conse @ wanted) if part.size else -1.0
                best = (alike, frame, box) if best is None or alike > best[0] else best
        if best is None:
            return None
        alike, frame, box = best
        offset = clip.header.media_offset
        subject = request.understanding.subject or "what was asked for"
        evidence = Evidence(
            device_id=window.device_id,
            start=frame.time,
            end=frame.time,
            event_id=window.piece.event_id if window.piece else "",
            sightings=(Sighting(frame.time, subject, min(1.0, max(0.0, alike)), box),),
            picture=small_jpeg(frame.picture),
            representation=min(request.placement.representation, Representation.FRAMES),
            media_offset=None if offset is None else offset + (frame.time - clip.header.start) * clock_of.rate,
            picture_time=frame.time,
        )
        return Checked(window, frame.time, alike, evidence)

    return look


def _weighed(
    request: AnswerRequest, remembered: Answer, checked: Sequence[Checked], usual: dict[str, float | None]
) -> Answer:
    """Memory's candidate and what pictures of the best candidates show of it."""
    if not checked:
        return remembered
    leads = {id(one): lead(one.alike - VIEWS, usual.get(one.window.device_id)) for one in checked}
    best = max(checked, key=lambda one: (leads[id(one)], one.alike))
    subject, ahead = request.understanding.subject, leads[id(best)]
    if not ahead:
        why = f"a closer look at {len(checked)} moments does not bear it out: the likeness is at most {best.alike:.2f}"
        return cannot_tell(request, joined(remembered.reason, why), evidence=remembered.evidence)
    ceiling = CHECKED if remembered.outcome is Outcome.ANSWERED else CEILING
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=f"Perhaps ({subject}): {best.window.device_id} at {clock(best.time)}, "
        f"with likeness {best.alike:.2f} on a closer look.",
        confidence=ceiling * ahead,
        value=best.time if request.understanding.task is Task.FIND else True,
        evidence=(best.evidence,),
        placement=request.placement,
        reason="the detector has no name for it; likeness finds candidates and proves nothing",
    )


def _moment(start: float, end: float) -> float:
    """The middle of a short event, and a few seconds into a long one."""
    return min((start + end) / 2, start + AFTER_S)
