"""Trials trained together: the search that it would be without, and each trial's failure is its own."""

import json
import math
import re
import signal
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Project, untimed
from toys import TOY

from helixband.definition import load_definition
from helixband.errors import ResultsMismatch, UsageError
from helixband.results.directory import Results, Row
from helixband.results.journal import Journal
from helixband.run import packing
from helixband.search.executors import memory
from helixband.search.executors.packs import Packs
from helixband.search.executors.process import Setup, WorkerDied
from helixband.search.executors.task import Task
from helixband.search.executors.trial import Trainer
from helixband.search.journal import SearchJournal

SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")

PLAIN = """
class Model(RegressionModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Linear(units, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""
"""Appended to the toy: no dropout, whose masks are others in a pack."""

NOISY = """
class Noisy(MatrixBatchGenerator):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.rng, self.epochs = np.random.default_rng(3), 0
    def __iter__(self):
        self.epochs += 1
        for x, y in super().__iter__():
            yield x + self.rng.normal(size=x.shape).astype(np.float32) + np.float32(self.epochs), y

def get_train_generator(data_dir, batch_size):
    return Noisy(*table(0, 60), batch_size, shuffle=True)
"""
"""A generator derived from one of ours, which holds random numbers and a count of its own."""

ACTING = """
import os, time

class Model(Model):
    def init_model(self):
        if self.config.get("do") == "raise at once":
            raise ValueError("no model")
        super().init_model()
    def get_hyperband_reward(self, result):
        exec(self.config.get("do", ""), globals(), {"self": self, "result": result})
        return float("nan") if "nan" in self.config.get("do", "") else -result["val_loss"]
"""


SHARED = """
NOW, TABLES = [None], {}

class Model(Model):
    def init_model(self):
        NOW[0] = self
        super().init_model()

class Weighing:
    def __iter__(self):
        x, y = TABLES["train"]
        for start in range(0, 60, 20):
            a, b = torch.from_numpy(x[start : start + 20]), torch.from_numpy(y[start : start + 20])
            yield a * (1 + (NOW[0].network(a)[:, 0] - b).abs()[:, None]).detach(), b

def get_train_generator(data_dir, batch_size):
    if "train" not in TABLES:
        TABLES["train"] = table(0, 60)
    return Weighing()
"""
"""A generator that looks at the model by a variable, and data that are read once."""


TYPED = """
class Model(Model):
    def init_model(self):
        torch.set_default_dtype(torch.float64 if self.config["units"] > 4 else torch.float32)
        super().init_model()
"""
"""Trials compute in double precision or in single, by their configuration."""

CHANGING = """
COUNTS, READ = [0], {}

class Model(Model):
    def on_epoch_end(self, row):
        COUNTS[0] += 1
        READ[COUNTS[0]] = 1
