"""What the panels of a picture have in common: its scale, the width of text, its style, how it is saved."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from helixband.errors import UsageError
from helixband.files import write_whole

# Colours that readers with colour blindness tell apart: those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color,
# with grey and brown for their black, which is the ink, and their yellow, which is faint in thin lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#a6761d")
INK, GREY, PALE, FILL = "#222222", "#8a8a8a", "#e8e8e8", "#d9d9d9"
SMALL = 7.0  # points: the size of all text but the title and the names of axes
GAP = 0.14  # inches between panels

# By suffix, what a picture says of how and when it was made: nothing, so that it has the same bytes again.
FORMATS: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}

_FONT = FontProperties(family="DejaVu Sans", size=SMALL)  # matplotlib brings it along
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],  # others where an SVG is shown
    "font.size": 8.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",  # text stays text, to be searched and edited
    "svg.hashsalt": "helixband",
}


@dataclass(frozen=True)
class View:
    """A region, 0-based and end-exclusive, and where the axes lie across the figure, in inches."""

    chromosome: str
    start: int
    end: int
    left: float
    width: float

    @property
    def points_per_base(self) -> float:
        return 72 * self.width / (self.end - self.start)


@dataclass(frozen=True)
class Panel:
    """Axes of a height, with `above` left free over them, in inches; `draw` fills them."""

    height: float
    draw: Callable[[Axes], None]
    above: float = GAP


def inches(text: str) -> float:
    """The width of a text of the small size."""
    width: float = text_to_path.get_text_width_height_descent(text, _FONT, ismath=False)[0]
    return width / 72


def fitting(text: str, room: float) -> str:
    """The text, its end left out where it is wider than `room`, inches."""
    kept = len(text)
    while kept > 1 and inches(text) > room:
        kept -= 1
        text = text[:kept] + "…"
    return text


def value_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """A few round values from `low` to `high`, and how they are written."""
    locator = MaxNLocator(nbins=4, steps=[1, 2, 5, 10])
    ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    return ticks, [f"{tick:g}".replace("-", "−") for tick in ticks]


def value_axis(axes: Axes, name: str, limits: tuple[float, float]) -> None:
    """Give axes a scale of values on the left."""
    axes.set_ylabel(name)
    axes.set_ylim(limits)
    axes.spines["left"].set_visible(True)
    axes.tick_params(left=True, labelleft=True)
    axes.set_yticks(*value_ticks(*limits))


def beside(axes: Axes, name: str, view: View) -> None:
    """Write the name of a panel to the left of its axes."""
    name = fitting(name, view.left - 0.15)
    axes.annotate(
        name, (0, 0.5), (-6, 0), "axes fraction", "offset points", ha="right", va="center", size=SMALL
    )


@contextmanager
def style() -> Iterator[None]:
    """Settings of matplotlib that hold for a picture, whatever the user's own are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def picture_format(out: str | os.PathLike[str]) -> str:
    """The suffix of a picture's name, in lower case; raises `UsageError` where it is none of `FORMATS`."""
    suffix = Path(out).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"cannot draw {os.fspath(out)!r}: the name of a picture ends in {' or '.join(FORMATS)}"
        )
    return suffix


def save(figure: Figure, out: str | os.PathLike[str]) -> None:
    """Write a figure, PNG at 200 dots an inch or SVG; the same figure gives the same bytes."""
    suffix, buffer = picture_format(out), io.BytesIO()
    with style():
        figure.savefig(buffer, format=suffix[1:], dpi=200, metadata=FORMATS[suffix])
    write_whole(out, buffer.getvalue())
