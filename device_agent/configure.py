"""The device's configuration file: read, laid over the defaults, and refused when it makes no sense.

In: a YAML file of an operator (see examples/device.yaml). Out: a `rules.Configuration`, or InvalidInput with one
sentence that names the key and says what to write. Only what the file says is changed; the rest keeps its default.
It knows no part that reads the configuration. Next: `limits.py` judges the values, `agent.py` hands them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from device_agent import limits
from device_agent.rules import Configuration, Retention
from foveate import document
from foveate.errors import InvalidInput
from foveate.messages import Priority

VARIABLE = "FOVEATE_DEVICE_CONFIG"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}

# By pydantic's names for them; whatever else can be wrong it says well itself.
_MISTAKES = {
    "tuple_type": "is not a list; write one in brackets",
    "missing": "is missing; write each point as [x, y]",
    "too_long": "has too many numbers; write each point as [x, y]",
    "string_type": "is not text; put it in quotes",
    "bool_parsing": "is neither true nor false; write one of them",
    "bool_type": "is neither true nor false; write one of them",
    "float_parsing": "is not a number; write one",
    "float_type": "is not a number; write one",
    "int_from_float": "is not a whole number; write one",
    "int_parsing": "is not a whole number; write one",
    "int_type": "is not a whole number; write one",
}

# A file may say less than all of these: what it leaves out is at least as long as what stands before it.
_KEPT = ("idle_s", "low_s", "normal_s", "high_s", "urgent_s")


def load(path: Path | None, *, ring_bytes: int, ring_seconds: float) -> Configuration:
    """The configuration in the file, or the defaults when there is none.

    `ring_bytes` and `ring_seconds` are what `recording.max_bytes` and `recording.idle_s` are where it does not say.
    Raises InvalidInput, or NotFound for a file that is missing.
    """
    recording = replace(Retention(), max_bytes=ring_bytes, idle_s=ring_seconds)
    defaults = Configuration(recording=replace(recording, **_lengthened(recording, written=())))
    if path is None:
        return defaults
    return parse(document.read(path, what=f"{VARIABLE} file"), defaults=defaults, source=str(path))


def parse(given: Mapping[str, Any], *, defaults: Configuration, source: str) -> Configuration:
    """What `given` says, laid over `defaults`; `source` begins the sentence of an InvalidInput."""
    try:
        found = TypeAdapter(Configuration).validate_python(_over(defaults, given, where=""))
        written = given.get("recording") or {}
        lengthened = _lengthened(found.recording, written=tuple(written))
        found = replace(found, recording=replace(found.recording, **lengthened))
        limits.check(found)
    except ValidationError as error:
        first = error.errors()[0]
        what = _MISTAKES.get(first["type"], f"is wrong ({_lower(first['msg'])}); correct it")
        raise _refused(source, limits.dotted(first["loc"]), what) from error
    except limits.Wrong as error:
        raise _refused(source, error.where, error.what) from error
    return found


def _over(default: object, given: object, *, where: str) -> dict[str, Any]:
    """The fields of the dataclass `default`, with what is given in place of its values; nested ones likewise."""
    kind = type(default)
    if isinstance(given, bool) and where:
        given = _switched(kind, given, where)
    if given is None:
        given = {}
    known = {item.name for item in fields(default)}  # type: ignore[arg-type]  # always a dataclass
    if not isinstance(given, Mapping):
        raise limits.Wrong(where, f"is not a mapping; write `key: value` lines with {_listed(known)}")
    laid = {name: getattr(default, name) for name in known}
    hints = get_type_hints(kind)
    for key, value in given.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise limits.Wrong(name, f"is not known; use {_listed(known)}")
        if is_dataclass(laid[key]):
            laid[key] = _over(laid[key], value, where=name)
        elif value is not None:
            laid[key] = _read(hints[key], value, where=name)
    return laid


def _switched(kind: type, on: bool, where: str) -> dict[str, bool]:
    """`motion: false` says the same as `motion: {on: false}`."""
    if "on" not in {item.name for item in fields(kind)}:
        raise limits.Wrong(where, "cannot be switched; leave it out, or write `key: value` lines under it")
    return {"on": on}


def _read(hint: Any, value: object, *, where: str) -> object:  # noqa: ANN401  a type as the hint gives it
    """A value as a person writes it, as the dataclass has it; what is no special case is left to pydantic."""
    element = next(iter(get_args(hint)), None)
    if isinstance(element, type) and is_dataclass(element):
        if not isinstance(value, list):
            raise limits.Wrong(where, "is not a list; write one entry a line, each after a dash")
        return [_entry(element, item, where=f"{where}[{index}]") for index, item in enumerate(value)]
    if hint is Priority:
        return _priority(value, where)
    if where.endswith("_s"):
        return _seconds(value, where)
    return _bytes(value, where) if where.endswith("_bytes") else value


def _entry(kind: type, item: object, *, where: str) -> dict[str, Any]:
    """One mask or zone: every field, and no other."""
    names = [field.name for field in fields(kind)]
    if not isinstance(item, Mapping):
        raise limits.Wrong(where, f"is not a mapping; write {_listed(names)}")
    for key in item:
        if key not in names:
            raise limits.Wrong(f"{where}.{key}", f"is not known; use {_listed(names)}")
    for name in names:
        if item.get(name) is None:
            raise limits.Wrong(where, f"has no `{name}`; add it")
    return dict(item)


def _priority(value: object, where: str) -> Priority:
    found = _PRIORITIES.get(str(value).lower())
    if found is None:
        raise limits.Wrong(where, f"is {value!r}; use {', '.join(_PRIORITIES)}")
    return found


def _seconds(value: object, where: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise limits.Wrong(where, f"is {value!r}; write seconds, or a time such as 30s, 5m, 2h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def _bytes(value: object, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise limits.Wrong(where, f"is {value!r}; write bytes, or a size such as 512MiB or 4GB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])


def _lengthened(recording: Retention, *, written: tuple[str, ...]) -> dict[str, Any]:
    """The kept times that the file does not say, each at least as long as the one before."""
    least, raised = 0.0, dict[str, Any]()
    for name in _KEPT:
        own: float = getattr(recording, name)
        if name not in written and own < least:
            raised[name] = own = least
        least = own
    return raised


def _refused(source: str, where: str, what: str) -> InvalidInput:
    return InvalidInput(f"In {source}, `{where}` {what}.", key=where, path=source)


def _listed(names: set[str] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in (sorted(names) if isinstance(names, set) else names))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
