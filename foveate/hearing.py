"""From sound to how likely somebody speaks: Silero VAD, on any stretch of 16 kHz mono.

In: float32 samples, a whole number of chunks of 32 ms, and what the network remembers of the sound before. Out: one
likelihood for each chunk, and the new memory. It does not know where sound comes from, who speaks or what is said.
Next: the device's `hear.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foveate.inference import open_session
from foveate.models import ModelFile

RATE_HZ = 16_000
CHUNK = 512
"""Samples that get one likelihood: 32 ms."""

_CONTEXT = 64  # samples of the chunk before that the network sees again, as in the package's own front end

Sound = NDArray[np.float32]


def _nothing(*shape: int) -> Sound:
    return np.zeros(shape, np.float32)


@dataclass(frozen=True, slots=True)
class VoiceMemory:
    """What the network carries from one stretch to the next; a fresh one knows only silence."""

    context: Sound = field(default_factory=lambda: _nothing(_CONTEXT))
    hidden: Sound = field(default_factory=lambda: _nothing(1, 1, 128))
    cell: Sound = field(default_factory=lambda: _nothing(1, 1, 128))


class VoiceDetector(Protocol):
    """Whatever tells speech from other sound."""

    def speech(self, sound: Sound, memory: VoiceMemory) -> tuple[NDArray[np.float32], VoiceMemory]:
        """A likelihood 0..1 for each CHUNK of `sound` (16 kHz mono, -1..1, finite), and the memory after it."""
        ...


class SileroVad:
    """Silero VAD v6 (Silero Team 2020-2026), the 16 kHz network that takes many chunks in one run.

    Its likelihoods equal those of the network that takes one at a time bit for bit, at half the cost. The session keeps
    nothing between calls, so one detector may serve several cameras.
    """

    def __init__(self, model: ModelFile, *, threads: int = 1) -> None:
        self.model = model
        self._session = open_session(model, threads=threads)

    def speech(self, sound: Sound, memory: VoiceMemory) -> tuple[NDArray[np.float32], VoiceMemory]:
        """float32 n for a sound of n × CHUNK samples, and the memory after it. Blocking, 1 ms for half a second."""
        chunks = sound.reshape(-1, CHUNK)
        if not len(chunks):
            return _nothing(0), memory
        before = np.concatenate([memory.context[None], chunks[:-1, -_CONTEXT:]])
        likely, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {"input": np.concatenate([before, chunks], axis=1), "h": memory.hidden, "c": memory.cell},
        )
        return likely, VoiceMemory(chunks[-1, -_CONTEXT:].copy(), hidden, cell)
