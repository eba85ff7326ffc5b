"""Answer first, think only when unsure, after VideoAuto-R1 (arXiv:2601.05175; IVUL-KAUST/VideoAuto-R1 @f7d91a3).

In: a prompt, a task, and how to read the model's words. Out: a `Decision`: the typed answer, the confidence in its own
tokens, what that is worth, and the tokens it took. Three calls at most beside one repair. It knows no pictures and no
devices; `thresholds.py` knows what confidences are worth. Next: `think.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_node.thresholds import Bar, Thresholds
from edge_node.vlm.seam import Prompt, Said, Vlm
from foveate.errors import DeadlinePassed, FoveateError, MalformedMessage
from foveate.messages import Task, Tokens

logger = logging.getLogger(__name__)

NONE = -1.0
"""The confidence of an answer without log-probabilities, or whose tokens cannot be found: it always thinks."""

UNSURE = 0.5
"""What an answer is worth whose model offers no confidence: a coin's toss, never a certainty."""

MOST_THINKING = 512
"""Tokens of one train of thought; VideoAuto-R1's are 149 long in the mean."""

OPEN, CLOSE = "<think>", "</think>"
_THINK = f"Before you answer again, think step by step, inside {OPEN} and {CLOSE}; then check the answer against it."
_REPAIR = "An earlier answer of yours was refused: {what} Write only what is asked for, in exactly that form."
_LEAST_S = 0.3


@dataclass(frozen=True, slots=True)
class Reading:
    """A typed answer, and where in the words it stands: (start, end) of the answer's own characters.

    Keys, quotes and brackets around it are not its own: a grammar forces them, so they are always sure.
    """

    value: Any
    spans: tuple[tuple[int, int], ...]
    picture: int | None = None
    """The number of the picture that shows it, from 1, when the model named one."""


Read = Callable[[str], Reading]
"""Raises MalformedMessage for words that are no answer; its metadata `what` says so without quoting them."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a model decided; `raw` is exp(mean log p) of the answer's own tokens or NONE, `confidence` its worth."""

    reading: Reading
    text: str
    raw: float
    confidence: float
    tokens: Tokens
    thought: bool
    notes: tuple[str, ...] = ()


