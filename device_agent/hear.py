"""Hears: coded packets of sound become stretches of half a second with their level, onsets and speech.

In: `Packet`s of sound as the camera coded them (AAC, PCM, G.711, Opus, whatever FFmpeg decodes), in the perceiving
thread. Out: `Heard`, without a gap as long as the packets have none. It does not know who speaks or what sounds, and
keeps no sample longer than half a second. Next: `triggers/`, which make events of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from device_agent.capture import Packet
from device_agent.loudness import Loudness
from device_agent.rules import SoundRules
from device_agent.view import Heard
from foveate.hearing import CHUNK, RATE_HZ, Sound, VoiceDetector, VoiceMemory

logger = logging.getLogger(__name__)

STRETCH = 16 * CHUNK
"""Samples of one `Heard`: 0.512 s of the recording."""

_SPEAKING = 8  # chunks, 0.26 s: Silero's own shortest speech is 0.25 s
_GAP_S = 0.25  # of the recording: between a packet's time and the count of samples, before they are torn apart
_SLIP_S = 0.05  # from here on the count is corrected, so that a drifting sound card stays with its pictures


class Ears:
    """One camera's hearing; owns its memory of the sound so far. Call it from one thread."""

    def __init__(self, *, voice: VoiceDetector, rules: SoundRules) -> None:
        self._voice, self._rules = voice, rules
        self._loudness = Loudness(onset_db=rules.onset_db)
        self._memory = VoiceMemory()
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._run = -1
        self._waiting: list[Sound] = []
        self._count = 0  # samples in `_waiting`
        self._begin: float | None = None  # Unix seconds of the first of them; None where nothing goes before
        self._deaf = False

    def hear(self, packet: Packet) -> Iterator[Heard]:
        """The stretches that this packet completes, mostly none or one; silent about packets of pictures.

        Never raises for bad sound: what cannot be decoded is left out and logged once until it can be again.
        """
        if packet.video or not self._rules.on:
            return
        if packet.run != self._run:
            self._run = packet.run
            self._tear()
        for frame in self._decoded(packet):
            behind = 0.0 if frame.pts is None else float((frame.pts - packet.pts) * packet.tick)
            if abs(behind) > 1.0:  # the decoder's count is damaged, or counts in other ticks
                behind = 0.0
            yield from self._take(self._resampled(frame), packet, packet.time + behind / packet.rate)

    def _decoded(self, packet: Packet) -> list[AudioFrame]:
        decoder = packet.streams.sound_decoder
        if decoder is None:
            return []
        try:
            frames = decoder.decode(packet.data)
        except (av.FFmpegError, ValueError) as error:
            self._lose(error)
            return []
        self._deaf = self._deaf and not frames
        return frames

    def _resampled(self, frame: AudioFrame) -> Sound:
        """The frame as 16 kHz mono; empty when there is nothing in it."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        try:
            if self._resampler is None or shape != self._shape:
                self._resampler, self._shape = AudioResampler(format="flt", layout="mono", rate=RATE_HZ), shape
            frame.pts = None  # time is kept here; the resampler's own idea of it may refuse a jump
            parts = [part.to_ndarray().reshape(-1) for part in self._resampler.resample(frame) if part.samples]
        except (av.FFmpegError, ValueError) as error:
            self._resampler = None
            self._lose(error)
            return np.zeros(0, np.float32)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _take(self, sound: Sound, packet: Packet, time: float) -> Iterator[Heard]:
        self._place(time, packet.rate)
        self._waiting.append(sound)
        self._count += len(sound)
        if self._count < STRETCH:
            return
        whole = np.concatenate(self._waiting)
        whole, rest = np.split(whole, [self._count - self._count % STRETCH])
        self._waiting, self._count = [rest], len(rest)
        for stretch in np.split(whole, len(whole) // STRETCH):
            yield self._heard(stretch, packet)

    def _place(self, time: float, rate: float) -> None:
        """Holds the count of samples to the packets' times: small slips are mended, gaps torn open."""
        speed = RATE_HZ * rate
        if self._begin is not None:
            off = (time - (self._begin + self._count / speed)) * rate
            if abs(off) > _GAP_S:
                self._tear()
            elif abs(off) > _SLIP_S:
                self._begin = time - self._count / speed
        if self._begin is None:
            self._begin = time

    def _heard(self, sound: Sound, packet: Packet) -> Heard:
        # A damaged packet may decode to NaN, which the network's memory would keep for ever.
        sound = np.clip(np.nan_to_num(sound), -1.0, 1.0)
        measured = self._loudness.measure(sound)
        speech, time = 0.0, self._begin or 0.0
        if self._rules.speech:
            likely, self._memory = self._voice.speech(sound, self._memory)
            speech = float(np.sort(likely)[-_SPEAKING])  # what a quarter of a second of it reaches
        duration = STRETCH / RATE_HZ / packet.rate
        self._begin = time + duration
        return Heard(
            time=time,
            # Within a run both clocks run side by side.
            media_time=None if packet.media_time is None else packet.media_time + (time - packet.time) * packet.rate,
            duration_s=duration,
            level_db=measured.level_db,
            floor_db=measured.floor_db,
            speech=speech,
            onset=measured.onset,
        )

    def _tear(self) -> None:
        """What comes does not continue what was: less than half a second is dropped, the usual level stays known."""
        self._waiting, self._count, self._begin = [], 0, None
        self._memory, self._resampler = VoiceMemory(), None
        self._loudness.interrupt()

    def _lose(self, error: Exception) -> None:
        if not self._deaf:
            logger.warning("sound could not be decoded; hearing goes on behind it", extra={"error": str(error)})
        self._deaf = True
