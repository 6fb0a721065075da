"""The result directory: the one place that knows a path in it.

    RESULT/
      run.json                   what was run: versions, settings, environment, digest of def.py
      def.py                     the definition as it was run
      definitions/<sha12>.py     the ones before it, that trained something, by their digests
      lock                       held by the process that writes here
      search/journal.jsonl       one line an event of the search, appended and synced
      trials/<id>/               config.json, plan.json, train_results.csv, checkpoints/{last,best}.pt,
                                 error.txt,
                                 output.txt of a worker, attempt
      best_config                -> trials/<id> of the model that is evaluated
      audit.json                 what --check found
      test_result.json           {metric: value}; null where undefined
      baselines.json             {metric: value} of trivial models on the test set
      test_predictions.npz       y_true and y_pred of the test set
      predictions/<input>.*      .npy, .tsv where the input names its records, .record.json: what is done
      logs/<id>/                 TensorBoard
      report.html                what `python -m helixband.report` makes of it

`docs/results.md` describes each file to its reader.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helixband.errors import StorageError, UsageError
from helixband.files import (
    is_at,
    locked_file,
    read_document,
    read_json,
    refuse_links_in,
    remove_file,
    remove_folder,
    write_document,
    write_json,
)
from helixband.results.attempt import Superseded as Superseded
from helixband.results.journal import Journal
from helixband.results.trial import SINGLE as SINGLE
from helixband.results.trial import Row as Row
from helixband.results.trial import Trial as Trial
from helixband.results.trial import trial_name as trial_name

TRACES = ("run.json", "search", "trials", "audit.json", "predictions", "debug")
"""One of these is there once a run has done something in a result directory."""

RECORD = ".record.json"
"""What the name of an input's record of predictions ends in."""


def existing_results(path: str | os.PathLike[str]) -> "Results":
    """The result directory of a run; raises `UsageError` where there is none."""
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"there is no directory {path}; give the result directory of a run (its --result)")
    if not any((path / name).exists() for name in ("run.json", "search/journal.jsonl", "trials")):
        raise UsageError(
            f"{path} is no result directory: it has neither run.json nor search/journal.jsonl nor trials/; "
            "give the one of a run (its --result)"
        )
    return Results(path)


