"""How a device says what it sees: labels and numbers as English sentences.

In: COCO names and counts. Out: words. Pure; it knows no boxes and no confidence. Next: `answer.py`, which speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_MOST_NAMED = 4  # more names than this make no sentence

_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "mouse": "mice",
    "knife": "knives",
    "skis": "pairs of skis",
    "scissors": "pairs of scissors",
    "broccoli": "heads of broccoli",
}


def plural(label: str) -> str:
    """The name for more or fewer than one."""
    if label in _PLURALS:
        return _PLURALS[label]
    if label.endswith(("s", "x", "ch", "sh")):
        return f"{label}es"
    return f"{label}s"


def counted(counts: Mapping[str, int]) -> str:
    """`2 people`, `1 car and 1 truck`: what was seen, the most frequent first."""
    parts = [f"{n} {label if n == 1 else plural(label)}" for label, n in sorted(counts.items(), key=lambda c: -c[1])]
    return _joined(parts, "and")


def in_view(counts: Mapping[str, int], *, labels: Sequence[str], subject: str, device: str) -> str:
    """A sentence about now: `2 people are in view of body-1.`, `No person is in view of body-1.`"""
    total = sum(counts.values())
    if total:
        verb = "is" if total == 1 else "are"
        return f"{counted(counts)} {verb} in view of {device}."
    if len(labels) > _MOST_NAMED:
        return f"Nothing that counts as “{subject}” is in view of {device}."
    return f"No {_joined(list(labels), 'or')} is in view of {device}."


def _joined(parts: Sequence[str], word: str) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"
