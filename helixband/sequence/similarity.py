"""Which sequences are alike: equal ones, equal to the other strand, and similar ones by their k-mers.

Two sequences are similar in so far as they share canonical k-mers, a k-mer and its reverse complement being
one. The similarity is the overlap coefficient of their sets of k-mers,

    shared k-mers / max(k-mers of the sequence that has fewer, 80)

so that a window of a longer sequence has similarity 1 to it, and the few k-mers that two short sequences
share by chance count for little. k is 10; where the median length is 500 or more it is 12, as two sequences
of thousands of bases share many 10-mers by chance. K-mers that nine in ten training sequences have, like the
flanks of a designed library, are left out.

From `NEAR` = 0.15 on, a sequence is a near duplicate. That finds 93 of 100 sequences of 101 bp with a tenth
of their bases substituted, and every window shifted by half; of 1,000 dinucleotide shuffles of CTCF sites and
of 1,000 random sequences, none is near to one of 77,174 real ones. Related elements of a genome (transposons,
paralogs) are near, as they should be.

Every pair that shares k-mers is counted, by a product of sparse matrices. Sequences of more than 512 bases
are compared by a sample of their k-mers first, those with the lowest hashes, of which the median one has
about 256 (MinHash: Broder 1997, Proc. SEQUENCES; Ondov et al. 2016, Genome Biology 17:132; with one bound for
all sequences: Irber et al. 2022, bioRxiv 2022.01.11.475838); the best of each is then compared by all.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, Codes

NEAR = 0.15
K, LONG_K = 10, 12
LONG_BASES = 500  # the median length from which LONG_K holds
FEWEST_KMERS = 80  # 12 shared ones, which chance gives to few pairs among a thousand million, are then near
SKETCH_KMERS = 256
# Of the sequences that have a frequent k-mer (a repeat, a constant flank), so many are compared, the first.
MOST_WITH_KMER = 256
CONSTANT_SHARE = 0.9  # of the training sequences, as found in CONSTANT_OF of them
CONSTANT_OF = 1000
BLOCK_BASES = 1 << 22  # in memory at a time
BLOCK_PAIRS = 1 << 23

Indexes = NDArray[np.int64]
Matrix = Any  # scipy.sparse.csr_array, which has no types


@dataclass(frozen=True, eq=False)
class SequenceSet:
    """N sequences of any lengths, one after another: `codes`, uint8 (T,), and `offsets`, int64 (N + 1,)."""

    codes: Codes
    offsets: Indexes

    @classmethod
    def of(cls, sequences: "SequenceSet | Codes | Sequence[Codes]") -> "SequenceSet":
        """From an array (N, L) or a list of N arrays (L_i,) of the codes of `DNA`, uint8.

        Raises `DataError` where they are something else.
        """
        if isinstance(sequences, SequenceSet):
            return sequences
        rows = [np.asarray(row) for row in sequences]
        wrong = next((row for row in rows if row.dtype != np.uint8 or row.ndim != 1), None)
        codes = np.concatenate([np.zeros(0, np.uint8), *rows]) if wrong is None else wrong
        if wrong is not None or codes.max(initial=0) >= len(DNA):
            raise DataError(
                f"sequences are codes of {DNA}, uint8, (N, L) or a list of (L,); one is {codes.dtype} of "
                f"shape {codes.shape}, the largest code {codes.max(initial=0)}"
            )
        lengths = [len(row) for row in rows]
        return cls(codes, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @classmethod
    def concatenate(cls, parts: "Sequence[SequenceSet]") -> "SequenceSet":
        """The sequences of all parts, one part after another."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.codes for part in parts]), np.append(0, np.cumsum(lengths)))

    def __len__(self) -> int:
        """N, the number of sequences."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Indexes:
        """The number of bases of each, int64 (N,)."""
        return np.diff(self.offsets)

    def slice(self, first: int, end: int) -> "SequenceSet":
        """The sequences [first, end)."""
        start, stop = self.offsets[first], self.offsets[end]
        return SequenceSet(self.codes[start:stop], self.offsets[first : end + 1] - start)

    def take(self, indexes: Indexes) -> "SequenceSet":
        """The sequences of these indexes, in their order."""
        lengths = self.lengths[indexes]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[indexes] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return SequenceSet(self.codes[places], offsets)

    def digests(self, reverse: bool = False) -> list[bytes]:
        """A hash of each, or of its reverse complement: BLAKE2b of 128 bits, which only equal ones share."""
        codes, first, end = self.codes, self.offsets[:-1], self.offsets[1:]
        if reverse:
            codes, first, end = DNA.reverse_complement(codes), len(codes) - end, len(codes) - first
        spans = zip(first.tolist(), end.tolist(), strict=True)
        return [hashlib.blake2b(codes[i:j].tobytes(), digest_size=16).digest() for i, j in spans]

    def blocks(self, bases: int) -> "Iterator[tuple[int, SequenceSet]]":
        """(index of the first, sequences) of parts of about so many bases."""
        return ((first, self.slice(first, end)) for first, end in _spans(self.lengths, bases))


Sequences = SequenceSet | Codes | Sequence[Codes]


@dataclass(frozen=True, eq=False)
class Matches:
    """What each of N test sequences has in the training set; an index is int64 (N,), -1 for none.

    `exact`, `reverse_complement`: the first that is equal to it, or to its other strand. `nearest`: the one
    to copy a label from: the exact one, else the one of the other strand, else the most similar of those that
    share two k-mers or more. `similarity`: to the nearest, float64 (N,), 0 to 1; of equal ones 1. `near`:
    bool (N,), similar from the threshold on, but equal on neither strand.
    """

    exact: Indexes
    reverse_complement: Indexes
    nearest: Indexes
    similarity: NDArray[np.float64]
    near: NDArray[np.bool_]

    @property
    def alike(self) -> NDArray[np.bool_]:
        """Those that are equal on either strand, or near."""
        return self.near | (self.exact >= 0) | (self.reverse_complement >= 0)


def most_similar(test: Sequences, train: Sequences, threshold: float = NEAR) -> Matches:
    """The most similar training sequence of each test sequence; of equals the first.

    >>> matches = most_similar(DNA.encode(["AACC", "TTGG", "ATAT"]), DNA.encode(["GGTT", "TTGG"]))
    >>> matches.exact.tolist(), matches.reverse_complement.tolist()
    ([-1, 1, -1], [0, -1, -1])

    Where a k-mer is in more than 256 training sequences, a similarity is that to one of the most
    similar ones, not always the most similar.
    """
    test, train = SequenceSet.of(test), SequenceSet.of(train)
    first_of: dict[bytes, int] = {}
    for index, digest in enumerate(train.digests()):
        first_of.setdefault(digest, index)
    exact, turned = (
        np.array([first_of.get(digest, -1) for digest in test.digests(reverse)], dtype=np.int64)
        for reverse in (False, True)
    )
    sets = _KmerSets.chosen_for(train, test)
    nearest = _candidates(test, train, sets)
    similarity = _similarity_of_pairs(test, train, nearest, sets)
    near = (similarity >= threshold) & (exact < 0) & (turned < 0)
    for equal in (turned, exact):
        nearest, similarity = np.where(equal >= 0, equal, nearest), np.where(equal >= 0, 1.0, similarity)
    return Matches(exact, turned, nearest, similarity, near)


def duplicate_groups(sequences: Sequences) -> Indexes:
    """A number for each sequence, int64 (N,), which those equal on either strand share.

    Numbered from 0 in the order of their first members.

    >>> duplicate_groups(DNA.encode(["AACC", "TTTT", "GGTT", "AAAA", "ACAC"])).tolist()
    [0, 1, 0, 1, 2]
    """
    sequences = SequenceSet.of(sequences)
    numbers: dict[bytes, int] = {}
    strands = zip(sequences.digests(), sequences.digests(reverse=True), strict=True)
    return np.array([numbers.setdefault(min(pair), len(numbers)) for pair in strands], dtype=np.int64)


def clusters(sequences: Sequences, threshold: float = NEAR) -> Indexes:
    """A number for each sequence, int64 (N,), which similar ones share, transitively (single linkage).

    Numbered from 0 in the order of their first members. Of sequences of 500 bases and more the similarity is
    estimated by the sample of their k-mers.
    """
    sequences = SequenceSet.of(sequences)
    cluster = duplicate_groups(sequences)
    sets = _KmerSets.chosen_for(sequences)
    for rows, columns, similarity in _pairs(sequences, sequences, sets):
        near = similarity >= threshold
        cluster = _joined(cluster, rows[near], columns[near])
    return cluster


def kmer_counts(sequences: Sequences, k: int) -> Matrix:
    """How often each sequence has each canonical k-mer, a `scipy.sparse.csr_array` of int32 (N, 4**k).

    The column of a k-mer is the number that its codes are in base 4, or those of its reverse complement,
    whichever is less. A k-mer with an unknown base is none. k is at most 15.

    >>> counts = kmer_counts(DNA.encode(["AATTNA"]), 2)  # AA, AT, TT
    >>> counts.indices.tolist(), counts.data.tolist()
    ([0, 3], [2, 1])
    """
    from scipy import sparse

    blocks = SequenceSet.of(sequences).blocks(BLOCK_BASES)
    parts = [_matrix(*_canonical_kmers(part, k), len(part), k) for _, part in blocks]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_array((0, 4**k), dtype=np.int32)


@dataclass(frozen=True)
class _KmerSets:
    """Which k-mers of a sequence are compared: one in `sample` of those that are not `constant`."""

    k: int
    sample: int
    constant: NDArray[np.int32]

    @classmethod
    def chosen_for(cls, train: SequenceSet, *others: SequenceSet) -> "_KmerSets":
        lengths = np.concatenate([part.lengths for part in (train, *others)])
        median = int(np.median(lengths)) if len(lengths) else 0
        k, sample = LONG_K if median >= LONG_BASES else K, max(1, median // SKETCH_KMERS)
        return cls(k, sample, _constant_kmers(train, k))

    def of(self, sequences: SequenceSet) -> Matrix:
        """Which sequence has which k-mer: ones, csr_array int32 (N, 4**k)."""
        rows, kmers = _canonical_kmers(sequences, self.k)
        kept = np.isin(kmers, self.constant, invert=True)
        if self.sample > 1:
            kept &= _hashed(kmers) < 2**32 // self.sample
        matrix = _matrix(rows[kept], kmers[kept], len(sequences), self.k)
        matrix.data[:] = 1
        return matrix

    def similarity(self, shared: NDArray[np.int32], a: Indexes, b: Indexes) -> NDArray[np.float64]:
        """Of pairs that share so many of their a and b k-mers."""
        return np.minimum(1.0, shared / np.maximum(np.minimum(a, b), FEWEST_KMERS / self.sample))


def _constant_kmers(train: SequenceSet, k: int) -> NDArray[np.int32]:
    """The k-mers that nearly all sequences have, sorted: the flanks of a designed library, say.

    None where they are half of a sequence and more: the sequences themselves are then alike.
    """
    some = train.take(np.arange(0, len(train), max(1, len(train) // CONSTANT_OF)))
    matrix = _matrix(*_canonical_kmers(some, k), len(some), k)
    kmers, counts = np.unique(matrix.indices, return_counts=True)
    constant = kmers[counts >= CONSTANT_SHARE * len(some)]
    typical = np.median(np.diff(matrix.indptr)) if len(some) else 0
    return constant if 2 * len(constant) < typical else constant[:0]


def _matrix(rows: NDArray[np.int32], kmers: NDArray[np.int32], n: int, k: int) -> Matrix:
    """How often each of n sequences has each k-mer."""
    from scipy import sparse

    ends = np.cumsum(np.bincount(rows, minlength=n))
    pointers = np.concatenate([[0], ends]).astype(np.int32)
    counts = sparse.csr_array((np.ones(len(kmers), np.int32), kmers, pointers), shape=(n, 4**k))
    counts.sum_duplicates()
    return counts


def _canonical_kmers(sequences: SequenceSet, k: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(sequence, number) of every k-mer of known bases, int32 both, in the order of the sequences."""
    codes = sequences.codes
    n = max(0, len(codes) - k + 1)
    known = codes < DNA.n_tokens
    bases = np.where(known, codes, 0).astype(np.int32)
    forward, reverse = np.zeros(n, np.int32), np.zeros(n, np.int32)
    for place in range(k):
        base = bases[place : place + n]
        forward = 4 * forward + base
        reverse += (3 - base) << 2 * place
    rows = np.repeat(np.arange(len(sequences), dtype=np.int32), sequences.lengths)
    unknown = np.concatenate([[0], np.cumsum(~known)])
    whole = (unknown[k : k + n] == unknown[:n]) & (rows[k - 1 : k - 1 + n] == rows[:n])
    return rows[:n][whole], np.minimum(forward, reverse)[whole]


