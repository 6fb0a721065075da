"""A process that is killed between the batches of an optimizer step: the next one gets the same weights."""

import os
import signal
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.results import checkpoints
from helixband.results.directory import Results, Trial
from helixband.training import keeper
from helixband.training.schedules import LinearSchedule

X = np.random.default_rng(0).random((60, 3), dtype=np.float32)
Y = X.sum(axis=1, keepdims=True)
BATCHES = 6  # an epoch is an optimizer step of four batches, and one of two
EPOCHS = 3


class Accumulating(RegressionModel):
    """Dies by SIGKILL when it sees the batch of a number, counted over all epochs."""

    dies_at: int | None = None
    seen = 0  # which is kept with the model
    options: dict[str, Any] = {}

    def init_model(self) -> None:  # type: ignore[override]
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        lr = LinearSchedule(start=0.01, end=0.1, duration=6, unit="step")
        options = TrainingOptions(accumulate=4, **self.options)
        super().init_model(network, optimizer=optim.Adam(network.parameters(), lr=lr), training=options)

    def prepare_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.seen == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1
        return x + 0.01 * torch.rand_like(x), y


class BySteps(Accumulating):
    def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        output = self.forward(x)
        loss = self.compute_loss(output["y_pred_loss"], y)
        self.backward(loss)
        self.optimizer_step()
        return loss.detach(), output["y_pred"].detach()


def trained(
    kind: type[Accumulating], trial: Trial, dies_at: int | None = None, **options: Any
) -> Accumulating:
    torch.manual_seed(0)
    made = type("Model", (kind,), {"dies_at": dies_at, "options": options})
    model: Accumulating = made({}, Namespace(cpu=True))
    train, val = MatrixBatchGenerator(X, Y, 10, shuffle=True), MatrixBatchGenerator(X[:20], Y[:20])
    model.fit(train, val, EPOCHS, trial)
    return model


def begun(folder: Path) -> Trial:
    trial = Results(folder).trial("single")
    trial.begin_attempt()
    return trial


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A process that is forked has none of the threads of its parent, and would wait for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def killed(kind: type[Accumulating], folder: Path, batch: int, **options: Any) -> None:
    """Train in a process of its own, which is dead before it takes the step that this batch belongs to."""
    pid = os.fork()
    if pid == 0:
        try:
            trained(kind, begun(folder), batch, **options)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "options"),
    [(Accumulating, {}), (BySteps, {}), (Accumulating, {"ema_decay": 0.9, "clip_norm": 0.5, "nan": "skip"})],
    ids=["plain", "a train_step of its own", "with other parts"],
)
def test_a_training_killed_amid_a_group_ends_with_the_weights_of_an_undisturbed_one(
    kind: type[Accumulating], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SECONDS_BETWEEN_WRITES", 0.0)
    expected = trained(kind, begun(tmp_path / "whole"), **options)
    folder = tmp_path / "killed"
    # Amid the group of four in epoch 1, then in epoch 2; amid the group of two in epoch 2, then in epoch 3.
    for batch, epochs_kept in ((2, 0), (BATCHES + 2, 1), (2 * BATCHES - 1, 1), (3 * BATCHES - 1, 2)):
        killed(kind, folder, batch, **options)
        assert Results(folder).trial("single").epochs() == epochs_kept
    found = trained(kind, begun(folder), **options)
    assert found.seen == expected.seen == EPOCHS * BATCHES
    assert found.history == expected.history and found.steps == expected.steps == 2 * EPOCHS
    for name, value in expected.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value), name
    whole, again = (
        checkpoints.load(Results(each).trial("single").last_checkpoint, "single")
        for each in (tmp_path / "whole", folder)
    )
    assert all(torch.equal(whole["network"][name], again["network"][name]) for name in whole["network"])
