"""Prediction on windows of sequences: what is written, whatever the chunks, and after any interruption."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from base_model import BaseModel
from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.errors import DataError, DefinitionError, HelixbandError, StorageError
from helixband.outputs import FORMATS, bigwig, blocks, rows
from helixband.outputs.windows import WindowPredictor, bases_of_window, predict_windows, try_windows
from helixband.results.directory import Results
from helixband.sequence.alphabet import PROTEIN

pybigtools: Any = None
with contextlib.suppress(ModuleNotFoundError):
    import pybigtools
needs_pybigtools = pytest.mark.usefixtures("tracks")


@pytest.fixture
def tracks() -> None:
    pytest.importorskip("pybigtools")


A, C, G, T = range(4)
GENOME = ">chr2 the larger\nAAAACCCCAA\nAAGG\n>chr1\nAACGTTTT\n"
RANDOM_GENOME = "".join(
    f">chr{number}\n{''.join('ACGT'[code] for code in codes)}\n"
    for number, codes in enumerate(np.random.default_rng(0).integers(0, 4, (3, 700)))
)


class Counting(nn.Module):
    """Scores that one can count: how many there are of some bases, and what is made of these."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        counts = torch.stack([(x == base).sum(1) for base in (A, C, G, T)], dim=1).float()
        return {
            "A": lambda: counts[:, A],
            "A and C": lambda: counts[:, [A, C]],
            "table of two by two": lambda: counts.reshape(-1, 2, 2),
            "parts": lambda: {"y_pred": {"A": counts[:, A], "others": (counts[:, C], counts[:, [G, T]])}},
            "A at random": lambda: self.dropout(counts[:, A]),
            "logarithm of A": lambda: counts[:, A].log(),
            "nothing finite": lambda: counts[:, A] * float("nan"),
            "each base": lambda: x.float(),
            "each base, twice of C": lambda: x.float().repeat(1, 1 + int(x[0, 0])),
        }[self.what]()


class Counter(BaseModel):
    def init_model(self) -> None:
        super().init_model(Counting(self.config["what"]), nn.MSELoss(), None)


class Stopped(Exception):
    """As a run is stopped, somewhere."""


def model(what: str) -> BaseModel:
    return Counter({"what": what}, Namespace(cpu=True))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def genome(tmp_path: Path) -> str:
    path = tmp_path / "x.fa"
    path.write_text(GENOME)
    return str(path)


@pytest.fixture
def random_genome(tmp_path: Path) -> str:
    path = tmp_path / "random.fa"
    path.write_text(RANDOM_GENOME)
    return str(path)


def names(results: Results) -> list[str]:
    return sorted(str(path.relative_to(results.predictions)) for path in results.predictions.rglob("*"))


def contents(results: Results) -> dict[str, bytes]:
    return {name: (results.predictions / name).read_bytes() for name in names(results)}


def track(path: Path) -> dict[str, list[tuple[int, int, float]]]:
    with pybigtools.open(str(path)) as file:
        return {name: list(file.records(name)) for name in file.chroms()}


def stop_after(chunks: int) -> Any:
    seen: list[int] = []

    def on_chunk(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) > chunks:
            raise Stopped

    return on_chunk


# What is written.


def test_each_window_has_a_row(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    written = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {})

    assert [path.name for path in written] == ["x.fa.npy", "x.fa.tsv"]
    assert names(results) == ["x.fa.npy", "x.fa.tsv"]
    assert np.load(written[0]).tolist() == [4, 0, 4, 2, 0]
    assert written[1].read_text() == (
        "name\tstart\tend\tstrand\tscore\n"
        "chr2\t0\t4\t+\t4\n"
        "chr2\t4\t8\t+\t0\n"
        "chr2\t8\t12\t+\t4\n"
        "chr1\t0\t4\t+\t2\n"
        "chr1\t4\t8\t+\t0\n"
    )


def test_the_array_is_the_file_that_numpy_writes(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["npy"])

    expected = io.BytesIO()
    np.save(expected, np.array([4, 0, 4, 2, 0], dtype=np.float32))
    assert written.read_bytes() == expected.getvalue()
    assert np.load(written, mmap_mode="r")[2] == 4


