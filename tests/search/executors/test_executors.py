"""Trials in processes of their own: the same results, and whatever a definition does, the search goes on."""

import contextlib
import dataclasses
import json
import math
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import untimed
from toys import TOY

from helixband.definition import load_definition
from helixband.errors import DefinitionError, HelixbandError, StorageError, TrainingError, UsageError
from helixband.results import checkpoints
from helixband.results.directory import Results, Row
from helixband.run.command import make_parser
from helixband.search.executors.early import Early
from helixband.search.executors.local import (
    Executor,
    InProcess,
    LocalWorkers,
    WorkerDied,
    allot,
    fair_threads,
    thread_variables,
    worker_environment,
)
from helixband.search.executors.packs import Packs
from helixband.search.executors.process import Setup
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer
from helixband.search.executors.workers import make_executor

ACTING = """
import ctypes, os, signal, sys, time
from pathlib import Path
from torch.utils.data import DataLoader, TensorDataset

print("loading")

class FromWorkers:
    def __init__(self):
        x, y = table(0, 60)
        self.loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), 30, num_workers=2)
    def __iter__(self):
        return iter(self.loader)

def get_train_generator(data_dir, batch_size):
    return FromWorkers() if "WORKERS" in os.environ else MatrixBatchGenerator(*table(0, 60), 20, shuffle=True)

class Model(Model):
    def get_hyperband_reward(self, result):
        exec(self.config.get("do", ""), globals())
        return -result["val_loss"]
    def eval_metrics(self, y_true, y_pred):
        gpu = float(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)
        found = {"threads": torch.get_num_threads(), "gpu": gpu}
        return {**super().eval_metrics(y_true, y_pred), **(found if "do" in self.config else {})}
"""

MEET = """
(Path({folder!r}) / str(os.getpid())).touch()
while len(os.listdir({folder!r})) < 2:
    time.sleep(0.01)
"""


def make_trainer(folder: Path, extra: str = ACTING) -> Trainer:
    (folder / "def.py").write_text(TOY + extra)
    args = Namespace(data=str(folder), batch_size=20, seed=3, cpu=True, debug=False)
    return Trainer(load_definition(folder / "def.py", 3), Results(folder / "results"), args)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return make_trainer(tmp_path_factory.mktemp("acting"))


@pytest.fixture(scope="module")
def workers(trainer: Trainer) -> Iterator[LocalWorkers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "error")
        setup = Setup.of(trainer, str(trainer.results.path))
        executor = LocalWorkers(setup, 2, ["", "7"], threads=1)
        yield executor
        executor.close()


def config(do: str | None = None, units: int = 4) -> dict[str, Any]:
    return {"lr": 0.01, "units": units, **({} if do is None else {"do": do})}


def ignore(name: str, row: Row) -> None:
    pass


def outcome(workers: LocalWorkers, name: str, do: str, epochs: int = 1) -> Outcome:
    return workers.submit(Task(name, config(do), epochs), ignore).result(60)


def test_a_process_that_has_lost_its_device_is_replaced(workers: LocalWorkers, trainer: Trainer) -> None:
    lose = "raise RuntimeError('CUDA error: an illegal memory access was encountered')"
    lost = [outcome(workers, f"lost {number}", lose) for number in range(2)]
    assert {each.error for each in lost} == {
        "RuntimeError: CUDA error: an illegal memory access was encountered"
    }
    assert outcome(workers, "after", "").error is None
    here = InProcess(trainer)
    assert here.submit(Task("here", config(lose), 1), ignore).result().has_lost_device
    with pytest.raises(TrainingError, match="computes nothing more in this process, after trial here failed"):
        here.submit(Task("next", config(), 1), ignore).result()


# The same results.


