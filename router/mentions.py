"""Reads which cameras a question names, and takes those words away.

In: lower-case text and the view of the fleet. Out: device ids, empty when the text names none, and the text left.
Devices and sites are named by id, devices also by kind ("the body camera") or by a label they carry, sites also by
region. It knows no subject and no time; `understand` is next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from foveate.messages import DeviceKind
from router.scope import FleetView

_KINDS = {
    DeviceKind.BODY_CAM: r"body[ -]?(?:worn )?cam(?:era)?s?",
    DeviceKind.GLASSES: r"(?:smart )?glasses",
    DeviceKind.FIXED_CAMERA: r"fixed cam(?:era)?s?",
    DeviceKind.PHONE: r"phones?",
    DeviceKind.ROBOT: r"robots?",
}
_PREPOSITION = r"(?:on|at|in|from|of|by|via|through|near|outside|inside)"
_NOUN = r"(?:cameras?|devices?|sites?|region|view|feed|video)"
_SEES = r"(?:sees?|saw|seen|shows?|showed|have|has|records?|recorded|detects?|detected)"


@dataclass(frozen=True, slots=True)
class Mentions:
    """Devices that the text names, in order of their names, and the words that are left."""

    device_ids: tuple[str, ...]
    rest: str


def mentions(text: str, view: FleetView) -> Mentions:
    """The devices that the text names by id, site, kind, label or region."""
    found: set[str] = set()
    for pattern, devices in _names(text, view):
        rest, count = pattern.subn(" ", text)
        if count:
            text = rest
            found |= devices
    return Mentions(tuple(sorted(found)), text)


def _names(text: str, view: FleetView) -> Iterator[tuple[re.Pattern[str], set[str]]]:
    """Patterns of the names that occur, the longest first so that `cam-1` does not eat into `cam-12`."""
    named: dict[str, set[str]] = {}
    for device in view.devices:
        for name in (device.device_id, device.site_id, device.region, *device.labels):
            if name and name.lower() in text:
                named.setdefault(name.lower(), set()).add(device.device_id)
    for name in sorted(named, key=lambda name: (-len(name), name)):
        yield _pattern(re.escape(name), free=bool(re.search(r"[\d-]", name))), named[name]
    for kind, words in _KINDS.items():
        devices = {device.device_id for device in view.devices if device.kind is kind}
        if devices:
            yield _pattern(words, free=kind in (DeviceKind.BODY_CAM, DeviceKind.FIXED_CAMERA)), devices


def _pattern(name: str, *, free: bool) -> re.Pattern[str]:
    """The name after a preposition or as the one that sees; anywhere when `free`, as no common word looks so."""
    phrase = rf"(?:the\s+)?(?:{_NOUN}\s+)?(?<![\w-]){name}(?![\w-])(?:\s+{_NOUN}\b)?"
    placed = rf"\b{_PREPOSITION}\s+{phrase}"
    seeing = rf"\b{phrase}(?=\s+{_SEES}\b)"
    alone = rf"|{phrase}" if free else ""
    return re.compile(rf"{placed}|{seeing}{alone}")
