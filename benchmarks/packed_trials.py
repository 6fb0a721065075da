"""Time the steps of several trials of one structure together, beside the same steps one trial after another.

The trials are those of an example's network, each with its own learning rate, decay and dropout. Both ways
train the same trials on the same batches, in turn in one process. The time is that of the training part of an
epoch, without validation; the first epoch is left out. On a CPU it is the time of the process, which other
work on the machine hardly changes. On a GPU the bare loop over each trial is timed, too.
"""

import statistics
import sys
import time
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from common import make_parser, report, setting, table
from step import BATCH_SIZE, TASKS, Task, outputs_of

from base_model import choose_device
from batch_generator import MatrixBatchGenerator
from helixband.randomness import Stream, seed_everything
from helixband.training.member import Member
from helixband.training.passes import train_pass
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager
from helixband.training.steps.packed import Packed

WANTED = {"mlp": 3.0, "conv": None}
"""How many times as fast as one after another on a CPU, at least."""


def make_members(task: Task, count: int, args: Namespace) -> list[Member]:
    """Trials of an example, each with hyperparameters and first weights of its own."""
    members = []
    for number in range(count):
        seed_everything(number)
        config = {**task.config, "lr": 1e-3 * 1.05**number}
        if "dropout" in config:
            config |= {"dropout": 0.02 * number, "weight_decay": 1e-5 * 1.1**number}
        model = task.definition.Model(config, args)
        train = MatrixBatchGenerator(*task.train, BATCH_SIZE, shuffle=True)
        members.append(model.as_member(train, MatrixBatchGenerator(*task.val), 10**6, seed=number))
        members[-1].metrics = None  # which cost both ways the same, and are computed at an epoch's end
    return members


def clock() -> float:
    """The time in seconds: of a GPU that of the wall, of a CPU that of this process."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def seconds_of(members: list[Member], stepper: Packed | None) -> float:
    """How long an epoch's steps of all members take: together, or without a stepper one after another."""
    with Stream.turns():
        started = clock()
        if stepper is not None:
            train_pass(members, stepper)
        for member in members if stepper is None else ():
            train_pass([member], Eager())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = clock() - started
    for member in members:
        if member.error is not None:
            raise member.error
        member.trained()
        member.record.epoch += 1
    return seconds


def seconds_of_bare(members: list[Member], task: Task) -> float:
    """How long they take by a loop as one writes it by hand, with the data on the device."""
    device = members[0].model.device
    X, Y = (torch.from_numpy(part).to(device) for part in task.train)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for member in members:
        network, optimizer = member.model.network, member.model.optimizer
        assert optimizer is not None
        network.train()
        for chosen in torch.randperm(len(X), device=device).split(BATCH_SIZE):
            optimizer.zero_grad()
            task.criterion(outputs_of(network(X[chosen]))[1], Y[chosen]).backward()
            optimizer.step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(
    name: str, count: int, rounds: int, args: Namespace, examples: int | None = None
) -> dict[str, Any]:
    """The figures of an example by name, with so many examples for training or those that it has."""
    task = TASKS[name](examples)
    found: dict[str, list[float]] = {"one after another": [], "together": []}
    eager, packed = make_members(task, count, args), make_members(task, count, args)
    stepper = Captured()
    bare = make_members(task, count, args) if choose_device(args.cpu).type == "cuda" else []
    for number in range(rounds + 1):
        times = {"one after another": seconds_of(eager, None), "together": seconds_of(packed, stepper)}
        if bare:
            times["bare, one after another"] = seconds_of_bare(bare, task)
        for way, seconds in times.items() if number else ():
            found.setdefault(way, []).append(seconds)
    steps = count * -(-len(task.train[0]) // BATCH_SIZE)
    pairs = [
        [one / together for one, together in zip(times, found["together"], strict=True)]
        for way, times in found.items()
        if way != "together"
    ]
    losses = [[float(each.model.evaluate(each.val)["loss"]) for each in every] for every in (eager, packed)]
    return {
        "trials": count,
        "us_per_step_of_a_trial": {
            way: statistics.median(times) / steps * 1e6 for way, times in found.items()
        },
        "times_as_fast": dict(
            zip([way for way in found if way != "together"], map(statistics.median, pairs), strict=True)
        ),
        "by_round": pairs[0],
        "alone": sorted({*stepper.alone.values()}),
        "wanted": WANTED[name],
        "val_loss": [float(np.mean(each)) for each in losses],
    }


def describe(name: str, result: dict[str, Any]) -> str:
    faster = result["times_as_fast"]
    rows = [
        [way, f"{microseconds:.0f}", f"{faster.get(way, 1.0):.2f}"]
        for way, microseconds in result["us_per_step_of_a_trial"].items()
    ]
    head = [f"{name}, {result['trials']} trials", "us/step of a trial", "x together"]
    alone = "".join(f"\nalone: {reason}" for reason in result["alone"])
    one, other = result["val_loss"]
    return f"{table(head, rows)}\nmean val_loss {one:.6f}, together {other:.6f}{alone}"


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--example", choices=[*TASKS, "all"], default=None, help="[mlp; on a GPU all]")
    parser.add_argument("--trials", type=int, default=27, help="trials of one structure [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="epochs that are timed [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = choose_device(args.cpu)
    chosen = args.example or ("all" if device.type == "cuda" else "mlp")
    names = TASKS if chosen == "all" else [chosen]
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu)
    results = {name: measure(name, args.trials, args.rounds, settings) for name in names}
    document = {"setting": setting(device), "rounds": args.rounds, "examples": results}
    report(document, [describe(name, result) for name, result in results.items()], args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
