"""Step 2, look: from frames to a view of what is there, paying by rung: luma, then the encoder, then the detector.

In: `Frame`s that rung 1 let pass. Out: a `View` for each. Asleep, a frame costs its luma only; a change wakes the
encoder, which says whether the place still looks like before; if it does not, the detector and the tracker look at
every due frame until all is settled. It does not know what is worth reporting. Next: `triggers/`; `answer.py` asks for
the last view.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from device_agent import funnel as rung
from device_agent.background import HEIGHT, WIDTH, Background
from device_agent.frames import Frame
from device_agent.funnel import Funnel
from device_agent.govern import Allowance
from device_agent.observe import Observation, observe
from device_agent.track import Tracker
from device_agent.view import Change, Resemblance, View
from foveate.messages import Embedding
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Detector, Picture
from foveate.vision.encode import Encoder, Encoding

logger = logging.getLogger(__name__)

_SETTLE_S, _SETTLE_LOOKS = 3.0, 2  # without a stir before it sleeps
_STILL_EVERY_S = 1.0  # looks at what came to rest
_DETECT_PATROL_S = 300.0  # what two cheap rungs call quiet is looked at all the same
_ENCODE_PATROL_S = 600.0
_START_S = 3.0
_REFUSALS = 3  # in a row; then the detector has to look
_DOUBT_S = 0.4
_LEAST_SIDE = 0.25  # of the picture, of what the encoder compares
_CROP_MARGIN = 0.2
_CROP_SIDE = 224  # what the encoder sees; keeping more would only cost memory
_BETTER = 1.15  # a crop must be this much better to replace the one kept


class OneEye:
    """A detector that looks at one picture at a time, in a thread of its own.

    Looking, answering and redacting share it: each thread that runs the network keeps 25 MB of scratch memory.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="eye")

    def detect(self, image: Picture) -> tuple[Detection, ...]:
        """What the detector finds; waits for its turn."""
        return self.timed(image)[0]

    def timed(self, image: Picture) -> tuple[tuple[Detection, ...], float]:
        """What the detector finds, and the CPU seconds that it took."""

        def work() -> tuple[tuple[Detection, ...], float]:
            began = time.thread_time()
            return self._detector.detect(image), time.thread_time() - began

        return self._thread.submit(work).result()


