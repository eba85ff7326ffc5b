"""Errors as rich statuses and back, without a socket."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from foveate import errors, rpc
from foveate.errors import DeadlinePassed, FoveateError, Never, TryAgain, Unreachable


class Failed(grpc.RpcError):
    """A failed call as a client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Any = ()) -> None:
        self._seen = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._seen[0]

    def details(self) -> str:
        return self._seen[1]

    def trailing_metadata(self) -> Any:
        return self._seen[2]


def received(error: FoveateError) -> FoveateError:
    """The error as it is rebuilt by a client."""
    status = rpc_status.to_status(rpc.status_of(error))
    return rpc.error_of(Failed(status.code, status.details, status.trailing_metadata))


@pytest.mark.parametrize("kind", errors._leaves(FoveateError).values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("reason", ["", "A_REASON_OF_ITS_OWN"])
def test_the_same_error_comes_out(kind: type[FoveateError], reason: str):
    sent = kind("Straße zu; geh außen herum.", reason=reason, rule="faces")
    if isinstance(sent, TryAgain):
        sent.retry_after = 2.25
    found = received(sent)
    assert type(found) is kind
    assert (found.message, found.reason, found.metadata) == (sent.message, sent.reason, {"rule": "faces"})
    assert getattr(found, "retry_after", None) == getattr(sent, "retry_after", None)


@pytest.mark.parametrize("kind", errors._leaves(FoveateError).values(), ids=lambda kind: kind.__name__)
def test_a_status_has_one_error_info_and_a_delay_only_when_it_helps(kind: type[FoveateError]):
    status = rpc.status_of(kind("No."))
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    retries = [detail for detail in status.details if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    assert len(infos) == 1
    assert len(retries) == issubclass(kind, TryAgain)
    assert status.code == grpc.StatusCode[kind.code].value[0]


def test_what_others_raise_becomes_ours():
    assert isinstance(rpc.error_of(Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "late")), DeadlinePassed)
    assert isinstance(rpc.error_of(Failed(grpc.StatusCode.UNAVAILABLE, "refused")), Unreachable)
    assert type(rpc.error_of(Failed(grpc.StatusCode.INTERNAL, "boom"))) is Never
    assert "boom" in str(rpc.error_of(Failed(grpc.StatusCode.INTERNAL, "boom")))
    large = Failed(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5000031 vs. 4194304)."
    )
    assert isinstance(rpc.error_of(large), errors.InvalidInput)
    unreadable = Failed(grpc.StatusCode.UNKNOWN, "Unexpected <class 'google.protobuf.message.DecodeError'>: bad UTF-8.")
    assert isinstance(rpc.error_of(unreadable), errors.MalformedMessage)


def test_trailers_that_contradict_the_status_are_not_trusted():
    trailers = rpc_status.to_status(rpc.status_of(errors.NotFound("No."))).trailing_metadata
    found = rpc.error_of(Failed(grpc.StatusCode.UNAVAILABLE, "No.", trailers))
    assert isinstance(found, Unreachable)


def test_a_block_translates_what_it_raises():
    with pytest.raises(Unreachable) as caught, rpc.translated():
        raise Failed(grpc.StatusCode.UNAVAILABLE, "refused")
    assert isinstance(caught.value.__cause__, Failed)


@pytest.mark.parametrize("letter", ["x", "é", "🎥"])
def test_a_long_message_is_cut_to_what_trailers_hold(letter: str):
    status = rpc.status_of(errors.InvalidInput(letter * 100_000, name=letter * 100_000))
    assert status.ByteSize() < 2000
    assert status.message == letter * (1000 // len(letter.encode()))
