"""Things that became scenery: still there, though nobody follows them, until something tells otherwise. Pure.

In: events that closed because a thing stood still, and what was told after them. Out: until when each is taken to stand
there, its span so lengthened, and the words for that. It reads no database and weighs no scores.
Next: `facts.py`, which counts them, and is less sure of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from foveate.messages import Event, Track
from foveate.sweep import Span
from foveate.vision.boxes import Box
from foveate.wire import utc

STANDS = 0.6
"""What is left of a certainty that rests on a thing which stood still and was not told gone: worth a look."""

MOST_STANDING_S = 12 * 3600.0
"""Past this nothing is taken to stand there still: a device that was off for a while never tells what left."""

MOST_STANDING = 64
"""Things that stand still and are weighed for one answer, those first that became scenery last."""

_ABOUT = "scenery:"
_FOR = re.compile(r" for (\d+(?:\.\d+)?) s\b")
_SAME_PLACE = 0.5  # overlap from which what begins there is taken for the thing itself, under another number


def is_scenery(event: Event) -> bool:
    """Whether the event ended because its thing had not moved for long, and not because it left."""
    return not event.open and event.about.startswith(_ABOUT)


def still_there(found: Iterable[tuple[Event, float | None]], later: Sequence[Event]) -> dict[str, float]:
    """Until when (Unix seconds) the thing of each scenery event is taken to stand there, by event id.

    `found` has the events, each with the moment at which its track was next told of. A device that started anew
    numbers from the beginning, and tells of what it finds standing: what begins in the same place ends it as well.
    """
    return {
        event.event_id: min(
            (
                event.end + MOST_STANDING_S,
                *(() if again is None else (again,)),
                *(other.start for other in later if _takes_over(event, other)),
            )
        )
        for event, again in found
    }


def lengthened(span: Span, still: Mapping[str, float]) -> Span:
    """The span, on to when its thing is taken to stand there; as it is for what did not stand still at its end."""
    until = still.get(span.event.event_id)
    # With zones there is a span for each visit: only the one that went on at the end goes on after it.
    if (
        until is None
        or until <= span.end
        or span.end < max((track.end for track in span.event.tracks), default=span.end)
    ):
        return span
    return replace(span, end=until, told=span.end)


def presumed(span: Span, moment: float) -> bool:
    """Whether nobody followed the thing any more at that moment, so that it is only taken to stand there."""
    return span.told is not None and span.told < moment


def note(standing: Sequence[Span], number: int) -> str:
    """A sentence on those of `number` things that are only taken to stand there; empty without any."""
    if not standing:
        return ""
    since = f"{utc(min(_since(span) for span in standing)):%H:%M:%S} UTC"
    if number == 1:
        return f" It has stood still since {since}."
    return f" {len(standing)} of them {'has' if len(standing) == 1 else 'have'} stood still since {since}."


def why(standing: Sequence[Span]) -> str:
    """Why an answer is less sure for them; empty without any."""
    if not standing:
        return ""
    last = f"{utc(min(span.told or span.end for span in standing)):%H:%M:%S} UTC"
    return f"what stands still is not followed: last seen at {last}, and not told gone since"


def _since(span: Span) -> float:
    told, named = span.told or span.end, _FOR.search(span.event.about)
    return max(span.start, told - float(named[1])) if named else told


def _takes_over(event: Event, other: Event) -> bool:
    if other.device_id != event.device_id or other.event_id == event.event_id or other.start < event.end:
        return False
    return any(_same_place(one, new) for one in event.tracks for new in other.tracks if one.label == new.label)


def _same_place(one: Track, new: Track) -> bool:
    last, first = _box(one, -1), _box(new, 0)
    return last is not None and first is not None and last.iou(first) >= _SAME_PLACE


def _box(track: Track, index: int) -> Box | None:
    return track.sightings[index].box if track.sightings else None
