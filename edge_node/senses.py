"""The networks that questions may need beside the detector, each opened when first asked for.

In: functions that open them, none for what a site does not want. Out: the network, or None; and the names of those
that had a part in an answer. It runs nothing itself. Next: `reading.py`, `listening.py`, `likening.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_node.read import Reader
from edge_node.transcribe import Recogniser
from foveate.hearing import VoiceDetector
from foveate.vision.encode import Encoder


def nothing() -> None:
    """No network of this kind."""


@dataclass(frozen=True, slots=True)
class Senses:
    """Each gives its network, or None where there is none; blocking when first called, never raising."""

    reader: Callable[[], Reader | None] = nothing
    voice: Callable[[], VoiceDetector | None] = nothing
    recogniser: Callable[[], Recogniser | None] = nothing
    encoder: Callable[[], Encoder | None] = nothing


def tag_of(network: Any) -> str:  # noqa: ANN401  whatever was plugged in
    """`name@revision` of a network, or the name of its kind when it tells of no revision."""
    for name in ("model_tag", "tag"):
        if isinstance(tag := getattr(network, name, None), str):
            return tag
    file = getattr(network, "recogniser", None) or getattr(network, "model", None)
    tag = getattr(file, "tag", None)
    return tag if isinstance(tag, str) else type(network).__name__.lower()


def tags(*networks: Any) -> str:  # noqa: ANN401
    """The names of networks that had a part in an answer, for `Answer.model`."""
    return " + ".join(dict.fromkeys(tag_of(one) for one in networks if one is not None))
