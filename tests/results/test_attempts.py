"""Of several attempts at a trial the latest alone writes, however long an earlier one was asleep."""

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from helixband.errors import StorageError
from helixband.results import checkpoints, directory
from helixband.results.directory import Superseded, Trial
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


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "history": [{"epoch": number} for number in range(1, epoch + 1)]}


def test_attempts_are_numbered(trial: Trial) -> None:
    assert [again(trial).begin_attempt() for _ in range(11)] == list(range(1, 12))
    assert trial.attempt_file.read_text() == "11\n"


def test_attempts_that_begin_together_have_numbers_of_their_own(trial: Trial) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: again(trial).begin_attempt(), range(40)))
    assert sorted(numbers) == list(range(1, 41))


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
        with pytest.raises(Superseded, match=r"attempt 1 at .*0000 is over: attempt 2 began"):
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
    assert list(contents(trial)) == [str(trial.attempt_file)]


STALE = """
import sys
from pathlib import Path
from helixband.results.directory import Superseded, Trial
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

        assert trial.begin_attempt() == 2
        keeper = Keeper(trial)
        keeper.keep(state(3), {"epoch": 3})
        keeper.flush()
        before = contents(trial)

        stale.send_signal(signal.SIGCONT)
        said = stale.stdout.read().splitlines()
    assert said == [f"attempt 1 at {trial.path} is over: attempt 2 began"] * 3
    assert contents(trial) == before
    assert checkpoints.load(trial.last_checkpoint)["epoch"] == 3


def test_a_worker_that_is_killed_lets_the_trial_go(trial: Trial) -> None:
    code = "import sys, fcntl, os; f = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(f, fcntl.LOCK_EX); "
    trial.begin_attempt()
    command = [sys.executable, "-c", code + "print(flush=True); input()", str(trial.attempt_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(again(trial).begin_attempt)
            holder.kill()
            assert waiting.result(60) == 2


def test_a_trial_that_is_never_let_go_is_told(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.begin_attempt()
    monkeypatch.setattr(directory, "LOCK_SECONDS", 0.05)
    with open(trial.attempt_file) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"cannot lock .*0000/attempt: another process has held it"):
            again(trial).begin_attempt()


def test_a_fork_of_the_process_does_not_write(trial: Trial) -> None:
    trial.begin_attempt()
    child = os.fork()
    if child == 0:
        try:
            trial.write_error("of the fork")
        except Superseded:
            os._exit(7)
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
