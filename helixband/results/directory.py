"""The result directory: the one place that knows a path in it.

    RESULT/
      run.json                   what was run: versions, settings, environment, digest of def.py
      def.py                     the definition as it was run
      experiment.yaml            what Hydra composed, where the run was that of a YAML experiment
      definitions/<sha12>.py     the ones before it, that trained something, by their digests
      lock                       held by the process that writes here
      search/journal.jsonl       one line an event of the search, appended and synced
      trials/<id>/               config.json, plan.json, start.json, train_results.csv, error.txt,
                                 checkpoints/{last,best,epoch-<n>}.pt, output.txt of a worker, attempt
      start.pt                   the weights that trials begin with, where they are of a file
      best_config                -> trials/<id> of the model that is evaluated
      audit.json                 what --check found
      test_result.json           {metric: value}; null where undefined
      baselines.json             {metric: value} of trivial models on the test set
      test_predictions.npz       y_true and y_pred of the test set
      test_pictures.npz          pictures of its first examples, where the model makes some
      predictions/<input>.*      .npy, .tsv where the input names its records, .record.json: what is done
      logs/<id>/                 TensorBoard
      report.html                what `python -m helixband.report` makes of it

`docs/results.md` describes each file to its reader.
"""

import contextlib
import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helixband.env import check_name
from helixband.errors import StorageError, UsageError
from helixband.files import (
    check_place,
    exists,
    guarding,
    is_at,
    locked_file,
    open_to_read,
    read_document,
    read_object,
    read_whole,
    refuse_links_in,
    remove_file,
    remove_folder,
    replace_by_link,
    set_aside,
    size_of,
    write_document,
    write_json,
)
from helixband.results import shapes
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


