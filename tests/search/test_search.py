"""A search as a user runs it: schedules, workers, budgets, going on, going further, and what can go wrong."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, untimed

from helixband.results.directory import Trial
from helixband.run import experiment
from helixband.search.executors.local import InProcess, KilledAtStart
from helixband.search.executors.task import Outcome, Task

SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")
"""Two brackets: three trials to epoch 1 and the best of them to epoch 3, then two trials to epoch 3."""

COUNTED = """
import json
import os


class Model(Model):
    def get_hyperband_reward(self, result):
        with open(os.path.join(self.args.data, "epochs"), "a") as file:
            file.write(json.dumps([dict(self.config), self.epoch + 1]) + "\\n")
        return super().get_hyperband_reward(result)
"""
"""Appended to the toy: each epoch that is trained leaves a line in data/epochs."""

SLOW = (
    COUNTED
    + """
import time

class Model(Model):
    def get_hyperband_reward(self, result):
        time.sleep(0.05)
        return super().get_hyperband_reward(result)
"""
)


def epochs_trained(project: Project) -> Counter[str]:
    """How often each epoch of each configuration was trained."""
    return Counter((project.data / "epochs").read_text().splitlines())


def configs(project: Project, results: str = "results") -> dict[int, Any]:
    return {e["trial"]: e["config"] for e in events(project, results) if e["event"] == "trial"}


def outcomes(project: Project, results: str = "results") -> dict[tuple[int, int], Any]:
    """(reward, best epoch, error) by trial and epochs."""
    return {
        (e["trial"], e["epochs"]): (e["reward"], e["best_epoch"], e["error"])
        for e in events(project, results)
        if e["event"] == "result"
    }


def events(project: Project, results: str = "results") -> list[dict[str, Any]]:
    journal = project.path / results / "search/journal.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()]


def stopped(project: Project, results: str = "results") -> list[int]:
    """The trials that were put out of the race, whichever result did it."""
    return sorted(t for e in events(project, results) if e["event"] == "result" for t in e["stops"])


def histories(project: Project, results: str = "results") -> dict[str, str]:
    folder = project.path / results / "trials"
    return {path.parent.name: untimed(path.read_text()) for path in folder.glob("*/train_results.csv")}


# Schedules, and how many trials.


@pytest.mark.parametrize(
    ("schedule", "jobs"),
    [
        ("hyperband", {1: 3, 3: 3}),  # the fourth trial is the first of the second bracket
        ("sha", {1: 4, 3: 1}),
        ("asha", {1: 4, 3: 1}),
        ("none", {3: 4}),
    ],
)
def test_a_schedule_says_which_trials_go_on(project: Project, schedule: str, jobs: dict[int, int]) -> None:
    if schedule == "hyperband":
        jobs = {1: 3, 3: 2}
    done = project.run(*SEARCH, "--schedule", schedule, "--trials", "4")
    assert (done.code, done.err) == (0, "")
    assert len(configs(project)) == 4
    assert Counter(epochs for _, epochs in outcomes(project)) == jobs
    assert os.path.exists(project.results / "best_config/checkpoints/best.pt")


def test_more_trials_than_a_round_are_another_round(project: Project) -> None:
    project.run(*SEARCH, "--trials", "7")
    places = [(e["round"], e["bracket"]) for e in project.journal() if e["event"] == "trial"]
    assert places == [(0, 0)] * 3 + [(0, 1)] * 2 + [(1, 0)] * 2


def test_the_number_of_workers_changes_neither_configurations_nor_results(project: Project) -> None:
    assert project.run(*SEARCH, "--epoch", "9").code == 0
    for workers in ("2", "3"):
        place = str(project.path / workers)
        done = project.run(*SEARCH, "--epoch", "9", "--workers", workers, "--result", place)
        assert (done.code, done.err) == (0, "")
        assert f"{workers} trials at a time" in done.out
        assert configs(project, workers) == configs(project)
        assert outcomes(project, workers) == outcomes(project)
        assert histories(project, workers) == histories(project)
        assert stopped(project, workers) == stopped(project)
        best = os.readlink(project.path / workers / "best_config")
        assert best == os.readlink(project.results / "best_config")


def test_asha_keeps_several_workers_busy(project: Project) -> None:
    done = project.run(*SEARCH, "--schedule", "asha", "--trials", "9", "--workers", "2")
    assert (done.code, done.err) == (0, "")
    assert len(configs(project)) == 9
    assert Counter(epochs for _, epochs in outcomes(project))[3] >= 3


# Going further.


def test_a_finished_search_is_extended_to_more_trials_without_redoing_work(project: Project) -> None:
    project.define(COUNTED)
    project.run(*SEARCH, "--trials", "4")
    before = outcomes(project)
    assert project.run(*SEARCH, "--trials", "4").out.count("search: done already") == 1

    done = project.run(*SEARCH, "--trials", "8")
    assert (done.code, done.err) == (0, "")
    assert len(configs(project)) == 8
    assert outcomes(project).items() >= before.items()
    assert set(epochs_trained(project).values()) == {1}
    assert [e["trials"] for e in project.journal() if e["event"] == "search"] == [4, 8]


def test_a_finished_search_is_extended_to_more_epochs_without_redoing_work(project: Project) -> None:
    project.define(COUNTED)
    first = project.run(*SEARCH)
    before, best = outcomes(project), os.readlink(project.results / "best_config")

    done = project.run(*SEARCH, "--epoch", "9")
    assert (done.code, done.err) == (0, "")
    assert "\ncontinuing: 5 of 17 trials have a result; 11 of 69 epochs are done\n  best so far: " in done.out
    old = ", trial 0000, to epoch 1: "
    assert (first.out.count(old), done.out.count(old)) == (1, 0)
    found = outcomes(project)
    assert found.items() >= before.items()
    assert Counter(epochs for _, epochs in found) == {1: 9, 3: 8, 9: 5}
    assert set(epochs_trained(project).values()) == {1}
    assert (int(best[-4:]), 9) in found or (int(best[-4:]), 3) in found
    assert project.run(*SEARCH, "--epoch", "9").out.count("search: done already") == 1


def test_fewer_epochs_than_searched_are_refused(project: Project) -> None:
    project.run(*SEARCH)
    refused = project.run(*SEARCH, "--epoch", "2")
    assert refused.code == 2
    assert "--epoch was 3 and is 2" in refused.err


def test_a_search_stops_when_its_time_is_spent_and_goes_on_with_the_same_command(project: Project) -> None:
    project.define(SLOW)
    assert project.run(*SEARCH, "--epoch", "9", "--result", str(project.path / "whole")).code == 0

    for seconds in ("0.6", "0.9"):
        stopped = project.run(*SEARCH, "--epoch", "9", "--time-budget", seconds)
        assert (stopped.code, stopped.err) == (0, "")
        assert "the time is spent; the same command goes on with it" in stopped.out
    assert events(project)[-1]["event"] != "end"
    (project.data / "epochs").unlink()

    assert project.run(*SEARCH, "--epoch", "9").code == 0
    assert events(project) == events(project, "whole")
    assert set(epochs_trained(project).values()) == {1}


def test_a_time_budget_ends_workers_too(project: Project) -> None:
    project.define(SLOW)
    start = time.monotonic()
    stopped = project.run(*SEARCH, "--epoch", "27", "--workers", "2", "--time-budget", "4s")
    assert (stopped.code, stopped.err) == (0, "")
    assert "the time is spent" in stopped.out
    assert time.monotonic() - start < 60


MOVED = """
import os