def test_windows_that_are_filled_up_end_with_their_record(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=6, incomplete="pad")

    predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {})

    table = (results.predictions / "x.fa.tsv").read_text().splitlines()
    assert table[1:] == [
        "chr2\t0\t6\t+\t4",
        "chr2\t6\t12\t+\t4",
        "chr2\t12\t14\t+\t0",
        "chr1\t0\t6\t+\t2",
        "chr1\t6\t8\t+\t0",
    ]


def test_intervals_of_a_genome_keep_their_order_and_strand(
    results: Results, genome: str, tmp_path: Path
) -> None:
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t0\t4\ta\t0\t-\nchr2\t0\t4\tb\t0\t+\n")
    data = IntervalBatchGenerator(genome, bed)

    predict_windows(WindowPredictor(model("A"), data), results, "x.bed", {})

    table = (results.predictions / "x.bed.tsv").read_text().splitlines()
    assert table[1:] == ["chr1\t0\t4\t-\t0", "chr2\t0\t4\t+\t4"]  # CGTT has no A


def test_the_strands_are_averaged(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    written = predict_windows(WindowPredictor(model("A"), data, both_strands=True), results, "x.fa", {})

    assert np.load(written[0]).tolist() == [2, 0, 2, 1, 2]
    assert written[1].read_text().splitlines()[1:3] == ["chr2\t0\t4\t.\t2", "chr2\t4\t8\t.\t0"]


def test_several_scores_have_a_column_each(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    written = predict_windows(WindowPredictor(model("A and C"), data), results, "x.fa", {})

    assert np.load(written[0]).tolist() == [[4, 0], [0, 4], [4, 0], [2, 1], [0, 0]]
    assert written[1].read_text().splitlines()[:3] == [
        "name\tstart\tend\tstrand\tscore_0\tscore_1",
        "chr2\t0\t4\t+\t4\t0",
        "chr2\t4\t8\t+\t0\t4",
    ]


def test_predictions_of_more_dimensions_are_an_array_alone(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    written = predict_windows(WindowPredictor(model("table of two by two"), data), results, "x.fa", {})

    assert names(results) == ["x.fa.npy"]
    assert np.load(written[0])[3].tolist() == [[2, 1], [1, 0]]


def test_parts_are_an_array_each(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    predict_windows(WindowPredictor(model("parts"), data), results, "x.fa", {})

    shapes = {path.name: np.load(path).shape for path in results.predictions.iterdir()}
    assert shapes == {"x.fa.A.npy": (5,), "x.fa.others.0.npy": (5,), "x.fa.others.1.npy": (5, 2)}


def test_passes_with_dropout_have_a_mean_and_a_spread(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)
    predictor = WindowPredictor(model("A at random"), data, mc_dropout=200)

    predict_windows(predictor, results, "x.fa", {}, ["npy"])

    # Half of the passes give 0, the others double.
    assert np.load(results.predictions / "x.fa.npy") == pytest.approx([4, 0, 4, 2, 0], abs=1)
    assert np.load(results.predictions / "x.fa.std.npy") == pytest.approx([4, 0, 4, 2, 0], abs=0.5)


def test_the_spread_over_both_strands_is_that_of_all_passes(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)
    predictor = WindowPredictor(model("A at random"), data, both_strands=True, mc_dropout=200)

    predict_windows(predictor, results, "x.fa", {}, ["npy"])

    # AAAA gives 0 or 8 on its own strand, and 0 on the other: 0, 0, 0, 8.
    assert np.load(results.predictions / "x.fa.npy")[0] == pytest.approx(2, abs=0.5)
    assert np.load(results.predictions / "x.fa.std.npy")[0] == pytest.approx(12**0.5, abs=0.4)


def test_hdf5_has_the_arrays_and_the_places(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    (written,) = predict_windows(WindowPredictor(model("A and C"), data), results, "x.fa", {}, ["h5"])

    with h5py.File(written) as file:
        assert {name: file[name][:].tolist() for name in file} == {
            "predictions": [[4, 0], [0, 4], [4, 0], [2, 1], [0, 0]],
            "name": [b"chr2", b"chr2", b"chr2", b"chr1", b"chr1"],
            "start": [0, 4, 8, 0, 4],
            "end": [4, 8, 12, 4, 8],
            "strand": [b"+"] * 5,
        }
        assert file["name"].asstr()[0] == "chr2"
        assert file["predictions"].dtype == np.float32


def test_hdf5_has_a_dataset_for_each_part(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    (written,) = predict_windows(WindowPredictor(model("parts"), data), results, "x.fa", {}, ["h5"])

    with h5py.File(written) as file:
        assert {"predictions.A", "predictions.others.0", "predictions.others.1"} < set(file)


# Tracks.


@needs_pybigtools
def test_a_track_has_the_scores_of_windows_side_by_side(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])

    assert names(results) == ["x.fa.bw"]
    assert track(written) == {
        "chr2": [(0, 4, 4.0), (4, 8, 0.0), (8, 12, 4.0)],
        "chr1": [(0, 4, 2.0), (4, 8, 0.0)],
    }


@needs_pybigtools
def test_several_scores_have_a_track_each(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    written = predict_windows(WindowPredictor(model("A and C"), data), results, "x.fa", {}, ["bw"])

    assert [path.name for path in written] == ["x.fa.0.bw", "x.fa.1.bw"]
    assert track(written[1])["chr1"] == [(0, 4, 1.0), (4, 8, 0.0)]


@needs_pybigtools
@pytest.mark.parametrize("block_rows", [1, 2, 3, 100])
def test_where_windows_overlap_a_track_has_their_mean(
    results: Results, genome: str, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", block_rows)
    data = FastaBatchGenerator(genome, window=4, stride=2, incomplete="pad")

    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])

    # chr1 is AACGTTTT: AACG 2, CGTT 0, TTTT 0.
    assert track(written)["chr1"] == [(0, 2, 2.0), (2, 4, 1.0), (4, 6, 0.0), (6, 8, 0.0)]
    # chr2 is AAAACCCCAAAAGG: AAAA 4, AACC 2, CCCC 0, CCAA 2, AAAA 4, AAGG 2.
    means = [4.0, 3.0, 1.0, 1.0, 3.0, 3.0, 2.0]
    assert track(written)["chr2"] == [(2 * i, 2 * i + 2, mean) for i, mean in enumerate(means)]


@needs_pybigtools
def test_intervals_in_any_order_make_a_track(
    results: Results, genome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigwig, "BLOCK_ROWS", 1)
    bed = tmp_path / "x.bed"
    lines = ["chr1 4 8 . 0 +", "chr2 2 6 . 0 +", "chr1 0 4 . 0 +", "chr2 0 4 . 0 +", "chr2 0 4 . 0 -"]
    bed.write_text("\n".join(lines).replace(" ", "\t"))
    data = IntervalBatchGenerator(genome, bed)

    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.bed", {}, ["bw"])

    assert track(written) == {
        "chr2": [(0, 2, 2.0), (2, 4, 2.0), (4, 6, 2.0)],
        "chr1": [(0, 4, 2.0), (4, 8, 0.0)],
    }


@needs_pybigtools
def test_windows_with_gaps_between_them_make_a_track_with_zoom_levels(
    results: Results, tmp_path: Path
) -> None:
    (tmp_path / "x.fa").write_text(">chr1\n" + "ACGT" * 6000)
    data = FastaBatchGenerator(str(tmp_path / "x.fa"), window=101, stride=400)

    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])

    assert track(written)["chr1"] == [(start, start + 101, 26.0) for start in range(0, 23_600 + 1, 400)]
    with pybigtools.open(str(written)) as file:
        assert file.zooms()


@needs_pybigtools
def test_a_score_that_is_not_finite_leaves_a_gap(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)

    (written,) = predict_windows(WindowPredictor(model("logarithm of A"), data), results, "x.fa", {}, ["bw"])

    assert [place[:2] for place in track(written)["chr2"]] == [(0, 4), (8, 12)]


@needs_pybigtools
def test_a_track_without_a_finite_score_is_refused(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)
    predictor = WindowPredictor(model("nothing finite"), data)

    with pytest.raises(DataError, match="no score is a finite number"):
        predict_windows(predictor, results, "x.fa", {}, ["bw"])


@needs_pybigtools
def test_a_track_that_pybigtools_gave_up_is_not_kept(
    results: Results, genome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """As pybigtools is on a full disk: it prints, and returns."""

        def write(self, chroms: Any, vals: Any) -> None:
            next(iter(vals))

    opened = pybigtools.open
    monkeypatch.setattr(pybigtools, "open", lambda path, mode="r": Full() if mode == "w" else opened(path))
    data = FastaBatchGenerator(genome, window=4)

    with pytest.raises(StorageError, match=r"cannot write .*x\.fa\.bw: pybigtools"):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])
    assert "x.fa.bw" not in names(results)


@needs_pybigtools
def test_a_track_at_which_pybigtools_panics_is_told(
    results: Results, genome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        pass

    def panic(path: str, mode: str) -> None:
        raise PanicException

    monkeypatch.setattr(pybigtools, "open", panic)
    data = FastaBatchGenerator(genome, window=4)

    with pytest.raises(StorageError, match=r"cannot write .*x\.fa\.bw: pybigtools"):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])


MANY = "".join(f">c{number}\nACGTTTAA\n" for number in range(3000))


@needs_pybigtools
def test_a_track_of_many_records_is_read_back_once_and_not_record_by_record(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, modes = pybigtools.open, []

    def write_only(path: str, mode: str = "r") -> Any:
        modes.append(mode)
        return opened(path, mode)

    monkeypatch.setattr(pybigtools, "open", write_only)
    (tmp_path / "many.fa").write_text(MANY)
    data = FastaBatchGenerator(str(tmp_path / "many.fa"), window=4)
    (written,) = predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])
    assert modes == ["w"]
    with opened(str(written)) as track:
        assert len(track.chroms()) == 3000
        assert list(track.records("c2999")) == [(0, 4, 1.0), (4, 8, 2.0)]


