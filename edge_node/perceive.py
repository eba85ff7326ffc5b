"""Perceiving: from the clip of one moment to key frames, the lines written in them, and what is said.

In: a clip on disk and the event that it belongs to. Out: `Found`, at most three key frames with what was read, and
speech with times by the device's clock. Blocking; one thread calls it, and each network is opened when first needed.
It fetches and stores nothing, and takes what it recognises for data. Next: `apart.py`, which gives it a process.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edge_node import pick
from edge_node.decode import Frame, Timeline, frames, timeline
from edge_node.fetch import Clip
from edge_node.pick import Worth
from edge_node.read import Reader, open_reader
from edge_node.scene import KeyFrame, Spoken, Written
from edge_node.sound import SoundTrack, sound_of, speech_in
from edge_node.transcribe import Recogniser, Whisper, transcribe
from edge_node.wanted import Moment
from foveate import models
from foveate.errors import BadVideo, FoveateError, NotReady
from foveate.hearing import SileroVad, VoiceDetector
from foveate.messages import Embedding, Event
from foveate.vision.draw import small_jpeg
from foveate.vision.encode import Encoder, Encoding, LiteEncoder

logger = logging.getLogger(__name__)
Model = TypeVar("Model")

CANDIDATES = 8
"""Pictures of a clip that are in memory at once, 2 MB each."""
_STEP_S = 0.4
_WITHIN_S = 1e-3
_NAMES = uuid.UUID("a0d7c8be-6f5b-4f6e-9f0e-0f5a3c1d2b47")


@dataclass(frozen=True, slots=True)
class Found:
    """What one moment gave."""

    frames: tuple[KeyFrame, ...] = ()
    written: tuple[Written, ...] = ()
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True)
class _Where:
    """The moment, its place on the clock, and how many pictures may stand for it."""

    moment: Moment
    clock: Timeline
    most: int


class Lazily(Generic[Model]):
    """A model that is opened when it is first needed, and told about once when it cannot be."""

    def __init__(self, opens: Callable[[], Model] | None) -> None:
        """`opens` may raise NotReady; None means that the fleet does not want it."""
        self._opens = opens
        self._model: Model | None = None

    def get(self) -> Model | None:
        """The model, None when there is none."""
        if self._model is None and self._opens is not None:
            try:
                self._model = self._opens()
            except NotReady as error:
                logger.warning("%s", error.message)
                self._opens = None
        return self._model


class Perceive:
    """The networks of a closer look, and the order in which they are used."""

    def __init__(
        self,
        *,
        encoder: Callable[[], Encoder],
        voice: Callable[[], VoiceDetector],
        reader: Callable[[], Reader] | None,
        recogniser: Callable[[], Recogniser] | None,
    ) -> None:
        """Each opens its network when first called; None reads nothing, or transcribes nothing."""
        self._encoder, self._voice = Lazily(encoder), Lazily(voice)
        self._reader, self._recogniser = Lazily(reader), Lazily(recogniser)

    def look(self, clip: Clip, event: Event, moment: Moment, *, most: int) -> Found:
        """At most `most` key frames of the clip, what is written in them, and what is said. Blocking, 0.3 to 4 s.

        BadVideo when the clip holds neither picture nor sound that can be read, or when something choked on it.
        """
        try:
            return self._look(clip, event, moment, most=most)
        except FoveateError:
            raise
        except Exception as error:
            # Footage of strangers meets decoders and networks here: what they choke on must not end the site.
            logger.exception("a moment could not be looked at", extra={"event_id": moment.event_id})
            raise BadVideo(f"The footage could not be looked at ({type(error).__name__}); see the log.") from error

    def _look(self, clip: Clip, event: Event, moment: Moment, *, most: int) -> Found:
        start, end = max(moment.start, clip.header.start), min(moment.end, clip.header.end)
        seen: tuple[Frame, ...] = ()
        clock, trouble = Timeline(clip.header.start, 0.0, 1.0), None
        try:
            clock = timeline(clip.path, clip.header)
            step = max(_STEP_S, (end - start) / CANDIDATES)
            # Kept within the part of its event, ends excluded: what is kept of a part is replaced by its span.
            seen = frames(clip.path, clock, start=start + _WITHIN_S, end=end - _WITHIN_S, step=step, most=CANDIDATES)
        except BadVideo as error:
            # A microphone without a camera is heard all the same.
            trouble = error
        track = _sound(clip.path, clock, start, end)
        if not seen and track is None and trouble is not None:
            raise trouble
        kept, written = self._seen(seen, clip, event, _Where(moment, clock, most))
        spoken = () if track is None else self._heard(track, event, clock)
        return Found(kept, written, spoken)

    def _seen(
        self, seen: Sequence[Frame], clip: Clip, event: Event, where: _Where
    ) -> tuple[tuple[KeyFrame, ...], tuple[Written, ...]]:
        made: dict[float, Encoding] = {}
        encoder = self._encoder.get()
        if encoder is None:
            return (), ()

        def features(frame: Frame) -> pick.Features:
            made[frame.time] = encoder.encode(frame.picture)
            return made[frame.time].features

        worth = [Worth(pick.sharpness(one.picture), pick.objects(event.tracks, one.time)) for one in seen]
        chosen = pick.choose(seen, worth, features=features, most=where.most)
        kept = tuple(
            KeyFrame(
                key_frame_id=str(uuid.uuid5(_NAMES, f"{event.event_id}/{where.moment.part}/{number}")),
                device_id=event.device_id,
                event_id=event.event_id,
                time=frame.time,
                picture=small_jpeg(frame.picture),
                embedding=Embedding(encoder.model_tag, tuple(made[frame.time].conse.tolist())),
                media_offset=_offset(clip, where.clock, frame.time),
            )
            for number, frame in enumerate(chosen)
        )
        return kept, self._written(chosen, kept)

    def _written(self, pictures: Sequence[Frame], kept: Sequence[KeyFrame]) -> tuple[Written, ...]:
        reader = self._reader.get()
        if reader is None:
            return ()
        return tuple(
            Written(
                key_frame_id=frame.key_frame_id,
                device_id=frame.device_id,
                event_id=frame.event_id,
                time=frame.time,
                text=line.text,
                score=line.score,
                box=line.box,
            )
            for picture, frame in zip(pictures, kept, strict=True)
            for line in reader.read(picture.picture)
        )

    def _heard(self, track: SoundTrack, event: Event, clock: Timeline) -> tuple[Spoken, ...]:
        voice = self._voice.get()
        speech = speech_in(track.sound, voice) if voice is not None else ()
        recogniser = self._recogniser.get() if speech else None
        if recogniser is None:
            return ()
        return tuple(
            Spoken(
                device_id=event.device_id,
                event_id=event.event_id,
                start=clock.at(track.first + said.start),
                end=clock.at(track.first + said.end),
                text=said.text,
                language=said.language,
                confidence=said.confidence,
                silence=said.silence,
            )
            for said in transcribe(track.sound, speech, recogniser)
        )


def _sound(path: Path, clock: Timeline, start: float, end: float) -> SoundTrack | None:
    """The sound of a span of Unix seconds; none when it cannot be read."""
    first, last = (clock.first + (time - clock.start) * clock.rate for time in (start, end))
    try:
        return sound_of(path, start=first, end=last)
    except BadVideo:
        return None


def _offset(clip: Clip, clock: Timeline, time: float) -> float | None:
    """The place of a moment in the source, None for live ones."""
    offset = clip.header.media_offset
    return None if offset is None else offset + (time - clip.header.start) * clock.rate


def embedded(*, text_folder: Path | None = None, speech_folder: Path | None = None) -> Perceive:
    """The carried encoder and voice detector, PP-OCR where it is installed, Whisper where its folder is named."""

    def recogniser() -> Recogniser:
        if speech_folder is None:
            raise NotReady("Speech is found but not transcribed here; name the folder of a Whisper model.")
        return Whisper(speech_folder)

    return Perceive(
        encoder=lambda: LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm")),
        voice=lambda: SileroVad(models.find("silero-vad")),
        reader=lambda: open_reader(text_folder),
        recogniser=recogniser,
    )
