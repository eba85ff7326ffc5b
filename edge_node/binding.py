"""Which question fills a property of a schema: by the words of its name and its type, or none. Pure.

In: a property's path, its schema and what was understood of the question. Out: `Bound`, a task with labels, or None
when its name means nothing that evidence tells. It never guesses from a description. Next: `extracting.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveate.messages import Pick, Task, Understanding
from foveate.vision.vocabulary import COCO

_VEHICLES = ("bicycle", "bus", "car", "motorcycle", "truck")
_ALSO: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("people", "persons", "human", "humans", "pedestrian", "pedestrians"), ("person",)),
    **dict.fromkeys(("men", "women", "man", "woman"), ()),
    **dict.fromkeys(("vehicle", "vehicles"), _VEHICLES),
    **dict.fromkeys(("bike", "bikes"), ("bicycle",)),
    **dict.fromkeys(("motorbike", "motorbikes"), ("motorcycle",)),
    "phone": ("cell phone",),
}
_COUNTS = {"count", "number", "num", "total", "amount", "many", "counts"}
_FIRST = {"first", "start", "arrival", "arrived", "entered", "appeared", "begin", "began", "since"}
_LAST = {"last", "end", "departure", "left", "exited", "disappeared", "until", "latest"}
_TIMES = {"time", "when", "at", "timestamp", "moment", "seen", "date"}
_READ = {"text", "sign", "written", "plate", "label", "inscription", "ocr", "read"}
_HEARD = {"speech", "said", "transcript", "spoken", "heard", "words", "utterance"}
_DEVICE = {"device", "camera", "cam"}
_REFERENCES = 8


@dataclass(frozen=True, slots=True)
class Bound:
    """The question of one property; `form` says how its answer is written: "", "device" or "list"."""

    task: Task
    labels: tuple[str, ...]
    text: str
    pick: Pick = Pick.ANY
    form: str = ""


def resolved(part: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401  any JSON value
    """A property's schema behind its references, which stay inside of the whole; empty for what is no object."""
    for _ in range(_REFERENCES):
        if not isinstance(part, Mapping):
            return {}
        reference = part.get("$ref")
        if not isinstance(reference, str):
            return part
        part = root
        for name in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            part = part.get(name, {}) if isinstance(part, Mapping) else {}
    return {}


def takes(part: Mapping[str, Any], kind: str) -> bool:
    """Whether the schema names this JSON type."""
    kinds = part.get("type", ())
    return kind in ((kinds,) if isinstance(kinds, str) else kinds)


def bound(path: tuple[str, ...], part: Mapping[str, Any], wanted: Understanding) -> Bound | None:
    """The question behind a property, None when its name and type together mean none."""
    words = _words(path[-1])
    own, rest = _labels(words)
    labels = own or _labels(_words(" ".join(path[:-1])))[0] or wanted.labels
    meant = set(rest)
    for bind in (_number, _whether, _moment, _words_of, _colour, _device):
        found = bind(part, meant, labels, named=bool(own))
        if found is not None:
            return found
    return None


def _number(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    timed = meant & (_TIMES - {"seen"} | _FIRST | _LAST)
    counts = (takes(part, "integer") or takes(part, "number")) and not timed and (named or meant & _COUNTS)
    return Bound(Task.COUNT, labels, f"How many: {', '.join(labels)}?") if counts and labels else None


def _whether(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    if not takes(part, "boolean") or not labels:
        return None
    neutral = {"is", "has", "any", "there", "present", "presence", "visible", "seen", "detected", "in", "view", "was"}
    # "person_running" asks for more than that there is a person.
    plain = meant <= neutral and (named or meant & {"present", "presence", "visible", "seen", "detected"})
    return Bound(Task.PRESENCE, labels, f"Is there: {', '.join(labels)}?") if plain else None


def _moment(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    timed = meant & (_TIMES | _FIRST | _LAST)
    written = takes(part, "string") or takes(part, "number") or takes(part, "integer")
    if not timed or not written or not labels or meant - _TIMES - _FIRST - _LAST - {"s", "unix", "utc", "seconds"}:
        return None
    pick = Pick.LAST if meant & _LAST else Pick.FIRST
    return Bound(Task.FIND, labels, f"When {pick.value}: {', '.join(labels)}?", pick=pick)


def _words_of(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    listed = takes(part, "array") and takes(resolved(part.get("items", {}), {}), "string")
    if not takes(part, "string") and not listed:
        return None
    form = "list" if listed else ""
    if meant & _READ:
        return Bound(Task.READ, labels, "What is written there?", form=form)
    if meant & _HEARD:
        return Bound(Task.LISTEN, labels, "What was said?", form=form)
    return None


def _colour(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    coloured = meant & {"colour", "color"} and labels and (takes(part, "string") or "enum" in part)
    return Bound(Task.DESCRIBE, labels, f"What colour is the {labels[0]}?") if coloured else None


def _device(part: Mapping[str, Any], meant: set[str], labels: tuple[str, ...], *, named: bool) -> Bound | None:
    if not takes(part, "string") or not meant & _DEVICE or not labels:
        return None
    return Bound(Task.PRESENCE, labels, f"Is there: {', '.join(labels)}?", form="device")


def _words(name: str) -> list[str]:
    """The words of `person_count`, `personCount` and "person count"."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", apart.casefold())


def _labels(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The detector's names among the words, one or two words long, in singular or plural, and the words left."""
    labels: list[str] = []
    rest: list[str] = []
    index = 0
    while index < len(words):
        pair = " ".join(words[index : index + 2])
        found = next((f for f in (_named(pair) if len(pair.split()) == 2 else (), _named(words[index])) if f), ())
        if not found:
            rest.append(words[index])
        labels.extend(found)
        index += 2 if found and found == _named(pair) and len(pair.split()) == 2 else 1
    return tuple(dict.fromkeys(labels)), rest


def _named(word: str) -> tuple[str, ...]:
    if word in _ALSO:
        return _ALSO[word]
    for single in (word, word.removesuffix("s"), word.removesuffix("es")):
        if single in COCO:
            return (single,)
    return ()
