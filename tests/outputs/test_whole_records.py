"""Prediction on whole records: what is predicted of one does not depend on the others of its file."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base_model import BaseModel
from batch_generator import FastaBatchGenerator
from helixband.errors import DefinitionError
from helixband.outputs import parts
from helixband.outputs.windows import WindowPredictor, predict_windows, try_windows
from helixband.results.directory import Results

RECORDS = ["AACC", "A", "AC", "AAAA", "CA"]
SHARES_OF_A = [0.5, 1, 0.5, 1, 0.5]


class ShareOfA(nn.Module):
    """Of all positions that it is given, how many are A, padding included."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout((x == 0).float().mean(1))


class EachBase(nn.Module):
    """The code of each base as y_pred, and of each pair of neighbours the larger one, as parts, (N, 1, …)."""

    def forward(self, x: Tensor) -> Any:
        codes = x.float().unsqueeze(1)
        return {"y_pred": {"base": codes, "pair": torch.maximum(codes[..., 1:], codes[..., :-1])}}


class WholeNumbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.int()


class Model(BaseModel):
    def init_model(self) -> None:
        super().init_model(self.config.get("network") or ShareOfA(), nn.MSELoss(), None)


def predictor(
    path: Path, records: list[str], network: nn.Module | None = None, debug: bool = False, **options: Any
) -> WindowPredictor:
    path.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(records)))
    data = FastaBatchGenerator(str(path), unequal="bucket")
    model = Model({"network": network} if network else {}, Namespace(cpu=True, debug=debug))
    return WindowPredictor(model, data, **options)


def predicted(of: WindowPredictor, results: Results, chunk_bases: int | None = None) -> Any:
    predict_windows(of, results, "x", {}, ["npy"], chunk_bases=chunk_bases)
    return np.load(results.predictions / "x.npy").tolist()


@pytest.mark.parametrize("more", [[], ["C" * 1000]])
@pytest.mark.parametrize("chunk_bases", [None, 4, 8])
@pytest.mark.parametrize("debug", [False, True])
def test_a_record_is_predicted_as_it_is_alone(
    tmp_path: Path, more: list[str], chunk_bases: int | None, debug: bool
) -> None:
    of = predictor(tmp_path / "x.fa", [*RECORDS, *more], debug=debug)

    assert predicted(of, Results(tmp_path / "results"), chunk_bases)[:5] == SHARES_OF_A


def test_a_record_is_predicted_so_on_both_strands_and_in_passes_with_dropout(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    both = predictor(tmp_path / "x.fa", ["AACC", "A", "TTTT"], both_strands=True)
    passes = predictor(tmp_path / "y.fa", ["AACC", "A", "TTTT"], mc_dropout=400)

    assert predicted(both, results) == [0.25, 0.5, 0.5]
    assert predicted(passes, results) == pytest.approx([0.5, 1, 0], abs=0.2)


def test_a_definition_that_predicts_by_itself_gets_one_batch_in_order(tmp_path: Path) -> None:
    class Own(Model):
        def predict(self, generator: Any) -> Any:
            return torch.cat([torch.from_numpy(x.sum(1)) for x in generator]).numpy()

    of = predictor(tmp_path / "x.fa", ["C", "ACC"])
    own = WindowPredictor(Own({}, Namespace(cpu=True)), of.data)

    assert predicted(own, Results(tmp_path / "results")) == [1 + 4 + 4, 2]


# Predictions along records.


FILLED_UP = {
    ".base": [[[0, 0, 1]], [[0, np.nan, np.nan]], [[3, 2, np.nan]], [[0, 2, 3]]],
    ".pair": [[[0, 1]], [[np.nan, np.nan]], [[3, np.nan]], [[2, 3]]],
}


@pytest.mark.parametrize("chunk_bases", [None, 3])
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_positions_that_a_record_does_not_have_are_nan_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bases: int | None, block_bytes: int
) -> None:
    monkeypatch.setattr(parts, "BLOCK_BYTES", block_bytes)
    of, results = predictor(tmp_path / "x.fa", ["AAC", "A", "TG", "AGT"], EachBase()), Results(tmp_path / "r")

    predict_windows(of, results, "x", {}, ["npy", "h5"], chunk_bases=chunk_bases)

    for name, expected in FILLED_UP.items():
        assert np.array_equal(np.load(results.predictions / f"x{name}.npy"), expected, equal_nan=True)
        with h5py.File(results.predictions / "x.h5") as file:
            assert np.array_equal(file[f"predictions{name}"], expected, equal_nan=True)


def test_a_prediction_along_records_goes_on_after_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BLOCK_BYTES", 16)
    of, results = predictor(tmp_path / "x.fa", ["AAC", "A", "TG", "AGT"], EachBase()), Results(tmp_path / "r")
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        predict_windows(of, results, "x", {}, ["npy"], stop, chunk_bases=3)
    predict_windows(of, results, "x", {}, ["npy"], lambda done, total: told.append(done), chunk_bases=3)

    assert told == [3, 4]
    found = np.load(results.predictions / "x.base.npy")
    assert np.array_equal(found, FILLED_UP[".base"], equal_nan=True)


def test_those_of_some_chromosomes_are_filled_up_to_the_longest_of_all(tmp_path: Path) -> None:
    of = predictor(tmp_path / "x.fa", ["AAC", "A", "TG", "AGT"], EachBase(), chosen=np.array([1, 2]))
    results = Results(tmp_path / "r")

    predict_windows(of, results, "x", {}, ["npy"])

    found = np.load(results.predictions / "x.base.npy")
    assert np.array_equal(found, FILLED_UP[".base"][1:3], equal_nan=True)


def test_whole_numbers_along_records_are_refused_before_any_work(tmp_path: Path) -> None:
    of, told = predictor(tmp_path / "x.fa", ["AAC", "A"], WholeNumbers()), []

    with pytest.raises(DefinitionError, match=r"has the shape \(1,\), and of a longer one \(3,\), .* int32"):
        predict_windows(of, Results(tmp_path / "r"), "x", {}, on_chunk=lambda done, total: told.append(done))
    assert told == []


def test_a_record_that_is_too_short_for_the_network_is_found_before_any_work(tmp_path: Path) -> None:
    network = nn.Sequential(EachBaseAlone(), nn.MaxPool1d(2))

    with pytest.raises(RuntimeError, match="max_pool1d"):
        try_windows(predictor(tmp_path / "x.fa", ["AAC", "AAA", "A"], network), ["npy"], rows=1)


class EachBaseAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().unsqueeze(1)
