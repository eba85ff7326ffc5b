"""How a subject is worded before it is compared with pictures."""

from __future__ import annotations

import pytest

from foveate.recall import pictured


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        ("delivery van", "a photo of a delivery van"),
        ("a delivery van", "a photo of a delivery van"),
        (" The delivery van ", "a photo of a delivery van"),
        ("an anteater", "a photo of a anteater"),
        ("theatre", "a photo of a theatre"),
    ],
)
def test_a_subject_is_worded_as_the_classes_of_the_pictures_were(subject: str, sentence: str) -> None:
    assert pictured(subject) == sentence
