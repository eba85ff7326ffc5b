"""The error tree: what its drawing says is what its classes do."""

from __future__ import annotations

import re

import grpc
import pytest

from foveate import errors
from foveate.errors import FoveateError, Never, Refused, TryAgain, Unreachable, from_wire

LEAVES = errors._leaves(FoveateError)
DRAWN = re.findall(r"[├└]── (\w+) +([A-Z_]+) +(nak|term) ", errors.__doc__ or "")


def test_the_drawing_is_complete():
    assert {name for name, *_ in DRAWN} | {"TryAgain", "Never"} == {kind.__name__ for kind in LEAVES.values()}


@pytest.mark.parametrize(("name", "code", "disposition"), DRAWN)
def test_the_drawing_is_right(name: str, code: str, disposition: str):
    kind = getattr(errors, name)
    assert (kind.code, kind.disposition) == (code, disposition)
    assert issubclass(kind, TryAgain if disposition == "nak" else Never)
    assert grpc.StatusCode[code]


@pytest.mark.parametrize("kind", LEAVES.values(), ids=lambda kind: kind.__name__)
def test_every_error_ends_a_command_with_a_code_and_is_its_sentence(kind: type[FoveateError]):
    assert 0 < kind.exit_code < 128
    assert str(kind("No; do that.")) == "No; do that."


def test_reasons_are_upper_snake_case_and_may_be_given():
    assert Unreachable("No.").reason == "UNREACHABLE"
    assert errors.MalformedMessage("No.").reason == "MALFORMED_MESSAGE"
    assert errors.NotReady("No.", reason="ENGINE_MISSING").reason == "ENGINE_MISSING"


@pytest.mark.parametrize("reason", ["", "SOMETHING_NEW", "FoveateError"])
def test_what_is_unknown_becomes_its_family(reason: str):
    assert type(from_wire(reason=reason, message="m", metadata={}, retry_after=0.0)) is Never
    again = from_wire(reason=reason, message="m", metadata={}, retry_after=3.0)
    assert isinstance(again, Unreachable)
    assert again.retry_after == 3.0


def test_a_sender_may_name_its_variables_as_it_likes():
    metadata = dict.fromkeys(("self", "message", "reason", "retry_after", "rule", "a b"), "x")
    for reason in ("REFUSED", "UNREACHABLE"):
        found = from_wire(reason=reason, message="m", metadata=metadata, retry_after=1.5)
        assert (found.message, found.reason, found.metadata) == ("m", reason, metadata)


def test_a_reason_of_its_own_does_not_cost_the_class():
    sent = Refused("No.", reason="FACES_STAY", rule="faces")
    found = from_wire(reason=sent.reason, message=sent.message, metadata=sent.carried)
    assert type(found) is Refused
    assert (found.reason, found.metadata) == ("FACES_STAY", {"rule": "faces"})