class Gate:
    """One model behind the gate; it keeps the mean length of its thinking for each task."""

    def __init__(self, vlm: Vlm, *, thresholds: Thresholds, most_thinking: int = MOST_THINKING) -> None:
        self._vlm = vlm
        self._thresholds = thresholds
        self._most_thinking = most_thinking
        self._thinking: dict[Task, tuple[int, int]] = {}

    @property
    def tag(self) -> str:
        """The model's."""
        return self._vlm.tag

    async def decide(self, prompt: Prompt, task: Task, read: Read, *, timeout: float) -> Decision:
        """The typed answer within `timeout` seconds.

        Raises MalformedMessage when neither the first answer nor its repair can be read, and what the model's `say`
        raises for the first call; what fails later leaves the first answer standing, with a note.
        """
        asked = _Asked(self._vlm, prompt, read, deadline=time.monotonic() + timeout)
        first = await asked.first()
        bar = self._thresholds.of(self._vlm.tag, task)
        if first.raw >= bar.threshold:
            return self._decided(asked, first, bar, saved=self._mean_thinking(task, bar))
        try:
            thinking, second = await asked.again(first, self._most_thinking)
        except FoveateError as error:
            logger.info("the model did not think to its end", extra={"why": error.reason})
            return self._decided(asked, first, bar, notes=("it was unsure, and there was no thinking to an end",))
        calls, tokens = self._thinking.get(task, (0, 0))
        self._thinking[task] = calls + 1, tokens + thinking
        return self._decided(asked, second, bar, thought=True)

    def _mean_thinking(self, task: Task, bar: Bar) -> int:
        """What thinking takes when it happens, in tokens: measured here, else when it was calibrated, else nothing."""
        calls, tokens = self._thinking.get(task, (0, 0))
        return round(tokens / calls if calls else bar.thinking_tokens)

    def _decided(
        self,
        asked: _Asked,
        answer: _Answer,
        bar: Bar,
        *,
        saved: int = 0,
        thought: bool = False,
        notes: Sequence[str] = (),
    ) -> Decision:
        told = list(notes)
        if answer.raw == NONE:
            told.append(f"{self.tag} offers no confidence in this answer")
        elif not bar.calibrated:
            told.append(f"the confidence of {self.tag} at this task is not calibrated")
        return Decision(
            reading=answer.reading,
            text=answer.said.text,
            raw=answer.raw,
            confidence=UNSURE if answer.raw == NONE else bar.worth(answer.raw),
            tokens=replace(asked.tokens, saved=saved),
            thought=thought,
            notes=tuple(told),
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    said: Said
    reading: Reading
    raw: float


class _Asked:
    """The calls for one question, their deadline, and the tokens that they took."""

    def __init__(self, vlm: Vlm, prompt: Prompt, read: Read, *, deadline: float) -> None:
        self._vlm = vlm
        self._prompt = prompt
        self._read = read
        self._deadline = deadline
        self._slowest = 0.0
        self.tokens = Tokens()

    async def first(self) -> _Answer:
        """The first answer, or its one repair."""
        try:
            return await self._readable(await self._say(self._prompt))
        except MalformedMessage as error:
            what = error.metadata.get("what", "it could not be read.")
            rules = f"{self._prompt.rules}\n{_REPAIR.format(what=what)}"
            return await self._readable(await self._say(replace(self._prompt, rules=rules)))

    async def again(self, first: _Answer, most: int) -> tuple[int, _Answer]:
        """Thinking from the first answer on, and the answer after it; the number of tokens thought."""
        start = f"{first.said.text}\n{OPEN}\n"
        thinking = replace(
            self._prompt,
            rules=f"{self._prompt.rules}\n{_THINK}",
            before=start,
            schema=None,
            stop=(CLOSE,),
            most_tokens=most,
        )
        thought = await self._say(thinking, thinking=True)
        # A model may close the tag in its own words although it is a stop string.
        before = f"{start}{thought.text.split(CLOSE)[0].strip()}\n{CLOSE}\n"
        return thought.written_tokens, await self._readable(await self._say(replace(self._prompt, before=before)))

    async def _say(self, prompt: Prompt, *, thinking: bool = False) -> Said:
        left = self._deadline - time.monotonic()
        # A further call takes about as long as the ones before: one that cannot end in time only burdens the model.
        if self._slowest and left < max(_LEAST_S, self._slowest):
            raise DeadlinePassed("There is no time for a further call of the model; allow more time.")
        began = time.monotonic()
        said = await self._vlm.say(prompt, timeout=left)
        self._slowest = max(self._slowest, time.monotonic() - began)
        had, written = self.tokens, said.written_tokens
        self.tokens = Tokens(
            prompt=had.prompt + said.prompt_tokens,
            answer=had.answer + (0 if thinking else written),
            thinking=had.thinking + (written if thinking else 0),
        )
        return said

    async def _readable(self, said: Said) -> _Answer:
        if said.cut_off:
            raise MalformedMessage(
                f"{self._vlm.tag} did not come to the end of its answer; give it more tokens.", what="it was too long."
            )
        # A large document against a large schema takes a while.
        reading = await asyncio.to_thread(self._read, said.text)
        return _Answer(said, reading, own_confidence(said, reading.spans))


def own_confidence(said: Said, spans: Sequence[tuple[int, int]]) -> float:
    """exp(mean log p) over the tokens that overlap the answer's own characters; NONE when they cannot be found.

    A token that straddles the border, such as ` true` with its blank, belongs to the answer.
    """
    if said.log_probs is None or len(said.pieces) != len(said.log_probs):
        return NONE
    # Servers strip blanks and end-of-text tokens from the text but not from the list.
    shift = "".join(said.pieces).find(said.text)
    if shift < 0 or not said.text:
        return NONE
    own, place = [], -shift
    for piece, log_prob in zip(said.pieces, said.log_probs, strict=True):
        end = place + len(piece)
        # A token without text of its own is the first part of a sign that the next one completes.
        if any(start < max(end, place + 1) and place < stop for start, stop in spans):
            own.append(log_prob)
        place = end
    return math.exp(math.fsum(own) / len(own)) if own else NONE


def total(prices: Mapping[str, float], tokens: Tokens) -> float:
    """What tokens cost in US dollars; prices are for a million of them, under `prompt` and `written`."""
    written = tokens.answer + tokens.thinking
    return (tokens.prompt * prices.get("prompt", 0.0) + written * prices.get("written", 0.0)) / 1e6
