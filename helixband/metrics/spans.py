"""Spans: runs of positions of one kind, such as genes or names, and how many of them are found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError, in_one_line
from helixband.metrics.common import UNDEFINED, array
from helixband.metrics.tokens import MISSING, is_known

Spans = NDArray[np.int64]
"""(K, 4): row, start, end (0-based, end-exclusive), kind."""


FIRST, LAST = "BSU", "ESLU"
"""Letters of positions with which a span begins, and ends."""
SCHEMES = ("OBI", "OBIES", "OBILU")
"""The letters that the names of classes may begin with together."""


class Kinds(NamedTuple):
    """What names of classes say of spans: the kinds, and of each class its kind or −1, and its place."""

    names: list[str]
    of_class: NDArray[np.int64]
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]


def kinds_of(names: Sequence[str]) -> Kinds:
    """The kinds of spans that names of classes tell, and which classes begin and end a span.

    In BIO form (Ramshaw and Marcus 1995) "B-gene" is the first position of a gene, "I-gene" a further one,
    and "O" is outside of spans. In IOBES form there are also "E-gene", the last position, and "S-gene", a
    gene of one position; BILOU has "L-gene" and "U-gene" for these. Other names are a kind each, whose runs
    are spans, and "O" is outside.

    >>> kinds_of(["O", "B-gene", "I-gene"]).names, kinds_of(["O", "exon", "intron"]).names
    (['gene'], ['exon', 'intron'])
    """
    kinds: list[str] = []
    of_class, begins, ends = np.full(len(names), -1, np.int64), *np.zeros((2, len(names)), bool)
    has_places = _has_places(names)
    for k, name in enumerate(names):
        if name == "O":
            continue
        kind = name[2:] if has_places else name
        if kind not in kinds:
            kinds.append(kind)
        of_class[k] = kinds.index(kind)
        begins[k], ends[k] = has_places and name[0] in FIRST, has_places and name[0] in LAST
    return Kinds(kinds, of_class, begins, ends)


def _has_places(names: Sequence[str]) -> bool:
    """Whether names are of places in spans, such as "B-gene", and not of kinds alone, such as "E-box"."""
    letters = {name[0] if name[1:2] == "-" or name == "O" else "" for name in names}
    return any(letters <= set(scheme) for scheme in SCHEMES) and bool(letters & {"B", "I"})


def spans(labels: ArrayLike, names: Sequence[str]) -> Spans:
    """The spans in class indexes (N, S), in order, (K, 4): row, start, end (0-based, end-exclusive), kind.

    `names` are those of the classes, as `kinds_of` reads them. A position without a label (−100 or NaN) is
    skipped, as if the sequence did not have it; but starts and ends count it. "I-gene" after something else
    than a gene begins one, as in the evaluation of CoNLL-2000.

    >>> spans([[0, 1, 2, 2, 1, 0]], ["O", "B-gene", "I-gene"]).tolist()
    [[0, 1, 4, 0], [0, 4, 5, 0]]

    Raises `DataError` for a class that has no name.
    """
    given = array("labels", labels)
    if given.ndim != 2:
        raise DataError(f"the labels have the shape {given.shape}; spans are of labels at positions, (N, S)")
    rows, places = np.nonzero(is_known(given))
    index = given[rows, places].astype(np.int64)
    if len(strange := index[(index < 0) | (index >= len(names))]):
        raise DataError(
            f"the labels have the class {strange[0]}, and names {in_one_line(list(names))} are given"
        )
    _, of_class, begins, ends = kinds_of(names)
    kind = of_class[index]
    goes_on = np.zeros(len(kind) + 1, bool)  # whether a position is in the span of the one before
    goes_on[1:-1] = (kind[1:] == kind[:-1]) & (rows[1:] == rows[:-1])
    goes_on[1:-1] &= ~begins[index[1:]] & ~ends[index[:-1]]
    first, last = np.flatnonzero((kind >= 0) & ~goes_on[:-1]), np.flatnonzero((kind >= 0) & ~goes_on[1:])
    return np.column_stack([rows[first], places[first], places[last] + 1, kind[first]])


def span_scores(y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str]) -> dict[str, float]:
    """`span_precision`, `span_recall` and `span_f1` over all spans; a span counts if it is found exactly.

    y_true: class indexes (N, S), −100 or NaN where there is none. y_pred: class indexes (N, S), of which
    those without a label do not count. `names`: those of the classes. See `spans`. Of several kinds of spans
    there is also `span_f1_<kind>` of each. They are NaN where there is no span of which they would be a
    share.

    >>> span_scores([[1, 1, 0, 1]], [[1, 1, 0, 0]], ["O", "gene"])
    {'span_precision': 1.0, 'span_recall': 0.5, 'span_f1': 0.6666666666666666}
    """
    true, pred = array("y_true", y_true), array("y_pred", y_pred)
    if true.shape != pred.shape:
        raise DataError(f"y_true has the shape {true.shape} and y_pred {pred.shape}; they have to agree")
    kinds = kinds_of(names).names
    there, told = spans(true, names), spans(np.where(is_known(true), pred, MISSING), names)
    # No span is twice among those of one side, so those that come twice are among both.
    both, counts = np.unique(np.concatenate([there, told]), axis=0, return_counts=True)
    found = both[counts == 2]
    scores = {
        "span_precision": _share(len(found), len(told)),
        "span_recall": _share(len(found), len(there)),
        "span_f1": _share(2 * len(found), len(told) + len(there)),
    }
    if len(kinds) > 1:
        of_kind = [np.bincount(each[:, 3], minlength=len(kinds)) for each in (found, told, there)]
        for number, kind in enumerate(kinds):
            right, given, real = (int(counts[number]) for counts in of_kind)
            scores[f"span_f1_{kind}"] = _share(2 * right, given + real)
    return scores


def _share(part: int, whole: int) -> float:
    return part / whole if whole else UNDEFINED
