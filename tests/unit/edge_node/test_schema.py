"""A schema from a stranger: what is taken, what is refused with its place, and what is said of a document."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from edge_node import schema
from foveate.errors import InvalidInput

PLATE = {
    "type": "object",
    "properties": {
        "plate": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{2} ?[A-Z]{3}$"},
        "doors": {"$ref": "#/$defs/small"},
    },
    "required": ["plate"],
    "additionalProperties": False,
    "$defs": {"small": {"type": "integer", "minimum": 2, "maximum": 5}},
}


def test_a_document_that_fulfils_it_has_no_mistakes() -> None:
    assert schema.parse(json.dumps(PLATE)).mistakes({"plate": "AB12 CDE", "doors": 3}) == ()


def test_each_mistake_is_told_by_its_place() -> None:
    told = schema.parse(json.dumps(PLATE)).mistakes({"plate": 7, "doors": 9, "colour": "red"})
    assert len(told) == 3
    assert any(one.startswith("/plate: 7 is not of type") for one in told)
    assert any(one.startswith("/doors: 9 is greater than") for one in told)


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ("[]", "constraints.answer_schema", "not a JSON object"),
        ("{", "constraints.answer_schema", "not JSON"),
        ('{"minimum": NaN}', "constraints.answer_schema", "not JSON"),
        ({"type": "objekt"}, "constraints.answer_schema/type", "not valid"),
        ({"properties": {"a": {"minimum": "x"}}}, "constraints.answer_schema/properties/a/minimum", "not valid"),
        ({"$ref": "https://example.org/a.json"}, "constraints.answer_schema/$ref", "outside"),
        ({"$ref": "file:///etc/passwd"}, "constraints.answer_schema/$ref", "outside"),
        ({"$ref": "#/$defs/none"}, "constraints.answer_schema", "not in it"),
        ({"$id": "https://example.org/", "type": "object"}, "constraints.answer_schema/$id", "not supported"),
        ({"$schema": "https://example.org/mine"}, "constraints.answer_schema/$schema", "dialect"),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "constraints.answer_schema/properties/a/pattern", "for ever"),
        ({"pattern": "a?a?a?a?a?a?a?aaaaaaa"}, "constraints.answer_schema/pattern", "for ever"),
        ({"pattern": "("}, "constraints.answer_schema/pattern", "no regular expression"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "constraints.answer_schema", "without end"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_place(document: Any, place: str, words: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(InvalidInput, match=words) as caught:
        schema.parse(text)
    assert caught.value.metadata["field"] == place


def test_size_depth_and_references_are_bounded() -> None:
    with pytest.raises(InvalidInput, match="characters"):
        schema.parse(json.dumps({"description": "x" * 20_000}))
    with pytest.raises(InvalidInput, match="deeper"):
        schema.parse('{"not":' * 200 + "{}" + "}" * 200)
    with pytest.raises(InvalidInput, match="JSON"):
        schema.parse('{"a":[' + "[" * 16_000)
    many = {"properties": {f"p{n}": {"$ref": "#/$defs/a"} for n in range(30)}, "$defs": {"a": {}}}
    with pytest.raises(InvalidInput, match="30 references"):
        schema.parse(json.dumps(many))


def test_a_deep_document_is_a_mistake_not_a_crash() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "deeper" in schema.parse("{}").mistakes(deep)[0]


def test_a_document_of_many_values_is_a_mistake() -> None:
    assert "1000 values" in schema.parse("{}").mistakes([0] * 1001)[0]
    assert schema.parse("{}").mistakes([0] * 999) == ()


def test_the_heaviest_pattern_that_is_taken_ends_soon() -> None:
    checked = schema.parse(json.dumps({"type": "string", "pattern": "a*b"}))
    began = time.perf_counter()
    assert checked.mistakes("a" * 4000)
    assert time.perf_counter() - began < 10.0
