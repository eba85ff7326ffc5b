"""Takes the quoted words and the zones out of a question's text.

In: text as a person wrote it. Out: the text left, the names of zones, and the other quoted words, which are looked for
in what is written or said. A zone is named with the word zone or area beside it, since no fleet tells its zones here.
What is quoted is data: nothing else is read out of it. It knows no cameras; `understand` is next.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from router.vocabulary import noun_at, word_set
from router.words import FUNCTION

_MARKS = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'"})
_QUOTE = re.compile(r"\"([^\"\n]{1,200})\"|(?<![\w'])'([^'\n]{1,200})'(?![\w'])")
_ZONE = r"(?:zones?|areas?)"
_PREPOSITION = r"(?:in|inside|within|into|at|on|of|from|through|to)"
_APART = re.compile(r"\b(?:outside(?: of)?|near|beside|behind|not (?:in|inside|within))(?:\s+the)?\s*$", re.IGNORECASE)
_LEAD = re.compile(rf"(?:\b{_PREPOSITION}\s+)?(?:\bthe\s+)?$", re.IGNORECASE)
_FOLLOWS = re.compile(rf"^\s*{_ZONE}\b", re.IGNORECASE)
_PRECEDES = re.compile(rf"\b{_ZONE}\s+(?:(?:called|named)\s+)?$", re.IGNORECASE)
_WITHIN = re.compile(r"\b(?:in|inside|within|enter(?:s|ed|ing)?)\s+(?:the\s+)?$", re.IGNORECASE)
_LITERAL = re.compile(
    r"\b(?:say|says|said|saying|read|reads|written|words?|signs?|plates?|labels?|text|letters|phrase|hear|heard|spoken"
    r"|shout\w*|prints?|printed|called|named)\b",
    re.IGNORECASE,
)
_ZONE_WORDS = word_set("zone zones area areas")
_LONGEST = 3
"""Words of a zone's name at most."""
# Words that stand beside "zone" or "area" and name none.
_NAMELESS = FUNCTION | word_set(
    "whole entire same any every each other another own such general surrounding certain one two three which inside "
    "outside into within through near at of enter entered enters entering leave left leaves leaving while before after "
    "or but with without called named else standing walking waiting being been at still ever only more most than"
)
_WORD = re.compile(r"[^\W_]+(?:[-'_][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Quoted:
    """The names of zones and the quoted words, each as it was written, and the text left.

    `unseen` is where something is to stand that is not within a zone: "outside the doorway zone". `unquoted` is the
    text without its quotes alone, which tells its language.
    """

    zones: tuple[str, ...]
    words: tuple[str, ...]
    rest: str
    unquoted: str
    unseen: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """What was taken out so far."""

    zones: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def zone(self, before: str, name: str, after: str) -> str:
        """Takes a zone out that stands between the two texts, with what leads to it; the text that is left."""
        apart = _APART.search(before)
        if apart is not None:
            self.unseen.append(f"{' '.join(apart[0].lower().split())} {name.lower()} zone")
            return f"{before[: apart.start()]} {after}"
        self.zones.append(name)
        return f"{_LEAD.sub('', before)} {after}"


def quoted(text: str, *, names: Collection[str] = ()) -> Quoted:
    """Takes quotes and zones out of the text; a text that is one quote as a whole is the question itself.

    The `names` of cameras and sites (lower case), and of things where nothing is read or heard, just lose their marks.
    """
    plain = " ".join(text.translate(_MARKS).split())
    whole = _QUOTE.fullmatch(plain)
    if whole is not None:
        plain = whole[1] or whole[2]
    found = _Found()
    while (match := _QUOTE.search(plain)) is not None:
        plain = _without_quote(plain, match, found, names)
    rest = _without_zones(plain, found)
    return Quoted(_distinct(found.zones), _distinct(found.words), rest, plain, _distinct(found.unseen))


def _without_quote(text: str, match: re.Match[str], found: _Found, names: Collection[str]) -> str:
    before, inside, after = text[: match.start()], (match[1] or match[2]).strip(), text[match.end() :]
    if inside.lower() in names or (_is_noun(inside) and not _LITERAL.search(f"{before} {after}")):
        return f"{before} {inside} {after}"
    follows, precedes = _FOLLOWS.search(after), _PRECEDES.search(before)
    if precedes:
        return found.zone(before[: precedes.start()], inside, after)
    if follows or _WITHIN.search(before):
        return found.zone(before, inside, after[follows.end() if follows else 0 :])
    found.words.append(inside)
    return f"{before} , {after}"


def _without_zones(text: str, found: _Found) -> str:
    """Takes the zones out that stand in the text without quotes."""
    while True:
        marks = list(_WORD.finditer(text))
        words = [mark[0].lower() for mark in marks]
        spans = (_span(words, index) for index, word in enumerate(words) if word in _ZONE_WORDS)
        span = next((span for span in spans if span is not None), None)
        if span is None:
            return text
        first, last = span
        name = " ".join(mark[0] for mark in marks[first : last + 1] if mark[0].lower() not in _ZONE_WORDS)
        text = found.zone(text[: marks[first].start()], name, text[marks[last].end() :])


def _span(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """The first and last word of a zone's name with the word zone at `index`, None when it has no name."""
    first = index
    while index - first < _LONGEST and first > 0 and _names(words[first - 1]):
        first -= 1
    if first < index:
        return first, index
    after = index + 1
    # "Zone 3" and "zone doorway" name one; "area 3" does too, "area covered by ..." does not.
    if after < len(words) and _names(words[after]) and (words[index] == "zone" or words[after][0].isdigit()):
        return index, after
    return None


def _is_noun(text: str) -> bool:
    words = text.lower().split()
    noun = noun_at(words, 0)
    return noun is not None and noun.length == len(words)


def _names(word: str) -> bool:
    """Whether the word may be part of a zone's name."""
    if word in _NAMELESS or word in _ZONE_WORDS:
        return False
    noun = noun_at([word], 0)
    return noun is None or "person" not in noun.labels


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