@needs_pybigtools
def test_a_signal_ends_the_reading_back_of_a_track(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, entries = [], blocks.Blocks.entries

    def interrupted(self: blocks.Blocks) -> Any:
        for block in entries(self):
            read.append(block)
            monkeypatch.setattr("helixband.interruption._pending", [signal.SIGINT])
            yield block

    monkeypatch.setattr(blocks.Blocks, "entries", interrupted)
    (tmp_path / "many.fa").write_text(MANY)
    data = FastaBatchGenerator(str(tmp_path / "many.fa"), window=4)
    with pytest.raises(KeyboardInterrupt):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])
    assert len(read) == 1
    assert [name for name in names(results) if "bw" in name] == []


def track_of(path: Path) -> list[tuple[str, int, int, float]]:
    """Write a bigWig of two records, of which one has gaps; its entries."""
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.integers(1, 30, (2, 5000)), axis=1)
    starts = ends - 1
    starts[0, 1:] = ends[0, :-1]
    scores = rng.random((2, 5000)).astype(np.float32)
    made = [
        (name, *entry)
        for name, *columns in zip("ba", starts.tolist(), ends.tolist(), scores.tolist(), strict=True)
        for entry in zip(*columns, strict=True)
    ]
    pybigtools.open(str(path), "w").write({"b": 200_000, "a": 200_000}, iter(made))
    return made


