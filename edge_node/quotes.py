"""Answers that quote: what was read or heard, whether certain words were, and when. Pure.

In: a placed question and `Quote`s, each with its evidence. Out: an `Answer` that quotes them. What was recognised is
data of strangers: it is cleaned, cut, put in quotes and compared with words, and nothing else is ever done with it.
Next: `reading.py` and `listening.py`, which recognise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from edge_node.read import cleaned
from foveate.facts import between, cannot_tell, clock
from foveate.messages import Answer, AnswerRequest, Evidence, Outcome, Pick, Task
from foveate.recall import joined

CEILING = 0.85
"""Most that one recogniser can prove: its scores are its own, and were not calibrated on a site's footage."""

MISSED = 0.55
"""Of words that were not recognised: small, slanted or mumbled ones are missed about as often as not."""

MOST = 8
"""Quotes of one answer."""

PARTS = " / "
"""Between quotes where a value holds several."""

_LONG = 4  # letters from which words are found inside of others: recognisers lose spaces
_ALIKE = str.maketrans("i10", "llo")
_WHEN = re.compile(r"^\W*(?:when|where|at (?:what|which) time|what time|which (?:camera|device)|find|show|locate)\b")
_WHETHER = re.compile(
    r"^\W*(?:is|are|was|were|did|do|does|has|have|had|any|anyone|anybody|someone|somebody|nobody)\b"
    r"|^\W*(?:can|could) (?!you\b)"
)
_WHAT = re.compile(r"\b(?:what|which|whose|read (?:me|out|the|aloud)|transcri\w+)\b")


class Asked(StrEnum):
    """What kind of value a question about words wants."""

    WORDS = "words"
    WHETHER = "whether"
    WHEN = "when"


@dataclass(frozen=True, slots=True)
class Quote:
    """Something recognised, cleaned; `sure` is 0 to 1, `evidence` carries it as its quote."""

    text: str
    sure: float
    evidence: Evidence


def quote(text: str, sure: float, evidence: Evidence) -> Quote:
    """A quote of what was recognised, made harmless to show."""
    said = cleaned(text)
    return Quote(said, min(CEILING, max(0.0, sure)), replace(evidence, quote=said))


def asked(request: AnswerRequest) -> Asked:
    """Words, yes or no, or a moment."""
    text = request.question.text.casefold()
    if _WHEN.search(text):
        return Asked.WHEN
    if _WHETHER.search(text) or (request.understanding.words and not _WHAT.search(text)):
        return Asked.WHETHER
    return Asked.WORDS


def matching(quotes: Sequence[Quote], words: Sequence[str]) -> list[Quote]:
    """Those with at least one of the phrases in them, in any case and writing of spaces; all without phrases."""
    return [one for one in quotes if not words or any(_has(one.text, phrase) for phrase in words)]


def merged(quotes: Sequence[Quote]) -> list[Quote]:
    """The same words of one camera once, as the surest time; said twice they are surer. Best first."""
    groups: dict[tuple[str, str], list[Quote]] = {}
    for one in quotes:
        groups.setdefault((one.evidence.device_id, _signs(one.text)), []).append(one)
    best = []
    for (_, signs), group in groups.items():
        if not signs:
            continue
        top = max(group, key=lambda one: (one.sure, bool(one.evidence.picture)))
        again = 0.25 * (1.0 - top.sure) if len(group) > 1 else 0.0
        best.append(replace(top, sure=min(CEILING, top.sure + again)))
    return sorted(best, key=lambda one: -one.sure)


