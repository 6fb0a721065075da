"""Scores along a genome: read from predictions, drawn as lines of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from helixband.errors import DataError, UsageError
from helixband.report.page import COLOURS, FILL, GAP, INK, Panel, View, fitting, inches, value_axis
from helixband.report.tracks import is_inside
from helixband.sequence.bigwig import opened
from helixband.sequence.intervals import Intervals, regions_of_headers
from helixband.sequence.reading import shown_names

LINES_UP_TO = 8  # more could not be told apart

# Inches: the panel, a row of its legend, a line in it with the space around.
_HEIGHT, _LEGEND_HEIGHT, _LEGEND_LINE = 1.2, 0.17, 0.5
_TITLES = ["name", "start", "end", "strand"]


@dataclass(frozen=True)
class Scores:
    """Scores of N windows, float64 (N, K), NaN where there is none, and the names of the K columns.

    Raises `DataError` where the numbers differ.
    """

    names: tuple[str, ...]
    windows: Intervals
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = len(self.windows), len(self.names)
        if self.values.shape != shape:
            raise DataError(f"scores of {shape[0]} windows and {shape[1]} names, and not {self.values.shape}")


@dataclass(frozen=True)
class Line:
    """A score along a region: x in bases from 0, y NaN between windows that do not touch."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def score_steps(
    windows: Intervals, values: NDArray[np.float64], start: int, end: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of a line of steps from start to end: the score of each window where its middle is the nearest.

    A window that overlaps no other has its whole length. Between windows that do not touch y is NaN, so that
    the line breaks there.

    >>> windows = Intervals.make(["I"] * 3, [0, 10, 40], [20, 30, 50])
    >>> x, y = score_steps(windows, np.array([1.0, 2.0, 3.0]), 5, 45)
    >>> x.tolist()
    [5.0, 15.0, 15.0, 15.0, 30.0, 30.0, 40.0, 45.0]
    >>> y.tolist()
    [1.0, 1.0, 1.0, 2.0, 2.0, nan, 3.0, 3.0]
    """
    order = np.argsort(windows.start + windows.end, kind="stable")
    starts, ends, values = windows.start[order], windows.end[order], values[order]
    middles = (starts + ends) / 2
    borders = np.clip((middles[:-1] + middles[1:]) / 2, starts[1:], ends[:-1])
    overlap = starts[1:] < ends[:-1]
    lefts, rights = starts.astype(np.float64), ends.astype(np.float64)
    lefts[1:][overlap] = rights[:-1][overlap] = borders[overlap]
    kept = (lefts < end) & (rights > start)
    lefts, rights, values = np.maximum(lefts, start)[kept], np.minimum(rights, end)[kept], values[kept]
    between = np.where(np.append(lefts, np.inf)[1:] > rights, np.nan, values)
    x = np.stack([lefts, rights, rights], axis=1)
    y = np.stack([values, values, between], axis=1)
    return x.ravel()[:-1], y.ravel()[:-1]


def score_lines(scores: Scores, chromosome: str, start: int, end: int) -> list[Line]:
    """A line for each column of scores in a region, and for each strand where there are windows of several.

    Raises `DataError` where no score lies in the region, or two are of one window; `UsageError` for more
    than 8 lines.
    """
    here = is_inside(scores.windows, chromosome, start, end)
    windows, values = scores.windows[here], scores.values[here]
    strands = sorted(set(windows.strand.tolist()), reverse=True)
    if len(strands) * len(scores.names) > LINES_UP_TO:
        raise UsageError(
            f"{len(strands) * len(scores.names)} lines of scores could not be told apart; choose at most "
            f"{LINES_UP_TO // len(strands)} of the columns {', '.join(scores.names[:20])}"
        )
    lines = []
    for strand in strands:
        of_strand = windows.strand == strand
        one = windows[of_strand]
        _check_distinct(one)
        suffix = {1: " (+)", -1: " (−)", 0: " (.)"}[strand] if len(strands) > 1 else ""
        for name, column in zip(scores.names, values[of_strand].T, strict=True):
            lines.append(Line(name + suffix, *score_steps(one, column, start, end)))
    if not any(np.isfinite(line.y).any() for line in lines):
        on = shown_names(sorted(set(scores.windows.chromosome_names().tolist())), at_most=5)
        raise DataError(
            f"no score lies in {chromosome}:{start + 1}-{end}; those given are of {len(scores.windows)} "
            f"windows on {on}"
        )
    return lines


def score_limits(lines: list[Line]) -> tuple[float, float]:
    """The range of the axis: 0 to 1 where all scores lie in it, else theirs and a margin."""
    values = np.concatenate([line.y for line in lines])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if 0 <= low and high <= 1:
        return -0.02, 1.02
    margin = 0.05 * (high - low) or 0.5 * abs(high)
    return low - margin, high + margin


def score_panel(lines: list[Line], view: View) -> Panel:
    """The lines over one scale, with a legend above where their names have something to tell."""
    named = len(lines) > 1 or lines[0].name != "score"
    names = [fitting(line.name, view.width - _LEGEND_LINE) for line in lines]
    columns = int(np.clip(view.width / (max(map(inches, names)) + _LEGEND_LINE), 1, len(lines)))
    legend_height = named * _LEGEND_HEIGHT * -(-len(lines) // columns)
    limits = score_limits(lines)

    def draw(axes: Axes) -> None:
        colours = COLOURS if len(lines) > 1 else (INK,)
        for line, name, colour in zip(lines, names, colours, strict=False):
            axes.plot(line.x, line.y, color=colour, linewidth=1.0, label=name)
        if len(lines) == 1 and limits[0] <= 0 <= limits[1]:
            axes.fill_between(lines[0].x, lines[0].y, color=FILL, linewidth=0)
        value_axis(axes, "score", limits)
        if named:
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, frameon=False, borderaxespad=0
            )

    return Panel(_HEIGHT, draw, GAP + legend_height)


def read_scores(path: str, windows: Intervals | None = None, columns: Sequence[str] = ()) -> Scores:
    """The scores in a table of predictions, or of an array of them, .npy (N,) or (N, K), of N `windows`.

    A table has the columns name, start, end (0-based, end-exclusive) and strand, then one or more of scores,
    parted by tabs. A name is that of a chromosome, or all names are regions, such as `chrI:101-200(-)`, and
    then start and end count within them. `columns` are those wanted, all where there are none.

    Raises `DataError` for what is no such table or array, `UsageError` for a column that it does not have
    and an array without windows.
    """
    if not path.endswith(".npy"):
        scores = _scores_of_table(path)
    elif windows is None:
        raise UsageError(
            f"{path} does not say where its scores are: give the windows too, or the .tsv beside it"
        )
    else:
        scores = _scores_of_array(path, windows)
    unknown = [name for name in columns if name not in scores.names]
    if unknown:
        raise UsageError(f"{path} has no column {unknown[0]!r} of scores; it has {shown_names(scores.names)}")
    wanted = tuple(columns) or scores.names
    return Scores(wanted, scores.windows, scores.values[:, [scores.names.index(name) for name in wanted]])


def is_bigwig(path: str) -> bool:
    """Whether the name of a file says that it is bigWig."""
    return path.lower().endswith((".bw", ".bigwig"))


def read_bigwig(path: str, region: tuple[str, int, int], names: Sequence[str]) -> Scores:
    """The scores of a bigWig in a region (chromosome, start, end), whose chromosome it calls by `names`.

    Raises as `helixband.sequence.bigwig.opened`.
    """
    chromosome, start, end = region
    with opened(path, ", or give the .tsv") as track:
        lengths = track.chroms()
        entries = [entry for name in names for entry in track.records(name, start, min(end, lengths[name]))]
    columns = np.array(entries, dtype=np.float64).reshape(-1, 3)
    starts, ends = columns[:, :2].astype(np.int64).T
    windows = Intervals.make([chromosome] * len(columns), starts, ends, source=path)
    return Scores(("score",), windows, columns[:, 2:])


def read_array(path: str) -> NDArray[np.float64]:
    """The numbers in an .npy file; raises `DataError` where it has none."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an array ({error})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise DataError(f"{path}: no array of numbers, but {getattr(values, 'dtype', type(values).__name__)}")
    return values.astype(np.float64)


