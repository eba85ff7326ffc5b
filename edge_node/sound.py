"""The sound of a clip, and where in it somebody speaks.

In: a media file with or without a sound track. Out: 16 kHz mono samples, at most a bounded stretch of them, and spans
of speech in seconds from the first sample. It does not know what is said. Blocking. Next: `transcribe.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from foveate.errors import BadVideo
from foveate.hearing import CHUNK, RATE_HZ, Sound, VoiceDetector, VoiceMemory

LONGEST_S = 30.0
"""Sound of one clip that is heard; 2 MB of samples, and one window of Whisper."""

_CHUNK_S = CHUNK / RATE_HZ
_BLOCK = 64 * CHUNK  # samples that the network gets at once: 2 s
_ON, _OFF = 0.5, 0.35  # Silero's own: speech begins at one likelihood and ends below the other
_SHORTEST_S = 0.25
_JOIN_S = 0.6  # a breath does not end a sentence


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in seconds from the first sample."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start

    def shared(self, other: Span) -> float:
        """Seconds that both have."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))


@dataclass(frozen=True, slots=True, eq=False)
class SoundTrack:
    """Samples in -1..1, and the time of the first one in the file, in seconds."""

    sound: Sound
    first: float


def sound_of(path: Path, *, start: float = -math.inf, end: float = math.inf) -> SoundTrack | None:
    """At most 30 s of the sound from `start` to `end` (seconds in the file), None when there is none.

    BadVideo when the file is no media; of sound that breaks off, what came before.
    """
    parts: list[Sound] = []
    first, count = 0.0, 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            for time, samples in _decoded(container):
                if time < start:
                    continue
                if time >= end:
                    break
                first = first if parts else time
                parts.append(samples)
                count += len(samples)
                if count >= LONGEST_S * RATE_HZ:
                    break
    except (av.FFmpegError, OSError, ValueError) as error:
        if not parts:
            raise BadVideo("The clip's sound cannot be read; ask for another moment.", path=str(path)) from error
    if not parts:
        return None
    # A damaged packet may decode to NaN, which the network's memory would keep for ever.
    whole = np.clip(np.nan_to_num(np.concatenate(parts)), -1.0, 1.0)
    return SoundTrack(whole[: int(LONGEST_S * RATE_HZ)].astype(np.float32), first)


def speech_in(sound: Sound, voice: VoiceDetector) -> tuple[Span, ...]:
    """Where somebody speaks, in order; 5 ms of work for a second of sound."""
    likely, memory = [], VoiceMemory()
    whole = sound[: len(sound) // CHUNK * CHUNK]
    for begin in range(0, len(whole), _BLOCK):
        heard, memory = voice.speech(whole[begin : begin + _BLOCK], memory)
        likely.append(heard)
    return spans(np.concatenate(likely)) if likely else ()


def spans(likely: NDArray[np.float32]) -> tuple[Span, ...]:
    """Stretches of speech in likelihoods of 32 ms each: begun at 0.5, ended below 0.35, short gaps closed. Pure."""
    found: list[Span] = []
    begin: int | None = None
    for index, value in enumerate([*likely.tolist(), 0.0]):
        if begin is None and value >= _ON:
            begin = index
        elif begin is not None and value < _OFF:
            found.append(Span(begin * _CHUNK_S, index * _CHUNK_S))
            begin = None
    joined: list[Span] = []
    for span in found:
        if joined and span.start - joined[-1].end <= _JOIN_S:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return tuple(span for span in joined if span.length >= _SHORTEST_S)


def _decoded(container: av.container.InputContainer) -> Iterator[tuple[float, Sound]]:
    """Time in the file and samples of each decoded frame."""
    stream = container.streams.audio[0]
    resampler = AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    time = 0.0
    for frame in container.decode(stream):
        time = float(frame.time) if frame.time is not None else time
        for samples in _resampled(frame, resampler):
            yield time, samples


def _resampled(frame: AudioFrame, resampler: AudioResampler) -> Iterator[Sound]:
    frame.pts = None  # time is kept here; the resampler's own idea of it may refuse a jump
    for part in resampler.resample(frame):
        if part.samples:
            yield part.to_ndarray().reshape(-1).astype(np.float32, copy=False)