class Looker:
    """One camera's eye: holds what is needed to understand the next frame."""

    def __init__(
        self,
        *,
        eye: OneEye,
        encoder: Encoder,
        funnel: Funnel,
        tracker: Tracker | None = None,
        allowance: Callable[[], Allowance] = Allowance,
    ) -> None:
        self._eye, self._encoder, self._funnel, self._allowance = eye, encoder, funnel, allowance
        self._tracker = tracker or Tracker()
        self._background = Background()
        self._started = -math.inf
        self._stirred_at, self._looks_since = -math.inf, 0
        self._detected_at, self._encoded_at = -math.inf, -math.inf
        self._refusals, self._doubted_at, self._dozes_until = 0, -math.inf, -math.inf
        self._reference: Frame | None = None  # converted only if something changes
        self._crops: dict[int, tuple[float, NDArray[np.uint8]]] = {}
        self._frame: Frame | None = None
        self.awake = True
        """Whether every due frame is wanted, whatever packet sizes say."""
        self.view: View | None = None
        """The last view; replaced, never changed, so any thread may read it."""

    def look(self, frame: Frame) -> View:
        """What is in this frame, given those before it. Blocking: runs the networks when it is worth it."""
        backwards = self._frame is not None and frame.time < self._frame.time
        first, self._frame = self._frame is None or backwards, frame
        if backwards:
            self._background.forget()
        with self._funnel.spending(rung.LUMA):
            change = self._background.compare(frame.grey(width=WIDTH, height=HEIGHT), frame.time)
        if first or change.cut:
            self._begin(frame)
        self._funnel.count(rung.LUMA, seen=1, passed=int(first or change.moving))
        seen: tuple[Resemblance, ...] = ()
        if not self.awake and change.moving:
            change, seen = self._judge(frame, change)
        seen += self._patrol(frame)
        looked = self._worth_a_look(frame.time, change)
        if looked:
            self._detect(frame, change)
        else:
            self._tracker.age(frame.time)
            if not change.roving:
                self._tracker.stand(frame.time, (*change.regions, *change.resting))
        view = View(
            frame.time,
            frame.media_time,
            change,
            self._tracker.followed,
            seen,
            looked=looked,
            start=frame.time - self._started <= _START_S,
        )
        self._settle(frame, change)
        self._forget(view)
        self.view = view
        return view

    def meaning(self, track_id: int | None) -> Embedding | None:
        """The vector of a track's best crop, of the whole frame for None; None when there is no picture of it."""
        if track_id is None:
            image = self._frame.image if self._frame is not None else None
        else:
            _, image = self._crops.get(track_id, (0.0, None))
        return None if image is None else self._meaning(self._encode(image))

    def _begin(self, frame: Frame) -> None:
        """A scene starts: nothing is known of it, so it is looked at."""
        logger.debug("a scene starts", extra={"time": frame.time})
        self._tracker.reset()
        self._started = self._stirred_at = frame.time
        self._detected_at, self._looks_since, self._reference = -math.inf, 0, None
        self.awake = True

    def _judge(self, frame: Frame, change: Change) -> tuple[Change, tuple[Resemblance, ...]]:
        """Rung 3, which may call the change mere light; wakes the detector otherwise."""
        quiet = replace(change, level=0.0, regions=(), resting=(*change.regions, *change.resting)[:16])
        if frame.time < self._dozes_until or (self._refusals and frame.time - self._doubted_at < _DOUBT_S):
            return quiet, ()
        if change.roving or change.cut or self._reference is None:
            self._wake(frame.time)
            return change, ()
        box = _compared(change.regions[0])
        now, before = self._encode(_crop(frame.image, box)), self._encode(_crop(self._reference.image, box))
        alike = float(now.features @ before.features)
        logger.debug("compared", extra={"time": frame.time, "alike": round(alike, 3), "level": round(change.level, 1)})
        if alike > self._allowance().alike and self._refusals < _REFUSALS:
            self._refusals, self._doubted_at = self._refusals + 1, frame.time
            return quiet, ()
        self._funnel.count(rung.ENCODER, passed=1)
        self._wake(frame.time)
        return change, (self._resemblance(change.regions[0], now),)

    def _wake(self, moment: float) -> None:
        self.awake, self._refusals = True, 0
        self._stirred_at, self._looks_since = moment, 0

    def _patrol(self, frame: Frame) -> tuple[Resemblance, ...]:
        """The whole picture's resemblance now and then, for memory and sentences."""
        every = self._allowance().encode_s if self.awake and self._started < frame.time else _ENCODE_PATROL_S
        if frame.time - self._encoded_at < every:
            return ()
        self._encoded_at = frame.time
        return (self._resemblance(None, self._encode(frame.image)),)

    def _worth_a_look(self, moment: float, change: Change) -> bool:
        waited = moment - self._detected_at + 0.01
        if not self.awake:
            return waited >= _DETECT_PATROL_S
        if change.moving or self._tracker.curious:
            return waited >= self._allowance().look_s
        return waited >= max(_STILL_EVERY_S, self._allowance().look_s)

    def _detect(self, frame: Frame, change: Change) -> None:
        self._detected_at = frame.time
        found, cpu_seconds = self._eye.timed(frame.image)
        self._looks_since += 1
        with self._funnel.spending(rung.DETECTOR):
            observations = observe(found)
            seen = self._tracker.update(
                frame.time,
                observations,
                media_time=frame.media_time,
                image=frame.image,
                regions=None if change.roving else (*change.regions, *change.resting),
            )
            for track_id, observation in seen.items():
                self._keep_crop(track_id, observation, frame.image)
        self._funnel.count(rung.DETECTOR, seen=1, passed=int(bool(self._tracker.followed)), cpu_seconds=cpu_seconds)

    def _settle(self, frame: Frame, change: Change) -> None:
        """Falls asleep once nothing stirs; remembers what the place looks like then."""
        if change.moving or (self.awake and self._tracker.curious):
            self._stirred_at, self._looks_since = frame.time, 0
        if not self.awake:
            if not (change.moving or change.resting):
                self._reference, self._refusals = frame, 0
            return
        if frame.time - self._stirred_at >= _SETTLE_S and self._looks_since >= _SETTLE_LOOKS:
            self.awake, self._reference = False, frame
            self._dozes_until = frame.time + self._allowance().doze_s

    def _encode(self, image: Picture) -> Encoding:
        with self._funnel.spending(rung.ENCODER):
            self._funnel.count(rung.ENCODER, seen=1)
            return self._encoder.encode(image)

    def _meaning(self, encoding: Encoding) -> Embedding:
        return Embedding(self._encoder.model_tag, tuple(encoding.conse.tolist()))

    def _resemblance(self, box: Box | None, encoding: Encoding) -> Resemblance:
        features = Embedding(f"features-{self._encoder.model_tag}", tuple(encoding.features.tolist()))
        return Resemblance(box, features, self._meaning(encoding))

    def _keep_crop(self, track_id: int, seen: Observation, image: Picture) -> None:
        """Keeps the crop with the highest score × √area: sure, large, and not for its size alone."""
        quality = seen.score * seen.box.area**0.5
        if quality <= _BETTER * self._crops.get(track_id, (0.0, None))[0]:
            return
        self._crops[track_id] = (quality, _crop(image, seen.box.expanded(_CROP_MARGIN)))

    def _forget(self, view: View) -> None:
        """Drops the crops of tracks that ended two looks ago: the trigger closes an event one look after its track."""
        before = {item.track.track_id for item in self.view.followed} if self.view is not None else set()
        kept = before | {item.track.track_id for item in view.followed} | self._tracker.tentative
        self._crops = {key: crop for key, crop in self._crops.items() if key in kept}


def _compared(region: Box) -> Box:
    """The part of the picture that the encoder compares: the region with enough around it to mean something."""
    width, height = max(_LEAST_SIDE, 1.4 * region.width), max(_LEAST_SIDE, 1.4 * region.height)
    width, height = min(1.0, width), min(1.0, height)
    left = min(max(0.0, region.left + (region.width - width) / 2), 1.0 - width)
    top = min(max(0.0, region.top + (region.height - height) / 2), 1.0 - height)
    return Box(left, top, width, height)


def _crop(image: Picture, box: Box) -> NDArray[np.uint8]:
    left, top, right, bottom = box.to_pixels(width=image.shape[1], height=image.shape[0])
    if right <= left or bottom <= top:
        return image[:1, :1].copy()
    patch = Image.fromarray(image[top:bottom, left:right]).resize((_CROP_SIDE, _CROP_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(patch, np.uint8).copy()
