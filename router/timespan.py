"""Reads when out of a question's words and takes those words away.

In: lower-case text, the moment it was asked (Unix seconds), and the span that the asker set, if any. Out: `Timespan`
with the text that is left. Times of day and days are UTC, since nobody said where the asker lives; the note says so.
It knows no subject and no tense; `understand` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from foveate.errors import InvalidInput
from router.clock import DATE, DAY_S, POINT, WEEKDAYS, Point, midnight_before, midnight_of, read_point

Span = tuple[float, float]

_AHEAD_S = 60.0
"""So far ahead of the question a time may lie and still be meant: a minute that goes on, clocks that differ."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}
_NUMBERS = (
    {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
    | {"ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
    | {"sixty": 60, "ninety": 90, "couple of": 2, "a couple of": 2, "few": 3, "a few": 3}
)
_NUMBER = r"(?P<number>\d+(?:\.\d+)?|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + r")"
_UNIT = r"(?P<unit>seconds?|secs?|s|minutes?|mins?|hours?|hrs?|h|days?|weeks?)"
_LEAD = r"(?:\b(?:in|during|within|over|for|from|of|on|at|since)\s+)?(?:\bthe\s+)?"
_LAST = re.compile(_LEAD + rf"\b(?:last|past|previous)\s+(?:{_NUMBER}\s*)?{_UNIT}\b")
_FIRST = re.compile(
    _LEAD + rf"\b(?P<which>first|opening)\s+(?:{_NUMBER}\s*)?{_UNIT}\b(?:\s+(?:of|in)\s+(?=between|from))?"
)
_HALF_HOUR = re.compile(_LEAD + r"\b(?:last|past|previous)\s+half(?:\s+an)?\s+hour\b")
_AGO = re.compile(rf"\b(?:about\s+|around\s+)?{_NUMBER}\s*{_UNIT}\s+ago\b")
_NOW = re.compile(r"\b(?:right now|just now|now|currently|at the moment|at this moment|at present|presently|live)\b")
_TWO = (
    re.compile(
        rf"\b(?:between|from|during|within|over)\s+(?P<first>{POINT})"
        rf"\s*(?:\band\b|\bto\b|\buntil\b|\btill\b|-|–)\s*(?P<second>{POINT})"
    ),
    re.compile(
        rf"\b(?:since|after)\s+(?P<first>{POINT})\s+(?:(?:and|but)\s+)?(?:before|until|till)\s+(?P<second>{POINT})"
    ),
)
_SIDE = r"(?P<side>since|after|before|until|till|by|at|around|about|on|from|exactly)"
_ONE = re.compile(rf"\b{_SIDE}\s+(?:(?:exactly|precisely|about|around|the)\s+)?(?P<point>{POINT})(?:\s+onwards?\b)?")
_BARE = re.compile(rf"(?P<point>{POINT})")
_DAY = re.compile(rf"(?:\b(?P<since>since)\s+|\bon\s+)?(?:\blast\s+)?(?P<day>\b(?:{'|'.join(WEEKDAYS)})\b|{DATE})")
# Names of stretches: hours from the start of a day that lies so many days back, and how many hours long.
_NAMED = {
    "today": (0, 0, 24),
    "this morning": (0, 0, 12),
    "this afternoon": (0, 12, 6),
    "this evening": (0, 18, 6),
    "tonight": (0, 18, 6),
    "yesterday morning": (1, 0, 12),
    "yesterday afternoon": (1, 12, 6),
    "yesterday evening": (1, 18, 6),
    "yesterday": (1, 0, 24),
    "last night": (1, 18, 12),
    "this week": (6, 0, 7 * 24),
    "this month": (29, 0, 30 * 24),
}


@dataclass(frozen=True, slots=True)
class Timespan:
    """What the text says of time: a span or None, whether it says now, the words left, and a note.

    `inside` tells that the span was counted from within what the asker set ("the first minute").
    """

    span: Span | None
    now: bool
    rest: str
    note: str = ""
    inside: bool = False


def timespan(text: str, *, ask_time: float, window: Span | None = None) -> Timespan:
    """The span that the text names, never later than `ask_time`; None when it names none.

    `window` is what "the first minute" counts from. InvalidInput when the text says that of nothing.
    """
    first = _FIRST.search(text)
    if first is not None:
        return _opening(text, first, ask_time=ask_time, window=window)
    for read in (_relative, _ago, _of_day):
        found = read(text, ask_time)
        if found is not None:
            return found
    rest, said = _NOW.subn(" ", text)
    return Timespan(span=None, now=said > 0, rest=rest)


def length_of(match: re.Match[str]) -> float:
    """Seconds of a match with the groups `number` and `unit`."""
    return _number(match["number"]) * _UNITS[match["unit"][0]]


def first_of(text: str) -> re.Match[str] | None:
    """Where the text says "the first minute" or alike, with the groups `number` and `unit`."""
    return _FIRST.search(text)


def _opening(text: str, match: re.Match[str], *, ask_time: float, window: Span | None) -> Timespan:
    """The first so many seconds of another span that the text names, or of the one that the asker set."""
    other = timespan(_without(text, match), ask_time=ask_time)
    start, end = other.span or window or (None, None)
    if start is None or end is None:
        said = " ".join(match[0].split())
        raise InvalidInput(f"Of what is it {said!r}? Add a time, such as 'between 12:00 and 12:05'.", field="text")
    return replace(other, span=(start, min(end, start + length_of(match))), inside=True)


def _relative(text: str, ask_time: float) -> Timespan | None:
    half = _HALF_HOUR.search(text)
    if half is not None:
        return Timespan((ask_time - 1800.0, ask_time), now=False, rest=_without(text, half))
    match = _LAST.search(text)
    if match is None:
        return None
    return Timespan((ask_time - length_of(match), ask_time), now=False, rest=_without(text, match))


def _ago(text: str, ask_time: float) -> Timespan | None:
    match = _AGO.search(text)
    if match is None:
        return None
    unit = _UNITS[match["unit"][0]]
    middle = ask_time - _number(match["number"]) * unit
    span = (middle - unit / 2, min(ask_time, middle + unit / 2))
    return Timespan(span, now=False, rest=_without(text, match), note="'ago' was read as half a unit either side")


def _of_day(text: str, ask_time: float) -> Timespan | None:
    """A named stretch of days, a clock time, or a clock time on a named day."""
    clock = _clock(text, ask_time, None)
    span, rest = (clock.span, clock.rest) if clock is not None else (None, text)
    if clock is None or not clock.dated:
        day, rest = _named_day(rest, ask_time)
        again = _clock(text, ask_time, day) if clock is not None and day is not None else None
        span = again.span if again is not None else span or day
    if span is None:
        return None
    if span[0] > ask_time + _AHEAD_S:
        raise InvalidInput("That time is still to come; ask again when it is over.", field="text")
    span = (min(span[0], ask_time), min(span[1], ask_time))
    return Timespan(span, now=False, rest=rest, note="times of day are UTC")


def _named_day(text: str, ask_time: float) -> tuple[Span | None, str]:
    midnight = ask_time - ask_time % DAY_S
    for name, (days, hour, hours) in _NAMED.items():
        match = re.search(rf"\b(?:(?P<since>since)\s+|during\s+|of\s+)?{name}\b", text)
        if match is not None:
            start = midnight - days * DAY_S + hour * 3600.0
            return (start, ask_time if match["since"] else start + hours * 3600.0), _without(text, match)
    match = _DAY.search(text)
    if match is None:
        return None, text
    day = match["day"]
    start = midnight_before(ask_time, day) if day in WEEKDAYS else midnight_of(day, ask_time)
    return (start, ask_time if match["since"] else start + DAY_S), _without(text, match)


@dataclass(frozen=True, slots=True)
class _Clock:
    """The span of the points that the text names, the text left, and whether they name their day themselves."""

    span: Span
    rest: str
    dated: bool


def _clock(text: str, ask_time: float, day: Span | None) -> _Clock | None:
    """What the text says by clock or by date; what has no day of its own lies on `day`."""
    for two in _TWO:
        match = two.search(text)
        if match is not None:
            points = _pair(match, ask_time, day)
            return _Clock(_between(*points), _without(text, match), points[0].dated or points[1].dated)
    for one in (_ONE, _BARE):
        for match in one.finditer(text):
            point = _on(day, match["point"], ask_time)
            if one is _ONE or point.exact:
                side = match["side"] if one is _ONE else "at"
                return _Clock(_from(side, point, ask_time, day), _without(text, match), point.dated)
    return None


def _pair(match: re.Match[str], ask_time: float, day: Span | None) -> tuple[Point, Point]:
    """Both points; one without a day lies on the other's."""
    first, second = (_on(day, match[name], ask_time) for name in ("first", "second"))
    if first.dated is not second.dated:
        dated = first if first.dated else second
        midnight = dated.moment - dated.moment % DAY_S
        first, second = (
            point if point.dated else read_point(match[name], ask_time=ask_time, midnight=midnight)
            for name, point in (("first", first), ("second", second))
        )
    return first, second


def _on(day: Span | None, text: str, ask_time: float) -> Point:
    """The point, on the named day when there is one; a night's small hours lie on the day after."""
    if day is None:
        return read_point(text, ask_time=ask_time)
    point = read_point(text, ask_time=ask_time, midnight=day[0] - day[0] % DAY_S)
    if not point.dated and point.moment < day[0] and point.moment + DAY_S <= day[1]:
        return replace(point, moment=point.moment + DAY_S)
    return point


def _between(first: Point, second: Point) -> Span:
    end = second.moment + (DAY_S if second.whole_day else 0.0)
    while end < first.moment and not (first.dated and second.dated):
        end += DAY_S
    return min(first.moment, end), max(first.moment, end)


def _from(side: str, point: Point, ask_time: float, day: Span | None) -> Span:
    if side in ("around", "about"):
        reach = max(point.after, 60.0)
        return (point.moment - reach, point.moment + reach)
    moment, own = point.moment, point.moment - point.moment % DAY_S
    start, end = day or (own, ask_time)
    past = moment + DAY_S if point.whole_day else moment
    spans = {
        "since": (moment, max(moment, ask_time if day is None else end)),
        "from": (moment, max(moment, ask_time if day is None else end)),
        "after": (past, max(past, end)),
        "before": (min(start, moment), moment),
        "until": (min(start, moment), past),
        "till": (min(start, moment), past),
        "by": (min(start, moment), past),
    }
    return spans.get(side, point.span)


def _number(word: str | None) -> float:
    if word is None:
        return 1.0
    return float(_NUMBERS[word]) if word in _NUMBERS else float(word)


def _without(text: str, match: re.Match[str]) -> str:
    return f"{text[: match.start()]} {text[match.end() :]}"