"""
"""A variable that each epoch changes."""


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("packs")
    (folder / "def.py").write_text(TOY + PLAIN + ACTING)
    args = Namespace(data=str(folder), batch_size=20, seed=3, cpu=True, debug=False)
    return Trainer(load_definition(folder / "def.py", 3), Results(folder / "results"), args)


@pytest.fixture(scope="module")
def packs(trainer: Trainer) -> Iterator[Packs]:
    executor = Packs(Setup.of(trainer, str(trainer.results.path), slots=3), 1, [""], 1, print)
    yield executor
    executor.close()


def ignore(name: str, row: Row) -> None:
    pass


def task(name: str, epochs: int = 2, do: str = "", units: int = 4) -> Task:
    return Task(name, {"lr": 0.01, "units": units, "do": do}, epochs)


def journal(project: Project, results: str) -> list[dict[str, Any]]:
    text = (project.path / results / "search/journal.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def drawn(project: Project, results: str) -> list[Any]:
    return [event["config"] for event in journal(project, results) if event["event"] == "trial"]


def rewards(project: Project, results: str) -> dict[tuple[int, int], float]:
    events = [event for event in journal(project, results) if event["event"] == "result"]
    return {(event["trial"], event["epochs"]): event["reward"] for event in events}


def test_a_packed_search_is_the_plain_one_and_goes_on_packed(project: Project) -> None:
    project.define(PLAIN)
    assert project.run(*SEARCH, "--result", str(project.path / "plain")).code == 0
    packed = (*SEARCH, "--result", str(project.path / "packed"))
    run = project.run(*packed, "--pack", "8")
    assert run.code == 0, run.err
    assert "up to 8 trials together in a process" in run.out
    assert "search: done already" in project.run(*packed).out
    assert journal(project, "packed")[0]["pack"] == 8
    assert "pack" not in journal(project, "plain")[0]
    assert drawn(project, "packed") == drawn(project, "plain")
    assert rewards(project, "packed") == pytest.approx(rewards(project, "plain"), rel=1e-3)


def assert_one_after_another(project: Project, more: str, what: str) -> None:
    """That trials of a definition are trained as without packs, as making one changes something of all."""
    search = (*SEARCH, "--no-data-check")
    project.define(PLAIN + more)
    assert project.run(*search, "--result", str(project.path / "plain")).code == 0
    run = project.run(*search, "--result", str(project.path / "packed"), "--pack", "8")
    assert run.code == 0, run.err
    assert run.out.count(f"one after another: making one changes {what}, which all of them") == 1
    assert rewards(project, "packed") == rewards(project, "plain")


def test_trials_that_share_a_variable_are_trained_one_after_another(project: Project) -> None:
    assert_one_after_another(project, SHARED, "NOW of def.py[0]")


@pytest.fixture
def default_type() -> Iterator[None]:
    """Puts the type of numbers back that torch makes."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("default_type")
def test_trials_of_other_types_of_numbers_are_trained_one_after_another(project: Project) -> None:
    assert_one_after_another(project, TYPED, "torch's default dtype")


@pytest.mark.filterwarnings("ignore:.*no checkpoint holds it")
def test_a_variable_that_epochs_of_several_trials_change_is_told_once(project: Project) -> None:
    project.define(PLAIN + CHANGING)
    run = project.run(*SEARCH, "--pack", "8")
    assert run.code == 0, run.err
    assert run.out.count("packed: training changes COUNTS of def.py, which all trials of a process") == 1


def test_data_that_are_read_once_keep_nobody_from_a_pack(project: Project) -> None:
    project.define(PLAIN + SHARED.replace("NOW[0] = self", "").replace("NOW[0].network(a)[:, 0]", "b"))
    run = project.run(*SEARCH, "--no-data-check", "--pack", "8")
    assert run.code == 0, run.err
    assert "one after another" not in run.out


def test_members_fail_alone_and_the_others_come_out_as_they_would_alone(
    trainer: Trainer, packs: Packs
) -> None:
    rows: list[tuple[str, float]] = []
    tasks = [task("good"), task("raises", do="raise ValueError('mine')"), task("none", do="raise at once")]
    tasks += [task("nan", do="'nan'"), task("other", 3, units=8)]
    futures = [packs.submit(one, lambda name, row: rows.append((name, row["epoch"]))) for one in tasks]
    good, raises, none, nan, other = (future.result(60) for future in futures)
    assert (good.epochs, good.error, other.epochs, other.error) == (2, None, 3, None)
    assert raises.error == "ValueError: mine"
    assert none.error == "ValueError: no model"
    assert nan.reward == -math.inf
    assert nan.error is not None
    assert "mine" in trainer.results.trial("raises").error_file.read_text()
    assert [row for row in rows if row[0] == "other"] == [("other", 1), ("other", 2), ("other", 3)]
    here = Trainer(trainer.definition, Results(trainer.results.path / "here"), trainer.args)
    alone = here.attempt(tasks[0], ignore)
    assert good.reward == pytest.approx(alone.reward, rel=1e-3)


def test_a_packed_trial_goes_on_alone_and_packed_again(trainer: Trainer, packs: Packs) -> None:
    here = Trainer(trainer.definition, Results(trainer.results.path / "alone"), trainer.args)
    wanted = here.attempt(task("turns", 6), ignore).reward
    assert packs.submit(task("turns", 2), ignore).result(60).epochs == 2
    assert trainer.attempt(task("turns", 4), ignore).epochs == 4
    outcome = packs.submit(task("turns", 6), ignore).result(60)
    assert (outcome.epochs, outcome.reward) == (6, pytest.approx(wanted, rel=1e-3))


