"""Subjects without a detector's name: channels fused by rank, and pictures that bear them out or do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_node.closer import Closer
from edge_node.decode import Frame
from edge_node.fetch import Clip
from edge_node.likening import CHECKED, Candidate, Likens, fuse, views
from edge_node.look import Look
from foveate.likeness import ALIKE, CEILING, MARGIN, lead
from foveate.messages import (
    AnswerRequest,
    ClipHeader,
    Event,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    TriggerKind,
    Understanding,
)
from foveate.vision.detect import Detection, Picture
from foveate.vision.encode import Encoding

NOON = 1_750_075_200.0


def candidate(event: str, at: float = 0.0) -> Candidate:
    return Candidate("cam-1", event, NOON + at)


def test_what_several_channels_find_comes_before_what_one_finds_best() -> None:
    fused = fuse([[candidate("a"), candidate("b")], [candidate("c"), candidate("b")], []])
    assert fused[0].event_id == "b"
    assert {one.event_id for one in fused} == {"a", "b", "c"}
    twice = fuse([[candidate("a", 1), candidate("a", 2), candidate("b")], [candidate("b")]])
    assert [one.event_id for one in twice] == ["b", "a"]
    assert twice[1].time == NOON + 1


def test_likeness_stands_out_only_above_its_own_and_the_usual() -> None:
    assert lead(ALIKE - 0.01, 0.0) == 0.0
    assert lead(ALIKE, ALIKE - MARGIN + 0.01) == 0.0
    assert lead(ALIKE + 0.1, ALIKE + 0.1 - 2 * MARGIN) == pytest.approx(1.0)
    assert lead(ALIKE, None) == pytest.approx(0.5)


def test_the_views_of_a_picture_are_the_whole_and_three_squares() -> None:
    boxes = views(Frame(NOON, np.zeros((90, 160, 3), np.uint8)))
    assert (boxes[0].width, boxes[0].height) == (1.0, 1.0)
    assert [round(box.left, 3) for box in boxes[1:]] == [0.0, 0.219, 0.438]
    assert all(round(box.right, 6) <= 1.0 and box.height == 1.0 for box in boxes)


class Words:
    """Every sentence is the first axis, but the names of the detector are the second."""

    model_tag = "minilm-l6-v2@1"

    def encode(self, texts: Any) -> Any:
        return np.array([[0.0, 1.0] if "person" in text else [1.0, 0.0] for text in texts], np.float32)


class Bright:
    """A picture is like the subject as far as it is bright."""

    model_tag = "conse-lite0-minilm@1"

    def encode(self, image: Picture) -> Encoding:
        share = float(image.mean()) / 255.0
        return Encoding(np.zeros(1, np.float32), np.array([share, (1 - share**2) ** 0.5], np.float32))


class Remembers:
    """One event of some likeness among others that are usual."""

    def __init__(self, alike: float) -> None:
        self.alike = alike

    async def nearest(self, *_: Any, **__: Any) -> tuple[tuple[Event, float], ...]:
        return tuple((event(n), score) for n, score in enumerate((self.alike, 0.3, 0.2, 0.2)))

    async def tracks(self, **_: Any) -> tuple[Event, ...]:
        return ()

    async def median_likeness(self, *_: Any, **__: Any) -> float:
        return 0.3


def event(number: int) -> Event:
    start = NOON + 20 * number
    return Event(f"e-{number}", 1, "cam-1", "n", "r", TriggerKind.NOVELTY, start, start + 4, False, 0.5)


class Nothing:
    def detect(self, image: Picture) -> tuple[Detection, ...]:
        return ()


class Film:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def pull(self, device_id: str, *, representation: Representation, **_: Any) -> Clip:
        return Clip(ClipHeader("c", device_id, NOON, NOON + 4, 1, bytes(32), "video/mp4", representation), self.path)

    def forget(self, clip_id: str) -> None:
        pass


def film(path: Path, brightness: int) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=5, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            picture = np.full((48, 64, 3), brightness, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def likens(path: Path, alike: float) -> Likens:
    closer = Closer(fetch=Film(path), look=Look(Nothing()), devices=None)  # type: ignore[arg-type]
    return Likens(memory=Remembers(alike), scene=None, text=Words(), closer=closer, encoder=Bright)  # type: ignore[arg-type]


def request(form: Representation = Representation.CLIP, task: Task = Task.PRESENCE, **changes: Any) -> AnswerRequest:
    wanted = Understanding(task, "fox", (), NOON, NOON + 90, False, Pick.ANY, "")
    return AnswerRequest(
        question=Question("q-1", "Was there a fox?", ask_time=NOON + 90),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", form),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )


async def test_pictures_bear_out_what_memory_found(tmp_path: Path) -> None:
    answer = await likens(film(tmp_path / "clip.mp4", 240), 0.9).answer(request())
    assert answer.value is True
    assert CEILING < answer.confidence <= CHECKED
    assert answer.model == "minilm-l6-v2@1 + conse-lite0-minilm@1"
    (piece,) = answer.evidence
    assert piece.picture
    assert (piece.event_id, piece.sightings[0].label) == ("e-0", "fox")
    found = await likens(film(tmp_path / "clip.mp4", 240), 0.9).answer(request(task=Task.FIND))
    assert found.value == piece.start


async def test_pictures_that_do_not_bear_it_out_leave_it_open(tmp_path: Path) -> None:
    answer = await likens(film(tmp_path / "clip.mp4", 60), 0.9).answer(request())
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "does not bear it out" in answer.reason


async def test_without_pictures_memory_alone_is_a_candidate(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", 240)
    answer = await likens(path, 0.9).answer(request(Representation.EMBEDDING))
    assert answer.value is True
    assert answer.confidence <= CEILING
    facts = await likens(path, 0.9).answer(request(Representation.FACTS))
    assert facts.outcome is Outcome.CANNOT_TELL
    counted = await likens(path, 0.9).answer(request(task=Task.COUNT))
    assert "likeness cannot count" in counted.reason


async def test_a_clip_that_cannot_be_read_leaves_what_memory_says(tmp_path: Path) -> None:
    broken = tmp_path / "clip.mp4"
    broken.write_bytes(b"no video" * 50)
    answer = await likens(broken, 0.9).answer(request())
    assert answer.confidence <= CEILING
    assert "cam-1 gave no pictures" in answer.reason
