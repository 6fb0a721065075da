"""What a good score could come from besides biology, told before training.

Test sequences that the training set has too, on either strand or nearly; test intervals that overlap
training ones; the label copied from the most similar training sequence; and what length, GC content and
6-mers alone score (`similarity` and `baselines` say how). It warns of

    exact and reverse-complement duplicates, overlapping intervals   any
    near duplicates                                                  more than 0.01 of the test set
    equal training sequences with different labels                   any
    copied labels                                                    accuracy 0.05 above the majority class
    length alone, GC content alone                                   AUROC outside 0.4 to 0.6, |r| above 0.3
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.audit.baselines import Baselines, are_classes, baselines, single_labels
from helixband.errors import DataError
from helixband.sequence.chromosomes import match_names
from helixband.sequence.intervals import Intervals
from helixband.sequence.regions import one_place
from helixband.sequence.similarity import (
    NEAR,
    Matches,
    Sequences,
    SequenceSet,
    duplicate_groups,
    most_similar,
)

FINDINGS = {  # in the table, the share of the test set above which it is warned of, in the warning
    "exact_duplicates": ("exactly", 0.0, "are in the training set too"),
    "reverse_complement_duplicates": (
        "as the reverse complement",
        0.0,
        "are the reverse complement of a training sequence",
    ),
    "near_duplicates": ("nearly, by k-mers", 0.01, "are nearly the same as a training sequence"),
    "overlapping_intervals": ("overlapping a training interval", 0.0, "lie where training examples lie"),
}
COPY_GAIN = 0.05
AUROC_OFF = 0.1
PEARSON_OFF = 0.3

Labels = NDArray[Any]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples: codes of `DNA`, (N, L) or a list of (L,); labels for `baselines`; where they lie.

    `no_intervals`: why that is not known, although their headers look like regions.
    """

    sequences: Sequences
    labels: ArrayLike | None = None
    intervals: Intervals | None = None
    no_intervals: str = ""


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What was found of a test set beside its training set.

    Duplicates, near duplicates and overlapping intervals are counted in test examples. An exact duplicate is
    not counted as one of the other strand too, and neither is counted as near. `similar`, bool (n_test,): the
    test examples that are any of these.

    `conflicting_labels`: training sequences equal on either strand to one with another label.
    `copy_label_accuracy`, of numbers `copy_label_pearson`: of the label of the most similar training sequence
    where that is a duplicate or near, and elsewhere of the majority class, or the mean.

    What there are no coordinates or labels for is None, what is not defined is NaN; `notes` say why.
    """

    n_train: int
    n_test: int
    exact_duplicates: int
    reverse_complement_duplicates: int
    near_duplicates: int
    overlapping_intervals: int | None
    similar: Bools
    conflicting_labels: int | None = None
    copy_label_accuracy: float | None = None
    copy_label_pearson: float | None = None
    baselines: Baselines | None = None
    near_threshold: float = NEAR
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int | None]:
        """The counts of test examples by their names."""
        return {**{name: getattr(self, name) for name in FINDINGS}, "similar": int(self.similar.sum())}

    @property
    def warnings(self) -> list[str]:
        """A sentence for each finding that is past its threshold."""
        counts, sentences = self.counts, []
        for name, (_, allowed, what) in FINDINGS.items():
            count = counts[name] or 0
            if count > allowed * self.n_test:
                share = f"{count:,} of {self.n_test:,} test examples ({count / self.n_test:.2%})"
                sentences.append(f"{share} {what}: a score on them shows memory, not understanding.")
        if self.conflicting_labels:
            sentences.append(
                f"{self.conflicting_labels:,} training sequences are equal to one with another label: no "
                "model can fit them all."
            )
        return sentences + (self._label_warnings(self.baselines) if self.baselines else [])

    def _label_warnings(self, trivial: Baselines) -> list[str]:
        sentences = []
        gain = (self.copy_label_accuracy or math.nan) - trivial.majority_accuracy
        if gain > COPY_GAIN:
            sentences.append(
                f"Labels copied from similar sequences are right for {self.copy_label_accuracy:.1%}, the "
                f"majority class for {trivial.majority_accuracy:.1%}: split by similarity or chromosome."
            )
        features = {
            "length": (trivial.length_auroc, trivial.length_pearson),
            "GC content": (trivial.gc_auroc, trivial.gc_pearson),
        }
        for name, (auroc, pearson) in features.items():
            remedy = f"choose examples of similar {name}, or expect the model to learn it."
            if abs(auroc - 0.5) > AUROC_OFF:
                sentences.append(f"The {name} alone tells the classes apart, AUROC {auroc:.3f}: {remedy}")
            if abs(pearson) > PEARSON_OFF:
                sentences.append(f"The {name} alone predicts the labels, r = {pearson:.3f}: {remedy}")
        return sentences

    def to_json(self) -> dict[str, Any]:
        """All but `similar` as plain values, with the share of the test set beside each count; no NaN."""
        document: dict[str, Any] = {"n_train": self.n_train, "n_test": self.n_test}
        for name, count in self.counts.items():
            share = f"{name.removesuffix('s')}_share"
            document |= {name: count, share: None if count is None else count / self.n_test}
        for name in ("near_threshold", "conflicting_labels", "copy_label_accuracy", "copy_label_pearson"):
            document[name] = getattr(self, name)
        trivial = self.baselines or Baselines("")
        document |= dataclasses.asdict(trivial) | {"task": trivial.task or None}
        document = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in document.items()
        }
        return document | {"warnings": self.warnings, "notes": list(self.notes)}


def audit(train: Examples, test: Examples, near_threshold: float = NEAR) -> AuditReport:
    """What test examples have in common with training ones, and what trivial models score on them.

    `near_threshold`: the similarity from which a sequence is a near duplicate (`similarity.most_similar`).
    Labels that are neither classes nor single numbers are left out, with a note.
    Raises `DataError` where a set is empty, or sequences are not codes of `DNA`.
    """
    known, true = SequenceSet.of(train.sequences), SequenceSet.of(test.sequences)
    if not (len(known) and len(true)):
        raise DataError(f"{len(known)} training and {len(true)} test sequences: neither set can be empty")
    matches = most_similar(true, known, near_threshold)
    exact = matches.exact >= 0
    turned = (matches.reverse_complement >= 0) & ~exact
    places = _differing_names(known, train.intervals, true, test.intervals)
    overlapping, places_note = (None, places) if places else _overlapping(train.intervals, test.intervals)
    unread = [
        f"Coordinates cannot be read: {part.no_intervals}." for part in (train, test) if part.no_intervals
    ]
    labels, labels_note = _labels(train.labels, len(known), test.labels, len(true))
    report = AuditReport(
        n_train=len(known),
        n_test=len(true),
        exact_duplicates=int(exact.sum()),
        reverse_complement_duplicates=int(turned.sum()),
        near_duplicates=int(matches.near.sum()),
        overlapping_intervals=None if overlapping is None else int(overlapping.sum()),
        similar=matches.alike if overlapping is None else matches.alike | overlapping,
        near_threshold=near_threshold,
        notes=tuple(filter(None, (places_note, *unread, labels_note))),
    )
    return _with_labels(report, known, true, matches, *labels) if labels else report


def _overlapping(train: Intervals | None, test: Intervals | None) -> tuple[Bools | None, str]:
    """Which test intervals overlap a training one, or None and why."""
    if train is None or test is None:
        return None, f"There are no coordinates of {_lacking(train, test)}: overlaps are not looked for."
    if aliases := match_names(test.names, train.names):
        theirs, ours = next(iter(aliases.items()))
        return None, f"{theirs!r} is {ours!r} in the training set: overlaps are not looked for."
    return test.overlapping(train), ""


def _differing_names(
    train: SequenceSet, of_train: Intervals | None, test: SequenceSet, of_test: Intervals | None
) -> str:
    """Why overlaps are not looked for if a chromosome has a name in each set, as the bases show; or ''."""
    if of_train is None or of_test is None or set(of_train.names) >= set(of_test.names):
        return ""
    sequences, places = SequenceSet.concatenate([train, test]), Intervals.concatenate([of_train, of_test])
    whole = np.flatnonzero(sequences.lengths == places.end - places.start)  # without padding
    two = one_place(places[whole], sequences.codes, sequences.offsets[whole])
    if two is None:
        return ""
    one, other = (places.names[places.chromosome[whole[record]]] for record in two)
    return (
        f"{one!r} and {other!r} have the same bases at the same positions, and may be one chromosome: "
        "overlaps are not looked for."
    )


def _labels(
    known: ArrayLike | None, n_train: int, true: ArrayLike | None, n_test: int
) -> tuple[tuple[Labels, Labels] | None, str]:
    """The labels of both sets, or None and why."""
    left_out = "what needs labels is left out."
    if known is None or true is None:
        return None, f"There are no labels of {_lacking(known, true)}: {left_out}"
    try:
        return (single_labels(known, n_train), single_labels(true, n_test)), ""
    except DataError as error:
        return None, f"Labels are not used ({error}): {left_out}"


def _lacking(train: object, test: object) -> str:
    return "either set" if train is test is None else f"the {'training' if train is None else 'test'} set"


def _with_labels(
    report: AuditReport, train: SequenceSet, test: SequenceSet, matches: Matches, known: Labels, true: Labels
) -> AuditReport:
    trivial, alike = baselines(train, known, test, true), matches.alike
    if not are_classes(known, true):
        copied = np.where(alike, known[matches.nearest], known.mean())
        r = float(np.corrcoef(copied, true)[0, 1]) if np.ptp(copied) and np.ptp(true) else math.nan
        return dataclasses.replace(report, copy_label_pearson=r, baselines=trivial)
    classes, sizes = np.unique(known, return_counts=True)
    copied = np.where(alike, known[matches.nearest], classes[sizes.argmax()])
    return dataclasses.replace(
        report,
        copy_label_accuracy=float(np.mean(copied == true)),
        conflicting_labels=_conflicting(duplicate_groups(train), np.searchsorted(classes, known)),
        baselines=trivial,
    )


def _conflicting(groups: NDArray[np.int64], classes: NDArray[np.int64]) -> int:
    """How many members have groups of more classes than one."""
    n_classes = int(classes.max()) + 1
    present = np.unique(groups * n_classes + classes) // n_classes
    several = np.bincount(present, minlength=int(groups.max()) + 1) > 1
    return int(several[groups].sum())


def describe(report: AuditReport) -> str:
    """The report as a table, warnings and notes."""
    titles = {name: title for name, (title, _, _) in FINDINGS.items()} | {"similar": "any of these"}
    head = f"{report.n_test:,} test examples, in the training set of {report.n_train:,}"
    rows = [(head, "number", "share")]
    for name, count in report.counts.items():
        share = "" if count is None else f"{count / report.n_test:.2%}"
        rows.append((f"  {titles[name]}", "-" if count is None else f"{count:,}", share))
    if report.baselines:
        rows += _figures(report, report.baselines)
    lines = [f"{name:56}{first:>10}{second:>10}".rstrip() for name, first, second in rows]
    lines += [f"warning: {sentence}" for sentence in report.warnings]
    return "\n".join([*lines, *(f"note: {sentence}" for sentence in report.notes)])


def _figures(report: AuditReport, trivial: Baselines) -> list[tuple[str, str, str]]:
    """What the trivial models score, as rows of the table."""
    numbers = trivial.task == "regression"
    kind, other = ("pearson", "mse") if numbers else ("auroc", "accuracy")
    score = dataclasses.asdict(trivial)
    plain = (
        ("mean", None, trivial.mean_mse) if numbers else ("majority class", None, trivial.majority_accuracy)
    )
    figures = [
        plain,
        ("copying the label if similar", report.copy_label_pearson, report.copy_label_accuracy),
        ("length alone", score[f"length_{kind}"], None),
        ("GC content alone", score[f"gc_{kind}"], None),
        ("6-mers: the mark to beat", score[f"kmer_{kind}"], score[f"kmer_{other}"]),
    ]
    rows = [("on the test set", "Pearson r", "MSE") if numbers else ("on the test set", "AUROC", "accuracy")]
    for name, *values in figures:
        first, second = (
            "" if value is None else "-" if value != value else f"{value:.3f}" for value in values
        )
        rows.append((f"  {name}", first, second))
    return rows