def test_the_trial_that_takes_a_process_with_it_is_found(trainer: Trainer, packs: Packs) -> None:
    death = "os.kill(os.getpid(), 9) if self.epoch == 1 else time.sleep(0.02)"
    wait = "time.sleep(0.02)"
    tasks = [
        task("guilty", 3, do=death),
        task("one", 20, do=wait),
        task("two", 20, do=wait),
    ]
    futures = [packs.submit(one, ignore) for one in tasks]
    for future in futures:
        with pytest.raises(WorkerDied, match=r"trials guilty, one and two was ended by SIGKILL"):
            future.result(60)
    again = [packs.submit(one, ignore) for one in tasks]
    with pytest.raises(WorkerDied, match=r"the process of trial guilty was ended by SIGKILL"):
        again[0].result(60)
    assert [future.result(60).epochs for future in again[1:]] == [20, 20]


def test_a_trial_that_loses_the_device_fails_and_the_others_go_on(trainer: Trainer, packs: Packs) -> None:
    lose = "if self.epoch == 1: raise RuntimeError('CUDA error: device-side assert triggered')"
    tasks = [task("loses", 3, do=f"{lose}\nelse: time.sleep(0.02)"), task("keeps", 20, do="time.sleep(0.02)")]
    futures = [packs.submit(one, ignore) for one in tasks]
    for future in futures:
        with pytest.raises(WorkerDied, match=r"trials keeps and loses .* code 1.*\n.*device-side assert"):
            future.result(60)
    again = [packs.submit(one, ignore).result(60) for one in tasks]
    assert again[0].error == "RuntimeError: CUDA error: device-side assert triggered"
    assert (again[1].epochs, again[1].error) == (20, None)


def test_a_packed_search_that_is_stopped_keeps_its_last_epochs(project: Project) -> None:
    project.define(
        PLAIN + "import time\nclass Model(Model):\n    def get_hyperband_reward(self, result):\n"
        "        time.sleep(0.01)\n        return super().get_hyperband_reward(result)\n"
    )
    search = ("--hyper", "--epoch", "20", "--sampler", "random", "--schedule", "none", "--trials", "4")
    search += ("--batch-size", "20", "--pack", "4")
    process = project.start(*search)
    tables = project.results / "trials"
    until = time.monotonic() + 60
    while len(list(tables.glob("*/train_results.csv"))) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert len(list(tables.glob("*/checkpoints/last.pt"))) == 4
    assert project.run(*search).code == 0
    assert project.run(*search[:-2], "--result", str(project.path / "whole")).code == 0
    assert rewards(project, "results") == pytest.approx(rewards(project, "whole"), rel=1e-3)
    table = (tables / "0002/train_results.csv").read_text()
    assert len(untimed(table).splitlines()) == 21


def test_a_timing_decides_once_whether_trials_are_packed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define(PLAIN)
    assert project.run(*SEARCH, "--result", str(project.path / "plain")).code == 0
    monkeypatch.setattr(packing, "GAIN", 0.0)
    run = project.run(*SEARCH, "--pack", "auto", "--result", str(project.path / "off"))
    assert run.code == 0, run.err
    assert re.search(
        r"--pack auto: off, as 8 trials together take \d+\.\d\d of their time one after", run.out
    )
    assert journal(project, "off") == journal(project, "plain")

    monkeypatch.setattr(packing, "GAIN", math.inf)
    again = project.run(*SEARCH, "--pack", "auto", "--result", str(project.path / "off"))
    assert "search: done already" in again.out and "--pack auto" not in again.out
    run = project.run(*SEARCH, "--pack", "auto", "--result", str(project.path / "packed"))
    assert run.code == 0, run.err
    assert "--pack auto: up to 8 trials together, as 8 trials together take" in run.out
    assert journal(project, "packed")[0]["pack"] == 8
    assert drawn(project, "packed") == drawn(project, "plain")


