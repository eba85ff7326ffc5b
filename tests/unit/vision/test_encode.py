"""The encoder with its real weights: shapes, unit lengths, and that ConSE's vectors lie among the sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveate import models
from foveate.errors import InvalidInput, NotReady
from foveate.models import ModelFile, ModelSource
from foveate.vision.detect import Picture
from foveate.vision.encode import CONSE, FEATURES, LiteEncoder


@pytest.fixture(scope="module")
def encoder() -> LiteEncoder:
    return LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))


def chequers(side: int = 16) -> Picture:
    rows, columns = np.indices((120, 200)) // side
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def ramp() -> Picture:
    return np.broadcast_to(np.linspace(0, 255, 200, dtype=np.uint8)[None, :, None], (120, 200, 3)).copy()


@pytest.mark.parametrize(
    "picture", [chequers(), ramp(), np.zeros((1, 1, 3), np.uint8)], ids=["chequers", "ramp", "dot"]
)
def test_both_vectors_have_their_size_and_unit_length(encoder: LiteEncoder, picture: Picture) -> None:
    encoding = encoder.encode(picture)
    assert encoding.features.shape == (FEATURES,) == (1280,)
    assert encoding.conse.shape == (CONSE,) == (384,)
    assert encoding.features.dtype == encoding.conse.dtype == np.float32
    assert np.linalg.norm(encoding.features) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(encoding.conse) == pytest.approx(1.0, abs=1e-5)


def test_a_picture_has_one_encoding(encoder: LiteEncoder) -> None:
    first, second = encoder.encode(chequers()), encoder.encode(chequers())
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.conse, second.conse)


def test_a_brighter_copy_is_nearer_than_another_picture(encoder: LiteEncoder) -> None:
    original = encoder.encode(chequers() // 2).features
    brighter = encoder.encode(chequers() // 2 + 20).features
    assert original @ brighter > original @ encoder.encode(ramp()).features


def test_conse_is_the_mean_of_its_likeliest_classes(encoder: LiteEncoder) -> None:
    logits = np.full(1000, -50.0, np.float32)
    logits[[7, 8]] = 10.0
    vectors = np.load(models.find("imagenet-minilm").path).astype(np.float32)
    np.testing.assert_allclose(encoder._conse(logits), (vectors[7] + vectors[8]) / 2, atol=1e-5)


def test_the_tag_names_both_halves(encoder: LiteEncoder, tmp_path: Path) -> None:
    assert encoder.model_tag == "conse-lite0-minilm@1"
    own = tmp_path / "own.npy"
    np.save(own, np.eye(1000, CONSE, dtype=np.float32))
    foreign = models.find("imagenet-minilm", source=ModelSource(path=own))
    assert LiteEncoder(encoder.model, foreign).model_tag == f"conse-lite0-minilm@1+{foreign.revision}"


def test_a_grey_picture_is_refused(encoder: LiteEncoder) -> None:
    with pytest.raises(InvalidInput, match="convert it"):
        encoder.encode(np.zeros((4, 4), np.uint8))


def class_vectors(path: Path) -> ModelFile:
    return models.find("imagenet-minilm", source=ModelSource(path=path))


def test_class_vectors_of_another_shape_are_refused(encoder: LiteEncoder, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((1000, 5), np.float32))
    with pytest.raises(NotReady, match="not classes x 384"):
        LiteEncoder(encoder.model, class_vectors(wrong))


def test_class_vectors_that_are_no_array_are_refused(encoder: LiteEncoder, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.npy"
    wrong.write_bytes(b"no array")
    with pytest.raises(NotReady, match="cannot be read"):
        LiteEncoder(encoder.model, class_vectors(wrong))
