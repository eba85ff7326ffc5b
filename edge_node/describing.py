"""7, answer, describe: what was in view, as a list of what is known: things, numbers, colours, text and speech.

In: a placed question of the task DESCRIBE or SUMMARISE. Out: an `Answer` made of evidence alone, the colour of one
thing, or "cannot tell": what somebody does, why, or what something is like, the embedded default does not see.
Next: `answer.py`, which returns it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_node.closer import Closer, Looked
from edge_node.colour import CEILING, Share, dominant, shares
from edge_node.decode import Frame
from edge_node.quotes import merged, quote
from edge_node.scene import Scene
from foveate.facts import MOST_EVENTS, between, cannot_tell, clock, evidence_of
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Evidence, Outcome, Representation, Sighting
from foveate.paths import spans_of
from foveate.recall import joined
from foveate.sweep import most_at_once
from foveate.vision import likelihood
from foveate.vision.detect import Detection
from foveate.vision.draw import small_jpeg
from foveate.vision.vocabulary import COCO

LISTED = 0.6
"""Confidence of a list: each thing on it is likelier than not, and what is missing nobody knows."""

_COLOUR = re.compile(r"\bcolou?rs?\b")
_LISTS = re.compile(
    r"\bdescribe\b|\bsummar\w*|\bsum up\b|\brecap\b|\boverview\b|\breport on\b|\bwhat (?:has )?happen\w*"
    r"|\bwhat (?:else )?(?:is|are|was|were) (?:there|in|on|at|visible|to be seen|happening|going on)\b"
    r"|\bwhat (?:do|did|does|can|could) (?:you|we|i|it|the \w+|cam\S*)(?: \w+)? (?:see|show|saw)\b|\blooks? like\b"
)
_MOST_THINGS, _MOST_QUOTES = 8, 3
_PIXELS = Representation.REDACTED_FRAMES


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing: how many at most at once, how many tracks, and where it was seen."""

    label: str
    at_once: int
    tracks: int
    evidence: tuple[Evidence, ...]

    def __str__(self) -> str:
        passed = f" ({self.tracks} tracks)" if self.tracks > self.at_once else ""
        return f"{self.at_once} {self.label}{passed}"