@needs_pybigtools
def test_blocks_of_a_track_are_what_pybigtools_reads(tmp_path: Path) -> None:
    made = track_of(tmp_path / "x.bw")
    with open(tmp_path / "x.bw", "rb") as file, pybigtools.open(str(tmp_path / "x.bw")) as track:
        found = blocks.Blocks(file)
        numbers = found.names()
        assert [(numbers[n], *entry) for n, part in found.entries() for entry in part.tolist()] == made
        assert list(found.zoomed()) == [
            sum(entry[2]["bases_covered"] for name in "ab" for entry in track.zoom_records(zoom, name))
            for zoom in track.zooms()
        ]
        assert (len(track.zooms()) > 0, found.summary[0]) == (True, track.info()["summary"]["basesCovered"])


@needs_pybigtools
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 0.99, "cut"])
def test_a_track_that_is_damaged_as_it_is_written_is_not_kept(
    results: Results, genome: str, monkeypatch: pytest.MonkeyPatch, share: float | str
) -> None:
    opened = pybigtools.open

    class Faulty:
        def __init__(self, path: str) -> None:
            self.path = path

        def write(self, chroms: Any, vals: Any) -> None:
            opened(self.path, "w").write(chroms, vals)
            content = bytearray(Path(self.path).read_bytes())
            if share == "cut":
                del content[-20:]
            else:
                place = int(float(share) * len(content))
                content[place : place + 4] = (byte ^ 255 for byte in content[place : place + 4])
            Path(self.path).write_bytes(content)

    monkeypatch.setattr(pybigtools, "open", lambda path, mode: Faulty(path))
    with pytest.raises(StorageError, match=r"cannot write .*x\.fa\.bw: pybigtools"):
        data = FastaBatchGenerator(genome, window=4, stride=1)
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])
    assert "x.fa.bw" not in names(results)


