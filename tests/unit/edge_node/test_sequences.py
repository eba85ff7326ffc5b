"""Which numbers of a device are missing, and what it is asked."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_node.sequences import MOST_MISSING, ranges, settled, size, wanted
from foveate.commands import BackFill

numbers = st.sets(st.integers(1, 2000))


def test_a_device_of_which_nothing_is_known_is_asked_for_everything() -> None:
    assert wanted([]) == BackFill(0)


def test_gaps_are_named_while_they_are_few() -> None:
    assert wanted([(1, 4), (6, 7), (9, 12)]) == BackFill(11, (4, 5, 7, 8))
    assert wanted([(3, 4)]) == BackFill(3, (1, 2))
    assert wanted([(1, 4), (10_000, 10_001)]) == BackFill(3)


@given(numbers)
def test_ranges_are_the_numbers(chosen: set[int]) -> None:
    found = ranges(chosen)
    assert {number for start, end in found for number in range(start, end)} == chosen
    assert size(found) == len(chosen)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(numbers)
def test_every_missing_number_is_asked_for(chosen: set[int]) -> None:
    order, last = wanted(ranges(chosen)), max(chosen, default=0)
    asked = {*order.missing, *range(order.after_sequence + 1, last + 1)}
    assert asked >= set(range(1, last + 1)) - chosen
    assert len(order.missing) <= MOST_MISSING
    assert all(1 <= number <= order.after_sequence for number in order.missing)


def test_devices_that_do_not_count_or_cannot_leave_no_trace() -> None:
    assert settled("body-1", [0]) == ()
    assert settled("body-1", [-5, 1 << 60]) == ()
    assert len(settled("body-1", [1, 2])) == 1
