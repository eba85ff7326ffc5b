"""Reads when out of a question's words and takes those words away.

In: lower-case text and the moment it was asked (Unix seconds). Out: `Timespan` with the text that is left.
Times of day and days are UTC, since nobody said where the asker lives; the note says so.
It knows no subject and no tense; `understand` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DAY = _UNITS["d"]
_NUMBERS = (
    {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
    | {"ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
    | {"couple of": 2, "a couple of": 2, "few": 3, "a few": 3}
)
_NUMBER = r"(?P<number>\d+(?:\.\d+)?|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + r")"
_UNIT = r"(?P<unit>seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?)"
_HOUR = r"(?:[01]?\d|2[0-3])"
_CLOCK = rf"(?:{_HOUR}[:.][0-5]\d(?:[:.][0-5]\d)?\s*(?:am|pm)?|{_HOUR}\s*(?:am|pm)|noon|midnight)"
_LEAD = r"(?:\b(?:in|during|within|over|for|from|of|on|at|since)\s+)?(?:\bthe\s+)?"
_LAST = re.compile(_LEAD + rf"\b(?:last|past|previous)\s+(?:{_NUMBER}\s+)?{_UNIT}\b")
_HALF_HOUR = re.compile(_LEAD + r"\b(?:last|past|previous)\s+half(?:\s+an)?\s+hour\b")
_AGO = re.compile(rf"\b(?:about\s+|around\s+)?{_NUMBER}\s+{_UNIT}\s+ago\b")
_NOW = re.compile(r"\b(?:right now|just now|now|currently|at the moment|at this moment|at present|presently|live)\b")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_BETWEEN = re.compile(rf"\b(?:between|from)\s+(?P<first>{_CLOCK})\s+(?:and|to|until|till)\s+(?P<second>{_CLOCK})")
_EDGE = re.compile(rf"\b(?P<side>since|after|before|until|till|at|around|about)\s+(?P<clock>{_CLOCK})")
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
    """What the text says of time: a span or None, whether it says now, the words left, and a note."""

    span: tuple[float, float] | None
    now: bool
    rest: str
    note: str = ""


def timespan(text: str, *, ask_time: float) -> Timespan:
    """The span that the text names, never later than `ask_time`; None when it names none."""
    for read in (_relative, _ago, _of_day):
        found = read(text, ask_time)
        if found is not None:
            return found
    rest, said = _NOW.subn(" ", text)
    return Timespan(span=None, now=said > 0, rest=rest)


def _relative(text: str, ask_time: float) -> Timespan | None:
    half = _HALF_HOUR.search(text)
    if half is not None:
        return Timespan((ask_time - 1800.0, ask_time), now=False, rest=_without(text, half))
    match = _LAST.search(text)
    if match is None:
        return None
    seconds = _number(match["number"]) * _UNITS[match["unit"][0]]
    return Timespan((ask_time - seconds, ask_time), now=False, rest=_without(text, match))


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
    day, rest = _named_day(text, ask_time)
    clock = _clock_span(rest, ask_time, day)
    if clock is None and day is None:
        return None
    span = day or (0.0, ask_time)
    if clock is not None:
        span, rest = clock
    span = (min(span[0], ask_time), min(span[1], ask_time))
    return Timespan(span, now=False, rest=rest, note="times of day are UTC")


def _named_day(text: str, ask_time: float) -> tuple[tuple[float, float] | None, str]:
    midnight = ask_time - ask_time % _DAY
    for name, (days, hour, hours) in _NAMED.items():
        match = re.search(rf"\b(?:(?P<since>since)\s+|during\s+|of\s+)?{name}\b", text)
        if match is not None:
            start = midnight - days * _DAY + hour * 3600.0
            return (start, ask_time if match["since"] else start + hours * 3600.0), _without(text, match)
    match = re.search(rf"\b(?:(?P<since>since)\s+|on\s+)?(?:last\s+)?(?P<day>{'|'.join(_WEEKDAYS)})\b", text)
    if match is None:
        return None, text
    back = (datetime.fromtimestamp(ask_time, UTC).weekday() - _WEEKDAYS.index(match["day"])) % 7
    start = midnight - back * _DAY
    return (start, ask_time if match["since"] else start + _DAY), _without(text, match)


def _clock_span(text: str, ask_time: float, day: tuple[float, float] | None) -> tuple[tuple[float, float], str] | None:
    between = _BETWEEN.search(text)
    if between is not None:
        first = _moment(between["first"], ask_time, day)
        second = _moment(between["second"], ask_time, day)
        return (first, second if second >= first else second + _DAY), _without(text, between)
    match = _EDGE.search(text)
    if match is None:
        return None
    moment = _moment(match["clock"], ask_time, day)
    start, end = day or (moment - moment % _DAY, ask_time)
    span = {
        "since": (moment, ask_time if day is None else end),
        "after": (moment, end),
        "before": (start, moment),
        "until": (start, moment),
        "till": (start, moment),
    }.get(match["side"], (moment - 60.0, moment + 60.0))
    return span, _without(text, match)


def _moment(clock: str, ask_time: float, day: tuple[float, float] | None) -> float:
    """A clock time on the named day; without one, its latest occurrence before the question."""
    named = {"noon": 12 * 3600.0, "midnight": 0.0}.get(clock)
    seconds = named if named is not None else _seconds_of_day(clock)
    if day is not None:
        return day[0] - day[0] % _DAY + seconds
    moment = ask_time - ask_time % _DAY + seconds
    return moment if moment <= ask_time else moment - _DAY


def _seconds_of_day(clock: str) -> float:
    parts = [int(part) for part in re.findall(r"\d+", clock)]
    hour, minute, second = (*parts, 0, 0)[:3]
    if clock.endswith("pm") and hour < 12:
        hour += 12
    if clock.endswith("am") and hour == 12:
        hour = 0
    return float(hour * 3600 + minute * 60 + second)


def _number(word: str | None) -> float:
    if word is None:
        return 1.0
    return float(_NUMBERS[word]) if word in _NUMBERS else float(word)


def _without(text: str, match: re.Match[str]) -> str:
    return f"{text[: match.start()]} {text[match.end() :]}"
