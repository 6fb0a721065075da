"""Time whole searches by the wall clock: ours with --pack, Ray Tune with ASHA, Optuna with Hyperband.

Each trains the network of the function_regressor example, in a space of one shape: learning rate, momentum,
weight decay and dropout. All have the same data, batches and sum of epochs, that of Hyperband with R, and as
many cores. A time is that of a process from its start to its end. A package that is missing is named.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import EXAMPLES, ROOT, load_script, make_parser, report, setting, table
from torch import nn, optim

from hyperband import brackets

ETA = 3
BATCH_SIZE = 100
SPACE = {"lr": (1e-3, 1e-1), "momentum": (0.5, 0.95), "decay": (1e-6, 1e-3), "dropout": (0.0, 0.3)}
LOG_SCALED = ("lr", "decay")
WANTED = 0.6
"""The time of our search, as a share of the faster one of the others, at most."""

DEFINITION = f"""
import sys

sys.path[:0] = [{str(EXAMPLES / "function_regressor")!r}, {str(Path(__file__).parent)!r}]
from hyperopt import hp
import numpy as np
import reg_model
import search_wall
from helixband import MatrixBatchGenerator, RegressionModel


def get_train_generator(data_dir, batch_size):
    X, Y = reg_model.read_xy(data_dir, "train")
    return MatrixBatchGenerator.get_train_val_generator(X, Y, val_ratio=0.1, batch_size=batch_size)


def get_config():
    return {{name: ranged(name, *ends) for name, ends in search_wall.SPACE.items()}}


def ranged(name, low, high):
    if name in search_wall.LOG_SCALED:
        return hp.loguniform(name, np.log(low), np.log(high))
    return hp.uniform(name, low, high)


class Model(RegressionModel):
    def init_model(self):
        super().init_model(*search_wall.made(self.config))
