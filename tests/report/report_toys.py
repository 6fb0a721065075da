"""Result directories for the tests of the report, written as a run writes them."""

import json
import math
import random
from pathlib import Path
from typing import Any

from hyperband import brackets

RUN = {
    "helixband": "0.1.0",
    "python": "3.12.0",
    "torch": "2.13.0",
    "numpy": "2.0.0",
    "command": ["main.py", "--model", "def.py", "--hyper"],
    "definition": {"path": "promoters/def.py", "sha256": "0" * 64},
    "settings": {"seed": 0, "epoch": 9, "batch_size": 100, "eta": 3, "sampler": "auto"},
    "environment": {},
}

SEARCH = {
    "event": "search",
    "max_epochs": 9,
    "eta": 3,
    "schedule": "hyperband",
    "sampler": "auto",
    "seed": 0,
    "batch_size": 100,
    "trials": None,
    "stop_hopeless": False,
}


def begun(trial: int, config: dict[str, Any], bracket: int = 0, round: int = 0) -> dict[str, Any]:
    """The event of a new trial."""
    return {"event": "trial", "trial": trial, "round": round, "bracket": bracket, "config": config}


def result(
    trial: int, epochs: int, reward: float | None, best_epoch: int = 1, error: str | None = None
) -> dict[str, Any]:
    """The event of a trial that came to a rung; one that failed has had an epoch less."""
    trained = epochs if error is None else epochs - 1
    found = {"epochs": epochs, "trained": trained, "reward": reward, "best_epoch": best_epoch}
    return {"event": "result", "trial": trial, **found, "error": error, "stops": []}


def write_results(path: Path, events: list[dict[str, Any]], run: dict[str, Any] | None = RUN) -> Path:
    """A result directory with this journal; the histories of its trials come from `write_history`."""
    (path / "search").mkdir(parents=True, exist_ok=True)
    (path / "search" / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if run is not None:
        (path / "run.json").write_text(json.dumps(run))
    return path


def write_history(path: Path, name: str, rewards: list[float | None]) -> None:
    """The train_results.csv of a trial, with a loss that is the reward's negative."""
    directory = path / "trials" / name
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{epoch}.0,{'' if reward is None else -reward},{'' if reward is None else reward}"
        for epoch, reward in enumerate(rewards, 1)
    ]
    (directory / "train_results.csv").write_text("\n".join(["epoch,val_loss,reward", *rows]) + "\n")


def big_search(path: Path, trials: int, max_epochs: int = 27, failing: float = 0.05) -> Path:
    """A search of several rounds of Hyperband, of so many trials: conditional and nested keys, failures."""
    draw = random.Random(0)
    events: list[dict[str, Any]] = [SEARCH | {"max_epochs": max_epochs}]
    number = round = 0
    while number < trials:
        for bracket, rungs in enumerate(brackets(max_epochs, 3)):
            own = list(range(number, min(trials, number + rungs[0].configurations)))
            number += len(own)
            _bracket(path, events, own, rungs, draw, failing, {"bracket": bracket, "round": round})
        round += 1
    write_results(path, [*events, {"event": "end"}])
    (path / "best_config").symlink_to("trials/0000")
    return path


def _bracket(
    path: Path,
    events: list[dict[str, Any]],
    trials: list[int],
    rungs: Any,
    draw: random.Random,
    failing: float,
    place: dict[str, int],
) -> None:
    configs = {trial: _config(draw) for trial in trials}
    events += [begun(trial, config, **place) for trial, config in configs.items()]
    last: dict[int, float] = dict.fromkeys(trials, 0.0)
    for k, rung in enumerate(rungs):
        for trial in sorted(last, key=lambda trial: -last[trial])[: rung.configurations] if k else trials:
            name = f"{trial:04d}"
            if draw.random() < failing:
                error = draw.choice(["ValueError: the loss is nan", f"OutOfMemoryError: tried {trial} MiB"])
                events.append(result(trial, rung.epochs, None, 0, error))
                last.pop(trial, None)
                write_history(path, name, [None] * (rung.epochs - 1))
                lines = "".join(f"  frame {n}\n" for n in range(30))
                (path / "trials" / name / "error.txt").write_text(f"Traceback:\n{lines}{error}\n")
                continue
            curve: list[float | None] = list(_curve(configs[trial], rung.epochs, trial))
            last[trial] = max(value for value in curve if value is not None)
            events.append(result(trial, rung.epochs, last[trial], curve.index(last[trial]) + 1))
            write_history(path, name, curve)


def _config(draw: random.Random) -> dict[str, Any]:
    config: dict[str, Any] = {
        "lr": 10 ** draw.uniform(-4.5, -1),
        "dropout": draw.uniform(0, 0.6),
        "optimizer": draw.choice(["adam", "sgd", "rmsprop"]),
        "batch_norm": draw.random() < 0.5,
        "layers": [{"width": draw.choice([32, 64, 128, 256])} for _ in range(draw.randint(1, 2))],
        "weight_decay": draw.choice([None, 10 ** draw.uniform(-6, -2)]),
        "loss": "mse",
    }
    if config["optimizer"] == "sgd":
        config["momentum"] = draw.uniform(0.5, 0.99)
    return config


def _curve(config: dict[str, Any], epochs: int, trial: int) -> list[float]:
    """Rewards that depend on the rate most, and rise with the epochs."""
    noise = random.Random(trial)
    miss = (math.log10(config["lr"]) + 2.5) ** 2 / 6 + (config["dropout"] - 0.2) ** 2
    miss += 0.15 * (config["optimizer"] == "sgd")
    return [-miss - 0.8 / (epoch + 1) - noise.uniform(0, 0.04) for epoch in range(epochs)]
