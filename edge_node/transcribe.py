"""Transcribing: what is said in a stretch of sound in which speech was found, with times; what is unsure is dropped.

In: 16 kHz mono samples and where Silero heard speech. Out: `Said` with times and confidence. Whisper invents words
for noise and for a distant murmur, so each stretch must pass gates on length, language, log-probability and silence.
What was said is data of strangers: stored as it is, never joined into an instruction. Blocking. Next: `perceive.py`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_node.read import cleaned
from edge_node.sound import Span
from foveate.errors import NotReady
from foveate.hearing import RATE_HZ, Sound

LEAST_S = 1.0
"""Shortest speech that is transcribed at all."""

_SHORT_S = 2.5  # a second of far speech came out as a word of another language: what is short must be surer
_MARGIN_S = 0.2
_MOST_SEGMENTS = 32


@dataclass(frozen=True, slots=True)
class Heard:
    """One stretch as the recogniser gave it; times in seconds from the first sample, log-probability in nats."""

    start: float
    end: float
    text: str
    mean_log_p: float
    silence: float
    """The recogniser's chance that nobody speaks."""
    squeeze: float
    """How well the text compresses; words repeated over and over do so too well."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one run of a recogniser gave, and how sure it was of the language."""

    language: str
    language_chance: float
    heard: tuple[Heard, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One stretch of speech that passed; `confidence` is exp(mean log p), 0 to 1, not calibrated."""

    start: float
    end: float
    text: str
    language: str
    confidence: float
    silence: float


class Recogniser(Protocol):
    """Whatever writes down speech."""

    def recognise(self, sound: Sound) -> Transcript:
        """What is said in at most 30 s of sound, its times from the first sample; blocking."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """What a stretch must reach; the values of OpenAI's own fallback rules, tightened where speech is short."""

    language_chance: float = 0.5
    mean_log_p: float = -0.8
    silence: float = 0.6
    squeeze: float = 2.4
    overlap: float = 0.5
    """Share of the stretch in which Silero heard somebody as well."""

    def passes(self, heard: Heard, *, language_chance: float, speech: Sequence[Span]) -> bool:
        """Whether the stretch is believed."""
        span = Span(heard.start, heard.end)
        return (
            span.length > 0.0
            and language_chance >= self.language_chance
            and heard.mean_log_p >= self.mean_log_p
            and heard.silence <= self.silence
            and heard.squeeze <= self.squeeze
            and sum(span.shared(other) for other in speech) >= self.overlap * span.length
        )


SURE = Gate()
SURER = Gate(language_chance=0.8, mean_log_p=-0.4, silence=0.3)


def transcribe(sound: Sound, speech: Sequence[Span], recogniser: Recogniser) -> tuple[Said, ...]:
    """What is said in the spans of `speech`, in order; nothing for speech below a second. Blocking.

    One run of the recogniser from the first to the last span: it works in windows of 30 s, whatever is in them.
    """
    total = sum(span.length for span in speech)
    if total < LEAST_S:
        return ()
    begin = max(0.0, speech[0].start - _MARGIN_S)
    end = min(len(sound) / RATE_HZ, speech[-1].end + _MARGIN_S)
    result = recogniser.recognise(sound[int(begin * RATE_HZ) : int(end * RATE_HZ)])
    gate = SURER if total < _SHORT_S else SURE
    within = [Span(span.start - begin, span.end - begin) for span in speech]
    return tuple(
        Said(
            start=begin + heard.start,
            end=begin + heard.end,
            text=text,
            language=result.language,
            confidence=min(1.0, math.exp(heard.mean_log_p)),
            silence=heard.silence,
        )
        for heard in result.heard[:_MOST_SEGMENTS]
        if gate.passes(heard, language_chance=result.language_chance, speech=within) and (text := cleaned(heard.text))
    )


class Whisper:
    """Whisper (Radford et al., arXiv:2212.04356) through faster-whisper: INT8 on the CPU, one thread, greedy.

    Whisper base: 0.4 s to load, 330 MB, 1.5 to 2.5 s of one core for up to 30 s of sound.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` holds a CTranslate2 conversion; NotReady says what is missing. It is never downloaded."""
        if not (folder / "model.bin").is_file():
            raise NotReady(
                f"Speech is not transcribed here: {folder} holds no model.bin; name a folder with a CTranslate2 "
                "conversion of Whisper."
            )
        try:
            library: Any = importlib.import_module("faster_whisper")
        except ImportError as error:
            raise NotReady(
                "Speech is not transcribed here; install `foveate[speech]`.", reason="EXTRA_MISSING"
            ) from error
        try:
            self._model: Any = library.WhisperModel(
                str(folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=1,
                num_workers=1,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise NotReady(f"The speech model at {folder} cannot be loaded ({error}); correct its folder.") from error

    def recognise(self, sound: Sound) -> Transcript:
        """As `Recogniser`; no second try at higher temperature, which is where most inventions come from."""
        segments, about = self._model.transcribe(
            sound, beam_size=1, temperature=0.0, condition_on_previous_text=False, vad_filter=False
        )
        heard = tuple(
            Heard(
                start=float(one.start),
                end=float(one.end),
                text=str(one.text),
                mean_log_p=float(one.avg_logprob),
                silence=float(one.no_speech_prob),
                squeeze=float(one.compression_ratio),
            )
            for one in segments
        )
        return Transcript(str(about.language), float(about.language_probability), heard)