"""


def made(config: Any) -> tuple[nn.Module, nn.Module, optim.Optimizer]:
    """The network, the criterion and the optimizer of a configuration."""
    drop = config["dropout"]
    network = nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Dropout(drop), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(drop),
        nn.Linear(64, 1),
    )  # fmt: skip
    momentum, decay = config["momentum"], config["decay"]
    optimizer = optim.SGD(network.parameters(), config["lr"], momentum=momentum, weight_decay=decay)
    return network, nn.MSELoss(), optimizer


def losses_of(config: Any, arrays: list[Any], epochs: int) -> Iterator[float]:
    """The loss on the validation set after each epoch, by a loop as one writes it by hand."""
    torch.set_num_threads(1)
    network, criterion, optimizer = made(config)
    X, Y, X_val, Y_val = map(torch.from_numpy, arrays)
    for _ in range(epochs):
        network.train()
        for chosen in torch.randperm(len(X)).split(BATCH_SIZE):
            optimizer.zero_grad()
            criterion(network(X[chosen]), Y[chosen]).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            yield float(criterion(network(X_val), Y_val))


def read_arrays(data: str) -> list[Any]:
    """X and Y for training, and a tenth for validation."""
    X, Y = load_script(EXAMPLES / "function_regressor" / "reg_model.py").read_xy(data, "train")
    n_val = len(X) // 10
    return [X[n_val:], Y[n_val:], X[:n_val], Y[:n_val]]


def budget(max_epochs: int) -> int:
    """The epochs of a Hyperband search in which promoted trials go on.

    >>> budget(27)
    357
    """
    done = 0
    for rungs in brackets(max_epochs, ETA):
        before = 0
        for rung in rungs:
            done += rung.configurations * (rung.epochs - before)
            before = rung.epochs
    return done


def our_command(args: argparse.Namespace, data: str) -> tuple[list[str], Path]:
    """The command line of a search, and its results."""
    folder = Path(tempfile.mkdtemp(dir=data))
    (folder / "def.py").write_text(DEFINITION)
    places = ["--model", folder / "def.py", "--data", data, "--result", folder / "results"]
    flags = ["--hyper", "--epoch", args.max_epochs, "--workers", args.cores, "--pack", args.pack, "--cpu"]
    words = [sys.executable, ROOT / "main.py", *places, *flags, "--batch-size", BATCH_SIZE]
    return list(map(str, words)), folder / "results"


def found_by_ours(args: argparse.Namespace, results: Path) -> dict[str, Any]:
    """What came of it."""
    lines = (results / "search" / "journal.jsonl").read_text().splitlines()
    rewards = [one["reward"] for one in map(json.loads, lines) if one["event"] == "result"]
    return {"epochs": budget(args.max_epochs), "best_loss": -max(filter(None, rewards))}


def ray_tune(args: argparse.Namespace) -> dict[str, Any]:
    """Ray Tune with ASHA, one core a trial, until its trials have had the epochs of the budget."""
    import ray
    from ray import tune

    ray.init(num_cpus=args.cores, log_to_driver=False, include_dashboard=False)
    losses: list[float] = []

    class Budget(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            losses.append(result["loss"])
            return self.stop_all()

        def stop_all(self) -> bool:
            return len(losses) >= budget(args.max_epochs)

    def train(config: dict[str, Any], arrays: list[Any]) -> None:
        for loss in losses_of(config, [np.array(part) for part in arrays], args.max_epochs):
            tune.report({"loss": loss})

    space = {
        name: tune.loguniform(*ends) if name in LOG_SCALED else tune.uniform(*ends)
        for name, ends in SPACE.items()
    }
    count = len(brackets(args.max_epochs, ETA))
    scheduler = tune.schedulers.ASHAScheduler(
        max_t=args.max_epochs, grace_period=1, reduction_factor=ETA, brackets=count
    )
    tune.Tuner(
        tune.with_parameters(train, arrays=read_arrays(args.data)),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=-1,
            scheduler=scheduler,
            max_concurrent_trials=args.cores,  # else it makes 200 trials that wait
        ),
        run_config=tune.RunConfig(storage_path=args.data, stop=Budget(), verbose=0),
    ).fit()
    return {"epochs": len(losses), "best_loss": min(losses)}


def optuna_search(args: argparse.Namespace) -> dict[str, Any]:
    """Optuna's TPE and HyperbandPruner, a process for each core, which share a study in a file."""
    import multiprocessing

    folder = tempfile.mkdtemp(dir=args.data)
    workers = [
        multiprocessing.get_context("spawn").Process(target=_optuna_worker, args=(args, folder))
        for _ in range(args.cores)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    study = _study(args, folder)
    return {"epochs": _epochs_of(study), "best_loss": study.best_value}


def _study(args: argparse.Namespace, folder: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = optuna.storages.journal.JournalFileBackend(f"{folder}/journal.log")
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(file),
        study_name="wall",
        load_if_exists=True,
        pruner=optuna.pruners.HyperbandPruner(1, args.max_epochs, ETA),
    )


def _epochs_of(study: Any) -> int:
    return sum(len(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))


def _optuna_worker(args: argparse.Namespace, folder: str) -> None:
    import optuna

    arrays, study = read_arrays(args.data), _study(args, folder)

    def objective(trial: Any) -> float:
        config = {
            name: trial.suggest_float(name, *ends, log=name in LOG_SCALED) for name, ends in SPACE.items()
        }
        loss = float("nan")
        for epoch, loss in enumerate(losses_of(config, arrays, args.max_epochs), 1):
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    def stop(study: Any, trial: Any) -> None:
        if _epochs_of(study) >= budget(args.max_epochs):
            study.stop()

    study.optimize(objective, callbacks=[stop])


SEARCHES: dict[str, tuple[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "Ray Tune, ASHA": ("ray", ray_tune),
    "Optuna, Hyperband": ("optuna", optuna_search),
}


def timed(name: str, args: argparse.Namespace, data: str) -> dict[str, Any]:
    """A search in a process of its own, ours by main.py, and how long that took."""
    flags = ["--max-epochs", args.max_epochs, "--cores", args.cores]
    command, results = [sys.executable, __file__, "--only", name, "--data", data, *map(str, flags)], None
    if name == "ours":
        command, results = our_command(args, data)
    before = os.times()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    after = os.times()
    found: dict[str, Any] = (
        found_by_ours(args, results) if results else json.loads(done.stdout.splitlines()[-1])
    )
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {**found, "seconds": after.elapsed - before.elapsed, "cpu_seconds": cpu}


def compare(args: argparse.Namespace) -> None:
    """Each search in turn, round by round."""
    there = ["ours", *(name for name, (package, _) in SEARCHES.items() if importlib.util.find_spec(package))]
    missing = [package for _, (package, _) in SEARCHES.items() if not importlib.util.find_spec(package)]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in there}
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        load_script(EXAMPLES / "function_regressor" / "make_data.py").main()
        for _ in range(args.rounds):
            for name in there:
                found[name].append(timed(name, args, str(Path(directory) / "data")))
        os.chdir(ROOT)
    seconds = {name: statistics.median(one["seconds"] for one in all_) for name, all_ in found.items()}
    others = [took for name, took in seconds.items() if name != "ours"]
    ratio = seconds["ours"] / min(others) if others else None
    document = {
        "setting": {**setting(torch.device("cpu"), ["torch", "ray", "optuna"]), "cores": args.cores},
        "searches": found,
        "ratio": ratio,
        "wanted": WANTED,
        "missing": missing,
    }
    cpu = {name: statistics.median(one["cpu_seconds"] for one in all_) for name, all_ in found.items()}
    rows = [
        [name, f"{seconds[name]:.1f}", f"{cpu[name]:.1f}", all_[-1]["epochs"], f"{best_loss(all_):.4f}"]
        for name, all_ in found.items()
    ]
    told = [f"not installed: {package}" for package in missing]
    if ratio is not None:
        told.append(f"ours takes {ratio:.2f} of the faster one's time; wanted: at most {WANTED}")
    report(document, [table(["search", "s", "CPU s", "epochs", "best loss"], rows), *told], args.json)


def best_loss(all_: list[dict[str, Any]]) -> float:
    """The lowest of several searches."""
    return min(one["best_loss"] for one in all_)


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--max-epochs", type=int, default=27, help="R of Hyperband [%(default)s]")
    parser.add_argument("--cores", type=int, default=2, help="[%(default)s]")
    parser.add_argument("--pack", type=int, default=16, help="trials of ours in a process [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts [%(default)s]")
    parser.add_argument("--only", choices=list(SEARCHES), help="this search alone, untimed, over --data")
    parser.add_argument("--data", help="the folder of the example's data, for --only")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(SEARCHES[args.only][1](args)))
    else:
        compare(args)


if __name__ == "__main__":
    main()
