"""`--experiment FILE overrides…`: what a YAML experiment says, as the flags of a run and a definition.

Its values stand where a flag was not given: `trainer.max_epochs` is --epoch, `seed` --seed, the batch size of
the data module --batch-size. A sweep of `-m` becomes a job for each combination.
"""

import argparse
import itertools
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from helixband.errors import UsageError
from helixband.files import absolute
from helixband.interop.composing import Composed, compose, find_file, parse_overrides
from helixband.interop.experiment import checked_plan, data_node, source
from helixband.interop.searched import hyperparameters, space
from helixband.jobs import Command, Jobs
from helixband.run.context import Planned
from helixband.run.hyperparameters import config_beside

_OF_EVALUATION = {"eval", "test"}
"""Names of experiments that evaluate a checkpoint, and of their tasks, in Lightning-Hydra projects."""
STAGES = ("train", "hyper", "eval", "predict", "check")


def plan(args: Namespace) -> Planned | None:
    """Compose the experiment of these flags, and fill in what it gives of them.

    None where that was all that was asked for: `--cfg` printed it, or `-m` made jobs of it.
    """
    file = find_file(args.experiment[0], args.config_dir)
    overrides, result = args.experiment[1:], Path(absolute(args.result)) / ("debug" if args.debug else "")
    if args.multirun and (sweeps := expanded(overrides)) is not None:
        submit(args, file, sweeps)
        return None
    composed = compose(file, overrides, result)
    if args.cfg:
        print(composed.text(args.cfg), end="")
        return None
    job, notes = checked_plan(composed)
    _take_stages(args, composed)
    _check_set(args, composed, job)
    settings = _settings(args, job, str(file), notes)
    return Planned(source(composed, job, result).encode(), composed.text(), settings, tuple(notes))


def _take_stages(args: Namespace, composed: Composed) -> None:
    """What to do: as the flags say, or else as the experiment says."""
    searches, job = bool(space(composed)), composed.job
    if (args.hyper or args.multirun) and not searches:
        has = "; -m also takes sweeps, as model.lr=0.1,0.2" if args.multirun else ""
        raise UsageError(
            f"{composed.file} has no search space: add hparams_search=NAME, a file with "
            f"hydra.sweeper.params{has}"
        )
    args.hyper = args.hyper or args.multirun
    if evaluates(composed) and not (args.train or args.hyper or args.epoch):
        args.weights = args.weights or absolute(str(job.ckpt_path))
        args.eval = args.eval or not args.predict
        return
    if any(getattr(args, name) for name in STAGES) or args.epoch or args.config or args.set or args.hparams:
        return
    args.hyper = searches and str(composed.config.hydra.mode).endswith("MULTIRUN")
    args.train = not args.hyper and bool(job.get("train", True))
    args.eval = bool(job.get("test", False))


def evaluates(composed: Composed) -> bool:
    """Whether an experiment evaluates a checkpoint alone, by `train: false`, or by its name or task."""
    job = composed.job
    if not job.get("ckpt_path"):
        return False
    if "train" in job:
        return not job.train
    return bool(_OF_EVALUATION & {composed.file.stem, job.get("task_name")})


def _check_set(args: Namespace, composed: Composed, job: DictConfig) -> None:
    """Raise `UsageError` for --set of what is no hyperparameter of the experiment."""
    known = hyperparameters(composed, job)
    for text in args.set:
        if (key := text.partition("=")[0]) not in known:
            has = f"; it has {', '.join(known)}" if known else ""
            raise UsageError(
                f"--set {text}: {key} is neither searched nor overridden in this experiment{has}. Give it "
                f"as an override, behind {args.experiment[0]}: {text}"
            )


def _settings(args: Namespace, job: DictConfig, file: str, notes: list[str]) -> dict[str, Any]:
    """Flags for what the experiment says where they are not given; the data directory at once."""
    if not _has_data_flag(args) and (path := data_directory(job)):
        os.makedirs(path, exist_ok=True)
        args.data = path
    is_endless = OmegaConf.select(job, "trainer.max_epochs") == -1
    if is_endless and args.epoch is None:
        notes.append("note: trainer.max_epochs is -1, without end; a trial has 20, or those of --epoch")
    settings: dict[str, Any] = {
        "epoch": None if is_endless else _number(job, "trainer.max_epochs", 1, file),
        "seed": _number(job, "seed", 0, file),
        "batch_size": _number(job, f"{data_node(job, file)}.batch_size", 1, file),
    }
    if args.weights is not None:
        notes += _differences(args.weights, job)
    elif path := job.get("ckpt_path"):
        notes.append(f"ckpt_path={path}: training begins with its weights, at epoch 0 (--load-checkpoint)")
        settings["load_checkpoint"] = absolute(str(path))
    return settings


def _differences(weights: str, job: DictConfig) -> list[str]:
    """Lines on what of its configuration a trial was trained with, and is another here."""
    notes = []
    for name, value in (config_beside(Path(weights)) or {}).items():
        if (here := OmegaConf.select(job, name)) != value:
            notes.append(f"note: {weights} was trained with {name}={value}, and here it is {here}")
    return notes


def _has_data_flag(args: Namespace) -> bool:
    return bool({"-d", "--data"} & set(args.given))


def data_directory(job: DictConfig) -> str | None:
    """The data directory of an experiment, if it has one."""
    path = OmegaConf.select(job, "paths.data_dir")
    return None if path is None else str(path)


def _number(job: DictConfig, key: str, least: int, file: str) -> int | None:
    value = OmegaConf.select(job, key)
    if value is None:
        return None
    if type(value) is not int or value < least:
        raise UsageError(f"{file}: {key} is {value!r}; it has to be a whole number from {least}")
    return value


# Sweeps.


def expanded(overrides: Sequence[str]) -> list[list[str]] | None:
    """The combinations of overrides that sweep, as `lr=0.1,0.2` does; None where none does."""
    choices: list[list[str]] = []
    sweeps = False
    for override in parse_overrides(overrides):
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
            continue
        sweeps = True
        if not override.is_discrete_sweep():
            raise UsageError(
                f"{override.input_line}: -m runs a job for each value, and an interval has no end of them: "
                "give it in hydra.sweeper.params of a file of hparams_search, which --hyper searches"
            )
        key = override.get_key_element()
        choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return [list(each) for each in itertools.product(*choices)] if sweeps else None


def submit(args: Namespace, file: Path, sweeps: Sequence[Sequence[str]]) -> None:
    """A job for each combination, named by its overrides; prints their status."""
    result = Path(absolute(args.result))
    commands = []
    for overrides in sweeps:
        job, _ = checked_plan(compose(file, overrides, result))
        words = ["--experiment", str(file), *overrides, *_other_words(args.words)]
        if (path := data_directory(job)) and not _has_data_flag(args):
            words += ["--data", path]
        if args.seed is None and (seed := _number(job, "seed", 0, str(file))) is not None:
            words += ["--seed", str(seed)]
        name = "/".join(text.replace("/", "_") for text in overrides)
        commands.append(Command(name, words))
    print(Jobs().submit(commands))


def _other_words(words: Sequence[str]) -> list[str]:
    """The words of the command but for those of the experiment, the sweep and the results."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--experiment", nargs="+")
    parser.add_argument("--config-dir")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-r", "--result")
    return parser.parse_known_args(list(words))[1]
