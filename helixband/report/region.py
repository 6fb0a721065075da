"""A picture of a region of a genome: annotations on tracks, the predicted score along it, its letters.

    python -m helixband.report.region chrI:1001-5000 --genome genome.fa --annotations genes.gff3 peaks.bed \\
        --scores results/predictions/genome.fa.tsv --out region.png

It is PNG or SVG, by the suffix of --out, and the same input gives the same bytes. In Python: `draw_region`.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from helixband.errors import DataError, FlagParser, HelixbandError, UsageError, let_output_pass
from helixband.report.logo import Heights, draw_logo, letter_heights, one_hot
from helixband.report.page import (
    COLOURS,
    GREY,
    PALE,
    Panel,
    View,
    fitting,
    inches,
    picture_format,
    save,
    style,
    value_axis,
    value_ticks,
)
from helixband.report.scores import (
    Scores,
    is_bigwig,
    read_array,
    read_bigwig,
    read_scores,
    score_limits,
    score_lines,
    score_panel,
)
from helixband.report.tracks import Track, track_panel
from helixband.sequence import bigwig
from helixband.sequence.alphabet import DNA
from helixband.sequence.chromosomes import on_genome
from helixband.sequence.fasta import NAMES
from helixband.sequence.interval_files import read_intervals
from helixband.sequence.intervals import Intervals, parse_region
from helixband.sequence.reading import shown_names
from helixband.sequence.store import SequenceStore

LETTERS_UP_TO = 200
"""Bases of the longest region whose letters can be read in a picture."""

# Inches.
_TOP, _FOOT, _BOTTOM, _WEIGHTS_HEIGHT, _LETTERS_HEIGHT = 0.24, 0.05, 0.44, 0.9, 0.26


def draw_region(
    out: str | os.PathLike[str],
    region: tuple[str, int, int],
    *,
    tracks: Sequence[Track] = (),
    scores: Scores | None = None,
    sequence: str | None = None,
    weights: NDArray[np.floating] | None = None,
    width: float = 7.2,
) -> None:
    """Draw a region (chromosome, start, end), 0-based and end-exclusive, to a .png or .svg file.

    From top to bottom: `scores`, a line for each column, and for each strand where there are windows of
    several; each of `tracks`, features of known strand as arrows, those that overlap on rows of their own
    and shaded apart, with the labels that there is room for; `weights` (L, 4), the letters A, C, G and T to
    these heights; the letters of `sequence`. The figure is `width` inches wide and as high as it takes.
    Positions are written as genome browsers do, from 1.

    Raises `UsageError` for another suffix, for more than 8 lines, and where there is nothing to draw;
    `DataError` where a length is not the region's, or there are scores and none in the region.
    """
    picture_format(out)
    save(
        region_figure(region, tracks=tracks, scores=scores, sequence=sequence, weights=weights, width=width),
        out,
    )


def region_figure(
    region: tuple[str, int, int],
    *,
    tracks: Sequence[Track] = (),
    scores: Scores | None = None,
    sequence: str | None = None,
    weights: NDArray[np.floating] | None = None,
    width: float = 7.2,
) -> Figure:
    """The figure that `draw_region` writes; x in its axes is the position from 0."""
    chromosome, start, end = region
    weights = None if weights is None else letter_heights(weights)
    for name, bases in (("sequence", sequence), ("weights", weights)):
        if bases is not None and len(bases) != end - start:
            raise DataError(f"{name} of {len(bases)} bases, and the region has {end - start}")
    lines = score_lines(scores, *region) if scores else []
    limits = [score_limits(lines)] if lines else []
    limits += [] if weights is None else [_weights_limits(weights)]
    margins = [inches(label) + 0.36 for pair in limits for label in value_ticks(*pair)[1]]
    left = min(max([0.3, *margins, *(inches(track.name) + 0.2 for track in tracks)]), width / 3)
    right = inches(f"{end:,}") / 2 + 0.06
    view = View(chromosome, start, end, left, width - left - right)
    with style():
        panels = [score_panel(lines, view)] if lines else []
        panels += [track_panel(track, COLOURS[k % len(COLOURS)], view) for k, track in enumerate(tracks)]
        panels += [] if weights is None else [_weights_panel(weights, view)]
        panels += [_letters_panel(sequence, view)] if sequence else []
        if not panels:
            raise UsageError("there is nothing to draw: give annotations, scores, weights or a sequence")
        return _figure(panels, view, width)


def _figure(panels: list[Panel], view: View, width: float) -> Figure:
    """The panels one below the other, over one axis of positions."""
    height = _TOP + sum(panel.above + panel.height for panel in panels) + _FOOT + _BOTTOM
    figure = Figure(figsize=(width, height))
    title = f"{fitting(view.chromosome, view.width / 2)}:{view.start + 1:,}–{view.end:,}"
    figure.text(view.left / width, 1 - 0.1 / height, title, va="top", weight="bold")
    ground = _axes(figure, view, _BOTTOM, height - _TOP - panels[0].above - _BOTTOM)
    ticks = _position_ticks(view)
    ground.set_xticks(ticks - 0.5, [f"{tick:,}" for tick in ticks])
    ground.set_xlabel("position (bp)")
    ground.xaxis.grid(True, color=PALE, linewidth=0.6)
    ground.spines["bottom"].set_visible(True)
    top = height - _TOP
    for panel in panels:
        top -= panel.above + panel.height
        axes = _axes(figure, view, top, panel.height)
        axes.set_xticks([])
        panel.draw(axes)
    return figure


def _axes(figure: Figure, view: View, bottom: float, height: float) -> Axes:
    """Bare axes over the view, `bottom` and `height` in inches."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((view.left / across, bottom / up, view.width / across, height / up))
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, labelleft=False)
    axes.set_xlim(view.start, view.end)
    return axes


