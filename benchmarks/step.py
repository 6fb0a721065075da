"""Time the same training by a bare PyTorch loop, by Lightning and by this runner, in turn in one process.

All three train the network of an example from the same weights, on the same batches in memory, with the
same optimizer and constraints, and compute the loss and the same metrics over the validation set after
each epoch. The bare loop does that and nothing else. The runner also computes its metrics of each training
batch, keeps the best weights and its checkpoints, and writes them and the history to a trial's directory.
The first epoch is left out of all times.
"""

import gc
import statistics
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import EXAMPLES, load_script, make_parser, report, setting, table
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from base_model import BaseModel, choose_device
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.randomness import seed_everything
from helixband.results.directory import Row, Trial

try:
    import lightning
except ModuleNotFoundError:
    lightning = None

BATCH_SIZE = 100
SEED = 0
WARM_UP = 3  # epochs, for what a process does once: imports, threads, on a GPU recordings of steps
MAX_NORM = 3.0  # of the classifier's weights in the conv example

Array = NDArray[Any]
Metrics = Callable[[Array, Array], dict[str, float]]


@dataclass(frozen=True)
class Task:
    """An example, its data in memory, and by hand what its `Model` class adds to the network."""

    definition: Any
    config: Mapping[str, Any]
    train: tuple[Array, Array]
    val: tuple[Array, Array]
    criterion: nn.Module
    eval_metrics: Metrics
    max_norm_of: tuple[str, ...]  # the modules whose weights have a bounded norm
    wanted: float  # the runner's time over the bare loop's on a CPU, at most

    def new_model(self, args: Namespace) -> BaseModel:
        """The example's model with its first weights; all three train its network with its optimizer."""
        seed_everything(SEED)
        return self.definition.Model(self.config, args)


class Outcome(NamedTuple):
    seconds: float
    cpu_seconds: float  # of the process, which other work on the machine hardly changes
    train_loss: float  # of the last epoch, as val_loss
    val_loss: float


def conv_task(examples: int | None = None) -> Task:
    """128 filters of width 24 on 2,000 sequences of 101 bp, half of them with a CTCF site."""
    folder = EXAMPLES / "conv_seq_classifier"
    raw, rng = load_script(folder / "make_raw_data.py"), np.random.default_rng(SEED)

    def one_hot(n: int) -> tuple[Array, Array]:
        sequences, labels = zip(*raw.make_records(n, rng), strict=True)
        letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(n, 1, -1)
        return (letters == np.frombuffer(b"ACGT", np.uint8)[:, None]).astype(np.float32), np.array(labels)

    def eval_metrics(y_true: Array, y_pred: Array) -> dict[str, float]:
        return {"accuracy": metrics.accuracy(y_true, y_pred), "auroc": metrics.auroc(y_true, y_pred)}

    return Task(
        definition=load_script(folder / "conv_model.py"),
        config={"lr": 1e-3, "weight_decay": 1e-4, "dense_units": 64, "dropout": 0.25},
        train=one_hot(examples or raw.N_RECORDS["train"]),
        val=one_hot(raw.N_RECORDS["valid"]),
        criterion=nn.CrossEntropyLoss(),
        eval_metrics=eval_metrics,
        max_norm_of=("classifier.0", "classifier.3"),
        wanted=1.0,
    )


def mlp_task(examples: int | None = None) -> Task:
    """Two hidden layers of 64 units on 5,000 rows of ten numbers, a tenth of them for validation."""
    folder = EXAMPLES / "function_regressor"
    raw, rng = load_script(folder / "make_data.py"), np.random.default_rng(SEED)
    n_val = raw.N_ROWS["train"] // 10
    X = rng.random((raw.N_ROWS["train"] if examples is None else examples + n_val, raw.N_INPUTS))
    Y = raw.friedman1(X)[:, None] + rng.normal(scale=raw.NOISE, size=(len(X), 1))
    X, Y = X.astype(np.float32), Y.astype(np.float32)

    def eval_metrics(y_true: Array, y_pred: Array) -> dict[str, float]:
        return {"mse": metrics.mse(y_true, y_pred), "pearson": metrics.pearson(y_true, y_pred)}

    return Task(
        definition=load_script(folder / "reg_model.py"),
        config={"lr": 3e-3, "hidden_units": 64, "hidden_layers": 2},
        train=(X[n_val:], Y[n_val:]),
        val=(X[:n_val], Y[:n_val]),
        criterion=nn.MSELoss(),
        eval_metrics=eval_metrics,
        max_norm_of=(),
        wanted=1.03,
    )


