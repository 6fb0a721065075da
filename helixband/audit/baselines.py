"""What models score that know next to nothing: the mark for a real one, and a test of the data.

All learn on the training set and are scored on the test set: the majority class (or the mean), the length
alone, the GC content alone, and the counts of 6-mers. Where length or GC content tell the classes apart,
they say how examples were chosen, and seldom what the sequences do.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA
from helixband.sequence.similarity import Sequences, SequenceSet, kmer_counts

UNDEFINED = float("nan")
KMER = 6
MOST_CLASSES = 50
TREE_LEAVES = 16
LEARNED_BASES = 1 << 23  # of a larger training set so much is drawn at random, which bounds memory and time
PREDICTED_BASES = 1 << 22  # at a time

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Features = Callable[[SequenceSet], Any]  # (N, columns), dense or sparse


@dataclass(frozen=True)
class Baselines:
    """Figures of the test set, NaN where they are not defined.

    Of classes: `majority_accuracy`, that of the most frequent class of the training set; the AUROC of length,
    GC content and 6-mers, of more classes than two the mean of each against the rest; `kmer_accuracy`.
    Of numbers: `mean_mse`, that of the training set's mean; Pearson's correlations; `kmer_mse`.
    """

    task: str  # "classification" or "regression"
    majority_accuracy: float = UNDEFINED
    length_auroc: float = UNDEFINED
    gc_auroc: float = UNDEFINED
    kmer_auroc: float = UNDEFINED
    kmer_accuracy: float = UNDEFINED
    mean_mse: float = UNDEFINED
    length_pearson: float = UNDEFINED
    gc_pearson: float = UNDEFINED
    kmer_pearson: float = UNDEFINED
    kmer_mse: float = UNDEFINED


def baselines(
    train: Sequences,
    train_labels: ArrayLike,
    test: Sequences,
    test_labels: ArrayLike,
    classes: bool | None = None,
) -> Baselines:
    """What trivial models score on the test set that learned on the training set.

    Sequences are codes of `DNA`, an array (N, L) or a list of (L,); labels as in `single_labels`. `classes`
    says whether they are classes or numbers to be regressed on; where it is None, whole numbers of at most
    50 values are classes.

    Length, in known bases, so that padding counts for nothing, goes through a decision tree of at most 16
    leaves, which finds a range or a single length too. GC content and its square, and 6-mers of both strands
    together, the counts of a sequence scaled to norm 1, go through logistic regression with C = 1 or ridge
    regression with alpha = 1. Of more than 8 million bases, as many are drawn at random to learn on.

    Raises `DataError` where there is not one label for each sequence, or it is no number.
    """
    train, test = SequenceSet.of(train), SequenceSet.of(test)
    known, true = single_labels(train_labels, len(train)), single_labels(test_labels, len(test))
    learned = _learned(train)
    if are_classes(known, true) if classes is None else classes:
        _, numbered = np.unique(np.concatenate([known, true]), return_inverse=True)
        known, true = np.split(numbered.astype(np.int64), [len(train)])
        majority = float(np.mean(true == np.bincount(known).argmax()))
        return _of_classes(train.take(learned), known[learned], test, true, majority)
    mean_mse = float(np.mean((true - known.mean()) ** 2))
    return _of_numbers(train.take(learned), known[learned], test, true, mean_mse)


def single_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    """The labels of n sequences as (n,), from (n,), (n, 1) or one-hot columns (n, C), which give the class.

    Raises `DataError` where there are not n, or they are not finite, or of columns that are not one-hot.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or len(labels) != n or not labels.size:
        raise DataError(f"labels of shape {labels.shape} for {n} sequences; each needs one")
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        raise DataError(f"the labels, of {labels.dtype}, hold what is no finite number")
    if labels.ndim == 1 or labels.shape[1] == 1:
        return labels.reshape(-1) + 0  # of bool, integers
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise DataError(
            f"labels of {labels.shape[1]} columns that are not one-hot: they are neither classes nor single "
            "numbers"
        )
    return np.asarray(labels.argmax(axis=1), dtype=np.int64)


def are_classes(train_labels: NDArray[Any], test_labels: NDArray[Any]) -> bool:
    """Whether labels (N,) are classes: whole numbers of at most 50 values."""
    values = np.unique(np.concatenate([train_labels, test_labels]))
    return len(values) <= MOST_CLASSES and np.array_equal(values, np.rint(values))


