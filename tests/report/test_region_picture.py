"""Pictures of a region: where things are drawn, what is left out, and that the files are whole."""

import struct
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from helixband.errors import DataError, UsageError
from helixband.report.logo import COLOURS, draw_logo, one_hot, stacked
from helixband.report.region import draw_region, main, region_figure
from helixband.report.scores import Scores, read_bigwig, read_scores, score_steps
from helixband.report.tracks import Track, stack
from helixband.sequence.intervals import Intervals

REGION = ("I", 1000, 5000)


def intervals(*rows, chromosome="I"):
    """Rows are (start, end), (start, end, strand) or (start, end, strand, label)."""
    rows = [(*row, *(".", "")[len(row) - 2 :]) for row in rows]
    starts, ends, strands, labels = zip(*rows, strict=True)
    return Intervals.make([chromosome] * len(rows), starts, ends, strands, labels=labels)


def genes(*rows):
    return Track("genes", intervals(*rows))


def scores(rows, names=("score",)):
    """Rows are (start, end, strand, score, …)."""
    return Scores(names, intervals(*(row[:3] for row in rows)), np.array([row[3:] for row in rows], float))


def panels(figure: Figure) -> list[Axes]:
    """The axes from top to bottom; those over all of them, which have the positions, are the first."""
    return figure.axes[1:]


def features(axes: Axes) -> list[tuple[float, float, int]]:
    """(start, end, row) of what a track shows."""
    found = []
    for path in axes.collections[0].get_paths():
        box = path.get_extents()
        found.append((float(box.x0), float(box.x1), int(box.y0)))
    return found


def colours(axes: Axes) -> list[str]:
    return [to_hex(colour) for colour in axes.collections[0].get_facecolor()]


def labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts[1:]]  # the first is the track's name


