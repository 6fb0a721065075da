"""Time each training option beside a bare PyTorch loop that does the same, in turn in one process.

The network, the data and the loop are those of the conv example in step.py. "off" is neither.
"""

import contextlib
import copy
import dataclasses
import gc
import math
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from common import make_parser, report, setting, table
from step import BATCH_SIZE, SEED, Outcome, Task, bound_norms, clocks, conv_task, order_of, outputs_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import WeightedRandomSampler

from base_model import BaseModel, choose_device
from batch_generator import MatrixBatchGenerator
from helixband.results.directory import Trial
from helixband.training.schedules import CosineSchedule, LinearSchedule

STEPS = 20  # of an epoch
Network = nn.Module


class Part(NamedTuple):
    """An option or a hook, and what a loop written by hand does for it."""

    options: Mapping[str, Any] = {}
    methods: Mapping[str, Any] = {}
    """Of the definition's Model."""
    config: Mapping[str, Any] = {}
    """Hyperparameters other than the task's."""
    labels: Callable[[Any], Any] = lambda y: y
    """What the training generator has as y."""
    sampling: str | None = None

    # By hand.
    batches: Callable[[int, Any], list[Tensor]] = lambda epoch, y: split(order_of(epoch, len(y)))
    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda output, y, rows: F.cross_entropy(output, y)
    begin_epoch: Callable[[Network, list[Any], int], Any] | None = None
    begin_step: Callable[[Network, list[Any], int], Any] | None = None
    before_step: Callable[[Network], Any] | None = None
    takes_step: Callable[[Network, Tensor], Any] | None = None
    optimizers: Callable[[Network], list[Any]] | None = None
    dtype: torch.dtype | None = None
    decay: float | None = None
    mean_from: int | None = None
    """The epoch, from 0, from which weights are averaged at the ends of epochs."""
    accumulate: int = 1
    has_same_loss: bool = True


def split(order: Any) -> list[Tensor]:
    return list(torch.from_numpy(order).split(BATCH_SIZE))


def norm_of(network: Network) -> Any:
    return nn.utils.get_total_norm([each.grad for each in network.parameters()])


def is_finite(network: Network, loss: Tensor) -> Any:
    norm = nn.utils.get_total_norm([each.grad for each in network.parameters()], math.inf)
    return loss.isfinite() and norm.isfinite()


def cosine(step: int) -> float:
    if step < 10:
        return 1e-3 * step / 10
    return 1e-3 * (1 + math.cos(math.pi * min((step - 10) / 50, 1.0))) / 2


def set_all(name: str, value: Callable[[int], float]) -> Callable[[Network, list[Any], int], None]:
    def give(network: Network, optimizers: list[Any], time: int) -> None:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group[name] = value(time)

    return give


def mixed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A tenth of another example's input."""
    return 0.9 * x + 0.1 * x[torch.randperm(len(x), device=x.device)], y


def weights_of(y: Any) -> Any:
    return np.random.default_rng(7).random(len(y)).astype(np.float32)