_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def existing_results(path: str | os.PathLike[str]) -> "Results":
    """The result directory of a run; raises `UsageError` where there is none."""
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"there is no directory {path}; give the result directory of a run (its --result)")
    if not any(exists(path / name) for name in ("run.json", "search/journal.jsonl", "trials")):
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
        self.experiment_file = self.path / "experiment.yaml"
        self.start_file = self.path / "start.pt"
        self.best_link = self.path / "best_config"
        self.audit_file = self.path / "audit.json"
        self.test_file = self.path / "test_result.json"
        self.baselines_file = self.path / "baselines.json"
        self.calibration_file = self.path / "calibration.json"
        self.test_set_file = self.path / "test_predictions.npz"
        self.pictures_file = self.path / "test_pictures.npz"
        self.test_chunks = self.path / "test_result.part"
        self.predictions = self.path / "predictions"
        self.report_file = self.path / "report.html"
        self._lock_file = self.path / "lock"
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
        trial.check_config(recorded)
        if stored is None:
            return recorded if exists(trial.best_checkpoint) else None
        return stored

    def _config_recorded(self, name: str) -> dict[str, Any] | None:
        if name == SINGLE:
            recorded = self.run().get("single", {}).get("config")
        else:
            recorded = self.journal.config(int(name))
        return recorded if recorded is None else dict(recorded)

    def run(self) -> dict[str, Any]:
        """What run.json has; {} where it is missing."""
        return read_document(self.run_file, shapes.RUN) if exists(self.run_file) else {}

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

        Once it is another directory, as somebody removed this one and began another run in its place, nothing
        more is written there. One that can only be read is not locked, and nothing is written there at all.

        Raises `UsageError` naming the process that holds it, `StorageError` where it cannot be locked.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(locked_file(self._lock_file))
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            except BlockingIOError as error:
                raise UsageError(self._at_work()) from error
            except OSError as error:
                refused = f"cannot write to the result directory {self.path}: {error.strerror}"
                refused += f" ({self._lock_file})"
                if error.errno not in _READ_ONLY or not exists(self.run_file):
                    raise StorageError(f"{refused}; choose another with --result") from error
                refused += (
                    "; what is done there can be read. For more, copy the directory to where you can write, "
                    "and give the copy with --result"
                )
                stack.enter_context(self.only_read(refused))
            else:
                stack.enter_context(self._fenced(file))
                stack.callback(self._forget_lock_of_nothing, file)
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Have the body write nothing here once another directory has taken the place of this one."""
        with contextlib.ExitStack() as stack:
            if exists(self._lock_file):
                lock = stack.enter_context(open_to_read(self._lock_file))
                stack.enter_context(self._fenced(lock.fileno()))
            yield

    def check_lock(self) -> None:
        """Raise `StorageError` where nothing can be written any more, before work that would be in vain."""
        check_place(self.run_file)

    def _forget_lock_of_nothing(self, lock: int) -> None:
        """Remove the lock where nothing was done, as where somebody's folder was given by mistake."""
        done = any(exists(self.path / name) for name in TRACES)
        if not done and is_at(lock, self._lock_file):
            self._lock_file.unlink()

    @contextlib.contextmanager
    def only_read(self, why: str) -> Iterator[None]:
        """Have the body change nothing here: what would is a `StorageError` that says why."""

        def check() -> None:
            raise StorageError(why)

        with guarding(self.path, check):
            yield

    @contextlib.contextmanager
    def _fenced(self, lock: int) -> Iterator[None]:
        """Fence all writes in the directory: it has to be the one whose file `lock` is this open file."""
        process = os.getpid()

        def check() -> None:
            if os.getpid() != process:
                raise StorageError(f"{self.path} is written by process {process} alone, and not by its forks")
            if not is_at(lock, self._lock_file):
                raise StorageError(
                    f"{self.path} was removed or replaced while this run was at work in it; "
                    "what it has now is left as it is"
                )

        with guarding(self.path, check):
            yield

    def _at_work(self) -> str:
        try:
            holder = read_whole(self._lock_file).decode(errors="replace").strip() or "unknown"
        except StorageError:  # it has just gone
            holder = "unknown"
        return (
            f"another process is at work in {self.path} (process {holder}); "
            "wait for it, or choose another directory with --result"
        )

    def best_trial(self) -> Trial | None:
        """The trial that is evaluated and predicts, or None.

        The journal tells it, and of a training without a search run.json. `best_config` leads there too, for
        its reader; it counts where neither tells, as many ways to copy a directory leave links out, or
        copy what they lead to.
        """
        linked, recorded = self.linked_trial(), self._best_recorded()
        if recorded is not None:
            return self.trial(recorded)
        return linked

    def linked_trial(self) -> Trial | None:
        """The trial that `best_config` links to, or None; raises `StorageError` where it is none."""
        if not self.best_link.is_symlink():
            return None
        name = Path(os.readlink(self.best_link)).name
        if name != SINGLE and not name.isdecimal():
            raise StorageError(f"{self.best_link} leads to {name!r}, which is no trial; remove it")
        return self.trial(name)

    def set_best(self, trial: Trial) -> None:
        """Point `best_config` to a trial; a folder in its place, as copies have one, is renamed."""
        target = str(trial.path.relative_to(self.path))
        if self.best_link.is_symlink() and os.readlink(self.best_link) == target:
            return
        if self.best_link.is_dir() and not self.best_link.is_symlink():
            set_aside(self.best_link)
        replace_by_link(self.best_link, target)

    def _best_recorded(self) -> str | None:
        if (best := self.journal.best_trial()) is not None:
            return trial_name(best)
        finished = self.run().get("single", {}).get("finished", exists(self.trial(SINGLE).best_checkpoint))
        return SINGLE if finished else None

    def write_test_result(self, metrics: dict[str, float]) -> None:
        """Store the metrics of the test set; undefined ones are null."""
        write_json(
            self.test_file,
            {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        )

    def test_result(self) -> dict[str, float]:
        """The stored metrics of the test set, NaN where undefined."""
        stored = read_object(self.test_file, shapes.METRICS)
        return {name: math.nan if value is None else value for name, value in stored.items()}

    def write_baselines(self, scores: dict[str, float | str]) -> None:
        """Store what trivial models score on the test set, or as `missing` why that is not known."""
        write_json(self.baselines_file, scores)

    def baselines(self) -> dict[str, Any]:
        """What `write_baselines` stored."""
        return read_object(self.baselines_file, shapes.BASELINES)

    def write_audit(self, report: dict[str, Any]) -> None:
        """Store what the check of the data found."""
        write_document(self.audit_file, report)

    def audit(self) -> dict[str, Any]:
        """What `write_audit` stored."""
        return read_document(self.audit_file, shapes.AUDIT)

    def record(self, file: Path) -> dict[str, Any]:
        """What was done of the predictions on an input; {} where the file is missing, or empty by a crash."""
        return read_document(file, shapes.RECORD) if size_of(file) else {}

    def records(self) -> list[Path]:
        """What was done of the predictions, a file for each input."""
        return sorted(self.predictions.rglob(f"*{RECORD}"))

    def prediction(self, name: str, suffix: str) -> Path:
        """Where the predictions of an input go, for example `predictions/unlabelled.fa.npy`."""
        check_name("predictions", f"{name}{suffix}")
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
