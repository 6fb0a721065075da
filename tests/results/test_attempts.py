"""Of several attempts at a trial the latest alone writes, however long an earlier one was asleep."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from helixband.errors import StorageError
from helixband.results import attempt, checkpoints
from helixband.results.attempt import Superseded
from helixband.results.directory import Results, Trial
from helixband.training.keeper import Keeper


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path / "trials" / "0000")


def again(trial: Trial) -> Trial:
    """The trial as another process has it."""
    return Trial(trial.path)


def contents(trial: Trial) -> dict[str, bytes]:
    """Every file of the trial."""
    return {str(path): path.read_bytes() for path in trial.path.rglob("*") if path.is_file()}


def attempt_file(trial: Trial) -> Path:
    return trial.path / "attempt"


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "history": [{"epoch": number} for number in range(1, epoch + 1)]}


def test_attempts_that_begin_together_have_tokens_of_their_own_and_one_is_the_latest(trial: Trial) -> None:
    attempts = [again(trial) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda trial: trial.begin_attempt(), attempts))
    assert len(set(tokens)) == 40
    may_write = []
    for began, token in zip(attempts, tokens, strict=True):
        with contextlib.suppress(Superseded), began.writing():
            may_write.append(token)
    assert may_write == (trial.path / "attempt").read_text().split()


def failing(error: int) -> Any:
    """A call that fails so, as on a disk that does not answer for a moment."""

    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        raise OSError(error, os.strerror(error), path if isinstance(path, str) else None)

    return call


@pytest.mark.parametrize(("name", "error"), [("os.pread", errno.EIO), ("fcntl.flock", errno.ENOLCK)])
def test_a_token_that_cannot_be_read_is_an_error_of_the_disk_and_none_of_the_trial(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, name: str, error: int
) -> None:
    trial.begin_attempt()
    monkeypatch.setattr(name, failing(error))
    with pytest.raises(StorageError, match=f"{attempt_file(trial)}: {os.strerror(error)}"), trial.writing():
        pytest.fail("nobody knows who may write")


def test_a_file_of_which_it_cannot_be_known_whether_it_is_there_is_an_error_of_the_disk(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.stat", failing(errno.EIO))
    for look in (trial.plan, trial.history, trial.resumable_epochs, trial.discard_checkpoints):
        with pytest.raises(StorageError, match=f"cannot read {trial.path}.*: Input/output error"):
            look()


def test_a_trial_without_attempts_is_written_by_anybody(trial: Trial) -> None:
    trial.write_error("one")
    again(trial).write_error("two")
    assert trial.error_file.read_text() == "two"


def test_the_latest_attempt_writes_and_the_ones_before_it_do_not(trial: Trial) -> None:
    early, late = again(trial), again(trial)
    early.begin_attempt()
    early.write_config({"lr": 0.1})
    early.write_history([{"epoch": 1}])
    late.begin_attempt()
    late.write_error("late")
    before = contents(trial)
    for write in (
        lambda: early.write_history([{"epoch": 2}]),
        lambda: early.write_error("early"),
        lambda: early.clear_error(),
    ):
        with pytest.raises(Superseded, match=r"the attempt at .*0000 is over: another one began"):
            write()
    assert contents(trial) == before
    late.write_history([{"epoch": 1}, {"epoch": 2}])
    assert trial.epochs() == 2


def test_the_states_of_an_earlier_attempt_are_refused(trial: Trial) -> None:
    early, late = again(trial), again(trial)
    early.begin_attempt()
    keeper = Keeper(early)
    keeper.keep(state(1), {"epoch": 1})
    late.begin_attempt()
    with pytest.raises(Superseded):
        keeper.flush()
    assert list(contents(trial)) == [str(attempt_file(trial))]


STALE = """
import sys
from pathlib import Path
from helixband.results.attempt import Superseded
from helixband.results.directory import Trial
from helixband.training.keeper import Keeper

trial = Trial(Path(sys.argv[1]))
trial.begin_attempt()
trial.write_config({"lr": 0.1})
keeper = Keeper(trial)
keeper.keep({"epoch": 1, "history": [{"epoch": 1}]}, {"epoch": 1})
keeper.flush()
print("waiting", flush=True)
sys.stdin.readline()
keeper.keep({"epoch": 2, "history": [{"epoch": 1}, {"epoch": 2}]}, {"epoch": 2})
for write in (keeper.flush, lambda: trial.write_history([]), lambda: trial.write_error("stale")):
    try:
        write()
    except Superseded as error:
        print(error, flush=True)
