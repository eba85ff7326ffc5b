"""Manual: somebody pressed the button.

In: presses. Out: an event of `length_s` for each, never held back; who presses again while it lasts, or within
`merge_s` of its end, makes it longer. It does not know who may press. Next: `all.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.rules import ManualRules
from device_agent.triggers.pace import Finding, Meaning, Pacer, nothing
from foveate.messages import Event

MOST_OPEN = 16
_LONGEST_ABOUT = 200


@dataclass(slots=True)
class _Press:
    """A press that lasts."""

    start: float
    media_start: float | None
    until: float


class ManualTrigger:
    """Follows presses; at most `MOST_OPEN` last at once, a further one ends the oldest."""

    def __init__(self, rules: ManualRules, *, pacer: Pacer) -> None:
        self.pacer = pacer
        self._rules = rules
        self._presses: dict[str, _Press] = {}

    def press(self, *, time: float, about: str, media_time: float | None) -> list[Event]:
        """The event of this press first, then what it ends."""
        about = " ".join(about.split())[:_LONGEST_ABOUT]
        ended = self._make_room(about, time)
        press = self._presses.get(about)
        if press is not None:
            press.until = max(press.until, time + self._rules.length_s)
            return self.pacer.tell_now(about, self._found(about, press, time), now=time)
        press = self._presses[about] = _Press(time, media_time, time + max(0.0, self._rules.length_s))
        return self.pacer.tell(about, self._found(about, press, time), now=time) + ended

    def tick(self, time: float, *, meaning: Meaning = nothing) -> list[Event]:
        """What grows and ends because time has passed."""
        told = []
        for about, press in list(self._presses.items()):
            if time > press.until + self.pacer.pace.merge_s:
                told += self._end(about, time, meaning)
            else:
                told += self.pacer.tell(about, self._found(about, press, time), now=time, meaning=meaning)
        return told

    def reset(self) -> None:
        """Forgets the presses, whose events are closed elsewhere."""
        self._presses.clear()

    def _make_room(self, about: str, time: float) -> list[Event]:
        """Ends what this press cannot go on from, or the oldest when too many last."""
        press = self._presses.get(about)
        if press is not None:
            goes_on = press.start <= time <= press.until + self.pacer.pace.merge_s
            return [] if goes_on else self._end(about, time)
        return self._end(next(iter(self._presses)), time) if len(self._presses) >= MOST_OPEN else []

    def _end(self, about: str, time: float, meaning: Meaning = nothing) -> list[Event]:
        found = self._found(about, self._presses.pop(about), time)
        return self.pacer.close(about, now=time, found=found, meaning=meaning)

    def _found(self, about: str, press: _Press, time: float) -> Finding:
        end = min(press.until, max(press.start, time))
        return Finding(press.start, end, 1.0, media_start=press.media_start, about=about)