def _scores_of_array(path: str, windows: Intervals) -> Scores:
    values = read_array(path)
    if values.ndim not in (1, 2) or len(values) != len(windows):
        raise DataError(
            f"{path}: an array of shape {values.shape}, but the {len(windows)} windows of {windows.source} "
            f"have scores ({len(windows)},) or ({len(windows)}, columns)"
        )
    values = values.reshape(len(windows), -1)
    columns = values.shape[1]
    names = ("score",) if columns == 1 else tuple(f"score_{column}" for column in range(columns))
    return Scores(names, windows, values)


def _scores_of_table(path: str) -> Scores:
    try:
        with open(path, encoding="utf-8") as file:
            titles = file.readline().rstrip("\n").split("\t")
            rows = [line.rstrip("\n").split("\t") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    if titles[:4] != _TITLES or len(titles) == 4 or len(set(titles)) < len(titles):
        raise DataError(
            f"{path}, line 1: the columns are {titles[:6]}; scores have name, start, end, strand and one or "
            "more of scores, each by a name of its own, parted by tabs, as --predict writes them"
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(titles):
            raise DataError(f"{path}, line {number}: {len(row)} columns, and line 1 has {len(titles)}")
    if not rows:
        raise DataError(f"{path}: there is no line of scores after the titles")
    names, starts, ends, strands, *columns = zip(*rows, strict=True)
    places = _numbers(path, "start", starts, np.int64), _numbers(path, "end", ends, np.int64)
    windows = _on_chromosomes(Intervals.make(names, *places, strands, source=path))
    pairs = zip(titles[4:], columns, strict=True)
    values = [_numbers(path, title, column, np.float64) for title, column in pairs]
    return Scores(tuple(titles[4:]), windows, np.stack(values, axis=1))


def _numbers(path: str, title: str, texts: tuple[str, ...], dtype: type) -> NDArray[Any]:
    try:
        return np.array(texts, dtype=dtype)
    except ValueError:
        number, text = next(pair for pair in enumerate(texts, 2) if not _is_number(pair[1], dtype))
        raise DataError(f"{path}, line {number}: the {title} {text!r} is no number") from None


def _is_number(text: str, dtype: type) -> bool:
    try:
        np.array(text, dtype=dtype)
    except ValueError:
        return False
    return True


def _on_chromosomes(windows: Intervals) -> Intervals:
    """The same windows on chromosomes, where the names of their records are regions of these."""
    lengths = np.zeros(len(windows.names), dtype=np.int64)
    np.maximum.at(lengths, windows.chromosome, windows.end)
    regions = regions_of_headers(windows.names, lengths)
    if regions is None:  # the last windows need not end where the records do
        regions = _regions_at_least(windows.names, lengths)
    if regions is None:
        return windows
    of = regions[windows.chromosome]
    turned = of.strand == -1
    starts = np.where(turned, of.end - windows.end, of.start + windows.start)
    strands = np.where(turned, -windows.strand, windows.strand).tolist()
    ends = starts + (windows.end - windows.start)
    return Intervals.make(of.chromosome_names(), starts, ends, strands, source=windows.source)


def _regions_at_least(names: Sequence[str], lengths: NDArray[np.int64]) -> Intervals | None:
    """The regions of records that have so many bases or more, (R,); None where a name is no region.

    All count from 0 or all from 1, by what ends more of the records where their last windows end.
    """
    usual = regions_of_headers(names)
    if usual is None:
        return None
    bases = usual.end - usual.start
    possible = [
        [size for size in (own - 1, own, own + 1) if size > 0 and regions_of_headers([name], [size])]
        for name, own in zip(names, bases.tolist(), strict=True)
    ]
    readings = [bases, *(np.array([choose(sizes) for sizes in possible]) for choose in (min, max))]
    able = [sizes for sizes in readings if (sizes >= lengths).all() and regions_of_headers(names, sizes)]
    if not able:
        return usual
    return regions_of_headers(names, max(able, key=lambda sizes: int((sizes == lengths).sum())))


def _check_distinct(windows: Intervals) -> None:
    """Two scores of one window on one strand could not both be drawn."""
    order = np.lexsort((windows.end, windows.start))
    starts, ends = windows.start[order], windows.end[order]
    same = np.flatnonzero((starts[1:] == starts[:-1]) & (ends[1:] == ends[:-1]))
    if len(same):
        raise DataError(f"{windows.told(int(order[same[0]]))} has several scores; give one for each window")