"""


def test_a_worker_that_slept_through_a_new_attempt_changes_no_byte(trial: Trial) -> None:
    command = [sys.executable, "-c", STALE, str(trial.path)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as stale:
        assert stale.stdin is not None and stale.stdout is not None
        assert stale.stdout.readline() == "waiting\n"
        stale.send_signal(signal.SIGSTOP)
        stale.stdin.write("go on\n")  # its writes are the next that it does
        stale.stdin.flush()

        trial.begin_attempt()
        keeper = Keeper(trial)
        keeper.keep(state(3), {"epoch": 3})
        keeper.flush()
        before = contents(trial)

        stale.send_signal(signal.SIGCONT)
        said = stale.stdout.read().splitlines()
    assert said == [f"the attempt at {trial.path} is over: another one began"] * 3
    assert contents(trial) == before
    assert checkpoints.load(trial.last_checkpoint)["epoch"] == 3


def test_a_worker_that_is_killed_lets_the_trial_go(trial: Trial) -> None:
    code = "import sys, fcntl, os; f = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(f, fcntl.LOCK_EX); "
    trial.begin_attempt()
    command = [sys.executable, "-c", code + "print(flush=True); input()", str(attempt_file(trial))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(again(trial).begin_attempt)
            holder.kill()
            assert waiting.result(60) == attempt_file(trial).read_text().strip()


def test_a_trial_that_is_never_let_go_is_told(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.begin_attempt()
    monkeypatch.setattr(attempt, "LOCK_SECONDS", 0.05)
    with open(attempt_file(trial)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"cannot lock .*0000/attempt: another process has held it"):
            again(trial).begin_attempt()


def test_a_directory_that_is_cleared_and_begun_anew_is_closed_to_who_was_at_it_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    stale = results.trial("0000")
    token = stale.begin_attempt()
    stale.write_config({"lr": 0.1})
    keeper = Keeper(stale)
    keeper.keep(state(1), {"epoch": 1})

    results.forget_trials()
    assert not stale.path.exists()
    with pytest.raises(Superseded, match=r"0000 is over: its folder was removed"):
        keeper.flush()
    assert not stale.path.exists()  # nor is it made again

    new = Results(tmp_path).trial("0000")
    new.begin_attempt()
    new.write_config({"lr": 0.2})
    before = contents(new)
    for write in (keeper.flush, lambda: stale.write_error("stale"), lambda: again(new).join_attempt(token)):
        with pytest.raises(Superseded, match="another one began"):
            write()
    assert contents(new) == before


def test_who_joins_an_attempt_writes_until_it_is_over(trial: Trial) -> None:
    token, worker = trial.begin_attempt(), again(trial)
    worker.join_attempt(token)
    worker.write_error("of the worker")
    trial.write_error("of the run")
    again(trial).begin_attempt()
    with pytest.raises(Superseded):
        worker.write_error("late")
    assert trial.error_file.read_text() == "of the run"


def test_checkpoints_that_are_discarded_are_not_written_again(trial: Trial) -> None:
    stale = again(trial)
    stale.begin_attempt()
    keeper = Keeper(stale)
    keeper.keep(state(1), {"epoch": 1})
    keeper.flush()
    trial.discard_checkpoints()
    keeper.keep(state(2), {"epoch": 2})
    with pytest.raises(Superseded):
        keeper.flush()
    assert not trial.last_checkpoint.parent.exists()


def test_a_trial_is_not_cleared_while_one_of_its_files_is_written(tmp_path: Path) -> None:
    results = Results(tmp_path)
    stale = results.trial("0000")
    stale.begin_attempt()
    with ThreadPoolExecutor(1) as pool:
        with stale.writing():
            clearing = pool.submit(results.forget_trials)
            with pytest.raises(TimeoutError):
                clearing.result(0.05)
            (stale.path / "half.tmp").write_text("half")
            (stale.path / "half.tmp").rename(stale.config_file)
        clearing.result(60)
    assert not stale.path.exists()


def test_a_fork_of_the_process_does_not_write(trial: Trial) -> None:
    trial.begin_attempt()
    child = os.fork()
    if child == 0:
        try:
            trial.write_error("of the fork")
        except Superseded as error:
            os._exit(7 if "which is a fork of process" in str(error) else 8)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    trial.write_error("of the process itself")


def test_a_config_that_a_crash_left_empty_is_written_again(trial: Trial) -> None:
    trial.path.mkdir(parents=True)
    trial.config_file.touch()
    assert trial.config() is None
    trial.write_config({"lr": 0.1})
    assert trial.config() == {"lr": 0.1}
