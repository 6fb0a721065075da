"""Annotations of a genome, genes or peaks, as arrows and boxes on the rows of a track."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from helixband.report.page import INK, SMALL, Panel, View, beside, inches
from helixband.sequence.intervals import Intervals

SHADES = (0.0, 0.4, 0.65)  # how much white is in the colour of the features on the rows, in turn

_ROW_HEIGHT, _HEIGHT = 0.2, 3.0  # inches, at most, of a row and of a track
_ROWS_FOR_LABELS = 6  # labels to the right of their features may not make more rows
_NARROWEST, _HEAD, _PADDING = 1.5, 5.0, 3.0  # points: of a feature, of an arrow's head, around a label

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Track:
    """Annotations that are drawn together under one name; their `Intervals.names` are the genome's."""

    name: str
    intervals: Intervals


def stack(starts: NDArray[Any], ends: NDArray[Any]) -> NDArray[np.int64]:
    """The row, from 0, of each of N intervals, int64 (N,), so that those on a row do not overlap.

    In the order of their starts, each has the first row that is free: as few rows as there can be.

    >>> stack(np.array([0, 5, 10, 6]), np.array([10, 9, 20, 7])).tolist()
    [0, 1, 0, 2]
    """
    rows = np.zeros(len(starts), dtype=np.int64)
    row_ends: list[float] = []
    for index in np.lexsort((ends, starts)):
        free = (row for row, end in enumerate(row_ends) if end <= starts[index])
        row = next(free, len(row_ends))
        row_ends[row : row + 1] = [ends[index]]
        rows[index] = row
    return rows


def is_inside(intervals: Intervals, chromosome: str, start: int, end: int) -> NDArray[np.bool_]:
    """Which of N intervals lie in a region, with at least one base, bool (N,)."""
    here: NDArray[np.bool_] = intervals.chromosome_names() == chromosome
    return here & (intervals.start < end) & (intervals.end > start)


def track_panel(track: Track, colour: str, view: View) -> Panel:
    """The features of a track that lie in the view, at most 3 inches high.

    Those that overlap are on rows of their own, and in shades of the colour. A feature narrower than can be
    seen is drawn 1.5 points wide around its middle; one of known strand has a head on its 3' end. Its label
    stands in it or to the right of it, or is left out where that would take many rows or leave the view.
    """
    here = is_inside(track.intervals, view.chromosome, view.start, view.end)
    features = _placed(track.intervals[here], view)
    n_rows = int(features.rows.max(initial=0)) + 1
    height = min(_ROW_HEIGHT * n_rows, _HEIGHT)
    colours = [_shaded(colour, SHADES[shade % len(SHADES)]) for shade in features.shades]

    def draw(axes: Axes) -> None:
        axes.set_ylim(n_rows, 0)
        beside(axes, track.name, view)
        outlines = _arrows(features, view)
        axes.add_collection(PolyCollection(outlines, facecolors=colours, edgecolors="white", linewidths=0.4))
        if 72 * height / n_rows >= 1.4 * SMALL:
            _write_labels(axes, features, colours, view)

    return Panel(height, draw)


@dataclass(frozen=True)
class _Features:
    """N features as they are drawn, each an array (N,).

    `lefts` and `rights` are those of the body, without an arrow's head. `labels` are those that there is room
    for, '' for the others; `outside` tells those that stand to the right of the feature.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    lefts: NDArray[np.float64]
    rights: NDArray[np.float64]
    rows: NDArray[np.int64]
    shades: NDArray[np.int64]
    labels: NDArray[Any]
    outside: NDArray[np.bool_]


def _placed(intervals: Intervals, view: View) -> _Features:
    wider = np.maximum(_NARROWEST / view.points_per_base - (intervals.end - intervals.start), 0) / 2
    starts, ends = intervals.start - wider, intervals.end + wider
    heads = np.minimum(_HEAD / view.points_per_base, ends - starts)
    lefts = starts + np.where(intervals.strand < 0, heads, 0)
    rights = ends - np.where(intervals.strand > 0, heads, 0)
    columns = zip(intervals.label, intervals.start.tolist(), intervals.end.tolist(), strict=True)
    labels = np.array(["" if _is_place(*column) else column[0] for column in columns], dtype=object)
    points = np.array([72 * inches(label) + 2 * _PADDING for label in labels], dtype=np.float64)
    widths = points / view.points_per_base
    outside = widths > np.minimum(rights, view.end) - np.maximum(lefts, view.start)
    labels[outside & (ends + widths > view.end)] = ""
    outside &= labels != ""
    shades = stack(starts, ends)
    rows = stack(starts, ends + np.where(outside, widths, 0))
    if rows.max(initial=0) > max(shades.max(initial=0), _ROWS_FOR_LABELS - 1):
        labels[outside] = ""
        rows = shades
    return _Features(starts, ends, lefts, rights, rows, shades, labels, outside)


def _is_place(label: str, start: int, end: int) -> bool:
    """Whether a label has start and end in it and so tells nothing that is not seen.

    >>> _is_place("chr1_100_200", 100, 200), _is_place("peak200", 100, 200)
    (True, False)
    """
    numbers = set(map(int, re.findall("[0-9]+", label)))
    return end in numbers and not numbers.isdisjoint([start, start + 1])


def _arrows(features: _Features, view: View) -> list[NDArray[np.float64]]:
    """N outlines (6, 2), within the view: boxes, or arrows where there is a head."""
    left, right = features.lefts, features.rights
    top, middle, bottom = features.rows + 0.12, features.rows + 0.5, features.rows + 0.88
    x = np.stack([left, right, features.ends, right, left, features.starts], axis=1).clip(
        view.start, view.end
    )
    y = np.stack([top, top, middle, bottom, bottom, middle], axis=1)
    return list(np.stack([x, y], axis=2))


def _write_labels(axes: Axes, features: _Features, colours: list[Colour], view: View) -> None:
    for index in np.flatnonzero(features.labels != ""):
        if features.outside[index]:
            x, side, colour = features.ends[index] + _PADDING / view.points_per_base, "left", INK
        else:
            left, right = max(features.lefts[index], view.start), min(features.rights[index], view.end)
            x, side, colour = (left + right) / 2, "center", _ink_on(colours[index])
        y, text = features.rows[index] + 0.5, features.labels[index]
        axes.text(x, y, text, ha=side, va="center_baseline", color=colour, size=SMALL)


def _shaded(colour: str, white: float) -> Colour:
    red, green, blue = (white + (1 - white) * part for part in to_rgb(colour))
    return red, green, blue


def _ink_on(colour: Colour) -> str:
    """What can be read on a colour, by its luma (ITU-R BT.601)."""
    return "white" if np.dot(colour, [0.299, 0.587, 0.114]) < 0.6 else INK
