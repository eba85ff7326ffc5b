"""8 understand: from a question's text to its task, subject, labels and time.

In: a question, and the fleet's names. Out: a `Reading`: the `Understanding` that travels, with what the words ask for
that no detector can see. Rules over English; another language is refused, never guessed.
It knows no policy and no placement; `place` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from foveate.errors import InvalidInput, NotFound
from foveate.messages import Pick, Question, Scope, Task, Understanding
from router.mentions import mentions
from router.scope import FleetView
from router.subject import Subject, subject_of
from router.timespan import Timespan, timespan
from router.words import normalised, refuse_other_languages, words_of

MEMORY_S = 30 * 86_400.0
"""How far back a question looks that names no time."""
LIVE_S = 5.0
"""How far back "now" reaches, since events arrive a moment after what they tell of."""
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 to 2100, which the wire accepts

_WRITING = r"(?:sign|label|screen|board|plate|text|note|page|paper|poster|banner|badge|display|document|letter)"
# In order: the first that matches decides.
_TASKS: tuple[tuple[Task, re.Pattern[str]], ...] = (
    (
        Task.COMPARE,
        re.compile(r"\bcompar|\bdiffer|\b(?:more|fewer|less) \w+ .*\bthan\b(?! (?:one|two|\d))|\bsame .+ as\b"),
    ),
    (
        Task.SUMMARISE,
        re.compile(r"\bsummar|\bsum up\b|\brecap\b|\bwhat (?:has )?happen|\boverview\b|\breport on\b"),
    ),
    (Task.EXTRACT, re.compile(r"\bextract\b|\bfill (?:in|out)\b|\bas (?:json|csv|a table)\b|\bschema\b")),
    (
        Task.READ,
        re.compile(
            r"\bread\b|\bwritten\b|\btext on\b|\b(?:licen[cs]e|number) plate|\bplate number"
            rf"|\b{_WRITING}s? (?:say|read)"
        ),
    ),
    (
        Task.LISTEN,
        re.compile(
            r"\b(?:said|say|says|saying|hear|heard|sounds?|spoke|spoken|speaking|listen|transcri\w+|noises?"
            r"|gunshots?|shout\w*|scream\w*|talk(?:ed|ing)? about)\b"
        ),
    ),
    (Task.COUNT, re.compile(r"\bhow many\b|\b(?:the )?number of\b|\bcount\b|\bhow much people\b")),
    (
        Task.DESCRIBE,
        re.compile(
            r"\bwhat colou?r|\bcolou?r of\b|\bwhat (?:kind|type|sort|brand|model)\b|\bdescribe\b|\bmood\b"
            r"|\bhow long\b(?! ago)|\bwhy\b|\bwhat (?:is|are|was|were) (?!the time)|\bwhat (?:does|do|did|can)\b"
            r"|\bhow (?:does|do|did)\b|\bwho (?:is|are|was|were)\b|\bwhose\b|\blooks? like\b"
        ),
    ),
    (
        Task.FIND,
        re.compile(
            r"\bwhen\b|\bwhat time\b|\bat which time\b|\bwhere\b|\bshow (?:me|us|all|every|each|the)\b|^\s*show\b"
            r"|\bfind\b|\blocate\b|\bsearch\b|\blook for\b|\bhow long ago\b|\bgive me\b|\blist\b"
            r"|^\s*(?:the )?(?:first|last|latest|earliest|most recent)\b"
            r"|\bwhich (?:camera|device|site)s?\b"
        ),
    ),
    (
        Task.PRESENCE,
        re.compile(
            r"\b(?:is|are|was|were|did|do|does|has|have|had|any|anyone|anybody|someone|somebody|can|could|nobody)\b"
        ),
    ),
)
_PAST = re.compile(
    r"\b(?:was|were|did|had|been|ever|seen|saw|passed|appeared|came|arrived|entered|visited|walked|crossed|drove|went"
    r"|happened|showed|moved|spotted|detected|recorded)\b|^(?:has|have)\b"
)
_IN_VIEW = re.compile(r"\bin (?:view|sight|the (?:frame|picture|image|scene)|frame)\b")
_FIRST = re.compile(r"\b(?:first|earliest|begin|began|initially|start(?:ed)?)\b")
_LAST = re.compile(
    r"\b(?:how long ago|last|latest|most recent(?:ly)?|leave|disappear\w*|depart\w*|vanish\w*|go away|went away)\b"
)
_SHOWN = re.compile(r"^\s*(?:please )?(?:can you |could you )?show\b|\bpictures? of\b|\bi want to see\b|\blet me see\b")
_NEGATED = re.compile(
    r"\bnobody\b|\bnone\b|\bis (?:\w+ ){0,3}empty\b"
    r"|\b(?:is|are|was|were|has|have) (?:there |been |seen )*no "
    r"|\bnot (?:there|here|in view|visible|present)\s*$"
)
# An empty shop is one without people.
_EMPTY = re.compile(r"\bis (?:\w+ ){0,3}empty\b")
_LIVE_TASKS = {Task.PRESENCE, Task.COUNT, Task.DESCRIBE, Task.READ}
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


def understand(question: Question, view: FleetView) -> Reading:
    """Reads the question; InvalidInput when it is not English, NotFound when it names an unknown camera."""
    plain = normalised(question.text)
    named = mentions(plain, view)
    when = timespan(named.rest, ask_time=question.ask_time)
    words = words_of(plain)
    refuse_other_languages(words)
    _refuse_unknown_camera(words_of(when.rest), view)
    task, guessed = _task(when.rest)
    subject = subject_of(words_of(when.rest), count=task not in (Task.PRESENCE, Task.FIND))
    if not subject.labels and _EMPTY.search(when.rest):
        places = (subject.phrase,) if subject.phrase else ()
        subject = replace(subject, phrase="person", labels=("person",), places=places)
    checked = task in _SEEN_BY_DETECTOR and bool(subject.labels)
    start, end, now = _span(question.scope, when, task=task, ask_time=question.ask_time)
    reading = Reading(
        understanding=Understanding(
            task=task,
            subject=subject.phrase,
            labels=subject.labels,
            start=start,
            end=end,
            now=now,
            pick=_pick(when.rest) if task is Task.FIND else Pick.ANY,
            reason="",
        ),
        device_ids=named.device_ids,
        unseen=subject.unseen if checked else (),
        wider=subject.wider if checked else (),
        negated=task is Task.PRESENCE and _NEGATED.search(when.rest) is not None,
        shown=_SHOWN.search(plain) is not None,
    )
    return _explained(reading, subject=subject, guessed=guessed, note=when.note)


def _task(text: str) -> tuple[Task, bool]:
    """The task, and whether it was only guessed."""
    for task, pattern in _TASKS:
        if pattern.search(text):
            return task, False
    return Task.PRESENCE, True


def _pick(text: str) -> Pick:
    if _FIRST.search(text):
        return Pick.FIRST
    if _LAST.search(text) or re.search(r"^where (?:is|are)\b", text):
        return Pick.LAST
    return Pick.ANY


def _span(scope: Scope, when: Timespan, *, task: Task, ask_time: float) -> tuple[float, float, bool]:
    """From when, until when, and whether that is now; what the asker set wins over the text."""
    start, end = when.span or (ask_time - MEMORY_S, ask_time)
    live = when.now or (task in _LIVE_TASKS and not _PAST.search(when.rest))
    live = live or (task in _SEEN_BY_DETECTOR - {Task.FIND} and _is_in_view_now(when.rest))
    now = when.span is None and scope.start is None and scope.end is None and live
    if now:
        return ask_time - LIVE_S, ask_time, True
    start = start if scope.start is None else scope.start
    end = end if scope.end is None else scope.end
    start, end = (min(_LATEST, max(_EARLIEST, moment)) for moment in (start, end))
    if start > end:
        raise InvalidInput("The scope ends before the time that the question names; drop one of the two.")
    return start, end, False


def _is_in_view_now(text: str) -> bool:
    return _IN_VIEW.search(text) is not None and not _PAST.search(text)


def _refuse_unknown_camera(words: list[str], view: FleetView) -> None:
    for word in words:
        if re.fullmatch(r"[a-z]+(?:-[a-z]+)*-\d+", word):
            known = sorted({d.device_id for d in view.devices} | {s.site_id for s in view.sites})
            raise NotFound(
                f"There is no device or site {word!r}; known are: {', '.join(known) or 'none yet'}.", name=word
            )


def _explained(reading: Reading, *, subject: Subject, guessed: bool, note: str) -> Reading:
    """The reading with its reason in words."""
    u = reading.understanding
    said = [f"a {u.task} question" if not guessed else f"read as a {u.task} question, which is a guess"]
    if u.labels:
        said.append(f"about {', '.join(u.labels)}")
    elif u.subject:
        said.append(f"about {u.subject!r}, which the detector has no name for")
    said.append("now" if u.now else "over a span of time")
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
