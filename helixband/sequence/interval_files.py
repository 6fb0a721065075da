"""Intervals from BED and GFF3 files, plain or compressed by gzip or bgzip.

BED is read as its specification (GA4GH, version 1.0) and bedtools have it: three columns or more, in every
line as many, separated by tabs, or by blanks where the first line has no tab. A label may hold blanks where
tabs separate. Columns after the sixth are not read, so that narrowPeak, broadPeak and BED12, which counts
with its whole span, are BED too.

Accepted besides: blank lines, `#` comments, `browser` and `track` lines anywhere; a first line with the
names of the columns (chrom, start, end, …); lines that end in LF, CRLF or CR, and a last one that does not
end; a byte order mark; an empty score or strand in the place of '.'. Refused, though some readers pass them:
an interval without a base (start equal to end), lines of different numbers of columns, a score that is no
number, a strand that is not + - . or ?, and blanks in the first three columns of a file with tabs.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.intervals import Integers, Intervals, Reading, first_fault
from helixband.sequence.reading import Path, line_blocks, number_in, plain_name

Column = tuple[str, ...]

BED_SUFFIXES = (".bed", ".narrowpeak", ".broadpeak", ".gappedpeak")
GFF_SUFFIXES = (".gff3", ".gff")

_START_NAMES = ("start", "chromstart", "chrom_start")
_PASSED_OVER = re.compile(r"#|\s*$|(?:track|browser)(?:\s|$)")
_STRANDS = {"+", "-", ".", "?", ""}
_LABELS = (re.compile(r"(?:^|;)\s*Name=([^;]*)"), re.compile(r"(?:^|;)\s*ID=([^;]*)"))
_OTHERWISE = "to read it otherwise, write a get_pred_generator with an IntervalBatchGenerator"
_ONE_TAB = "put one tab, and no blank, between columns in every line"


class _Fault(Exception):
    """Raised for a single line it says what is wrong with it; for many, only that one of them is wrong."""


def is_intervals(path: Path) -> bool:
    """Whether the name of a file says that it is BED or GFF3, compressed or not."""
    return plain_name(path).endswith(BED_SUFFIXES + GFF_SUFFIXES)


def read_intervals(path: Path, like: Reading = ()) -> Intervals:
    """The intervals of a BED or GFF3 file, which its suffix tells apart; `DataError` at any other suffix.

    `like`: the `reading` of others, in whose way it is read. Raises `DataError` where these are the summits
    of peaks and the file has none, or where others of its format were read in several ways.
    """
    if not is_intervals(path):
        known = ", ".join(BED_SUFFIXES + GFF_SUFFIXES)
        raise DataError(
            f"{path}: its suffix names no format of intervals; known are {known}, also with .gz or .bgz"
        )
    is_bed = plain_name(path).endswith(BED_SUFFIXES)
    summits, kinds = ([value for name, value in like if name == option] for option in ("summits", "kinds"))
    if len(summits if is_bed else kinds) > 1:
        ways = "with summits and without" if is_bed else "as features of other kinds each"
        raise DataError(f"{path}: the intervals like which it is to be read were read {ways}; {_OTHERWISE}")
    if not is_bed:
        if any(summits) and not kinds:
            raise DataError(f"{path}: it is to be read by its summits, and GFF3 has none; {_OTHERWISE}")
        return read_gff(path, *kinds)
    if not any(summits):
        return read_bed(path)
    try:
        return read_bed(path, summits=True)
    except DataError as error:
        raise DataError(f"{error}. It is read by its summits, as the training data; {_OTHERWISE}") from None


def read_bed(path: Path, summits: bool = False) -> Intervals:
    """The intervals of a BED file in its order; column 4 is the label, 5 the score, 6 the strand.

    `summits`: of a narrowPeak file, the summit of each peak (column 10), one base, in place of the peak.

    Raises `DataError` naming file, line and value where a line is not as the module has it, and naming the
    file where that is missing, cut short, no text or without an interval.
    """
    return _whole(path, [part for _, part in _bed_parts(path, summits)], ("summits", summits))


def read_gff(path: Path, kinds: str | Iterable[str] | None = None) -> Intervals:
    """The features of a GFF3 file in its order, or those of some kinds (column 3).

    Positions become 0-based and ends exclusive. The label is the attribute Name or, without one, ID. What
    follows `##FASTA` is not read. Format: Sequence Ontology, Generic Feature Format version 3, 1.26.

    Raises `DataError` as `read_bed` does, and for a kind that no feature has, naming those there are.
    """
    wanted = {kinds} if isinstance(kinds, str) else kinds if kinds is None else set(kinds)
    found: Counter[str] = Counter()
    parts = []
    for _, part in _gff_parts(path):
        found.update(part.kind)
        parts.append(part if wanted is None else part[[kind in wanted for kind in part.kind]])
    if wanted is not None and found and (absent := sorted(wanted - found.keys())):
        there = ", ".join(f"{kind} ({count})" for kind, count in found.most_common(20))
        raise DataError(f"{path}: no feature is of the kind {absent[0]!r}; the kinds in it are {there}")
    return _whole(path, parts, ("kinds", None if wanted is None else tuple(sorted(wanted))))


def line_of(path: Path, chosen: Callable[[Intervals], NDArray[np.bool_]]) -> int:
    """The first line, from 1, whose interval is one of the `chosen`, bool (N,) of N intervals; 0 without one.

    Only errors need it, and so intervals do not carry their lines.
    """
    is_bed = plain_name(path).endswith(BED_SUFFIXES)
    for numbers, part in _bed_parts(path) if is_bed else _gff_parts(path):
        for place in np.flatnonzero(chosen(part)):
            return numbers[place]
    return 0


def _bed_parts(path: Path, summits: bool = False) -> Iterator[tuple[list[int], Intervals]]:
    """(numbers of the lines, their intervals) of block after block."""
    parse: Callable[[list[str]], Intervals] | None = None
    for numbers, lines in _content(path):
        if parse is None:
            separator = "\t" if "\t" in lines[0] else None
            first = lines[0].split(separator)
            parse = partial(_bed_intervals, separator=separator, width=len(first), summits=summits)
            if len(first) > 2 and first[1].lower() in _START_NAMES:
                numbers, lines = numbers[1:], lines[1:]
        if lines:
            yield numbers, _parsed(path, numbers, lines, parse)


def _gff_parts(path: Path) -> Iterator[tuple[list[int], Intervals]]:
    """(numbers of the lines, their features) of block after block."""
    for numbers, lines in _content(path, end=("##FASTA", ">")):
        yield numbers, _parsed(path, numbers, lines, _gff_intervals)


def _content(path: Path, end: tuple[str, ...] = ()) -> Iterator[tuple[list[int], list[str]]]:
    """(numbers, lines) of each block, without blank ones and comments, up to one that begins like `end`."""
    for number, lines in line_blocks(path):
        stop = next((place for place, line in enumerate(lines) if line.startswith(end)), len(lines))
        held = [
            (place, line) for place, line in enumerate(lines[:stop], number) if not _PASSED_OVER.match(line)
        ]
        if held:
            yield [place for place, _ in held], [line for _, line in held]
        if stop < len(lines):
            return


def _parsed(
    path: Path, numbers: list[int], lines: list[str], parse: Callable[[list[str]], Intervals]
) -> Intervals:
    """The intervals of all lines at once; where that fails, line by line up to the first that is wrong."""
    try:
        return parse(lines)
    except _Fault:
        for number, line in zip(numbers, lines, strict=True):
            try:
                parse([line])
            except _Fault as fault:
                raise DataError(f"{path}, line {number}: {fault}") from None
        raise


def _whole(path: Path, parts: list[Intervals], way: tuple[str, Any]) -> Intervals:
    whole = Intervals.concatenate(parts)
    if not len(whole):
        raise DataError(f"{path}: the file has no interval; is it the right one, and whole?")
    return dataclasses.replace(whole, source=os.fspath(path), reading=(way,))


def _bed_intervals(lines: list[str], separator: str | None, width: int, summits: bool) -> Intervals:
    if separator is None and any("\t" in line for line in lines):
        raise _Fault(f"{lines[0][:60]!r} has a tab, and the first line has none; {_ONE_TAB}")
    if width < 3:
        raise _Fault(f"BED needs chromosome, start and end; the number of columns is {width}; {_ONE_TAB}")
    if summits and width < 10:
        raise _Fault(f"the summit is column 10, and there are {width} columns; only narrowPeak files have it")
    columns = _columns(lines, separator, width)
    names = _names(columns[0])
    starts, ends = _positions(columns[1], "column 2 (start)"), _positions(columns[2], "column 3 (end)")
    _check(starts, ends)
    if summits:
        if "-1" in columns[9]:
            raise _Fault(
                "column 10 (summit) holds '-1', which is no whole number from 0: no summit called for"
                " this peak; leave the peak out, or read the file without summits"
            )
        starts = starts + _positions(columns[9], "column 10 (summit)")
        if (starts >= ends).any():
            raise _Fault(f"column 10 (summit) holds {columns[9][0]}, past the peak; it counts from the start")
        ends = starts + 1
    return Intervals.make(
        names,
        starts,
        ends,
        _strands(columns[5], "column 6") if width > 5 else None,
        labels=columns[3] if width > 3 else None,
        scores=_scores(columns[4], "column 5") if width > 4 else None,
    )


def _gff_intervals(lines: list[str]) -> Intervals:
    columns = _columns(lines, "\t", 9)
    names = {name: unquote(name) for name in _names(columns[0])}
    firsts, lasts = _positions(columns[3], "column 4 (start)"), _positions(columns[4], "column 5 (end)")
    if (firsts < 1).any():
        raise _Fault("column 4 (start) holds 0, and GFF3 counts from 1; add 1 to each start")
    if (lasts < firsts).any():
        raise _Fault(f"the end {lasts[0]} is before the start {firsts[0]}; swap them and set the strand")
    _check(firsts - 1, lasts)
    return Intervals.make(
        [names[name] for name in columns[0]],
        firsts - 1,
        lasts,
        _strands(columns[6], "column 7"),
        labels=map(_label, columns[8]),
        scores=_scores(columns[5], "column 6"),
        kinds=columns[2],
    )


def _columns(lines: list[str], separator: str | None, width: int) -> list[Column]:
    rows = [line.split(separator) for line in lines]
    if set(map(len, rows)) != {width}:
        line, found = lines[0][:60], len(rows[0])
        raise _Fault(f"the number of columns in {line!r} is {found}, and has to be {width}; {_ONE_TAB}")
    return list(zip(*rows, strict=True))


def _label(attributes: str) -> str:
    """The Name or ID among the attributes of a GFF3 line, or ''."""
    match = _LABELS[0].search(attributes) or _LABELS[1].search(attributes)
    return unquote(match[1]) if match else ""


def _check(starts: Integers, ends: Integers) -> None:
    if fault := first_fault(starts, ends):
        raise _Fault(fault[1])


def _names(texts: Column) -> Column:
    for name in set(texts):
        if name.split() != [name]:
            raise _Fault(f"column 1 (chromosome) holds {name!r}; {_ONE_TAB}")
    return texts


def _positions(texts: Column, column: str) -> Integers:
    joined = "".join(texts)
    if not (all(texts) and joined.isascii() and joined.isdigit()):
        raise _Fault(
            f"{column} holds {texts[0][:60]!r}, which is no whole number from 0 in plain digits; "
            "write 1000, not 1,000 or 1e3, and one tab and no blank between columns"
        )
    if max(map(len, texts)) > 18:
        raise _Fault(f"{column} holds {texts[0][:60]}, which is past the end of any chromosome")
    return np.fromstring(" ".join(texts), dtype=np.int64, sep=" ")


def _scores(texts: Column, column: str) -> list[float]:
    try:
        return [np.nan if text in (".", "") else number_in(text) for text in texts]
    except ValueError:
        raise _Fault(f"{column} (score) holds {texts[0][:60]!r}; it has to be a number or .") from None


def _strands(texts: Column, column: str) -> Column:
    if set(texts) - _STRANDS:
        raise _Fault(f"{column} (strand) holds {texts[0][:60]!r}; it has to be + or -, or . for neither")
    return texts