def test_a_timing_leaves_what_a_generator_of_the_definition_holds(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define(PLAIN + NOISY)
    assert project.run(*SEARCH, "--result", str(project.path / "plain")).code == 0
    monkeypatch.setattr(packing, "GAIN", 0.0)
    for flags in ((), ("--no-data-check",)):
        place = "off" + "".join(flags)
        run = project.run(*SEARCH, *flags, "--pack", "auto", "--result", str(project.path / place))
        assert run.code == 0, run.err
        assert "--pack auto: off, as 8 trials" in run.out
        assert journal(project, place) == journal(project, "plain")


def test_a_timing_decides_after_a_run_that_trained_nothing(project: Project) -> None:
    project.define(PLAIN + "    def train_step(self, x, y):\n        raise ValueError('no step')\n")
    assert project.run(*SEARCH, "--no-data-check").code != 0
    project.define(PLAIN)
    run = project.run(*SEARCH, "--trials", "2", "--pack", "auto")
    assert run.code == 0, run.err
    assert "--pack auto: " in run.out


def test_trials_that_cannot_be_timed_are_not_packed(project: Project) -> None:
    project.define(PLAIN + "    def train_step(self, x, y):\n        raise ValueError('no step')\n")
    failed = project.run(*SEARCH, "--pack", "auto", "--no-data-check")
    assert "--pack auto: off, as a step of the first trials failed (ValueError: no step)" in failed.out
    assert "no trial has succeeded" in failed.err
    project.define("class Model(Model):\n    def fit(self, *given):\n        return super().fit(*given)\n")
    run = project.run(*SEARCH, "--trials", "1", "--pack", "auto", "--result", str(project.path / "own"))
    assert "--pack auto: off, as the Model has a fit of its own" in run.out


def test_what_does_not_go_with_pack_is_refused(project: Project) -> None:
    for flags, told in [
        (("--epoch", "2", "--pack", "8"), "--pack: for a search alone; add --hyper"),
        ((*SEARCH, "--pack", "1"), "'1' is neither off nor an integer from 2, as 8"),
        ((*SEARCH, "--pack", "no"), "'no' is neither off nor an integer from 2, as 8"),
        ((*SEARCH, "--pack", "8", "--cluster", "ssh:one"), "--pack 8 packs trials on this machine"),
    ]:
        run = project.run(*flags)
        assert run.code == 2
        assert told in run.err


def test_a_model_with_a_fit_of_its_own_is_trained_alone(project: Project) -> None:
    project.define("class Model(Model):\n    def fit(self, *given):\n        return super().fit(*given)\n")
    run = project.run(*SEARCH, "--pack", "8")
    assert run.code == 0
    assert "--pack: each trial is trained alone, as the Model has a fit of its own" in run.out


def settings(**more: Any) -> dict[str, Any]:
    plain = {"max_epochs": 3, "trials": None, "schedule": "none", "eta": 3, "sampler": "auto", "seed": 0}
    return {**plain, "batch_size": 20, "stop_hopeless": False, **more}


def test_the_slots_stay_with_the_search(tmp_path: Path) -> None:
    SearchJournal(Journal(tmp_path / "journal"), settings(pack=8)).write_end()
    assert SearchJournal(Journal(tmp_path / "journal"), settings(pack=None)).settings["pack"] == 8
    for pack in (4, "off"):
        with pytest.raises(ResultsMismatch, match=f"--pack was 8 and is {pack}"):
            SearchJournal(Journal(tmp_path / "journal"), settings(pack=pack))
    SearchJournal(Journal(tmp_path / "plain"), settings(pack="off")).write_end()
    assert "pack" not in SearchJournal(Journal(tmp_path / "plain"), settings(pack=None)).settings
    with pytest.raises(ResultsMismatch, match="--pack was off and is 8"):
        SearchJournal(Journal(tmp_path / "plain"), settings(pack=8))


def test_data_for_more_slots_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([10**9, 3 * 10**9] * 3)
    monkeypatch.setattr(memory, "held", lambda: next(held))
    monkeypatch.setattr(memory, "available", lambda: 9 * 10**9)
    memory.check_memory(list, lambda: False, 1, 4)
    memory.check_memory(list, lambda: True, 1, 8)
    with pytest.raises(UsageError, match=r"hold 2 GB .* 8 trials need 16 GB of the 9 GB .* --pack 2 or "):
        memory.check_memory(list, lambda: False, 2, 4)
