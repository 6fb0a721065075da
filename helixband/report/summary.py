"""A result directory as plain data: what a report and an export are made of. It is read, never written."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from helixband.errors import StorageError
from helixband.files import natural_key, read_object, read_whole
from helixband.results.digests import check_digests, file_digest
from helixband.results.directory import RECORD, SINGLE, Results, Trial, existing_results, trial_name
from helixband.results.older import Older, older_results
from helixband.results.pictures import Picture, read_pictures
from helixband.results.scored import ScoredSet, read_scored
from helixband.results.shapes import METRICS

Leaf = str | float | int | bool | None
Curve = list[float | None]

TRACEBACK_LINES = 12


@dataclass
class TrialSummary:
    """One trial: what it was given, how far it came."""

    name: str
    document: dict[str, Any]
    """The configuration as it is stored."""
    round: int = 0
    bracket: int = 0
    results: list[tuple[int, float | None]] = field(default_factory=list)
    """The epochs of each rung that it was trained for, and the reward it came to."""
    epochs: int = 0
    reward: float | None = None
    best_epoch: int | None = None
    error: str | None = None
    traceback: str = ""
    """The last lines of error.txt."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """A value an epoch of each column of train_results.csv but the epoch; None where undefined."""
    written: str | None = None
    """When its last epochs were stored, ISO 8601 in UTC."""

    @property
    def seconds(self) -> float | None:
        """How long all epochs took together; None where that was not stored."""
        took = [value for value in self.curves.get("seconds", []) if value is not None]
        return sum(took) if took else None

    def at_best(self, metric: str) -> float | None:
        """The value of a column of train_results.csv in the best epoch."""
        curve = self.curves.get(metric, [])
        place = (self.best_epoch or 0) - 1
        return curve[place] if 0 <= place < len(curve) else None

    @property
    def config(self) -> dict[str, Leaf]:
        """The configuration without its nesting."""
        return dict(flat(self.document))

    @property
    def rungs(self) -> list[int]:
        """The epochs of the rungs that it has a result of."""
        return [epochs for epochs, _ in self.results]


@dataclass
class Failure:
    """Trials that failed alike."""

    error: str
    trials: list[TrialSummary]


@dataclass
class Summary:
    """All that a report tells, in the order of the trials."""

    run: dict[str, Any]
    """run.json, or {}."""
    search: dict[str, Any] | None
    """The settings of the search as last extended; None of a single training."""
    finished: bool
    trials: list[TrialSummary]
    best: str | None
    """The trial that is evaluated and predicts."""
    test_result: dict[str, float | None]
    baselines: dict[str, Any]
    predictions: list[tuple[str, int]]
    """Files of predictions and their bytes."""
    damaged: list[str] = field(default_factory=list)
    """Of these, those that are not as they were written."""
    scored: ScoredSet | None = None
    """The labels and predictions of the test set, where they were kept."""
    pictures: dict[str, Picture] = field(default_factory=dict)
    """Those of the first examples of the test set, by name."""
    audit: dict[str, Any] = field(default_factory=dict)
    """What the check of the data found, or {}."""
    older: Older = field(default_factory=Older)
    """What is of other weights than those of the best trial."""

    @property
    def max_epochs(self) -> int | None:
        """The epochs of a trial that is trained to the end."""
        if self.search is not None:
            return int(self.search["max_epochs"])
        epochs = self.run.get("settings", {}).get("epoch")
        return None if epochs is None else int(epochs)

    @property
    def rungs(self) -> list[int]:
        """The epochs of all rungs, ascending."""
        return sorted({epochs for trial in self.trials for epochs in trial.rungs})

    @property
    def failures(self) -> list[Failure]:
        """Failed trials by their error, numbers in it aside; the most frequent error first."""
        failed = sorted((trial for trial in self.trials if trial.error), key=_error_kind)
        groups = [list(group) for _, group in groupby(failed, key=_error_kind)]
        groups.sort(key=lambda group: (-len(group), group[0].name))
        return [Failure(str(group[0].error), group) for group in groups]


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Leaf]]:
    """The leaves of a nested configuration with their names, which are paths as in JSON Pointer (RFC 6901).

    An empty dict or list is a leaf, `"{}"` or `"[]"`.

    >>> dict(flat({"lr": 0.1, "layers": [{"width": 8}, {"width": 4}], "a/b": True}))
    {'lr': 0.1, 'layers/0/width': 8, 'layers/1/width': 4, 'a~1b': True}
    """
    if isinstance(value, list) and value:
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict) and value:
        for key, item in value.items():
            key = key.replace("~", "~0").replace("/", "~1")
            yield from flat(item, f"{name}/{key}" if name else key)
    elif name:
        yield name, str(value) if isinstance(value, dict | list) else value


def read_summary(path: str | Path) -> Summary:
    """Read a result directory.

    Raises `UsageError` where it is none, `StorageError` where a file in it cannot be read.
    """
    results = existing_results(path)
    events = results.journal.of_search()
    trials = _searched(results, events) if events else _single(results)
    for trial in trials:
        _add_history(trial, results.trial(trial.name))
    searches = [event for event in events if event["event"] == "search"]
    run = results.run()
    linked = results.best_trial()
    tested = [results.test_file, results.baselines_file, results.test_set_file, results.pictures_file]
    check_digests([file for file in tested if file.exists()], run.get("digests", {}))
    summary = Summary(
        run=run,
        search=searches[-1] if searches else None,
        finished=bool(events) and events[-1]["event"] == "end",
        trials=trials,
        best=linked.id if linked else None,
        test_result=read_object(results.test_file, METRICS) if results.test_file.exists() else {},
        baselines=results.baselines() if results.baselines_file.exists() else {},
        predictions=_predictions(results.predictions),
        damaged=_damaged(results),
        scored=read_scored(results.test_set_file) if results.test_set_file.exists() else None,
        pictures=read_pictures(results.pictures_file) if results.pictures_file.exists() else {},
        audit=results.audit() if results.audit_file.exists() else {},
        older=older_results(results),
    )
    if not events:
        summary.finished = bool(trials) and trials[0].epochs >= (summary.max_epochs or math.inf)
    return summary


def _searched(results: Results, events: list[dict[str, Any]]) -> list[TrialSummary]:
    trials: dict[int, TrialSummary] = {}
    for line, event in enumerate(events, 1):
        if event["event"] == "trial":
            place = event["round"], event["bracket"]
            trials[event["trial"]] = TrialSummary(trial_name(event["trial"]), event["config"], *place)
        elif event["event"] == "result":
            if event["trial"] not in trials:
                raise results.journal.damaged(line, f"{event['trial']} is missing, the trial of a result")
            _add_result(trials[event["trial"]], event)
    for trial in trials.values():
        error_file = results.trial(trial.name).error_file
        if trial.error and error_file.exists():
            text = read_whole(error_file).decode(errors="replace")
            trial.traceback = "\n".join(text.rstrip().splitlines()[-TRACEBACK_LINES:])
    return [trials[number] for number in sorted(trials)]


def _add_result(trial: TrialSummary, event: dict[str, Any]) -> None:
    trial.results.append((event["epochs"], event["reward"]))
    trial.epochs = event["trained"]
    trial.error = event["error"]
    if event["reward"] is not None:
        trial.reward, trial.best_epoch = event["reward"], event["best_epoch"]


def _single(results: Results) -> list[TrialSummary]:
    config = results.config_of(results.trial(SINGLE))
    return [] if config is None else [TrialSummary(SINGLE, config)]


def _add_history(trial: TrialSummary, files: Trial) -> None:
    """Add the curves, and what came after the last result, for a trial may be under way."""
    if not files.history_file.exists():
        trial.epochs = max(trial.epochs, files.trained_epochs())
        return
    trial.curves, trial.written = _read_history(files), files.written()
    rewards = trial.curves.get("reward", [])
    if len(rewards) <= trial.epochs:
        return
    trial.epochs = len(rewards)
    defined = [(value, -epoch) for epoch, value in enumerate(rewards, 1) if value is not None]
    if defined and not trial.error:
        reward, epoch = max(defined)
        trial.reward, trial.best_epoch = reward, -epoch


def _read_history(files: Trial) -> dict[str, Curve]:
    """The columns of a train_results.csv but the epoch."""
    rows = files.history()
    names = dict.fromkeys(name for row in rows for name in row if name != "epoch")
    try:
        return {name: [_number(row[name]) for row in rows] for name in names}
    except (ValueError, TypeError) as error:  # TypeError: of a row that is too short
        raise StorageError(
            f"{files.history_file} is damaged: {error}; run the command that wrote it again to repair it"
        ) from error


def _number(text: str) -> float | None:
    value = float(text) if text != "" else math.nan
    return value if math.isfinite(value) else None


def _predictions(path: Path) -> list[tuple[str, int]]:
    files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
    whole = [file for file in files if not any(part.endswith(".part") for part in file.parts)]
    whole = [file for file in whole if not file.name.endswith(RECORD)]
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in whole}
    return [(name, sizes[name]) for name in sorted(sizes, key=natural_key)]


def _damaged(results: Results) -> list[str]:
    found = []
    for record in results.records():
        for name, digest in results.record(record).get("digests", {}).items():
            file = results.inside(name, record)
            if file.exists() and file_digest(file) != digest:
                found.append(file.relative_to(results.predictions).as_posix())
    return found


def _error_kind(trial: TrialSummary) -> str:
    return re.sub(r"\d+", "0", trial.error or "")
