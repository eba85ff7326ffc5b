"""Points in time as people write them: `21:15`, `21:15:32.5`, `3 pm`, `2026-11-22`, `yesterday at 21:15 UTC`.

In: lower-case text and the moment it was asked (Unix seconds). Out: `Point`: the moment, and how far "at" reaches
around it, which is as exact as it was written. UTC unless an offset follows a date.
It knows no spans; `timespan` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from foveate.errors import InvalidInput

DAY_S = 86_400.0
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AHEAD_S = 1.0
"""A clock time is today's although it lies so far ahead: two clocks never agree."""

_HOUR = r"(?:[01]?\d|2[0-3])"
_CLOCK = (
    rf"(?<![\d.:])(?:{_HOUR}[:.][0-5]\d(?:[:.][0-5]\d(?:[.,]\d{{1,6}})?)?(?:\s*[ap]m\b)?|{_HOUR}\s*[ap]m\b"
    r"|noon\b|midnight\b)(?![:\d])"
)
_NUMBERED = r"(?:3[01]|[12]\d|0?[1-9])"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
DATE = (
    rf"(?:\b\d{{4}}-(?:1[0-2]|0?[1-9])-{_NUMBERED}(?!\d)"
    rf"|\b{_NUMBERED}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\b(?:,?\s+\d{{4}}\b)?"
    rf"|\b{_MONTH}\s+{_NUMBERED}(?:st|nd|rd|th)?\b(?![:.]\d)(?:,?\s+\d{{4}}\b(?!:))?)"
)
_NAMED = rf"\b(?:today|yesterday|(?:last\s+)?(?:{'|'.join(WEEKDAYS)}))\b"
_UTC = r"(?:\s*(?:z|utc|gmt)\b)?"
_OFFSET = r"(?:\s*(?:z|utc|gmt)\b|\s?[+-][01]\d:?[0-5]\d\b)?"
POINT = (
    rf"(?:(?:{DATE}|{_NAMED})(?:t|,?\s+(?:at\s+)?){_CLOCK}{_OFFSET}"
    rf"|{_CLOCK}{_UTC}(?:,?\s+(?:on\s+)?(?:the\s+)?(?:{DATE}|{_NAMED}))?|{DATE})"
)
"""A regular expression without groups of its own, so that a pattern may hold it twice."""

_FIND_CLOCK, _FIND_DATE, _FIND_NAMED = (re.compile(pattern) for pattern in (_CLOCK, DATE, _NAMED))
_FIND_OFFSET = re.compile(r"([+-])([01]\d):?([0-5]\d)$")


@dataclass(frozen=True, slots=True)
class Point:
    """A moment (Unix seconds); "at" it means from `before` seconds earlier to `after` seconds later.

    `dated` tells that the text names its day, `exact` that it names a day or seconds, so that it is surely a time.
    """

    moment: float
    before: float
    after: float
    dated: bool
    exact: bool

    @property
    def whole_day(self) -> bool:
        """Whether it names a day alone."""
        return self.after == DAY_S

    @property
    def span(self) -> tuple[float, float]:
        """From when until when "at" it is."""
        return self.moment - self.before, self.moment + self.after


def read_point(text: str, *, ask_time: float, midnight: float | None = None) -> Point:
    """The point that a match of POINT names; `midnight` is the day it lies on when it names none itself.

    Without any day it is the latest such time before the question. InvalidInput for a date that no calendar has.
    """
    clock, date, named = (pattern.search(text) for pattern in (_FIND_CLOCK, _FIND_DATE, _FIND_NAMED))
    if date is not None:
        midnight = midnight_of(date[0], ask_time)
    elif named is not None:
        midnight = _midnight_named(named[0], ask_time)
    dated = date is not None or named is not None
    if clock is None:
        assert midnight is not None, "a point holds a clock time or a day"
        return Point(midnight, 0.0, DAY_S, dated=True, exact=True)
    seconds, before, after = _of_day(clock[0])
    exact = dated or after == 0.5
    if midnight is None:
        moment = ask_time - ask_time % DAY_S + seconds
        moment -= DAY_S if moment > ask_time + _AHEAD_S else 0.0
    else:
        moment = midnight + seconds - _offset(text)
    return Point(moment, before, after, dated=dated, exact=exact)


def midnight_of(date: str, ask_time: float) -> float:
    """The start of a written date; one without a year is the latest before the question. InvalidInput if none is."""
    asked = datetime.fromtimestamp(ask_time, UTC)
    if re.match(r"\d{4}-", date):
        year, month, day = (int(part) for part in date.split("-"))
    else:
        found = re.search(_MONTH, date)
        assert found is not None, "a date without dashes holds a month's name"
        month = _MONTHS.index(found[0][:3]) + 1
        numbers = [int(number) for number in re.findall(r"\d+", date)]
        day, year = numbers[0], numbers[1] if len(numbers) > 1 else asked.year
        if len(numbers) == 1 and (month, day) > (asked.month, asked.day):
            year -= 1
    try:
        return datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError as error:
        raise InvalidInput(f"No calendar has the day {date!r}; correct it.", field="text") from error


def midnight_before(ask_time: float, weekday: str) -> float:
    """The latest such weekday's start, today's included."""
    back = (datetime.fromtimestamp(ask_time, UTC).weekday() - WEEKDAYS.index(weekday)) % 7
    return ask_time - ask_time % DAY_S - back * DAY_S


def _of_day(clock: str) -> tuple[float, float, float]:
    """Seconds after midnight, and how far "at" reaches before and after, in seconds."""
    named = {"noon": 12 * 3600.0, "midnight": 0.0}.get(clock)
    if named is not None:
        return named, 60.0, 60.0
    parts = re.findall(r"\d+", clock)
    hour = int(parts[0])
    minute = int(parts[1]) if len(parts) > 1 else 0
    second = float(".".join(parts[2:4])) if len(parts) > 2 else 0.0
    if clock.endswith("pm") and hour < 12:
        hour += 12
    if clock.endswith("am") and hour == 12:
        hour = 0
    # A second is that second, a minute that minute; an hour alone is said by those who do not mean it exactly.
    before, after = {1: (60.0, 60.0), 2: (0.0, 60.0)}.get(len(parts), (0.5, 0.5))
    return hour * 3600 + minute * 60 + second, before, after


def _midnight_named(name: str, ask_time: float) -> float:
    today = ask_time - ask_time % DAY_S
    if name == "today":
        return today
    return today - DAY_S if name == "yesterday" else midnight_before(ask_time, name.split()[-1])


def _offset(text: str) -> float:
    """Seconds that a written offset is ahead of UTC."""
    found = _FIND_OFFSET.search(text)
    if found is None:
        return 0.0
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3])).total_seconds()
    return ahead if found[1] == "+" else -ahead
