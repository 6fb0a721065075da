"""Where records of FASTA files lie on chromosomes, as their headers say and their bases bear out."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from helixband.sequence.alphabet import DNA, Alphabet, Codes
from helixband.sequence.chromosomes import two_names_of_one
from helixband.sequence.headers import unread_region
from helixband.sequence.intervals import Intervals, regions_of_headers
from helixband.sequence.store import SequenceStore

WORD = 32
"""Two chromosomes with this many equal bases at the same position are one, if the bases are no repeat."""

RECORDS, WORDS = 200_000, 4
"""So many records are compared, in the order of their starts so that they overlap; words of each."""

_FACTORS = np.random.default_rng(0).integers(1, 2**63, WORD, dtype=np.uint64) * 2 + 1


def regions_in(store: SequenceStore) -> tuple[Intervals | None, str]:
    """(places of the records, ''), or (None, why not). The latter is '' if no header looks like a region.

    A header can have a label before its chromosome that no rule for text tells from the name of a chromosome
    (`p1_II:0-100`). Then one place has two names, and overlapping records would be taken for different ones.
    So bases at the same positions of chromosomes of different names are compared.
    """
    bounds = np.searchsorted(store.file_of_record, np.arange(len(store.paths) + 1)).tolist()
    # File by file, as each may have a form of its own.
    files = [(store.headers[first:end], store.lengths[first:end]) for first, end in pairwise(bounds)]
    regions = [regions_of_headers(*file) for file in files]
    known = [part for part in regions if part is not None]
    for file, path, part in zip(files, store.paths, regions, strict=True):
        why = "" if part is not None else unread_region(*file)
        if part is None and (known or why):
            return None, f"in {path}, {why or f'{file[0][0]!r} is no region, as those of other files are'}"
    if not known:
        return None, ""
    whole = Intervals.concatenate(known)
    if two := two_names_of_one(whole.names):
        return None, f"they name one chromosome {two[0]!r} and {two[1]!r}; write it in one way"
    if records := one_place(whole, store.codes, store.offsets, store.alphabet):
        one, other = (store.headers[record] for record in records)
        return None, (
            f"{one!r} and {other!r} have the same bases at the same positions, but chromosomes of two names; "
            "end the text before a chromosome in '::', and write the strand behind the region, as in (+)"
        )
    return whole, ""


def one_place(
    regions: Intervals, codes: Codes, offsets: NDArray[np.int64], alphabet: Alphabet = DNA
) -> tuple[int, int] | None:
    """Two of N records that have the same bases at some position of chromosomes of two names; or None.

    `codes`, uint8 (T,), has the bases of each record from `offsets`, int64 (N,), on: those of the − strand
    where this is its strand. Where a strand is not known, both are looked at.
    """
    if len(regions) < 2 or len(regions.names) < 2:
        return None
    step = max(1, min(2 * WORD, int(np.median(regions.end - regions.start)) // 2 - WORD))
    order = np.argsort(regions.start, kind="stable")[:RECORDS]
    first = -(-regions.start[order] // step)  # of the positions that are compared, in steps
    count = ((regions.end[order] - WORD) // step - first + 1).clip(0, WORDS)
    record = np.repeat(order, count)
    nth = np.arange(len(record)) - np.repeat(np.cumsum(count) - count, count)
    position = (np.repeat(first, count) + nth) * step
    ahead, behind = position - regions.start[record], regions.end[record] - position - WORD
    strand = regions.strand[record] if alphabet.complement is not None else np.ones_like(record)
    rows = np.concatenate([np.flatnonzero(strand >= 0), np.flatnonzero(strand <= 0)])
    reverse = np.arange(len(rows)) >= (strand >= 0).sum()
    record, position = record[rows], position[rows]
    where = offsets[record] + np.where(reverse, behind[rows], ahead[rows])
    words = codes[where[:, None] + np.arange(WORD)]
    if reverse.any():
        words[reverse] = alphabet.reverse_complement(words[reverse])
    return _same_word(words, record, position, regions.chromosome[record])


def _same_word(
    words: Codes, record: NDArray[np.int64], position: NDArray[np.int64], name: NDArray[np.int64]
) -> tuple[int, int] | None:
    """Two records that have the same word, of uint8 (M, WORD), at a position of chromosomes of two names."""
    kept = ~_is_repeat(words)
    record, position, name = record[kept], position[kept], name[kept]
    content = words[kept].astype(np.uint64) @ _FACTORS
    order = np.lexsort((name, content, position))
    columns = (column[order] for column in (position, content, name))
    same_position, same_content, same_name = (column[1:] == column[:-1] for column in columns)
    found = np.flatnonzero(same_position & same_content & ~same_name)
    if not len(found):
        return None
    return int(record[order[found[0]]]), int(record[order[found[0] + 1]])


def _is_repeat(words: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a word has as few different triplets as those of which chromosomes have many."""
    wide = words.astype(np.int32)
    triplets = np.sort(wide[:, :-2] * 65536 + wide[:, 1:-1] * 256 + wide[:, 2:], axis=1)
    few: NDArray[np.bool_] = (triplets[:, 1:] != triplets[:, :-1]).sum(axis=1) < WORD // 3
    return few
