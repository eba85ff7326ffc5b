"""Which of the eleven basic colours a question's words ask for.

In: the stretches of words that narrow a subject. Out: the colours, and the stretches that are left: "dark blue" asks
for blue, and that it is dark remains. Of two colours joined by "or" either will do; of a thing that has two at once
("red and white") the words remain. It knows no noun; `subject` is next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_BASIC = ("black", "white", "red", "green", "yellow", "blue", "brown", "purple", "pink", "orange", "grey")
COLOURS: Mapping[str, str] = {name: name for name in _BASIC} | {"gray": "grey"}
"""Words to the names of the eleven basic colour terms (Berlin and Kay)."""

_ONE = rf"(?:{'|'.join(COLOURS)})"
_EITHER = re.compile(rf"(?:(?:dressed |wearing |clad )?in |wearing )?({_ONE}(?:(?: , or | or | , ){_ONE})*)")
_ELSEWHERE = {"in", "on", "with", "without", "and", "or", "not", "by", "from", "under", *COLOURS}
_SHADED = re.compile(rf"((?:\w+ )*?)({_ONE})")


def colours_of(stretches: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The colours, in the order in which they are named, and the words left, in which some colour may remain."""
    colours: list[str] = []
    rest: list[str] = []
    for stretch in stretches:
        either, shaded = _EITHER.fullmatch(stretch), _SHADED.fullmatch(stretch)
        if either is not None:
            colours.extend(COLOURS[word] for word in re.findall(_ONE, either[1]))
        elif shaded is not None and not _narrows(shaded[1]):
            colours.append(COLOURS[shaded[2]])
            rest.append(shaded[1].strip())
        else:
            rest.append(stretch)
    return tuple(dict.fromkeys(colours)), rest


def _narrows(words: str) -> bool:
    """Whether the words before a colour say that something else has it, or that the subject has not."""
    return not _ELSEWHERE.isdisjoint(words.split())
