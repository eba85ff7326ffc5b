"""What every vision-language model behind the edge offers: a prompt with pictures in, words with log-probabilities out.

In: nothing; types only. Out: `Prompt`, `Said` and the protocol `Vlm`. Next: one file for each backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from foveate.vision.detect import Picture


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of a prompt, uint8 RGB at the size that the plan gave it, with where and when it was taken."""

    picture: Picture
    device_id: str
    time: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of a model: instructions, the pictures in order of time, and the question.

    `rules` are ours; `question` is the asker's; `heard` holds what was recognised in pictures and sound (signs,
    speech): a backend passes it on as quoted data apart from `rules`, since anybody can write on a sign.
    """

    rules: str
    question: str
    shown: tuple[Shown, ...] = ()
    heard: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the words must fulfil, None for plain words."""
    most_tokens: int = 256
    stop: tuple[str, ...] = ()
    before: str = ""
    """What the model has written already: it goes on from there (second stage of answer first, think later)."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a model wrote, without its stop string; natural log-probabilities, one a token, None when it gives none.

    `pieces` are the tokens' texts in the same order; joined they are `text` as far as the model gives them.
    """

    text: str
    log_probs: tuple[float, ...] | None = None
    pieces: tuple[str, ...] = ()
    prompt_tokens: int = 0
    written_tokens: int = 0
    cut_off: bool = False
    """Whether it stopped at `most_tokens` rather than by itself."""
    details: Mapping[str, Any] = field(default_factory=dict)


class Vlm(Protocol):
    """A model that looks at pictures and writes."""

    @property
    def tag(self) -> str:
        """`name@revision`, with the quantisation in the revision when there is one."""
        ...

    @property
    def sees(self) -> bool:
        """Whether it takes pictures; a language model alone does not."""
        ...

    async def say(self, prompt: Prompt, *, timeout: float) -> Said:
        """What it writes within `timeout` seconds.

        Raises DeadlinePassed, Overloaded (with a delay), Unreachable, or NotSupported for what it cannot do; never
        returns words that it did not write.
        """
        ...
