"""What the other converters are made of: bytes, times, spans, fractions and enums at the border.

In: protobuf scalars from anyone. Out: floats and members that were checked, or MalformedMessage naming the field.
Every enum's zero value is refused here, never silently defaulted.
Knows nothing of particular messages: `events.py`, `fleet.py` and `questions.py` are next.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from foveate.errors import MalformedMessage

M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=Enum)

# A timestamp outside these years is a broken clock or an attack, not a recording.
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # 2000-01-01, 2100-01-01


def parse(kind: type[M], data: bytes) -> M:
    """The protobuf message in the bytes; MalformedMessage when they hold none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedMessage(f"These {len(data)} bytes are no {kind.__name__}; the sender is broken.") from error


def timestamp(seconds: float) -> Timestamp:
    """Unix seconds as a protobuf Timestamp, to the microsecond."""
    micros = round(seconds * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf Duration, to the microsecond."""
    micros = round(seconds * 1e6)
    whole = int(micros / 1_000_000)
    return Duration(seconds=whole, nanos=(micros - whole * 1_000_000) * 1000)


def seconds_of(value: Duration) -> float:
    """A protobuf Duration in seconds."""
    return value.seconds + value.nanos / 1e9


def moment(message: Message, field: str) -> float:
    """A required Timestamp field as Unix seconds."""
    found = optional_moment(message, field)
    if found is None:
        raise MalformedMessage(f"{message.DESCRIPTOR.name}.{field} is not set; the sender must set it.", field=field)
    return found


def optional_moment(message: Message, field: str) -> float | None:
    """A Timestamp field as Unix seconds, None when it is not set."""
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    found = value.seconds + value.nanos / 1e9
    if not _EARLIEST <= found <= _LATEST:
        raise MalformedMessage(
            f"{message.DESCRIPTOR.name}.{field} lies outside 2000 to 2100; set the sender's clock.",
            field=field,
        )
    return found


def utc(seconds: float) -> datetime:
    """Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def optional_span(message: Message, field: str) -> float | None:
    """A Duration field in seconds, None when it is not set."""
    return seconds_of(getattr(message, field)) if message.HasField(field) else None


def fraction(value: float, field: str) -> float:
    """The value clamped to 0 to 1; MalformedMessage when it lies outside by more than rounding."""
    if not (math.isfinite(value) and -1e-4 <= value <= 1 + 1e-4):
        raise MalformedMessage(f"{field} is {value}, outside 0 to 1; the sender is broken.", field=field)
    return min(1.0, max(0.0, value))


def amount(value: float, field: str) -> float:
    """The value itself when it is a finite number from 0 up."""
    if not (math.isfinite(value) and value >= 0):
        raise MalformedMessage(f"{field} is {value}; it must be a number from 0 up.", field=field)
    return value


def ordered(start: float, end: float, what: str) -> None:
    """Refuses a span that ends before it starts."""
    if end < start:
        raise MalformedMessage(f"{what} ends before it starts; the sender is broken.", field="end_time")


def enum_to(enum: Any, member: Enum) -> Any:  # noqa: ANN401  protobuf's enum wrappers have no common type
    """The protobuf value of a member, by name."""
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    return enum.Value(prefix + member.name)


def enum_of(kind: type[E], enum: Any, value: int, field: str) -> E:  # noqa: ANN401
    """The member of a protobuf value; the zero value and unknown ones are refused."""
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    known = enum.DESCRIPTOR.values_by_number.get(value)
    if known is None or value == 0:
        raise MalformedMessage(f"{field} is {'not set' if value == 0 else value}; name one of {enum.keys()[1:]}.")
    return kind[known.name.removeprefix(prefix)]
