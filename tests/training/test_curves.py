"""Confusion and curves as pictures: what they show, and of which models TensorBoard has them."""

import importlib.util
from typing import Any

import numpy as np
import pytest
from conftest import Project
from test_pictures import images
from torch import nn

from base_model import ClassificationModel
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.metrics.outcomes import outcomes
from helixband.training import curves
from helixband.training.pictures import of_outcomes

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


def made(true: Any, predicted: Any, kind: str = "", names: tuple[str, ...] = ()) -> dict[str, Any]:
    return curves.of_outcomes(np.array(true), np.array(predicted), names, kind)


def test_the_confusion_has_counts_and_the_shares_of_rows() -> None:
    predicted = np.eye(3)[[0, 0, 1, 1, 2]]
    found = made([0, 0, 0, 1, 1], predicted, "classes", ("a", "b", "c"))["confusion"]
    assert found.texts.tolist() == [["2", "1", "0"], ["0", "1", "1"], ["0", "0", "0"]]
    np.testing.assert_allclose(found.values, [[2 / 3, 1 / 3, 0], [0, 0.5, 0.5], [0, 0, 0]], rtol=1e-6)
    assert found.rows == found.columns == ("a", "b", "c")


def test_counts_of_many_classes_are_not_written() -> None:
    found = made(np.arange(25), np.eye(25), "classes")
    assert found["confusion"].texts is None
    assert len([name for name in found if name.startswith("ROC curve/")]) == 3


def test_each_class_has_its_curves_and_the_first_of_two_has_none() -> None:
    three = made([0, 1, 2], np.eye(3), "classes", ("a", "b", "c"))
    assert sorted(three) == sorted(
        [
            "confusion",
            *(f"{curve}/{name}" for name in "abc" for curve in ("ROC curve", "precision and recall")),
        ]
    )
    two = made([0, 1], [0.2, 0.7], "classes", ("out", "in"))
    assert list(two) == ["confusion", "ROC curve/in", "precision and recall/in"]


def test_labels_have_no_confusion_and_numbers_no_picture() -> None:
    labels = made([[0, 1], [1, np.nan], [1, 1]], [[0.1, 0.5], [0.9, 0.5], [0.8, 0.7]], "labels", ("a", "b"))
    assert list(labels) == ["ROC curve/a", "precision and recall/a"]  # of b all that are known are 1
    assert made([0.5, 1.5], [0.25, 1.0]) == {}


def heights(picture: Any) -> list[float]:
    """How much of each column is on the curve or under it."""
    return [float(share) for share in (picture.values > 0).mean(axis=0)]


def test_a_roc_curve_has_its_area_below_it() -> None:
    random = np.random.default_rng(0)
    true = random.random(2000) < 0.3
    score = np.clip(random.random(2000) * 0.6 + 0.4 * true, 0, 1)
    [outcome], _ = outcomes({"": true}, {"": score}, (), "classes")
    [column] = outcome.columns()
    assert np.mean(heights(curves.roc_picture(column))) == pytest.approx(metrics.auroc(true, score), abs=0.03)
    assert np.mean(heights(curves.pr_picture(column))) == pytest.approx(metrics.auprc(true, score), abs=0.03)


def test_the_precision_of_a_recall_is_the_one_that_it_is_reached_with() -> None:
    found = made([1, 0, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], "classes")["precision and recall/class_1"]
    shares = heights(found)
    assert shares[10] == 1.0
    assert shares[40] == pytest.approx(0.4, abs=0.021)


def test_above_a_curve_is_nothing_and_below_it_a_lighter_shade() -> None:
    found = made([0, 1, 0, 1], [0.2, 0.2, 0.8, 0.8], "classes")["ROC curve/class_1"]
    np.testing.assert_allclose(found.values[:, 25][[0, 22, 23, 24, 25, 49]], [0, 0, 1, 1, 0.25, 0.25])


class Classes(ClassificationModel):
    def init_model(self) -> None:
        super().init_model(nn.Linear(2, 2), None)


def test_a_set_that_is_too_large_for_the_report_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    few = MatrixBatchGenerator(np.eye(2, dtype=np.float32), np.array([0, 1]))
    assert "confusion" in of_outcomes(Classes(), few, "classes")
    monkeypatch.setattr("helixband.results.scored.MOST_BYTES", 8)
    assert of_outcomes(Classes(), few, "classes") == {}


DEFINITION = """
import numpy as np
import torch
from torch import nn
import base_model
from batch_generator import MatrixBatchGenerator
from helixband import TokenClassificationModel


def generator(*_):
    random = np.random.default_rng(0)
    x = random.random((30, 4)).astype(np.float32)
    return MatrixBatchGenerator(x, {y}, batch_size=10)


get_val_generator = get_test_generator = generator


def get_train_generator(data_dir, batch_size):
    return generator()


def get_config():
    return {{}}


class Model({kind}):
    def init_model(self):
        network = {network}
        super().init_model(network, torch.optim.SGD(network.parameters(), 0.01))
"""
OF_TWO = {"confusion", "ROC curve/class_1", "precision and recall/class_1"}
MODELS = {
    "classes": ("base_model.ClassificationModel", "(x[:, 0] > 0.5).astype(int)", "nn.Linear(4, 2)", OF_TWO),
    "positions": (
        "TokenClassificationModel",
        "(x > 0.5).astype(int)",
        "nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 4)))",
        OF_TWO,
    ),
    "labels": (
        "base_model.MultiLabelModel",
        "(x[:, :2] > 0.5).astype(np.float32)",
        "nn.Linear(4, 2)",
        {f"{curve}/label_{k}" for k in (0, 1) for curve in ("ROC curve", "precision and recall")},
    ),
    "numbers": ("base_model.RegressionModel", "np.round(x[:, 0])", "nn.Linear(4, 1)", set()),
}


@needs_tensorboard
@pytest.mark.parametrize("name", MODELS)
def test_tensorboard_has_them_after_the_last_epoch(project: Project, name: str) -> None:
    kind, y, network, expected = MODELS[name]
    (project.path / "def.py").write_text(DEFINITION.format(kind=kind, y=y, network=network))
    assert project.run("--epoch", "2").code == 0
    assert images(project.results / "logs" / "single") == {name: [2] for name in expected}
