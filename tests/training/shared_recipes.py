"""Trainings for one process or several. As a script: one of several processes, which trains them all.

57 rows in batches of 7 leave a last batch of one, so that of two processes one has no row of it.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from constraints import MaxNormConstraint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(57, 4)).astype(np.float32)
Y = (X[:, :1] + 2 * X[:, 1:2]).astype(np.float32)
CLASSES = RNG.integers(0, 3, size=57)
WEIGHTS = RNG.integers(1, 5, size=57).astype(np.float32)
MISSING = np.where(RNG.random((57, 2)) < 0.4, np.nan, (X[:, :2] > 0)).astype(np.float32)
EPOCHS = 2


def mlp(outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))


def adam(network: nn.Module) -> optim.Optimizer:
    return optim.Adam(network.parameters(), 0.02)


class Plain(RegressionModel):
    options = TrainingOptions()
    criterion_made: Any = nn.MSELoss()

    def init_model(self) -> None:
        network = mlp()
        super().init_model(network, self.criterion_made, adam(network), training=self.options)


class Sums(Plain):
    """A loss that is a sum has no weight."""

    criterion_made = nn.MSELoss(reduction="sum")


class OwnCriterion(Plain):
    """The losses of batches do not tell that of a set of this one: it sees all outputs."""

    @staticmethod
    def criterion_made(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return (y_true - y_pred).abs().mean()


class EveryPart(Plain):
    options = TrainingOptions(
        accumulate=3,
        clip_norm=0.5,
        clip_value=0.3,
        gradient_norm="L1",
        ema_decay=0.7,
        constraints=[MaxNormConstraint(0.9)],
        patience=1,
        freeze={"0.*": 1},
    )


class Weighted(Plain):
    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        return batch[0][:, :4], batch[1], batch[0][:, 4]


class Ignoring(ClassificationModel):
    """Class weights, and labels to ignore: all of some batches of a process."""

    def init_model(self) -> None:
        network = mlp(3)
        criterion = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), ignore_index=1)
        super().init_model(network, criterion, adam(network))


class Labels(MultiLabelModel):
    def init_model(self) -> None:
        network = mlp(2)
        super().init_model(network, adam(network))


class Named(Plain):
    """Losses with weights of their own, of which each is of the whole batch."""

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        counted = y > 0
        errors = (y_pred_loss - y) ** 2
        return {"all": (errors.sum(), errors.numel()), "high": ((errors * counted).sum(), counted.sum())}


class Skipping(Plain):
    """The loss of one batch is NaN, in one process."""

    options = TrainingOptions(nan="skip", scheduler_interval="step")

    def init_model(self) -> None:
        super().init_model()
        self.scheduler = optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        loss = super().compute_loss(y_pred_loss, y)
        return loss + torch.where((y == Y[30, 0]).any(), torch.nan, 0.0) if self.network.training else loss


class Sometimes(Plain):
    """Parameters that no batch uses, that some do, and that are used for some rows alone."""

    def init_model(self) -> None:
        network = mlp()
        network.never, network.seldom = nn.Linear(1, 1), nn.Linear(4, 1)
        super(Plain, self).init_model(network, nn.MSELoss(), optim.AdamW(network.parameters(), 0.02))

    def forward(self, x: Any) -> dict[str, Any]:
        found = self.network[2](self.network[1](self.network[0](x)))
        rows = x[:, 0] > 1
        if rows.any():
            found = found.index_add(0, rows.nonzero()[:, 0], self.network.seldom(x[rows]))
        return self.split_output(found)


class Own(Plain):
    """A step of its own, by two optimizers in turn, with labels of its own."""

    def init_model(self) -> None:
        network = mlp()
        optimizers = {name: optim.SGD(network[at].parameters(), 0.05) for name, at in (("a", 0), ("b", 2))}
        super(Plain, self).init_model(network, nn.MSELoss(), optimizers)

    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        return x, y * 0.5

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        self.network.train()
        for name in ("a", "b"):
            y_pred = self.network(x)
            loss = self.compute_loss(y_pred, y)
            self.backward(loss)
            self.optimizer_step(name)
        return loss.detach(), y_pred.detach()


class Waiting(Plain):
    """A step of its own that updates after every second batch: at the end of an epoch, gradients wait."""

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        self.seen = getattr(self, "seen", 0) + 1
        y_pred = self.network(x)
        loss = self.compute_loss(y_pred, y)
        self.backward(loss)
        if self.seen % 2 == 0:
            self.optimizer_step()
        return loss.detach(), y_pred.detach()


class Closures(Plain):
    def init_model(self) -> None:
        network = mlp()
        super(Plain, self).init_model(
            network, nn.MSELoss(), optim.LBFGS(network.parameters(), lr=0.1, max_iter=3)
        )


def table(*arrays: Any) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(*arrays, 7, shuffle=True, allow_nan=True)


RECIPES: dict[str, tuple[type[BaseModel], Callable[[], MatrixBatchGenerator]]] = {
    **{kind.__name__: (kind, lambda: table(X, Y)) for kind in (Plain, Sums, OwnCriterion, EveryPart, Named)},
    **{kind.__name__: (kind, lambda: table(X, Y)) for kind in (Skipping, Sometimes, Own, Waiting, Closures)},
    "Weighted": (Weighted, lambda: table(np.hstack([X, WEIGHTS[:, None]]), Y)),
    "Ignoring": (Ignoring, lambda: table(X, CLASSES)),
    "Labels": (Labels, lambda: table(X, MISSING)),
}


def curve(name: str) -> list[dict[str, Any]]:
    """The rows of the epochs of a recipe, which is stopped after the first, and the sum of its weights."""
    kind, data = RECIPES[name]
    model = kind({}, Namespace(cpu=True, batch_size=7))
    model.fit(data(), data(), 1, seed=3)
    last, model = model.engine.record.last, kind({}, Namespace(cpu=True, batch_size=7))
    model.engine.record.last = last  # another process goes on, maybe
    rows = model.fit(data(), data(), EPOCHS, seed=3)
    return [*rows, {"weights": float(sum(each.detach().abs().sum() for each in model.network.parameters()))}]


if __name__ == "__main__":
    from helixband.training.processes import joined

    with joined() as ours:
        assert ours is not None
        with ours.connected(torch.device("cpu")):
            curves = {name: curve(name) for name in RECIPES}
        if ours.rank == 0:
            with open(sys.argv[1], "w", encoding="utf-8") as file:
                json.dump(curves, file)
