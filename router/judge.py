"""What a node's answer is worth to the asker, and the words of the final answer.

In: answers as nodes gave them, and the reading of the question. Out: answers with the confidence that they deserve: a
part of the devices does not speak for all, and what no detector sees is never taken for seen.
It knows no plan and no cost; `settle` decides with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foveate.messages import Answer, Outcome, Task
from router.candidates import Candidate, checks_words, covered, shows_colour, stands_for_all
from router.policy import GUESS, PlacementPolicy
from router.understand import Reading


def judged(answer: Answer, candidate: Candidate, reading: Reading, policy: PlacementPolicy) -> Answer:
    """The answer of the candidate with its confidence lowered where it sees a part only, or less than was asked."""
    answer = replace(answer, placement=candidate.placement)
    confidence = answer.confidence if answer.outcome is Outcome.ANSWERED else 0.0
    seen, total = len(candidate.devices), candidate.in_scope
    if seen < total and confidence > GUESS and not stands_for_all(reading.understanding, answer.value):
        confidence = covered(confidence, seen=seen, of=total)
    if unchecked(answer, reading, policy):
        confidence = min(confidence, GUESS)
    return replace(answer, confidence=confidence)


def acceptable(answer: Answer, min_confidence: float) -> bool:
    """Whether it may be given as the answer; otherwise it would end as "cannot tell"."""
    return answer.outcome is Outcome.ANSWERED and answer.confidence >= min_confidence


def rank(answer: Answer, min_confidence: float) -> tuple[bool, bool, float, bool]:
    """The better of two answers has the higher rank; of two that are as sure, the one that can show it."""
    answered = answer.outcome is Outcome.ANSWERED
    pictured = any(evidence.picture for evidence in answer.evidence)
    return acceptable(answer, min_confidence), answered, round(answer.confidence, 3), pictured


def beyond_sight(answer: Answer, reading: Reading, policy: PlacementPolicy) -> bool:
    """Whether something was found, while words remain that its node cannot check; nothing found settles those too."""
    checked = answer.placement is not None and checks_words(answer.placement, policy)
    return bool(reading.unseen) and not checked and _found(answer, reading)


def unchecked(answer: Answer, reading: Reading, policy: PlacementPolicy) -> tuple[str, ...]:
    """What was asked of the thing that was found and could not be checked where it was, in words."""
    said = [f"the detector cannot check {words!r}" for words in reading.unseen if beyond_sight(answer, reading, policy)]
    u, placement = reading.understanding, answer.placement
    by_detector = u.task in (Task.PRESENCE, Task.COUNT, Task.FIND)
    blind = placement is not None and not shows_colour(placement)
    if u.colours and blind and by_detector and _found(answer, reading):
        said.append(f"without pictures nobody can tell that it is {' or '.join(u.colours)}")
    return tuple(said)


def _found(answer: Answer, reading: Reading) -> bool:
    nothing = answer.value is None or answer.value is False
    none = reading.understanding.task is Task.COUNT and answer.value == 0
    return answer.outcome is Outcome.ANSWERED and not nothing and not none


def conclude(
    best: Answer | None,
    *,
    question_id: str,
    reading: Reading,
    policy: PlacementPolicy,
    min_confidence: float,
    left_out: Sequence[str],
    refused: tuple[str, str] | None,
    failures: Sequence[str],
) -> Answer:
    """The final answer; `refused` is the first refusal's reason and rule, `failures` the steps that gave nothing."""
    if best is None:
        return _nothing(question_id, refused=refused, failures=failures)
    notes = [f"the detector does not tell {words!r} from others" for words in reading.wider]
    if left_out:
        notes.append(f"without {', '.join(left_out)}")
    if best.outcome is not Outcome.ANSWERED:
        rule = refused[1] if refused else ""
        said = "; ".join([best.reason or best.text, *failures, *notes])
        return replace(best, question_id=question_id, value=None, document="", reason=said, rule=best.rule or rule)
    doubt = "; ".join(unchecked(best, reading, policy)) or _doubt(best, min_confidence)
    if doubt:
        guess = f"best guess: {best.text} ({best.confidence:.2f})"
        return replace(
            best,
            question_id=question_id,
            outcome=Outcome.CANNOT_TELL,
            text="I cannot tell from what could be looked at.",
            value=None,
            document="",
            reason="; ".join([doubt, guess, *([best.reason] if best.reason else []), *failures, *notes]),
        )
    reason = "; ".join([*([best.reason] if best.reason else []), *notes])
    return _as_asked(replace(best, question_id=question_id, reason=reason), reading)


def _doubt(best: Answer, min_confidence: float) -> str:
    """Why the answer cannot be given as one, empty when it can."""
    if best.confidence < min_confidence:
        return f"{best.confidence:.2f} sure, below the {min_confidence:.2f} that is asked for"
    return ""


def _nothing(question_id: str, *, refused: tuple[str, str] | None, failures: Sequence[str]) -> Answer:
    if refused is not None:
        reason, rule = refused
        text = f"Refused: {reason}"
        return Answer(question_id, Outcome.REFUSED, text, 0.0, reason=reason, rule=rule)
    reason = "; ".join(failures) or "no placement was left to try"
    return Answer(question_id, Outcome.CANNOT_TELL, "I cannot tell: nobody answered.", 0.0, reason=reason)


def _as_asked(answer: Answer, reading: Reading) -> Answer:
    """Turned round when the question asked for an absence, so that yes means what the asker meant by it."""
    if not reading.negated or not isinstance(answer.value, bool):
        return answer
    absent = not answer.value
    said = answer.text.removeprefix("Yes").removeprefix("No").lstrip(",.:; ")
    return replace(answer, value=absent, text=f"{'Yes' if absent else 'No'}: {said}")