def _hashed(kmers: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Spread over 32 bits: the finaliser of MurmurHash3 (Appleby 2011)."""
    h = kmers.astype(np.uint32)
    for factor, shift in ((0x85EBCA6B, 13), (0xC2B2AE35, 16)):
        h ^= h >> 15
        h *= np.uint32(factor)
        h ^= h >> shift
    return h


def _pairs(
    test: SequenceSet, train: SequenceSet, sets: _KmerSets
) -> Iterator[tuple[Indexes, Indexes, NDArray[np.float64]]]:
    """(test index, training index, similarity) of the pairs that share k-mers, in the order of the tests.

    How many k-mers the sequences of two sets share is the product of their matrices.
    """
    for first_train, train_part in train.blocks(BLOCK_BASES):
        matrix = sets.of(train_part)
        train_sizes, with_kmer = np.diff(matrix.indptr), _first_of_columns(matrix)
        n_with_kmer = np.diff(with_kmer.indptr)
        for first_test, test_part in test.blocks(BLOCK_BASES):
            rows = sets.of(test_part)
            for first, end in _spans(rows @ n_with_kmer, BLOCK_PAIRS):
                shared = rows[first:end] @ with_kmer
                several = shared.data > 1  # one is chance, and nearly all of the pairs
                row = np.repeat(np.arange(first, end), np.diff(shared.indptr))[several]
                column = shared.indices[several].astype(np.int64)
                sizes = np.diff(rows.indptr)[row], train_sizes[column]
                similarity = sets.similarity(shared.data[several], *sizes)
                yield first_test + row, first_train + column, similarity


def _first_of_columns(matrix: Matrix) -> Matrix:
    """The transpose, of each row the first `MOST_WITH_KMER` entries."""
    from scipy import sparse

    turned = matrix.T.tocsr()
    sizes = np.diff(turned.indptr)
    kept = np.arange(turned.nnz) - np.repeat(turned.indptr[:-1], sizes) < MOST_WITH_KMER
    ends = np.cumsum(np.minimum(sizes, MOST_WITH_KMER))
    pointers = np.concatenate([[0], ends]).astype(np.int32)
    return sparse.csr_array((turned.data[kept], turned.indices[kept], pointers), shape=turned.shape)


def _candidates(test: SequenceSet, train: SequenceSet, sets: _KmerSets) -> Indexes:
    """The most similar training sequence of each test sequence as far as the sample tells, -1 for none."""
    best, nearest = np.zeros(len(test)), np.full(len(test), -1, dtype=np.int64)
    for rows, columns, similarity in _pairs(test, train, sets):
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        if not len(starts):
            continue
        highest = np.maximum.reduceat(similarity, starts)
        is_highest = similarity == np.repeat(highest, np.diff(starts, append=len(rows)))
        first = np.minimum.reduceat(np.where(is_highest, columns, len(train)), starts)
        row = rows[starts]
        better = highest > best[row]
        best[row[better]], nearest[row[better]] = highest[better], first[better]
    return nearest


def _similarity_of_pairs(
    test: SequenceSet, train: SequenceSet, nearest: Indexes, sets: _KmerSets
) -> NDArray[np.float64]:
    """Of each test sequence to its candidate, by all of their k-mers; 0 where it has none."""
    every = dataclasses.replace(sets, sample=1)
    similarity = np.zeros(len(test))
    paired = np.flatnonzero(nearest >= 0)
    for first, end in _spans(test.lengths[paired] + train.lengths[nearest[paired]], BLOCK_BASES):
        rows = paired[first:end]
        a, b = every.of(test.take(rows)), every.of(train.take(nearest[rows]))
        shared = (a * b).sum(axis=1)
        similarity[rows] = every.similarity(shared, np.diff(a.indptr), np.diff(b.indptr))
    return similarity


def _joined(cluster: Indexes, a: Indexes, b: Indexes) -> Indexes:
    """The clusters after those of the members a[i] and b[i] have become one."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = int(cluster.max(initial=-1)) + 1
    links = sparse.coo_array((np.ones(len(a), np.int8), (cluster[a], cluster[b])), shape=(n, n))
    _, number = connected_components(links, directed=False)
    joined: Indexes = number.astype(np.int64)[cluster]
    return joined


def _spans(costs: NDArray[np.integer], budget: int) -> list[tuple[int, int]]:
    """[first, end) of parts one after another that cost about `budget` each."""
    part = np.cumsum(costs) // budget
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(costs)]
    return [(first, end) for first, end in zip(bounds[:-1], bounds[1:], strict=True) if first < end]
