"""The two things that a question compares: "more cars than people", "on cam-1 than on cam-2", "today than yesterday".

In: lower-case text, the fleet's names, when it was asked and the span that holds for both. Out: two `Side`s, or none
when the text does not tell them apart, and the words that narrow them beyond what a detector sees.
What one side leaves out it shares with the other. It knows no task; `understand` is next.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from foveate.errors import InvalidInput
from foveate.messages import Side
from router.clock import DAY_S
from router.mentions import mentions
from router.scope import FleetView
from router.subject import subject_of
from router.timespan import Span, first_of, length_of, timespan
from router.words import words_of

_MOST = 8
"""Ways to split a text that are tried."""
_THAN = re.compile(r"\bthan\b|(?<=\w)\s+as (?!many|few|much)")
_AND = re.compile(r"\b(?:and|with|to|versus|vs|or|from)\b|,")
_LAST = re.compile(
    r"(?:\b(?:in|during|within|over|of)\s+)?\bthe (?:last|final|closing)\b(?:\s+(?:second|minute|hour|day)s?\b)?"
)


@dataclass(frozen=True, slots=True)
class Clues:
    """What holds for both sides unless they say else: when it was asked, from when until when, and what is set.

    `window` is what "the first minute" counts from, None when the asker set nothing.
    """

    view: FleetView
    ask_time: float
    span: Span
    window: Span | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two sides or none, the words about them that no detector checks, and what they were taken for more widely."""

    sides: tuple[Side, ...] = ()
    unseen: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Half:
    """What one half of the text says; empty and None for what it leaves out."""

    subject: str
    labels: tuple[str, ...]
    devices: tuple[str, ...]
    span: Span | None
    unseen: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()


def compared(text: str, clues: Clues) -> Compared:
    """The two sides; InvalidInput for "the first minute" of nothing."""
    than = _THAN.search(text) is not None
    by_time: Compared | None = None
    for first, second in _halves(text, _THAN if than else _AND):
        read = _halves_in_time(first, second, clues)
        pair = _told_apart(*read, clues=clues, alone=than) if read is not None else None
        if pair is None or read is None:
            continue
        unseen = tuple(dict.fromkeys((*read[0].unseen, *read[1].unseen)))
        found = Compared(pair, unseen, tuple(dict.fromkeys((*read[0].wider, *read[1].wider))))
        if pair[0].labels != pair[1].labels or pair[0].device_ids != pair[1].device_ids:
            return found
        by_time = by_time or found
    return by_time or Compared()


def _halves(text: str, word: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """The ways to split the text in two, in order; a text that offers more than _MOST is no sentence."""
    for match in itertools.islice(word.finditer(text), _MOST):
        yield text[: match.start()], text[match.end() :]


def _halves_in_time(first: str, second: str, clues: Clues) -> tuple[_Half, _Half] | None:
    """Both halves read; "the first minute" and "the last" are counted from what both lie in."""
    opening = first_of(first) or first_of(second)
    if opening is None:
        return _half(first, clues, None), _half(second, clues, None)
    start, end = _outer(first, second, clues)
    length = min(length_of(opening), end - start)
    spans = []
    halves = []
    for half in (first, second):
        own, last = first_of(half), _LAST.search(half)
        if own is None and last is None:
            return None
        spans.append((start, start + length) if own is not None else (end - length, end))
        match = own or last
        assert match is not None, "one of both was found"
        bare = f"{half[: match.start()]} {half[match.end() :]}"
        halves.append(timespan(bare, ask_time=clues.ask_time).rest)
    return _half(halves[0], clues, spans[0]), _half(halves[1], clues, spans[1])


def _outer(first: str, second: str, clues: Clues) -> Span:
    """The span that holds the first and the last minute."""
    for half in (first, second):
        opening = first_of(half) or _LAST.search(half)
        bare = f"{half[: opening.start()]} {half[opening.end() :]}" if opening is not None else half
        found = timespan(bare, ask_time=clues.ask_time).span
        if found is not None:
            return found
    if clues.window is None:
        raise InvalidInput("Of what are these the first and the last? Add a time, such as 'between 12:00 and 12:05'.")
    return clues.window


def _half(text: str, clues: Clues, span: Span | None) -> _Half:
    named = mentions(text, clues.view)
    when = timespan(named.rest, ask_time=clues.ask_time)
    now = (clues.span if clues.span[1] == clues.ask_time else None) if when.now else None
    subject = subject_of(words_of(when.rest), count=True)
    labelled = bool(subject.labels)
    colours = tuple(f"the colour {colour}" for colour in subject.colours)
    return _Half(
        subject=subject.phrase if labelled else "",
        labels=subject.labels,
        devices=named.device_ids,
        span=span or when.span or now,
        unseen=(*colours, *subject.unseen) if labelled else (),
        wider=subject.wider if labelled else (),
    )


def _told_apart(first: _Half, second: _Half, *, clues: Clues, alone: bool) -> tuple[Side, Side] | None:
    """The two sides, None unless they differ in their subject, their cameras or their time.

    `alone` tells that a side may name no time where the other does: "than yesterday".
    """
    one = first if first.labels else second
    other = second if second.labels else first
    by_subject = bool(first.labels and second.labels and first.labels != second.labels)
    by_camera = bool(first.devices and second.devices and first.devices != second.devices)
    spans = _spans(first, second, alone=not (by_subject or by_camera), clues=clues)
    by_time = spans[0] != spans[1] and (alone or (first.span is not None and second.span is not None))
    if not (by_subject or by_camera or by_time):
        return None
    devices = (first.devices or second.devices, second.devices or first.devices)
    return (
        Side(one.subject, one.labels, devices[0], *_clipped(spans[0], clues)),
        Side(other.subject, other.labels, devices[1], *_clipped(spans[1], clues)),
    )


def _spans(first: _Half, second: _Half, *, alone: bool, clues: Clues) -> tuple[Span, Span]:
    """The time of each; one that names none alone has as long a time just before the question."""
    if first.span is None and second.span is None:
        return clues.span, clues.span
    if first.span is not None and second.span is not None:
        return first.span, second.span
    named = first.span or second.span
    assert named is not None, "one of both names a time"
    if not alone:
        return named, named
    length = named[1] - named[0]
    midnight = clues.ask_time - clues.ask_time % DAY_S
    recent = (midnight if length >= DAY_S else clues.ask_time - length, clues.ask_time)
    return (named, recent) if first.span is not None else (recent, named)


def _clipped(span: Span, clues: Clues) -> Span:
    """The span within what the asker set."""
    if clues.window is None:
        return span
    start, end = max(span[0], clues.window[0]), min(span[1], clues.window[1])
    if start > end:
        raise InvalidInput(
            "The scope leaves out a time that the question compares; drop one of the two.", field="scope"
        )
    return start, end
