"""Which words a question looks for in what is written or said, beside those that it quotes.

In: lower-case text without its cameras and times. Out: the words, and the text left: "say exit", "the word stop",
"plate AB12 CDE". It knows no task; `understand` is next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.vocabulary import word_set

_LONGEST = 5
"""Words of one phrase at most."""
_WORD = r"[^\W_]+(?:[-'][^\W_]+)*"
_THE_WORD = re.compile(r"\b(?:the |a )?(?:words?|phrase|letters|name|expression)\s+(?=\w)")
_SAID = re.compile(
    r"\b(?:say|says|said|saying|reads|shout(?:s|ed|ing)?|yell(?:s|ed|ing)?|scream(?:s|ed|ing)?|whisper(?:s|ed|ing)?"
    r"|talk(?:s|ed|ing)? about|sp(?:eak|eaks|oke|oken|eaking) (?:about|of))\s+(?=\w)"
)
_PLATE = re.compile(
    r"\b(?:the |a )?(?:(?:number|licen[cs]e|registration)\s+)?(?:plates?|registration)(?:\s+number)?\s+(?=\w)"
)
_ENDS = word_set(
    "in on at to by near from with about before after during between since until while when where who whom whose why "
    "how what which that this these those it its and or but if whether there here is are was were be been being do "
    "does did has have had seen spotted detected visible written spoken said heard read recognised appear appears "
    "appeared appearing show shows shown anywhere somewhere anyone anybody someone somebody anything something nothing "
    "everything much many most any some the a an as for than again ever today yesterday now please first last loud "
    "loudly aloud pass passed enter entered leave left park parked drive drove of"
)


@dataclass(frozen=True, slots=True)
class Sought:
    """The words that are looked for, in order, and the text left; `plate` tells that one is of a number plate."""

    words: tuple[str, ...]
    rest: str
    plate: bool = False


def sought(text: str) -> Sought:
    """The words that the text looks for without quoting them."""
    text, plates = _taken(text, _PLATE, plate=True)
    text, named = _taken(text, _THE_WORD)
    text, said = _taken(text, _SAID)
    words = [plate.upper() for plate in plates] + named + said
    return Sought(tuple(dict.fromkeys(words)), text, plate=bool(plates))


def _taken(text: str, pattern: re.Pattern[str], *, plate: bool = False) -> tuple[str, list[str]]:
    """Takes the phrases away that follow the pattern, and joined by "or" another one; the pattern's words stay."""
    match = pattern.search(text)
    if match is None:
        return text, []
    phrases: list[str] = []
    position = match.end()
    while True:
        phrase, end = _phrase(text, position)
        if not phrase or (plate and not any(letter.isdigit() for letter in phrase)):
            break
        phrases.append(phrase)
        position = end
        joined = re.compile(r"\s*(?:,|\bor\b|, or\b)\s+(?=\w)").match(text, end)
        if joined is None:
            break
        end = position = joined.end()
    return (f"{text[: match.end()]} , {text[position:]}" if phrases else text), phrases


def _phrase(text: str, position: int) -> tuple[str, int]:
    """The words from here to the next one that ends a phrase, and where they end."""
    words: list[str] = []
    end = position
    for match in re.compile(rf"\s*({_WORD})").finditer(text, position):
        if match.start() != end or match[1] in _ENDS or len(words) == _LONGEST:
            break
        words.append(match[1])
        end = match.end()
    return " ".join(words), end
