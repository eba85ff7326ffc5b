"""The asker's JSON Schema: read with suspicion, then held against documents.

In: the text of a schema that somebody sent. Out: a `Schema` that names every mistake of a document by its place, or
InvalidInput with the field at fault. It fetches nothing: references stay inside the schema. Blocking, for
up to a second when both are large. It knows no model. Next: `think.py` and whatever else writes documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from foveate.errors import InvalidInput

FIELD = "constraints.answer_schema"
MOST_CHARACTERS = 16 * 1024
"""Of a schema, and of the document that fulfils it: what the wire carries."""
MOST_VALUES = 1000
"""In a document: each may be held against each part of the schema."""
DEEPEST = 24
"""Levels of mappings and lists, in a schema and in a document."""
MOST_REFERENCES = 24
"""Past that, references to references grow without end: 2 in each of 24 levels are 16 million checks."""

_DIALECT = re.compile(
    r"^https?://json-schema\.org/draft/?2020-12/schema#?$|^https?://json-schema\.org/draft-07/schema#?$"
)
_MOVING = ("$dynamicRef", "$recursiveRef", "$id", "$vocabulary")
_MISTAKES = 4  # told of one document
_REPEATED_GROUP = re.compile(r"\)\s*(?:[*+?]|\{)")
_UNBOUNDED = re.compile(r"(?<!\\)[*+]|\{\d*,\}")
_OPTIONAL = re.compile(r"(?<!\\)\?|\{\d+,\d+\}")
_MOST_PATTERN, _MOST_OPTIONAL = 200, 6


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is safe to evaluate; `document` is the schema itself, for backends that can be held to it."""

    document: Mapping[str, Any]

    def mistakes(self, instance: Any) -> tuple[str, ...]:  # noqa: ANN401  any JSON value
        """What is wrong with a document, each with its place, at most four; empty when it fulfils the schema."""
        depth, values = _extent(instance)
        if depth > DEEPEST or values > MOST_VALUES:
            return (f"the document is deeper than {DEEPEST} levels or has more than {MOST_VALUES} values",)
        try:
            found = sorted(_validator(self.document).iter_errors(instance), key=lambda e: list(map(str, e.path)))
        except (RecursionError, Unresolvable):
            return ("the schema refers to itself without end",)
        return tuple(f"{_place(error.absolute_path)}: {error.message[:200]}" for error in found[:_MISTAKES])

    def broken(self, instance: Any) -> tuple[str, ...]:  # noqa: ANN401  any JSON value
        """Which places of the schema a document breaks, at most four: the schema's words only, none of the document's.

        For telling a model what to put right without repeating to it what a stranger may have written.
        """
        try:
            found = {
                _place(error.absolute_schema_path): None for error in _validator(self.document).iter_errors(instance)
            }
        except (RecursionError, Unresolvable):
            return ()
        return tuple(found)[:_MISTAKES]


def parse(text: str) -> Schema:
    """The schema in `text`; InvalidInput with the field when it is no schema, too large, too deep or refers outside."""
    if len(text) > MOST_CHARACTERS:
        raise _bad("", f"has {len(text)} characters; keep it to {MOST_CHARACTERS}")
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad("", f"is not JSON ({_short(error)}); correct it") from error
    if not isinstance(document, dict):
        raise _bad("", 'is not a JSON object; write one such as {"type": "object"}')
    if _extent(document)[0] > DEEPEST:
        raise _bad("", f"is nested deeper than {DEEPEST} levels; make it flatter")
    _check_words(document)
    try:
        Draft202012Validator.check_schema(document)
        tuple(_validator(document).iter_errors({}))
    except SchemaError as error:
        raise _bad(_place(error.absolute_path), f"is not valid ({error.message[:200]}); correct it") from error
    except Unresolvable as error:
        raise _bad("", f"refers to {str(error)[:100]}, which is not in it; define it under $defs") from error
    except RecursionError as error:
        raise _bad("", "refers to itself without end; let every circle pass through properties or items") from error
    return Schema(document)


def _check_words(document: Mapping[str, Any]) -> None:
    """Refuses what reaches outside, moves the root, or can keep a processor busy for hours."""
    references = 0
    for place, key, value in _walk(document, ""):
        if key in _MOVING:
            raise _bad(place, "is not supported; use $defs and $ref inside the schema")
        if key == "$schema" and not (isinstance(value, str) and _DIALECT.match(value)):
            raise _bad(place, "names a dialect that is not checked here; leave it out or name draft 2020-12")
        if key == "$ref":
            references += 1
            if not (isinstance(value, str) and value.startswith("#")):
                raise _bad(place, "refers outside the schema; put the definition under $defs")
        if key == "pattern" and isinstance(value, str):
            _check_pattern(value, place)
        if key == "patternProperties" and isinstance(value, dict):
            for pattern in value:
                _check_pattern(pattern, place)
    if references > MOST_REFERENCES:
        raise _bad("", f"has {references} references; keep it to {MOST_REFERENCES}")


def _check_pattern(pattern: str, place: str) -> None:
    """Python's engine backtracks: only patterns whose work stays below the square of a text's length are taken."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise _bad(place, f"is no regular expression ({_short(error)}); correct it") from error
    heavy = (
        len(pattern) > _MOST_PATTERN
        or _REPEATED_GROUP.search(pattern)
        or len(_UNBOUNDED.findall(pattern)) > 1
        or len(_OPTIONAL.findall(pattern)) > _MOST_OPTIONAL
        or re.search(r"\\\d|\{\d*,?\d{3,}\}", pattern)
    )
    if heavy:
        raise _bad(place, "is a pattern that can take for ever; use one `*` or `+`, no repeated groups, or an enum")


def _walk(value: Any, place: str) -> Iterator[tuple[str, str, Any]]:  # noqa: ANN401  any JSON value
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        here = f"{place}/{key}"
        if isinstance(key, str):
            yield here, key, below
        yield from _walk(below, here)


def _extent(value: Any) -> tuple[int, int]:  # noqa: ANN401  any JSON value
    """Levels of nesting and number of values, counted without recursion."""
    deepest, values, rest = 0, 0, [(value, 1)]
    while rest:
        one, level = rest.pop()
        values += 1
        if isinstance(one, (dict, list)):
            deepest = max(deepest, level)
            rest.extend((below, level + 1) for below in (one.values() if isinstance(one, dict) else one))
    return deepest, values


def _validator(document: Mapping[str, Any]) -> Draft202012Validator:
    # A registry of its own: the default one would fetch what it does not know.
    return Draft202012Validator(dict(document), registry=Registry())


def _place(path: Any) -> str:  # noqa: ANN401  a deque of keys and indices
    return "/" + "/".join(str(part) for part in path) if path else "/"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _short(error: Exception) -> str:
    return str(error)[:100]


def _bad(place: str, what: str) -> InvalidInput:
    where = f" at {place}" if place and place != "/" else ""
    return InvalidInput(f"The answer's schema{where} {what}.", field=f"{FIELD}{place if place != '/' else ''}")
