"""Every error that a user, a caller or a consumer loop can meet.

    FoveateError
    ├── TryAgain                    the same request may succeed later (carries a delay)
    │   ├── Unreachable             UNAVAILABLE          nak    nobody answered
    │   ├── Overloaded              RESOURCE_EXHAUSTED   nak    past what this node takes at once
    │   ├── OutOfSpace              RESOURCE_EXHAUSTED   nak    a disk is full; nothing stored is dropped
    │   └── DeadlinePassed          DEADLINE_EXCEEDED    nak    the time that the caller gave is over
    └── Never                       the same request can never succeed
        ├── InvalidInput            INVALID_ARGUMENT     term   a person or a program gave something unusable
        │   ├── BadVideo            INVALID_ARGUMENT     term   missing, truncated or not a video
        │   └── MalformedMessage    INVALID_ARGUMENT     term   bytes on the wire that do not parse or validate
        ├── NotFound                NOT_FOUND            term   an unknown device, site, question or model
        ├── AlreadyExists           ALREADY_EXISTS       term   the name is taken
        ├── Refused                 PERMISSION_DENIED    term   a residency rule says no, and is named
        ├── NotPermitted            PERMISSION_DENIED    term   this caller has no right to ask that
        ├── NotSupported            UNIMPLEMENTED        term   this build or this node cannot do it
        └── NotReady                FAILED_PRECONDITION  term   something must be put right by hand first

Each message is one sentence that says what happened and what to do next; it is shown to users as it is.
This module imports nothing, so that every layer, the pure ones too, can raise from it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Disposition = Literal["nak", "term"]
_KIND = "foveate_error"


class FoveateError(Exception):
    """The root: `code` is the gRPC status name, `disposition` what a JetStream consumer answers."""

    code: ClassVar[str] = "INTERNAL"
    disposition: ClassVar[Disposition] = "term"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, reason: str = "", **metadata: str) -> None:
        """`reason` is UPPER_SNAKE_CASE for programs; `metadata` repeats each variable of the message."""
        super().__init__(message)
        self.message = message
        self.reason = reason or _upper_snake(type(self).__name__)
        self.metadata = metadata

    @property
    def carried(self) -> dict[str, str]:
        """The metadata as it travels: with the class, where the reason does not tell it."""
        kind = _upper_snake(type(self).__name__)
        return self.metadata if self.reason == kind else {**self.metadata, _KIND: kind}


class TryAgain(FoveateError):
    """The same request may succeed after `retry_after` seconds."""

    code = "UNAVAILABLE"
    disposition = "nak"
    exit_code = 75  # EX_TEMPFAIL of sysexits.h

    def __init__(self, message: str, *, retry_after: float = 1.0, reason: str = "", **metadata: str) -> None:
        super().__init__(message, reason=reason, **metadata)
        self.retry_after = retry_after


class Unreachable(TryAgain):
    """Nobody answered at the other end."""


class Overloaded(TryAgain):
    """More was asked than this node takes at once."""

    code = "RESOURCE_EXHAUSTED"


class OutOfSpace(TryAgain):
    """A disk is full; what was stored before stays."""

    code = "RESOURCE_EXHAUSTED"


class DeadlinePassed(TryAgain):
    """The time that the caller gave is over."""

    code = "DEADLINE_EXCEEDED"


class Never(FoveateError):
    """The same request can never succeed."""

    code = "FAILED_PRECONDITION"


class InvalidInput(Never):
    """A person or a program gave something unusable."""

    code = "INVALID_ARGUMENT"
    exit_code = 2


class BadVideo(InvalidInput):
    """A source is missing, truncated or not a video."""


class MalformedMessage(InvalidInput):
    """Bytes on the wire that do not parse or do not validate."""


class NotFound(Never):
    """An unknown device, site, question, event or model."""

    code = "NOT_FOUND"
    exit_code = 4


class AlreadyExists(Never):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class Refused(Never):
    """A residency rule says no; `metadata["rule"]` names it."""

    code = "PERMISSION_DENIED"
    exit_code = 3


class NotPermitted(Never):
    """This caller has no right to ask that."""

    code = "PERMISSION_DENIED"
    exit_code = 77  # EX_NOPERM of sysexits.h


class NotSupported(Never):
    """This build or this node cannot do it."""

    code = "UNIMPLEMENTED"


class NotReady(Never):
    """Something must be put right by hand first."""


def _upper_snake(name: str) -> str:
    return "".join("_" + letter if letter.isupper() and index else letter for index, letter in enumerate(name)).upper()


def _leaves(root: type[FoveateError]) -> dict[str, type[FoveateError]]:
    found: dict[str, type[FoveateError]] = {}
    for child in root.__subclasses__():
        found[_upper_snake(child.__name__)] = child
        found.update(_leaves(child))
    return found


def from_wire(*, reason: str, message: str, metadata: dict[str, str], retry_after: float = 1.0) -> FoveateError:
    """The error that a remote process raised, rebuilt here; an unknown one becomes its family by delay."""
    known = _leaves(FoveateError)
    kind = known.get(reason) or known.get(metadata.get(_KIND, "")) or (Unreachable if retry_after else Never)
    error = kind(message, reason=reason)
    # Set, not passed on: a sender may name its variables as it likes.
    error.metadata = {name: value for name, value in metadata.items() if name != _KIND}
    if isinstance(error, TryAgain):
        error.retry_after = retry_after
    return error
