"""8 understand: from a question's text to its task, subject, labels and time.

In: a question, and the fleet's names. Out: a `Reading`: the `Understanding` that travels, with what the words ask for
that no detector can see. Rules over English; another language is refused, never guessed.
It knows no policy and no placement; `place` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from foveate.errors import InvalidInput, NotFound
from foveate.messages import Pick, Question, Scope, Side, Task, Understanding
from router.document import refuse_broken_schema
from router.mentions import mentions
from router.quoted import quoted
from router.scope import FleetView
from router.sides import Clues, Compared, compared
from router.sought import sought
from router.subject import Subject, subject_of
from router.tasks import extreme_of, task_of, without_peak
from router.timespan import Span, Timespan, timespan
from router.words import normalised, refuse_other_languages, words_of

MEMORY_S = 30 * 86_400.0
"""How far back a question looks that names no time."""
LIVE_S = 5.0
"""How far back "now" reaches, since events arrive a moment after what they tell of."""
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 to 2100, which the wire accepts

_PAST = re.compile(
    r"\b(?:was|were|did|had|been|ever|seen|saw|passed|appeared|came|arrived|entered|visited|walked|crossed|drove|went"
    r"|happened|showed|moved|spotted|detected|recorded|stood|stayed|waited|sat|ran|rode|fell|said|heard)\b"
    r"|^(?:has|have)\b"
)
_IN_VIEW = re.compile(r"\bin (?:view|sight|the (?:frame|picture|image|scene)|frame)\b")
_FIRST = re.compile(r"\b(?:first|earliest|begin|began|initially|start(?:ed)?)\b")
_LAST = re.compile(
    r"\b(?:how long ago|last|latest|most recent(?:ly)?|leave|disappear\w*|depart\w*|vanish\w*|go away|went away)\b"
)
_SHOWN = re.compile(r"^\s*(?:please )?(?:can you |could you )?show\b|\bpictures? of\b|\bi want to see\b|\blet me see\b")
_NEGATED = re.compile(
    r"\bnobody\b|\bnone\b|\b(?:is|are|was|were) (?:\w+ ){0,3}empty\b"
    r"|\b(?:is|are|was|were|has|have) (?:there |been |seen )*no "
    r"|\bnot (?:there|here|in view|visible|present)\s*$"
)
# An empty shop is one without people.
_EMPTY = re.compile(r"\b(?:is|are|was|were) (?:\w+ ){0,3}empty\b")
_STANDS = re.compile(r"stands?|stood|standing")
_EVERY = re.compile(r"\b(?:all|every|each|both)\b(?! (?:day|week|of (?:today|yesterday)))")
# So is a zone that nobody entered.
_ENTERED = re.compile(r"\b(?:entered|left|crossed|visited|occupied|in use)\b")
_FINDS = re.compile(r"\b(?:find|locate|search|look for|when|list)\b")
_LIVE_TASKS = {Task.PRESENCE, Task.COUNT, Task.DESCRIBE, Task.READ}
_PICKED = {Task.FIND, Task.READ, Task.LISTEN}
_THERE = re.compile(r"^(?:are|is) there\b")
_SEEN_BY_DETECTOR = {Task.PRESENCE, Task.COUNT, Task.FIND}


@dataclass(frozen=True, slots=True)
class Reading:
    """A question as understood: what travels, the devices its text names, and what no detector can check.

    `unseen` holds the words that narrow the subject beyond what a detector sees ("red"); `wider` the words that were
    taken for something wider ("officer"); `negated` tells that the question asks whether the subject is absent, and
    `shown` that the asker wants to see it.
    """

    understanding: Understanding
    device_ids: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()
    negated: bool = False
    shown: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    """The text taken apart: cameras, zones, words and times, each out of what the ones before left.

    `plain` is all of it but zones and words, `named` that without cameras, `when.rest` that without times.
    """

    plain: str
    zones: tuple[str, ...]
    words: tuple[str, ...]
    unseen: tuple[str, ...]
    device_ids: tuple[str, ...]
    when: Timespan
    window: Span | None

    @property
    def rest(self) -> str:
        """What is left once cameras, zones, times and words are taken out."""
        return self.when.rest


def understand(question: Question, view: FleetView) -> Reading:
    """Reads the question.

    InvalidInput when it is not English or sets a schema that is none, NotFound when it names an unknown camera.
    """
    refuse_broken_schema(question.constraints.answer_schema)
    text = _taken_apart(question, view)
    set_task, guessed = task_of(text.rest, words=bool(text.words))
    task = Task.EXTRACT if question.constraints.answer_schema else set_task
    subject = _subject(text, task)
    start, end, now = _span(question.scope, text.when, task=task, ask_time=question.ask_time)
    understanding = Understanding(
        task=task,
        subject=subject.phrase,
        labels=subject.labels,
        start=start,
        end=end,
        now=now,
        pick=_pick(text.rest) if task in _PICKED else Pick.ANY,
        reason="",
        colours=subject.colours,
        zones=text.zones,
        words=text.words,
    )
    reading = Reading(
        understanding=understanding,
        device_ids=text.device_ids,
        unseen=_unseen(text, subject, task),
        wider=subject.wider if _checked(subject, task) else (),
        negated=task is Task.PRESENCE and _NEGATED.search(text.rest) is not None,
        shown=_SHOWN.search(text.plain) is not None,
    )
    if task is Task.COMPARE:
        reading = _with_sides(reading, compared(text.plain, Clues(view, question.ask_time, (start, end), text.window)))
    return _explained(reading, subject=subject, guessed=guessed and task is set_task, note=text.when.note)


def _taken_apart(question: Question, view: FleetView) -> _Text:
    named = quoted(question.text, names=_names(view))
    plain = normalised(named.rest)
    cameras = mentions(plain, view)
    window = _window(question.scope, question.ask_time)
    if task_of(cameras.rest, words=False)[0] is Task.COMPARE:
        # Which of several times is whose only the sides can tell.
        when = _times_out(cameras.rest, question.ask_time)
    else:
        when = timespan(cameras.rest, ask_time=question.ask_time, window=window)
    refuse_other_languages(words_of(normalised(named.unquoted)))
    _refuse_unknown_camera(words_of(when.rest), view)
    looked_for = sought(when.rest)
    words = tuple(dict.fromkeys((*named.words, *looked_for.words)))
    when = replace(when, rest=looked_for.rest)
    return _Text(plain, named.zones, words, named.unseen, cameras.device_ids, when, window)


def _names(view: FleetView) -> frozenset[str]:
    """What a question may call a camera by, lower case."""
    named = (name for d in view.devices for name in (d.device_id, d.site_id, d.region, *d.labels))
    return frozenset(name.lower() for name in named)


def _times_out(text: str, ask_time: float) -> Timespan:
    """The first time that a comparison names, and the text without any."""
    whole = (ask_time - MEMORY_S, ask_time)
    first = found = timespan(text, ask_time=ask_time, window=whole)
    while found.span is not None:
        found = timespan(found.rest, ask_time=ask_time, window=whole)
    return replace(first, span=None, now=first.now or found.now, rest=found.rest)


def _window(scope: Scope, ask_time: float) -> Span | None:
    """The span that the asker set, None when nothing is set that begins."""
    return None if scope.start is None else (scope.start, ask_time if scope.end is None else scope.end)


def _subject(text: _Text, task: Task) -> Subject:
    subject = subject_of(words_of(text.rest), count=task not in (Task.PRESENCE, Task.FIND))
    entered = text.zones and _ENTERED.search(text.rest) and not _ENTERED.sub("", subject.phrase).strip()
    if not subject.labels and (entered or _EMPTY.search(text.rest)):
        places = (subject.phrase,) if subject.phrase else ()
        subject = replace(subject, phrase="person", labels=("person",), places=places)
    return subject


def _checked(subject: Subject, task: Task) -> bool:
    return task in _SEEN_BY_DETECTOR and bool(subject.labels)


def _unseen(text: _Text, subject: Subject, task: Task) -> tuple[str, ...]:
    """What the words ask for beyond what a detector sees, where a detector decides."""
    if task not in _SEEN_BY_DETECTOR:
        return ()
    unseen = subject.unseen if subject.labels else ()
    if text.zones:  # who is in a zone stands there, as far as anybody says so
        unseen = tuple(words for words in unseen if not _STANDS.fullmatch(words))
    if subject.colours and (every := _EVERY.search(text.rest)):
        unseen = (*unseen, every[0])
    extreme = extreme_of(text.rest, task)
    if task is Task.COUNT:
        unseen = tuple(filter(None, (without_peak(words) for words in unseen if words not in extreme.split())))
    return (*unseen, *text.unseen, *text.words, *((extreme,) if extreme else ()))


def _with_sides(reading: Reading, found: Compared) -> Reading:
    """The reading with the sides of its comparison: all their names, and a span that holds both."""
    if not found.sides:
        return reading
    u = reading.understanding
    sides = tuple(replace(side, start=_bounded(side.start), end=_bounded(side.end)) for side in found.sides)
    labels = tuple(dict.fromkeys(label for side in sides for label in side.labels))
    start, end = min(side.start for side in sides), max(side.end for side in sides)
    u = replace(u, sides=sides, labels=labels, start=start, end=end, now=u.now and start == u.start, colours=())
    return replace(reading, understanding=u, unseen=found.unseen, wider=found.wider)


def _pick(text: str) -> Pick:
    if _FIRST.search(text):
        return Pick.FIRST
    if _LAST.search(text) or re.search(r"^where (?:is|are)\b", text):
        return Pick.LAST
    return Pick.ANY


def _span(scope: Scope, when: Timespan, *, task: Task, ask_time: float) -> tuple[float, float, bool]:
    """From when, until when, and whether that is now; what the asker set wins over the text."""
    start, end = when.span or (ask_time - MEMORY_S, ask_time)
    live = when.now or (task in _LIVE_TASKS and not _PAST.search(when.rest) and not _FINDS.search(when.rest))
    live = live or (task in _SEEN_BY_DETECTOR - {Task.FIND} and _is_in_view_now(when.rest))
    live = live or (task is Task.COMPARE and _THERE.search(when.rest.strip()) is not None)
    now = when.span is None and scope.start is None and scope.end is None and live
    if now:
        return ask_time - LIVE_S, ask_time, True
    if when.inside:
        return _bounded(start), _bounded(end), False
    start = start if scope.start is None else scope.start
    end = end if scope.end is None else scope.end
    start, end = _bounded(start), _bounded(end)
    if start > end:
        raise InvalidInput("The scope ends before the time that the question names; drop one of the two.")
    return start, end, False


def _bounded(moment: float) -> float:
    return min(_LATEST, max(_EARLIEST, moment))


def _is_in_view_now(text: str) -> bool:
    return _IN_VIEW.search(text) is not None and not _PAST.search(text)


def _refuse_unknown_camera(words: list[str], view: FleetView) -> None:
    for word in words:
        if re.fullmatch(r"[a-z]+(?:-[a-z]+)*-\d+", word):
            known = sorted({d.device_id for d in view.devices} | {s.site_id for s in view.sites})
            raise NotFound(
                f"There is no device or site {word!r}; known are: {', '.join(known) or 'none yet'}.", name=word
            )


def _side(side: Side) -> str:
    where = f" on {', '.join(side.device_ids)}" if side.device_ids else ""
    return f"{side.subject or 'what is there'}{where} {_clocks(side.start, side.end)}"


def _when(u: Understanding) -> str:
    if u.end - u.start >= MEMORY_S:
        return "over all that is remembered"
    return _clocks(u.start, u.end)


def _clocks(start: float, end: float) -> str:
    """A span as people read it: to the second, with its day."""
    first, last = (datetime.fromtimestamp(moment, UTC) for moment in (start, end))
    same = first.date() == last.date()
    return f"from {first:%Y-%m-%d %H:%M:%S} to {last:{'%H:%M:%S' if same else '%Y-%m-%d %H:%M:%S'}} UTC"


def _explained(reading: Reading, *, subject: Subject, guessed: bool, note: str) -> Reading:
    """The reading with its reason in words."""
    u = reading.understanding
    said = [f"a {u.task} question" if not guessed else f"read as a {u.task} question, which is a guess"]
    if u.labels:
        said.append(f"about {', '.join(u.labels)}")
    elif u.subject:
        said.append(f"about {u.subject!r}, which the detector has no name for")
    said.extend(f"that is {colour}" for colour in u.colours)
    said.extend(f"in the zone {zone!r}" for zone in u.zones)
    said.extend(f"looking for the words {words!r}" for words in u.words)
    if u.sides:
        said.append(f"comparing {' with '.join(_side(side) for side in u.sides)}")
    said.append("now" if u.now else _when(u))
    said.extend(f"the detector cannot check {words!r}" for words in reading.unseen)
    said.extend(f"the detector does not tell {words!r} from any other {', '.join(u.labels)}" for words in reading.wider)
    said.extend(f"took {words!r} for what the camera sees" for words in subject.places)
    if reading.negated:
        said.append("asked for its absence")
    if reading.shown:
        said.append("wants to be shown it")
    if reading.device_ids:
        said.append(f"asked of {', '.join(reading.device_ids)}")
    if note:
        said.append(note)
    return replace(reading, understanding=replace(u, reason="; ".join(said)))