class Results:
    """A result directory, made where it is missing.

    Raises `StorageError` where it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.run_file = self.path / "run.json"
        self.definition_file = self.path / "def.py"
        self.best_link = self.path / "best_config"
        self.audit_file = self.path / "audit.json"
        self.test_file = self.path / "test_result.json"
        self.baselines_file = self.path / "baselines.json"
        self.test_set_file = self.path / "test_predictions.npz"
        self.predictions = self.path / "predictions"
        self.report_file = self.path / "report.html"
        self._lock_file = self.path / "lock"
        self._held: int | None = None
        self.journal = Journal(self.path / "search" / "journal.jsonl")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the result directory {self.path}: {error.strerror}; "
                "choose another with --result"
            ) from error
        refuse_links_in(self.path)

    def trial(self, name: str) -> Trial:
        """The trial of that id; its directory need not exist."""
        return Trial(self.path / "trials" / name)

    def trials(self) -> list[Trial]:
        """The trials that began, by id."""
        return [Trial(file.parent) for file in sorted(self.path.glob("trials/*/config.json"))]

    def kept_definition(self, digest: str) -> Path:
        """Where a definition is kept that another one took the place of."""
        return self.path / "definitions" / f"{digest[:12]}.py"

    def logs(self, trial: Trial) -> Path:
        """Where the TensorBoard files of a trial are."""
        return self.path / "logs" / trial.id

    def config_of(self, trial: Trial) -> dict[str, Any] | None:
        """The configuration of a trial, or None where it has not begun.

        Raises `StorageError` where its file holds another than the journal, or run.json, recorded.
        """
        stored, recorded = trial.config(), self._config_recorded(trial.id)
        if stored is None:
            return recorded if trial.best_checkpoint.exists() else None
        if recorded not in (None, stored):
            raise StorageError(
                f"{trial.config_file} has {stored}, and the trial was begun with {recorded}; put back a copy "
                "of it, or delete it to use what was recorded"
            )
        return stored

    def _config_recorded(self, name: str) -> dict[str, Any] | None:
        if name == SINGLE:
            run = read_document(self.run_file) if self.run_file.exists() else {}
            recorded = run.get("single", {}).get("config")
        else:
            recorded = self.journal.config(int(name))
        return recorded if recorded is None else dict(recorded)

    def has_trained(self) -> bool:
        """Whether there is a checkpoint of any trial, or a result of the search that is no failure."""
        if any(self.path.glob("trials/*/checkpoints/*.pt")):
            return True
        return any(event["event"] == "result" and not event["error"] for event in self.journal.events())

    def forget_trials(self) -> None:
        """Remove the trials that began, and the journal, for a new beginning."""
        began = {
            file.parent.name
            for name in ("attempt", "config.json")
            for file in self.path.glob(f"trials/*/{name}")
        }
        for name in began:
            self.trial(name).forget()
        remove_file(self.journal.path)
        if self.best_link.is_symlink():
            self.best_link.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the lock goes with the process, however it ends.

        Raises `UsageError` naming the process that holds it, `StorageError` where it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(locked_file(self._lock_file))
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            except BlockingIOError as error:
                raise UsageError(self._at_work()) from error
            except OSError as error:
                raise StorageError(
                    f"cannot write to the result directory {self.path}: {error.strerror}; "
                    "choose another with --result"
                ) from error
            self._held = file
            try:
                yield
            finally:
                self._held = None
                done = any((self.path / name).exists() for name in TRACES)
                if not done and is_at(file, self._lock_file):
                    # The folder may be somebody's whose name was given to --result by mistake.
                    self._lock_file.unlink()

    def check_lock(self) -> None:
        """Raise `StorageError` where the directory that `locked` holds is another by now.

        Somebody may have removed it, and begun another run in its place.
        """
        if self._held is not None and not is_at(self._held, self._lock_file):
            raise StorageError(
                f"{self.path} was removed or replaced while this run was at work in it; "
                "what it has now is left as it is"
            )

    def _at_work(self) -> str:
        try:
            holder = self._lock_file.read_text(errors="replace").strip() or "unknown"
        except OSError:  # it has just gone
            holder = "unknown"
        return (
            f"another process is at work in {self.path} (process {holder}); "
            "wait for it, or choose another directory with --result"
        )

    def best_trial(self) -> Trial | None:
        """The trial that is evaluated and predicts, or None.

        `best_config` links to it. Where there is no link, for many ways to copy a directory leave links out
        or copy what they lead to, the journal tells, and of a training without a search run.json.
        """
        if not self.best_link.is_symlink():
            name = self._best_recorded()
            return None if name is None else self.trial(name)
        name = Path(os.readlink(self.best_link)).name
        if name != SINGLE and not name.isdecimal():
            raise StorageError(f"{self.best_link} leads to {name!r}, which is no trial; remove it")
        return self.trial(name)

    def set_best(self, trial: Trial) -> None:
        """Point `best_config` to a trial, in one step; a copy of a trial in its place is renamed."""
        target = str(trial.path.relative_to(self.path))
        if self.best_link.is_symlink() and os.readlink(self.best_link) == target:
            return
        temporary = self.path / ".best_config.tmp"
        try:
            if not self.best_link.is_symlink() and (self.best_link / trial.config_file.name).exists():
                os.rename(self.best_link, self.path / f"{self.best_link.name}.copy")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)  # which follows no link, and replaces nothing
            os.replace(temporary, self.best_link)
        except OSError as error:
            raise StorageError(f"cannot write {self.best_link}: {error.strerror}") from error

    def _best_recorded(self) -> str | None:
        if (best := self.journal.best_trial()) is not None:
            return trial_name(best)
        recorded = read_document(self.run_file) if self.run_file.exists() else {}
        finished = recorded.get("single", {}).get("finished", self.trial(SINGLE).best_checkpoint.exists())
        return SINGLE if finished else None

    def write_test_result(self, metrics: dict[str, float]) -> None:
        """Store the metrics of the test set; undefined ones are null."""
        write_json(
            self.test_file,
            {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        )

    def test_result(self) -> dict[str, float]:
        """The stored metrics of the test set, NaN where undefined."""
        stored = read_json(self.test_file)
        return {name: math.nan if value is None else value for name, value in stored.items()}

    def write_baselines(self, scores: dict[str, float | str]) -> None:
        """Store what trivial models score on the test set, or as `missing` why that is not known."""
        write_json(self.baselines_file, scores)

    def baselines(self) -> dict[str, Any]:
        """What `write_baselines` stored."""
        return dict(read_json(self.baselines_file))

    def write_audit(self, report: dict[str, Any]) -> None:
        """Store what the check of the data found."""
        write_document(self.audit_file, report)

    def audit(self) -> dict[str, Any]:
        """What `write_audit` stored."""
        return read_document(self.audit_file)

    def records(self) -> list[Path]:
        """What was done of the predictions, a file for each input."""
        return sorted(self.predictions.rglob(f"*{RECORD}"))

    def prediction(self, name: str, suffix: str) -> Path:
        """Where the predictions of an input go, for example `predictions/unlabelled.fa.npy`."""
        return self.predictions / f"{name}{suffix}"

    def cleared_subdirectory(self, name: str) -> "Results":
        """A result directory inside this one, empty."""
        remove_folder(self.path / name)
        return Results(self.path / name)

    def inside(self, name: str, document: Path) -> Path:
        """The path of a file by the name that a document of this directory gives it.

        Raises `StorageError` where that leads out of the directory.
        """
        if os.path.isabs(name) or os.pardir in Path(name).parts:
            raise StorageError(
                f"{document} names {name}, which is not in {self.path}; delete {document.name}"
            )
        return self.path / name