def test_trials_in_workers_come_out_as_in_process_bit_for_bit(
    tmp_path: Path, trainer: Trainer, workers: LocalWorkers
) -> None:
    here = Trainer(trainer.definition, Results(tmp_path / "here"), trainer.args)
    tasks = [Task(f"same{number}", config(units=4 + number), 2) for number in range(3)]
    tasks += [Task("same1", config(units=5), 4)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    told: dict[str, list[Row]] = {"here": [], "there": []}
    for where, executor in (("here", InProcess(here)), ("there", workers)):

        def tell(name: str, row: Row, rows: list[Row] = told[where]) -> None:
            assert row["seconds"] > 0
            rows.append({column: value for column, value in row.items() if column != "seconds"})

        for task in tasks:
            future = executor.submit(task, tell)
            assert future.result(60).epochs == task.epochs
    torch.set_num_threads(threads)
    assert told["here"] == told["there"]
    assert len(told["here"]) == 8
    for task in tasks:
        one, other = here.results.trial(task.name), trainer.results.trial(task.name)
        assert untimed(one.history_file.read_text()) == untimed(other.history_file.read_text())
        left, right = checkpoints.load(one.last_checkpoint), checkpoints.load(other.last_checkpoint)
        assert all(torch.equal(left["network"][name], right["network"][name]) for name in left["network"])
        assert torch.equal(left["random"]["torch"], right["random"]["torch"])


def test_in_process_a_submitted_task_is_done(trainer: Trainer) -> None:
    rows: list[tuple[str, float]] = []
    future = InProcess(trainer).submit(
        Task("here", config(), 2), lambda n, row: rows.append((n, row["epoch"]))
    )
    assert future.done()
    assert rows == [("here", 1), ("here", 2)]


def test_in_process_a_training_ends_by_what_on_epoch_raises_and_keeps_the_epoch(trainer: Trainer) -> None:
    class Enough(BaseException):
        pass

    def stop(name: str, row: Row) -> None:
        raise Enough

    with pytest.raises(Enough):
        InProcess(trainer).submit(Task("ended", config(), 5), stop)
    assert trainer.results.trial("ended").epochs() == 1


@pytest.mark.parametrize(
    ("flags", "capacity", "kind"),
    [([], 1, InProcess), (["--workers", "1"], 1, InProcess), (["--workers", "2"], 2, LocalWorkers)],
)
def test_the_flags_choose_the_executor(
    trainer: Trainer, flags: list[str], capacity: int, kind: type[Any]
) -> None:
    given = vars(make_parser().parse_args(["--model", "def.py", *flags]))
    args = Namespace(**given | vars(trainer.args), directory=str(trainer.results.path))
    with contextlib.closing(make_executor(Trainer(trainer.definition, trainer.results, args), print)) as made:
        assert isinstance(made, kind)
        assert made.capacity == capacity


def test_in_process_an_error_of_the_run_is_in_the_future_and_an_interruption_passes(trainer: Trainer) -> None:
    trainer.results.trial("stuck").last_checkpoint.mkdir(parents=True)
    with pytest.raises(StorageError):
        InProcess(trainer).submit(Task("stuck", config(), 1), ignore).result()
    with pytest.raises(KeyboardInterrupt):
        InProcess(trainer).submit(Task("stopped", config("raise KeyboardInterrupt"), 1), ignore)


# What a definition may do.


def test_two_trials_run_at_the_same_time_each_with_its_gpu_and_threads(
    tmp_path: Path, workers: LocalWorkers
) -> None:
    assert workers.capacity == 2
    found: list[tuple[float, float]] = []
    meet = MEET.format(folder=str(tmp_path))

    def note(name: str, row: Row) -> None:
        found.append((row["val_threads"], row["val_gpu"]))

    futures = [workers.submit(Task(f"meet{number}", config(meet), 1), note) for number in range(2)]
    assert [future.result(60).error for future in futures] == [None, None]
    assert sorted(found) == [(1, -1), (1, 7)]


def test_what_a_trial_prints_is_kept_with_it(trainer: Trainer, workers: LocalWorkers) -> None:
    do = "print('to', end=' '); print('stdout'); os.system('echo by a child'); print('err', file=sys.stderr)"
    outcome(workers, "prints", do)
    assert trainer.results.trial("prints").output_file.read_text() == "to stdout\nby a child\nerr\n"
    outcome(workers, "prints", do, epochs=2)
    assert trainer.results.trial("prints").output_file.read_text() == 2 * "to stdout\nby a child\nerr\n"
    outcome(workers, "silent", "")
    assert not trainer.results.trial("silent").output_file.exists()


@pytest.mark.parametrize(
    ("name", "do", "error"),
    [
        ("reads", "input()", "EOFError: EOF when reading a line"),
        ("exits", "sys.exit(4)", "SystemExit: 4"),
        ("large", "raise MemoryError('no')", "MemoryError: no"),
        ("fork exits", "os.fork() or sys.exit(1)", None),
        ("fork aborts", "os.fork() or os.abort()", None),
        ("fork stays", "os.fork() or time.sleep(30)", None),
        ("fork goes on", "os.fork()", None),
        ("lies", "print('{\"outcome\": {}}')", None),
        ("commands", "os.system('echo; cat')", None),
    ],
)
def test_what_a_definition_does_with_its_process_harms_no_trial(
    workers: LocalWorkers, name: str, do: str, error: str | None
) -> None:
    found = outcome(workers, name, do, epochs=2)
    assert (found.error, found.epochs) == ((None, 2) if error is None else (error, 0))
    assert found.out_of_memory == ("Memory" in do)
    assert (found.reward > -math.inf) == (error is None)


@pytest.mark.parametrize(
    ("name", "do", "told"),
    [
        (
            "killed",
            "os.kill(os.getpid(), signal.SIGKILL)",
            r"was ended by SIGKILL \(memory may have run out\)",
        ),
        ("left", "print('so long'); os._exit(3)", r"ended with exit code 3; it had printed:\nso long$"),
        (
            "crashed",
            "ctypes.string_at(0)",
            r"was ended by SIGSEGV.*Segmentation fault.*in get_hyperband_reward",
        ),
    ],
)
def test_a_worker_that_dies_tells_how_and_another_goes_on(
    workers: LocalWorkers, name: str, do: str, told: str
) -> None:
    with pytest.raises(WorkerDied, match=f"(?s)the process of trial {name} {told}"):
        outcome(workers, name, do)
    assert outcome(workers, name, "", epochs=2).epochs == 2


def test_an_error_of_the_run_keeps_its_class(trainer: Trainer, workers: LocalWorkers) -> None:
    trainer.results.trial("blocked").last_checkpoint.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"blocked/checkpoints/last\.pt"):
        outcome(workers, "blocked", "")
    assert outcome(workers, "free", "").error is None


