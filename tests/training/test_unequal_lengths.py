"""Sets whose batches have labels of unequal lengths: what they are filled up with counts nowhere."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base_model import BaseModel, MultiLabelModel, RegressionModel
from helixband.errors import DataError
from helixband.generators.arrays import filled_up
from helixband.losses import FocalLoss, PoissonLoss
from helixband.metrics import accuracy, at_known
from helixband.tasks import ProfileModel

NAN = float("nan")


class Each(nn.Module):
    """A number for each position, x, (N, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def evaluated(kind: type[BaseModel], *batches: tuple[Any, Any], criterion: Any = None) -> Any:
    class Model(kind):  # type: ignore[misc, valid-type]
        def init_model(self) -> None:
            super().init_model(Each(), criterion)

    return Model().evaluate([(np.array(x, np.float32), np.array(y)) for x, y in batches])


def test_whole_numbers_are_filled_up_with_nan_where_labels_are_numbers() -> None:
    found = evaluated(RegressionModel, ([[1, 2]], [[1, 4]]), ([[0], [4]], [[1], [2]]))
    assert found.mse == found.loss == pytest.approx((0 + 4 + 1 + 4) / 4)
    assert found.pearson == pytest.approx(np.corrcoef([1, 0, 4], [1, 1, 2])[0, 1])


def test_several_labels_are_filled_up_with_nan() -> None:
    found = evaluated(MultiLabelModel, ([[1, -1], [-1, 1]], [[1, 1], [0, 1]]), ([[2], [3]], [[1], [0]]))
    assert found.accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_a_criterion_of_counts_takes_whole_numbers_in_any_model() -> None:
    class Rates(BaseModel):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            assert y_true.tolist() == pytest.approx(np.array([[1.0, 4.0], [2.0, NAN]]), nan_ok=True)
            return {"total": np.nansum(y_true)}

    found = evaluated(Rates, ([[0, 1]], [[1, 4]]), ([[2]], [[2]]), criterion=PoissonLoss())
    assert found.total == 7.0
    with pytest.raises(DataError, match="row 1 of the labels has -100; PoissonLoss takes counts"):
        evaluated(Rates, ([[0, 1]], [[1, 4]]), ([[2]], [[-100]]), criterion=PoissonLoss())


def test_counts_that_the_data_have_as_minus_100_are_refused() -> None:
    class Flat(ProfileModel):
        def init_model(self) -> None:
            network = nn.Module()
            network.forward = lambda x: {"profile": x, "log_count": x.sum(1)}  # type: ignore[assignment]
            super().init_model(network)

    one, two = (torch.zeros(1, 2), torch.tensor([[1, 0]])), (torch.zeros(1, 3), torch.tensor([[1, 0, -100]]))
    with pytest.raises(DataError, match="row 1 of the labels has -100; MultinomialLoss takes counts"):
        Flat().evaluate([one, two])


@pytest.mark.parametrize(("dtype", "filler"), [(np.int64, -100), (np.float32, NAN)])
def test_classes_of_a_model_of_ones_own_are_filled_up_by_their_type(dtype: Any, filler: float) -> None:
    class Classes(BaseModel):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            assert y_true[1].tolist() == pytest.approx([1, filler], nan_ok=True)
            return {"accuracy": accuracy(*at_known(y_true, y_pred))}

    long = ([[[1, 0], [0, 1]]], np.array([[0, 1]], dtype))
    short = ([[[1], [0]]], np.array([[1]], dtype))
    assert evaluated(Classes, long, short, criterion=FocalLoss()).accuracy == pytest.approx(2 / 3)


def test_what_arrays_are_filled_up_with_decides_their_type() -> None:
    parts = [np.array([[1]], np.uint8), np.array([[2, 3]], np.uint8)]
    assert [filled_up(parts, each).dtype for each in (None, -100, NAN)] == ["int16", "int16", "float32"]
    floats = [each.astype(np.float32) for each in parts]
    assert filled_up(floats, -100).tolist() == [[1.0, -100.0], [2.0, 3.0]]


def test_a_model_says_itself_what_its_labels_are_filled_up_with() -> None:
    class Own(BaseModel):
        def init_model(self) -> None:
            self.missing_label = -1
            super().init_model(Each(), nn.L1Loss())

        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            assert y_true.tolist() == [[1, 4], [2, -1]]
            return {"last": y_true[-1, -1]}

    batches = [(np.zeros_like(y, np.float32), y) for y in (np.array([[1, 4]]), np.array([[2]]))]
    assert Own().evaluate(batches).last == -1
