"""Time what the runner itself does in a search: all that is neither the user's code nor the bare training.

A search of the function_regressor example runs as the command line runs it. From its wall time that of the
training is subtracted: `Model(…)`, train_step, eval_step, the reading of batches, the functions of the
definition and the metrics. What is left is the runner's, and is shown by parts, each without those within it.
"""

import contextlib
import functools
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import EXAMPLES, load_script, make_parser, report, setting, table

import hyperband
from base_model import BaseModel, choose_device
from batch_generator import BatchGenerator
from helixband import checkpoints, randomness
from helixband.definition import Definition, load_definition
from helixband.progress import Progress
from helixband.results import Journal, Results, Trial
from helixband.search.journal import SearchJournal
from helixband.search.samplers import RandomSampler
from helixband.search.trial import Trainer
from helixband.training import loop
from helixband.training.tensorboard import TensorBoardLog

EXAMPLE = EXAMPLES / "function_regressor"
BATCH_SIZE = 100
WANTED_MS = 20.0  # of the runner's own time, for each trial

TRAINING = "training"
"""The part that is not the runner's."""

RUNNER_PARTS = [
    (hyperband, "run_search", "search, everything else"),
    (RandomSampler, "suggest", "drawing configurations"),
    (Journal, "append", "journal"),
    (Results, "set_best", "best_config"),
    (Trainer, "attempt", "trial: data, directory, seeds"),
    (BaseModel, "fit", "epochs: rows and states"),
    (loop, "train_epoch", "training steps"),
    (loop, "evaluate", "validation"),
    (randomness, "get_state", "states of the random generators"),
    (checkpoints, "save", "writing checkpoints"),
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


def search(data: Path, epochs: int, eta: int, cpu: bool) -> Ledger:
    """One search, in a directory of its own; where its time went."""
    with tempfile.TemporaryDirectory() as directory:
        args = Namespace(
            data=str(data), batch_size=BATCH_SIZE, epoch=epochs, eta=eta, seed=0, cpu=cpu, debug=False
        )
        definition = load_definition(EXAMPLE / "reg_model.py", args.seed)
        results = Results(directory)
        trainer = Trainer(definition, results, args)
        settings = {"max_epochs": epochs, "eta": eta, "seed": args.seed, "batch_size": BATCH_SIZE}
        ledger = Ledger()
        with observed(ledger, definition):
            hyperband.run_search(trainer, SearchJournal(results.journal, settings), Progress())
    return ledger


def summarise(ledger: Ledger, trials: int) -> dict[str, Any]:
    """Seconds of the search, milliseconds of the runner's own for each trial, and of which parts."""
    own = {part: seconds for part, seconds in ledger.seconds.items() if part != TRAINING}
    return {
        "wall_s": sum(ledger.seconds.values()),
        "training_s": ledger.seconds[TRAINING],
        "runner_ms_per_trial": sum(own.values()) / trials * 1e3,
        "parts": {
            part: {"ms_per_trial": own[part] / trials * 1e3, "calls": ledger.calls[part]}
            for part in sorted(own, key=own.__getitem__, reverse=True)
        },
    }


def describe(name: str, result: dict[str, Any]) -> str:
    rows = [[part, f"{found['ms_per_trial']:.2f}", found["calls"]] for part, found in result["parts"].items()]
    rows.append(["together", f"{result['runner_ms_per_trial']:.2f}", ""])
    return (
        f"{table([name, 'ms/trial', 'calls'], rows)}\n"
        f"the search took {result['wall_s']:.2f} s, of which the training {result['training_s']:.2f} s; "
        f"each of {result['rounds']} searches: "
        + ", ".join(f"{value:.1f}" for value in result["runner_ms_per_trial_by_round"])
        + " ms/trial"
    )


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--max-epochs", type=int, default=27, help="R of Hyperband [%(default)s]")
    parser.add_argument("--eta", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="searches; the median counts [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    modes = {"without TensorBoard": True}
    if importlib.util.find_spec("tensorboard") is not None:
        modes["with TensorBoard"] = False
    brackets = hyperband.brackets(args.max_epochs, args.eta)
    trials = sum(rungs[0].configurations for rungs in brackets)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in modes}
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        with contextlib.chdir(data):
            load_script(EXAMPLE / "make_data.py").main()
        for round_ in range(args.rounds + 1):
            for name, hidden in modes.items():
                with tensorboard_hidden(hidden):
                    ledger = search(data / "data", args.max_epochs if round_ else 1, args.eta, args.cpu)
                if round_:  # the first, of one trial, does what a process does once: imports, threads
                    found[name].append(summarise(ledger, trials))
    results = {name: median_round(rounds) for name, rounds in found.items()}
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "tensorboard"]),
        "trials": trials,
        "jobs": sum(rung.configurations for rungs in brackets for rung in rungs),
        "wanted_ms_per_trial": WANTED_MS,
        "searches": results,
    }
    told = f"{trials} trials in {document['jobs']} jobs; wanted: at most {WANTED_MS:g} ms/trial"
    report(document, [describe(name, result) for name, result in results.items()] + [told], args.json)


def median_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of the median figure, with the figures of all."""
    values = [result["runner_ms_per_trial"] for result in rounds]
    median = next(r for r in rounds if r["runner_ms_per_trial"] == statistics.median_low(values))
    return median | {"rounds": len(rounds), "runner_ms_per_trial_by_round": values}


if __name__ == "__main__":
    main()
