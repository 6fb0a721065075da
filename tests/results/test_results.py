"""The result directory: histories, the link to the best trial, the journal, the lock."""

import contextlib
import csv
import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from helixband.errors import StorageError, UsageError
from helixband.results import trial as trial_module
from helixband.results.directory import Results, Trial
from helixband.results.journal import Journal


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def trial(results: Results) -> Trial:
    return results.trial("0003")


# The directory.


def test_the_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    Results(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    for path in (tmp_path / "results", tmp_path / "results" / "deeper"):
        with pytest.raises(StorageError, match=f"cannot make the result directory {path}: .* with --result"):
            Results(path)


def test_a_cleared_subdirectory_is_empty(results: Results) -> None:
    inner = results.cleared_subdirectory("debug")
    inner.trial("single").write_config({})
    assert os.listdir(results.cleared_subdirectory("debug").path) == []


def test_every_file_is_where_the_documentation_says(results: Results) -> None:
    trial = results.trial("0003")
    files = [
        results.run_file,
        results.definition_file,
        results.journal.path,
        trial.config_file,
        trial.history_file,
        trial.last_checkpoint,
        trial.best_checkpoint,
        trial.error_file,
        results.best_link,
        results.test_file,
        results.prediction("unlabelled.fa", ".npy"),
        results.logs(trial),
    ]
    assert [str(file.relative_to(results.path)) for file in files] == [
        "run.json",
        "def.py",
        "search/journal.jsonl",
        "trials/0003/config.json",
        "trials/0003/train_results.csv",
        "trials/0003/checkpoints/last.pt",
        "trials/0003/checkpoints/best.pt",
        "trials/0003/error.txt",
        "best_config",
        "test_result.json",
        "predictions/unlabelled.fa.npy",
        "logs/0003",
    ]


# Trials.


def test_a_trial_that_has_not_begun_has_no_config_and_no_epochs(trial: Trial) -> None:
    assert trial.config() is None
    assert trial.epochs() == 0


def test_the_first_config_of_a_trial_stays(trial: Trial) -> None:
    trial.write_config({"lr": 0.1})
    trial.write_config({"lr": 0.2})
    assert trial.config() == {"lr": 0.1}


def test_a_history_has_a_row_an_epoch_and_is_empty_where_undefined(trial: Trial) -> None:
    rows = [
        {"epoch": 1, "train_loss": 0.1 + 0.2, "reward": math.nan},
        {"epoch": 2, "train_loss": 1e-300, "reward": -math.inf, "val_auroc": np.float64(0.5)},
    ]
    trial.write_history(rows)
    assert trial.history_file.read_text() == (
        "epoch,train_loss,reward,val_auroc\n1,0.30000000000000004,,\n2,1e-300,-inf,0.5\n"
    )
    assert trial.epochs() == 2


def test_a_name_of_a_metric_may_hold_anything(trial: Trial) -> None:
    name = 'precision, "macro"\nof all'
    trial.write_history([{name: 0.5}, {name: 0.25}])
    with open(trial.history_file, newline="") as file:
        assert list(csv.DictReader(file)) == [{name: "0.5"}, {name: "0.25"}]
    assert trial.epochs() == 2


def test_a_history_is_replaced_as_it_grows(trial: Trial) -> None:
    trial.write_history([{"epoch": 1}])
    trial.write_history([{"epoch": 1}, {"epoch": 2}])
    assert trial.epochs() == 2
    assert sorted(os.listdir(trial.path)) == ["train_results.csv", "train_results.json"]


def test_a_history_that_was_changed_is_told(trial: Trial) -> None:
    trial.write_history([{"epoch": 1.0, "reward": -0.5}])
    whole = trial.history_file.read_bytes()
    for damaged in (whole.replace(b"-0.5", b"-0.4"), whole.replace(b"reward", b"rewarc"), whole[:-3]):
        trial.history_file.write_bytes(damaged)
        with pytest.raises(
            StorageError, match=r"train_results\.csv is not as it was written; .* or delete it"
        ):
            trial.epochs()
        assert not trial.has_history(1)
    trial.history_file.unlink()
    assert trial.epochs() == 0


def test_a_kill_between_the_facts_and_the_history_leaves_one_that_fits(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.write_history([{"epoch": 1.0, "reward": -0.5}])
    real = trial_module.write_whole
    monkeypatch.setattr(trial_module, "write_whole", lambda *_, **__: os._exit(9))
    if (child := os.fork()) == 0:
        trial.write_history([{"epoch": 1.0, "reward": -0.5}, {"epoch": 2.0, "reward": -0.25}])
    os.waitpid(child, 0)
    monkeypatch.setattr(trial_module, "write_whole", real)
    assert trial.rewards() == [-0.5]
    trial.write_history([{"epoch": 1.0, "reward": -0.125}])
    assert trial.rewards() == [-0.125]


def test_a_history_of_an_earlier_version_and_one_that_a_crash_left_empty_are_read(trial: Trial) -> None:
    trial.write_history([{"epoch": 1.0, "reward": -0.5}])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", trial.written() or "")
    facts = trial.path / "train_results.json"
    trial.history_file.write_text("")
    assert trial.epochs() == 0
    trial.write_history([{"epoch": 1.0, "reward": -0.5}])
    for _ in range(2):
        facts.write_text("")
        assert (trial.rewards(), trial.written()) == ([-0.5], None)
    facts.unlink()
    assert (trial.rewards(), trial.written()) == ([-0.5], None)


def test_metrics_of_the_test_set_come_back_with_nan_where_undefined(results: Results) -> None:
    results.write_test_result({"loss": 0.5, "auroc": math.nan, "ratio": math.inf})
    assert json.loads(results.test_file.read_text()) == {"loss": 0.5, "auroc": None, "ratio": None}
    stored = results.test_result()
    assert stored["loss"] == 0.5 and math.isnan(stored["auroc"])


# The best trial.


def test_the_best_trial_is_a_relative_link_that_moves_with_the_directory(results: Results) -> None:
    assert results.best_trial() is None
    results.set_best(results.trial("0003"))
    assert os.readlink(results.best_link) == "trials/0003"
    os.rename(results.path, results.path.with_name("moved"))
    best = Results(results.path.with_name("moved")).best_trial()
    assert best is not None and best.path == results.path.with_name("moved") / "trials" / "0003"


def test_the_link_is_replaced_in_one_step(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    results.set_best(results.trial("0003"))
    replaced = []
    replace = os.replace

    def watch(source: Any, target: Any) -> None:
        replaced.append((os.readlink(source), os.readlink(target)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    results.set_best(results.trial("0003"))
    assert replaced == []
    results.set_best(results.trial("0007"))
    assert replaced == [("trials/0007", "trials/0003")]
    assert os.listdir(results.path) == ["best_config"]


def test_what_an_interrupted_change_of_the_link_left_is_no_obstacle(results: Results) -> None:
    (results.path / ".best_config.tmp").symlink_to("trials/0001")
    results.set_best(results.trial("0003"))
    assert os.readlink(results.best_link) == "trials/0003"
    assert os.listdir(results.path) == ["best_config"]


def test_a_folder_in_the_place_of_the_link_is_set_aside_with_all_that_it_has(results: Results) -> None:
    for content in ("first", "second"):
        results.best_link.unlink(missing_ok=True)
        results.best_link.mkdir()
        (results.best_link / "notes.txt").write_text(content)
        results.set_best(results.trial("0003"))
        assert os.readlink(results.best_link) == "trials/0003"
    kept = [results.path / name / "notes.txt" for name in ("best_config.copy", "best_config.copy2")]
    assert [path.read_text() for path in kept] == ["first", "second"]


# The journal.


@pytest.fixture
def journal(results: Results) -> Journal:
    for number in range(3):
        results.journal.append({"event": "trial", "trial": number})
    return results.journal


EVENTS = [{"event": "trial", "trial": number} for number in range(3)]


def test_events_come_back_in_order(journal: Journal) -> None:
    assert journal.events() == EVENTS
    assert Journal(journal.path).events() == EVENTS


def test_a_journal_that_was_not_begun_has_no_events(results: Results) -> None:
    assert results.journal.events() == []
    assert not results.journal.path.exists()


@pytest.mark.parametrize("kept", [1, 5, 27])
def test_a_torn_last_line_is_cut_off_and_the_next_event_stands_alone(journal: Journal, kept: int) -> None:
    content = journal.path.read_bytes()
    line = b'{"event": "end", "of": "it"}\n'
    torn = content + line[:kept]
    journal.path.write_bytes(torn)
    assert journal.events() == EVENTS
    assert journal.path.read_bytes() == torn
    journal.append({"event": "end"})
    assert journal.events() == [*EVENTS, {"event": "end"}]


def test_a_reader_leaves_what_the_writer_adds_meanwhile(results: Results) -> None:
    journal, reader = results.journal, Journal(results.journal.path)
    for number, event in enumerate(EVENTS):
        assert reader.events() == EVENTS[:number]
        journal.append(event)
        assert reader.events() == EVENTS[: number + 1]


def test_a_journal_of_one_torn_line_is_empty(results: Results) -> None:
    results.journal.path.parent.mkdir()
    results.journal.path.write_bytes(b'{"event": "sea')
    assert results.journal.events() == []


@pytest.mark.parametrize("damage", [b'{"event": "tri', b"", b"\xff\xfe"])
def test_a_damaged_line_before_the_last_is_told_by_its_number(journal: Journal, damage: bytes) -> None:
    lines = journal.path.read_bytes().splitlines()
    lines[1] = damage
    journal.path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(StorageError, match=f"{journal.path}, line 2: not JSON"):
        journal.events()


def test_an_event_is_on_the_disk_before_append_returns(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(journal.path.read_bytes().count(b"\n")))
    journal.append({"event": "end"})
    assert synced == [4]


def test_a_full_disk_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=f"cannot write {journal.path}: No space left on device"):
        journal.append({"event": "end"})


def test_a_folder_in_the_place_of_the_journal_is_told(results: Results) -> None:
    results.journal.path.mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write .*journal.jsonl: Is a directory"):
        results.journal.append({})
    with pytest.raises(StorageError, match="cannot read .*journal.jsonl: Is a directory"):
        results.journal.events()


# The lock.

HOLDER = """
import sys
from helixband.results.directory import Results
with Results(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(results: Results) -> "subprocess.Popen[str]":
    """A process that holds the lock until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(results.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_second_process_is_refused_and_told_of_the_first(results: Results) -> None:
    with hold(results) as holder:
        with pytest.raises(UsageError, match=rf"at work in {results.path} \(process {holder.pid} on "):
            with results.locked():
                pass
        holder.communicate("")
    with results.locked():
        pass


def test_the_lock_goes_with_a_process_that_is_killed(results: Results) -> None:
    with hold(results) as holder:
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
        with results.locked():
            assert (results.path / "lock").read_text() == f"{os.getpid()} on {os.uname().nodename}\n"


FORKING = """
import os, sys, time
from helixband.results.directory import Results
with Results(sys.argv[1]).locked():
    child = os.fork()
    if child == 0:
        print("locked", os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    sys.stdin.read()
"""


def test_the_lock_goes_with_its_process_though_a_fork_of_it_lives_on(results: Results) -> None:
    command = [sys.executable, "-c", FORKING, str(results.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        said, child = holder.stdout.readline().split()
        assert said == "locked"
        try:
            with pytest.raises(UsageError, match=f"process {holder.pid} on "), results.locked():
                pass
            holder.kill()
            holder.wait()
            with results.locked():
                os.kill(int(child), 0)
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_fork_that_ends_leaves_the_lock_to_its_process(results: Results) -> None:
    with results.locked():
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(UsageError, match=f"process {os.getpid()}"), Results(results.path).locked():
            pass


def test_no_lock_is_left_in_a_folder_in_which_nothing_was_done(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("somebody's")
    with contextlib.suppress(ZeroDivisionError), Results(tmp_path).locked():
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["photo.png"]
    with Results(tmp_path).locked():
        (tmp_path / "trials").mkdir()
    assert (tmp_path / "lock").exists()


def test_a_directory_that_was_replaced_is_no_longer_held(results: Results, tmp_path: Path) -> None:
    with results.locked():
        results.check_lock()
        results.path.rename(tmp_path / "elsewhere")
        told = f"{results.path} was removed or replaced while this run was at work"
        with pytest.raises(StorageError, match=told):
            results.check_lock()
        with Results(results.path).locked(), pytest.raises(StorageError, match=told):
            results.check_lock()


def test_a_link_in_the_place_of_the_lock_is_not_followed(results: Results, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (results.path / "lock").symlink_to(target)
    with pytest.raises(StorageError, match="cannot write to the result directory"), results.locked():
        pass
    assert target.read_text() == "mine"


def test_the_lock_is_released_when_the_work_fails(results: Results) -> None:
    with pytest.raises(KeyError), results.locked():
        raise KeyError
    with results.locked():
        with pytest.raises(UsageError, match=f"process {os.getpid()}"), Results(results.path).locked():
            pass


def test_a_directory_that_cannot_be_written_is_told(results: Results) -> None:
    (results.path / "lock").mkdir()
    with pytest.raises(StorageError, match=f"cannot write to the result directory {results.path}: Is a dir"):
        with results.locked():
            pass


def test_a_file_system_that_cannot_lock_is_told(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(StorageError, match="No locks available"), results.locked():
        pass
