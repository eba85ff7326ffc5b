"""What a consumer tells the server about each message, without a server."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from foveate.bus import DeadLetter, _dispose
from foveate.errors import MalformedMessage, OutOfSpace, Refused, Unreachable


class Message:
    """Notes what it was told."""

    subject, data = "fv.v1.event.north.cam-1", b"payload"

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def ack(self) -> None:
        self.told.append("ack")

    async def nak(self, delay: float | None = None) -> None:
        self.told.append(("nak", delay))

    async def term(self) -> None:
        self.told.append("term")


async def disposed(raised: Exception | None, *, office: Exception | None = None) -> tuple[list[Any], list[DeadLetter]]:
    """What the message was told, and the dead letters, when handler and dead-letter office raise these."""
    message, letters = Message(), []

    async def handler(payload: bytes, subject: str) -> None:
        assert (payload, subject) == (b"payload", Message.subject)
        if raised:
            raise raised

    async def bury(letter: DeadLetter) -> None:
        if office:
            raise office
        letters.append(letter)

    await _dispose(message, handler, bury)  # type: ignore[arg-type]
    return message.told, letters


async def test_what_is_handled_is_acknowledged():
    assert await disposed(None) == (["ack"], [])


@pytest.mark.parametrize("error", [Unreachable("No.", retry_after=2.5), OutOfSpace("Full.", retry_after=2.5)])
async def test_what_may_work_later_comes_again_after_its_delay(error: Exception):
    assert await disposed(error) == ([("nak", 2.5)], [])


async def test_what_never_works_is_buried_with_its_reason_and_ended():
    told, letters = await disposed(MalformedMessage("No event."))
    assert told == ["term"]
    assert letters == [DeadLetter("fv.v1.event.north.cam-1", b"payload", "MALFORMED_MESSAGE", "No event.")]


@pytest.mark.parametrize(
    ("office", "delay"), [(Unreachable("No database.", retry_after=3.0), 3.0), (ValueError("a bug"), 5.0)]
)
async def test_a_message_that_cannot_be_buried_is_not_lost(office: Exception, delay: float):
    told, letters = await disposed(Refused("No."), office=office)
    assert (told, letters) == ([("nak", delay)], [])


async def test_a_bug_loses_no_message_and_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        assert await disposed(ZeroDivisionError()) == ([("nak", 5.0)], [])
    assert "ZeroDivisionError" in caplog.text