@needs_pybigtools
def test_a_signal_ends_the_writing_of_a_track(
    results: Results, genome: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = FastaBatchGenerator(genome, window=4)
    asked = []

    def entries(self: Any, blocks: Any) -> Any:
        yield "chr2", 0, 4, 1.0
        asked.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr("helixband.outputs.bigwig._Track.entries", entries)

    with pytest.raises(KeyboardInterrupt):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["bw"])
    assert asked
    assert [name for name in names(results) if "bw" in name] == []
    assert capfd.readouterr().err == ""


def test_where_pybigtools_is_missing_the_remedy_is_told_first(
    results: Results, genome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pybigtools", None)
    data = FastaBatchGenerator(genome, window=4)

    with pytest.raises(HelixbandError, match=r"install it with: pip install pybigtools"):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {}, ["npy", "bw"])
    assert names(results) == []


@st.composite
def windows_in_order(draw: st.DrawFn) -> tuple[list[int], int, list[float]]:
    starts = sorted(draw(st.lists(st.integers(0, 40), min_size=1, max_size=12)))
    scores = draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=len(starts), max_size=len(starts)))
    return starts, draw(st.integers(1, 12)), scores


@given(windows_in_order())
def test_the_mean_at_each_base_is_that_of_the_windows_over_it(
    windows: tuple[list[int], int, list[float]],
) -> None:
    starts, length, scores = windows
    first, last, means = bigwig.averaged(
        np.array(starts), np.array(starts) + length, np.array(scores, dtype=np.float64)
    )

    found = {
        base: mean
        for start, end, mean in zip(first.tolist(), last.tolist(), means.tolist(), strict=True)
        for base in range(start, end)
    }
    over = {
        base: [score for start, score in zip(starts, scores, strict=True) if start <= base < start + length]
        for base in range(60)
    }
    assert found == pytest.approx({base: np.mean(values) for base, values in over.items() if values})
    assert (np.diff(first) > 0).all() and (last[:-1] <= first[1:]).all()


def test_a_small_score_is_not_lost_beside_a_large_one() -> None:
    starts = np.array([0, 10, 20])

    means = bigwig.averaged(starts, starts + 10, np.array([1e20, 1e-20, 1e20]))[2]

    assert means.tolist() == [1e20, 1e-20, 1e20]


# What cannot be written.


class Along(Counter):
    def other_strand(self, y_pred: Any, turned: Any) -> Any:
        return turned(y_pred)


class Scores(Counter):
    def other_strand(self, y_pred: Any, turned: Any) -> Any:
        return y_pred


@pytest.mark.parametrize("kind", [Counter, Along])
@pytest.mark.parametrize("options", [{"window": 4}, {"unequal": "bucket"}])
def test_a_track_of_each_position_of_a_window_is_refused_before_any_work(
    genome: str, kind: type[BaseModel], options: dict[str, Any]
) -> None:
    data = FastaBatchGenerator(genome, **options)
    predictor = WindowPredictor(kind({"what": "each base"}, Namespace(cpu=True)), data)

    with pytest.raises(DataError, match=r"bw has scores of whole windows.* ask for npy or tsv or h5\. If"):
        try_windows(predictor, ["npy", "bw"], rows=2)
    try_windows(predictor, ["npy", "tsv", "h5"], rows=2)


@needs_pybigtools
def test_scores_as_many_as_bases_have_a_track_each_if_the_model_says_that_they_are_scores(
    results: Results, genome: str
) -> None:
    data = FastaBatchGenerator(genome, window=2)
    predictor = WindowPredictor(Scores({"what": "A and C"}, Namespace(cpu=True)), data)

    predict_windows(predictor, results, "x", {}, ["bw"])

    assert names(results) == ["x.0.bw", "x.1.bw"]


@needs_pybigtools
@pytest.mark.parametrize(
    ("what", "formats", "message"),
    [
        ("table of two by two", ["npy", "bw"], "bw has one or more scores .* y_pred has 3 dimensions"),
        ("table of two by two", ["tsv"], "tsv has one or more scores .* y_pred has 3 dimensions"),
        ("parts", ["bw"], r"bw has .* y_pred has the parts \.A, \.others\.0, \.others\.1; ask for npy or h5"),
    ],
)
def test_a_format_that_cannot_hold_the_predictions_is_refused_at_the_first_chunk(
    results: Results, genome: str, what: str, formats: list[str], message: str
) -> None:
    data = FastaBatchGenerator(genome, window=4)
    told: list[int] = []

    with pytest.raises(DataError, match=message):
        predict_windows(
            WindowPredictor(model(what), data),
            results,
            "x.fa",
            {},
            formats,
            lambda done, total: told.append(done),
        )
    assert told == [0]
    assert names(results) == []