def _position_ticks(view: View) -> NDArray[np.int64]:
    """Round positions of bases in the view, from 1; the middle of the base p is x = p - 0.5."""
    room = view.width / inches(f"{view.end:,}")
    locator = MaxNLocator(nbins=int(np.clip(room / 1.7, 1, 8)), integer=True, steps=[1, 2, 2.5, 5, 10])
    ticks = np.unique(np.rint(locator.tick_values(view.start + 1, view.end)).astype(np.int64))
    return ticks[(ticks > view.start) & (ticks <= view.end)]


def _weights_limits(weights: Heights) -> tuple[float, float]:
    low = float(np.minimum(weights, 0).sum(axis=1).min())
    high = float(np.maximum(weights, 0).sum(axis=1).max())
    return low, high if high > low else low + 1


def _weights_panel(weights: Heights, view: View) -> Panel:
    def draw(axes: Axes) -> None:
        draw_logo(axes, weights, start=view.start)
        value_axis(axes, "weight", _weights_limits(weights))
        axes.axhline(0, color=GREY, linewidth=0.6)

    return Panel(_WEIGHTS_HEIGHT, draw)


def _letters_panel(sequence: str, view: View) -> Panel:
    def draw(axes: Axes) -> None:
        draw_logo(axes, one_hot(sequence), "ACGTN", view.start)

    # Letters are at most half as high again as they are wide.
    return Panel(min(_LETTERS_HEIGHT, 1.5 * view.points_per_base / 72), draw)


