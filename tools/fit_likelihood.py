"""Fit what turns a detector's score into a probability: Platt's two numbers, on video with known boxes.

In: a video and its MOT15 ground truth (`frame,id,left,top,width,height,...`, frames from 1, people only). Out:
slope and offset for `foveate/vision/likelihood.py`, with Brier score, calibration error (ECE, ten bins) and the error
of counting, before and after, on all frames and across the two halves of the video.

    python -m tools.fit_likelihood --video pets09-s2l1.avi --truth pets09-s2l1.gt.txt
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from foveate import models
from foveate.vision import likelihood
from foveate.vision.boxes import Box
from foveate.vision.detect import NanoDet
from foveate.vision.likelihood import Platt


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: the scores of its candidates, whether each is a real person, and how many people there are."""

    scores: tuple[float, ...]
    real: tuple[bool, ...]
    people: int


def main() -> None:
    """Detect, match, fit and report."""
    parser = argparse.ArgumentParser(description="Fit the detector's calibration on people.")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--every", type=int, default=8, help="use every n-th frame")
    parser.add_argument("--overlap", type=float, default=0.4, help="IoU from which a candidate is a real person")
    options = parser.parse_args()
    frames = list(look(options.video, options.truth, every=options.every, overlap=options.overlap))
    half = len(frames) // 2
    first, second = frames[:half], frames[half:]
    print(f"{sum(len(frame.scores) for frame in frames)} candidates in {len(frames)} frames")
    report("raw scores, all frames", frames, Platt(1.0, 0.0))
    report("in use, all frames", frames, likelihood.PEOPLE)
    report("fitted on all frames, all frames", frames, fit(frames))
    report("fitted on first half, second half", second, fit(first))
    report("fitted on second half, first half", first, fit(second))


def look(video: Path, truth: Path, *, every: int, overlap: float) -> Iterator[Frame]:
    """Every n-th frame with its candidates matched to the truth, best score first, each person once."""
    detector = NanoDet(models.find("nanodet-g"))
    with av.open(str(video)) as container:
        for i, picture in enumerate(container.decode(video=0)):
            if i == 0:
                people = _truth(truth, width=picture.width, height=picture.height)
            if i % every == 0:
                pixels = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                candidates = [d for d in detector.detect(pixels) if d.label == "person"]
                real = _match([d.box for d in candidates], people[i + 1], overlap=overlap)
                yield Frame(tuple(d.score for d in candidates), real, len(people[i + 1]))


def _truth(path: Path, *, width: int, height: int) -> defaultdict[int, list[Box]]:
    people: defaultdict[int, list[Box]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        frame, _, left, top, across, down, *_ = (float(field) for field in line.split(","))
        people[int(frame)].append(Box(left / width, top / height, across / width, down / height))
    return people


def _match(boxes: Sequence[Box], people: Sequence[Box], *, overlap: float) -> tuple[bool, ...]:
    free, real = list(people), []
    for box in boxes:
        nearest = max(free, key=box.iou, default=None)
        found = nearest is not None and box.iou(nearest) >= overlap
        if found and nearest is not None:
            free.remove(nearest)
        real.append(found)
    return tuple(real)


def fit(frames: Sequence[Frame]) -> Platt:
    """The slope and offset of greatest likelihood, by Newton's method on the log-odds of the scores."""
    scores, real = _flat(frames)
    odds = np.log(scores / (1.0 - scores))
    columns = np.stack([odds, np.ones_like(odds)], axis=1)
    answer = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-columns @ answer))
        curvature = columns.T @ (columns * (p * (1.0 - p))[:, None])
        answer = answer + np.linalg.solve(curvature, columns.T @ (real - p))
    return Platt(float(answer[0]), float(answer[1]))


def report(name: str, frames: Sequence[Frame], platt: Platt) -> None:
    """Print one line of figures for `platt` on `frames`."""
    scores, real = _flat(frames)
    p = np.array([platt.probability(float(score)) for score in scores])
    counts = [likelihood.count(frame.scores, platt) for frame in frames]
    error = np.mean([abs(c.value - frame.people) for c, frame in zip(counts, frames, strict=True)])
    right = np.mean([c.value == frame.people for c, frame in zip(counts, frames, strict=True)])
    sure = np.mean([c.probability for c in counts])
    print(
        f"{name:36} slope {platt.slope:5.2f} offset {platt.offset:5.2f} | Brier {np.mean((p - real) ** 2):.3f} "
        f"ECE {_ece(p, real):.3f} | count off by {error:.2f}, right {right:.2f}, said {sure:.2f}"
    )


def _flat(frames: Sequence[Frame]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores = np.array([score for frame in frames for score in frame.scores])
    return np.clip(scores, 1e-6, 1.0 - 1e-6), np.array([float(r) for frame in frames for r in frame.real])


def _ece(p: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Guo et al., 2017: the mean distance of stated from observed, weighted by how often it was stated."""
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [(bins == b).mean() * abs(p[bins == b].mean() - real[bins == b].mean()) for b in np.unique(bins)]
    return float(sum(gaps))


if __name__ == "__main__":
    main()
