"""Splits: by chromosome, interval, cluster and ratio; nothing lost, nothing in two parts."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence.intervals import Intervals
from helixband.sequence.splits import Parts, by_chromosome, by_cluster, by_interval, by_ratio

seeds = st.integers(0, 2**32 - 1)
ratios = st.floats(0, 0.4)


def lists(parts: Parts) -> list[list[int]]:
    return [part.tolist() for part in parts]


def sizes(parts: Parts) -> list[int]:
    return [len(part) for part in parts]


def is_partition(parts: Parts, n: int) -> bool:
    """Whether each of n examples is in one part, and each part in order."""
    ordered = all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    return ordered and sorted(np.concatenate(parts).tolist()) == list(range(n))


def split_or_none(split: Callable[[], Parts]) -> Parts:
    """The parts; examples of which one would be empty are passed over."""
    try:
        return split()
    except DataError:
        assume(False)
        raise


# By chromosome.

NAMES = ["I", "II", "III", "I", "IV", "II", "I"]
PEAKS = Intervals.make(NAMES, range(7), range(1, 8))


@pytest.mark.parametrize("chromosomes", [NAMES, np.array(NAMES), np.array(NAMES, object), PEAKS])
def test_chromosomes_go_where_they_are_named_and_the_rest_to_training(chromosomes: Any) -> None:
    assert lists(by_chromosome(chromosomes, val=["II"], test=["III", "IV"])) == [[0, 3, 6], [1, 5], [2, 4]]
    assert lists(by_chromosome(chromosomes, test=("I",))) == [[1, 2, 4, 5], [], [0, 3, 6]]
    assert lists(by_chromosome(chromosomes, val=["I"], test=["II"], train=["IV"])) == [[4], [0, 3, 6], [1, 5]]


def test_one_name_needs_no_list() -> None:
    names = ["chr1", "chr2", "chr3"]
    assert lists(by_chromosome(names, val="chr2", test="chr3")) == [[0], [1], [2]]


def test_the_parts_are_int64_and_in_order() -> None:
    assert is_partition(by_chromosome(NAMES, val=["II"], test=["IV"]), 7)


def test_a_chromosome_of_the_genome_without_an_interval_may_be_named_among_others() -> None:
    some = PEAKS[PEAKS.chromosome != 1]
    assert lists(by_chromosome(some, val=["II", "III"])) == [[0, 2, 3, 4], [1], []]
    with pytest.raises(
        DataError, match="^the validation part would be empty: name chromosomes that have examples"
    ):
        by_chromosome(some, val=["II"])


@pytest.mark.parametrize("part", ["val", "test", "train"])
def test_a_name_that_no_chromosome_has_is_refused_with_those_near_it(part: str) -> None:
    with pytest.raises(DataError, match="^there is no chromosome 'IIII' to split by; there are III, II, …"):
        by_chromosome(NAMES, **{part: ["IIII"]})
    with pytest.raises(DataError, match="^there is no chromosome 'X' to split by; there are I, II, III, …"):
        by_chromosome(PEAKS, **{part: ["X"]})


def test_a_name_in_two_parts_or_twice_in_one_is_refused() -> None:
    with pytest.raises(DataError, match="^the chromosome 'II' is named twice"):
        by_chromosome(NAMES, val=["II"], test=["I", "II"])
    with pytest.raises(DataError, match="^the chromosome 'II' is named twice"):
        by_chromosome(NAMES, val=["II", "II"])
    with pytest.raises(DataError, match="^the chromosome 'II' is named twice"):
        by_chromosome(NAMES, val=["II"], train=["II"])


def test_training_needs_a_chromosome() -> None:
    with pytest.raises(DataError, match="^the training part would be empty"):
        by_chromosome(NAMES, val=["I", "II"], test=["III", "IV"])


# By interval.


def peaks(*starts: int, length: int = 10, names: list[str] | None = None) -> Intervals:
    return Intervals.make(names or ["chr1"] * len(starts), starts, np.array(starts) + length)


@settings(deadline=None)
@given(
    places=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 500), st.integers(1, 30)), min_size=3, max_size=60
    ),
    val_ratio=ratios,
    test_ratio=ratios,
    gap=st.integers(0, 30),
    seed=seeds,
)
def test_no_interval_is_lost_and_none_is_within_the_gap_of_another_part(
    places: list[tuple[str, int, int]], val_ratio: float, test_ratio: float, gap: int, seed: int
) -> None:
    names, starts, lengths = zip(*places, strict=True)
    intervals = Intervals.make(names, starts, np.array(starts) + lengths)
    parts = split_or_none(lambda: by_interval(intervals, val_ratio, test_ratio, gap, seed))
    assert is_partition(parts, len(places))
    for one in range(3):
        for other in range(one):
            # The distance is one more than the bases between.
            assert (intervals[parts[one]].distance_to(intervals[parts[other]]) > gap + 1).all()


@pytest.mark.parametrize(("gap", "together"), [(5, True), (4, False)])
def test_intervals_within_the_gap_stay_together(gap: int, together: bool) -> None:
    intervals = peaks(0, 15, 100, 200)  # 5 bases between the first two
    trains = [by_interval(intervals, 0.25, 0.25, gap, seed)[0].tolist() for seed in range(20)]
    assert all(train == [0, 1] for train in trains) is together


def test_a_split_by_interval_does_not_depend_on_their_order() -> None:
    rng = np.random.default_rng(0)
    intervals = peaks(*rng.integers(0, 5000, 200).tolist(), names=rng.choice(["a", "b"], 200).tolist())
    order = rng.permutation(200)
    parts = by_interval(intervals, 0.2, 0.2, gap=3)
    shuffled = by_interval(intervals[order], 0.2, 0.2, gap=3)
    assert [sorted(order[part].tolist()) for part in shuffled] == lists(parts)


# By cluster.


@settings(deadline=None)
@given(
    clusters=st.lists(st.integers(-3, 30), min_size=3, max_size=100),
    val_ratio=ratios,
    test_ratio=ratios,
    seed=seeds,
)
def test_no_cluster_is_in_two_parts_and_no_example_lost(
    clusters: list[int], val_ratio: float, test_ratio: float, seed: int
) -> None:
    parts = split_or_none(lambda: by_cluster(clusters, val_ratio, test_ratio, seed))
    assert is_partition(parts, len(clusters))
    assert sum(len(set(np.array(clusters)[part])) for part in parts) == len(set(clusters))


@settings(deadline=None)
@given(
    clusters=st.lists(st.integers(0, 40), min_size=10, max_size=200),
    val_ratio=ratios,
    test_ratio=ratios,
    seed=seeds,
)
def test_no_cluster_of_training_would_bring_a_part_nearer_to_its_ratio(
    clusters: list[int], val_ratio: float, test_ratio: float, seed: int
) -> None:
    train, val, test = split_or_none(lambda: by_cluster(clusters, val_ratio, test_ratio, seed))
    smallest = np.unique(np.array(clusters)[train], return_counts=True)[1].min()
    for part, ratio in ((val, val_ratio), (test, test_ratio)):
        wanted = round(len(clusters) * ratio)
        assert abs(len(part) - wanted) <= abs(len(part) + smallest - wanted)


def test_clusters_of_one_give_the_sizes_exactly_and_at_random() -> None:
    parts = by_cluster(range(1000), 0.15, 0.25)
    assert sizes(parts) == [600, 150, 250]
    assert all(abs(part.mean() - 499.5) < 75 for part in parts)


def test_a_part_takes_a_cluster_more_than_fits_where_that_is_nearer() -> None:
    assert sizes(by_cluster([1, 1, 1, 2, 2, 2, 3, 3, 3], 0.25, 0.25)) == [3, 3, 3]
    with pytest.raises(DataError, match="^the validation part would be empty"):
        by_cluster([1, 1, 1, 2, 2, 2, 3, 3, 3], 0.1, 0.1)


def test_a_cluster_larger_than_a_part_is_for_training() -> None:
    clusters = [7] * 60 + list(range(100, 140))
    for seed in range(20):
        train, val, test = by_cluster(clusters, 0.2, 0.1, seed)
        assert sizes((train, val, test)) == [70, 20, 10] and set(range(60)) <= set(train.tolist())


def test_a_split_by_cluster_does_not_depend_on_the_order_of_examples() -> None:
    rng = np.random.default_rng(0)
    clusters, order = rng.integers(0, 30, 200), rng.permutation(200)
    shuffled = by_cluster(clusters[order], 0.2, 0.2)
    assert [sorted(order[part].tolist()) for part in shuffled] == lists(by_cluster(clusters, 0.2, 0.2))


def test_clusters_that_cannot_be_parted_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        by_cluster([1, 1, 1, 1, 2, 2, 2, 2], 0.1, 0.1)
    assert str(caught.value) == (
        "the validation part would be empty: val_ratio 0.1 and test_ratio 0.1 of 8 examples in 2 clusters, "
        "the largest of 4; change the ratios, or what makes a cluster"
    )
    with pytest.raises(DataError, match="^the training part would be empty"):
        by_cluster([1, 1, 2, 2], 0.4, 0.4)
    with pytest.raises(
        DataError, match=r"^clusters has the shape \(2, 2\); it has to have one value for each"
    ):
        by_cluster([[1, 1], [2, 2]], 0.4, 0.4)


# By ratio.


@settings(deadline=None)
@given(n=st.integers(1, 300), val_ratio=ratios, test_ratio=ratios, seed=seeds)
def test_a_ratio_is_the_share_of_a_part(n: int, val_ratio: float, test_ratio: float, seed: int) -> None:
    parts = split_or_none(lambda: by_ratio(n, val_ratio, test_ratio, seed))
    assert is_partition(parts, n)
    assert sizes(parts)[1:] == [round(n * val_ratio), round(n * test_ratio)]


def test_a_split_by_ratio_is_random() -> None:
    assert all(abs(part.mean() - 4999.5) < 250 for part in by_ratio(10_000, 0.2, 0.2))
    counts = np.zeros(10)
    for seed in range(1000):
        counts[by_ratio(10, 0.2, 0.2, seed)[1]] += 1
    assert (abs(counts - 200) < 60).all()


@settings(deadline=None)
@given(
    labels=st.lists(st.sampled_from("aaaab"), min_size=2, max_size=300),
    val_ratio=ratios,
    test_ratio=ratios,
    seed=seeds,
)
def test_classes_have_in_each_part_the_shares_they_have_in_the_whole(
    labels: list[str], val_ratio: float, test_ratio: float, seed: int
) -> None:
    n = len(labels)
    parts = split_or_none(lambda: by_ratio(n, val_ratio, test_ratio, seed, labels))
    assert is_partition(parts, n)
    assert sizes(parts)[1:] == [round(n * val_ratio), round(n * test_ratio)]
    for part in parts:
        wanted = len(part) * labels.count("b") / n
        assert abs(sum(labels[index] == "b" for index in part) - wanted) <= 1.5


def test_many_classes_are_all_in_every_part() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 10))
    for part, count in zip(by_ratio(200, 0.2, 0.1, labels=labels), (7, 2, 1), strict=True):
        assert np.bincount(labels[part]).tolist() == [count] * 20


def test_examples_of_a_class_are_drawn_at_random() -> None:
    labels = np.arange(10_000) % 2
    assert all(
        abs(part[labels[part] == 1].mean() - 5000) < 350 for part in by_ratio(10_000, 0.2, 0.2, labels=labels)
    )


def test_each_example_needs_a_label() -> None:
    with pytest.raises(DataError, match="^there are 3 labels of 4 examples"):
        by_ratio(4, 0.25, 0.25, labels=[0, 1, 0])
    with pytest.raises(DataError, match=r"^labels has the shape \(4, 2\)"):
        by_ratio(4, 0.25, 0.25, labels=np.zeros((4, 2)))


# All that have ratios and a seed.

SPLITS: dict[str, Callable[..., Parts]] = {
    "interval": lambda *options: by_interval(peaks(*range(0, 2000, 20)), *options[:2], 0, *options[2:]),
    "cluster": lambda *options: by_cluster(range(100), *options),
    "ratio": lambda *options: by_ratio(100, *options),
}
each_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS.keys())


@each_split
def test_a_part_of_ratio_0_is_empty(split: Callable[..., Parts]) -> None:
    assert sizes(split(0, 0.1)) == [90, 0, 10]
    assert sizes(split(0.1, 0)) == [90, 10, 0]
    assert lists(split(0, 0)) == [list(range(100)), [], []]


@each_split
def test_the_seed_alone_makes_the_split(split: Callable[..., Parts]) -> None:
    np.random.seed(0)
    first = lists(split(0.2, 0.2, 5))
    np.random.seed(1)
    assert lists(split(0.2, 0.2, 5)) == first != lists(split(0.2, 0.2, 6))
    assert lists(split(0.2, 0.2)) == lists(split(0.2, 0.2, 0))


@each_split
@pytest.mark.parametrize("chosen", [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (1, 0), (0, 20), (float("nan"), 0)])
def test_ratios_that_are_no_shares_are_refused(
    split: Callable[..., Parts], chosen: tuple[float, float]
) -> None:
    with pytest.raises(
        DataError, match=rf"^val_ratio is {chosen[0]!r} and test_ratio {chosen[1]!r}; each is a share"
    ):
        split(*chosen)


@each_split
def test_a_part_that_would_be_empty_is_refused(split: Callable[..., Parts]) -> None:
    with pytest.raises(
        DataError, match="^the validation part would be empty: val_ratio 0.001 and test_ratio 0.1"
    ):
        split(0.001, 0.1)
    with pytest.raises(DataError, match="^the test part would be empty"):
        split(0.1, 0.001)
    with pytest.raises(DataError, match="^the training part would be empty"):
        split(0.5, 0.499)


def test_a_hundred_thousand_contigs_can_be_named_in_a_split() -> None:
    names = [f"contig{number}" for number in range(100_000)]
    started = time.process_time()
    train, val, test = by_chromosome(names, val=names[1::2], test=names[:1])
    assert (len(train), len(val), test.tolist()) == (49_999, 50_000, [0])
    assert time.process_time() - started < 1.5
