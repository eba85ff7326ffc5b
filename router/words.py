"""Plain words out of a question's text, and whether they are English at all.

In: text as a person wrote it. Out: lower-case words without punctuation; short forms written out.
It knows no task and no subject; `understand` is next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveate.errors import InvalidInput
from router.vocabulary import noun_at, word_set

_SHORT = (
    (r"\bwon't\b", "will not"),
    (r"\bcan't\b", "can not"),
    (r"n't\b", " not"),
    (r"\b(what|who|where|when|how|there|it|that|he|she)'s\b", r"\1 is"),
    (r"'re\b", " are"),
    (r"'ve\b", " have"),
    (r"'s\b", ""),
    (r"\bno[ -]one\b", "nobody"),
    (r"\bany one\b", "anyone"),
)
# Words that other languages do not share; one of them settles it.
_ENGLISH = word_set(
    "the there any anyone anybody anything someone somebody nobody everyone everything people how many what "
    "when where "
    "who which why did does have were with show count describe read summarise summarize compare "
    "happened seen saw and from yes please could would should been being this that these those "
    "tell give your you extract than between before after during about heard said written"
)
# Words that other languages share; they count only towards a majority.
_SHARED = word_set(
    "a an in on at of is was be it to me my for by as or no not now so can may i we he she they him her us if first "
    "last near view today yesterday tonight most recent latest earliest ever again time has are do see find "
    "list all camera cameras red "
    "blue green black white yellow"
)
FUNCTION = _ENGLISH | _SHARED
"""Words that carry no subject of their own."""


def normalised(text: str) -> str:
    """Lower case, straight quotes, short forms written out, one space between words."""
    plain = text.lower().replace("’", "'").replace("‘", "'")
    for short, full in _SHORT:
        plain = re.sub(short, full, plain)
    return " ".join(plain.split())


def words_of(text: str) -> list[str]:
    """The words of a normalised text, commas kept as words of their own since they join a list."""
    return re.findall(r"[^\W_]+(?:[-'][^\W_]+)*|,", text)


def refuse_other_languages(words: Sequence[str]) -> None:
    """InvalidInput unless the words are English by a function word of its own or by most of them being known."""
    plain = [word for word in words if word != ","]
    if any(word in _ENGLISH for word in plain):
        return
    known = sum(word in _SHARED or noun_at(plain, index) is not None for index, word in enumerate(plain))
    if 2 * known < len(plain) or not known:
        raise InvalidInput(
            "This does not read as English; ask in English, such as 'is there a person in view?'.",
            reason="NOT_ENGLISH",
        )