class Model(Model):
    def get_hyperband_reward(self, result):
        moved = self.args.result + "-moved"
        if not os.path.exists(moved):
            os.rename(self.args.result, moved)
            os.mkdir(self.args.result)
            open(os.path.join(self.args.result, "lock"), "w").close()
        return super().get_hyperband_reward(result)
"""


def test_a_run_writes_nothing_into_a_directory_that_took_the_place_of_its_own(project: Project) -> None:
    project.define(MOVED)
    stopped = project.run(*SEARCH, "--workers", "2")
    assert stopped.code != 0
    assert f"{project.results} was removed or replaced while this run was at work" in stopped.err
    assert os.listdir(project.results) == ["lock"]


# What goes wrong in a trial or with its worker.

FAILS_ONCE = """
import os

class Model(Model):
    def get_hyperband_reward(self, result):
        marker = os.path.join(self.args.data, "failed")
        if self.epoch == 1 and self.config["units"] == 4 and not os.path.exists(marker):
            open(marker, "w").close()
            {what}
        return super().get_hyperband_reward(result)
"""
OUT_OF_MEMORY = 'raise torch.OutOfMemoryError("CUDA out of memory")'
DEATH = "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(("what", "workers"), [(OUT_OF_MEMORY, "1"), (OUT_OF_MEMORY, "2"), (DEATH, "2")])
def test_a_trial_that_ran_out_of_memory_or_lost_its_worker_once_goes_on(
    project: Project, what: str, workers: str
) -> None:
    project.define()
    project.run(*SEARCH, "--result", str(project.path / "whole"))
    project.define(FAILS_ONCE.replace("{what}", what))

    done = project.run(*SEARCH, "--workers", workers)
    assert (done.code, done.err) == (0, "")
    assert (project.data / "failed").exists()
    assert outcomes(project) == outcomes(project, "whole")
    assert not list(project.results.glob("trials/*/error.txt"))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of memory"),
        (DEATH, "the worker died 3 times in this trial, at last: the process of trial"),
    ],
)
def test_a_trial_that_does_so_again_has_failed_and_the_search_goes_on(
    project: Project, what: str, told: str
) -> None:
    project.define(FAILS_ONCE.replace("{what}", what).replace(" and not os.path.exists(marker)", ""))
    done = project.run(*SEARCH, "--workers", "2")
    assert (done.code, done.err) == (0, "")
    failed = [event for event in events(project) if event["event"] == "result" and event["error"]]
    assert failed
    for event in failed:
        assert configs(project)[event["trial"]]["units"] == 4
        assert event["error"].startswith(told)
        assert told.split(":")[0] in project.read(f"trials/{event['trial']:04d}/error.txt")


class Killed:
    """Workers of which a signal ends each before it can take a trial."""

    capacity = 2

    def __init__(self) -> None:
        self.given: list[str] = []

    def submit(self, task: Task, on_epoch: Any) -> "Future[Outcome]":
        self.given.append(task.name)
        future: Future[Outcome] = Future()
        future.set_exception(KilledAtStart("a worker process was ended by SIGKILL before it was ready"))
        return future

    def close(self) -> None:
        pass


def test_workers_that_are_killed_at_each_start_end_the_search_and_fail_no_trial(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Killed()
    monkeypatch.setattr(experiment, "make_executor", lambda *given: workers)
    done = project.run(*SEARCH)
    told = "a worker process was ended by SIGKILL before it was ready"
    assert done.code == 1
    assert f"{told}\n(so 3 times for trial 000" in done.err
    assert f"  trial 0000 lost its worker and goes on in another: {told}\n" in done.out
    assert max(Counter(workers.given).values()) == 3
    assert not any(event["event"] == "result" for event in events(project))
    monkeypatch.undo()
    assert project.run(*SEARCH).code == 0


class Pair(InProcess):
    """Two workers, as far as the search can tell, of which the number of jobs is counted."""

    capacity, jobs = 2, 0

    def submit(self, task: Task, on_epoch: Any) -> "Future[Outcome]":
        self.jobs += 1
        return super().submit(task, on_epoch)


def test_checkpoints_are_deleted_when_all_workers_have_jobs_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[Pair] = []
    under_way: list[int] = []
    delete = Trial.discard_checkpoints

    def deleting(trial: Trial) -> None:
        done = [event for event in events(project) if event["event"] == "result"]
        under_way.append(pairs[0].jobs - len(done))
        delete(trial)

    monkeypatch.setattr(
        experiment, "make_executor", lambda trainer, *given: pairs.append(Pair(trainer)) or pairs[0]
    )
    monkeypatch.setattr(Trial, "discard_checkpoints", deleting)
    assert project.run(*SEARCH, "--sampler", "random").code == 0
    assert under_way[:2] == [2, 2]


def test_hopeless_trials_are_stopped_between_rungs(project: Project) -> None:
    # The reward is the number of units and grows by at most .02 an epoch: 4 units never reach 8.
    project.define(
        """
