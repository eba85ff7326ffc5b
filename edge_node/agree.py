"""A model's answer against the embedded one: two witnesses, one answer. Pure.

In: the same question answered from facts and a detector, and by a vision-language model. Out: one answer; where both
say the same the surer counts, where they differ the likelier one stands, less sure, and names the other. It knows
neither pictures nor tokens. Next: `think.py`, which returns it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from foveate.messages import Answer, AnswerRequest, Outcome, Task
from foveate.recall import joined

SAME_S = 2.0
"""Two moments that are one: pictures are up to this far apart when a span is long."""

DIFFERS = 0.9
"""What is left at most of a confidence when the other witness says otherwise."""

_CHECKED = (Task.PRESENCE, Task.COUNT, Task.FIND)
_BETTER = (Task.DESCRIBE, Task.SUMMARISE)  # a list of labels is no description: the model's words stand


def settle(request: AnswerRequest, embedded: Answer, seen: Answer) -> Answer:
    """One answer; it names both models where both were weighed, and costs what both cost."""
    task = request.understanding.task
    answer = _weighed(task, embedded, seen)
    both = embedded.outcome is Outcome.ANSWERED and task not in _BETTER
    return replace(
        answer,
        confidence=min(0.99, max(0.0, answer.confidence)),
        model=" + ".join(dict.fromkeys(filter(None, (embedded.model if both else "", seen.model)))),
        tokens=seen.tokens,
        cost_usd=embedded.cost_usd + seen.cost_usd,
        moved_bytes=max(embedded.moved_bytes, seen.moved_bytes),
    )


def _weighed(task: Task, embedded: Answer, seen: Answer) -> Answer:
    if embedded.outcome is not Outcome.ANSWERED:
        both = joined(seen.reason, embedded.reason if seen.outcome is not Outcome.ANSWERED else "")
        return replace(seen, reason=both)
    if seen.outcome is not Outcome.ANSWERED:
        share = DIFFERS if task in _CHECKED else 1.0
        return replace(embedded, confidence=embedded.confidence * share, reason=joined(embedded.reason, seen.reason))
    if task in _BETTER:
        return seen
    if _same(task, embedded, seen):
        return _together(task, embedded, seen)
    if task in _CHECKED:
        return _apart(embedded, seen)
    return seen if seen.confidence >= embedded.confidence else replace(embedded, reason=_both(embedded, seen))


def _same(task: Task, embedded: Answer, seen: Answer) -> bool:
    one, other = embedded.value, seen.value
    if task is Task.FIND:
        return isinstance(one, float) and isinstance(other, float) and abs(one - other) <= SAME_S
    if task is Task.READ:
        return isinstance(one, str) and isinstance(other, str) and bool(_signs(one)) and _signs(one) == _signs(other)
    if task is Task.EXTRACT:
        return bool(seen.document) and seen.document == embedded.document
    return one is not None and type(one) is type(other) and one == other


def _together(task: Task, embedded: Answer, seen: Answer) -> Answer:
    """Both say the same; the embedded one's moment is to the very picture, and its words tell places in the source."""
    surer = max(embedded.confidence, seen.confidence)
    kept = embedded if task is Task.FIND else seen
    cited = {(piece.device_id, piece.picture_time) for piece in kept.evidence}
    other = seen if kept is embedded else embedded
    more = tuple(piece for piece in other.evidence if (piece.device_id, piece.picture_time) not in cited)
    reason = joined("the model and the detector agree" if task in _CHECKED else "", _both(embedded, seen))
    return replace(kept, confidence=surer, evidence=(*kept.evidence, *more), reason=reason)


def _apart(embedded: Answer, seen: Answer) -> Answer:
    """At most one of two that exclude each other is right: P(one) ~ p (1 - q), P(other) ~ q (1 - p), rest neither."""
    p, q = embedded.confidence, seen.confidence
    one, other = p * (1.0 - q), q * (1.0 - p)
    # Yes and no leave nothing else; two numbers may both be wrong.
    neither = 0.0 if isinstance(embedded.value, bool) else (1.0 - p) * (1.0 - q)
    whole = one + other + neither
    stands, falls, share = (embedded, seen, one) if one >= other else (seen, embedded, other)
    likely = min(share / whole if whole else 0.5, stands.confidence * DIFFERS)
    told = "The detector and memory" if falls is embedded else f"The model {seen.model}"
    text = f"{stands.text} {told} said otherwise: {falls.text}"
    return replace(
        stands, text=text, confidence=likely, reason=joined("the model and the detector differ", _both(embedded, seen))
    )


def _signs(words: str) -> str:
    return re.sub(r"\W+", "", words).casefold()


def _both(embedded: Answer, seen: Answer) -> str:
    return joined(seen.reason, embedded.reason)