class Complex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.complex((x == A).sum(1).float(), (x == C).sum(1).float())


class EightBits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x == A).sum(1).to(torch.float8_e4m3fn)


def of_network(network: nn.Module) -> BaseModel:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(network, nn.MSELoss(), None)

    return Model({}, Namespace(cpu=True))


@pytest.mark.parametrize("formats", [["npy", "tsv"], ["bw"]])
def test_complex_scores_are_refused_before_any_work_where_no_format_has_them(
    results: Results, genome: str, formats: list[str]
) -> None:
    predictor = WindowPredictor(of_network(Complex()), FastaBatchGenerator(genome, window=4))
    with pytest.raises(DefinitionError, match=r"y_pred is complex64, .*: ask for npy or h5 alone, or have"):
        try_windows(predictor, formats, 2)
    (written,) = predict_windows(predictor, results, "x.fa", {}, ["npy"])
    assert np.load(written)[0] == 4 + 0j


def test_scores_of_eight_bits_become_floats_of_single_precision(results: Results, genome: str) -> None:
    predictor = WindowPredictor(of_network(EightBits()), FastaBatchGenerator(genome, window=4))
    predict_windows(predictor, results, "x.fa", {})
    scores = np.load(results.predictions / "x.fa.npy")
    assert (scores.dtype, scores.tolist()[0]) == (np.float32, 4)


def test_both_strands_need_a_complement(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "p.fa"
    path.write_text(">p\nMKLV\n")
    data = FastaBatchGenerator(str(path), alphabet=PROTEIN)

    with pytest.raises(DataError, match=r"p\.fa: .* has no complement"):
        predict_windows(WindowPredictor(model("A"), data, both_strands=True), results, "p.fa", {})


def test_predictions_of_several_shapes_are_refused(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGTCCGT\n")
    data = FastaBatchGenerator(str(path), window=4)

    with pytest.raises(DefinitionError, match=r"windows 1 to 2 .*\[8\].* before them .*\[4\]"):
        predict_windows(
            WindowPredictor(model("each base, twice of C"), data), results, "x.fa", {}, chunk_bases=4
        )


def test_whole_records_are_in_chunks_by_their_own_lengths(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    lengths = [10] * 30 + [300] + [10] * 30
    path.write_text("".join(f">{number}\n{'A' * length}\n" for number, length in enumerate(lengths)))
    data = FastaBatchGenerator(str(path), unequal="bucket")
    told: list[int] = []

    predict_windows(
        WindowPredictor(model("A"), data),
        results,
        "x.fa",
        {},
        on_chunk=lambda done, total: told.append(done),
        chunk_bases=600,
    )

    assert told == [0, 30, 32, 61]
    assert np.load(results.predictions / "x.fa.npy").tolist() == lengths


def test_whole_records_go_on_from_the_last_whole_chunk(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    lengths = np.random.default_rng(0).integers(1, 60, 50).tolist()
    path.write_text("".join(f">{number}\n{'A' * length}\n" for number, length in enumerate(lengths)))
    data = FastaBatchGenerator(str(path), unequal="bucket")
    predictor = WindowPredictor(model("A at random"), data, mc_dropout=3)
    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, chunk_bases=200)

    with pytest.raises(Stopped):
        predict_windows(predictor, results, "x", {}, on_chunk=stop_after(4), chunk_bases=200)
    told: list[int] = []
    predict_windows(
        predictor, results, "x", {}, on_chunk=lambda done, total: told.append(done), chunk_bases=200
    )

    assert told[0] > 0
    assert contents(results) == contents(Results(tmp_path / "whole"))


@needs_pybigtools
def test_the_files_are_told_before_one_is_touched(results: Results, genome: str) -> None:
    data = FastaBatchGenerator(genome, window=4)
    told: list[str] = []

    def tell(files: list[Path]) -> None:
        assert not any(file.exists() for file in files)
        told.extend(file.name for file in files)

    formats = ["bw", "tsv", "npy", "h5"]
    predict_windows(WindowPredictor(model("A and C"), data), results, "x", {}, formats, before_writing=tell)

    assert told == ["x.npy", "x.tsv", "x.h5", "x.0.bw", "x.1.bw"]
    assert sorted(told) == names(results)


def test_a_place_that_cannot_be_written_is_told(results: Results, genome: str) -> None:
    results.predictions.write_text("in the way")
    data = FastaBatchGenerator(genome, window=4)

    with pytest.raises(StorageError, match=r"cannot write .*predictions"):
        predict_windows(WindowPredictor(model("A"), data), results, "x.fa", {})


@pytest.mark.parametrize("kind", [*(kind for kind in FORMATS if kind != "bw"), "part"])
def test_a_full_disk_is_told_and_what_is_predicted_kept(
    results: Results, random_genome: str, tmp_path: Path, kind: str
) -> None:
    data = FastaBatchGenerator(random_genome, window=20, stride=1)
    predictor = WindowPredictor(model("A"), data)
    formats = ["npy" if kind == "part" else kind]
    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, formats)
    filling, before = {"part": 1000}.get(kind, data.n_examples), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done: int, total: int) -> None:
        if done >= filling:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))

    try:
        with pytest.raises(StorageError, match=r"cannot write .*predictions/x.*: File too large"):
            predict_windows(predictor, results, "x", {}, formats, fill, chunk_bases=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {name.split("/")[0] for name in names(results)} == {"x.part"}
    told: list[int] = []
    predict_windows(
        predictor, results, "x", {}, formats, lambda done, _: told.append(done), chunk_bases=10_000
    )

    assert told[0] == (1000 if kind == "part" else data.n_examples)
    assert contents(results) == contents(Results(tmp_path / "whole"))


# Chunks and interruptions.


@needs_pybigtools
@pytest.mark.parametrize("chunk_bases", [1, 40, 210, 10**6])
def test_the_outputs_do_not_depend_on_the_chunks(
    results: Results, random_genome: str, tmp_path: Path, chunk_bases: int
) -> None:
    data = FastaBatchGenerator(random_genome, window=20, stride=10)
    predictor = WindowPredictor(model("A and C"), data, both_strands=True)
    formats = list(FORMATS)

    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, formats)
    predict_windows(predictor, results, "x", {}, formats, chunk_bases=chunk_bases)

    assert contents(results) == contents(Results(tmp_path / "whole"))


