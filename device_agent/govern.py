"""The governor: holds the agent to its budget by looking less often, the rungs that matter most last.

In: the CPU seconds that the process has used, now and then. Out: an `Allowance` for `look.py`, and sentences that say
what was given up. Recording and packet sizes are never given up: they cost next to nothing and nothing else could
replace them. Pure; milliwatts are a stated model, not a measurement. Next: `look.py` obeys, `command.py` tells.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from device_agent.rules import Budget

logger = logging.getLogger(__name__)

EVERY_S = 5.0
"""How often the governor wants to hear."""

_SMOOTH = 0.3
_RELIEF = 0.75  # of the budget: below it, for _PATIENCE readings, something is given back
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often the dearer rungs may run, and how little may wake them.

    The detector looks at most every `look_s` while something moves; the encoder at the whole picture at most every
    `encode_s`; a place wakes the detector when its cosine with itself before is below `alike`; after a burst nothing
    wakes it for `doze_s`.
    """

    look_s: float = 0.0
    encode_s: float = 10.0
    alike: float = 0.9  # INT8 noise alone is .988
    doze_s: float = 0.0
    words: str = ""


LEVELS = (
    Allowance(),
    Allowance(encode_s=60.0, words="pictures are compared with sentences and memory once a minute"),
    Allowance(look_s=0.5, encode_s=60.0, words="the detector looks at two pictures a second at most"),
    Allowance(look_s=1.0, encode_s=60.0, words="the detector looks at one picture a second at most"),
    Allowance(look_s=2.0, encode_s=600.0, words="the detector looks at one picture every two seconds at most"),
    Allowance(look_s=2.0, encode_s=600.0, alike=0.75, words="only what changed more than a little wakes the detector"),
    Allowance(
        look_s=5.0, encode_s=600.0, alike=0.75, words="the detector looks at one picture every five seconds at most"
    ),
    Allowance(
        look_s=5.0,
        encode_s=600.0,
        alike=0.75,
        doze_s=15.0,
        words="after each burst of looking it rests for fifteen seconds",
    ),
)
"""Each level gives up more than the one before."""


def share_of(budget: Budget) -> float | None:
    """The share of one core that a budget allows; None without a limit. Milliwatts by `idle_mw + share × core_mw`."""
    if budget.cpu_share is not None:
        return budget.cpu_share
    if budget.milliwatts is not None:
        return max(0.0, budget.milliwatts - budget.idle_mw) / budget.core_mw
    return None


class Governor:
    """Moves one level at a time: up as soon as the budget is exceeded, down when there has been room for a while."""

    def __init__(self, budget: Budget) -> None:
        self.limit = share_of(budget)
        self.used = 0.0
        """Share of one core lately."""
        self._level = 0
        self._calm = 0
        self._before: tuple[float, float] | None = None

    @property
    def allowance(self) -> Allowance:
        """What is allowed now."""
        return LEVELS[self._level]

    @property
    def given_up(self) -> tuple[str, ...]:
        """What the budget costs now, the latest last."""
        said = [level.words for level in LEVELS[1 : self._level + 1]]
        # A slower look replaces the sentence of a faster one.
        looks = [words for words in said if words.startswith("the detector")]
        return tuple(words for words in said if words not in looks[:-1])

    def hear(self, *, time: float, cpu_seconds: float) -> Allowance:
        """Takes a reading in (monotonic seconds; CPU seconds of the whole process) and returns what is allowed."""
        before, self._before = self._before, (time, cpu_seconds)
        if before is None or time <= before[0] or cpu_seconds < before[1]:
            return self.allowance
        share = (cpu_seconds - before[1]) / (time - before[0])
        self.used = share if self.used == 0.0 else self.used + _SMOOTH * (share - self.used)
        if self.limit is not None:
            self._move(self.limit)
        return self.allowance

    def _move(self, limit: float) -> None:
        level = self._level
        if self.used > limit:
            self._level, self._calm = min(self._level + 1, len(LEVELS) - 1), 0
        elif self.used < _RELIEF * limit:
            self._calm += 1
            if self._calm >= _PATIENCE and self._level > 0:
                self._level, self._calm = self._level - 1, 0
        else:
            self._calm = 0
        if self._level != level:
            logger.info(
                "the budget moved", extra={"level": self._level, "used": round(self.used, 3), "limit": round(limit, 3)}
            )
