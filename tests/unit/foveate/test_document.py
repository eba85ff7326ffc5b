"""Documents that people write: keys stay words, and a mistake is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate import document
from foveate.errors import InvalidInput, NotFound


def test_keys_are_words_as_they_are_written() -> None:
    text = "on: off\nno: {y: 1}\n7: [a]\n"
    assert document.parse(text, source="It") == {"on": False, "no": {"y": 1}, "7": ["a"]}


def test_a_mapping_is_taken_over_by_reference() -> None:
    text = "usual: &usual {pre_s: 5, post_s: 5}\nlong: {<<: *usual, post_s: 30}\n"
    assert document.parse(text, source="It")["long"] == {"pre_s": 5, "post_s": 30}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("masks: []\nzones: []\nmasks: []", "line 3: the key `masks` stands twice"),
        ("a: {b: 1, b: 2}", "the key `b` stands twice"),
        ("{[a]: 1}", "line 1: a key is not a word"),
        ("a: [1", "neither YAML nor JSON (line 1"),
        ("a: !!python/object:os.system x", "neither YAML nor JSON"),
        ("a: 2024-13-45", "neither YAML nor JSON"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("- a", "not a mapping"),
        ("", "not a mapping"),
    ],
)
def test_a_mistake_is_named(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        document.parse(text, source="The file x")
    assert caught.value.message.startswith("The file x ")
    assert sentence in caught.value.message


def test_a_file_must_be_there_and_be_text(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no fleet plan"):
        document.read(tmp_path / "x.yaml", what="fleet plan")
    with pytest.raises(InvalidInput, match="cannot be read"):
        document.read(tmp_path, what="fleet plan")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is not text"):
        document.read(tmp_path / "x.yaml", what="fleet plan")
