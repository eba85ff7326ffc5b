"""Events and heartbeats: `foveate.v1` messages to dataclasses and back.

In: protobuf from anyone, dataclasses from our own code. Out: the other of the two, checked.
Knows nothing of transports.
"""

from __future__ import annotations

import math

from foveate import messages as m
from foveate.errors import MalformedMessage
from foveate.v1 import event_pb2 as event_pb
from foveate.vision.boxes import Box
from foveate.wire.scalars import (
    duration,
    enum_of,
    enum_to,
    fraction,
    moment,
    optional_moment,
    optional_span,
    ordered,
    timestamp,
)

_MOST_VISITS = 32


def box_to(box: Box) -> event_pb.Box:
    """A box."""
    return event_pb.Box(left=box.left, top=box.top, width=box.width, height=box.height)


def box_of(message: event_pb.Box) -> Box:
    """A box within the picture."""
    sides = (fraction(getattr(message, name), f"Box.{name}") for name in ("left", "top", "width", "height"))
    return Box(*sides)


def sighting_to(s: m.Sighting) -> event_pb.Sighting:
    """A sighting."""
    return event_pb.Sighting(capture_time=timestamp(s.time), label=s.label, score=s.score, box=box_to(s.box))


def sighting_of(message: event_pb.Sighting) -> m.Sighting:
    """A sighting."""
    return m.Sighting(
        time=moment(message, "capture_time"),
        label=message.label,
        score=fraction(message.score, "Sighting.score"),
        box=box_of(message.box),
    )


def _track_to(track: m.Track) -> event_pb.Track:
    return event_pb.Track(
        track_id=track.track_id,
        label=track.label,
        score=track.score,
        start_time=timestamp(track.start),
        end_time=timestamp(track.end),
        sightings=[sighting_to(s) for s in track.sightings],
        zone_visits=[
            event_pb.ZoneVisit(zone=v.zone, start_time=timestamp(v.start), end_time=timestamp(v.end))
            for v in track.zone_visits
        ],
    )


def _track_of(message: event_pb.Track) -> m.Track:
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "Track")
    return m.Track(
        track_id=message.track_id,
        label=message.label,
        score=fraction(message.score, "Track.score"),
        start=start,
        end=end,
        sightings=tuple(sighting_of(s) for s in message.sightings),
        zone_visits=tuple(_visit_of(visit) for visit in message.zone_visits[-_MOST_VISITS:]),
    )


def _visit_of(message: event_pb.ZoneVisit) -> m.ZoneVisit:
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "ZoneVisit")
    return m.ZoneVisit(message.zone, start, end)


def embedding_to(embedding: m.Embedding) -> event_pb.Embedding:
    """A vector."""
    return event_pb.Embedding(model=embedding.model, values=embedding.values)


def embedding_of(message: event_pb.Embedding) -> m.Embedding:
    """A vector with its model."""
    if "@" not in message.model or not message.values or not all(map(math.isfinite, message.values)):
        raise MalformedMessage("Embedding needs `model@revision` and finite values.", field="embedding")
    return m.Embedding(model=message.model, values=tuple(message.values))


def priority_to(priority: m.Priority) -> event_pb.Priority.ValueType:
    """A priority."""
    return event_pb.Priority.ValueType(int(priority))


def priority_of(number: int) -> m.Priority:
    """A priority; what no sender set, or one we do not know, is normal."""
    return m.Priority(number) if number in tuple(m.Priority) else m.Priority.NORMAL


def event_to(event: m.Event) -> event_pb.Event:
    """An event."""
    message = event_pb.Event(
        event_id=event.event_id,
        revision=event.revision,
        device_id=event.device_id,
        site_id=event.site_id,
        region=event.region,
        device_labels=event.device_labels,
        trigger=enum_to(event_pb.TriggerKind, event.trigger),
        start_time=timestamp(event.start),
        end_time=timestamp(event.end),
        open=event.open,
        score=event.score,
        labels=[event_pb.LabelScore(label=item.label, score=item.score) for item in event.labels],
        tracks=[_track_to(track) for track in event.tracks],
        priority=priority_to(event.priority),
        zones=event.zones,
        about=event.about,
        sequence=event.sequence,
    )
    if event.embedding is not None:
        message.embedding.CopyFrom(embedding_to(event.embedding))
    if event.media_offset is not None:
        message.media_offset.CopyFrom(duration(event.media_offset))
    if event.report_time is not None:
        message.report_time.CopyFrom(timestamp(event.report_time))
    if event.receive_time is not None:
        message.receive_time.CopyFrom(timestamp(event.receive_time))
    return message


def event_of(message: event_pb.Event) -> m.Event:
    """An event, or MalformedMessage naming the field."""
    for field in ("event_id", "device_id", "site_id"):
        if not 0 < len(getattr(message, field)) <= 64:
            raise MalformedMessage(f"Event.{field} must have 1 to 64 characters.", field=field)
    if message.revision < 1:
        raise MalformedMessage("Event.revision starts at 1; the sender is broken.", field="revision")
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "Event")
    return m.Event(
        event_id=message.event_id,
        revision=message.revision,
        device_id=message.device_id,
        site_id=message.site_id,
        region=message.region,
        device_labels=tuple(message.device_labels),
        trigger=enum_of(m.TriggerKind, event_pb.TriggerKind, message.trigger, "Event.trigger"),
        start=start,
        end=end,
        open=message.open,
        score=fraction(message.score, "Event.score"),
        labels=tuple(m.LabelScore(item.label, fraction(item.score, "Event.labels")) for item in message.labels),
        tracks=tuple(_track_of(track) for track in message.tracks),
        embedding=embedding_of(message.embedding) if message.HasField("embedding") else None,
        media_offset=optional_span(message, "media_offset"),
        report_time=optional_moment(message, "report_time"),
        receive_time=optional_moment(message, "receive_time"),
        priority=priority_of(message.priority),
        zones=tuple(message.zones),
        about=message.about,
        sequence=max(0, message.sequence),
    )


def presence_to(p: m.Presence) -> event_pb.Presence:
    """A heartbeat."""
    return event_pb.Presence(
        device_id=p.device_id,
        site_id=p.site_id,
        send_time=timestamp(p.time),
        capturing=p.capturing,
        trouble=p.trouble,
        outbox_depth=p.outbox_depth,
        frames=p.frames,
        version=p.version,
    )


def presence_of(message: event_pb.Presence) -> m.Presence:
    """A heartbeat."""
    return m.Presence(
        device_id=message.device_id,
        site_id=message.site_id,
        time=moment(message, "send_time"),
        capturing=message.capturing,
        trouble=message.trouble,
        outbox_depth=message.outbox_depth,
        frames=message.frames,
        version=message.version,
    )
