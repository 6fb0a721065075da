"""Splits: the indexes of a training, a validation and a test part.

Each function gives `(train, val, test)`: int64 arrays of indexes into what is split, ascending, no index in
two of them. A ratio is the share of all examples that is wanted in a part, from 0 and below 1; a part of
ratio 0, or with no chromosome named, is empty, and training gets what the other two leave. All raise
`DataError` where any other part would be empty.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.sequence.intervals import Intervals
from helixband.sequence.reading import near_names, shown_name

Indexes = NDArray[np.int64]
Parts = tuple[Indexes, Indexes, Indexes]

SPLITS = ("chromosome", "interval", "cluster", "ratio")
TRAIN, VAL, TEST, NO_PART = range(4)


def by_chromosome(
    chromosomes: Intervals | Sequence[str] | NDArray[np.str_],
    val: Sequence[str] = (),
    test: Sequence[str] = (),
    train: Sequence[str] | None = None,
) -> Parts:
    """Whole chromosomes to each part, those named in `val`, `test` and `train`.

    `chromosomes` are N intervals, or the name of each example's chromosome (N,). Without `train`, all that
    are not named are for training; with it, their examples are in no part.

    >>> train, val, test = by_chromosome(["chr1", "chr2", "chr1", "chr3"], val=["chr2"], test=["chr3"])
    >>> train.tolist(), val.tolist(), test.tolist()
    ([0, 2], [1], [3])

    Raises `DataError` for a name that no chromosome has, and for one that is given twice.
    """
    if isinstance(chromosomes, Intervals):
        names, numbers = chromosomes.names, chromosomes.chromosome
    else:
        found, numbers = np.unique(np.asarray(chromosomes, dtype=np.str_), return_inverse=True)
        names = tuple(found.tolist())
    given_names = {name for given in (train or (), val, test) for name in _listed(given)}
    number_of = {name: number for number, name in enumerate(names) if name in given_names}
    part_of = np.full(len(names), TRAIN if train is None else NO_PART)
    seen: set[str] = set()
    for part, given in ((TRAIN, train or ()), (VAL, val), (TEST, test)):
        for name in _listed(given):
            if name not in number_of:
                near = ", ".join(near_names(name, names))
                raise DataError(
                    f"there is no chromosome {shown_name(name)!r} to split by; there are {near}, …"
                )
            if name in seen:
                raise DataError(f"the chromosome {name!r} is named twice; name it once, for one part")
            seen.add(name)
            part_of[number_of[name]] = part
    hint = "name chromosomes that have examples, and not all of them for val and test"
    return _parts(part_of[numbers], len(val) > 0, len(test) > 0, hint)


def _listed(names: Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else [str(name) for name in names]


def by_interval(
    intervals: Intervals, val_ratio: float, test_ratio: float, gap: int = 0, seed: int = 0
) -> Parts:
    """Intervals at random, those that overlap or lie within `gap` positions of each other to one part.

    So go those that a chain of such intervals joins (`Intervals.clusters`): any two of different parts
    have more than `gap` bases between them. Whole clusters are drawn as in `by_cluster`.
    """
    return by_cluster(intervals.clusters(gap), val_ratio, test_ratio, seed)


def by_cluster(clusters: ArrayLike, val_ratio: float, test_ratio: float, seed: int = 0) -> Parts:
    """Examples at random, those of one cluster to one part; `clusters` has the number of each one's (N,).

    The test part takes, in random order, the clusters that still fit into its share, and one more where
    that brings it nearer; then the validation part does. Clusters of twice a share or more are for training.
    Which ones a part gets depends on their numbers and sizes and on `seed`, not on the order of examples.

    >>> train, val, test = by_cluster([7, 7, 3, 3, 9, 9], val_ratio=0.3, test_ratio=0.3)
    >>> train.tolist(), val.tolist(), test.tolist()
    ([0, 1], [2, 3], [4, 5])
    """
    clusters = _column(clusters, "clusters")
    n_val, n_test = _sizes(len(clusters), val_ratio, test_ratio)
    _, cluster, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    part = np.full(len(sizes), TRAIN)
    rest = np.random.default_rng(seed).permutation(len(sizes))
    for number, wanted in ((TEST, n_test), (VAL, n_val)):
        taken = _fitting(sizes[rest], wanted)
        part[rest[taken]] = number
        rest = rest[~taken]
    hint = (
        f"val_ratio {val_ratio!r} and test_ratio {test_ratio!r} of {len(clusters)} examples in {len(sizes)} "
        f"clusters, the largest of {sizes.max(initial=0)}; change the ratios, or what makes a cluster"
    )
    return _parts(part[cluster], val_ratio > 0, test_ratio > 0, hint)


def by_ratio(
    n_examples: int, val_ratio: float, test_ratio: float, seed: int = 0, labels: ArrayLike | None = None
) -> Parts:
    """Examples at random, whatever they have in common; the windows of one genome have a good deal.

    With `labels`, the class of each (N,), the classes have the shares in each part that they have in the
    whole, to within a few examples.

    >>> train, val, test = by_ratio(8, val_ratio=0.25, test_ratio=0.25, labels=[0, 0, 0, 0, 1, 1, 1, 1])
    >>> train.tolist(), val.tolist(), test.tolist()
    ([0, 1, 4, 5], [2, 7], [3, 6])
    """
    classes = np.zeros(n_examples) if labels is None else _column(labels, "labels")
    if len(classes) != n_examples:
        raise DataError(f"there are {len(classes)} labels of {n_examples} examples; each needs one")
    n_val, n_test = _sizes(n_examples, val_ratio, test_ratio)
    order = _mixed(classes, np.random.default_rng(seed))
    part = np.full(n_examples, TRAIN)
    part[order[: n_test + n_val]] = VAL
    part[order[:n_test]] = TEST
    hint = (
        f"val_ratio {val_ratio!r} and test_ratio {test_ratio!r} of {n_examples} examples; change the ratios"
    )
    return _parts(part, val_ratio > 0, test_ratio > 0, hint)


def _fitting(sizes: Indexes, wanted: int) -> NDArray[np.bool_]:
    """Which clusters to take, in the order given, to have about `wanted` examples."""
    taken = np.zeros(len(sizes), dtype=np.bool_)
    room = wanted
    for index, size in enumerate(sizes.tolist()):
        if size <= room:
            taken[index] = True
            room -= size
    left = np.flatnonzero(~taken)
    if len(left):
        smallest = left[sizes[left].argmin()]
        taken[smallest] = sizes[smallest] < 2 * room  # then it is less too much than it is too little now
    return taken


def _mixed(classes: NDArray[np.generic], rng: np.random.Generator) -> Indexes:
    """A random order (N,) in which every stretch has about the same share of each class."""
    _, numbers, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    by_class = np.lexsort((rng.random(len(numbers)), numbers))
    firsts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The examples of a class lie evenly between 0 and 1, and so do those of any other.
    places = (np.arange(len(numbers)) - firsts + 0.5) / np.repeat(sizes, sizes)
    order: Indexes = by_class[np.lexsort((rng.random(len(numbers)), places))]
    return order


def _column(values: ArrayLike, name: str) -> NDArray[np.generic]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(
            f"{name} has the shape {column.shape}; it has to have one value for each example (N,)"
        )
    return column


def _sizes(n_examples: int, val_ratio: float, test_ratio: float) -> tuple[int, int]:
    """The sizes wanted of the validation and the test part."""
    if not (val_ratio >= 0 and test_ratio >= 0 and val_ratio + test_ratio < 1):
        raise DataError(
            f"val_ratio is {val_ratio!r} and test_ratio {test_ratio!r}; each is a share of all examples, "
            "from 0, and together they have to be below 1"
        )
    return round(n_examples * val_ratio), round(n_examples * test_ratio)


def _parts(part: Indexes, val_wanted: bool, test_wanted: bool, hint: str) -> Parts:
    """The indexes of each part from the part of each example (N,)."""
    train, val, test = (np.flatnonzero(part == number) for number in (TRAIN, VAL, TEST))
    wanted = {"training": (train, True), "validation": (val, val_wanted), "test": (test, test_wanted)}
    for name, (indexes, is_wanted) in wanted.items():
        if is_wanted and not len(indexes):
            raise DataError(f"the {name} part would be empty: {hint}")
    return train, val, test


def check(by: str, val: Any, test: Any, gap: int) -> None:
    """Raise `DataError` for arguments of a split that do not go together."""
    if not by:
        one_of = ", ".join(map(repr, SPLITS))
        raise DataError(f"split needs by, one of {one_of}, as in split(by='cluster', val=0.2, test=0.2)")
    if by not in SPLITS:
        raise DataError(f"split by {by!r}: it has to be one of {', '.join(map(repr, SPLITS))}")
    if not isinstance(gap, int | np.integer) or gap < 0:
        raise DataError(f"the gap is {gap!r}; it has to be a number of bases, 0 or more")
    if gap and by != "interval":
        raise DataError(f"the gap {gap} is for a split by 'interval': leave it out in a split by {by!r}")
    if any(isinstance(part, float | int | np.number) == (by == "chromosome") for part in (val, test)):
        wanted = "lists of chromosomes, [] for none" if by == "chromosome" else "shares of all examples"
        raise DataError(f"split by {by!r}: val is {val!r} and test {test!r}; they have to be {wanted}")
