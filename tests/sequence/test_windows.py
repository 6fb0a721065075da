"""Plans of windows: which piece of which record each example is."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence.intervals import Intervals
from helixband.sequence.windows import Chosen, Plan, Whole, tile, windows_of


def places(plan: Plan) -> list[tuple[int, int, bool]]:
    """(record, start, reverse) of every example."""
    records, starts, reverse = plan.places(np.arange(len(plan)))
    assert (records.dtype, starts.dtype, reverse.dtype) == (np.int64, np.int64, np.bool_)
    assert len(records) == len(starts) == len(reverse) == len(plan)
    return list(zip(records.tolist(), starts.tolist(), reverse.tolist(), strict=True))


def tiles(lengths: list[int], *arguments: Any, **options: Any) -> list[tuple[int, int]]:
    """(record, start) of every window; none is reversed."""
    found = places(tile(np.array(lengths, dtype=np.int64), *arguments, **options))
    assert not any(reverse for _, _, reverse in found)
    return [(record, start) for record, start, _ in found]


# Windows along records.


@pytest.mark.parametrize(
    ("lengths", "options", "expected"),
    [
        ([10], {}, [(0, 0), (0, 4)]),
        ([10], {"incomplete": "pad"}, [(0, 0), (0, 4), (0, 8)]),
        ([8], {"incomplete": "pad"}, [(0, 0), (0, 4)]),
        ([10], {"stride": 3}, [(0, 0), (0, 3), (0, 6)]),
        ([10], {"stride": 3, "incomplete": "pad"}, [(0, 0), (0, 3), (0, 6)]),
        ([11], {"stride": 3, "incomplete": "pad"}, [(0, 0), (0, 3), (0, 6), (0, 9)]),
        ([10], {"stride": 6}, [(0, 0), (0, 6)]),
        ([11], {"stride": 6, "incomplete": "pad"}, [(0, 0), (0, 6)]),
        ([13], {"stride": 6, "incomplete": "pad"}, [(0, 0), (0, 6), (0, 12)]),
        ([5], {"stride": 1}, [(0, 0), (0, 1)]),
        ([3, 10, 4, 0, 5], {}, [(1, 0), (1, 4), (2, 0), (4, 0)]),
        ([3, 10, 4, 0, 5], {"incomplete": "pad"}, [(0, 0), (1, 0), (1, 4), (1, 8), (2, 0), (4, 0), (4, 4)]),
        ([3, 10, 4, 0, 5], {"incomplete": "pad", "min_length": 5}, [(1, 0), (1, 4), (1, 8), (4, 0), (4, 4)]),
        ([10, 10], {"offsets": np.array([1, 3])}, [(0, 1), (0, 5), (1, 3)]),
        ([10, 10], {"offsets": np.array([6, 7])}, [(0, 6)]),
        ([10, 10], {"offsets": np.array([7, 12]), "incomplete": "pad"}, [(0, 7)]),
    ],
)
def test_windows_of_four_bases(
    lengths: list[int], options: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    assert tiles(lengths, 4, **options) == expected


def by_hand(
    lengths: list[int], window: int, stride: int, offsets: list[int], min_length: int, incomplete: str
) -> list[tuple[int, int]]:
    """Window after window, and base after base."""
    found = []
    for record, (length, offset) in enumerate(zip(lengths, offsets, strict=True)):
        seen: set[int] = set()
        for start in range(offset, length, stride):
            bases = set(range(start, min(start + window, length)))
            whole = start + window <= length
            if length >= min_length and (whole or (incomplete == "pad" and bases - seen)):
                found.append((record, start))
            seen |= bases
    return found


@settings(deadline=None, max_examples=500)
@given(
    records=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=5),
    window=st.integers(1, 12),
    stride=st.integers(1, 15),
    min_length=st.integers(0, 12),
    incomplete=st.sampled_from(["drop", "pad"]),
)
def test_windows_are_those_that_counting_gives(
    records: list[tuple[int, int]], window: int, stride: int, min_length: int, incomplete: str
) -> None:
    lengths, offsets = [record[0] for record in records], [record[1] for record in records]
    expected = by_hand(lengths, window, stride, offsets, min_length, incomplete)
    options: dict[str, Any] = {
        "offsets": np.array(offsets),
        "min_length": min_length,
        "incomplete": incomplete,
    }
    if not expected:
        with pytest.raises(
            DataError, match=f"^no window of {window} fits: the longest of {len(lengths)} rec"
        ):
            tiles(lengths, window, stride, **options)
        return
    assert tiles(lengths, window, stride, **options) == expected


def test_examples_are_asked_for_in_any_order_and_number() -> None:
    plan = tile(np.array([9, 0, 5]), 4, 2)
    records, starts, reverse = plan.places(np.array([3, 0, 3, 1]))
    assert (records.tolist(), starts.tolist(), reverse.tolist()) == ([2, 0, 2, 0], [0, 0, 0, 2], [False] * 4)
    assert [part.tolist() for part in plan.places(np.array([], dtype=np.int64))] == [[], [], []]


def test_a_plan_takes_no_more_memory_for_more_windows() -> None:
    plan = tile(np.array([3_000_000_000, 5]), window=500, stride=1)
    assert len(plan) == 2_999_999_501
    records, starts, _ = plan.places(np.array([2_999_999_500]))
    assert (records.tolist(), starts.tolist()) == ([0], [2_999_999_500])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "^window 0 and stride 0 have to be 1 at least$"),
        ({"window": 4, "stride": 0}, "^window 4 and stride 0 have to be 1 at least$"),
        ({"window": -4, "stride": 1}, "^window -4 and stride 1 have to be"),
        ({"window": 4, "incomplete": "keep"}, "^incomplete is 'keep'; it has to be 'drop' or 'pad'$"),
        ({"window": 4, "offsets": np.array([0, -2])}, "^the offset -2 is negative"),
        (
            {"window": 11},
            r"^no window of 11 fits: .* 2 records has 10 bases, .* dropped \(incomplete='drop'\)$",
        ),
        (
            {"window": 11, "incomplete": "pad", "min_length": 11},
            "^no window of 11 fits: .* has 10 bases, records below 11 are left out and .* padded$",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tile(np.array([10, 6]), **arguments)


def test_no_record_has_no_window() -> None:
    with pytest.raises(DataError, match="^no window of 4 fits: the longest of 0 records has 0 bases"):
        tile(np.array([], dtype=np.int64), 4)


# Whole records, and windows one by one.


def test_a_whole_record_is_a_window_from_its_start() -> None:
    plan = Whole(length=7, n_records=3)
    assert plan.length == 7
    assert places(plan) == [(0, 0, False), (1, 0, False), (2, 0, False)]
    assert plan.places(np.array([2, 0]))[0].tolist() == [2, 0]


def test_chosen_windows_are_those_given() -> None:
    plan = Chosen(5, np.array([1, 0]), np.array([-2, 8]), np.array([True, False]))
    assert (plan.length, places(plan)) == (5, [(1, -2, True), (0, 8, False)])
    assert [part.tolist() for part in plan.places(np.array([1, 1]))] == [[0, 0], [8, 8], [False, False]]


def test_windows_lie_about_the_centres_of_intervals() -> None:
    intervals = Intervals.make(["b", "a", "b"], [10, 3, 100], [14, 4, 103], "+-.")
    assert intervals.names == ("b", "a")

    assert places(windows_of(intervals, 4)) == [(0, 10, False), (1, 1, True), (0, 99, False)]
    assert places(windows_of(intervals, 5)) == [(0, 10, False), (1, 1, True), (0, 99, False)]
    assert places(windows_of(intervals, 20)) == [(0, 2, False), (1, -7, True), (0, 91, False)]
    assert [reverse for _, _, reverse in places(windows_of(intervals, 4, stranded=False))] == [False] * 3
    assert windows_of(intervals, 20).length == 20
