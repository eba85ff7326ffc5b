"""What a site remembers besides events: key frames, what is written in them, what was said.

In: key frames, recognised text and speech with times. Out: the same by device, time, word or likeness.
It recognises nothing itself: `gather.py` does. Next: `answer.py` and `retention.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foveate.messages import Embedding
from foveate.vision.boxes import Box


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One picture that stands for a moment of an event (JPEG); times are Unix seconds by the device's clock."""

    key_frame_id: str
    device_id: str
    event_id: str
    time: float
    picture: bytes = field(repr=False)
    embedding: Embedding | None = None
    media_offset: float | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """One line that was read in a key frame; `score` is the recogniser's, 0 to 1, not calibrated."""

    key_frame_id: str
    device_id: str
    event_id: str
    time: float
    text: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Spoken:
    """One stretch of speech; `confidence` is exp(mean log p) of its tokens, `silence` the chance that nobody spoke."""

    device_id: str
    event_id: str
    start: float
    end: float
    text: str
    language: str
    confidence: float
    silence: float