@needs_pybigtools
@pytest.mark.parametrize("chunks", [0, 1, 4])
@pytest.mark.parametrize("torn", [0, 1, 7])
def test_a_run_that_was_interrupted_gives_the_same(
    results: Results, random_genome: str, tmp_path: Path, chunks: int, torn: int
) -> None:
    data = FastaBatchGenerator(random_genome, window=20)
    predictor = WindowPredictor(model("A at random"), data, mc_dropout=3, seed=5)
    formats = list(FORMATS)
    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, formats, chunk_bases=400)

    with pytest.raises(Stopped):
        predict_windows(predictor, results, "x", {}, formats, stop_after(chunks), chunk_bases=400)
    if chunks:
        with open(results.predictions / "x.part" / "0", "ab") as file:
            file.write(b"\xff" * torn)
    told: list[tuple[int, int]] = []
    predict_windows(
        predictor, results, "x", {}, formats, lambda *counts: told.append(counts), chunk_bases=400
    )

    assert [done for done, _ in told] == list(range(chunks * 20, 105, 20)) + [105]
    assert {total for _, total in told} == {105}
    assert contents(results) == contents(Results(tmp_path / "whole"))


def test_a_chunk_that_one_of_several_arrays_has_is_predicted_again(
    results: Results, random_genome: str, tmp_path: Path
) -> None:
    predictor = WindowPredictor(model("parts"), FastaBatchGenerator(random_genome, window=20))
    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, chunk_bases=400)

    with pytest.raises(Stopped):
        predict_windows(predictor, results, "x", {}, on_chunk=stop_after(2), chunk_bases=400)
    os.truncate(results.predictions / "x.part" / "1", 4 * 20)
    told: list[int] = []
    predict_windows(
        predictor, results, "x", {}, on_chunk=lambda done, total: told.append(done), chunk_bases=400
    )

    assert told[0] == 20
    assert contents(results) == contents(Results(tmp_path / "whole"))


