"""Time each training option beside a bare PyTorch loop that does the same, in turn in one process.

The network, the data and the loop are those of the conv example in step.py. "off" is neither.
"""

import contextlib
import gc
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from common import make_parser, report, setting, table
from step import (
    BATCH_SIZE,
    SEED,
    Outcome,
    Task,
    bound_norms,
    clocks,
    conv_task,
    order_of,
    outputs_of,
    train_runner,
)
from torch import nn

from base_model import choose_device


class Part(NamedTuple):
    """An option, and what a loop written by hand does for it."""

    options: dict[str, Any]
    before_step: Callable[[nn.Module], Any] | None = None
    dtype: torch.dtype | None = None
    decay: float | None = None
    accumulate: int = 1


def norm_of(network: nn.Module) -> Any:
    return nn.utils.get_total_norm([each.grad for each in network.parameters()])


PARTS = {
    "off": Part({}),
    "accumulate=4": Part({"accumulate": 4}, accumulate=4),
    "clip_norm=1": Part(
        {"clip_norm": 1.0}, lambda network: nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    ),
    "clip_value=0.1": Part(
        {"clip_value": 0.1}, lambda network: nn.utils.clip_grad_value_(network.parameters(), 0.1)
    ),
    "gradient_norm=L2": Part({"gradient_norm": "L2"}, norm_of),
    "precision=bf16": Part({"precision": "bf16"}, dtype=torch.bfloat16),
    "ema_decay=0.99": Part({"ema_decay": 0.99}, decay=0.99),
}


def train_bare(task: Task, part: Part, epochs: int, args: Namespace) -> Outcome:
    """The loop as one writes it by hand, with the part."""
    model = task.new_model(args)
    network, optimizer, device, criterion = model.network, model.optimizer, model.device, task.criterion
    weights = [network.get_submodule(name).weight.detach() for name in task.max_norm_of]
    context = (lambda: torch.autocast(device.type, part.dtype)) if part.dtype else contextlib.nullcontext
    started = clocks()
    X, Y = (torch.from_numpy(one).to(device) for one in task.train)
    X_val, Y_val = (torch.from_numpy(one).to(device) for one in task.val)
    parameters = list(network.parameters())
    averages: list[torch.Tensor] = []
    train_loss = val_loss = 0.0
    for epoch in range(epochs):
        network.train()
        total, norms = torch.zeros((), device=device), []
        batches = torch.from_numpy(order_of(epoch, len(X))).to(device).split(BATCH_SIZE)
        for first in range(0, len(batches), part.accumulate):
            group = batches[first : first + part.accumulate]
            rows = sum(map(len, group))
            optimizer.zero_grad()
            for chosen in group:
                with context():
                    output = outputs_of(network(X[chosen]))[1]
                loss = criterion(output.float() if part.dtype else output, Y[chosen])
                (loss * len(chosen) if part.accumulate > 1 else loss).backward()
                total += loss.detach() * len(chosen)
            if part.accumulate > 1:
                torch._foreach_div_([each.grad for each in parameters], rows)
            if part.before_step is not None:
                norms.append(part.before_step(network))
            optimizer.step()
            bound_norms(weights)
            if part.decay is not None:
                if averages:
                    torch._foreach_lerp_(averages, [each.detach() for each in parameters], 1 - part.decay)
                else:
                    averages = [each.detach().clone() for each in parameters]
        network.eval()
        with torch.inference_mode(), context():
            prediction, for_loss = outputs_of(network(X_val))
            val_loss = criterion(for_loss.float(), Y_val).item()
        task.eval_metrics(task.val[1], prediction.float().numpy(force=True))
        train_loss = total.item() / len(X)
    times = clocks() - started
    return Outcome(*times, train_loss, val_loss)


def measure(part: Part, rounds: int, epochs: int, args: Namespace) -> dict[str, Any]:
    """Both in turn, `rounds` times; the ratio is the median of those of each round."""
    task, ratios, cpu, losses = conv_task(), [], [], (0.0, 0.0)
    with_part = Namespace(**vars(args), training=part.options)
    for number in range(rounds + 1):
        gc.collect()
        bare, ours = train_bare(task, part, epochs, args), train_runner(task, epochs, with_part)
        if number:  # the first has what a process does once
            ratios.append(ours.seconds / bare.seconds)
            cpu.append(ours.cpu_seconds / bare.cpu_seconds)
        losses = bare.train_loss, ours.train_loss
    return {
        "over_bare": statistics.median(ratios),
        "cpu_over_bare": statistics.median(cpu),
        "train_loss": losses,
        "same_loss": bool(np.isclose(*losses, rtol=1e-4)),
    }


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each trains [%(default)s]")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of a training [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu, seed=SEED)
    results = {name: measure(part, args.rounds, args.epochs, settings) for name, part in PARTS.items()}
    same = {True: "same", False: "DIFFERS"}
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
    return 0 if all(one["same_loss"] for one in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
