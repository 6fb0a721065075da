"""TensorBoard logs: what is in them, and that nothing happens without the package."""

import csv
import errno
import importlib.util
import math
from pathlib import Path

import pytest
from conftest import Project

from helixband.errors import StorageError
from helixband.training.tensorboard import TensorBoardLog, tag_of

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) of each tag, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@needs_tensorboard
def test_each_epoch_is_logged_under_its_names_where_it_is_defined(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.add(
            {"epoch": 1, "train_loss": 0.5, "val_loss": 0.75, "val_pr_auc": math.nan, "reward": -math.inf}
        )
        log.add({"epoch": 2, "train_loss": 0.25, "val_loss": 0.5, "val_pr_auc": 0.125, "reward": -0.5})
    assert scalars(tmp_path) == {
        "loss/train": [(1, 0.5), (2, 0.25)],
        "loss/val": [(1, 0.75), (2, 0.5)],
        "pr_auc/val": [(2, 0.125)],
        "reward": [(2, -0.5)],
    }


EVERYTHING = """
import torch
from torch import nn
import base_model
from base_model import TrainingOptions
from helixband.training.schedules import LinearSchedule

class Model(base_model.BaseModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
        decay = LinearSchedule(start=0.0, end=0.1, duration=2)
        groups = [{"params": network[0].parameters(), "lr": 0.01}, {"params": network[2].parameters()}]
        optimizer = torch.optim.AdamW(groups, lr=0.02, weight_decay=decay)
        options = TrainingOptions(
            clip_norm=LinearSchedule(start=1.0, end=3.0, duration=2), nan="skip", ema_decay=0.9
        )
        super().init_model(network, nn.MSELoss(), optimizer, training=options)

    def compute_loss(self, y_pred_loss, y):
        return {"error": self.criterion(y_pred_loss, y), "size": 0.01 * y_pred_loss.square().mean()}

    def train_metrics(self, y_true, y_pred):
        return {"spread": float(y_pred.std())}

    eval_metrics = train_metrics

    def on_epoch_end(self, row):
        row["own_column"] = 2.0 * row["epoch"]

    def get_hyperband_reward(self, result):
        return -result["val_loss"]
"""
TAGS = {
    *(f"{name}/{part}" for name in ("loss", "error", "size", "spread") for part in ("train", "val")),
    *("skipped/train", "gradient_norm/L2", "averaged", "own_column", "reward", "seconds"),
    *("lr", "lr/1", "hp/weight_decay", "hp/weight_decay_1", "hp/clip_norm"),
}


@needs_tensorboard
def test_a_training_logs_every_column_of_its_rows(project: Project) -> None:
    project.define(EVERYTHING)
    assert project.run("--epoch", "3", "--batch-size", "20").code == 0
    with (project.results / "trials" / "single" / "train_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = scalars(project.results / "logs" / "single")
    assert found.keys() == TAGS
    assert {tag_of(column) for column in rows[0]} == TAGS | {"epoch"}
    for column in rows[0].keys() - {"epoch"}:
        expected = [
            (int(row["epoch"]), pytest.approx(float(row[column]), rel=1e-5, abs=1e-6)) for row in rows
        ]
        assert found[tag_of(column)] == expected
    assert found["lr/1"] == [(1, 0.02), (2, 0.02), (3, 0.02)]
    assert found["hp/clip_norm"] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    steps = [value for _, value in found["averaged"]]
    assert steps == [steps[0], 2 * steps[0], 3 * steps[0]] and steps[0] > 0


@needs_tensorboard
def test_a_continued_training_replaces_the_epochs_it_does_again(tmp_path: Path) -> None:
    for first, value in ((1, 0.5), (2, 0.25)):
        with TensorBoardLog(tmp_path) as log:
            for epoch in range(first, first + 2):
                log.add({"epoch": epoch, "reward": value})
    assert scalars(tmp_path) == {"reward": [(1, 0.5), (2, 0.25), (3, 0.25)]}


@needs_tensorboard
def test_a_log_that_cannot_be_closed_is_an_error_of_the_disk(tmp_path: Path) -> None:
    def fails() -> None:
        close()
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StorageError, match=f"cannot write to {tmp_path}: Input/output error"):
        with TensorBoardLog(tmp_path) as log:
            log.add({"epoch": 1, "reward": 0.5})
            close, log._writer.close = log._writer.close, fails


def test_a_log_of_nothing_makes_no_file(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path / "logs"):
        pass
    assert not (tmp_path / "logs").exists()


def test_without_the_package_nothing_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with TensorBoardLog(tmp_path / "logs") as log:
        log.add({"epoch": 1, "reward": 0.5})
    assert not (tmp_path / "logs").exists()