class Model(Model):
    def get_hyperband_reward(self, result):
        return self.config["units"] + 0.02 * self.epoch
"""
    )
    flags = (*SEARCH, "--epoch", "9", "--schedule", "none", "--trials", "20", "--sampler", "random")
    done = project.run(*flags, "--stop-hopeless")
    assert (done.code, done.err) == (0, "")
    results = [event for event in events(project) if event["event"] == "result"]
    units = configs(project)
    assert {units[event["trial"]]["units"] for event in results if event["trained"] < 9} == {4}
    assert all(event["trained"] == 9 for event in results if units[event["trial"]]["units"] == 8)
    # The setting is kept with the search, and a stopped trial stays stopped.
    assert "done already" in project.run(*flags).out


def test_a_trial_without_a_reward_yet_is_not_hopeless(project: Project) -> None:
    project.define(
        """
class Model(Model):
    def get_hyperband_reward(self, result):
        return self.config["units"] + 0.02 * self.epoch if self.epoch else float("nan")
"""
    )
    flags = (*SEARCH, "--epoch", "3", "--schedule", "none", "--trials", "12", "--sampler", "random")
    done = project.run(*flags, "--stop-hopeless")
    assert (done.code, done.err) == (0, "")
    results = [event for event in events(project) if event["event"] == "result"]
    units = configs(project)
    assert "failed" not in done.out
    assert {units[event["trial"]]["units"] for event in results if event["trained"] == 2} == {4}


def test_a_trial_whose_network_changes_fails_alone_where_it_cannot_go_back_to_its_best_epoch(
    project: Project,
) -> None:
    project.define(
        """
