"""The text encoder with its real weights: meaning, unit length, and where a long text is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveate import models
from foveate.errors import NotReady
from foveate.models import ModelSource
from foveate.text import DIMENSIONS, LONGEST, TextEncoder


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))


def test_a_dog_is_nearer_to_a_puppy_than_to_a_spoon(encoder: TextEncoder) -> None:
    dog, puppy, spoon = encoder.encode(["a dog", "a puppy", "a spoon"])
    assert dog @ puppy > dog @ spoon + 0.2


def test_a_question_finds_its_line(encoder: TextEncoder) -> None:
    question, right, wrong = encoder.encode(
        ["When did the van leave?", "A white van drives out of the gate.", "Two people drink coffee at a table."]
    )
    assert question @ right > question @ wrong


def test_vectors_have_unit_length(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["", "a", "a person rides a bicycle", "¿dónde?"])
    assert vectors.shape == (4, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_no_text_gives_no_row(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, DIMENSIONS)


def test_a_vector_does_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    (alone,) = encoder.encode(["a dog"])
    together = encoder.encode(["a very long sentence about the weather in the north", "a dog"])
    np.testing.assert_array_equal(alone, together[1])


def test_what_follows_the_longest_text_is_cut_off(encoder: TextEncoder) -> None:
    words = "dog " * (LONGEST - 2)  # the tokenizer adds one token before and one after
    whole, longer, shorter = encoder.encode([words, words + "spoon " * 500, words[: len(words) // 2]])
    np.testing.assert_array_equal(whole, longer)
    assert not np.array_equal(whole, shorter)


def test_the_tag_names_the_weights(encoder: TextEncoder) -> None:
    assert encoder.model_tag == "minilm-l6-v2@1"


def test_a_tokenizer_that_is_none_is_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    wrong = tmp_path / "tokenizer.json"
    wrong.write_text("{}")
    tokenizer = models.find("minilm-tokenizer", source=ModelSource(path=wrong))
    with pytest.raises(NotReady, match=r"name a tokenizer\.json"):
        TextEncoder(encoder.model, tokenizer)
