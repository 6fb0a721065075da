"""Multi-task regression with labels that are missing."""

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import nn, optim

from batch_generator import MatrixBatchGenerator
from helixband import MultiTaskRegressionModel
from helixband.errors import DataError, DefinitionError

NAN = float("nan")


class Model(MultiTaskRegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 2)
        super().init_model(network, optim.Adam(network.parameters(), 0.1))


def model_of(kind: type[MultiTaskRegressionModel] = Model) -> MultiTaskRegressionModel:
    torch.manual_seed(0)
    return kind({}, Namespace(cpu=True, batch_size=50, seed=0))


def table(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """y0 = x0 + 2 x1, y1 = −x2, each missing in half of the rows, and noise of variance 0.01."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = np.stack([x[:, 0] + 2 * x[:, 1], -x[:, 2]], 1) + rng.normal(0, 0.1, (rows, 2))
    return x, np.where(rng.random(y.shape) < 0.5, NAN, y)


def test_of_a_batch_without_labels_only_weight_decay_acts() -> None:
    class Decaying(MultiTaskRegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 2, bias=False)
            nn.init.ones_(network.weight)
            super().init_model(network, optim.SGD(network.parameters(), 0.5, weight_decay=0.5))

    model = model_of(Decaying)
    loss, _ = model.train_step(torch.ones(4, 3), torch.full((4, 2), NAN))
    assert loss == 0
    assert model.network.weight.tolist() == [[0.75] * 3] * 2


def test_the_planted_optimum_is_reached() -> None:
    model = model_of()
    train = MatrixBatchGenerator(*table(300, 0), 50, shuffle=True, allow_nan=True)
    model.fit(train, MatrixBatchGenerator(*table(200, 1), allow_nan=True), 15)
    row = model.history[-1]
    assert row["val_loss"] < 0.0125  # of which 0.01 is the noise
    assert row["val_pearson_label_0"] > 0.99 and row["val_pearson_label_1"] > 0.98


def test_missing_labels_count_nowhere() -> None:
    y_true = np.array([[1.0, 1.0], [2.0, NAN], [3.0, 2.0], [NAN, 3.0]])
    y_pred = np.array([[1.0, 3.0], [2.0, 9.0], [5.0, 2.0], [9.0, 1.0]])
    found = model_of().eval_metrics(y_true, y_pred)
    r = np.corrcoef([1, 2, 3], [1, 2, 5])[0, 1]
    assert found == pytest.approx(
        {
            "mse": (0 + 0 + 4 + 4 + 0 + 4) / 6,
            "mse_label_0": 4 / 3,
            "mse_label_1": 8 / 3,
            "pearson": (r - 1) / 2,
            "pearson_median": (r - 1) / 2,
            "pearson_label_0": r,
            "pearson_label_1": -1.0,
        }
    )


def test_the_loss_of_a_set_is_over_all_its_labels_in_any_batches() -> None:
    x, y = table(30, 2)
    model = model_of()
    y_pred = model.predict(x)
    expected = np.nanmean((y_pred - y) ** 2)
    for batch_size in (None, 7):
        found = model.evaluate(MatrixBatchGenerator(x, y, batch_size, allow_nan=True))
        assert found.loss == pytest.approx(expected, rel=1e-5) == pytest.approx(found.mse, rel=1e-5)


def test_tasks_have_names() -> None:
    class Named(Model):
        label_names = ("expression", "decay")

    found = model_of(Named).eval_metrics(np.ones((3, 2)), np.ones((3, 2)))
    assert {"mse_expression", "pearson_decay"} <= set(found)


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.zeros(5), r"the labels are an array \(5,\) of float64; .* one a task: \(N, T\)"),
        (np.zeros((5, 2, 2)), r"the labels are an array \(5, 2, 2\)"),
        (np.array([["a", "b"]] * 5), r"the labels are an array \(5, 2\) of <U1"),
        ({"y": np.zeros((5, 2))}, "the labels are a dict"),
    ],
)
def test_labels_that_it_is_not_made_for_are_refused(y: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        model_of().check_labels(y)


def test_other_numbers_of_tasks_are_refused() -> None:
    class Named(Model):
        label_names = ("one", "two", "three")

    data = MatrixBatchGenerator(np.zeros((5, 3), np.float32), np.zeros((5, 2)))
    with pytest.raises(
        DefinitionError, match="Named.label_names has 3 names, one, two, three, and y_pred is of 2"
    ):
        model_of(Named).evaluate(data)
    Named.label_names = "ab"
    with pytest.raises(DefinitionError, match="Named.label_names is 'ab'; it has to be a list of names"):
        model_of(Named).evaluate(data)
    Named.label_names = ("one", "two", "one")
    with pytest.raises(DefinitionError, match="Named.label_names has one 2 times; .* another name for each"):
        model_of(Named).evaluate(data)
    with pytest.raises(DefinitionError, match=r"\(5, 3\).*\(5, 2\)"):
        model_of().evaluate(MatrixBatchGenerator(np.zeros((5, 3), np.float32), np.zeros((5, 3))))


DEFINITION = """
import numpy as np
from torch import nn, optim

from helixband import MatrixBatchGenerator, MultiTaskRegressionModel


def table(seed, rows):
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return x, np.where(x[:, :2] < -1, np.nan, x[:, :2])


def get_train_generator(data_dir, batch_size):
    train = MatrixBatchGenerator(*table(0, 60), batch_size, allow_nan=True)
    return train, MatrixBatchGenerator(*table(1, 20), allow_nan=True)


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*table(2, 20), allow_nan=True)


def get_config():
    return {}


class Model(MultiTaskRegressionModel):
    label_names = ["expression", "decay"]

    def init_model(self):
        network = nn.Linear(3, 2)
        super().init_model(network, optim.Adam(network.parameters(), 0.1))
"""


def test_a_run_names_its_tasks(project: Project) -> None:
    project.definition.write_text(DEFINITION)
    done = project.run("--epoch", "2", "--eval")
    assert done.code == 0, done.out + done.err
    assert {"pearson_expression", "mse_decay", "pearson_median"} <= set(project.json("test_result.json"))
    with np.load(project.results / "test_predictions.npz") as kept:
        assert kept["names"].tolist() == ["expression", "decay"]
