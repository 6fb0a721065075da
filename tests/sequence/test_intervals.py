"""Intervals as columns: building, choosing, and arithmetic, which is checked base by base."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence.intervals import FAR, LONGEST, Intervals, parse_region, regions_of_headers

Triple = tuple[str, int, int]


def triples(intervals: Intervals) -> list[Triple]:
    names = intervals.chromosome_names().tolist()
    return list(zip(names, intervals.start.tolist(), intervals.end.tolist(), strict=True))


def made(*rows: Triple) -> Intervals:
    return Intervals.make(*zip(*rows, strict=True)) if rows else Intervals.make([], [], [])


# Building.


def test_the_columns_have_their_types() -> None:
    peaks = Intervals.make(
        ["chr2", "chr1", "chr2"],
        [5, 0, 7],
        [6, 9, 8],
        ["+", ".", "-"],
        labels=["a", "", "long label"],
        scores=[1, np.nan, 2.5],
        kinds=["gene", "gene", "CDS"],
        source="peaks.bed",
    )
    assert peaks.names == ("chr2", "chr1")
    assert peaks.chromosome.tolist() == [0, 1, 0]
    assert peaks.chromosome_names().tolist() == ["chr2", "chr1", "chr2"]
    assert peaks.strand.tolist() == [1, 0, -1]
    assert peaks.label.tolist() == ["a", "", "long label"]
    assert peaks.kind.tolist() == ["gene", "gene", "CDS"]
    types = [
        peaks.chromosome.dtype,
        peaks.start.dtype,
        peaks.end.dtype,
        peaks.strand.dtype,
        peaks.score.dtype,
    ]
    assert types == [np.int64, np.int64, np.int64, np.int8, np.float64]
    assert len(peaks) == 3


def test_what_is_not_given_is_unknown() -> None:
    peak = Intervals.make(["chr1"], [0], [5])
    assert (peak.strand.tolist(), peak.label.tolist(), peak.kind.tolist()) == ([0], [""], [""])
    assert np.isnan(peak.score).all()
    assert peak.source == ""


def test_strands_may_be_numbers_and_names_any_strings() -> None:
    peaks = Intervals.make(
        np.array(["a", "b", "a"]), [0, 0, 0], [1, 1, 1], np.array([1, -1, 0], dtype=np.int8)
    )
    assert peaks.strand.tolist() == [1, -1, 0]
    assert peaks.names == ("a", "b")
    assert [type(name) for name in peaks.names] == [str, str]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("chr1", -5, 10), r"x.bed: the interval chr1 -5 10 .*number 1 from 0: the start -5 is negative"),
        (("chr1", 10, 5), "the end 5 is before the start 10"),
        (("chr1", 5, 5), "start and end are both 5, .* delete it, or make an insertion point .* 5 to 6"),
        (("chr1", 5, LONGEST + 1), f"the end {LONGEST + 1} is past the end of any chromosome"),
    ],
)
def test_an_interval_that_is_none_is_refused(row: Triple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Intervals.make(["chr1", row[0]], [0, row[1]], [1, row[2]], source="x.bed")


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"2 intervals with a column 'end' of shape \(1,\)"):
        Intervals.make(["a", "b"], [0, 0], [1])
    with pytest.raises(DataError, match="the starts of intervals are float64; they have to be integers"):
        Intervals.make(["a"], [0.5], [1])
    with pytest.raises(DataError, match="the strand is 'forward'"):
        Intervals.make(["a"], [0], [1], ["forward"])


# Choosing and joining.

PEAKS = made(("chr1", 0, 5), ("chr2", 3, 9), ("chr1", 7, 8), ("chr3", 1, 2))


def test_intervals_are_chosen_as_elements_of_an_array_are() -> None:
    assert triples(PEAKS[np.array([2, 0])]) == [("chr1", 7, 8), ("chr1", 0, 5)]
    assert triples(PEAKS[PEAKS.start > 2]) == [("chr2", 3, 9), ("chr1", 7, 8)]
    assert triples(PEAKS[1:3]) == [("chr2", 3, 9), ("chr1", 7, 8)]
    assert triples(PEAKS[3]) == [("chr3", 1, 2)]
    assert len(PEAKS[:0]) == 0
    assert PEAKS[:0].names == ("chr1", "chr2", "chr3")


def test_parts_are_joined_whatever_order_their_names_have() -> None:
    one = Intervals.make(["b", "a"], [0, 1], [5, 6], ["+", "-"], labels=["x", "y"], source="one.bed")
    two = Intervals.make(["a", "c"], [2, 3], [7, 8], scores=[0.5, 1], source="two.bed")
    both = Intervals.concatenate([one, two, one[:0]])
    assert both.names == ("b", "a", "c")
    assert triples(both) == [("b", 0, 5), ("a", 1, 6), ("a", 2, 7), ("c", 3, 8)]
    assert both.strand.tolist() == [1, -1, 0, 0]
    assert both.label.tolist() == ["x", "y", "", ""]
    assert both.score[2:].tolist() == [0.5, 1]
    assert both.source == "one.bed, two.bed"
    assert len(Intervals.concatenate([])) == 0


def test_other_names_leave_out_what_is_not_on_them() -> None:
    placed = PEAKS.on_names(["chr9", "chr2", "chr1"])
    assert placed.chromosome.tolist() == [2, 1, 2]
    assert triples(placed) == [("chr1", 0, 5), ("chr2", 3, 9), ("chr1", 7, 8)]


# Windows about the centre.


@pytest.mark.parametrize(
    ("interval", "window", "expected"),
    [
        ((100, 101), 1, (100, 101)),
        ((100, 101), 2, (99, 101)),
        ((100, 101), 201, (0, 201)),
        ((100, 200), 100, (100, 200)),
        ((100, 201), 101, (100, 201)),
        ((3, 4), 10, (-2, 8)),
    ],
)
def test_a_window_lies_about_the_centre(
    interval: tuple[int, int], window: int, expected: tuple[int, int]
) -> None:
    grown = made(("chr1", *interval)).resized(window)
    assert triples(grown) == [("chr1", *expected)]


def test_the_centre_is_the_base_in_the_middle_or_the_one_behind_it() -> None:
    assert made(("a", 0, 1), ("a", 0, 2), ("a", 0, 3), ("a", 10, 14)).centres().tolist() == [0, 1, 1, 12]


@pytest.mark.parametrize("window", [0, -1, 2.0, LONGEST + 1])
def test_a_window_has_a_base_at_least(window: int) -> None:
    with pytest.raises(DataError, match=f"the window is {window!r}"):
        PEAKS.resized(window)


# Order, clusters, distances.


def test_the_order_is_that_of_the_names_then_of_positions_and_else_as_it_was() -> None:
    rows = Intervals.make(
        ["b", "a", "b", "b", "b"], [5, 0, 2, 2, 2], [6, 1, 9, 4, 9], labels=["0", "1", "2", "3", "4"]
    )
    assert rows.sorted().label.tolist() == ["3", "2", "4", "0", "1"]


def test_touching_intervals_are_one_cluster_and_those_a_base_apart_are_with_a_gap_of_one() -> None:
    rows = made(("a", 0, 5), ("a", 5, 8), ("a", 9, 12), ("b", 12, 13), ("a", 20, 21))
    assert rows.clusters().tolist() == [0, 0, 1, 3, 2]
    assert rows.clusters(gap=1).tolist() == [0, 0, 0, 2, 1]
    assert triples(rows.merged()) == [("a", 0, 8), ("a", 9, 12), ("a", 20, 21), ("b", 12, 13)]
    assert triples(rows.merged(gap=8)) == [("a", 0, 21), ("b", 12, 13)]


def test_a_merged_interval_keeps_the_chromosome_and_the_file_alone() -> None:
    one = Intervals.make(
        ["a"], [0], [5], ["-"], labels=["peak"], scores=[7], kinds=["gene"], source="x.bed"
    ).merged()
    assert (one.strand.tolist(), one.label.tolist(), one.kind.tolist()) == ([0], [""], [""])
    assert np.isnan(one.score).all()
    assert (one.names, one.source) == (("a",), "x.bed")


def test_distances_are_counted_as_by_bedtools() -> None:
    other = made(("b", 0, 1), ("a", 10, 20))
    rows = made(("a", 15, 16), ("a", 19, 30), ("a", 20, 30), ("a", 21, 30), ("a", 0, 10), ("c", 0, 99))
    assert rows.distance_to(other).tolist() == [0, 0, 1, 2, 1, FAR]
    assert rows.overlapping(other).tolist() == [True, True, False, False, False, False]


def test_nothing_is_near_nothing() -> None:
    empty = made()
    assert PEAKS.distance_to(empty).tolist() == [FAR] * 4
    assert empty.distance_to(PEAKS).shape == (0,)
    assert empty.clusters().shape == (0,)
    assert len(empty.merged()) == len(empty.sorted()) == len(empty.resized(5)) == 0


def test_a_gap_is_not_negative() -> None:
    for call in (PEAKS.clusters, PEAKS.merged):
        with pytest.raises(DataError, match="the gap is -1; it has to be a number of bases, 0 or more"):
            call(-1)


interval = st.tuples(st.sampled_from("abc"), st.integers(-20, 60), st.integers(1, 15)).map(
    lambda row: (row[0], row[1], row[1] + row[2])
)
rows = st.lists(interval, max_size=12)


def anywhere(rows: list[Triple], names: str = "abc") -> Intervals:
    """Intervals that may begin before 0, as windows do, with names in an order of their own."""
    shifted = made(*((name, start + 20, end + 20) for name, start, end in rows)).on_names(names)
    return Intervals(
        shifted.names,
        shifted.chromosome,
        shifted.start - 20,
        shifted.end - 20,
        shifted.strand,
        shifted.label,
        shifted.score,
        shifted.kind,
    )


def bases(rows: list[Triple]) -> set[tuple[str, int]]:
    return {(name, base) for name, start, end in rows for base in range(start, end)}


@settings(deadline=None)
@given(ours=rows, theirs=rows)
def test_overlaps_are_shared_bases(ours: list[Triple], theirs: list[Triple]) -> None:
    expected = [bool(bases([row]) & bases(theirs)) for row in ours]
    assert anywhere(ours).overlapping(anywhere(theirs, "cab")).tolist() == expected


@settings(deadline=None)
@given(ours=rows, theirs=rows)
def test_distances_are_those_of_the_nearest_bases(ours: list[Triple], theirs: list[Triple]) -> None:
    expected = [
        min(
            (
                abs(base - other)
                for _, base in bases([row])
                for name, other in bases(theirs)
                if name == row[0]
            ),
            default=FAR,
        )
        for row in ours
    ]
    assert anywhere(ours).distance_to(anywhere(theirs, "bca")).tolist() == expected


@settings(deadline=None)
@given(rows=rows, gap=st.integers(0, 12))
def test_clusters_are_the_connected_parts_in_the_order_of_the_genome(rows: list[Triple], gap: int) -> None:
    def joined(one: Triple, two: Triple) -> bool:
        return one[0] == two[0] and max(one[1], two[1]) - min(one[2], two[2]) <= gap

    clusters = {row: {row} for row in rows}
    for one in rows:
        for two in rows:
            if joined(one, two) and clusters[one] is not clusters[two]:
                clusters[one] |= clusters[two]
                for row in clusters[one]:
                    clusters[row] = clusters[one]
    order = sorted({min(cluster) for cluster in clusters.values()})
    expected = [order.index(min(clusters[row])) for row in rows]
    assert anywhere(rows).clusters(gap).tolist() == expected


@settings(deadline=None)
@given(rows=rows, gap=st.integers(0, 12))
def test_merged_intervals_are_the_hulls_of_clusters(rows: list[Triple], gap: int) -> None:
    numbers = anywhere(rows).clusters(gap).tolist()
    merged = triples(anywhere(rows).merged(gap))
    for number, hull in enumerate(merged):
        members = [row for row, cluster in zip(rows, numbers, strict=True) if cluster == number]
        assert hull == (members[0][0], min(row[1] for row in members), max(row[2] for row in members))
    assert all(one[0] != two[0] or two[1] - one[2] > gap for one, two in pairwise(merged))
    if gap == 0:
        assert bases(merged) == bases(rows)


@settings(deadline=None)
@given(rows=rows, seed=st.integers(0, 99), gap=st.integers(0, 5))
def test_the_order_of_intervals_makes_no_difference(rows: list[Triple], seed: int, gap: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    whole = anywhere(rows)
    assert whole[order].clusters(gap).tolist() == whole.clusters(gap)[order].tolist()
    assert triples(whole[order].sorted()) == triples(whole.sorted()) == sorted(rows)


@settings(deadline=None)
@given(rows=rows, window=st.integers(1, 40))
def test_windows_have_their_length_and_keep_their_centres(rows: list[Triple], window: int) -> None:
    grown = anywhere(rows).resized(window)
    assert (grown.end - grown.start == window).all()
    assert grown.centres().tolist() == [(start + end) // 2 for _, start, end in rows]


# Regions.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chrI:101-200", ("chrI", 100, 200)),
        ("chr1:1-1", ("chr1", 0, 1)),
        (" chr1:1,000-2,500,000\n", ("chr1", 999, 2_500_000)),
        ("chr1:5-9(-)", ("chr1", 4, 9)),
        ("chr1:5-9(.)", ("chr1", 4, 9)),
        ("HLA-A*01:01:01:01:1-20", ("HLA-A*01:01:01:01", 0, 20)),
        ("gi|563317589|dbj|AB821309.1|:1-20", ("gi|563317589|dbj|AB821309.1|", 0, 20)),
        ("chr1:100-200:5-9", ("chr1:100-200", 4, 9)),
    ],
)
def test_a_region_counts_from_one_and_includes_its_end(text: str, expected: Triple) -> None:
    assert parse_region(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "chr1", "chr1:5", "chr1:5-", ":5-9", "chr1:-5-9", "chr1:1e3-2e3", "chr1:1,00-2,00", "chr1:५-९"],
)
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(
        DataError, match="is no region; write chromosome:first-last, as in chrI:101-200"
    ) as error:
        parse_region(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["chr1:0-5", "chr1:9-5"])
def test_a_region_of_no_base_is_refused(text: str) -> None:
    with pytest.raises(
        DataError, match=f"the region '{text}' has to begin at 1 or later, and not to end before"
    ):
        parse_region(text)


def test_headers_that_are_regions_say_where_the_sequences_are() -> None:
    regions = regions_of_headers(["chr19:50982494-50982594", "chr2:11-20(-) a peak", "HLA:A:1-2(+)"])
    assert regions is not None
    assert triples(regions) == [("chr19", 50982493, 50982594), ("chr2", 10, 20), ("HLA:A", 0, 2)]
    assert regions.strand.tolist() == [0, -1, 1]
    assert regions.label.tolist() == ["chr19:50982494-50982594", "chr2:11-20(-)", "HLA:A:1-2(+)"]


@pytest.mark.parametrize(
    "headers", [[], ["chr1:1-5", "peak2"], ["chr1:1-5", ""], ["chr1:0-5"], ["chr1:9-5"], [f"chr1:1-{10**17}"]]
)
def test_headers_of_which_one_is_no_region_say_nothing(headers: list[str]) -> None:
    assert regions_of_headers(headers) is None


def test_lengths_tell_regions_of_bedtools_which_count_from_zero() -> None:
    headers = ["chr1:10-20", "chr2:0-5"]
    by_length = {}
    for lengths in ([10, 5], [11, 6], [11, 5], [500, 500]):
        regions = regions_of_headers(headers, np.array(lengths))
        by_length[tuple(lengths)] = None if regions is None else triples(regions)
    assert by_length == {
        (10, 5): [("chr1", 10, 20), ("chr2", 0, 5)],
        (11, 6): None,
        (11, 5): None,
        (500, 500): None,
    }
    inclusive = regions_of_headers(["chr1:10-20"], lengths=[11])
    assert inclusive is not None
    assert triples(inclusive) == [("chr1", 9, 20)]