TASKS = {"conv": conv_task, "mlp": mlp_task}
"""The examples by name, each with so many examples for training, or those that it has."""


def order_of(epoch: int, n: int) -> Array:
    """The order of a shuffled epoch, the one that the runner's generators draw."""
    return np.random.default_rng([SEED, epoch]).permutation(n)


def clocks() -> Array:
    """The wall clock and the processor time of this process, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def outputs_of(network_output: Any) -> tuple[Tensor, Tensor]:
    """(prediction, what the criterion takes) of the examples' networks."""
    if isinstance(network_output, dict):
        return network_output["y_pred"], network_output["y_pred_loss"]
    return network_output, network_output


def bound_norms(weights: list[Tensor]) -> None:
    """Scale down each unit's weights, (outputs, inputs), whose norm is above the bound."""
    for weight in weights:
        norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        weight.mul_(MAX_NORM / norm.clamp(min=MAX_NORM))


def train_bare(task: Task, epochs: int, args: Namespace) -> Outcome:
    """The loop as one writes it by hand: data on the device, index gathers, no copy back within an epoch."""
    model = task.new_model(args)
    network, optimizer, device = model.network, model.optimizer, model.device
    weights = [network.get_submodule(name).weight.detach() for name in task.max_norm_of]
    criterion = task.criterion

    started = clocks()
    X, Y = (torch.from_numpy(part).to(device) for part in task.train)
    X_val, Y_val = (torch.from_numpy(part).to(device) for part in task.val)
    history = []
    for epoch in range(epochs):
        network.train()
        total = torch.zeros((), device=device)
        for chosen in torch.from_numpy(order_of(epoch, len(X))).to(device).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss = criterion(outputs_of(network(X[chosen]))[1], Y[chosen])
            loss.backward()
            optimizer.step()
            if weights:
                bound_norms(weights)
            total += loss.detach() * len(chosen)
        network.eval()
        with torch.inference_mode():
            prediction, for_loss = outputs_of(network(X_val))
            val_loss = criterion(for_loss, Y_val).item()
        val = task.eval_metrics(task.val[1], prediction.numpy(force=True))
        history.append({"train_loss": total.item() / len(X), "val_loss": val_loss, **val})
        if epoch == 0:
            started = clocks()
    times = clocks() - started
    return Outcome(*times, history[-1]["train_loss"], history[-1]["val_loss"])


def train_runner(task: Task, epochs: int, args: Namespace) -> Outcome:
    """As the command line trains a trial: with its checkpoints and its history on disk."""
    model = task.new_model(args)
    started = clocks()

    def leave_out(row: Row) -> None:
        if row["epoch"] == 1:
            started[:] = clocks()

    with tempfile.TemporaryDirectory() as directory:
        train = MatrixBatchGenerator(*task.train, BATCH_SIZE, shuffle=True)
        val = MatrixBatchGenerator(*task.val)
        history = model.fit(train, val, epochs, Trial(Path(directory) / "trial"), SEED, leave_out)
        times = clocks() - started
    return Outcome(*times, history[-1]["train_loss"], history[-1]["val_loss"])


def train_lightning(task: Task, epochs: int, args: Namespace) -> Outcome:
    """As Lightning's documentation has it: a DataLoader over a TensorDataset, a Trainer without extras."""
    model = task.new_model(args)
    weights = [model.network.get_submodule(name).weight.detach() for name in task.max_norm_of]
    started = clocks()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.criterion = model.network, task.criterion
            self.predictions: list[Tensor] = []

        def configure_optimizers(self) -> Any:
            return model.optimizer

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            x, y = batch
            loss = self.criterion(outputs_of(self.network(x))[1], y)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            bound_norms(weights)

        def validation_step(self, batch: list[Tensor], index: int) -> None:
            x, y = batch
            prediction, for_loss = outputs_of(self.network(x))
            self.predictions.append(prediction)
            self.log("val_loss", self.criterion(for_loss, y))

        def on_train_epoch_end(self) -> None:  # after the validation
            if self.current_epoch == 0:
                started[:] = clocks()

        def on_validation_epoch_end(self) -> None:
            y_pred = torch.cat(self.predictions).numpy(force=True)
            self.predictions.clear()
            self.log_dict(task.eval_metrics(task.val[1], y_pred))

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if model.device.type == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    train = DataLoader(TensorDataset(*map(torch.from_numpy, task.train)), BATCH_SIZE, shuffle=True)
    val = DataLoader(TensorDataset(*map(torch.from_numpy, task.val)), len(task.val[0]))
    trainer.fit(module, train, val)
    times = clocks() - started
    values = trainer.callback_metrics
    return Outcome(*times, float(values["train_loss"]), float(values["val_loss"]))