class Describes:
    """Lists what memory and, where pictures may be had, a closer look hold."""

    def __init__(self, *, memory: Memory, scene: Scene | None, closer: Closer) -> None:
        self._memory = memory
        self._scene = scene
        self._closer = closer

    async def answer(self, request: AnswerRequest, hint: Answer) -> Answer:
        """The answer; `hint` cites where the subject was seen. Raises Unreachable when the database is gone."""
        text = request.question.text.casefold()
        if _COLOUR.search(text):
            return await self._colour(request, hint)
        if not _LISTS.search(text):
            why = "the embedded default lists things, numbers, colours, text and speech, and sees nothing beyond that"
            return cannot_tell(request, why)
        return await self._list(request)

    async def _colour(self, request: AnswerRequest, hint: Answer) -> Answer:
        wanted = request.understanding
        if not wanted.labels:
            return cannot_tell(request, f"the detector has no name for {wanted.subject!r}, so its colour is not known")
        if request.placement.representation < _PIXELS:
            return cannot_tell(request, "colours show in pictures only", evidence=hint.evidence)
        looked, missing = await self._closer.look_in_time(request, hint)
        shown = [(one, seen) for one in looked for seen in one.seen if seen.confirmed]
        if not shown:
            return cannot_tell(request, joined(f"no picture shows {wanted.subject or wanted.labels[0]}", *missing))
        one, seen = max(shown, key=lambda each: max(d.score * d.box.area**0.5 for d in each[1].confirmed))
        thing = max(seen.confirmed, key=lambda d: d.score * d.box.area**0.5)
        found = shares(seen.frame.picture, thing.box)
        piece = _piece(one, request, seen.frame, [thing])
        others = len({d.box for d in seen.confirmed}) > 1
        return _coloured(request, thing.label, found, piece, joined("there are several" if others else "", *missing))

    async def _list(self, request: AnswerRequest) -> Answer:
        things = await self._things(request)
        missing: list[str] = []
        if request.placement.representation >= _PIXELS:
            every = replace(request, understanding=replace(request.understanding, labels=COCO, colours=()))
            looked, missing = await self._closer.look_in_time(every, cannot_tell(request, ""))
            known = {thing.label for thing in things}
            things += [thing for thing in _seen(request, looked) if thing.label not in known]
        quotes = await self._quotes(request)
        if not things and not quotes:
            return cannot_tell(request, joined("nothing is remembered and nothing was seen", *missing))
        parts = [", ".join(map(str, things[:_MOST_THINGS]))] if things else []
        parts += [f'{piece.device_id} at {clock(piece.start)}: "{piece.quote}"' for piece in quotes]
        wanted = request.understanding
        when = "now" if wanted.now else between(wanted.start, wanted.end)
        text = f"{when[:1].upper()}{when[1:]}, at most at once: {'; '.join(parts)}."
        return Answer(
            question_id=request.question.question_id,
            outcome=Outcome.ANSWERED,
            text=text,
            confidence=LISTED,
            value=text,
            evidence=(*(piece for thing in things[:_MOST_THINGS] for piece in thing.evidence), *quotes),
            placement=request.placement,
            reason=joined("a list of what was recognised, and no description", *missing),
        )

    async def _things(self, request: AnswerRequest) -> list[Thing]:
        """What was followed in the span, the most first; what is rather a phantom than a thing is left out."""
        wanted = request.understanding
        outlines = await self._memory.tracks(
            device_ids=request.device_ids, labels=(), start=wanted.start, end=wanted.end, limit=MOST_EVENTS
        )
        things = []
        for label in sorted({track.label for event in outlines for track in event.tracks}):
            platt = likelihood.calibration((label,))
            spans = [s for event in outlines for s in spans_of(event, (label,)) if platt.probability(s.score) >= 0.5]
            moment, together = most_at_once(spans, start=wanted.start, end=wanted.end)
            if together:
                whole = await self._memory.events([span.event.event_id for span in together[:2]])
                cited = [s for event in whole.values() for s in spans_of(event, (label,)) if s.start <= moment <= s.end]
                things.append(Thing(label, len(together), len(spans), evidence_of(cited, moment)))
        return sorted(things, key=lambda thing: -thing.tracks)

    async def _quotes(self, request: AnswerRequest) -> list[Evidence]:
        if self._scene is None:
            return []
        wanted = request.understanding
        scope = request.device_ids, wanted.start, wanted.end
        lines = [
            quote(line.text, line.score, Evidence(line.device_id, line.time, line.time, line.event_id))
            for line in await self._scene.written(*scope, limit=64)
        ]
        said = [
            quote(one.text, one.confidence, Evidence(one.device_id, one.start, one.end, one.event_id))
            for one in await self._scene.spoken(*scope, limit=16)
        ]
        return [one.evidence for one in (*merged(lines)[:_MOST_QUOTES], *merged(said)[:_MOST_QUOTES])]


def _seen(request: AnswerRequest, looked: Sequence[Looked]) -> list[Thing]:
    """What two pictures of a clip show, by label."""
    found: dict[str, list[Thing]] = defaultdict(list)
    for one in (each for each in looked if each.seen):
        counts = [Counter(d.label for d in seen.confirmed) for seen in one.seen]
        for label in {label for each in counts for label in each}:
            number = sorted((each[label] for each in counts), reverse=True)[min(1, len(counts) - 1)]
            best = max(range(len(counts)), key=lambda index: counts[index][label])
            if not number:
                continue
            boxes = [d for d in one.seen[best].confirmed if d.label == label]
            piece = _piece(one, request, one.seen[best].frame, boxes)
            found[label].append(Thing(label, number, number, (piece,)))
    return [max(every, key=lambda thing: thing.at_once) for _, every in sorted(found.items())]


def _coloured(request: AnswerRequest, label: str, found: Sequence[Share], piece: Evidence, reason: str) -> Answer:
    told = ", ".join(f"{one.name} {one.share:.0%}" for one in found[:2])
    main = dominant(found)
    if main is None:
        return cannot_tell(
            request, joined(f"its colours are too close to tell one ({told})", reason), evidence=(piece,)
        )
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=f"The {label} on {piece.device_id} at {clock(piece.start)} is {main.name} ({told}).",
        confidence=CEILING * min(1.0, main.share / 0.75),
        value=main.name,
        evidence=(piece,),
        placement=request.placement,
        reason=reason,
    )


def _piece(looked: Looked, request: AnswerRequest, frame: Frame, things: Sequence[Detection]) -> Evidence:
    """The picture with these things in it."""
    known = looked.window.piece
    return Evidence(
        device_id=looked.window.device_id,
        start=frame.time,
        end=frame.time,
        event_id=known.event_id if known else "",
        sightings=tuple(Sighting(frame.time, one.label, one.score, one.box) for one in things),
        picture=small_jpeg(frame.picture),
        representation=min(request.placement.representation, Representation.FRAMES),
        media_offset=looked.media_offset(frame.time),
        picture_time=frame.time,
    )
