"""Look at two files for what a good score could come from besides biology.

    python -m helixband.audit TRAIN.fa TEST.fa [--json]
    python -m helixband.audit TRAIN.bed TEST.bed --genome GENOME.fa [--window N] [--json]

Labels are read from `--train-labels` and `--test-labels`, a line of one number or of one-hot columns for each
sequence; else from X.target beside X.fa or X.bed, where it is there. Or they are 1 and 0: by
`--train-negatives` and `--test-negatives`, which name files of class 0, or by `--label-regex`. Without labels
the figures that need them are null.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helixband.audit.audit import AuditReport, Examples, Labels, audit, describe
from helixband.errors import DataError, FlagParser, HelixbandError, UsageError, let_output_pass
from helixband.sequence.chromosomes import on_genome
from helixband.sequence.fasta import NAMES, is_fasta
from helixband.sequence.interval_files import is_intervals, read_intervals
from helixband.sequence.intervals import Intervals
from helixband.sequence.regions import regions_in
from helixband.sequence.similarity import SequenceSet
from helixband.sequence.store import SequenceStore
from helixband.sequence.targets import read_targets

SHORT_BASES = 22  # shorter sequences are never near duplicates


def _read(
    path: str, negatives: str | None, labels: str | None, args: argparse.Namespace
) -> tuple[Examples, str]:
    """The examples of one set as the flags have it, and a note on where its labels are from."""
    parts = [_read_file(file, args) for file in (path, negatives) if file]
    sequences = SequenceSet.concatenate([part for part, *_ in parts])
    places = [intervals for _, _, intervals, _ in parts if intervals is not None]
    intervals = Intervals.concatenate(places) if len(places) == len(parts) else None
    unread = next((why for *_, why in parts if why), "")
    headers, note = [header for _, part, *_ in parts for header in part], ""
    beside = Path(path.removesuffix(".gz").removesuffix(".bgz")).with_suffix(".target")
    targets: Labels | None = None
    if negatives:
        targets = np.repeat([1, 0], [len(part) for part, *_ in parts])
    elif args.label_regex:
        rule = _compiled(args.label_regex)
        targets = np.array([int(rule.search(header) is not None) for header in headers])
    elif labels or beside.is_file():
        targets = read_targets(labels or beside, headers, path)
        note = f"The labels of {path} are those of {labels or beside}."
    return Examples(sequences, targets, intervals, unread), note


def _read_file(path: str, args: argparse.Namespace) -> tuple[SequenceSet, list[str], Intervals | None, str]:
    """(sequences, headers or labels, coordinates, why these are not known) of a FASTA or interval file."""
    if is_fasta(path):
        store = SequenceStore.open(path, names=args.names)
        sequences = SequenceSet(store.codes, np.append(store.offsets, store.total))
        return sequences, store.headers, *regions_in(store)
    if not is_intervals(path):
        raise DataError(f"{path}: its suffix says neither FASTA (.fa, .fasta) nor intervals (.bed, .gff3)")
    if not args.genome:
        raise UsageError(f"{path} has intervals: --genome has to name the FASTA file that they lie on")
    store = SequenceStore.open(args.genome, names=args.names)
    intervals = on_genome(read_intervals(path), store.names, store.lengths, args.aliases, genome=store.path)
    if args.window is not None:
        intervals = intervals.resized(args.window)
    lengths = intervals.end - intervals.start
    if (median := int(np.median(lengths))) < SHORT_BASES:
        raise UsageError(
            f"{path}: half of the intervals have {median} bases or fewer; --window N takes N bases around "
            f"their centres, {SHORT_BASES} at least"
        )
    reverse = intervals.strand < 0
    if reverse.any():
        store = store.with_both_strands()
    columns = (intervals.chromosome, intervals.start, intervals.end, reverse)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    sequences = SequenceSet.of([store.sequence(*row) for row in rows])
    return sequences, intervals.label.tolist(), intervals, ""


def _compiled(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise UsageError(f"--label-regex {regex!r} is no regular expression ({error})") from error


def make_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = FlagParser(
        prog="python -m helixband.audit",
        description="Report what could explain a good score on TEST besides biology.",
    )
    parser.add_argument("train", metavar="TRAIN", help="FASTA, or BED or GFF3 with --genome")
    parser.add_argument("test", metavar="TEST")
    parser.add_argument("--genome", metavar="FASTA", help="the genome of the intervals")
    parser.add_argument(
        "--window", type=int, metavar="N", help="take N bases around the centre of each interval"
    )
    parser.add_argument(
        "--aliases",
        metavar="TABLE",
        help="a table of two columns: the chromosome's name in the intervals, and in the genome; or: match",
    )
    for part in ("train", "test"):
        parser.add_argument(
            f"--{part}-labels",
            metavar="FILE",
            help="one line of numbers per sequence (default: X.target next to X.fa)",
        )
        parser.add_argument(
            f"--{part}-negatives", metavar="FILE", help=f"sequences of class 0; {part.upper()} is class 1"
        )
    parser.add_argument(
        "--label-regex", metavar="REGEX", help="class 1 if REGEX is found in the header, otherwise class 0"
    )
    parser.add_argument(
        "--names",
        choices=NAMES,
        default="header",
        help="where the names of FASTA records are from; number: for files that have a name more than once",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def run(args: argparse.Namespace) -> AuditReport:
    """The audit that the flags ask for."""
    files, negatives = args.train_labels or args.test_labels, args.train_negatives or args.test_negatives
    if sum(map(bool, (files, negatives, args.label_regex))) > 1:
        raise UsageError(
            "labels can come from only one of --train-labels, --train-negatives and --label-regex"
        )
    if is_fasta(args.train) and is_fasta(args.test) and (args.genome or args.window or args.aliases):
        raise UsageError("--genome, --window and --aliases are for intervals, but both files are FASTA")
    train, train_note = _read(args.train, args.train_negatives, args.train_labels, args)
    test, test_note = _read(args.test, args.test_negatives, args.test_labels, args)
    report = audit(train, test)
    return dataclasses.replace(report, notes=(*filter(None, (train_note, test_note)), *report.notes))


def main(arguments: Sequence[str] | None = None) -> int:
    let_output_pass()
    args = make_parser().parse_args(arguments)
    try:
        report = run(args)
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(report.to_json(), indent=2, allow_nan=False) if args.json else describe(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