CONTESTANTS = {"bare": train_bare, "lightning": train_lightning, "runner": train_runner}


def measure(task: Task, rounds: int, epochs: int, args: Namespace) -> dict[str, Any]:
    """All contestants in turn, `rounds` times; times, and ratios as the medians of those of each round."""
    contestants = {
        name: train for name, train in CONTESTANTS.items() if name != "lightning" or lightning is not None
    }
    for train in contestants.values():
        train(task, WARM_UP, args)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, train in contestants.items():
            gc.collect()
            outcomes[name].append(train(task, epochs, args))

    def over_bare(name: str, clock: str) -> list[float]:
        pairs = zip(outcomes[name], outcomes["bare"], strict=True)
        return sorted(getattr(one, clock) / getattr(bare, clock) for one, bare in pairs)

    steps = (epochs - 1) * -(-len(task.train[0]) // BATCH_SIZE)
    bare, runner = outcomes["bare"][0], outcomes["runner"][0]
    return {
        "steps": steps,
        "contestants": {
            name: {
                "seconds": statistics.median(outcome.seconds for outcome in found),
                "us_per_step": statistics.median(outcome.seconds for outcome in found) / steps * 1e6,
                "over_bare": statistics.median(over_bare(name, "seconds")),
                "over_bare_by_round": over_bare(name, "seconds"),
                "cpu_over_bare": statistics.median(over_bare(name, "cpu_seconds")),
                "train_loss": found[0].train_loss,
                "val_loss": found[0].val_loss,
            }
            for name, found in outcomes.items()
        },
        "wanted": task.wanted,
        "same_loss": bool(
            np.allclose([bare.train_loss, bare.val_loss], [runner.train_loss, runner.val_loss], rtol=1e-4)
        ),
    }


def middle(values: list[float]) -> tuple[float, float]:
    """The ends of the middle half of sorted values."""
    quarter = len(values) // 4
    return values[quarter], values[-1 - quarter]


def describe(name: str, result: dict[str, Any]) -> str:
    rows = [
        [
            contestant,
            f"{found['seconds']:.3f}",
            f"{found['us_per_step']:.0f}",
            f"{found['over_bare']:.3f}",
            "{:.2f} to {:.2f}".format(*middle(found["over_bare_by_round"])),
            f"{found['cpu_over_bare']:.3f}",
            f"{found['train_loss']:.6f}",
            f"{found['val_loss']:.6f}",
        ]
        for contestant, found in result["contestants"].items()
    ]
    head = [name, "seconds", "us/step", "x bare", "middle half", "x bare, CPU time", "train_loss", "val_loss"]
    same = "reach the same loss" if result["same_loss"] else "DIFFER in loss"
    return f"{table(head, rows)}\nwanted on a CPU: runner at most {result['wanted']} x bare; the two {same}"


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--example", choices=[*TASKS, "all"], default="all", help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=9, help="times that each trains [%(default)s]")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a training, from 2 [%(default)s]")
    parser.add_argument("--examples", type=int, help="for training [those of the example]")
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f"--epochs is {args.epochs}; the first epoch is left out, so it has to be 2 or more")
    torch.set_num_threads(args.threads)
    if lightning is None:
        print("lightning is not installed and is left out (pip install lightning)", file=sys.stderr)
    else:
        silence_lightning()

    chosen = TASKS if args.example == "all" else [args.example]
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu, seed=SEED)
    results = {
        name: measure(TASKS[name](args.examples), args.rounds, args.epochs, settings) for name in chosen
    }
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "lightning"]),
        "rounds": args.rounds,
        "epochs": args.epochs,
        "examples": results,
    }
    report(document, [describe(name, result) for name, result in results.items()], args.json)
    return 0 if all(result["same_loss"] for result in results.values()) else 1


def silence_lightning() -> None:
    """Its advice on workers and its list of devices go with each of many short trainings."""
    import logging

    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