def _learned(train: SequenceSet) -> Integers:
    """The indexes of the sequences to learn on."""
    if len(train.codes) <= LEARNED_BASES:
        return np.arange(len(train))
    order = np.random.default_rng(0).permutation(len(train))
    enough = int(np.searchsorted(np.cumsum(train.lengths[order]), LEARNED_BASES))
    return np.sort(order[: max(1, enough)])


def _of_classes(
    train: SequenceSet, known: Integers, test: SequenceSet, true: Integers, majority: float
) -> Baselines:
    if len(np.unique(known)) < 2:
        return Baselines("classification", majority_accuracy=majority)
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    def probabilities(features: Features, model: Any) -> Floats:
        given = _predicted(features, model, train, known, test)
        whole = np.zeros((len(test), 1 + max(known.max(), true.max())))
        whole[:, model.classes_] = given  # a class that the training set has not is never predicted
        return whole

    length = probabilities(_length, _tree(DecisionTreeClassifier, train))
    gc, kmers = (probabilities(feature, LogisticRegression(max_iter=200)) for feature in (_gc, _kmer_profile))
    return Baselines(
        "classification",
        majority_accuracy=majority,
        length_auroc=_auroc(true, length),
        gc_auroc=_auroc(true, gc),
        kmer_auroc=_auroc(true, kmers),
        kmer_accuracy=float(np.mean(true == kmers.argmax(axis=1))),
    )


def _of_numbers(
    train: SequenceSet, known: Floats, test: SequenceSet, true: Floats, mean_mse: float
) -> Baselines:
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeRegressor

    def values(features: Features, model: Any) -> Floats:
        return _predicted(features, model, train, known, test)

    length = values(_length, _tree(DecisionTreeRegressor, train))
    gc, kmers = values(_gc, Ridge(alpha=1.0)), values(_kmer_profile, Ridge(alpha=1.0, solver="sparse_cg"))
    return Baselines(
        "regression",
        mean_mse=mean_mse,
        length_pearson=_pearson(true, length),
        gc_pearson=_pearson(true, gc),
        kmer_pearson=_pearson(true, kmers),
        kmer_mse=float(np.mean((true - kmers) ** 2)),
    )


def _tree(kind: Any, train: SequenceSet) -> Any:
    least = max(5, len(train) // 100)  # leaves of fewer are chance
    return kind(max_leaf_nodes=TREE_LEAVES, min_samples_leaf=least, random_state=0)


def _predicted(
    features: Features, model: Any, train: SequenceSet, known: NDArray[Any], test: SequenceSet
) -> Floats:
    """What a model predicts that learned on the training set: numbers (N,) or probabilities (N, C)."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A fit that is stopped early is a baseline too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features(train), known)
    predict = getattr(model, "predict_proba", model.predict)
    return np.concatenate([predict(features(part)) for _, part in test.blocks(PREDICTED_BASES)])


def _length(sequences: SequenceSet) -> Floats:
    return _count(sequences, sequences.codes < DNA.n_tokens)[:, None].astype(np.float64)


def _gc(sequences: SequenceSet) -> Floats:
    """The share of known bases and its square, (N, 2), in tenths from a half; of none, a half."""
    c, g = DNA.encode("CG")
    strong = _count(sequences, (sequences.codes == c) | (sequences.codes == g))
    known = _count(sequences, sequences.codes < DNA.n_tokens)
    gc: Floats = 10 * np.divide(strong, known, out=np.full(len(known), 0.5), where=known > 0) - 5
    return np.column_stack([gc, gc**2])


def _count(sequences: SequenceSet, mask: NDArray[np.bool_]) -> Integers:
    """How many bases of each sequence the mask has, int64 (N,)."""
    before = np.concatenate([[0], np.cumsum(mask)])
    return np.diff(before[sequences.offsets])


def _kmer_profile(sequences: SequenceSet) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(kmer_counts(sequences, KMER).astype(np.float64))


def _auroc(true: Integers, probabilities: Floats) -> float:
    """Of two classes that of the second; of more the mean over those that the test set has."""
    from sklearn.metrics import roc_auc_score

    n_classes = probabilities.shape[1]
    members = [(true == index, probabilities[:, index]) for index in range(n_classes)]
    defined = [pair for pair in (members[1:] if n_classes == 2 else members) if 0 < pair[0].sum() < len(true)]
    return float(np.mean([roc_auc_score(*pair) for pair in defined])) if defined else UNDEFINED


def _pearson(true: Floats, predicted: Floats) -> float:
    if not (np.ptp(true) and np.ptp(predicted)):
        return UNDEFINED
    return float(np.corrcoef(true, predicted)[0, 1])
