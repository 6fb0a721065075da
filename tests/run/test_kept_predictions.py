"""The labels and predictions of the test set that an evaluation leaves for the report."""

import json

import numpy as np
import pytest
from conftest import Project
from toys import CLASSES

from helixband import metrics
from helixband.results import scored
from helixband.results.scored import ScoredSet, read_scored

EVALUATE = ("--epoch", "2", "--eval")

PARTS = """

class Model(Model):
    def split_output(self, output):
        return {"y_pred": {"sum": output, "both": (output, -output)}, "y_pred_loss": output}

    def train_metrics(self, y_true, y_pred):
        return {}

    eval_metrics = train_metrics
"""

LABELS = """

from base_model import MultiLabelModel


def several(seed, rows):
    x, y = table(seed, rows)
    y = np.stack([x[:, 0] > 0, y > 0], axis=1).astype(np.float32)
    y[3, 1] = np.nan
    return x, y


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*several(0, 60), batch_size, shuffle=True, allow_nan=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*several(1, 20), allow_nan=True)


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*several(2, 20), allow_nan=True)


class Model(MultiLabelModel):
    label_names = ["first", "sum"]

    def init_model(self):
        network = nn.Linear(3, 2)
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config["lr"]))
"""


def kept(project: Project) -> ScoredSet:
    return read_scored(project.results / "test_predictions.npz")


def test_a_regression_is_kept(project: Project) -> None:
    assert project.run(*EVALUATE).code == 0
    found = kept(project)
    assert (found.kind, found.names) == ("numbers", ())
    assert (found.true[""].shape, found.predicted[""].shape) == ((20,), (20, 1))
    mse = metrics.mse(found.true[""], found.predicted[""])
    assert mse == pytest.approx(project.json("test_result.json")["mse"], rel=1e-6)


def test_classes_are_kept_with_their_names(project: Project) -> None:
    project.define(CLASSES + '    class_names = ["low", "high"]\n')
    assert project.run(*EVALUATE).code == 0
    found = kept(project)
    assert (found.kind, found.names) == ("classes", ("low", "high"))
    assert found.predicted[""].shape == (20,)  # P(class 1)
    assert metrics.auroc(found.true[""], found.predicted[""]) == project.json("test_result.json")["auroc"]


def test_several_labels_are_kept_with_those_that_are_missing(project: Project) -> None:
    project.define(LABELS)
    assert project.run(*EVALUATE).code == 0
    found = kept(project)
    assert (found.kind, found.names) == ("labels", ("first", "sum"))
    assert np.argwhere(np.isnan(found.true[""])).tolist() == [[3, 1]]
    assert found.predicted[""].shape == (20, 2)


def test_parts_of_predictions_are_kept_by_their_names(project: Project) -> None:
    project.define(PARTS)
    assert project.run(*EVALUATE).code == 0
    found = kept(project)
    assert {name: part.shape for name, part in found.predicted.items()} == {
        ".sum": (20, 1),
        ".both.0": (20, 1),
        ".both.1": (20, 1),
    }
    np.testing.assert_array_equal(found.predicted[".both.1"], -found.predicted[".sum"])


def test_with_dropout_left_on_the_mean_of_the_passes_is_kept(project: Project) -> None:
    project.run(*EVALUATE)
    first = kept(project).predicted[""]
    assert project.run("--eval", "--mc-dropout", "3").code == 0
    found = kept(project)
    assert not np.array_equal(found.predicted[""], first)
    mse = metrics.mse(found.true[""], found.predicted[""])
    assert mse == pytest.approx(project.json("test_result.json")["mse"], rel=1e-6)


def test_names_that_are_not_one_for_each_class_are_told(project: Project) -> None:
    project.define(CLASSES + '    class_names = ["low", "middle", "high"]\n')
    refused = project.run(*EVALUATE)
    assert refused.code == 2
    assert "Model.class_names has 3 names, low, middle, high, and y_pred is of 2" in refused.err
    assert not (project.results / "test_result.json").exists()


def test_what_is_too_large_is_not_kept_and_that_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(*EVALUATE)
    monkeypatch.setattr(scored, "MOST_BYTES", 100)
    (project.results / "test_result.json").unlink()
    done = project.run("--eval")
    assert "not kept for the report: they have 160 bytes, and up to 100 are kept" in done.out
    assert not (project.results / "test_predictions.npz").exists()
    assert "test: done already" in project.run("--eval").out


def test_an_evaluation_of_an_earlier_version_is_done_already(project: Project) -> None:
    project.run(*EVALUATE)
    (project.results / "test_predictions.npz").unlink()
    record = project.json("run.json")
    del record["checksum"], record["digests"]["test_predictions.npz"]
    (project.results / "run.json").write_text(json.dumps(record))
    assert "test: done already" in project.run("--eval").out


def test_what_was_deleted_is_made_again(project: Project) -> None:
    project.run(*EVALUATE)
    whole = (project.results / "test_predictions.npz").read_bytes()
    (project.results / "test_predictions.npz").unlink()
    assert "test: done already" not in project.run("--eval").out
    assert (project.results / "test_predictions.npz").read_bytes() == whole