from torch.nn.utils import prune

class Model(Model):
    def on_epoch_end(self, row):
        if self.config["units"] == 4 and row["epoch"] == 2:
            prune.l1_unstructured(self.network[0], "weight", 0.5)

    def get_hyperband_reward(self, result):
        return -self.epoch if self.config["units"] == 4 else self.epoch
"""
    )
    done = project.run(*SEARCH, "--epoch", "3", "--schedule", "none", "--trials", "6", "--sampler", "random")
    assert done.code == 0
    errors = [event["error"] for event in events(project) if event["event"] == "result"]
    failed = [error is not None for error in errors]
    assert failed == [config["units"] == 4 for _, config in sorted(configs(project).items())]
    message = "DefinitionError: the model got other parameters or buffers in training and cannot go back"
    assert [error for error in errors if error and not error.startswith(message)] == []


# Trials that end by themselves.

IMPATIENT = (
    COUNTED
    + """
class Model(Model):
    def get_hyperband_reward(self, result):
        super().get_hyperband_reward(result)
        return self.config["units"] + self.config["lr"] + [0, 0.1, 0][min(self.epoch, 2)]
"""
)
"""The reward falls after the second epoch; trials of 8 units are the best from the first epoch on."""


def test_a_trial_that_ended_by_itself_is_complete_and_its_reward_stands(project: Project) -> None:
    project.define(IMPATIENT)
    flags = (*SEARCH, "--epoch", "9", "--with", "patience=1")
    done = project.run(*flags)
    assert (done.code, done.err) == (0, "")
    results = [event for event in events(project) if event["event"] == "result"]
    assert {(each["trained"], each["ended"]) for each in results} == {(1, "epochs"), (3, "patience")}
    assert all(each["trained"] == 3 for each in results if each["epochs"] >= 3)
    promoted = Counter(each["trial"] for each in results if each["epochs"] >= 3)
    assert max(promoted.values()) == 2  # to epoch 3, where it ended, and to epoch 9, where its reward stands
    for trial in promoted:
        assert (
            len({each["reward"] for each in results if each["trial"] == trial and each["epochs"] >= 3}) == 1
        )
    assert max(epochs_trained(project).values()) == 1
    assert not any(json.loads(line)[1] > 3 for line in epochs_trained(project))
    assert "training: trial" not in done.out  # the best is not trained on

    before = epochs_trained(project)
    assert "done already" in project.run(*flags).out
    further = project.run(*SEARCH, "--epoch", "27", "--with", "patience=1")
    assert (further.code, further.err) == (0, "")
    assert {each for each in before if epochs_trained(project)[each] > 1} == set()


def test_workers_come_to_the_same_search_where_trials_end_by_themselves(project: Project) -> None:
    project.define(IMPATIENT)
    flags = (*SEARCH, "--epoch", "9", "--with", "patience=1")
    assert project.run(*flags).code == 0
    assert project.run(*flags, "--workers", "2", "--result", str(project.path / "other")).code == 0
    assert outcomes(project, "other") == outcomes(project)


def test_a_single_training_that_ended_by_itself_is_done(project: Project) -> None:
    project.define(IMPATIENT)
    flags = ("--epoch", "9", "--batch-size", "20", "--with", "patience=1")
    done = project.run(*flags)
    assert "best epoch 2 of 3, where it ended by itself (patience)" in done.out
    again = project.run(*flags)
    assert (again.code, again.err) == (0, "")
    assert "done already, to epoch 3" in again.out and "where it ended by itself (patience)" in again.out
    assert "done already" in project.run(*flags[2:], "--epoch", "20").out
    assert len(epochs_trained(project)) == 3


# Killed.


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_search_killed_at_random_moments_comes_to_the_same_end(project: Project, workers: str) -> None:
    project.define(SLOW)
    project.run(*SEARCH, "--epoch", "9", "--result", str(project.path / "whole"))
    (project.data / "epochs").unlink()
    draw = random.Random(7)
    kills = 0
    for _ in range(4):
        with project.start(*SEARCH, "--epoch", "9", "--workers", workers) as process:
            try:
                process.wait(3.0 + draw.uniform(0, 1.5))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        time.sleep(0.5)  # the workers write their last epoch and go
    assert kills
    assert project.run(*SEARCH, "--epoch", "9").code == 0
    assert configs(project) == configs(project, "whole")
    assert outcomes(project) == outcomes(project, "whole")
    assert histories(project) == histories(project, "whole")
    # An epoch is trained again only where it was under way, or its state waited for a fraction of a second.
    again = sum(count - 1 for count in epochs_trained(project).values())
    assert again <= kills * int(workers) * 8


def test_ctrl_c_ends_a_search_and_its_workers_which_keep_their_last_epoch(project: Project) -> None:
    project.define(SLOW)
    process = project.start(*SEARCH, "--epoch", "27", "--workers", "2")
    while not (project.data / "epochs").exists():
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "stopped by Ctrl-C; the same command goes on from here\n"
    before = (project.data / "epochs").read_text()
    time.sleep(1)
    assert (project.data / "epochs").read_text() == before


# Bad input.


def test_two_searches_in_one_directory_are_refused_with_the_process_named(project: Project) -> None:
    project.define(SLOW)
    process = project.start(*SEARCH, "--epoch", "27", "--workers", "2")
    while not (project.data / "epochs").exists():
        assert process.poll() is None
        time.sleep(0.1)
    refused = project.run(*SEARCH, "--epoch", "27")
    process.terminate()
    process.communicate(timeout=120)
    assert refused.code == 2
    assert f"another process is at work in {project.results} (process {process.pid} on " in refused.err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--trials", "0"), "'0' is not an integer from 1"),
        (("--workers", "0"), "'0' is not an integer from 1"),
        (("--time-budget", "soon"), "'soon' is not a time such as 2h, 90m, 1h30m or 45s"),
        (("--time-budget", "0"), "'0' is not a time"),
        (("--schedule", "grid"), "invalid choice: 'grid'"),
        (("--cluster", "somewhere"), "--cluster somewhere"),
        (("--trials-per-gpu", "2"), "--trials-per-gpu needs a GPU"),
        (
            ("--cluster", "slurm:", "--trials-per-gpu", "2"),
            "--trials-per-gpu is for this machine, and --cluster for others",
        ),
    ],
)
def test_flags_of_a_search_that_make_no_sense_are_refused(
    project: Project, flags: tuple[str, ...], told: str
) -> None:
    refused = project.run(*SEARCH, *flags)
    assert refused.code == 2
    assert told in refused.err
    assert not (project.results / "search").exists()


def test_flags_of_a_search_without_one_are_refused(project: Project) -> None:
    refused = project.run("--workers", "2", "--time-budget", "1h")
    assert refused.code == 2
    assert "--time-budget, --workers: for a search alone; add --hyper" in refused.err


def test_more_workers_than_cores_are_told(project: Project) -> None:
    cores = len(os.sched_getaffinity(0))
    done = project.run(*SEARCH, "--trials", "3", "--workers", str(cores + 1))
    assert done.code == 0
    assert f"more workers than cores: {cores} would do as much" in done.out


def define_config(project: Project, body: str) -> None:
    project.define(
        f"\nimport itertools\ncalls = itertools.count()\n\ndef get_config():\n    {body}\n"
        "\nclass Model(Model):\n    def init_model(self):\n"
        "        network = nn.Linear(3, 1)\n"
        "        optimizer = optim.SGD(network.parameters(), 0.01)\n"
        "        BaseModel.init_model(self, network, nn.MSELoss(), optimizer)\n"
    )


SAMPLERS = ("random", "auto")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("return {}", 1),
        ("return {'a': 1}", 1),
        ("return {'a': random.choice([1, 2])}", 2),
        ("return {'a': {'b': [random.random(), {'c': None}]}}", 5),
        ("return {'a': random.randrange(10**18)}", 5),
        ("return {random.choice('ab'): random.random()}", 5),
    ],
)
def test_any_space_that_a_function_can_draw_from_is_searched(
    project: Project, sampler: str, body: str, count: int
) -> None:
    define_config(project, body)
    done = project.run(*SEARCH, "--sampler", sampler)
    assert (done.code, done.err) == (0, "")
    assert len(configs(project)) == count
    assert ("the space holds" in done.out) == (count < 5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return {'a': {'b': {1, 2}}}", "['a']['b'] is {1, 2} (set), which cannot be stored"),
        ("return {'a': float('nan')}", "['a'] is nan (float), which cannot be stored"),
        ("return {1: 2}", "has the key 1; keys have to be strings"),
        ("return [1]", "returned [1] (list); it has to return a dict"),
        ("return 1 // 0", "ZeroDivisionError"),
    ],
)
def test_a_configuration_that_cannot_be_is_told_with_its_place(
    project: Project, sampler: str, body: str, told: str
) -> None:
    define_config(project, body)
    failed = project.run(*SEARCH, "--sampler", sampler)
    assert failed.code in (1, 2)
    assert told in failed.err
    assert "def.py" in failed.err
    assert not (project.results / "trials").exists()


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ("None", "get_hyperband_reward"),
        ("'high'", "get_hyperband_reward"),
        ("float('nan')", "finite in no epoch"),
        ("float('inf')", "finite in no epoch"),
    ],
)
def test_a_reward_that_is_no_finite_number_is_a_failure(project: Project, reward: str, told: str) -> None:
    project.define(
        f"""
