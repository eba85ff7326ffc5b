"""What the memory decides without a database: rows, and which failures ask for redelivery."""

from __future__ import annotations

import pytest
from psycopg import errors as postgres
from sqlalchemy.exc import DBAPIError

from foveate import memory
from foveate.errors import InvalidInput, NotReady, OutOfSpace, TryAgain, Unreachable


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (postgres.DiskFull("no space left on device"), OutOfSpace),
        (postgres.AdminShutdown("terminating connection"), Unreachable),
        (postgres.CannotConnectNow("the database system is starting up"), Unreachable),
        (postgres.OperationalError("server closed the connection unexpectedly"), Unreachable),
        (postgres.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), InvalidInput),
        (postgres.ProgramLimitExceeded("index row size exceeds maximum"), InvalidInput),
        (postgres.InvalidPassword("password authentication failed"), NotReady),
        (postgres.FeatureNotSupported('extension "vector" is not available'), NotReady),
    ],
)
def test_a_failure_of_the_database_is_one_of_ours(cause: Exception, error: type[Exception]) -> None:
    with pytest.raises(error), memory.translated():
        raise DBAPIError("insert", {}, cause)


def test_a_lost_disk_or_link_is_delivered_again() -> None:
    assert issubclass(OutOfSpace, TryAgain)
    assert issubclass(Unreachable, TryAgain)


def test_a_wrong_statement_is_a_bug_and_stays_one() -> None:
    with pytest.raises(DBAPIError), memory.translated():
        raise DBAPIError("selekt", {}, postgres.SyntaxError("syntax error"))
