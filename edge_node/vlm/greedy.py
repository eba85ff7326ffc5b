"""Greedy decoding, one token after the other: what was written, and how probable the model found each token of it.

In: scores of the next token, a way to step on. Out: `Said`. It stops at the model's own end, at a stop string, at the
most tokens, and whenever `check` raises: past the deadline or when nobody waits any more. Next: `in_process.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from edge_node.vlm.seam import Said

Decode = Callable[[list[int]], str]


@dataclass(frozen=True, slots=True)
class Ends:
    """Where writing stops."""

    tokens: Collection[int]
    stop: tuple[str, ...]
    most: int


class Spelling:
    """Tokens as text, each with the signs that it completes; reads a few tokens back, since spaces depend on them."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._from, self._told = 0, 0

    def add(self, token: int) -> str:
        """What `token` adds; empty while a sign that is spread over several tokens is incomplete."""
        self._ids.append(token)
        text = self._new()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._from, self._told = self._told, len(self._ids)
        return text

    def rest(self) -> str:
        """What stayed incomplete."""
        return self._new() if self._told < len(self._ids) else ""

    def _new(self) -> str:
        before = self._decode(self._ids[self._from : self._told])
        return self._decode(self._ids[self._from :])[len(before) :]


def write(
    scores: Any,  # noqa: ANN401
    *,
    step: Callable[[int], Any],
    decode: Decode,
    ends: Ends,
    check: Callable[[], None],
) -> Said:
    """Writes from `scores` (float32 tensor, vocabulary) on; `step` gives the scores after a token.

    Log-probabilities are natural logarithms of the softmax over all scores; the token that ends counts to neither
    text nor log-probabilities.
    """
    spelling, pieces, log_probs = Spelling(decode), [""][:0], [0.0][:0]
    text, ended = "", ""
    while len(pieces) < ends.most:
        check()
        token = int(scores.argmax())
        value = float(scores.log_softmax(-1)[token])
        if token in ends.tokens:
            ended = "end"
            break
        pieces.append(spelling.add(token))
        log_probs.append(value)
        text += pieces[-1]
        if (cut := _stopped(text, ends.stop)) is not None:
            text, ended = text[:cut], "stop"
            break
        if len(pieces) < ends.most:
            scores = step(token)
    written = len(pieces)
    if ended != "stop" and pieces and (rest := spelling.rest()):
        pieces[-1] += rest
        text += rest
    pieces, log_probs = _within(len(text), pieces, log_probs)
    return Said(
        text=text,
        log_probs=tuple(log_probs) if all(map(math.isfinite, log_probs)) else None,
        pieces=tuple(pieces),
        written_tokens=written,
        cut_off=not ended,
        details={"finish_reason": ended or "length"},
    )


def _stopped(text: str, stop: tuple[str, ...]) -> int | None:
    """Where the first stop string starts."""
    found = [place for one in stop if one and (place := text.find(one)) >= 0]
    return min(found, default=None)


def _within(length: int, pieces: list[str], log_probs: list[float]) -> tuple[list[str], list[float]]:
    """The tokens that the first `length` characters are made of; the last may be cut."""
    kept: list[str] = []
    at = 0
    for piece in pieces:
        if at >= length and (piece or at > length):
            break
        kept.append(piece[: length - at])
        at += len(piece)
    return kept, log_probs[: len(kept)]
