"""Follows people in known footage with several trackers at once, and scores them: HOTA, MOTA and IDF1 by TrackEval.

In: a clip with the boxes of its people. Out: one row for each tracker and rate, all fed with the very same
observations: the device's own, and as peers ByteTrack and OC-SORT of `trackers` (Apache-2.0), as they ship. A track
counts from the look that confirms it. Next: `events.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from device_agent.track import Observation, Rules, Tracker, observe
from foveate.vision.boxes import Box
from foveate.vision.detect import PERSON_THRESHOLD, Detector, Picture

People = Mapping[int, Box]
"""One frame: who stands where."""

Follow = Callable[[float, Sequence[Observation], Picture], People]
"""What a tracker does with one look: seconds, what was observed, picture -> who is confirmed and seen right now."""

_LEAST = Rules().weak_share * PERSON_THRESHOLD  # what may keep a track alive; what is below drowned ByteTrack


@dataclass(slots=True)
class Run:
    """One tracker at one rate: what it said, look by look, and what it cost."""

    name: str
    fps: float
    follow: Follow
    said: list[People] = field(default_factory=list)
    truth: list[People] = field(default_factory=list)
    seconds: float = 0.0

    def look(self, at: float, things: Sequence[Observation], picture: Picture, *, truth: People) -> None:
        """One look, scored later."""
        began = time.process_time()
        self.said.append(dict(self.follow(at, things, picture)))
        self.seconds += time.process_time() - began
        self.truth.append(truth)

    def row(self) -> dict[str, Any]:
        """Shares 0..1 (MOTA may be negative), counts over the clip, and milliseconds of CPU for each look."""
        figures = score(self.truth, self.said)
        return {
            "tracker": self.name,
            "fps": self.fps,
            **figures,
            "ms_per_look": round(1000 * self.seconds / max(1, len(self.said)), 2),
        }


def tracking_table(video: Path, truth: Path, *, detector: Detector, fps: float) -> list[dict[str, Any]]:
    """Every tracker on every frame, on what a device looks at when awake (5 FPS), and at 1 FPS.

    At a lower rate it matters which frames are looked at: each row is the mean over all beginnings.
    """
    steps = {max(1, round(fps / rate)) for rate in (fps, 5.0, 1.0)}
    runs = {
        (step, name): [Run(name, fps / step, made(fps / step)) for _ in range(step)]
        for step in sorted(steps)
        for name, made in TRACKERS.items()
    }
    people: dict[int, dict[int, Box]] | None = None
    for number, picture in enumerate(pictures(video)):
        if people is None:
            people = read_truth(truth, width=picture.shape[1], height=picture.shape[0])
        things = observe(detector.detect(picture))
        for (step, _), begun in runs.items():
            begun[number % step].look(number / fps, things, picture, truth=people.get(number, {}))
    return [_mean([run.row() for run in begun]) for begun in runs.values()]


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all figures; names and rates are the same in all rows."""
    return {
        name: value if isinstance(value, str) else round(sum(row[name] for row in rows) / len(rows), 3)
        for name, value in rows[0].items()
    }