def make_parser() -> argparse.ArgumentParser:
    """The flags of the command line."""
    parser = FlagParser(
        prog="python -m helixband.report.region",
        description="Draw a region of a genome: annotations, the predicted score along it, its letters.",
        epilog=f"The letters are drawn if the region has at most {LETTERS_UP_TO} bases.",
    )
    add = parser.add_argument
    add("region", metavar="REGION", help="chromosome:first-last, counted from 1, with the last base included")
    add("--genome", metavar="FASTA", required=True, help="the sequences of the genome")
    add("--out", metavar="FILE", required=True, help="the picture, .png or .svg")
    add("--annotations", metavar="FILE", nargs="+", default=[], help="BED or GFF3; each file is a track")
    add(
        "--kinds",
        metavar="TYPE",
        nargs="+",
        default=[],
        help="draw only features of these types from GFF3 files",
    )
    add("--scores", metavar="FILE", help="predictions: .tsv, .bw, or .npy together with --windows")
    add("--windows", metavar="FILE", help="BED or GFF3: the positions of the rows of the .npy")
    add(
        "--columns",
        metavar="NAME",
        nargs="+",
        default=[],
        help="the columns of scores to draw (default: all)",
    )
    add("--weights", metavar="FILE", help="a .npy (bases, 4): the heights of the letters A, C, G and T")
    add("--aliases", metavar="FILE|match", help="other names of chromosomes: a two-column table, or 'match'")
    add("--names", choices=NAMES, default="header", help="number: for a FASTA file that repeats names")
    add("--width", metavar="INCHES", type=_width, default=7.2, help="the width of the picture (default: 7.2)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what the flags say; the exit code."""
    let_output_pass()
    args = make_parser().parse_args(argv)
    try:
        _draw(args)
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"written to {args.out}")
    return 0


def _draw(args: argparse.Namespace) -> None:
    picture_format(args.out)
    chromosome, start, end = parse_region(args.region)
    genome = SequenceStore.open(args.genome, names=args.names)

    def placed(intervals: Intervals) -> Intervals:
        # What is on a chromosome that the genome does not have is not in the region.
        return on_genome(
            intervals, genome.names, genome.lengths, args.aliases, genome=args.genome, missing="drop"
        )

    record = int(placed(Intervals.make([chromosome], [0], [1], source="the region")).chromosome[0])
    if end > genome.lengths[record]:
        raise DataError(
            f"the region {args.region} leaves its chromosome: {genome.names[record]} has "
            f"{genome.lengths[record]:,} bases in {args.genome}"
        )
    tracks = [Track(_track_name(path), placed(_annotations(path, args.kinds))) for path in args.annotations]
    scores = None
    if args.scores and is_bigwig(args.scores):
        # The chromosomes of a track by the genome's names, its own as their labels.
        track = bigwig.chromosomes(args.scores)
        own = placed(track).label[placed(track).chromosome == record]
        scores = read_bigwig(args.scores, (genome.names[record], start, end), own)
    elif args.scores:
        windows = read_intervals(args.windows) if args.windows else None
        scores = read_scores(args.scores, windows, args.columns)
        scores = dataclasses.replace(scores, windows=placed(scores.windows))
    readable = end - start <= LETTERS_UP_TO
    draw_region(
        args.out,
        (genome.names[record], start, end),
        tracks=tracks,
        scores=scores,
        sequence=str(DNA.decode(genome.sequence(record, start, end))) if readable else None,
        weights=read_array(args.weights) if args.weights else None,
        width=args.width,
    )


def _annotations(path: str, kinds: list[str]) -> Intervals:
    intervals = read_intervals(path)
    if not kinds or not intervals.kind.any():  # BED has no types
        return intervals
    chosen = np.isin(intervals.kind, kinds)
    if not chosen.any():
        found = shown_names(sorted(set(intervals.kind)))
        raise UsageError(f"{path} has no feature of the type {' or '.join(kinds)}; it has {found}")
    return intervals[chosen]


def _track_name(path: str) -> str:
    """The name of a file without its directory and suffixes.

    >>> _track_name("data/genes.r64.gff3.gz")
    'genes.r64'
    """
    return Path(path.removesuffix(".gz").removesuffix(".bgz")).stem


def _width(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 3 <= width <= 40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a width from 3 to 40 inches")
    return width


if __name__ == "__main__":
    sys.exit(main())
