"""Negative examples: dinucleotide shuffles, and windows of the genome that match in GC content."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from helixband.errors import DataError
from helixband.sequence import negatives
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, Codes
from helixband.sequence.chromosomes import on_genome
from helixband.sequence.intervals import Intervals
from helixband.sequence.negatives import dinucleotide_shuffle, gc_matched_windows
from helixband.sequence.store import SequenceStore


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Dinucleotide shuffles.


def pairs(row: Sequence[int]) -> Counter[tuple[int, int]]:
    return Counter(itertools.pairwise(row))


def is_shuffle(shuffled: Codes, codes: Codes) -> bool:
    """Of rows (N, L): the same pairs, the same ends."""
    return all(
        pairs(after) == pairs(before) and (after[:1], after[-1:]) == (before[:1], before[-1:])
        for after, before in zip(shuffled.tolist(), codes.tolist(), strict=True)
    )


batches = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=30), elements=st.integers(0, 4)
)


@settings(deadline=None)
@given(codes=batches, seed=st.integers(0, 2**32 - 1))
def test_a_shuffle_keeps_the_pairs_and_the_ends_of_every_row(codes: Codes, seed: int) -> None:
    before = codes.copy()
    shuffled = dinucleotide_shuffle(codes, rng(seed))
    assert shuffled.shape == codes.shape and shuffled.dtype == np.uint8
    assert is_shuffle(shuffled, codes)
    assert (codes == before).all()


@pytest.mark.parametrize(
    ("sequence", "arrangements"),
    [
        ("ACGATTGCAT", 12),
        ("ACACAGAC", 3),
        ("AACCAACC", 9),
        ("GNNAGNNNA", 4),
        ("AAACCAA", 4),
        ("ACGT", 1),
    ],
)
def test_every_arrangement_of_the_same_pairs_and_ends_is_as_likely(sequence: str, arrangements: int) -> None:
    codes = DNA.encode(sequence)
    first, *middle, last = codes.tolist()
    orders = {(first, *order, last) for order in itertools.permutations(middle)}
    expected = {order for order in orders if pairs(order) == pairs(codes.tolist())}
    assert len(expected) == arrangements
    found = Counter(
        map(tuple, dinucleotide_shuffle(np.tile(codes, (4000 * arrangements, 1)), rng()).tolist())
    )
    assert found.keys() == expected
    assert all(3700 < count < 4300 for count in found.values())


def test_rows_are_shuffled_each_in_its_own_way() -> None:
    codes = np.tile(rng().integers(0, 4, 200, dtype=np.uint8), (50, 1))
    assert len(np.unique(dinucleotide_shuffle(codes, rng()), axis=0)) == 50


def test_one_sequence_is_shuffled_as_a_batch_of_one() -> None:
    codes = rng().integers(0, 5, 100, dtype=np.uint8)
    shuffled = dinucleotide_shuffle(codes, rng(1))
    assert shuffled.shape == (100,) and (shuffled != codes).any()
    assert (shuffled == dinucleotide_shuffle(codes[None], rng(1))[0]).all()


def test_the_same_seed_gives_the_same_shuffle() -> None:
    codes = rng().integers(0, 4, (20, 100), dtype=np.uint8)
    first, again, other = (dinucleotide_shuffle(codes, rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(
    "sequence", ["A" * 500 + "C" * 500 + "G" * 500, "AC" * 400 + "G", "N" * 700 + "ACGTACGT"]
)
def test_repeats_that_are_hard_to_leave_are_shuffled_too(sequence: str) -> None:
    codes = np.tile(DNA.encode(sequence), (5, 1))
    assert is_shuffle(dinucleotide_shuffle(codes, rng()), codes)


def test_any_alphabet_is_shuffled() -> None:
    codes = rng().integers(0, 255, (10, 2000), dtype=np.uint8, endpoint=True)
    shuffled = dinucleotide_shuffle(codes, rng())
    assert is_shuffle(shuffled, codes) and (shuffled != codes).any(axis=1).all()


def test_a_large_batch_is_shuffled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "BLOCK", 350)
    codes = rng().integers(0, 4, (10, 100), dtype=np.uint8)
    shuffled = dinucleotide_shuffle(codes, rng())
    assert is_shuffle(shuffled, codes) and (shuffled != codes).any(axis=1).all()


@pytest.mark.parametrize("codes", [np.zeros((2, 5)), np.zeros((2, 5, 4), np.uint8), np.uint8(1)])
def test_what_is_no_batch_of_codes_is_refused(codes: Codes) -> None:
    with pytest.raises(DataError, match=r"it has to be \(L,\) or \(N, L\), uint8"):
        dinucleotide_shuffle(codes, rng())


# Windows of the genome.

Opener = Callable[..., SequenceStore]


@pytest.fixture
def open_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """A store of the records given."""
    monkeypatch.setenv("HELIXBAND_CACHE", str(tmp_path / "cache"))

    def opened(**records: str) -> SequenceStore:
        path = tmp_path / "genome.fa"
        path.write_text("".join(f">{name}\n{letters}\n" for name, letters in records.items()))
        return SequenceStore.open(path)

    return opened


def place(store: SequenceStore, *places: tuple[str, int, int], strands: str = "") -> Intervals:
    """Intervals on the records of a store."""
    names, starts, ends = zip(*places, strict=True)
    return on_genome(Intervals.make(names, starts, ends, strands or None), store.names, store.lengths)


def letters_of(store: SequenceStore, intervals: Intervals) -> list[str]:
    return [
        store.alphabet.decode(store.sequence(*place))  # type: ignore[misc]
        for place in zip(intervals.chromosome, intervals.start, intervals.end, strict=True)
    ]


def gc(letters: str) -> float:
    return sum(letters.count(letter) for letter in "GC") / (len(letters) - letters.count("N"))


def stretches(seed: int, n: int) -> str:
    """Stretches of 300 letters, poor and rich in GC by turns, with some N between."""
    parts = []
    for number in range(n):
        share = (0.3, 0.5, 0.65)[number % 3] / 2
        parts.append(
            "".join(rng(seed + number).choice(list("ACGT"), 300, p=[0.5 - share, share, share, 0.5 - share]))
        )
    return ("N" * 20).join(parts)


def test_each_positive_gets_windows_of_its_chromosome_strand_length_and_gc_away_from_all(
    open_store: Opener,
) -> None:
    store = open_store(one=stretches(0, 40), two=stretches(100, 20), three=stretches(200, 20))
    places = [("two", 340, 440), ("one", 0, 100), ("one", 700, 800), ("one", 5120, 5220), ("two", 3900, 4000)]
    positives = place(store, *places, strands="+-.+-")
    peaks = place(store, ("one", 1000, 3000), ("two", 4500, 4501), ("three", 0, 5000))
    found = gc_matched_windows(store, positives, 10, rng(), exclude=peaks, min_distance=50)
    positive = np.repeat(np.arange(5), 10)
    assert found.names == ("one", "two", "three")
    assert found.chromosome.tolist() == positives.chromosome[positive].tolist()
    assert found.strand.tolist() == positives.strand[positive].tolist()
    assert (found.end - found.start == 100).all()
    letters = letters_of(store, found)
    assert not any("N" in window for window in letters)
    wanted = [gc(window) for window in letters_of(store, positives)]
    assert all(abs(gc(window) - wanted[at]) < 0.0201 for window, at in zip(letters, positive, strict=True))
    # `distance_to` counts one more than the bases between.
    assert found.distance_to(positives).min() > 50 and found.distance_to(peaks).min() > 50
    assert len(set(zip(found.chromosome, found.start, strict=True))) == 50


def test_all_the_room_there_is_is_found_and_no_more(open_store: Opener) -> None:
    store = open_store(one="AC" * 30)
    positive = place(store, ("one", 22, 26))
    exclude = place(store, ("one", 20, 24), ("one", 40, 41), ("one", 58, 60))
    # With 3 bases between, windows of 4 may not touch 17 to 28, 37 to 43 and 55 on.
    room = [*range(14), *range(29, 34), *range(44, 52)]
    found = gc_matched_windows(store, positive, 27, rng(), exclude=exclude, min_distance=3)
    assert sorted(found.start.tolist()) == room
    with pytest.raises(DataError) as caught:
        gc_matched_windows(store, positive, 28, rng(), exclude=exclude, min_distance=3)
    assert str(caught.value) == (
        f"{store.path}, chromosome 'one', of {store.lengths[0]} bases: 28 negatives of 4 bases are wanted, "
        "and away from the positives there is room for 27; take fewer negatives, smaller windows, or this "
        "chromosome's positives out"
    )


@settings(deadline=None, max_examples=30)
@given(
    taken=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 12)), max_size=5),
    window=st.integers(1, 20),
    min_distance=st.integers(0, 10),
    margin=st.integers(0, 10),
)
def test_the_room_is_what_is_left_by_trying_every_window(
    taken: list[tuple[int, int]], window: int, min_distance: int, margin: int
) -> None:
    starts, ends = [start for start, _ in taken], [start + length for start, length in taken]
    intervals = Intervals.make(["one"] * len(taken), np.array(starts, int), np.array(ends, int))
    first, end = negatives._free_starts(intervals, min_distance, margin, 60, window)
    expected = [
        start
        for start in range(margin, 60 - margin - window + 1)
        if all(
            start + window <= taken_start - min_distance or start >= taken_end + min_distance
            for taken_start, taken_end in zip(starts, ends, strict=True)
        )
    ]
    assert [start for run in zip(first, end, strict=True) for start in range(*run)] == expected


def test_the_nearest_gc_is_taken_first_and_no_window_twice(open_store: Opener) -> None:
    store = open_store(one="GGGG" + "A" * 8 + "GGGG" + "A" * 8)
    positive = place(store, ("one", 0, 4))
    found = gc_matched_windows(store, positive, 3, rng(), tolerance=0.25)
    assert sorted(found.start.tolist()) == [11, 12, 13]
    assert found.start[0] == 12


def test_positives_that_want_the_same_window_get_different_ones(open_store: Opener) -> None:
    store = open_store(one="GGGG" + "A" * 8 + "GGGG" + "A" * 8 + "GGGA")
    positives = place(store, ("one", 0, 4), ("one", 24, 28))
    found = gc_matched_windows(store, positives, 2, rng(), tolerance=0.5)
    assert found.start[0] == 12 and found.start[1] in (10, 14)
    assert sorted(found.start[2:].tolist()) == [11, 13]


def test_a_tolerance_that_cannot_be_kept_is_told_with_one_that_can(open_store: Opener) -> None:
    store = open_store(one="GGGG" + "A" * 8 + "GGGG" + "A" * 8)
    positive = place(store, ("one", 0, 4))
    with pytest.raises(DataError) as caught:
        gc_matched_windows(store, positive, 3, rng(), tolerance=0.2)
    assert str(caught.value) == (
        f"{store.path}, chromosome 'one': 2 of 3 negatives differ from their positives by more than 0.2 in "
        "GC content; a tolerance of 0.25 would do, or fewer negatives"
    )


def test_a_window_that_is_rare_is_looked_for_among_more(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(negatives, "CHOICE", 2)
    monkeypatch.setattr(negatives, "FEWEST", 1)
    store = open_store(one="GGGG" + "A" * 3000 + "GGGG" + "A" * 3000)
    assert gc_matched_windows(store, place(store, ("one", 0, 4)), 1, rng()).start.tolist() == [3004]
    monkeypatch.setattr(negatives, "LARGEST_POOL", 8)
    with pytest.raises(DataError, match="a tolerance of 1 would do"):
        gc_matched_windows(store, place(store, ("one", 0, 4)), 1, rng())


def test_windows_with_unknown_letters_are_taken_up_to_a_share(open_store: Opener) -> None:
    store = open_store(one="GGANNNNNNN" + "ACGGN")
    positive = place(store, ("one", 0, 5))  # two G of three known letters
    with pytest.raises(DataError, match="there is room for 0;"):
        gc_matched_windows(store, positive, 1, rng(), tolerance=0.1)
    found = gc_matched_windows(store, positive, 1, rng(), tolerance=0.1, max_empty=0.2)
    assert letters_of(store, found) == ["ACGGN"]


def test_a_positive_past_the_end_of_its_chromosome_counts_what_is_in_it(open_store: Opener) -> None:
    store = open_store(one="CCCCATA" + "CCC")
    positive = place(store, ("one", 9, 10)).resized(4)
    assert (positive.start.tolist(), positive.end.tolist()) == ([7], [11])
    assert letters_of(store, gc_matched_windows(store, positive, 1, rng())) == ["CCCC"]


def test_negatives_have_no_label_score_or_kind(open_store: Opener) -> None:
    store = open_store(one="ACGT" * 20)
    positive = Intervals.make(
        ["one"], [10], [14], labels=["p1"], scores=[3.0], kinds=["gene"], source="a.gff"
    )
    found = gc_matched_windows(store, positive, 2, rng())
    assert (found.label.tolist(), found.kind.tolist(), found.source) == (["", ""], ["", ""], "")
    assert np.isnan(found.score).all()


def test_the_same_seed_gives_the_same_windows(open_store: Opener) -> None:
    store = open_store(one=stretches(0, 20))
    positives = place(store, ("one", 0, 100), ("one", 1000, 1100))
    first, again, other = (
        gc_matched_windows(store, positives, 5, rng(seed)).start.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"per_positive": 0}, "per_positive is 0"),
        ({"per_positive": 2.5}, "per_positive is 2.5"),
        ({"min_distance": -1}, "min_distance -1"),
        ({"margin": -1}, "margin -1"),
        ({"max_empty": 1.0}, "max_empty is 1.0"),
        ({"tolerance": -0.1}, "tolerance -0.1"),
        ({"tolerance": float("nan")}, "tolerance nan"),
    ],
)
def test_numbers_out_of_range_are_refused(open_store: Opener, options: dict[str, float], value: str) -> None:
    store = open_store(one="ACGT" * 20)
    with pytest.raises(DataError, match=value):
        gc_matched_windows(
            store, place(store, ("one", 10, 14)), **{"per_positive": 1, "rng": rng(), **options}
        )


def test_positives_that_cannot_be_matched_are_refused(open_store: Opener) -> None:
    store = open_store(one="NNNN" + "ACGT" * 20, two="ACGT")
    ones = place(store, ("one", 10, 14), ("one", 20, 25))
    with pytest.raises(
        DataError, match="positives: 2 intervals of 2 lengths; there have to be some, all of one"
    ):
        gc_matched_windows(store, ones, 1, rng())
    with pytest.raises(DataError, match="positives: 0 intervals of 0 lengths"):
        gc_matched_windows(store, ones[:0], 1, rng())
    with pytest.raises(DataError, match=r"the interval one 0 4 .* has no known letter: no GC content"):
        gc_matched_windows(store, place(store, ("one", 30, 34), ("one", 0, 4)), 1, rng())
    elsewhere = Intervals.make(["chr1"], [0], [4], source="peaks.bed")
    with pytest.raises(DataError, match="peaks.bed: the chromosomes are not the records of .*genome.fa"):
        gc_matched_windows(store, elsewhere, 1, rng())
    with pytest.raises(DataError, match="peaks.bed: the chromosomes are not the records of .*genome.fa"):
        gc_matched_windows(store, ones[:1], 1, rng(), exclude=elsewhere)


def test_only_dna_and_rna_have_a_gc_content(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">one\n" + "ACGG" * 20 + "\n")
    protein = SequenceStore.open(tmp_path / "x.fa", PROTEIN)  # which has a G and a C
    with pytest.raises(DataError, match="x.fa is of .*which is for DNA and RNA; take shuffles"):
        gc_matched_windows(protein, place(protein, ("one", 0, 4)), 1, rng())
    (tmp_path / "x.fa").write_text(">one\n" + "ACGU" * 20 + "\n")
    rna = SequenceStore.open(tmp_path / "x.fa", RNA)
    assert len(gc_matched_windows(rna, place(rna, ("one", 0, 4)), 2, rng())) == 2