def pictures(video: Path) -> Iterator[Picture]:
    """Every picture of a file, RGB."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def read_truth(path: Path, *, width: int, height: int) -> dict[int, dict[int, Box]]:
    """MOT15 lines `frame,id,left,top,width,height,counts,...` in pixels -> frame, counted from 0 -> who is where."""
    truth: dict[int, dict[int, Box]] = {}
    for line in path.read_text().splitlines():
        frame, identity, left, top, across, down, counts = (float(value) for value in line.split(",")[:7])
        if counts:
            box = Box(left / width, top / height, across / width, down / height)
            truth.setdefault(int(frame) - 1, {})[int(identity)] = box
    return truth


def score(truth: Sequence[People], said: Sequence[People]) -> dict[str, float | int]:
    """Of looks in step. MOTA and IDF1 at overlap 0.5; HOTA is the mean over overlaps .05 to .95."""
    from trackeval.metrics import CLEAR, HOTA, Identity  # the bench extra brings it; this module is read without too

    data = _sequence(truth, said)
    hota = HOTA().eval_sequence(data)
    clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    shares = {
        "hota": np.mean(hota["HOTA"]),
        "det_a": np.mean(hota["DetA"]),
        "ass_a": np.mean(hota["AssA"]),
        "mota": clear["MOTA"],
        "idf1": identity["IDF1"],
    }
    counts = {"id_switches": int(clear["IDSW"]), "tracks": data["num_tracker_ids"], "people": data["num_gt_ids"]}
    return {**{name: round(float(value), 3) for name, value in shares.items()}, **counts}


def _sequence(truth: Sequence[People], said: Sequence[People]) -> dict[str, Any]:
    """What TrackEval's metrics read: ids from 0 without gaps, and overlaps look by look."""
    true_ids, said_ids = _numbered(truth), _numbered(said)
    return {
        "gt_ids": [np.array([true_ids[key] for key in frame], int) for frame in truth],
        "tracker_ids": [np.array([said_ids[key] for key in frame], int) for frame in said],
        "similarity_scores": [_overlaps(one, other) for one, other in zip(truth, said, strict=True)],
        "num_gt_ids": len(true_ids),
        "num_tracker_ids": len(said_ids),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, said)),
        "num_timesteps": len(truth),
    }


def _numbered(frames: Iterable[People]) -> dict[int, int]:
    return {key: number for number, key in enumerate(sorted({key for frame in frames for key in frame}))}


def _overlaps(truth: People, said: People) -> NDArray[np.float64]:
    table = np.zeros((len(truth), len(said)))
    for row, one in enumerate(truth.values()):
        for column, other in enumerate(said.values()):
            table[row, column] = one.iou(other)
    return table


def device(_fps: float, *, looks: bool = True) -> Follow:
    """The device's own tracker; `looks=False` hides the pictures from it."""
    tracker = Tracker()

    def follow(at: float, things: Sequence[Observation], picture: Picture) -> People:
        tracker.update(at, things, image=picture if looks else None)
        seen = [item.track for item in tracker.followed if item.track.end == at and item.track.label == "person"]
        return {track.track_id: track.sightings[-1].box for track in seen}

    return follow


def byte_track(fps: float) -> Follow:
    """ByteTrack; what begins a track is what the detector is said to report."""
    from trackers import ByteTrackTracker

    least = {"track_activation_threshold": PERSON_THRESHOLD, "high_conf_det_threshold": PERSON_THRESHOLD}
    return _following(ByteTrackTracker(frame_rate=fps, **least))


def oc_sort(fps: float) -> Follow:
    """OC-SORT with the same threshold."""
    from trackers import OCSORTTracker

    return _following(OCSORTTracker(frame_rate=fps, high_conf_det_threshold=PERSON_THRESHOLD))


TRACKERS: dict[str, Callable[[float], Follow]] = {
    "foveate": device,
    "foveate, motion only": lambda fps: device(fps, looks=False),
    "ByteTrack": byte_track,
    "OC-SORT": oc_sort,
}


def _following(tracker: Any) -> Follow:  # noqa: ANN401  (`trackers` has no public base class)
    """A tracker of `trackers` on the people observed; boxes in thousandths of the picture."""
    from supervision import Detections

    def follow(_at: float, things: Sequence[Observation], _picture: Picture) -> People:
        people = _people(things)
        seen = tracker.update(
            Detections(
                np.array([_corners(item.box) for item in people], np.float32).reshape(-1, 4),
                confidence=np.array([item.score for item in people], np.float32),
                class_id=np.zeros(len(people), int),
            )
        )
        keys = [] if seen.tracker_id is None else seen.tracker_id
        return {int(key): _box(row) for key, row in zip(keys, seen.xyxy, strict=True) if key >= 0}

    return follow


def _people(things: Sequence[Observation]) -> list[Observation]:
    return [item for item in things if item.label == "person" and item.score >= _LEAST]


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.left * 1000, box.top * 1000, box.right * 1000, box.bottom * 1000


def _box(corners: NDArray[np.floating[Any]]) -> Box:
    left, top, right, bottom = (float(value) / 1000 for value in corners)
    return Box(left, top, right - left, bottom - top)
