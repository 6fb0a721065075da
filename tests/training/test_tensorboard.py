"""TensorBoard logs: what is in them, and that nothing happens without the package."""

import errno
import importlib.util
import math
from pathlib import Path

import pytest

from helixband.errors import StorageError
from helixband.training.tensorboard import TensorBoardLog

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
