"""Letters drawn to heights: sequences, weights of bases, motifs.

A is green, C blue, G orange and T red, and the highest letter of a position stands at the far end, as in
sequence logos (Schneider and Stephens 1990, Nucleic Acids Research 18:6097). Letters of negative height hang
below the axis, upside down.
"""

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError

COLOURS = {"A": "#109648", "C": "#255c99", "G": "#f7a11a", "T": "#d62839", "U": "#d62839"}
OTHER_COLOUR = "#9a9a9a"

_FONT = FontProperties(family="DejaVu Sans", weight="bold")  # matplotlib brings it along
_MARGIN = 0.04  # on each side of a letter, as a share of its base

Heights = NDArray[np.float64]


def one_hot(sequence: str, letters: str = "ACGTN") -> Heights:
    """Heights (L, len(letters)) that spell a sequence: 1 for its letter, 0 for the others.

    >>> one_hot("GA", "ACGT").tolist()
    [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    """
    spelled: Heights = np.array(list(sequence))[:, None] == np.array(list(letters))
    return spelled.astype(np.float64)


def letter_heights(heights: ArrayLike, letters: str = "ACGT") -> Heights:
    """`heights` as float64 (L, len(letters)).

    Raises `DataError` where the shape is another, there is no position, or a height is not finite.
    """
    array: Heights = np.array(heights, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(letters) or not len(array):
        raise DataError(f"heights of letters have the shape (L, {len(letters)}), and not {array.shape}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        position = int(np.argmin(finite))
        raise DataError(f"heights of letters have to be finite; position {position} has {array[position]}")
    return array


def draw_logo(axes: Axes, heights: ArrayLike, letters: str = "ACGT", start: float = 0) -> None:
    """Draw `heights` (L, len(letters)), position i from x = start + i to start + i + 1.

    At a position the letters stand on one another, the highest at the far end, those of positive height
    upwards from 0 and those of negative height downwards. Sets the limits of both axes. The copies of a
    letter are one patch, whose `gid` is the letter. Raises as `letter_heights` does.
    """
    heights = letter_heights(heights, letters)
    bottoms = stacked(heights)
    positions = start + np.arange(len(heights), dtype=np.float64)
    for letter, height, bottom in zip(letters, heights.T, bottoms.T, strict=True):
        drawn = np.flatnonzero(height)
        if len(drawn):
            path = _copies(letter, positions[drawn], bottom[drawn], height[drawn])
            colour = COLOURS.get(letter, OTHER_COLOUR)
            axes.add_patch(PathPatch(path, facecolor=colour, edgecolor="none", linewidth=0, gid=letter))
    tops = bottoms + heights
    axes.set_xlim(start, start + len(heights))
    axes.set_ylim(tops.min(initial=0), tops.max(initial=0) or 1)


def stacked(heights: Heights) -> Heights:
    """Where the letters of `heights` (L, K) begin, (L, K): at a position the lower lie nearer to the axis.

    >>> stacked(np.array([[3.0, 1.0, -1.0, -2.0]])).tolist()
    [[1.0, 0.0, 0.0, -1.0]]
    """
    order = np.argsort(np.abs(heights), axis=1, kind="stable")
    sizes = np.take_along_axis(heights, order, axis=1)
    up, down = np.maximum(sizes, 0), np.minimum(sizes, 0)
    ends = np.where(sizes > 0, up.cumsum(axis=1), down.cumsum(axis=1))
    bottoms = np.empty_like(heights)
    np.put_along_axis(bottoms, order, ends - sizes, axis=1)
    return bottoms


@cache
def _glyph(letter: str) -> Path:
    """A letter that fills the unit square."""
    path = TextPath((0, 0), letter, size=1, prop=_FONT)
    box = path.get_extents()
    vertices = (np.asarray(path.vertices) - [box.x0, box.y0]) / [box.width, box.height]
    return Path(vertices, path.codes)


def _copies(
    letter: str, lefts: NDArray[np.float64], bottoms: NDArray[np.float64], heights: NDArray[np.float64]
) -> Path:
    """One path of a letter at several places."""
    glyph = _glyph(letter)
    scale = np.stack([np.full_like(heights, 1 - 2 * _MARGIN), heights], axis=1)
    origin = np.stack([lefts + _MARGIN, bottoms], axis=1)
    vertices = origin[:, None] + scale[:, None] * np.asarray(glyph.vertices)
    return Path(vertices.reshape(-1, 2), np.tile(np.asarray(glyph.codes), len(lefts)))
