"""Answers by meaning, for things that the detector has no name for: the remembered event most alike to the question.

In: events with their likeness to the question, best first. Out: an `Answer` of low, stated confidence, or "cannot
tell" when nothing stands out. Pure. A recall channel: it finds candidates for a closer look and proves nothing.
Next: `recall.py`, which fetches them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from foveate.facts import answered, cannot_tell, evidence_of, moment_in
from foveate.messages import Answer, AnswerRequest, Event, Task
from foveate.sweep import Span

CEILING = 0.47
"""Ceiling of its confidence: the best hit was right in 47 of 100 cases (205 pictures, 34 queries)."""

ALIKE, MARGIN = 0.70, 0.20
"""Least cosine similarity of the best event, and least lead over the median event, to answer at all.

On 104 events of a street and a yard 24 absent subjects led by at most 0.19; 6 of 9 present ones passed both.
"""


def lead(alike: float, median: float | None) -> float:
    """How far a likeness stands out, 0 (not at all) to 1; without a median it has only itself to stand by. Pure."""
    ahead = alike - (ALIKE - MARGIN if median is None else median)
    return min(1.0, ahead / (2 * MARGIN)) if alike >= ALIKE and ahead >= MARGIN else 0.0


def from_likeness(request: AnswerRequest, found: Sequence[tuple[Event, float]], median: float | None = None) -> Answer:
    """The answer from events with their likeness to the question, best first: a recall channel, never sure. Pure.

    `median` is that of all events in scope, when `found` is only the best of them.
    """
    wanted = request.understanding
    if not found:
        return cannot_tell(request, "no remembered event has an embedding to compare with")
    event, alike = found[0]
    middle = statistics.median(score for _, score in found) if median is None else median
    usual = middle if len(found) > 1 else None
    ahead = alike - (ALIKE - MARGIN if usual is None else usual)
    how = f"closest in meaning with similarity {alike:.2f}, {max(0.0, ahead):.2f} ahead of the median event"
    first = next((track.sightings[:1] for track in event.tracks if track.sightings), ())
    span = Span(event.start, event.end, 0.0, event, first)
    stands_out = lead(alike, usual)
    if not stands_out:
        return cannot_tell(request, f"nothing stands out: the {how}", evidence=evidence_of([span], None))
    return answered(
        request,
        text=f"Perhaps ({wanted.subject}): {event.device_id} at {moment_in(event, event.start)}, {how}.",
        value=event.start if wanted.task is Task.FIND else True,
        confidence=CEILING * stands_out,
        spans=[span],
        reason="the detector has no name for it; likeness finds candidates and proves nothing",
    )