def all_texts(figure: Figure):
    """Every text that is seen, and its box in the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


# Stacking


def test_intervals_that_overlap_have_rows_of_their_own() -> None:
    assert stack(np.array([0, 5, 10, 6, 20]), np.array([10, 9, 20, 7, 30])).tolist() == [0, 1, 0, 2, 0]
    assert stack(np.array([]), np.array([])).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=30))
def test_rows_are_free_of_overlaps_and_as_few_as_can_be(pairs) -> None:
    starts = np.array([start for start, _ in pairs])
    ends = starts + np.array([length for _, length in pairs])

    rows = stack(starts, ends)

    for one, other in combinations(range(len(pairs)), 2):
        if rows[one] == rows[other]:
            assert ends[one] <= starts[other] or ends[other] <= starts[one]
    depth = max(((starts <= place) & (ends > place)).sum() for place in range(80))
    assert rows.max() + 1 == depth


# Logos


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


def letters(axes: Axes) -> dict[str, list[float]]:
    """The box [x0, y0, x1, y1] around the copies of each letter, to two places."""
    boxes = {patch.get_gid(): patch.get_path().get_extents() for patch in axes.patches}
    return {letter: box.extents.round(2).tolist() for letter, box in boxes.items()}


def test_letters_fill_their_bases(axes: Axes) -> None:
    draw_logo(axes, one_hot("GAN"), "ACGTN", start=100)

    assert letters(axes) == {
        "G": [100.04, 0, 100.96, 1],
        "A": [101.04, 0, 101.96, 1],
        "N": [102.04, 0, 102.96, 1],
    }
    assert axes.get_xlim() == (100, 103)
    assert axes.get_ylim() == (0, 1)


def test_letters_have_the_colours_of_the_field(axes: Axes) -> None:
    draw_logo(axes, one_hot("ACGT"), "ACGTN")

    shown = {patch.get_gid(): to_hex(patch.get_facecolor()) for patch in axes.patches}
    assert shown == {letter: COLOURS[letter] for letter in "ACGT"}
    hue = {letter: np.argmax(matplotlib.colors.to_rgb(colour)) for letter, colour in COLOURS.items()}
    assert (hue["A"], hue["C"], hue["T"]) == (1, 2, 0)  # green, blue, red


def test_positive_weights_stand_on_the_axis_and_negative_ones_hang_from_it(axes: Axes) -> None:
    draw_logo(axes, [[1, 3, -1, -2], [0, 0, 0, 0]])

    assert letters(axes) == {
        "A": [0.04, 0, 0.96, 1],
        "C": [0.04, 1, 0.96, 4],
        "G": [0.04, -1, 0.96, 0],
        "T": [0.04, -3, 0.96, -1],
    }
    assert axes.get_xlim() == (0, 2)
    assert axes.get_ylim() == (-3, 4)


def test_a_letter_is_one_patch_wherever_it_stands(axes: Axes) -> None:
    draw_logo(axes, one_hot("ATA", "ACGT"))

    assert sorted(patch.get_gid() for patch in axes.patches) == ["A", "T"]
    assert letters(axes)["A"] == [0.04, 0, 2.96, 1]


@given(st.lists(st.lists(st.integers(-40, 40), min_size=4, max_size=4), min_size=1, max_size=5))
def test_letters_of_a_position_lie_end_to_end(rows) -> None:
    heights = np.array(rows) / 8
    bottoms = stacked(heights)

    for height, bottom in zip(heights, bottoms, strict=True):
        spans = sorted((min(b, b + h), max(b, b + h)) for h, b in zip(height, bottom, strict=True) if h)
        for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
            assert start == pytest.approx(end, abs=1e-9)
        assert max([0, *(end for _, end in spans)]) == pytest.approx(np.maximum(height, 0).sum())
        assert min([0, *(start for start, _ in spans)]) == pytest.approx(np.minimum(height, 0).sum())


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        (np.zeros((3, 5)), r"shape \(L, 4\), and not \(3, 5\)"),
        (np.zeros(4), r"shape \(L, 4\), and not \(4,\)"),
        (np.zeros((0, 4)), r"shape \(L, 4\), and not \(0, 4\)"),
        ([[0, 0, 0, 0], [0, 0, np.nan, 0]], "finite; position 1 has"),
    ],
)
def test_heights_that_are_none_are_refused(axes: Axes, heights, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_logo(axes, heights)


# Tracks


def test_the_axes_are_the_region_and_positions_count_from_1() -> None:
    figure = region_figure(REGION, tracks=[genes((1200, 1500))])

    assert [axes.get_xlim() for axes in figure.axes] == [(1000, 5000)] * 2
    ticks = figure.axes[0].get_xticks().tolist()
    shown = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert dict(zip(shown, ticks, strict=True))["2,000"] == 1999.5  # the middle of [1999, 2000)
    assert "I:1,001–5,000" in [text.get_text() for text in figure.texts]


def test_features_are_drawn_at_their_places_and_cut_at_the_ends_of_the_region() -> None:
    figure = region_figure(REGION, tracks=[genes((900, 1400, "+"), (3000, 3300, "-"), (4500, 5600))])

    assert features(panels(figure)[0]) == [(1000, 1400, 0), (3000, 3300, 0), (4500, 5000, 0)]


def test_what_lies_elsewhere_is_not_drawn() -> None:
    elsewhere = Intervals.concatenate(
        [
            intervals((0, 1000), (5000, 6000), (2000, 2100)),
            intervals((2000, 3000), chromosome="II"),
        ]
    )
    figure = region_figure(REGION, tracks=[Track("genes", elsewhere)])

    assert features(panels(figure)[0]) == [(2000, 2100, 0)]


def test_a_track_without_features_keeps_its_place() -> None:
    figure = region_figure(REGION, tracks=[genes((8000, 9000)), Track("peaks", intervals((2000, 2500)))])

    assert len(panels(figure)) == 2
    assert features(panels(figure)[0]) == []
    assert features(panels(figure)[1]) == [(2000, 2500, 0)]


def test_the_head_of_an_arrow_is_on_the_3_prime_end() -> None:
    figure = region_figure(REGION, tracks=[genes((1500, 2500, "+"), (3000, 4000, "-"), (4200, 4800))])

    forward, reverse, unknown = (path.vertices for path in panels(figure)[0].collections[0].get_paths())
    assert forward[forward[:, 1] == 0.5, 0].tolist() == [2500, 1500]
    assert (forward[:, 0] == 2500).sum() == 1
    assert (reverse[:, 0] == 3000).sum() == 1
    assert (
        (unknown[:, 0] == 4200).sum() == (unknown[:, 0] == 4800).sum() + 1 == 4
    )  # a box; the path is closed


def test_features_that_overlap_are_on_rows_of_their_own_and_shaded_apart() -> None:
    figure = region_figure(
        REGION, tracks=[genes((1000, 3000, "+"), (2000, 2500, "-"), (2200, 4000, "+"), (3000, 3500))]
    )

    axes = panels(figure)[0]
    assert features(axes) == [(1000, 3000, 0), (2000, 2500, 1), (2200, 4000, 2), (3000, 3500, 0)]
    shown = colours(axes)
    assert len(set(shown[:3])) == 3
    assert shown[3] == shown[0]
    assert axes.get_ylim() == (3, 0)


def test_tracks_have_colours_of_their_own() -> None:
    figure = region_figure(REGION, tracks=[genes((2000, 3000)), Track("peaks", intervals((2000, 3000)))])

    assert [colours(axes) for axes in panels(figure)] == [["#0072b2"], ["#d55e00"]]


def test_a_summit_of_one_base_is_wide_enough_to_be_seen() -> None:
    figure = region_figure(("I", 0, 100_000), tracks=[genes((5000, 5001, ".", "summit"))])

    [(start, end, _)] = features(panels(figure)[0])
    points_per_base = 72 * panels(figure)[0].get_position().width * figure.get_figwidth() / 100_000
    assert (end - start) * points_per_base == pytest.approx(1.5)
    assert (start + end) / 2 == 5000.5


def test_a_track_grows_with_its_rows_to_a_limit() -> None:
    def heights(n_rows: int) -> tuple[float, int]:
        figure = region_figure(REGION, tracks=[genes(*[(1500, 4500, "+", "gene")] * n_rows)])
        axes = panels(figure)[0]
        return axes.get_position().height * figure.get_figheight(), len(labels(axes))

    assert heights(1) == (pytest.approx(0.2), 1)
    assert heights(5) == (pytest.approx(1.0), 5)
    assert heights(100) == (pytest.approx(3.0), 0)  # rows too thin to write in


# Labels


def test_a_label_stands_in_its_feature_or_beside_it() -> None:
    figure = region_figure(REGION, tracks=[genes((900, 2000, ".", "GAL1"), (3000, 3010, ".", "peak"))])

    inside, beside = panels(figure)[0].texts[1:]
    assert (inside.get_text(), inside.get_position(), inside.get_ha()) == ("GAL1", (1500, 0.5), "center")
    assert (beside.get_text(), beside.get_ha()) == ("peak", "left")
    assert beside.get_position()[0] > 3010


def test_a_label_beside_its_feature_keeps_others_off_its_row() -> None:
    figure = region_figure(
        REGION, tracks=[genes((2000, 2020, ".", "a long label"), (2050, 2070), (3000, 3020))]
    )

    axes = panels(figure)[0]
    assert features(axes) == [(2000, 2020, 0), (2050, 2070, 1), (3000, 3020, 0)]
    assert len(set(colours(axes))) == 1  # they do not overlap
    assert labels(axes) == ["a long label"]


def test_a_label_that_would_leave_the_region_is_left_out() -> None:
    figure = region_figure(REGION, tracks=[genes((4950, 4960, ".", "at the end"), (900, 1010, ".", "cut"))])

    assert labels(panels(figure)[0]) == ["cut"]


def test_labels_that_would_take_many_rows_are_left_out() -> None:
    def shown(n_features: int) -> tuple[int, int]:
        starts = range(2000, 2000 + 20 * n_features, 20)
        figure = region_figure(REGION, tracks=[genes(*((at, at + 10, ".", "a long label") for at in starts))])
        axes = panels(figure)[0]
        return len(labels(axes)), max(row for _, _, row in features(axes)) + 1

    assert shown(6) == (6, 6)
    assert shown(7) == (0, 1)


def test_a_label_that_tells_a_place_is_left_out() -> None:
    rows = [(2000, 2500, ".", "chr1_2000_2500"), (3000, 3500, ".", "I:3001-3500"), (4000, 4500, ".", "p4000")]
    figure = region_figure(REGION, tracks=[genes(*rows)])

    assert labels(panels(figure)[0]) == ["p4000"]


@given(st.lists(st.tuples(st.integers(0, 5900), st.integers(1, 1500)), min_size=1, max_size=25))
@settings(max_examples=25)  # each draws a figure
def test_labels_overlap_neither_each_other_nor_another_feature(pairs) -> None:
    rows = [(start, start + length, "+-."[start % 3], f"gene{start}") for start, length in pairs]
    figure = region_figure(REGION, tracks=[genes(*rows)])

    axes = panels(figure)[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in axes.texts[1:]]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for text, box in zip(axes.texts[1:], boxes, strict=True):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        if text.get_ha() == "left":
            (x0, y0), (x1, y1) = axes.transData.inverted().transform(box.get_points())
            row = int((y0 + y1) / 2)
            assert not [
                feature
                for feature in features(axes)
                if feature[2] == row and x0 < feature[1] and feature[0] < x1
            ]


def test_no_text_leaves_the_picture() -> None:
    region = ("a_chromosome_of_a_very_long_name_" * 5, 123_456_000, 123_456_789)
    place = intervals((123_456_100, 123_456_700, "+", "gene"), chromosome=region[0])
    names = [f"an output of the network whose name is long, number {number} " * 2 for number in range(5)]
    figure = region_figure(
        region,
        tracks=[Track("a track of a very long name indeed, longer than there is room", place)],
        scores=Scores(tuple(names), place, np.array([[1e6, -2e6, 3e-5, 4, 5]])),
        weights=np.tile([-0.001, 0, 0, 0.0015], (789, 1)),
    )

    for text, box in all_texts(figure):
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


def test_dollar_signs_are_dollar_signs() -> None:
    figure = region_figure(REGION, tracks=[Track("$a$", intervals((1500, 4500, "+", r"\$b_1$")))])

    assert {"$a$", r"\$b_1$"} <= {text for text, _ in all_texts(figure)}


# Scores


def lines(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in panels(figure)[0].lines}


def test_windows_apart_are_drawn_whole() -> None:
    figure = region_figure(REGION, scores=scores([(900, 2000, "+", 0.25), (2000, 3000, "+", 0.75)]))

    shown = lines(figure)["score"]
    assert [pair for pair in shown if pair[0] < 2000] == [(1000, 0.25)]
    assert shown[-2:] == [(2000, 0.75), (3000, 0.75)]


def test_windows_that_overlap_meet_half_way_between_their_middles() -> None:
    windows = intervals((40, 60), (0, 20), (10, 30), (20, 40))

    x, y = score_steps(windows, np.array([4.0, 1.0, 2.0, 3.0]), 0, 60)

    steps = list(dict.fromkeys(zip(x.tolist(), y.tolist(), strict=True)))
    assert steps == [(0, 1), (15, 1), (15, 2), (25, 2), (25, 3), (40, 3), (40, 4), (60, 4)]


def test_a_line_breaks_where_there_is_no_window() -> None:
    x, y = score_steps(intervals((0, 10), (30, 40)), np.array([1.0, 2.0]), 0, 40)

    assert x.tolist() == [0, 10, 10, 30, 40]
    assert np.array_equal(y, [1, 1, np.nan, 2, 2], equal_nan=True)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 40)), min_size=1, max_size=15, unique=True))
def test_steps_go_from_left_to_right_within_their_windows(pairs) -> None:
    windows = intervals(*((start, start + length) for start, length in pairs))

    x, y = score_steps(windows, np.arange(len(pairs), dtype=float), 20, 80)

    assert (np.diff(x) >= 0).all()
    assert ((x >= 20) & (x <= 80)).all()
    for position, value in zip(x, y, strict=True):
        if not np.isnan(value):
            assert windows.start[int(value)] <= position <= windows.end[int(value)]


def test_every_column_is_a_line_with_a_name() -> None:
    figure = region_figure(REGION, scores=scores([(1000, 5000, "+", 3, -1)], names=("heart", "liver")))

    assert lines(figure) == {"heart": [(1000, 3), (5000, 3)], "liver": [(1000, -1), (5000, -1)]}
    legend = panels(figure)[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["heart", "liver"]
    low, high = panels(figure)[0].get_ylim()
    assert low < -1 and high > 3


def test_a_single_score_needs_no_legend() -> None:
    figure = region_figure(REGION, scores=scores([(1000, 5000, "+", 3)]))

    assert panels(figure)[0].get_legend() is None


def test_strands_are_lines_of_their_own() -> None:
    figure = region_figure(REGION, scores=scores([(1000, 5000, "-", 0.25), (1000, 5000, "+", 0.75)]))

    assert lines(figure) == {
        "score (+)": [(1000, 0.75), (5000, 0.75)],
        "score (−)": [(1000, 0.25), (5000, 0.25)],
    }


def test_probabilities_have_the_same_scale_in_every_picture() -> None:
    figure = region_figure(REGION, scores=scores([(1000, 5000, "+", 0.5)]))

    assert panels(figure)[0].get_ylim() == (-0.02, 1.02)
    assert panels(figure)[0].get_yticks().tolist() == [0, 0.5, 1]


def test_missing_scores_are_gaps() -> None:
    figure = region_figure(
        REGION, scores=scores([(1000, 2000, "+", 7), (2000, 3000, "+", np.nan), (3000, 5000, "+", 7)])
    )

    values = dict(lines(figure)["score"])
    assert np.isnan(values[2000]) or np.isnan(values[3000])
    low, high = panels(figure)[0].get_ylim()
    assert low < 7 < high


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            scores([(0, 900, "+", 1)]),
            DataError,
            r"no score lies in I:1001-5000; those given are of 1 windows on I",
        ),
        (scores([(0, 2000, "+", np.nan)]), DataError, "no score lies in I:1001-5000"),
        (
            scores([(0, 2000, "+", 1), (0, 2000, "+", 2)]),
            DataError,
            r"the interval I 0 2000 \(0-based, end-exclusive\) has several scores",
        ),
        (
            scores([(0, 2000, "+", *range(9))], names=tuple("abcdefghi")),
            UsageError,
            "9 lines of scores could not be told apart; choose at most 8 of the columns a, b, c",
        ),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused(given, error, message: str) -> None:
    with pytest.raises(error, match=message):
        region_figure(REGION, scores=given)


def test_scores_have_a_row_for_each_window_and_a_column_for_each_name() -> None:
    with pytest.raises(DataError, match=r"scores of 1 windows and 2 names, and not \(1, 1\)"):
        Scores(("a", "b"), intervals((0, 10)), np.zeros((1, 1)))


# Letters and weights


def test_the_sequence_stands_at_the_bottom() -> None:
    figure = region_figure(("I", 7, 11), tracks=[genes((0, 9, "+"))], sequence="GATN")

    track, sequence = panels(figure)
    assert {letter: box[0] for letter, box in letters(sequence).items()} == {
        "G": 7.04,
        "A": 8.04,
        "T": 9.04,
        "N": 10.04,
    }
    assert sequence.get_position().y1 <= track.get_position().y0


def test_weights_are_drawn_to_one_scale_with_the_region() -> None:
    figure = region_figure(("I", 7, 9), weights=np.array([[0, 2, 0, 0], [0, 0, 0, -1]]))

    assert letters(panels(figure)[0]) == {"C": [7.04, 0, 7.96, 2], "T": [8.04, -1, 8.96, 0]}
    assert panels(figure)[0].get_ylim() == (-1, 2)


def test_weights_of_nothing_are_drawn() -> None:
    figure = region_figure(("I", 7, 9), weights=np.zeros((2, 4)))

    assert letters(panels(figure)[0]) == {}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"sequence": "ACG"}, "sequence of 3 bases, and the region has 4"),
        ({"weights": np.zeros((5, 4))}, "weights of 5 bases, and the region has 4"),
        ({"weights": np.zeros((4, 3))}, r"shape \(L, 4\), and not \(4, 3\)"),
        ({}, "nothing to draw"),
    ],
)
def test_what_does_not_fit_the_region_is_refused(what, message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        region_figure(("I", 7, 11), **what)


# Files


def picture(path: Path) -> bytes:
    draw_region(
        path,
        ("I", 1000, 1100),
        tracks=[genes((900, 1060, "+", "GAL1"), (1020, 1090, "-", "a<b"))],
        scores=scores([(1000, 1100, "+", 0.5)]),
        sequence="ACGT" * 25,
    )
    return path.read_bytes()


def test_a_png_is_as_wide_as_asked_and_as_high_as_it_takes(tmp_path: Path) -> None:
    content = picture(tmp_path / "region.png")

    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert width == 1440  # 7.2 inches of 200 dots
    assert 400 < height < 800


def test_an_svg_holds_its_text_as_text(tmp_path: Path) -> None:
    root = ElementTree.fromstring(picture(tmp_path / "region.SVG"))

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"I:1,001–1,100", "genes", "GAL1", "a<b", "score", "1,020", "position (bp)"} <= texts


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first = picture(tmp_path / f"first{suffix}")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.hashsalt": None, "savefig.dpi": 50}):
        second = picture(tmp_path / f"second{suffix}")

    assert first == second
    assert b"atplotlib v" not in first.split(b"<style")[0]


def test_settings_of_matplotlib_are_left_as_they_were(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)

    picture(tmp_path / "region.svg")

    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["region.pdf", "region"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"cannot draw '.*{name}': the name of a picture ends in .png or .svg"
    ):
        draw_region(tmp_path / name, REGION, tracks=[genes((2000, 3000))])


# Reading scores

TITLES = "name\tstart\tend\tstrand\t"


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "x.tsv"
        path.write_text(text)
        return str(path)

    return write


def places(read: Scores) -> list[tuple[str, int, int, int]]:
    windows = read.windows
    columns = (windows.chromosome_names(), windows.start, windows.end, windows.strand)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_table_of_predictions_is_read(table) -> None:
    read = read_scores(table(TITLES + "score_0\tscore_1\nI\t0\t20\t+\t0.5\t1e-07\nII\t10\t30\t-\tnan\t2\n"))

    assert read.names == ("score_0", "score_1")
    assert places(read) == [("I", 0, 20, 1), ("II", 10, 30, -1)]
    assert np.array_equal(read.values, [[0.5, 1e-7], [np.nan, 2]], equal_nan=True)


def test_records_that_are_regions_are_put_in_their_places(table) -> None:
    read = read_scores(table(TITLES + "score\nI:101-200\t0\t100\t+\t1\nII:1-50(-)\t5\t50\t+\t2\n"))

    assert places(read) == [("I", 100, 200, 1), ("II", 0, 45, -1)]


def test_regions_may_count_from_0_where_lengths_say_so(table) -> None:
    read = read_scores(table(TITLES + "score\nI:100-200\t0\t50\t+\t1\nI:100-200\t50\t100\t+\t1\n"))

    assert places(read) == [("I", 100, 150, 1), ("I", 150, 200, 1)]


@pytest.mark.parametrize(
    ("records", "starts"),
    [
        ([("I:100-200", 90), ("I:300-390", 90)], [100, 300]),  # of the first, the last bases had no window
        ([("I:101-200", 90), ("I:301-390", 90)], [100, 300]),
        ([("I:100-200", 90), ("II:51-150", 100)], [99, 50]),  # which can only count from 1
        ([("x::I:100-200", 90), ("y::II:50-150", 60)], [100, 50]),
    ],
)
def test_all_regions_count_alike_though_windows_end_before_them(table, records, starts) -> None:
    rows = [f"{name}\t0\t30\t+\t1\n{name}\t30\t{end}\t+\t1\n" for name, end in records]
    read = read_scores(table(TITLES + "score\n" + "".join(rows)))

    assert read.windows.start[::2].tolist() == starts


def track(path: Path, entries: list[tuple[str, int, int, float]]) -> str:
    pybigtools = pytest.importorskip("pybigtools")
    pybigtools.open(str(path), "w").write({"chrI": 1000, "chrII": 500}, iter(entries))
    return str(path)


def test_scores_of_a_track_are_read_in_the_region_alone(tmp_path: Path) -> None:
    path = track(tmp_path / "x.bw", [("chrI", 0, 40, 0.5), ("chrI", 40, 60, 0.25), ("chrII", 0, 9, 1.0)])

    read = read_bigwig(path, ("I", 50, 55), ["chrI"])

    assert read.names == ("score",)
    assert set(read.windows.chromosome_names()) == {"I"}
    assert read.values.tolist() == [[0.25]]
    steps = score_steps(read.windows, read.values[:, 0], 50, 55)
    assert [column.tolist() for column in steps] == [[50, 55], [0.25, 0.25]]


def test_a_track_of_ours_is_drawn_whatever_its_chromosomes_are_called(tmp_path: Path) -> None:
    path = track(tmp_path / "x.bw", [("chrI", 0, 40, 0.5), ("chrI", 40, 60, 0.25)])
    (tmp_path / "g.fa").write_text(">I\n" + "ACGT" * 250 + "\n>II\n" + "ACGT" * 125 + "\n")
    command = ["--genome", f"{tmp_path}/g.fa", "--scores", path, "--out", f"{tmp_path}/x.svg"]

    assert main(["I:1-100", *command]) == 1  # names are never guessed
    assert main(["I:1-100", *command, "--aliases", "match"]) == 0
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")
    assert main(["II:1-100", *command, "--aliases", "match"]) == 1


def test_a_file_that_is_no_track_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pybigtools")
    (tmp_path / "x.bw").write_text("not a track")
    with pytest.raises(DataError, match=r"x\.bw: cannot be read as bigWig"):
        read_bigwig(f"{tmp_path}/x.bw", ("I", 0, 5), ["I"])


def test_columns_are_chosen_by_name(table) -> None:
    path = table(TITLES + "a\tb\tc\nI\t0\t20\t+\t1\t2\t3\n")

    read = read_scores(path, columns=["c", "a"])

    assert read.names == ("c", "a")
    assert read.values.tolist() == [[3, 1]]
    with pytest.raises(UsageError, match=r"no column 'd' of scores; it has a, b, c"):
        read_scores(path, columns=["d"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.tsv, line 1: the columns are \[''\]"),
        ("name\tstart\tend\tstrand\nI\t0\t1\t+\n", "line 1: the columns are"),
        (TITLES + "a\ta\nI\t0\t1\t+\t1\t1\n", "line 1: the columns are .* 'a', 'a'.*by a name of its own"),
        (TITLES + "score\n", "no line of scores"),
        (TITLES + "score\nI\t0\t20\t+\n", "line 2: 4 columns, and line 1 has 5"),
        (TITLES + "score\nI\t0\t20\t+\t1\nI\t1.5\t20\t+\t1\n", "line 3: the start '1.5' is no number"),
        (TITLES + "score\nI\t0\t20\t+\tx\n", "line 2: the score 'x' is no number"),
        (TITLES + "score\nI\t20\t0\t+\t1\n", "the end 0 is before the start 20"),
        (TITLES + "score\nI\t0\t20\t*\t1\n", r"the strand is '\*'"),
    ],
)
def test_what_is_no_table_of_scores_is_told(table, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_scores(table(text))


def test_an_array_of_scores_goes_with_its_windows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2], [3, 4]]))
    windows = intervals((0, 10), (10, 20))

    read = read_scores(str(tmp_path / "x.npy"), windows)

    assert read.names == ("score_0", "score_1")
    assert read.values.tolist() == [[1, 2], [3, 4]]
    assert read.windows is windows
    with pytest.raises(UsageError, match="does not say where its scores are"):
        read_scores(str(tmp_path / "x.npy"))
    with pytest.raises(DataError, match=r"shape \(2, 2\), but the 1 windows"):
        read_scores(str(tmp_path / "x.npy"), windows[:1])


def test_an_array_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for content in (b"", b"ACGT"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.npy: cannot be read as an array"):
            read_scores(str(path), intervals((0, 10)))
    np.save(path, np.array(["a"]))
    with pytest.raises(DataError, match=r"x\.npy: no array of numbers, but <U1"):
        read_scores(str(path), intervals((0, 10)))


# The command line

GFF = """##gff-version 3
chrI\tx\tgene\t21\t60\t.\t+\t.\tID=GAL1
chrI\tx\texon\t25\t30\t.\t+\t.\tID=exon1
chrII\tx\tgene\t1\t9\t.\t-\t.\tID=other
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in a folder with a small genome; (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIXBAND_CACHE", str(tmp_path / "cache"))
    (tmp_path / "genome.fa").write_text(">I one\n" + "ACGTN" * 60 + "\n>II\n" + "GGCC" * 5 + "\n")
    (tmp_path / "genes.gff3").write_text(GFF)
    (tmp_path / "peaks.bed").write_text("I\t30\t31\tsummit\n")
    (tmp_path / "scores.tsv").write_text(TITLES + "score\nI\t0\t100\t+\t0.5\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([*arguments, "--genome", "genome.fa"])
        except SystemExit as exit:  # argparse
            code = int(exit.code or 0)
        return code, *capsys.readouterr()

    return run


def svg_texts(path: str) -> set[str]:
    root = ElementTree.parse(path)
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_the_command_line_draws_all_it_is_given(command) -> None:
    annotations = ["--annotations", "genes.gff3", "peaks.bed", "--aliases", "match"]

    code, out, err = command("chrI:11-70", *annotations, "--scores", "scores.tsv", "--out", "region.svg")

    assert (code, out, err) == (0, "written to region.svg\n", "")
    assert {"I:11–70", "genes", "peaks", "GAL1", "exon1", "summit", "score"} <= svg_texts("region.svg")


def test_the_letters_of_a_short_region_are_drawn_alone(command) -> None:
    assert command("I:6-15", "--out", "short.svg")[0] == 0

    gids = {element.get("id") for element in ElementTree.parse("short.svg").iter()}
    assert {"A", "C", "G", "T", "N"} <= gids
    code, _, err = command("I:1-250", "--out", "long.svg")
    assert code == 2
    assert "nothing to draw" in err


def test_features_are_chosen_by_their_types(command) -> None:
    arguments = [
        "I:11-70",
        "--aliases",
        "match",
        "--out",
        "region.svg",
        "--annotations",
        "genes.gff3",
        "peaks.bed",
    ]

    assert command(*arguments, "--kinds", "gene")[0] == 0
    assert {"GAL1", "summit"} <= svg_texts("region.svg")
    assert "exon1" not in svg_texts("region.svg")
    code, _, err = command(*arguments, "--kinds", "mRNA")
    assert code == 2
    assert "genes.gff3 has no feature of the type mRNA; it has exon, gene" in err


def test_arrays_are_drawn_from_files(command) -> None:
    np.save("x.npy", np.array([0.25]))
    np.save("weights.npy", np.ones((10, 4)))

    code, _, err = command(
        "I:26-35", "--scores", "x.npy", "--windows", "peaks.bed", "--weights", "weights.npy", "--out", "x.png"
    )

    assert (code, err) == (0, "")
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["I:11-70", "--out", "region.pdf"], 2, "error: cannot draw 'region.pdf'"),
        (["I:70-11", "--out", "x.png"], 1, "I:70-11"),
        (["I", "--out", "x.png"], 1, "'I' is no region"),
        (
            ["I:290-310", "--out", "x.png"],
            1,
            "the region I:290-310 leaves its chromosome: I has 300 bases in genome.fa",
        ),
        (["III:1-10", "--out", "x.png"], 1, "genome.fa has no chromosome 'III'; it has II"),
        (["chrI:1-10", "--out", "x.png"], 1, "the region says 'chrI', genome.fa says 'I'"),
        (["I:150-200", "--scores", "scores.tsv", "--out", "x.png"], 1, "no score lies in I:150-200"),
        (["I:1-10", "--weights", "none.npy", "--out", "x.png"], 1, "none.npy"),
        (["I:1-10", "--width", "1", "--out", "x.png"], 2, "'1' is not a width from 3 to 40 inches"),
        (["I:1-10", "--width", "wide", "--out", "x.png"], 2, "'wide' is not a width"),
    ],
)
def test_what_cannot_be_drawn_is_told(command, arguments: list[str], code: int, message: str) -> None:
    done, out, err = command(*arguments)

    assert (done, out) == (code, "")
    assert message in err
    assert not Path("x.png").exists()
