"""Times as people write them, to the second: what span they mean, and that their words are taken away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from foveate.errors import InvalidInput
from router.timespan import timespan
from router.words import normalised

ASKED = datetime(2026, 11, 22, 21, 30, tzinfo=UTC).timestamp()  # a Sunday


def seconds(text: str) -> float:
    return datetime.fromisoformat(f"2026-{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("at 21:15:32", "11-22T21:15:31.5", "11-22T21:15:32.5"),
        ("at 21:15:32.5", "11-22T21:15:32.0", "11-22T21:15:33.0"),
        ("at exactly 21:15:32 utc", "11-22T21:15:31.5", "11-22T21:15:32.5"),
        ("at 9:15:32 pm", "11-22T21:15:31.5", "11-22T21:15:32.5"),
        ("at 21:15", "11-22T21:15:00", "11-22T21:16:00"),
        ("around 21:15:32", "11-22T21:14:32", "11-22T21:16:32"),
        ("at 9 pm", "11-22T20:59:00", "11-22T21:01:00"),
        ("at 22:00", "11-21T22:00:00", "11-21T22:01:00"),
        ("on 2026-11-20 at 21:15:32", "11-20T21:15:31.5", "11-20T21:15:32.5"),
        ("2026-11-20 21:15:32 UTC", "11-20T21:15:31.5", "11-20T21:15:32.5"),
        ("at 2026-11-20T21:15:32Z", "11-20T21:15:31.5", "11-20T21:15:32.5"),
        ("at 2026-11-20T22:15:32.250+01:00", "11-20T21:15:31.75", "11-20T21:15:32.75"),
        ("at 21:15:32 on 20 November", "11-20T21:15:31.5", "11-20T21:15:32.5"),
        ("on the november 20th, 2026 at 21:15:32", "11-20T21:15:31.5", "11-20T21:15:32.5"),
        ("on 2026-11-20", "11-20T00:00:00", "11-21T00:00:00"),
        ("between 21:15:00 and 21:15:40", "11-22T21:15:00", "11-22T21:15:40"),
        ("from 21:15:00.5 to 21:15:40", "11-22T21:15:00.5", "11-22T21:15:40"),
        ("between 21:29:50 and 21:30:20", "11-22T21:29:50", "11-22T21:30:00"),
        ("between 23:59 and 00:01", "11-21T23:59:00", "11-22T00:01:00"),
        ("between 2026-11-20 21:15:00 and 21:15:40", "11-20T21:15:00", "11-20T21:15:40"),
        ("between 21:15 and 21:20 on 2026-11-20", "11-20T21:15:00", "11-20T21:20:00"),
        ("on 2026-11-20 between 21:15 and 21:20", "11-20T21:15:00", "11-20T21:20:00"),
        ("between 2026-11-19 and 2026-11-20", "11-19T00:00:00", "11-21T00:00:00"),
        ("yesterday between 22:00 and 02:00", "11-21T22:00:00", "11-22T02:00:00"),
        ("last night at 2:30", "11-22T02:30:00", "11-22T02:31:00"),
        ("after 21:00:10 and before 21:00:20", "11-22T21:00:10", "11-22T21:00:20"),
        ("in the last 40 seconds", "11-22T21:29:20", "11-22T21:30:00"),
        ("over the last 40s", "11-22T21:29:20", "11-22T21:30:00"),
        ("since 21:15:32", "11-22T21:15:32", "11-22T21:30:00"),
        ("since 2026-11-20 21:15:32", "11-20T21:15:32", "11-22T21:30:00"),
        ("since friday at 12:00", "11-20T12:00:00", "11-22T21:30:00"),
        ("before 21:15:32", "11-22T00:00:00", "11-22T21:15:32"),
        ("before 2026-11-20 10:00", "11-20T00:00:00", "11-20T10:00:00"),
        ("40 seconds ago", "11-22T21:29:19.5", "11-22T21:29:20.5"),
        ("21:15:32", "11-22T21:15:31.5", "11-22T21:15:32.5"),
        ("in the first 20 seconds between 21:00 and 21:05", "11-22T21:00:00", "11-22T21:00:20"),
        ("in the first two hours of today", "11-22T00:00:00", "11-22T02:00:00"),
    ],
)
def test_a_time_means_its_span_and_leaves_the_other_words(text: str, start: str, end: str) -> None:
    found = timespan(normalised(f"was anyone {text} in view?"), ask_time=ASKED)
    assert found.span == pytest.approx((seconds(start), seconds(end)), abs=1e-6)
    assert found.rest.split() == ["was", "anyone", "in", "view?"]
    assert not found.now


@pytest.mark.parametrize("text", ["at 25:99", "at 21:15:61", "21", "at 7", "may be", "3 people", "version 1.2.3.4"])
def test_what_is_no_time_is_left_alone(text: str) -> None:
    assert timespan(text, ask_time=ASKED).span is None
    assert timespan(text, ask_time=ASKED).rest == text


def test_a_date_without_a_year_is_the_latest_before_the_question() -> None:
    found = timespan("on december 3", ask_time=ASKED).span
    assert found is not None
    assert found[0] == datetime(2025, 12, 3, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on 2026-02-31", "No calendar has the day '2026-02-31'"),
        ("on 2031-01-01 at 12:00", "still to come"),
        ("in the first minute", "Of what is it 'in the first minute'"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        timespan(text, ask_time=ASKED)


def test_the_first_minute_counts_from_what_the_asker_set() -> None:
    found = timespan("in the first minute", ask_time=ASKED, window=(ASKED - 300, ASKED - 270))
    assert (found.span, found.inside) == ((ASKED - 300, ASKED - 270), True)
    assert timespan("in the last minute", ask_time=ASKED, window=(ASKED - 300, ASKED)).inside is False


def test_a_clock_that_runs_a_little_ahead_still_means_today() -> None:
    assert timespan("at 21:30:01", ask_time=ASKED).span == (ASKED, ASKED)