def test_a_run_that_was_stopped_as_it_wrote_predicts_nothing_again(
    results: Results, random_genome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = WindowPredictor(model("A"), FastaBatchGenerator(random_genome, window=20))

    def stop(*_: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.table.write_table", stop)
        with pytest.raises(Stopped):
            predict_windows(predictor, results, "x", {})
    told: list[int] = []
    predict_windows(predictor, results, "x", {}, on_chunk=lambda done, total: told.append(done))

    assert told == [105]
    assert names(results) == ["x.npy", "x.tsv"]


@pytest.mark.parametrize("other", ["facts", "strands", "windows", "chunks", "sequences"])
def test_what_depends_on_something_else_is_begun_anew(
    results: Results, random_genome: str, other: str
) -> None:
    data = FastaBatchGenerator(random_genome, window=20)
    with pytest.raises(Stopped):
        predict_windows(
            WindowPredictor(model("A"), data),
            results,
            "x",
            {"weights": "1"},
            on_chunk=stop_after(2),
            chunk_bases=400,
        )
    facts, chunk_bases = {"weights": "2" if other == "facts" else "1"}, 380 if other == "chunks" else 400
    if other == "sequences":
        Path(random_genome).write_text(RANDOM_GENOME.replace("A", "C", 1))
        data = FastaBatchGenerator(random_genome, window=20)
    if other == "windows":
        data = FastaBatchGenerator(random_genome, window=20, stride=19)
    told: list[int] = []

    predict_windows(
        WindowPredictor(model("A"), data, both_strands=other == "strands"),
        results,
        "x",
        facts,
        on_chunk=lambda done, total: told.append(done),
        chunk_bases=chunk_bases,
    )

    assert told[0] == 0
    assert names(results) == ["x.npy", "x.tsv"]


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {here!r}]
from test_genome_prediction import *

def kill(done, total):
    if done >= 60:
        os.kill(os.getpid(), signal.SIGKILL)

data = FastaBatchGenerator({genome!r}, window=20)
predictor = WindowPredictor(model("A at random"), data, mc_dropout=3)
predict_windows(predictor, Results({results!r}), "x", {{}}, on_chunk=kill, chunk_bases=400)
"""


def test_a_run_that_was_killed_gives_the_same(results: Results, random_genome: str, tmp_path: Path) -> None:
    data = FastaBatchGenerator(random_genome, window=20)
    predictor = WindowPredictor(model("A at random"), data, mc_dropout=3)
    predict_windows(predictor, Results(tmp_path / "whole"), "x", {}, chunk_bases=400)

    places = {"tests": str(ROOT / "tests"), "here": str(Path(__file__).parent)}
    code = KILLED.format(**places, genome=random_genome, results=str(results.path))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert json.loads((results.predictions / "x.part" / "facts.json").read_text())["facts"]["window"] == 20
    told: list[int] = []
    predict_windows(
        predictor, results, "x", {}, on_chunk=lambda done, total: told.append(done), chunk_bases=400
    )

    assert told[0] == 60
    assert contents(results) == contents(Results(tmp_path / "whole"))


def test_a_signal_that_got_lost_stops_the_next_chunk(
    results: Results, random_genome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = WindowPredictor(model("A"), FastaBatchGenerator(random_genome, window=20))
    pending: list[int] = []
    monkeypatch.setattr("helixband.interruption._pending", pending)

    def ask(done: int, total: int) -> None:
        if done == 40:
            pending.append(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        predict_windows(predictor, results, "x", {}, on_chunk=ask, chunk_bases=400)
    assert names(results) == ["x.part", "x.part/0", "x.part/checksums", "x.part/facts.json"]


def test_the_pace_counts_the_bases_of_overlapping_windows_once(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">a\n" + "ACGT" * 250 + "\n")
    (tmp_path / "p.bed").write_text("a\t0\t100\na\t50\t150\na\t900\t1000\n")
    windows = FastaBatchGenerator(f"{tmp_path}/g.fa", window=100, stride=10)
    assert bases_of_window(windows) == 10
    assert bases_of_window(FastaBatchGenerator(f"{tmp_path}/g.fa", window=100, stride=200)) == 100
    assert bases_of_window(FastaBatchGenerator(f"{tmp_path}/g.fa", unequal="bucket")) == 1000
    peaks = IntervalBatchGenerator(f"{tmp_path}/g.fa", f"{tmp_path}/p.bed")
    assert bases_of_window(peaks) == pytest.approx(250 / 3)
