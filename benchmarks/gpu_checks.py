"""What `gpu.py` compares: a GPU with the CPU, what is captured with what is plain, one training with another.

Each check gives lines to read, and whether all is as it has to be.
"""

import time
import warnings
from argparse import Namespace
from typing import Any, NamedTuple

import numpy as np
import torch
from step import BATCH_SIZE, TASKS, Task
from torch import Tensor, nn

from base_model import BaseModel, RegressionModel, choose_device
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.randomness import seed_everything
from helixband.training.batch_metrics import ACCURACY, LABEL_ACCURACY, MSE
from helixband.training.replays import REPLAYS

CLOSE = 1e-4
"""How far losses may be apart, relative to them."""
PASSES = 20
"""Of an evaluation or prediction that is timed."""


class Found(NamedTuple):
    """What a check found."""

    lines: list[str]
    holds: bool


def trained(task: Task, config: dict[str, Any], args: Namespace, epochs: int = 2) -> tuple[BaseModel, Any]:
    seed_everything(0)
    model = task.definition.Model(config, args)
    train = MatrixBatchGenerator(*task.train, BATCH_SIZE, shuffle=True)
    return model, model.fit(train, MatrixBatchGenerator(*task.val), epochs, seed=0)


def agreement(cpu: bool) -> Found:
    """How the losses of two epochs differ: captured, eager, and on the CPU; without dropout."""
    lines, holds = [], True
    for name, make in TASKS.items():
        task = make()
        config = {**task.config, **({"dropout": 0.0} if "dropout" in task.config else {})}
        losses = {}
        for way, on_cpu, training in (
            ("CPU", True, {}),
            ("eager", cpu, {"capture": False}),
            ("captured", cpu, {}),
        ):
            args = Namespace(batch_size=BATCH_SIZE, cpu=on_cpu, seed=0, training=training)
            losses[way] = trained(task, config, args)[1][-1]["train_loss"]
        off = {way: abs(losses[way] / losses["CPU"] - 1) for way in ("eager", "captured")}
        holds &= max(off.values()) <= CLOSE
        lines.append(f"{name}: loss {losses['CPU']:.6f}, eager off by {off['eager']:.1e}, ")
        lines[-1] += f"captured by {off['captured']:.1e}"
    return Found(lines, holds)


def evaluations(cpu: bool) -> Found:
    """Validation and prediction of 20 batches: whether captured and plain numbers are equal, and times.

    Times are µs a batch, without the first passes, in which the shape is captured.
    """
    lines, holds = [], True
    for name, make in TASKS.items():
        task = make()
        chosen = np.resize(np.arange(len(task.val[0])), 20 * BATCH_SIZE)
        x, y = (part[chosen] for part in task.val)
        labelled, unlabelled = (
            MatrixBatchGenerator(*parts, batch_size=BATCH_SIZE) for parts in ((x, y), (x,))
        )
        found, times = {}, {}
        for way in ("plain", "captured"):
            training = {} if way == "captured" else {"capture": False}
            args = Namespace(batch_size=BATCH_SIZE, cpu=cpu, seed=0, training=training)
            model = task.new_model(args)
            found[way] = [(model.evaluate(labelled), model.predict(unlabelled)) for _ in range(3)]
            for step, data in (("evaluate", labelled), ("predict", unlabelled)):
                started = time.perf_counter()
                for _ in range(PASSES):
                    getattr(model, step)(data)
                times[f"{step} {way}"] = (time.perf_counter() - started) / PASSES / 20 * 1e6
        same = all(
            one[0] == other[0] and np.array_equal(one[1], other[1])
            for one, other in zip(*found.values(), strict=True)
        )
        holds &= same
        told = ", ".join(f"{step} {microseconds:.0f} µs" for step, microseconds in times.items())
        lines.append(f"{name}: {'equal' if same else 'DIFFER'}, {len(REPLAYS._kept)} captured; {told}")
    return Found(lines, holds)


class Waiting(nn.Module):
    """A layer that waits for the device, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() > 0 else -x


class Waits(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(10, 8), Waiting(), nn.Dropout(0.5), nn.Linear(8, 1))
        super().init_model(network, optimizer=torch.optim.Adam(network.parameters()))


def fallbacks(cpu: bool) -> Found:
    """What is told of a network that cannot be captured; its dropout draws on, and its training ends well."""
    X = np.random.default_rng(0).random((1000, 10)).astype(np.float32)
    data = MatrixBatchGenerator(X, X[:, :1], BATCH_SIZE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = Waits({}, Namespace(batch_size=BATCH_SIZE, cpu=cpu, seed=0))
        history = model.fit(data, data, 3)
        model.predict(data)
        model.predict(data)
    return Found([str(each.message) for each in told], len(history) == 3 and (cpu or len(told) > 0))


def metrics_of_training(cpu: bool) -> Found:
    """How the metrics of 50 batches of our own models on the device differ from those of NumPy, at most."""
    rng, lines, holds = np.random.default_rng(0), [], True
    of_labels = {MSE: metrics.mse, ACCURACY: metrics.accuracy, LABEL_ACCURACY: mean_over_labels}
    for metric, plain in of_labels.items():
        y_true = rng.integers(0, 2, (50, BATCH_SIZE, 3)[: 2 if metric is ACCURACY else 3]).astype(np.float32)
        y_pred = rng.random((50, BATCH_SIZE, 3)[: y_true.ndim]).astype(np.float32)
        found = metric.on_device(y_true, torch.from_numpy(y_pred).to(choose_device(cpu)))
        assert found is not None
        expected = [plain(*batch) for batch in zip(y_true, y_pred, strict=True)]
        off = np.abs(found[metric.name].numpy(force=True) - expected).max()
        holds &= bool(off <= CLOSE)
        lines.append(f"{metric.name}: {off:.1e}")
    return Found(lines, holds)


def mean_over_labels(y_true: Any, y_pred: Any) -> float:
    return metrics.over_labels(metrics.accuracy, y_true, y_pred).mean


def repeats(cpu: bool) -> Found:
    """Whether two captured trainings, with dropout, are equal bit for bit."""
    lines, holds = [], True
    for name, make in TASKS.items():
        task, args = make(), Namespace(batch_size=BATCH_SIZE, cpu=cpu, seed=0)
        weights = [trained(task, dict(task.config), args)[0].network.state_dict() for _ in range(2)]
        same = all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
        holds &= same
        lines.append(f"{name}: {'equal' if same else 'DIFFER'}")
    return Found(lines, holds)


CHECKS = {
    "agreement": agreement,
    "evaluations": evaluations,
    "fallbacks": fallbacks,
    "metrics": metrics_of_training,
    "repeats": repeats,
}
"""Each by its name; called with whether the CPU is used in the place of a GPU."""
