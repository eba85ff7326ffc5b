"""Where remembered things were at a moment: spans of tracks, cut to zones, bridged over short gaps, with boxes. Pure.

In: events with their tracks. Out: `Span`s, and a `Sighting` for a span at any moment of it, between two that were
recorded. It knows no question and no confidence. Next: `facts.py`, which answers from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from foveate.messages import Event, Sighting, Track
from foveate.sweep import Span
from foveate.vision.boxes import Box

BRIDGE_S = 2.0
"""Longest gap between two tracks that may be one thing: a tracker forgets what is hidden for longer."""

_REACH = 0.75  # how far, in its own size, a thing may have moved in the gap
_NEAR = 0.2  # overlap of the two boxes, so enlarged, from which they are near


def spans_of(event: Event, labels: Sequence[str], zones: Sequence[str] = ()) -> list[Span]:
    """One span for each track of the labels; the event itself when it has labels but no tracks.

    With `zones` (in the form that `zone_key` gives), one for each visit of a track to one of them.
    """
    spans = []
    for track in event.tracks:
        if track.label in labels:
            # A track is as sure as its best sighting: the mean sinks while it enters and leaves the picture.
            best = max((track.score, *(seen.score for seen in track.sightings if seen.label == track.label)))
            # Single sightings may carry another name; the track's is what they voted for together.
            path = tuple(replace(seen, label=track.label) for seen in track.sightings)
            spans += [Span(start, end, best, event, path) for start, end in _stays(track, zones)]
    named = [item.score for item in event.labels if item.label in labels]
    if not spans and named and not zones:
        spans.append(Span(event.start, event.end, max(named), event))
    return spans


def zone_key(name: str) -> str:
    """A zone's name without the differences of writing: "Loading-Dock" and "loading dock" are one."""
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))


def zones_in(events: Iterable[Event]) -> tuple[str, ...]:
    """The names of zones that the events tell of, as they are written there, sorted."""
    names = {name for event in events for name in event.zones}
    names |= {visit.zone for event in events for track in event.tracks for visit in track.zone_visits}
    return tuple(sorted(names))


def bridged(spans: Sequence[Span]) -> list[Span]:
    """The spans, those of one camera joined that are one thing seen again after a short gap close by."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, one.end)):
        before = [index for index, other in enumerate(joined) if _continues(other, span)]
        if not before:
            joined.append(span)
            continue
        nearest = max(before, key=lambda index: joined[index].end)
        other = joined[nearest]
        path = (*other.sightings, *span.sightings)
        joined[nearest] = replace(
            other, end=span.end, told=span.told, score=max(other.score, span.score), sightings=path
        )
    return joined


def at_moment(span: Span, moment: float) -> Sighting | None:
    """Where the thing was at a moment: between the sightings before and after, else its nearest one; None without any.

    Paths are sampled sparsely, so what lies between two sightings is taken to have moved evenly.
    """
    path = span.sightings
    if not path:
        return None
    before = [seen for seen in path if seen.time <= moment]
    after = [seen for seen in path if seen.time > moment]
    if not before or not after:
        return before[-1] if before else after[0]
    one, other = before[-1], after[0]
    share = (moment - one.time) / (other.time - one.time)
    return Sighting(moment, one.label, _mixed(one.score, other.score, share), _between(one.box, other.box, share))


def _stays(track: Track, zones: Sequence[str]) -> list[tuple[float, float]]:
    if not zones:
        return [(track.start, track.end)]
    return [(visit.start, visit.end) for visit in track.zone_visits if zone_key(visit.zone) in zones]


def _continues(before: Span, after: Span) -> bool:
    """Whether `after` may be the thing of `before`, seen again."""
    if before.event.device_id != after.event.device_id or not 0.0 < after.start - before.end <= BRIDGE_S:
        return False
    if not before.sightings or not after.sightings or before.sightings[-1].label != after.sightings[0].label:
        return False
    one, other = before.sightings[-1].box.expanded(_REACH), after.sightings[0].box.expanded(_REACH)
    return one.iou(other) > _NEAR


def _between(one: Box, other: Box, share: float) -> Box:
    return Box(
        _mixed(one.left, other.left, share),
        _mixed(one.top, other.top, share),
        _mixed(one.width, other.width, share),
        _mixed(one.height, other.height, share),
    )


def _mixed(one: float, other: float, share: float) -> float:
    return one + (other - one) * share
