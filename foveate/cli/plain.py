"""Text that strangers wrote, made harmless for a terminal: what a camera read on a sign may hold anything.

In: any text. Out: the same without control characters and invisible ones, on one line. Markup stays as it is written:
whoever prints it escapes it. Knows nothing of what the text says; `showing` is next.
"""

from __future__ import annotations

import json
import unicodedata

# Controls, invisible formatting such as what turns the reading direction round, lone surrogates, private use.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}


def harmless(text: str) -> str:
    """One line without control and formatting characters; white space becomes single spaces."""
    return " ".join(_printable(text).split())


def in_quotes(text: str) -> str:
    """The text in quotation marks, harmless; a mark inside becomes a plain apostrophe so that it cannot close them."""
    return f"“{harmless(text).translate({ord(mark): chr(39) for mark in '“”'})}”"


def pretty(document: str) -> str:
    """JSON text on several lines, harmless; as it is when it is no JSON."""
    try:
        lines = json.dumps(json.loads(document), ensure_ascii=False, indent=2).splitlines()
    except (ValueError, RecursionError):
        return harmless(document)
    return "\n".join(_printable(line) for line in lines)


def _printable(text: str) -> str:
    return "".join(" " if letter.isspace() else letter for letter in text if letter.isspace() or _shows(letter))


def _shows(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNSEEN
