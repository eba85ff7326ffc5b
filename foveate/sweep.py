"""How many at once: a sweep over spans of time.

In: spans, each with its event. Out: the moment at which most of them hold, and which those are. Pure; it knows no
labels and no confidence. Next: `recall.py`, which counts with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.messages import Event, Sighting


@dataclass(frozen=True, slots=True)
class Span:
    """One object's stay in view, [start, end) in Unix seconds, with the score that speaks for it (0 to 1).

    `told` is when it was last told of, where that is before `end`: it stood still then, and nobody told it gone.
    """

    start: float
    end: float
    score: float
    event: Event
    sightings: tuple[Sighting, ...] = ()
    told: float | None = None


def most_at_once(spans: Sequence[Span], *, start: float, end: float) -> tuple[float, tuple[Span, ...]]:
    """The earliest moment in [start, end] at which most spans hold, and those spans; (start, ()) when none does.

    A span that ends when another begins does not meet it, so that a track which was cut in two counts once; a span
    without length holds at its one moment.
    """
    turns: list[tuple[float, int, int]] = []
    for index, span in enumerate(spans):
        first, last = max(span.start, start), min(span.end, end)
        # At one moment: ends first, then begins, then the ends of what has no length. A span that the window
        # cuts holds at the window's own end too.
        if first <= last and (span.end > start or span.start == span.end):
            turns += [(first, 1, index), (last, 2 if first == last or span.end > end else 0, index)]
    held: dict[int, None] = {}
    moment = start
    best: tuple[int, ...] = ()
    for time, order, index in sorted(turns):
        if order != 1:
            del held[index]
            continue
        held[index] = None
        if len(held) > len(best):
            moment, best = time, tuple(held)
    return moment, tuple(spans[index] for index in best)
