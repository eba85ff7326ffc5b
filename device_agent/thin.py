"""What an event can spare when the outbox is full: first its vector, then the middles of its objects' paths.

In: an event. Out: the same event with less in it, and how much it could still spare. Who, when, where, what and every
object's start and end always stay. Pure. Next: `outbox.py`, which asks the least priority first.
"""

from __future__ import annotations

from dataclasses import replace

from foveate.messages import Event

REPLACED, SENT, VECTOR, PATHS, NOTHING = 4, 3, 2, 1, 0
"""What a revision in the outbox can give for room: all of itself when a later one replaced it or it was sent before."""
_ENDS = 2


def gives(event: Event) -> int:
    """VECTOR, PATHS or NOTHING: what this event can spare next."""
    if event.embedding is not None:
        return VECTOR
    return PATHS if any(len(track.sightings) > _ENDS for track in event.tracks) else NOTHING


def thinned(event: Event) -> Event:
    """The event without what it can spare next."""
    if event.embedding is not None:
        return replace(event, embedding=None)
    tracks = (
        replace(track, sightings=(track.sightings[0], track.sightings[-1])) if len(track.sightings) > _ENDS else track
        for track in event.tracks
    )
    return replace(event, tracks=tuple(tracks))
