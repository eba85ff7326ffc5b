"""A mapping that a person wrote, read key by key and strictly: each mistake is told by its key.

In: a mapping of a document. Out: words, numbers, truths, or InvalidInput with the key at fault and what may stand
there. It knows no key. Next: `configure.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from foveate.errors import InvalidInput

_NAME = re.compile(r"[\w.:/+-]{1,120}")


class Row:
    """A mapping that somebody wrote, read key by key."""

    def __init__(self, written: Mapping[str, Any], where: str) -> None:
        self.written = written
        self._where = where

    def bad(self, key: str, found: object, wanted: str) -> InvalidInput:
        """What is wrong with a key, and what may stand there instead; to be raised."""
        name = f"{self._where}{key}"
        return InvalidInput(f"`{name}` of the model configuration is {str(found)[:80]}; give {wanted}.", field=name)

    def only(self, *known: str) -> None:
        """InvalidInput for a key that is none of these."""
        for key in self.written:
            if key not in known:
                raise self.bad(key, "not known", f"one of {', '.join(known)}")

    def below(self, key: str) -> Row:
        """The mapping under a key, empty when there is none."""
        value = self.written.get(key, {})
        if not isinstance(value, dict):
            raise self.bad(key, repr(value), "a mapping")
        return Row(value, f"{self._where}{key}.")

    def text(self, key: str, default: str | None = None) -> str:
        """Words; without a default they must be there."""
        value = self.written.get(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.bad(key, "missing" if value is None else "no text", "one")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """Words that may stand in a tag."""
        value = self.text(key, default)
        if not _NAME.fullmatch(value):
            raise self.bad(key, repr(value), "letters, digits and . _ : / + - only, at most 120")
        return value

    def one_of(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        """One of the known words."""
        value = self.text(key, default)
        if value not in known:
            raise self.bad(key, repr(value), f"one of {', '.join(known)}")
        return value

    def yes(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.written.get(key, default)
        if not isinstance(value, bool):
            raise self.bad(key, repr(value), "true or false")
        return value

    def number(
        self, key: str, default: float | None = None, *, least: float, most: float, whole: bool = False
    ) -> float:
        """A number from `least` to `most`, without a fraction when `whole`."""
        value = self.written.get(key, default)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            raise self.bad(key, repr(value), f"{kind} from {least:g} to {most:g}")
        return value
