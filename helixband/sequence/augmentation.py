"""Augmentation of batches of indexes: reversal, complement, reverse complement and shift."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, Alphabet, Codes

DRAWS = 5
"""So many random numbers are drawn for each row of a batch."""

Changes = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]


@dataclass(frozen=True)
class Augmentation:
    """A function that augments a batch; call it with the batch and a generator of random numbers.

    `reverse`, `complement`, `reverse_complement` and `shift` are proportions, 0 to 1. Each is applied to a
    row with that probability, independently of the others. So a row that is both reversed and complemented
    becomes its reverse complement, and one that is both reversed and reverse complemented its complement. A
    shift moves a row by 1 to `max_shift` positions to either side, all with equal probability. The gap is
    filled with the alphabet's empty token.

    >>> augment = Augmentation(reverse_complement=1.0)
    >>> DNA.decode(augment(DNA.encode(["AACG", "NTTT"]), np.random.default_rng(0)))
    ['CGTT', 'AAAN']

    Raises `DataError` for a value that is not a proportion, for a complement if the alphabet has none, and
    for a shift without a `max_shift` or an empty token.
    """

    reverse: float = 0.0
    complement: float = 0.0
    reverse_complement: float = 0.0
    shift: float = 0.0
    max_shift: int = 0
    alphabet: Alphabet = DNA

    def __post_init__(self) -> None:
        for name in ("reverse", "complement", "reverse_complement", "shift"):
            proportion = getattr(self, name)
            if not (isinstance(proportion, int | float | np.floating) and 0 <= proportion <= 1):
                raise DataError(f"{name} is {proportion!r}; it has to be a proportion of the rows, 0 to 1")
        if self.alphabet.complement is None and (self.complement or self.reverse_complement):
            raise DataError(f"{self.alphabet} has no complement; leave complement and reverse_complement 0")
        farthest = self.max_shift
        if not isinstance(farthest, int) or farthest < 0 or bool(farthest) != bool(self.shift):
            raise DataError(
                f"shift is {self.shift!r} and max_shift {farthest!r}; to shift, give the proportion of rows "
                "as shift, and the largest distance as max_shift, an integer of at least 1; otherwise leave "
                "both 0"
            )
        if self.shift and self.alphabet.empty is None:
            raise DataError(f"{self.alphabet} has no empty token to fill the gap of a shift; leave shift 0")

    def __call__(self, x: Codes, rng: np.random.Generator) -> Codes:
        """A new array for indexes (N, L) uint8. So many numbers are drawn whatever the proportions are.

        Raises `DataError` for another kind of array, and for rows no longer than `max_shift`.
        """
        if x.ndim != 2 or x.dtype != np.uint8:
            raise DataError(f"x has the shape {x.shape} and dtype {x.dtype}; it has to be (N, L) and uint8")
        if x.shape[1] <= self.max_shift:
            raise DataError(
                f"max_shift {self.max_shift} can leave nothing of rows of length {x.shape[1]}; "
                "it has to be less than their length"
            )
        turned, complemented, moves = self.changes(len(x), rng)
        x = x.copy()
        x[turned] = x[turned, ::-1]
        if self.alphabet.complement is not None:
            x[complemented] = self.alphabet.complement.take(x[complemented])
        if self.alphabet.empty is not None:
            shifted = moves != 0
            x[shifted] = _shifted(x[shifted], moves[shifted], self.max_shift, self.alphabet.empty)
        return x

    def changes(self, n_rows: int, rng: np.random.Generator) -> Changes:
        """What is drawn for so many rows, (N,) each: which are turned, which complemented, and how far each
        is then moved, 0 for not.
        """
        # So many numbers a row, so that the size of batches makes no difference.
        draws = rng.random((n_rows, DRAWS)).T
        both = draws[2] < self.reverse_complement
        moves = np.floor(draws[4] * (2 * self.max_shift)).astype(np.int64) - self.max_shift
        moves += moves >= 0
        moves[draws[3] >= self.shift] = 0
        return (draws[0] < self.reverse) ^ both, (draws[1] < self.complement) ^ both, moves


def _shifted(x: Codes, moves: NDArray[np.int64], farthest: int, empty: int) -> Codes:
    """Each row moved, by `farthest` at most, to either side."""
    padded = np.pad(x, ((0, 0), (farthest, farthest)), constant_values=empty)
    shifted: Codes = sliding_window_view(padded, x.shape[1], axis=1)[np.arange(len(x)), farthest - moves]
    return shifted
