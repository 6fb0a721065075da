"""The trials of a search for other programs: a CSV table, or an Optuna study in an SQLite database."""

import csv
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixband.errors import HelixbandError, UsageError
from helixband.files import write_whole
from helixband.report.columns import Column, columns, label
from helixband.report.summary import Summary, TrialSummary

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

FIXED = ("trial", "round", "bracket", "epochs", "reward", "best_epoch", "error")
SUFFIXES = (".csv", ".db", ".sqlite")
STUDY = "helixband"


def check_suffix(path: str | Path) -> str:
    """The suffix of a file to export to; raises `UsageError` where it is none of `SUFFIXES`."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"cannot export to {str(path)!r}: the name has to end in .csv (a table), or in .db or .sqlite "
            "(an Optuna study)"
        )
    return suffix


def export(summary: Summary, path: str | Path) -> None:
    """Write the trials to a file, the format by its suffix; an existing file is replaced whole.

    Raises `UsageError` for another suffix or a folder that is not there, `StorageError` where it cannot be
    written, `HelixbandError` where Optuna is missing.
    """
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--export {path}: the folder {Path(path).parent} does not exist")
    if check_suffix(path) == ".csv":
        write_whole(path, csv_table(summary))
    else:
        _write_study(summary, Path(path))


def csv_table(summary: Summary) -> str:
    """A row a trial: what came of it, and its hyperparameters by name, empty where it has none.

    A hyperparameter called as one of the first columns is, such as "epochs", gets "config/" before it.
    """
    names = dict.fromkeys(name for trial in summary.trials for name in trial.config)
    titles = [f"config/{name}" if name in FIXED else name for name in names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *titles])
    for trial in summary.trials:
        config = trial.config
        facts = (
            trial.name,
            trial.round,
            trial.bracket,
            trial.epochs,
            trial.reward,
            trial.best_epoch,
            trial.error,
        )
        writer.writerow([*facts, *(label(config[name]) if name in config else "" for name in names)])
    return text.getvalue()


def _write_study(summary: Summary, path: Path) -> None:
    """The study of the name "helixband", to be maximised."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise HelixbandError(
            f"an Optuna study needs Optuna ({error}); install it with: pip install optuna, or export to .csv"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "study.db")
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
        study.add_trials(_frozen_trials(summary))
        storage.engine.dispose()
        write_whole(path, file.read_bytes())


def _frozen_trials(summary: Summary) -> list["FrozenTrial"]:
    from optuna.trial import create_trial

    found = columns(summary.trials, summary.run.get("log_scaled"))
    params = [_params(trial, index, found) for index, trial in enumerate(summary.trials)]
    distributions = {column.name: _distribution(column, params) for column in found}
    frozen = []
    for trial, own in zip(summary.trials, params, strict=True):
        rewards = enumerate(trial.curves.get("reward", []), 1)
        frozen.append(
            create_trial(
                state=_state(trial, summary.max_epochs),
                value=None if trial.error else trial.reward,
                params=own,
                distributions={name: distributions[name] for name in own},
                intermediate_values={epoch: reward for epoch, reward in rewards if reward is not None},
                user_attrs=_attributes(trial),
            )
        )
    return frozen


def _params(trial: TrialSummary, index: int, found: list[Column]) -> dict[str, Any]:
    """What the trial has; a null among numbers is left out, as Optuna has no such number."""
    config = trial.config
    return {
        column.name: column.values[index] if column.mixed else config[column.name]
        for column in found
        if column.values[index] is not None
    }


def _distribution(column: Column, params: list[dict[str, Any]]) -> "BaseDistribution":
    """The range of the values that were tried; categories where they are no numbers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    tried = [own[column.name] for own in params if column.name in own]
    if column.categories is not None:
        return CategoricalDistribution(sorted(set(tried), key=label))
    if all(isinstance(value, int) for value in tried):
        return IntDistribution(min(tried), max(tried), log=column.log)
    return FloatDistribution(min(tried), max(tried), log=column.log)


def _state(trial: TrialSummary, max_epochs: int | None) -> "TrialState":
    """FAIL, COMPLETE of a trial trained to the end, or PRUNED."""
    from optuna.trial import TrialState

    if trial.error:
        return TrialState.FAIL
    whole = trial.reward is not None and max_epochs is not None and trial.epochs >= max_epochs
    return TrialState.COMPLETE if whole else TrialState.PRUNED


def _attributes(trial: TrialSummary) -> dict[str, Any]:
    facts: dict[str, Any] = {"round": trial.round, "bracket": trial.bracket, "epochs": trial.epochs}
    facts |= {"best_epoch": trial.best_epoch, "error": trial.error}
    known = {name: value for name, value in facts.items() if value is not None}
    return {"trial": trial.name, **known, "config": trial.document}
