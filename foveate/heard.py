"""What devices told at all, and so how much an absence is worth.

In: a placed question and the devices that were heard of. Out: the share that is covered, the gaps in words, and how
sure "nobody was there" is. Pure; it knows no events. Next: `facts.py`, which answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foveate.messages import AnswerRequest

SURE_ABSENCE = 0.95
"""Nobody seen by a device that watched: NanoDet's misses, and objects below its threshold, keep it from 1."""

QUIET = 0.89
"""Ceiling of an absence when a device told nothing at all in the span: quiet, or not watching, nobody knows."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Devices that ever told anything, and those that did in the span of the question; the zones they tell of.

    `still` has events whose thing became scenery, each with until when (Unix seconds) it is taken to stand there.
    """

    ever: frozenset[str]
    in_span: frozenset[str]
    zones: tuple[str, ...] = ()
    still: Mapping[str, float] = field(default_factory=dict)


def coverage(request: AnswerRequest, heard: Heard) -> float:
    """The share of the devices in scope that memory has ever heard of and was asked about, 0 to 1."""
    known = sum(device in heard.ever for device in request.device_ids)
    return min(1.0, known / max(1, request.devices_in_scope, len(request.device_ids)))


def absence_confidence(request: AnswerRequest, heard: Heard) -> float:
    """How sure it is that nothing was there, when nothing was told, 0 to 1."""
    quiet = any(device not in heard.in_span for device in request.device_ids)
    return (QUIET if quiet else SURE_ABSENCE) * coverage(request, heard)


def gaps(request: AnswerRequest, heard: Heard) -> str:
    """What memory does not cover, in words; empty when it covers everything."""
    unheard = [device for device in request.device_ids if device not in heard.ever]
    outside = request.devices_in_scope - len(request.device_ids)
    quiet = [device for device in request.device_ids if device in heard.ever and device not in heard.in_span]
    parts = [
        f"nothing was ever heard of {', '.join(unheard)}" if unheard else "",
        f"{outside} of {request.devices_in_scope} devices in scope are out of sight" if outside > 0 else "",
        f"{', '.join(quiet)} told nothing in that time" if quiet else "",
    ]
    return "; ".join(part for part in parts if part)