class Model(Model):
    def get_hyperband_reward(self, result):
        return {reward} if self.config["lr"] < 0.01 else 1.0
"""
    )
    done = project.run(*SEARCH)
    assert (done.code, done.err) == (0, "")
    errors = {
        configs(project)[trial]["lr"] < 0.01: result[2] for (trial, _), result in outcomes(project).items()
    }
    assert told in errors[True]
    assert errors[False] is None


def test_a_result_directory_that_cannot_be_written_is_told(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = project.run(*SEARCH, "--result", str(tmp_path / "file/results"))
    assert failed.code == 1
    assert "cannot make the result directory" in failed.err


def test_a_search_that_is_extended_counts_what_is_left_of_trials_that_go_on(project: Project) -> None:
    project.run(*SEARCH, "--epoch", "3")
    done = project.run(*SEARCH, "--epoch", "5")
    found = re.search(
        r"\ncontinuing: (\d+) of (\d+) trials have a result; (\d+) of (\d+) epochs are done\n", done.out
    )
    assert found is not None
    trials, of_trials, epochs, of_epochs = map(int, found.groups())
    assert trials == of_trials
    trained = sum(line.count(" to epoch 5: ") for line in done.out.splitlines())
    assert trained > 0 and epochs < of_epochs


def test_a_search_that_goes_on_tells_of_epochs_of_trials_that_were_at_work(project: Project) -> None:
    project.define(
        """
import os

class Model(Model):
    def get_hyperband_reward(self, result):
        flag = os.path.join(self.args.data, "stopped")
        if self.epoch == 2 and not os.path.exists(flag):
            open(flag, "w").close()
            raise KeyboardInterrupt
        return super().get_hyperband_reward(result)
"""
    )
    flags = "--hyper --epoch 5 --trials 1 --batch-size 20 --schedule none".split()
    assert project.run(*flags).code == 130
    done = project.run(*flags)
    told = "0 of 1 trials have a result; 0 of 5 epochs are done, and 2 more of trials that were at work\n"
    assert f"\ncontinuing: {told}" in done.out


def test_a_search_whose_time_ends_before_the_first_result_says_so(project: Project) -> None:
    project.define(SLOW)
    stopped = project.run(*SEARCH, "--epoch", "9", "--time-budget", "0.01", "--eval")
    assert "no trial has a result yet" in stopped.out and "best trials:" not in stopped.out
    assert "its search has no result yet; go on with it by --hyper" in stopped.err
