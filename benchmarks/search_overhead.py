"""Time what a search adds to the bare training of its trials.

A search of the function_regressor example runs as the command line runs it. After the last job of each
trial, a bare PyTorch loop in the same process trains it, from the start to the epoch that the search took it
to. So a machine that becomes slower is so for both. The difference is the runner's own work; on a busy
machine, read it in CPU time. A last search is timed in parts, to show where it goes.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import os
import statistics
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import EXAMPLES, load_script, make_parser, report, setting, table
from step import Array, clocks, mlp_task, train_bare

from base_model import BaseModel, choose_device
from batch_generator import BatchGenerator
from helixband import randomness
from helixband.definition import Definition, load_definition
from helixband.display.progress import Progress
from helixband.errors import HelixbandWarning
from helixband.results import checkpoints
from helixband.results.directory import Results, Trial
from helixband.results.journal import Journal
from helixband.results.trial import trial_name
from helixband.search.executors.local import InProcess, Report
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer
from helixband.search.journal import SearchJournal
from helixband.search.run import Search
from helixband.search.samplers.random import RandomSampler
from helixband.training import fit, passes
from helixband.training.tensorboard import TensorBoardLog
from hyperband import brackets

EXAMPLE = EXAMPLES / "function_regressor"
BATCH_SIZE = 100
CLOCKS = ("wall", "cpu")
WANTED_MS = 15.0  # of the runner's own time, for each trial


class Trained(NamedTuple):
    """A trial of the search: its configuration and the epochs that it had."""

    config: dict[str, Any]
    epochs: int


TRAINING = "training"
"""The part that is not the runner's."""

RUNNER_PARTS = [
    (Search, "run", "search, everything else"),
    (RandomSampler, "suggest", "drawing configurations"),
    (Journal, "append", "journal"),
    (Results, "set_best", "best_config"),
    (Trainer, "attempt", "trial: data, directory, seeds"),
    (BaseModel, "fit", "epochs: rows and states"),
    (fit, "train_pass", "training steps"),
    (passes, "evaluate", "validation"),
    (randomness, "get_state", "states of the random generators"),
    (checkpoints, "save_together", "writing checkpoints"),
    (checkpoints, "load", "reading checkpoints"),
    (Trial, "write_history", "train_results.csv"),
    (Trial, "write_config", "config.json"),
    (os, "fsync", "syncing to the disk"),
    (TensorBoardLog, "add", "TensorBoard"),
    (TensorBoardLog, "__exit__", "TensorBoard"),
]
TRAINING_METHODS = [
    "__init__",
    "train_step",
    "eval_step",
    "train_metrics",
    "eval_metrics",
    "get_hyperband_reward",
]


class Ledger:
    """Seconds and calls by part; a part within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inner = [0.0]  # for each part under way, the seconds of those within it

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """`function`, its calls counted for `part`."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.perf_counter() - started
                self.seconds[part] += seconds - self._inner.pop()
                self.calls[part] += 1
                self._inner[-1] += seconds

        return call

    def timed_iteration(self, iterate: Callable[[Any], Iterator[Any]], part: str) -> Callable[..., Any]:
        """An `__iter__`, the making of its items counted for `part`."""

        def iteration(generator: Any) -> Iterator[Any]:
            advance = self.timed(iterate(generator).__next__, part)
            with contextlib.suppress(StopIteration):
                while True:
                    yield advance()

        return iteration


@contextlib.contextmanager
def observed(ledger: Ledger, definition: Definition) -> Iterator[None]:
    """All parts, timed while the block runs."""
    module = definition.module
    parts = [(module.Model, name, TRAINING) for name in TRAINING_METHODS]
    parts += [(module, "get_train_generator", TRAINING), (module, "get_config", TRAINING)]
    with contextlib.ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())  # the ledger is held by the definition, and changes
        warnings.simplefilter("ignore", HelixbandWarning)
        for owner, name, part in RUNNER_PARTS + parts:
            replace(undo, owner, name, ledger.timed(getattr(owner, name), part))
        replace(undo, BatchGenerator, "__iter__", ledger.timed_iteration(BatchGenerator.__iter__, TRAINING))
        yield