def answer_of(request: AnswerRequest, found: Sequence[Quote], *, verb: str, looked: bool, reason: str) -> Answer:
    """The answer from all that was recognised; `verb` is "read" or "heard", `looked` whether anything was tried."""
    wanted, kind = request.understanding, asked(request)
    hits = matching(found, wanted.words)
    # The first time is not always the surest one, so that each is kept for a question about the first or last.
    hits = hits if kind is Asked.WHEN and wanted.pick is not Pick.ANY else merged(hits)
    phrases = " or ".join(f'"{cleaned(word)}"' for word in wanted.words)
    if hits:
        return _told(request, _ordered(hits, wanted.pick, kind), kind, verb, reason)
    what = f"{phrases} was not {verb}" if phrases else f"nothing was {verb}"
    when = "lately" if wanted.now else between(wanted.start, wanted.end)
    if kind is not Asked.WHETHER or not looked:
        return cannot_tell(request, joined(f"{what} {when}", reason), evidence=_pieces(found))
    text = f"No: {what} {when}."
    return _said(request, text, False, MISSED, found[:MOST], joined(reason, "what is small or faint may be missed"))


def _told(request: AnswerRequest, hits: Sequence[Quote], kind: Asked, verb: str, reason: str) -> Answer:
    first = hits[0]
    lines = "; ".join(f'{one.evidence.device_id} at {clock(one.evidence.start)}: "{one.text}"' for one in hits[:MOST])
    if kind is Asked.WHEN:
        text = f'{verb.capitalize()} by {first.evidence.device_id} at {clock(first.evidence.start)}: "{first.text}".'
        return _said(request, text, first.evidence.start, first.sure, hits[:1], reason)
    if kind is Asked.WHETHER:
        return _said(request, f"Yes: {verb} by {lines}.", True, max(one.sure for one in hits), hits, reason)
    value = PARTS.join(one.text for one in hits[:MOST])
    # Every word has to be right: as sure as the least sure of what is told.
    return _said(request, f"{verb.capitalize()} by {lines}.", value, min(one.sure for one in hits[:MOST]), hits, reason)


def _ordered(hits: Sequence[Quote], pick: Pick, kind: Asked) -> list[Quote]:
    """The asked one first; what was read or said is told in the order of time, and of the lines of a picture."""
    if pick is Pick.LAST:
        return sorted(hits, key=lambda one: -one.evidence.start)[: None if kind is not Asked.WORDS else 1]
    if pick is Pick.FIRST:
        return sorted(hits, key=lambda one: one.evidence.start)[: None if kind is not Asked.WORDS else 1]
    chosen = list(hits[:MOST])
    return chosen if kind is Asked.WHEN else sorted(chosen, key=_place)


def _place(one: Quote) -> tuple[str, float, float]:
    boxes = one.evidence.sightings
    return one.evidence.device_id, one.evidence.start, boxes[0].box.top if boxes else 0.0


def _said(
    request: AnswerRequest,
    text: str,
    value: bool | float | str,
    sure: float,
    quotes: Sequence[Quote],
    reason: str,
) -> Answer:
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=text,
        confidence=sure * _coverage(request, quotes, value),
        value=value,
        evidence=_pieces(quotes),
        placement=request.placement,
        reason=reason,
    )


def _coverage(request: AnswerRequest, quotes: Sequence[Quote], value: bool | float | str) -> float:
    """A device out of sight cannot undo what was recognised, but what is missing, or came first, it may have."""
    exact = value is True or (isinstance(value, float) and request.understanding.pick is Pick.ANY)
    if exact or (quotes and request.understanding.task in (Task.READ, Task.LISTEN) and isinstance(value, str)):
        return 1.0
    return min(1.0, len(request.device_ids) / max(1, request.devices_in_scope))


def _pieces(quotes: Sequence[Quote]) -> tuple[Evidence, ...]:
    return tuple(one.evidence for one in quotes[:MOST])


def _has(text: str, phrase: str) -> bool:
    words, sought = _words(text), _words(phrase)
    if not sought:
        return False
    runs = (words[index : index + len(sought)] for index in range(len(words) - len(sought) + 1))
    if any(run == sought for run in runs):
        return True
    return len("".join(sought)) >= _LONG and _folded("".join(sought)) in _folded("".join(words))


def _folded(signs: str) -> str:
    """Letters that recognisers take for one another as one: "lgnore" is read for "Ignore", "c0de" for "code"."""
    return signs.translate(_ALIKE)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())


def _signs(text: str) -> str:
    return "".join(_words(text))
