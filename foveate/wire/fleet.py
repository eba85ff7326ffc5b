"""Places, sites, devices, clips and failures: `foveate.v1` messages to dataclasses and back.

In: protobuf from anyone, dataclasses from our own code. Out: the other of the two, checked.
Knows nothing of transports.
"""

from __future__ import annotations

import re

from foveate import messages as m
from foveate.errors import FoveateError, MalformedMessage, TryAgain, from_wire
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import failure_pb2 as failure_pb
from foveate.v1 import fleet_pb2 as fleet_pb
from foveate.v1 import residency_pb2 as residency_pb
from foveate.wire.scalars import (
    duration,
    enum_of,
    enum_to,
    moment,
    optional_moment,
    optional_span,
    ordered,
    timestamp,
)

_CLIP_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")


def place_to(place: m.Place) -> residency_pb.Place:
    """A place."""
    return residency_pb.Place(region=place.region, site_id=place.site_id, device_id=place.device_id)


def place_of(message: residency_pb.Place) -> m.Place:
    """A place."""
    return m.Place(region=message.region, site_id=message.site_id, device_id=message.device_id)


def site_to(site: m.Site) -> fleet_pb.Site:
    """A site."""
    seen = timestamp(site.seen) if site.seen is not None else None
    return fleet_pb.Site(site_id=site.site_id, region=site.region, online=site.online, seen_time=seen)


def site_of(message: fleet_pb.Site) -> m.Site:
    """A site."""
    return m.Site(message.site_id, message.region, message.online, optional_moment(message, "seen_time"))


def device_to(device: m.Device) -> fleet_pb.Device:
    """A device."""
    return fleet_pb.Device(
        device_id=device.device_id,
        site_id=device.site_id,
        region=device.region,
        kind=enum_to(fleet_pb.DeviceKind, device.kind),
        labels=device.labels,
        enrolled=device.enrolled,
        online=device.online,
        seen_time=timestamp(device.seen) if device.seen is not None else None,
        trouble=device.trouble,
        capturing=device.capturing,
        events=device.events,
        outbox_depth=device.outbox_depth,
    )


def device_of(message: fleet_pb.Device) -> m.Device:
    """A device."""
    return m.Device(
        device_id=message.device_id,
        site_id=message.site_id,
        region=message.region,
        kind=enum_of(m.DeviceKind, fleet_pb.DeviceKind, message.kind, "Device.kind"),
        labels=tuple(message.labels),
        enrolled=message.enrolled,
        online=message.online,
        seen=optional_moment(message, "seen_time"),
        trouble=message.trouble,
        capturing=message.capturing,
        events=message.events,
        outbox_depth=message.outbox_depth,
    )


def clip_order_to(order: m.ClipOrder) -> clip_pb.ClipOrder:
    """A clip order."""
    return clip_pb.ClipOrder(
        clip_id=order.clip_id,
        device_id=order.device_id,
        start_time=timestamp(order.start),
        end_time=timestamp(order.end),
        destination=place_to(order.destination),
        representation=enum_to(residency_pb.Representation, order.representation),
    )


def clip_id_of(message: clip_pb.ClipOrder | clip_pb.ClipHeader) -> str:
    """The id of a clip, which names files: letters, digits and dashes only."""
    if not _CLIP_ID.fullmatch(message.clip_id):
        raise MalformedMessage("A clip's id has 1 to 64 letters, digits and dashes.", field="clip_id")
    return message.clip_id


def clip_order_of(message: clip_pb.ClipOrder) -> m.ClipOrder:
    """A clip order."""
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "ClipOrder")
    return m.ClipOrder(
        clip_id=clip_id_of(message),
        device_id=message.device_id,
        start=start,
        end=end,
        destination=place_of(message.destination),
        representation=enum_of(
            m.Representation, residency_pb.Representation, message.representation, "ClipOrder.representation"
        ),
    )


def clip_header_to(header: m.ClipHeader) -> clip_pb.ClipHeader:
    """A clip header."""
    offset = None if header.media_offset is None else duration(header.media_offset)
    return clip_pb.ClipHeader(
        clip_id=header.clip_id,
        device_id=header.device_id,
        start_time=timestamp(header.start),
        end_time=timestamp(header.end),
        size_bytes=header.size_bytes,
        sha256=header.sha256,
        media_type=header.media_type,
        offset_bytes=header.offset_bytes,
        representation=enum_to(residency_pb.Representation, header.representation),
        media_offset=offset,
    )


def clip_header_of(message: clip_pb.ClipHeader) -> m.ClipHeader:
    """A clip header; the digest must be a SHA-256 and the offset within the size."""
    if len(message.sha256) != 32 or not 0 <= message.offset_bytes <= message.size_bytes:
        raise MalformedMessage("ClipHeader needs a 32-byte sha256 and 0 <= offset_bytes <= size_bytes.")
    start, end = moment(message, "start_time"), moment(message, "end_time")
    ordered(start, end, "ClipHeader")
    return m.ClipHeader(
        clip_id=clip_id_of(message),
        device_id=message.device_id,
        start=start,
        end=end,
        size_bytes=message.size_bytes,
        sha256=message.sha256,
        media_type=message.media_type,
        offset_bytes=message.offset_bytes,
        representation=enum_of(
            m.Representation, residency_pb.Representation, message.representation, "ClipHeader.representation"
        ),
        media_offset=optional_span(message, "media_offset"),
    )


def failure_to(error: FoveateError) -> failure_pb.Failure:
    """An error as data."""
    delay = duration(error.retry_after) if isinstance(error, TryAgain) else None
    return failure_pb.Failure(reason=error.reason, message=error.message, retry_delay=delay, metadata=error.carried)


def failure_of(message: failure_pb.Failure) -> FoveateError:
    """The error that the other side raised."""
    return from_wire(
        reason=message.reason,
        message=message.message,
        metadata=dict(message.metadata),
        retry_after=optional_span(message, "retry_delay") or 0.0,
    )


def policy_to(policy: ResidencyPolicy) -> residency_pb.ResidencyPolicy:
    """A residency policy."""
    return residency_pb.ResidencyPolicy(
        revision=policy.revision,
        rules=[
            residency_pb.ResidencyRule(
                name=rule.name,
                scope=residency_pb.RuleScope(
                    region=rule.scope.region,
                    site_id=rule.scope.site,
                    device_id=rule.scope.device,
                    label=rule.scope.label,
                ),
                limits=[
                    residency_pb.RuleLimit(
                        representation=enum_to(residency_pb.Representation, representation),
                        boundary=enum_to(residency_pb.Boundary, boundary),
                    )
                    for representation, boundary in rule.limits
                ],
            )
            for rule in policy.rules
        ],
    )


def policy_of(message: residency_pb.ResidencyPolicy) -> ResidencyPolicy:
    """A residency policy."""
    return ResidencyPolicy(rules=tuple(_rule_of(rule) for rule in message.rules))


def _rule_of(message: residency_pb.ResidencyRule) -> Rule:
    scope = message.scope
    return Rule(
        name=message.name,
        scope=RuleScope(region=scope.region, site=scope.site_id, device=scope.device_id, label=scope.label),
        limits=tuple(
            (
                enum_of(
                    m.Representation,
                    residency_pb.Representation,
                    limit.representation,
                    "RuleLimit.representation",
                ),
                enum_of(m.Boundary, residency_pb.Boundary, limit.boundary, "RuleLimit.boundary"),
            )
            for limit in message.limits
        ),
    )