def test_a_trial_taken_over_by_another_is_reported_as_lost(trainer: Trainer, workers: LocalWorkers) -> None:
    taken = trainer.results.trial("taken")
    do = f"from helixband.results.directory import Trial; Trial(Path({str(taken.path)!r})).begin_attempt()"
    with pytest.raises(WorkerDied, match="the attempt at .*taken is over: another one began"):
        outcome(workers, "taken", do)
    assert not taken.last_checkpoint.exists()


def test_data_may_come_from_processes_of_the_workers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    executor = LocalWorkers(Setup.of(make_trainer(tmp_path), str(tmp_path)), 1, [""], threads=1)
    future = executor.submit(Task("0000", config(), 2), ignore)
    assert future.result(60).error is None
    executor.close()


# Beginning and end.


def test_a_definition_that_does_not_load_in_the_worker_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path, "\nimport os\nif 'BROKEN' in os.environ: raise ValueError('broken')\n")
    changed = Setup(**{**vars(Setup.of(trainer, str(tmp_path))), "digest": "another"})
    monkeypatch.setenv("BROKEN", "1")
    broken = LocalWorkers(Setup.of(trainer, str(tmp_path)), 1, [""], 1)
    monkeypatch.delenv("BROKEN")
    other = LocalWorkers(changed, 1, [""], 1)
    task = Task("0000", config(), 1)
    with pytest.raises(DefinitionError, match=r"(?s)def\.py raised as it was loaded.*ValueError: broken"):
        broken.submit(task, ignore).result(60)
    with pytest.raises(DefinitionError, match=r"def\.py was changed while the search runs"):
        other.submit(task, ignore).result(60)
    broken.close()
    other.close()


@pytest.mark.parametrize("slots", [1, 2])
def test_a_worker_that_cannot_start_ends_the_run_with_its_own_words(tmp_path: Path, slots: int) -> None:
    trainer, broken = make_trainer(tmp_path), tmp_path / "root" / "helixband"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import half_written")
    setup = dataclasses.replace(Setup.of(trainer, str(tmp_path), slots), root=str(broken.parent))
    executor: Executor = LocalWorkers(setup, 1, [""], 1)
    if slots > 1:
        executor.close()
        executor = Packs(setup, 1, [""], 1, print)
    told = (
        r"a worker process ended with exit code 1 before it was ready; (?s:.*)No module named 'half_written'"
    )
    futures = [executor.submit(Task(f"{number:04d}", config(), 1), ignore) for number in range(3)]
    for future in futures:
        with pytest.raises(HelixbandError, match=told):
            future.result(60)
    if isinstance(executor, Packs):
        process = executor._packs[0].process
        with pytest.raises(HelixbandError, match=told):
            executor.submit(Task("0003", config(), 1), ignore).result(0)
        assert executor._packs[0].process is process
    executor.close()


