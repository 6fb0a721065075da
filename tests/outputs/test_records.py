"""Prediction on whole records: what is predicted of one does not depend on the others of its file."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base_model import BaseModel
from batch_generator import FastaBatchGenerator
from helixband.outputs.windows import WindowPredictor, predict_windows
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


class Model(BaseModel):
    def init_model(self) -> None:
        super().init_model(ShareOfA(), nn.MSELoss(), None)


def predictor(path: Path, records: list[str], **options: Any) -> WindowPredictor:
    path.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(records)))
    data = FastaBatchGenerator(str(path), unequal="bucket")
    return WindowPredictor(Model({}, Namespace(cpu=True, debug=options.pop("debug", False))), data, **options)


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