def weighted_loss(output: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    weight = WEIGHTS[rows].to(y.device)
    return (F.cross_entropy(output, y, reduction="none") * weight).sum() / weight.sum()


WEIGHTS = torch.from_numpy(weights_of(range(10_000)))


def drawn(epoch: int, y: Any) -> list[Tensor]:
    sampler = WeightedRandomSampler((1 / np.bincount(y))[y].tolist(), len(y))
    return list(torch.tensor(list(sampler)).split(BATCH_SIZE))


def of_stream(epoch: int, y: Any) -> list[Tensor]:
    """Ten batches, which go on from epoch to epoch."""
    first = epoch % 2 * STEPS // 2
    return split(order_of(epoch // 2, len(y)))[first : first + STEPS // 2]


def two_optimizers(network: Any) -> list[Any]:
    return [torch.optim.AdamW(part.parameters(), 1e-3) for part in (network.features, network.classifier)]


def init_two(self: Any) -> None:
    super(type(self), self).init_model()
    names = dict(zip(("features", "classifier"), two_optimizers(self.network), strict=True))
    BaseModel.init_model(self, self.network, self.criterion, names, training=self.engine.options)


def step_two(self: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    output = self.forward(x)
    loss = self.compute_loss(output["y_pred_loss"], y)
    self.backward(loss)
    self.optimizer_step("features")
    self.optimizer_step("classifier")
    return loss.detach(), output["y_pred"].detach()


PARTS = {
    "off": Part(),
    "accumulate=4": Part({"accumulate": 4}, accumulate=4),
    "clip_norm=1": Part(
        {"clip_norm": 1.0}, before_step=lambda network: nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    ),
    "clip_value=0.1": Part(
        {"clip_value": 0.1}, before_step=lambda network: nn.utils.clip_grad_value_(network.parameters(), 0.1)
    ),
    "gradient_norm=L2": Part({"gradient_norm": "L2"}, before_step=norm_of),
    "precision=bf16": Part({"precision": "bf16"}, dtype=torch.bfloat16),
    "ema_decay=0.99": Part({"ema_decay": 0.99}, decay=0.99),
    "swa_start=0.5": Part({"swa_start": 0.5}, mean_from=1),
    "freeze": Part(
        {"freeze": {"features.*": 1}},
        begin_epoch=lambda network, _, epoch: network.features.requires_grad_(epoch >= 1),  # type: ignore
    ),
    "schedule by epoch": Part(
        config={"weight_decay": LinearSchedule(start=0.0, end=0.1, duration=2)},
        begin_epoch=set_all("weight_decay", lambda epoch: 0.1 * min(epoch / 2, 1.0)),
    ),
    "warm-up by step": Part(
        config={"lr": CosineSchedule(start=1e-3, end=0.0, duration=50, warmup=10, unit="step")},
        begin_step=set_all("lr", cosine),
    ),
    "weights of examples": Part(
        methods={"split_batch": lambda self, batch: (batch[0], *batch[1])},
        labels=lambda y: (y, weights_of(y)),
        loss=weighted_loss,
        has_same_loss=False,  # by hand, the loss of an epoch is weighted by rows
    ),
    "nan=skip": Part({"nan": "skip"}, takes_step=is_finite),
    "nan=stop": Part({"nan": "stop"}),
    "epoch_steps=10": Part({"epoch_steps": STEPS // 2}, batches=of_stream),
    "limit_train=0.5": Part(
        {"limit_train": 0.5}, batches=lambda epoch, y: split(order_of(epoch, len(y)))[: STEPS // 2]
    ),
    "prepare_batch": Part(methods={"prepare_batch": lambda self, x, y: mixed(x, y)}, prepare=mixed),
    "two optimizers": Part(
        methods={"init_model": init_two, "train_step": step_two}, optimizers=two_optimizers
    ),
    "balanced sampling": Part(sampling="balanced", batches=drawn, has_same_loss=False),
}


class Average:
    """Of weights: moving by steps, or the mean of the ends of epochs."""

    def __init__(self, network: Network) -> None:
        self.parameters, self.values, self.count = list(network.parameters()), [], 0

    def take(self, share: float) -> None:
        weights = [each.detach() for each in self.parameters]
        if self.values:
            torch._foreach_lerp_(self.values, weights, share)
        else:
            self.values = [each.clone() for each in weights]
        self.count += 1


def train_bare(task: Task, part: Part, epochs: int, args: Namespace) -> Outcome:
    """The loop as one writes it by hand, with the part."""
    model = task.new_model(args)
    network, device = model.network, model.device
    optimizers = [model.optimizer] if part.optimizers is None else part.optimizers(network)
    weights = [network.get_submodule(name).weight.detach() for name in task.max_norm_of]
    context = (lambda: torch.autocast(device.type, part.dtype)) if part.dtype else contextlib.nullcontext
    started = clocks()
    X, Y = (torch.from_numpy(one).to(device) for one in task.train)
    X_val, Y_val = (torch.from_numpy(one).to(device) for one in task.val)
    average, parameters = Average(network), list(network.parameters())
    train_loss = val_loss = 0.0
    step = 0
    for epoch in range(epochs):
        network.train()
        if part.begin_epoch is not None:
            part.begin_epoch(network, optimizers, epoch)
        total, norms, seen = torch.zeros((), device=device), [], 0
        batches = [rows.to(device) for rows in part.batches(epoch, task.train[1])]
        for first in range(0, len(batches), part.accumulate):
            group = batches[first : first + part.accumulate]
            if part.begin_step is not None:
                part.begin_step(network, optimizers, step)
            for optimizer in optimizers:
                optimizer.zero_grad()
            for chosen in group:
                x, y = X[chosen], Y[chosen]
                if part.prepare is not None:
                    x, y = part.prepare(x, y)
                with context():
                    output = outputs_of(network(x))[1]
                loss = part.loss(output.float() if part.dtype else output, y, chosen)
                (loss * len(chosen) if part.accumulate > 1 else loss).backward()
                total += loss.detach() * len(chosen)
            rows = sum(map(len, group))
            seen += rows
            if part.accumulate > 1:
                torch._foreach_div_([each.grad for each in parameters], rows)
            if part.before_step is not None:
                norms.append(part.before_step(network))
            if part.takes_step is None or part.takes_step(network, loss):
                for optimizer in optimizers:
                    optimizer.step()
                bound_norms(weights)
            if part.decay is not None:
                average.take(1 - part.decay)
            step += 1
        if part.mean_from is not None and epoch >= part.mean_from:
            average.take(1 / (average.count + 1))
        used = network
        if average.values:
            used = copy.deepcopy(network)
            torch._foreach_copy_([each.detach() for each in used.parameters()], average.values)
            bound_norms([used.get_submodule(name).weight.detach() for name in task.max_norm_of])
        used.eval()
        with torch.inference_mode(), context():
            prediction, for_loss = outputs_of(used(X_val))
            val_loss = task.criterion(for_loss.float(), Y_val).item()
        task.eval_metrics(task.val[1], prediction.float().numpy(force=True))
        train_loss = total.item() / seen
    times = clocks() - started
    return Outcome(*times, train_loss, val_loss)


def train_runner(task: Task, part: Part, epochs: int, args: Namespace) -> Outcome:
    """As the command line trains a trial: with its checkpoints and its history on disk."""
    model = task.new_model(args)
    with tempfile.TemporaryDirectory() as directory:
        started = clocks()
        x, y = task.train
        train = MatrixBatchGenerator(x, part.labels(y), BATCH_SIZE, shuffle=True, sampling=part.sampling)
        val = MatrixBatchGenerator(task.val[0], part.labels(task.val[1]))
        history = model.fit(train, val, epochs, Trial(Path(directory) / "trial"), SEED)
        times = clocks() - started
    return Outcome(*times, history[-1]["train_loss"], history[-1]["val_loss"])


def task_of(part: Part) -> Task:
    """The conv example, its Model with the methods of the part."""
    task = conv_task()
    model = type("Model", (task.definition.Model,), dict(part.methods))
    return dataclasses.replace(
        task, definition=SimpleNamespace(Model=model), config={**task.config, **part.config}
    )


def measure(part: Part, rounds: int, epochs: int, args: Namespace) -> dict[str, Any]:
    """Both in turn, `rounds` times; the ratio is the median of those of each round."""
    bare_task, task = conv_task(), task_of(part)
    ratios, cpu, losses = [], [], (0.0, 0.0)
    with_part = Namespace(**vars(args), training=part.options, epoch=epochs, total_epochs=epochs)
    for number in range(rounds + 1):
        gc.collect()
        if number % 2:  # which is first changes, for the machine's sake
            bare, ours = (
                train_bare(bare_task, part, epochs, args),
                train_runner(task, part, epochs, with_part),
            )
        else:
            ours, bare = (
                train_runner(task, part, epochs, with_part),
                train_bare(bare_task, part, epochs, args),
            )
        if number:  # the first has what a process does once
            ratios.append(ours.seconds / bare.seconds)
            cpu.append(ours.cpu_seconds / bare.cpu_seconds)
        losses = bare.train_loss, ours.train_loss
    return {
        "over_bare": statistics.median(ratios),
        "cpu_over_bare": statistics.median(cpu),
        "train_loss": losses,
        "same_loss": bool(np.isclose(*losses, rtol=1e-4)) if part.has_same_loss else None,
    }


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="some of the parts [all]")
    parser.add_argument("--rounds", type=int, default=5, help="times that each trains [%(default)s]")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of a training [%(default)s]")
    args = parser.parse_args()
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"there is no part {min(unknown)!r}; there are {', '.join(PARTS)}")
    torch.set_num_threads(args.threads)
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu, seed=SEED)
    chosen = args.parts or PARTS
    results = {name: measure(PARTS[name], args.rounds, args.epochs, settings) for name in chosen}
    same = {True: "same", False: "DIFFERS", None: "–"}
    rows = [
        [name, f"{one['over_bare']:.3f}", f"{one['cpu_over_bare']:.3f}", same[one["same_loss"]]]
        for name, one in results.items()
    ]
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy"]),
        "rounds": args.rounds,
        "epochs": args.epochs,
        "parts": results,
    }
    report(document, [table(["part", "x bare", "x bare, CPU time", "train_loss"], rows)], args.json)
    return 1 if any(one["same_loss"] is False for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