def test_a_process_for_which_there_is_no_place_is_an_error_of_the_run(tmp_path: Path) -> None:
    setup = Setup.of(make_trainer(tmp_path), str(tmp_path / "removed"))
    with pytest.raises(HelixbandError, match=r"cannot start .*python.* in .*removed: .*No such file"):
        LocalWorkers(setup, 1, [""], 1)


def test_closing_keeps_the_last_finished_epochs_and_cancels_what_waits(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    executor = LocalWorkers(Setup.of(trainer, str(tmp_path)), 1, [""], 1)
    finished = tmp_path / "finished"
    do = f"time.sleep(0.3); Path({str(finished)!r}).open('ab', buffering=0).write(b'x')"
    running = executor.submit(Task("0000", config(do), 500), ignore)
    waiting = executor.submit(Task("0001", config(), 1), ignore)
    while not finished.exists() or finished.stat().st_size < 4:
        assert not running.done()
        time.sleep(0.05)
    pids = [process.pid for process in executor._processes]
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 30
    with pytest.raises(WorkerDied, match="ended with exit code 143"):
        running.result(0)
    assert waiting.cancelled()
    assert finished.stat().st_size - trainer.results.trial("0000").epochs() in (0, 1)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_that_come_up_early_have_the_environment_of_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GONE", "1")
    early = Early([thread_variables(2)] * 2)
    early.place([worker_environment("7", 2)])
    trainer = make_trainer(tmp_path, ACTING + "\nWINDOW = env('WINDOW', 4, int)\n")
    monkeypatch.setenv("WINDOW", "8")
    monkeypatch.setenv("SET_LATER", "yes")
    monkeypatch.delenv("GONE")
    taken, do = (
        early.take(),
        "assert (WINDOW, os.environ['SET_LATER'], 'GONE' in os.environ) == (8, 'yes', False)",
    )
    setups = [Setup.of(trainer, str(tmp_path), slots) for slots in (1, 2)]
    executors: list[Executor] = [LocalWorkers(setups[0], 1, ["7"], 2, taken[:1])]
    executors.append(Packs(setups[1], 1, ["6"], 2, print, taken[1:]))
    futures = []
    for number, (executor, spawned) in enumerate(zip(executors, taken, strict=True)):
        same = f"{do}; assert os.getpid() == {spawned.process.pid}"
        futures.append(executor.submit(Task(f"{number:04d}", config(same), 1), ignore))
    assert [future.result(60).error for future in futures] == [None, None]
    for executor in executors:
        executor.close()
    rows = [trainer.results.trial(name).history()[0] for name in ("0000", "0001")]
    assert [(row["val_threads"], row["val_gpu"]) for row in rows] == [("2.0", "7.0"), ("2.0", "6.0")]


def test_early_processes_of_which_nobody_makes_use_end_at_once() -> None:
    early = Early([{}, {}])
    [process, other] = [spawned.process for spawned in early._spawned]
    early.place([{"CUDA_VISIBLE_DEVICES": "0"}])
    early.close()
    early.close()
    assert (process.returncode, other.returncode) == (-9, -9)
    assert early.is_empty


def test_a_setup_is_json_and_holds_the_environment_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDOW", "8")
    trainer = make_trainer(tmp_path, "\nSIZES = env('WINDOW', 4, int), env('STEP', 2, int)\n")
    setup = Setup.of(trainer, "/somewhere")
    assert setup.environment == {"WINDOW": "8", "STEP": None}
    assert Setup(**json.loads(json.dumps(vars(setup)))) == setup


# Shares.


@pytest.mark.parametrize(
    ("workers", "each", "visible", "allotted"),
    [
        (2, 1, [], ["", ""]),
        (1, 1, ["0", "1"], ["0"]),
        (2, 1, ["0", "1"], ["0", "1"]),
        (4, 2, ["3", "GPU-5e"], ["3", "GPU-5e", "3", "GPU-5e"]),
        (3, 4, ["0"], ["0", "0", "0"]),
    ],
)
def test_gpus_are_allotted_in_turn(workers: int, each: int, visible: list[str], allotted: list[str]) -> None:
    assert allot(workers, each, visible) == allotted


def test_more_workers_than_gpus_have_place_for_are_refused() -> None:
    with pytest.raises(UsageError, match="--workers 5 is more than 2 GPUs with 2 trials each take"):
        allot(5, 2, ["0", "1"])


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 5, 1)])
def test_threads_are_shared_out(cores: int, workers: int, threads: int) -> None:
    assert fair_threads(cores, workers) == threads
