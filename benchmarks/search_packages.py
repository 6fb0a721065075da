"""Search methods of other packages, for comparison; one whose package is missing is skipped with a line.

Each gets the same rungs, and its epochs are charged as ours are: where it asks again for a configuration with
more epochs, those that it had cost nothing. Optuna cannot resume a pruned trial, so that it never does.
"""

import importlib.util
import itertools
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import search_methods
from search_methods import ETA, Account, Method, Task

from helixband.search.samplers.evidence import Document
from hyperband import brackets

PACKAGES = ["numpy", "optuna", "dehb", "hpbandster", "ConfigSpace", "hyperopt"]


def optuna_search(account: Account, seed: int, pruned: bool) -> None:
    """Optuna's TPE, with its HyperbandPruner or every trial trained to the end."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    most = account.task.max_epochs
    least = brackets(most, ETA)[0][0].epochs
    pruner: Any = optuna.pruners.NopPruner()
    if pruned:
        pruner = optuna.pruners.HyperbandPruner(least, most, ETA)
    steps = [least * ETA**power for power in range(20) if least * ETA**power < most] if pruned else []

    def objective(trial: Any) -> float:
        config = {one.name: _suggested(trial, one) for one in account.task.space}
        for epochs in [*steps, most]:
            reward = account.train(config, epochs, str(trial.number))
            trial.report(reward, epochs)
            if trial.should_prune():
                raise optuna.TrialPruned
        return reward

    sampler = optuna.samplers.TPESampler(seed=seed)
    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(objective)


def dehb_search(account: Account, seed: int) -> None:
    """DEHB (Awad, Mallik and Hutter, IJCAI 2021) by its own package."""
    import dehb

    rungs = brackets(account.task.max_epochs, ETA)[0]
    # a thousandth less, as the package's logarithm would lose a bracket to rounding
    least = 0.999 * account.task.max_epochs / ETA ** (len(rungs) - 1)
    with tempfile.TemporaryDirectory() as folder:
        optimizer = dehb.DEHB(
            cs=_config_space(account.task, seed), min_fidelity=least, max_fidelity=account.task.max_epochs,
            eta=ETA, seed=seed, n_workers=1, output_path=folder, save_freq="end",
            log_level="CRITICAL",
        )  # fmt: skip
        while True:
            job = optimizer.ask()
            epochs = min(rungs, key=lambda rung: abs(rung.epochs - job["fidelity"])).epochs  # noqa: B023
            reward = account.train(_document(account.task, job["config"]), epochs)
            optimizer.tell(job, {"fitness": -reward, "cost": epochs})


def bohb_search(account: Account, seed: int) -> None:
    """BOHB (Falkner, Klein and Hutter, ICML 2018): hpbandster's model in a loop of Hyperband of ours.

    Its own loop needs a name server and sockets; the model is the same.
    """
    import numpy as np
    from hpbandster.optimizers.config_generators.bohb import BOHB

    np.random.seed(seed)
    model = BOHB(_config_space(account.task, seed))
    model.logger.setLevel(logging.CRITICAL)
    for number in itertools.count():
        rungs = brackets(account.task.max_epochs, ETA)[number % len(brackets(account.task.max_epochs, ETA))]
        waiting: list[tuple[float, int, Document]] = []
        for rung, (count, epochs) in enumerate(rungs):
            chosen = sorted(waiting, key=lambda one: one[:2])[:count]
            waiting = []
            for index in range(count):
                drawn = model.get_config(epochs)[0] if rung == 0 else chosen[index][2]
                key = f"{number} {index if rung == 0 else chosen[index][1]}"
                reward = account.train(_document(account.task, drawn), epochs, key)
                waiting.append((-reward, index if rung == 0 else chosen[index][1], drawn))
                told = SimpleNamespace(
                    result={"loss": -reward}, kwargs={"budget": epochs, "config": drawn}, exception=None
                )
                model.new_result(told)


METHODS: dict[str, dict[str, Method]] = {
    **search_methods.METHODS,
    "optuna": {
        "Optuna TPE + HyperbandPruner": lambda account, seed: optuna_search(account, seed, pruned=True),
        "Optuna TPE": lambda account, seed: optuna_search(account, seed, pruned=False),
    },
    "dehb": {"DEHB": dehb_search},
    "bohb": {"BOHB (hpbandster)": bohb_search},
}
NEEDED = {"optuna": ["optuna"], "dehb": ["dehb", "ConfigSpace"], "bohb": ["hpbandster", "ConfigSpace"]}


def methods_named(names: list[str]) -> Iterator[tuple[str, Method]]:
    """The rows of these methods; a line says which are skipped as their package is not installed."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise SystemExit(f"--methods: {', '.join(unknown)} is none of {', '.join(METHODS)}")
    for name in names:
        missing = [one for one in NEEDED.get(name, []) if importlib.util.find_spec(one) is None]
        if missing:
            print(f"{name} is skipped: pip install {' '.join(missing)}", file=sys.stderr)
        else:
            yield from METHODS[name].items()


def _suggested(trial: Any, dimension: search_methods.Dimension) -> Any:
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, dimension.choices)
    if dimension.integer:
        return trial.suggest_int(dimension.name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def _config_space(task: Task, seed: int) -> Any:
    """The space for ConfigSpace."""
    import ConfigSpace as cs

    warnings.filterwarnings("ignore", module="ConfigSpace")
    space = cs.ConfigurationSpace(seed=seed)
    for one in task.space:
        if one.choices:
            space.add(cs.CategoricalHyperparameter(one.name, one.choices))
        else:
            kind = cs.UniformIntegerHyperparameter if one.integer else cs.UniformFloatHyperparameter
            space.add(kind(one.name, lower=one.low, upper=one.high, log=one.log))
    return space


def _document(task: Task, config: Any) -> Document:
    """With Python's own numbers."""
    values = {one.name: config[one.name] for one in task.space}
    return {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