def replace(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until `undo` closes; what was inherited is inherited again then."""
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)


@contextlib.contextmanager
def tensorboard_hidden(hidden: bool) -> Iterator[None]:
    """As on a machine where TensorBoard is not installed, where `hidden`."""
    before = sys.modules.get("tensorboard")
    if hidden:
        sys.modules["tensorboard"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop("tensorboard", None)
        if before is not None:
            sys.modules["tensorboard"] = before


class Alternating(InProcess):
    """Trains each trial by a bare loop, too, as soon as the search has trained it to its last epoch."""

    def __init__(self, trainer: Trainer, trials: dict[str, Trained], cpu: bool) -> None:
        super().__init__(trainer)
        self.bare = np.zeros(len(CLOCKS))
        """The times of the bare loop."""
        self._trials, self._cpu, self._task = trials, cpu, mlp_task()

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        future = super().submit(task, on_epoch)
        trial = self._trials.get(task.name)
        if trial is not None and task.epochs == trial.epochs:
            started = clocks()
            of_trial = dataclasses.replace(self._task, config=trial.config)
            train_bare(of_trial, trial.epochs, Namespace(cpu=self._cpu))
            self.bare += clocks() - started
        return future


class Searched(NamedTuple):
    """The times of a search, those of the bare loop, and how far each trial was trained, by its name."""

    times: Array
    bare: Array
    trials: dict[str, Trained]


def search(
    data: Path, epochs: int, eta: int, cpu: bool, trials: dict[str, Trained], ledger: Ledger | None = None
) -> Searched:
    """One search, in a directory of its own; the bare loop trains `trials`."""
    with tempfile.TemporaryDirectory() as directory:
        args = Namespace(
            data=str(data), batch_size=BATCH_SIZE, epoch=epochs, eta=eta, seed=0, cpu=cpu, debug=False
        )
        definition = load_definition(EXAMPLE / "reg_model.py", args.seed)
        results = Results(directory)
        trainer = Trainer(definition, results, args)
        executor = Alternating(trainer, trials, cpu)
        settings = {"max_epochs": epochs, "trials": None, "schedule": "hyperband", "eta": eta}
        settings |= {"sampler": "random", "seed": args.seed, "stop_hopeless": False}
        with observed(ledger, definition) if ledger else contextlib.nullcontext():
            started = clocks()
            Search(trainer, SearchJournal(results.journal, settings), executor, Progress()).run()
            times = clocks() - started - executor.bare
        found: dict[str, Trained] = {}
        configs = {e["trial"]: e["config"] for e in results.journal.events() if e["event"] == "trial"}
        for event in results.journal.events():
            if event["event"] == "result":
                found[trial_name(event["trial"])] = Trained(configs[event["trial"]], event["epochs"])
    return Searched(times, executor.bare, found)


def describe(name: str, result: dict[str, Any]) -> str:
    rows = [[part, f"{found['ms_per_trial']:.2f}", found["calls"]] for part, found in result["parts"].items()]
    lines = [table([f"{name}, in parts", "ms/trial", "calls"], rows)]
    for clock in CLOCKS:
        own, ratio = result[f"runner_ms_per_trial_{clock}"], result[f"ratio_{clock}"]
        each = ", ".join(f"{found[clock]:.1f}" for found in result["rounds"])
        lines.append(
            f"{name}, {clock}: {own:.1f} ms/trial more than bare training, {ratio:.2f} times its time"
        )
        lines.append(f"  each round: {each}")
    return "\n".join(lines)


def parts_of(ledger: Ledger, trials: int) -> dict[str, dict[str, float]]:
    """Milliseconds a trial and calls of each of the runner's parts, the dearest first."""
    own = {part: seconds for part, seconds in ledger.seconds.items() if part != TRAINING}
    return {
        part: {"ms_per_trial": own[part] / trials * 1e3, "calls": ledger.calls[part]}
        for part in sorted(own, key=own.__getitem__, reverse=True)
    }


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--max-epochs", type=int, default=27, help="R of Hyperband [%(default)s]")
    parser.add_argument("--eta", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="the median counts [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    modes = {"without TensorBoard": True}
    if importlib.util.find_spec("tensorboard") is not None:
        modes["with TensorBoard"] = False
    plan = brackets(args.max_epochs, args.eta)
    n_trials = sum(rungs[0].configurations for rungs in plan)
    found: dict[str, dict[str, Any]] = {name: {"rounds": [], "ratios": []} for name in modes}
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        load_script(EXAMPLE / "make_data.py").main()
        data = Path(directory) / "data"
        trials: dict[str, Trained] = {}
        for hidden in modes.values():  # what a process does once: imports, threads
            with tensorboard_hidden(hidden):
                trials = search(data, args.max_epochs, args.eta, args.cpu, trials).trials
        for _ in range(args.rounds):
            for name, hidden in modes.items():
                with tensorboard_hidden(hidden):
                    times, bare, _ = search(data, args.max_epochs, args.eta, args.cpu, trials)
                own_ms = (times - bare) / n_trials * 1e3
                found[name]["rounds"].append(dict(zip(CLOCKS, own_ms.tolist(), strict=True)))
                found[name]["ratios"].append(dict(zip(CLOCKS, (times / bare).tolist(), strict=True)))
        for name, hidden in modes.items():
            ledger = Ledger()
            with tensorboard_hidden(hidden):
                search(data, args.max_epochs, args.eta, args.cpu, {}, ledger)
            found[name]["parts"] = parts_of(ledger, n_trials)
    for result in found.values():
        for clock in CLOCKS:
            result[f"runner_ms_per_trial_{clock}"] = statistics.median(r[clock] for r in result["rounds"])
            result[f"ratio_{clock}"] = statistics.median(r[clock] for r in result["ratios"])
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "tensorboard"]),
        "trials": n_trials,
        "jobs": sum(rung.configurations for rungs in plan for rung in rungs),
        "wanted_ms_per_trial": WANTED_MS,
        "searches": found,
    }
    told = f"{n_trials} trials in {document['jobs']} jobs; wanted: at most {WANTED_MS:g} ms/trial"
    report(document, [describe(name, result) for name, result in found.items()] + [told], args.json)


if __name__ == "__main__":
    main()
