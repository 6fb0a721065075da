"""Which sequences are alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence import similarity
from helixband.sequence.alphabet import DNA
from helixband.sequence.negatives import dinucleotide_shuffle
from helixband.sequence.similarity import (
    NEAR,
    SequenceSet,
    clusters,
    duplicate_groups,
    kmer_counts,
    most_similar,
)

Codes = NDArray[np.uint8]


def random_codes(n: int, length: int = 101, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 4, (n, length), dtype=np.uint8)


def substituted(codes: Codes, share: float, seed: int = 9) -> Codes:
    rng = np.random.default_rng(seed)
    others = (codes + rng.integers(1, 4, codes.shape, dtype=np.uint8)) % 4
    return np.where(rng.random(codes.shape) < share, others, codes).astype(np.uint8)


def kmers(text: str, k: int) -> list[str]:
    """The canonical k-mers of a text, one by one."""
    reverse = text.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    found = [(text[i : i + k], reverse[len(text) - k - i :][:k]) for i in range(len(text) - k + 1)]
    return [min(pair) for pair in found if "N" not in pair[0]]


# Equal sequences.


def test_equal_sequences_are_found_on_either_strand_and_the_first_of_several_is_told() -> None:
    train = DNA.encode(["AACCG", "GATTA", "CGGTT", "AACCG"])
    test = DNA.encode(["GATTA", "AACCG", "TAATC", "ACACA"])
    matches = most_similar(test, train)
    assert matches.exact.tolist() == [1, 0, -1, -1]
    assert matches.reverse_complement.tolist() == [-1, 2, 1, -1]
    assert matches.nearest.tolist() == [1, 0, 1, -1]
    assert matches.similarity.tolist() == [1, 1, 1, 0]
    assert matches.alike.tolist() == [True, True, True, False]
    assert not matches.near.any()


def test_sequences_of_any_lengths_are_compared() -> None:
    train = [DNA.encode("ACGT"), DNA.encode("GGATC"), DNA.encode("")]
    test = [DNA.encode("GGAT"), DNA.encode("GATCC"), DNA.encode("ACGTA"), DNA.encode("")]
    matches = most_similar(test, train)
    assert matches.exact.tolist() == [-1, -1, -1, 2]
    assert matches.reverse_complement.tolist() == [-1, 1, -1, 2]


def test_letters_count_and_not_case_or_the_code_for_an_unknown_one() -> None:
    matches = most_similar(DNA.encode(["acgtr", "ACGTA"]), DNA.encode(["ACGTN"]))
    assert matches.exact.tolist() == [0, -1]


@pytest.mark.parametrize(
    "sequences",
    [
        np.zeros((2, 3), dtype=np.int64),
        np.zeros(3, dtype=np.uint8),
        np.zeros((2, 3, 4), dtype=np.uint8),
        np.full((1, 2), 6, dtype=np.uint8),
        [np.zeros(2, dtype=np.uint8), np.zeros(2, dtype=np.float32)],
    ],
    ids=["int64", "one sequence", "one-hot", "no code of DNA", "floats"],
)
def test_what_is_not_a_set_of_codes_is_refused(sequences: Codes) -> None:
    with pytest.raises(DataError, match="sequences are codes of Alphabet"):
        SequenceSet.of(sequences)


# Similar sequences.


def test_the_similarity_is_the_share_of_kmers_that_the_shorter_one_has_in_common() -> None:
    train = random_codes(50)
    inside, half = train[7, 10:100], np.concatenate([train[8, 50:], random_codes(1, 50, seed=1)[0]])
    matches = most_similar([inside, half], train)
    assert matches.nearest.tolist() == [7, 8]
    assert matches.similarity.tolist() == [1.0, 42 / 92]  # 51 bases in common of 101
    assert matches.near.tolist() == [True, True]


def test_of_few_kmers_the_similarity_counts_as_of_80() -> None:
    train = random_codes(5)
    matches = most_similar([train[2, 30:59], train[3, 30:51], train[4, 30:50]], train)
    assert matches.similarity.tolist() == [20 / 80, 12 / 80, 11 / 80]
    assert matches.near.tolist() == [True, True, False]


def test_the_strand_does_not_matter() -> None:
    train = random_codes(100)
    test = substituted(train, 0.05)
    forward, reverse = most_similar(test, train), most_similar(DNA.reverse_complement(test), train)
    assert forward.nearest.tolist() == reverse.nearest.tolist() == list(range(100))
    np.testing.assert_array_equal(forward.similarity, reverse.similarity)


def test_a_tenth_of_substitutions_is_near_and_shuffles_and_random_sequences_are_not() -> None:
    train = random_codes(3000)
    test = train[:500]
    assert most_similar(substituted(test, 0.05), train).near.mean() > 0.99
    assert most_similar(substituted(test, 0.10), train).near.mean() > 0.85
    assert most_similar(substituted(test, 0.75), train).near.sum() == 0
    assert most_similar(dinucleotide_shuffle(test, np.random.default_rng(1)), train).near.sum() == 0
    assert most_similar(random_codes(500, seed=1), train).near.sum() == 0


def test_the_threshold_can_be_chosen() -> None:
    train = random_codes(20)
    test = np.concatenate([train[:, 50:], random_codes(20, 50, seed=1)], axis=1)
    assert most_similar(test, train, threshold=0.4).near.all()
    assert not most_similar(test, train, threshold=0.5).near.any()


def test_a_kmer_with_an_unknown_base_is_none() -> None:
    train = random_codes(1)
    spotted = train.copy()
    spotted[:, ::9] = DNA.empty
    matches = most_similar(spotted, train)
    assert (matches.nearest.tolist(), matches.similarity.tolist()) == ([-1], [0])
    blank = np.full((1, 101), DNA.empty, dtype=np.uint8)
    assert most_similar(blank, train).similarity.tolist() == [0]
    assert most_similar(blank, blank).exact.tolist() == [0]


def test_a_repeat_or_a_constant_flank_does_not_make_sequences_near() -> None:
    train, test = random_codes(400), random_codes(100, seed=1)
    for flank in ("A" * 40, "CAG" * 13 + "C", "GATTACATTGCCAGCTTAGGCAAACCTGTTCAGCATGGCA"):
        train[:, :40] = test[:, :40] = DNA.encode(flank)
        assert not most_similar(test, train).near.any()
        assert len(np.unique(clusters(test))) == 100


def test_variants_of_one_sequence_are_all_near() -> None:
    library = substituted(np.repeat(random_codes(1), 700, axis=0), 0.02)
    library = library[np.unique(duplicate_groups(library), return_index=True)[1]]
    assert len(library) > 400  # more than are looked at for one k-mer
    assert most_similar(library[:100], library[100:]).near.all()
    assert clusters(library).tolist() == [0] * len(library)


def test_long_sequences_are_found_by_a_sample_and_compared_by_all_kmers() -> None:
    train, others = random_codes(60, 3000), random_codes(20, 3000, seed=1)
    test = np.concatenate([DNA.reverse_complement(substituted(train[:20], 0.05)), others])
    matches = most_similar(test, train)
    assert matches.nearest[:20].tolist() == list(range(20))
    assert matches.near.tolist() == [True] * 20 + [False] * 20
    expected = [len(shared(a, b, 12)) / 2989 for a, b in zip(test[:20], train[:20], strict=True)]
    np.testing.assert_allclose(matches.similarity[:20], expected, atol=0.002)  # few k-mers come twice
    assert clusters(test[:5].repeat(2, axis=0)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert clusters(np.concatenate([test[:3], train[:3]])).tolist() == [0, 1, 2, 0, 1, 2]


def shared(a: Codes, b: Codes, k: int) -> set[str]:
    one, other = DNA.decode(a), DNA.decode(b)
    assert isinstance(one, str) and isinstance(other, str)
    return set(kmers(one, k)) & set(kmers(other, k))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.3), unknown=st.floats(0, 0.02))
def test_the_similarity_is_that_of_sets_of_kmers(seed: int, share: float, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    train = [part[: rng.integers(60, 150)] for part in random_codes(6, 150, seed)]
    train = [np.where(rng.random(len(part)) < unknown, 4, part).astype(np.uint8) for part in train]
    test = [substituted(part, share, seed) for part in train]
    matches = most_similar(test, train)
    for row, exact, nearest, found in zip(
        test, matches.exact, matches.nearest, matches.similarity, strict=True
    ):
        scores = []
        for other in train:
            both = [set(kmers(str(DNA.decode(codes)), 10)) for codes in (row, other)]
            scores.append(len(both[0] & both[1]) / max(80, min(map(len, both))))
        if exact >= 0:
            assert found == 1
        else:
            assert found == max(scores) or max(scores) <= 1 / 80
            assert found == (scores[nearest] if nearest >= 0 else 0)


def test_the_parts_that_are_in_memory_at_a_time_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    train = np.concatenate([random_codes(300), substituted(random_codes(30), 0.05)])
    test = substituted(train, 0.1)
    whole, in_one = most_similar(test, train), clusters(train)
    monkeypatch.setattr(similarity, "BLOCK_PAIRS", 50)
    monkeypatch.setattr(similarity, "BLOCK_BASES", 1000)
    parts = most_similar(test, train)
    np.testing.assert_array_equal(parts.nearest, whole.nearest)
    np.testing.assert_array_equal(parts.similarity, whole.similarity)
    assert clusters(train).tolist() == in_one.tolist()


def test_the_order_of_the_sequences_does_not_matter() -> None:
    train = random_codes(200)
    test, order = substituted(train, 0.1), np.random.default_rng(1).permutation(200)
    straight, mixed = most_similar(test, train), most_similar(test, train[order])
    np.testing.assert_array_equal(straight.similarity, mixed.similarity)
    near = straight.near
    np.testing.assert_array_equal(order[mixed.nearest[near]], straight.nearest[near])


# Clusters.


def test_duplicates_share_a_number_in_the_order_of_the_first() -> None:
    assert duplicate_groups(DNA.encode(["ACCA", "TGGT", "NNNN", "ACCC", "ACCA", "NNNN"])).tolist() == [
        0, 0, 1, 2, 0, 1,
    ]  # fmt: skip


def test_similar_sequences_form_chains() -> None:
    genome = random_codes(1, 1000)[0]
    windows = [genome[start : start + 101] for start in (0, 300, 50, 100, 600, 350)]
    windows += [DNA.reverse_complement(windows[4]), np.full(101, 4, np.uint8), np.full(101, 4, np.uint8)]
    assert clusters(windows).tolist() == [0, 1, 0, 0, 2, 1, 2, 3, 3]


def test_random_sequences_are_clusters_of_their_own() -> None:
    assert clusters(random_codes(2000)).tolist() == list(range(2000))
    assert clusters(np.zeros((0, 5), np.uint8)).tolist() == []
    assert 0 < NEAR < 1


# Counts.


@settings(deadline=None)
@given(texts=st.lists(st.text("ACGTN", max_size=30), min_size=1, max_size=5), k=st.integers(1, 5))
def test_kmers_are_counted_on_both_strands_together(texts: list[str], k: int) -> None:
    counts = kmer_counts([DNA.encode(text) for text in texts], k)
    assert counts.shape == (len(texts), 4**k)
    for row, text in zip(counts.toarray(), texts, strict=True):
        expected = np.zeros(4**k, dtype=np.int64)
        for kmer in kmers(text, k):
            expected[int("".join(str("ACGT".index(base)) for base in kmer), 4)] += 1
        np.testing.assert_array_equal(row, expected)


def test_a_palindrome_is_counted_once_a_place() -> None:
    assert kmer_counts(DNA.encode(["ACGTACGT"]), 4).toarray()[0, [0b00011011]].tolist() == [2]
