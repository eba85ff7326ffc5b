"""Sound: speech, and sounds that rise suddenly above the usual level.

In: `Heard` stretches. Out: one event for each stretch of speech, and for each sudden sound while it is loud. It does
not know how speech is found, nor what is said. Next: `all.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.rules import SoundRules
from device_agent.triggers.pace import Finding, Pacer
from device_agent.view import Heard
from foveate.messages import Event

SPEECH, SUDDEN = "speech", "sudden sound"

_SPEAKS, _STILL_SPEAKS = 0.5, 0.35  # likelihood; Silero's own pair of thresholds
_WORD_S = 0.25  # shorter is a click
_LOUD_DB = 40.0  # above the usual level scores 1
_STILL_LOUD = 0.5  # of the onset's decibels


@dataclass(slots=True)
class _Run:
    """A sound that goes on."""

    start: float
    media_start: float | None
    score: float = 0.0


class SoundTrigger:
    """Follows what is heard."""

    def __init__(self, rules: SoundRules, *, pacer: Pacer) -> None:
        self.pacer = pacer
        self._rules = rules
        self._runs: dict[str, _Run] = {}

    def hear(self, heard: Heard) -> list[Event]:
        """What this stretch of sound gives rise to."""
        told = self.pacer.settle(heard.time)
        if self._rules.speech:
            told += self._speech(heard)
        return told + self._sudden(heard)

    def tick(self, time: float) -> list[Event]:
        """What ends because time has passed."""
        return self.pacer.settle(time)

    def reset(self) -> None:
        """Forgets what has begun and not fired yet."""
        self._runs.clear()

    def _speech(self, heard: Heard) -> list[Event]:
        going_on = SPEECH in self._runs or SPEECH in self.pacer
        if not heard.speech >= (_STILL_SPEAKS if going_on else _SPEAKS):
            self._runs.pop(SPEECH, None)
            return []
        run = self._run(SPEECH, heard)
        run.score = max(run.score, min(1.0, heard.speech))
        if SPEECH not in self.pacer and heard.time + heard.duration_s - run.start < _WORD_S:
            return []
        return self._tell(SPEECH, run, heard)

    def _sudden(self, heard: Heard) -> list[Event]:
        going_on, above = SUDDEN in self.pacer, heard.level_db - heard.floor_db
        begins = heard.onset and above >= self._rules.onset_db
        if not (begins or (going_on and above >= _STILL_LOUD * self._rules.onset_db)):
            self._runs.pop(SUDDEN, None)
            return []
        run = self._run(SUDDEN, heard)
        run.score = max(run.score, min(1.0, max(0.0, above / _LOUD_DB)))
        return self._tell(SUDDEN, run, heard)

    def _run(self, kind: str, heard: Heard) -> _Run:
        """The run that this stretch belongs to; one that the clock contradicts begins anew."""
        run = self._runs.get(kind)
        if run is None or heard.time < run.start:
            run = self._runs[kind] = _Run(heard.time, heard.media_time)
        return run

    def _tell(self, kind: str, run: _Run, heard: Heard) -> list[Event]:
        end = heard.time + max(0.0, heard.duration_s)
        found = Finding(run.start, max(run.start, end), run.score, media_start=run.media_start, about=kind)
        return self.pacer.tell(kind, found, now=heard.time)
