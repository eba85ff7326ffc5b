"""Step 2, look: from frames to a view of what is there, paying by rung: motion, then the detector, then tracks.

In: due `Frame`s. Out: a `View` for each. The detector runs while something moves, while a track is unsettled, and at
least every second, because what stands still is there too. It does not know what is worth reporting.
Next: `trigger.py`; `answer.py` asks for the last view.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from device_agent.frames import Frame
from device_agent.motion import HEIGHT, WIDTH, Motion, MotionGate
from device_agent.track import Observation, Tracker, observe
from device_agent.view import Change, View
from foveate.messages import Embedding
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Detector, Picture
from foveate.vision.encode import Encoder

logger = logging.getLogger(__name__)

_AT_LEAST_EVERY_S = 1.0
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
        return self._thread.submit(self._detector.detect, image).result()


class Looker:
    """One camera's eye: holds what is needed to understand the next frame."""

    def __init__(self, *, detector: Detector, encoder: Encoder, tracker: Tracker | None = None) -> None:
        self._detector, self._encoder = detector, encoder
        self._tracker = tracker or Tracker()
        self._gate = MotionGate()
        self._detected_at = -np.inf
        self._crops: dict[int, tuple[float, NDArray[np.uint8]]] = {}
        self._frame: Frame | None = None
        self.view: View | None = None
        """The last view; replaced, never changed, so any thread may read it."""

    def look(self, frame: Frame) -> View:
        """What is in this frame, given those before it. Blocking: runs the detector when it is worth it."""
        self._frame = frame
        motion = self._gate.feel(frame.grey(width=WIDTH, height=HEIGHT))
        if motion.cut or frame.time < self._detected_at:
            logger.debug("the scene was cut", extra={"time": frame.time})
            self._tracker.reset()
            self._detected_at = -np.inf
        waited = frame.time - self._detected_at
        if motion.moving or self._tracker.curious or waited >= _AT_LEAST_EVERY_S - 0.01:
            self._detect(frame)
        else:
            self._tracker.age(frame.time)
        view = View(frame.time, frame.media_time, _change(motion), self._tracker.followed)
        self._forget(view)
        self.view = view
        return view

    def meaning(self, track_id: int | None) -> Embedding | None:
        """The vector of a track's best crop, of the whole frame for None; None when there is no picture of it."""
        if track_id is None:
            image = self._frame.image if self._frame is not None else None
        else:
            _, image = self._crops.get(track_id, (0.0, None))
        if image is None:
            return None
        vector = self._encoder.encode(image).conse
        return Embedding(self._encoder.model_tag, tuple(float(value) for value in vector))

    def _detect(self, frame: Frame) -> None:
        self._detected_at = frame.time
        observations = observe(self._detector.detect(frame.image))
        seen = self._tracker.update(frame.time, observations, media_time=frame.media_time)
        for track_id, observation in seen.items():
            self._keep_crop(track_id, observation, frame.image)

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


def _change(motion: Motion) -> Change:
    return Change(motion.level, regions=(Box(0.0, 0.0, 1.0, 1.0),) if motion.moving else (), cut=motion.cut)


def _crop(image: Picture, box: Box) -> NDArray[np.uint8]:
    left, top, right, bottom = box.to_pixels(width=image.shape[1], height=image.shape[0])
    if right <= left or bottom <= top:
        return image[:1, :1].copy()
    patch = Image.fromarray(image[top:bottom, left:right]).resize((_CROP_SIDE, _CROP_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(patch, np.uint8).copy()
