"""Mean regret of search methods on LCBench, a surrogate of the training of networks on 34 data sets.

A search is simulated: an epoch costs one, a promoted trial goes on from its checkpoint, and budgets are
counted in trainings of R = 52 epochs. The reward is validation accuracy, as predicted by the surrogate of
YAHPO Gym (Pfisterer et al. 2022). Regret is (best - x) / (best - median): x is the accuracy after 52 epochs
of the incumbent, the trial of the highest reward among those at the largest number of epochs seen; best and
median are of 20,000 random configurations, best after a local search from ten of them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, make_parser, report, setting, table
from search_methods import Dimension, Method, Task, simulate
from search_packages import PACKAGES, methods_named

from helixband.search.run import LAG
from helixband.search.samplers.evidence import Document

DATA = Path(os.environ.get("HELIXBAND_DATA", ROOT / "../shared/data")) / "lcbench"
COMPARED = "helixband,hyperband,random,optuna,dehb,bohb"
TASKS = ["3945", "7593", "126026", "167168", "189873", "189906"]
HYPERPARAMETERS = [
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
]
ACCURACY = 1  # the surrogate's column; column 0 is the time
DRAWS = 20_000


class Surrogate:
    """A task of LCBench."""

    max_epochs = 52

    def __init__(self, name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(DATA / "model.onnx", options)
        self._code = json.loads((DATA / "encoding.json").read_text())["OpenML_task_id"][name]
        found = json.loads((DATA / "config_space.json").read_text())["hyperparameters"]
        kinds = {one["name"]: one for one in found}
        self.space = [
            Dimension(key, kind["lower"], kind["upper"], kind["log"], kind["type"] == "uniform_int")
            for key, kind in ((key, kinds[key]) for key in HYPERPARAMETERS)
        ]
        cache = Path(tempfile.gettempdir()) / f"helixband-lcbench-{name}.json"
        if not cache.exists():
            cache.write_text(json.dumps(self._best_and_median()))
        self.best, self.median = json.loads(cache.read_text())

    def accuracy(self, rows: Any, epochs: Any) -> Any:
        """Of configurations (N, 7) in the order of HYPERPARAMETERS after (N,) epochs, per cent."""
        inputs = np.column_stack([epochs, rows]).astype(np.float32)
        tasks = np.full((len(inputs), 1), self._code, np.int32)
        return self._session.run(None, {"x_cat": tasks, "x_cont": inputs})[0][:, ACCURACY]

    def curve(self, config: Document, trial: int) -> Callable[[int], float]:
        """Of one configuration."""
        row = [[config[name] for name in HYPERPARAMETERS]]
        return lambda epochs: float(self.accuracy(row, [epochs])[0])

    def regret(self, config: Document) -> float:
        """Of one configuration."""
        return (self.best - self.curve(config, 0)(self.max_epochs)) / (self.best - self.median)

    def _best_and_median(self) -> tuple[float, float]:
        rng = np.random.default_rng(0)
        units = rng.random((DRAWS, len(self.space)))
        quality = np.concatenate([self._quality(part) for part in np.array_split(units, 10)])
        median = float(np.median(quality))
        top = np.argsort(-quality)[:10]
        units, quality = units[top], quality[top]
        for step in range(300):  # from coarse to fine: the steps are halved six times
            moved = units + rng.normal(scale=0.2 / 2 ** (step // 50), size=units.shape) * (
                rng.random(units.shape) < 0.4
            )
            moved = moved.clip(0, 1)
            found = self._quality(moved)
            better = found > quality
            units[better], quality[better] = moved[better], found[better]
        return float(quality.max()), median

    def _quality(self, units: Any) -> Any:
        columns = []
        for unit, dimension in zip(units.T, self.space, strict=True):
            low, high = dimension.ends()
            value = low + unit * (high - low)
            value = np.exp(value) if dimension.log else value
            columns.append(np.rint(value) if dimension.integer else value)
        return self.accuracy(np.column_stack(columns), np.full(len(units), self.max_epochs))


def search_parser(description: str, seeds: int, budgets: list[int]) -> argparse.ArgumentParser:
    """The flags of a comparison of search methods."""
    parser = make_parser(description)
    parser.add_argument("--seeds", type=int, default=seeds, help="searches a task and method [%(default)s]")
    parser.add_argument("--budgets", type=int, nargs="+", default=budgets, help="in R [%(default)s]")
    parser.add_argument("--methods", default=COMPARED, help="separated by commas [%(default)s]")
    parser.add_argument("--lag", type=int, default=LAG, help="jobs unknown to a suggestion [%(default)s]")
    parser.add_argument("--before", type=Path, help="a --json document of another version, to compare with")
    return parser


def compare(tasks: Mapping[str, Callable[[int], Task]], args: argparse.Namespace) -> None:
    """Print the mean regret of each method after each budget, over tasks and seeds."""
    found: dict[str, Any] = {}
    for name, method in methods_named(args.methods.split(",")):
        started = time.perf_counter()
        regrets = np.array(
            [
                [_regrets(make(seed), method, seed, args) for seed in range(args.seeds)]
                for make in tasks.values()
            ]
        )
        found[name] = {
            "regret": dict(zip(args.budgets, regrets.mean(axis=(0, 1)).tolist(), strict=True)),
            "standard_error": (regrets.mean(axis=0).std(axis=0) / args.seeds**0.5).tolist(),
            "by_task": dict(zip(tasks, regrets.mean(axis=1).tolist(), strict=True)),
            "by_seed": regrets.mean(axis=0).tolist(),
            "seconds": time.perf_counter() - started,
        }
        print(f"{name}: {found[name]['seconds']:.0f} s", file=sys.stderr)
    head = ["method", *(f"after {budget} R" for budget in args.budgets)]
    rows = [
        [name, *_cells(result["regret"].values(), result["standard_error"])] for name, result in found.items()
    ]
    tables = [table(head, rows)]
    if args.before:
        differences = paired(found, json.loads(args.before.read_text())["methods"])
        rows = [[name, *_cells(*zip(*pairs, strict=True))] for name, pairs in differences.items()]
        tables.append(table(["the same seeds, less those before", *head[1:]], rows))
        for name, pairs in differences.items():
            found[name]["less_before"] = pairs
    document = {"setting": setting(torch.device("cpu"), PACKAGES), "seeds": args.seeds, "methods": found}
    report(document, tables, args.json)


def paired(found: dict[str, Any], before: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """For each method of both and each budget: the mean difference over the seeds, and its standard error."""
    differences = {}
    for name in found.keys() & before.keys():
        by_seed = np.array(found[name]["by_seed"]) - np.array(before[name]["by_seed"])
        errors = by_seed.std(axis=0, ddof=1) / len(by_seed) ** 0.5
        differences[name] = list(zip(by_seed.mean(axis=0).tolist(), errors.tolist(), strict=True))
    return differences


def _cells(means: Iterable[float], errors: Iterable[float]) -> list[str]:
    return [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(means, errors, strict=True)]


def _regrets(task: Task, method: Method, seed: int, args: argparse.Namespace) -> list[float]:
    steps = simulate(task, method, seed, max(args.budgets), args.lag)
    return [[step.regret for step in steps if step.cost <= budget][-1] for budget in args.budgets]


def main() -> None:
    parser = search_parser(__doc__.splitlines()[0], seeds=20, budgets=[20, 80])
    parser.add_argument("--tasks", default=",".join(TASKS), help="separated by commas [%(default)s]")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"skipped: {DATA} is missing (HELIXBAND_DATA names the folder that holds lcbench)")
    tasks = {name: Surrogate(name) for name in args.tasks.split(",")}
    compare({name: lambda seed, task=task: task for name, task in tasks.items()}, args)


if __name__ == "__main__":
    main()
