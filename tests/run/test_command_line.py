"""What the command line does: the stages, the files they leave, and going on where a run ended."""

import csv
import hashlib
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Project, untimed
from toys import CLASSES, FASTA

from helixband import __version__
from helixband.nested import map_leaves
from helixband.report.__main__ import main as report
from helixband.run import command
from helixband.run.runfile import DEFAULTS
from helixband.training import keeper

SHORT = ("--epoch", "2", "--batch-size", "20")
SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")
"""Two brackets: three trials to epoch 1 and the best of them to epoch 3, then two trials to epoch 3."""


def contents(results: Path) -> dict[str, Any]:
    """What is in all files but the logs and those that name the time, the place or the number of a run."""
    files = {str(path.relative_to(results)): path for path in sorted(results.rglob("*")) if path.is_file()}

    def content(path: Path) -> Any:
        if path.name == "train_results.csv":
            return untimed(path.read_text())
        return state(path) if path.suffix == ".pt" else path.read_bytes()

    return {
        name: content(path)
        for name, path in files.items()
        if not name.startswith("logs/")
        and name not in ("lock", "run.json")
        and path.name not in ("attempt", "train_results.json")
        and not name.endswith(".record.json")
    }


def state(checkpoint: Path) -> Any:
    """A checkpoint but for the seconds of its epochs, its tensors as bytes.

    The file itself depends on which of its strings are one object.
    """

    def comparable(leaf: Any) -> Any:
        return (str(leaf.dtype), leaf.numpy().tobytes()) if isinstance(leaf, torch.Tensor) else leaf

    content = torch.load(checkpoint, weights_only=True)
    return map_leaves(comparable, {name: part for name, part in content.items() if name != "seconds"})


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# The stages and their files.


def test_training_alone_keeps_one_trial_and_its_history(project: Project) -> None:
    done = project.run("--epoch", "3", "--batch-size", "20")

    assert (done.code, done.err) == (0, "")
    assert "best epoch 3 of 3" in done.out
    assert os.readlink(project.results / "best_config") == "trials/single"
    assert sorted(project.json("trials/single/config.json")) == ["lr", "units"]
    rows = list(csv.DictReader(project.read("trials/single/train_results.csv").splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "epoch", "train_loss", "train_mse", "val_loss", "val_mse", "val_pearson", "reward", "lr", "seconds",
    ]  # fmt: skip
    assert all(float(row["reward"]) == -float(row["val_loss"]) for row in rows)
    assert not (project.results / "search").exists()
    assert not (project.results / "test_result.json").exists()


def test_a_search_with_evaluation_and_prediction_fills_the_result_directory(project: Project) -> None:
    done = project.run(*SEARCH, "--eval", "--predict", "x.fa")

    assert (done.code, done.err) == (0, "")
    run = project.json("run.json")
    assert sorted(run) == [
        "checksum", "command", "data", "definition", "digests", "environment", "helixband", "numpy", "python",
        "settings", "stages", "torch",
    ]  # fmt: skip
    assert run["settings"] == {
        "seed": 0, "epoch": 3, "batch_size": 20, "eta": 3,
        "schedule": "hyperband", "sampler": "auto", "stop_hopeless": False,
    }  # fmt: skip
    assert run["helixband"] == __version__
    assert project.read("def.py") == project.definition.read_text()

    journal = project.journal()
    assert journal[0] == {
        "event": "search", "max_epochs": 3, "trials": None, "schedule": "hyperband", "eta": 3,
        "sampler": "auto", "seed": 0, "batch_size": 20, "stop_hopeless": False,
    }  # fmt: skip
    assert [(e["event"], e.get("trial"), e.get("epochs")) for e in journal[1:7]] == [
        ("trial", 0, None),
        ("result", 0, 1),
        ("trial", 1, None),
        ("result", 1, 1),
        ("trial", 2, None),
        ("result", 2, 1),
    ]
    results = [event for event in journal if event["event"] == "result"]
    assert [event["epochs"] for event in results] == [1, 1, 1, 3, 3, 3]
    assert journal[-1] == {"event": "end"}

    best = max(results, key=lambda event: event["reward"])["trial"]
    assert os.readlink(project.results / "best_config") == f"trials/{best:04d}"
    stopped = {trial for event in results for trial in event["stops"]}
    assert len(stopped) == 3
    for trial in range(5):
        assert project.json(f"trials/{trial:04d}/config.json") == journal_config(journal, trial)
        kept = (project.results / f"trials/{trial:04d}/checkpoints/last.pt").exists()
        assert kept == (trial not in stopped or trial == best)

    assert list(project.json("test_result.json")) == ["loss", "mse", "pearson"]
    scores = np.load(project.results / "predictions/x.fa.npy")
    assert scores.shape == (3, 1)
    assert project.read("predictions/x.fa.tsv") == (
        "name\tstart\tend\tstrand\tscore\n"
        f"one\t0\t4\t+\t{scores[0, 0]:.6g}\n"
        f"two\t0\t5\t+\t{scores[1, 0]:.6g}\n"
        f"three\t0\t6\t+\t{scores[2, 0]:.6g}\n"
    )


def journal_config(journal: list[dict], trial: int) -> dict:
    return next(e["config"] for e in journal if e["event"] == "trial" and e["trial"] == trial)


def test_evaluation_and_prediction_train_first_where_nothing_is_trained(project: Project) -> None:
    done = project.run(*SHORT, "--eval", "--predict", "x.fa")

    assert done.code == 0
    assert done.out.index("training: best epoch") < done.out.index("test: loss") < done.out.index("predict: ")


def test_more_classes_than_two_have_a_score_each(project: Project) -> None:
    project.define(
        CLASSES
        + """
def labels(seed, rows):
    x, y = table(seed, rows)
    return x, np.digitize(y, [-1, 1])

class Model(ClassificationModel):
    def init_model(self):
        network = nn.Linear(3, 3)
        super().init_model(network, None, optim.Adam(network.parameters()))
"""
    )
    assert project.run(*SHORT, "--predict", "x.fa").code == 0

    header, first, *_ = project.read("predictions/x.fa.tsv").splitlines()
    assert header == "name\tstart\tend\tstrand\tscore_0\tscore_1\tscore_2"
    assert sum(map(float, first.split("\t")[4:])) == pytest.approx(1, abs=1e-5)


def test_a_second_run_does_nothing_again_and_says_so(project: Project) -> None:
    flags = (*SEARCH, "--eval", "--predict", "x.fa")
    project.run(*flags)
    before, stamps = contents(project.results), times(project.results / "trials")

    again = project.run(*flags)

    assert again.code == 0
    assert "search: done already" in again.out
    assert "test: done already" in again.out
    assert "x.fa is done already" in again.out
    assert contents(project.results) == before
    assert times(project.results / "trials") == stamps


def test_a_second_training_does_nothing_again_and_says_so(project: Project) -> None:
    project.run(*SHORT)
    stamps = times(project.results / "trials")

    again = project.run(*SHORT)

    assert "training: done already, to epoch 2" in again.out
    assert times(project.results / "trials") == stamps


def test_results_that_were_moved_are_still_done(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run(*SHORT, "--predict", "x.fa")
    project.results = project.results.rename(project.path / "moved")
    monkeypatch.chdir("/")

    assert "x.fa is done already" in project.run("--predict", "x.fa").out


def test_a_changed_input_is_predicted_again(project: Project) -> None:
    project.run(*SHORT, "--predict", "x.fa")
    (project.data / "x.fa").write_text(FASTA + ">four\nGG\n")

    assert project.run("--predict", "x.fa").code == 0

    assert np.load(project.results / "predictions/x.fa.npy").shape == (4, 1)
    assert len(project.read("predictions/x.fa.tsv").splitlines()) == 5


def test_the_same_command_gives_the_same_results_bit_for_bit(project: Project) -> None:
    """Whatever of random, NumPy and torch the definition draws from."""
    project.define("""
SCALE = random.uniform(1, 2) * np.random.uniform(1, 2) * torch.rand(1).item()

def get_train_generator(data_dir, batch_size):
    x, y = table(0, 60)
    chosen = np.random.permutation(60)[:40]
    return MatrixBatchGenerator(x[chosen], y[chosen] * SCALE, batch_size, shuffle=True)

class Model(Model):
    def train_step(self, x, y):
        noise = random.gauss(0, 1) + np.random.normal() + torch.randn(x.shape)
        return super().train_step(x + 0.1 * noise, y)
""")
    flags = (*SEARCH, "--eval", "--predict", "x.fa", "--seed", "7")
    project.run(*flags)
    first = contents(project.results)
    project.clear()
    project.run(*flags)

    assert contents(project.results) == first
    assert any(name.endswith("checkpoints/last.pt") for name in first)


def test_another_seed_gives_other_results(project: Project) -> None:
    project.run(*SHORT, "--seed", "1")
    first = contents(project.results)
    project.clear()
    project.run(*SHORT, "--seed", "2")

    assert project.read("trials/single/config.json").encode() != first["trials/single/config.json"]


# Going on.


def test_raised_epochs_go_on_as_if_never_interrupted(project: Project) -> None:
    flags = ("--batch-size", "20", "--eval", "--predict", "x.fa")
    project.run(*flags, "--epoch", "5")
    whole = contents(project.results)
    project.clear()
    project.run(*flags, "--epoch", "2")
    again = project.run(*flags, "--epoch", "5")

    assert "epoch 2/5" not in again.out and "epoch 3/5" in again.out
    assert contents(project.results) == whole


def test_settings_that_are_not_given_are_those_of_the_results(project: Project) -> None:
    project.run("--epoch", "3", "--batch-size", "30", "--seed", "5", "--eta", "4")
    settings = {
        "seed": 5, "epoch": 3, "batch_size": 30, "eta": 4,
        "schedule": "hyperband", "sampler": "auto", "stop_hopeless": False,
    }  # fmt: skip
    assert project.json("run.json")["settings"] == settings

    assert "done already, to epoch 3" in project.run("--eval").out
    assert project.run("--epoch", "4").code == 0
    assert project.json("run.json")["settings"] == settings | {"epoch": 4}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--seed", "1"), "was made with --seed 0, not 1"),
        (("--batch-size", "10", "--epoch", "9"), "was trained with --batch-size 20, not 10"),
        (("--set", "units=5"), "has the configuration {'lr': 0.01, 'units': 4}, not {'units': 5}"),
    ],
)
def test_other_settings_than_those_of_the_training_are_refused(
    project: Project, flags: tuple[str, ...], told: str
) -> None:
    project.run(*SHORT, "--set", "lr=0.01", "--set", "units=4")
    before = contents(project.results)

    refused = project.run(*flags)

    assert refused.code == 2
    assert told in refused.err
    assert "--result" in refused.err
    assert contents(project.results) == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--epoch", "2"), "--epoch was 3 and is 2"),
        (("--schedule", "sha"), "--schedule was hyperband and is sha"),
        (("--eta", "2"), "--eta was 3 and is 2"),
        (("--batch-size", "10"), "--batch-size was 20 and is 10"),
        (("--trials", "4"), "--trials was 5 and is 4"),
        (("--seed", "3"), "was made with --seed 0, not 3"),
    ],
)
def test_other_settings_than_those_of_the_search_are_refused(
    project: Project, flags: tuple[str, ...], told: str
) -> None:
    project.run(*SEARCH)

    refused = project.run("--hyper", *flags)

    assert refused.code == 2
    assert told in refused.err
    assert "--result" in refused.err


def test_the_best_of_a_search_is_used_without_the_flag_that_made_it(project: Project) -> None:
    project.run(*SEARCH)
    before = project.read("search/journal.jsonl")

    assert project.run("--eval").code == 0

    assert project.json("test_result.json")["loss"] > 0
    assert project.read("search/journal.jsonl") == before
    assert not (project.results / "trials/single").exists()


INTERRUPTED = """
class Model(Model):
    steps = 0

    def train_step(self, x, y):
        Model.steps += 1
        if Model.steps == 7:  # 3 an epoch: in the third trial of a search
            raise KeyboardInterrupt
        return super().train_step(x, y)
"""


def test_an_interrupted_search_goes_on_as_if_never_interrupted(project: Project) -> None:
    flags = (*SEARCH, "--eval")
    project.run(*flags)
    whole = contents(project.results)
    project.clear()

    project.define(INTERRUPTED)
    stopped = project.run(*flags)
    assert stopped.code == 130
    assert stopped.err == "stopped by Ctrl-C; the same command goes on from here\n"
    done, best, command = stopped.out.splitlines()[-3:]
    assert done == "2 of 5 trials have a result, 1 more at work; 2 of 11 epochs are done"
    assert re.fullmatch(r"best so far: trial 000[01], reward \S+  lr=\S+  units=[48]", best)
    typed = [sys.executable, "-m", "helixband", *project.arguments(*flags)]
    assert command == f"go on with: {shlex.join(typed)}"

    told = project.run("--eval")
    assert "is the best of an unfinished search; go on with it by --hyper" in told.out

    project.define()
    assert project.run(*flags, "--force").code == 0
    shutil.rmtree(project.results / "definitions")
    assert contents(project.results) == whole


AT_ONCE = INTERRUPTED.replace("== 7", "== 2")  # in the first epoch


def test_a_search_stopped_in_its_first_epoch_begins_anew(project: Project) -> None:
    flags = (*SEARCH, "--eval")
    project.run(*flags)
    whole = contents(project.results)
    project.clear()

    project.define(AT_ONCE)
    assert project.run(*flags).code == 130
    project.define()
    assert project.run(*flags).code == 0
    shutil.rmtree(project.results / "definitions")
    assert contents(project.results) == whole
    assert "search: done already" in project.run(*flags).out


def test_a_search_stopped_in_its_first_epoch_holds_nothing_against_another(project: Project) -> None:
    project.define(AT_ONCE)
    project.run(*SEARCH)
    project.define('def get_config():\n    return {"lr": 0.01, "units": 6}\n')
    dry = project.run(*SEARCH, "--eta", "2", "--dry-run")
    assert dry.code == 0

    assert project.run(*SEARCH, "--eta", "2", "--trials", "2").code == 0

    trials = [event for event in project.journal() if event["event"] == "trial"]
    assert [trial["config"]["units"] for trial in trials] == [6]


def test_a_run_killed_before_any_of_its_writes_goes_on_to_the_same_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As a kill: nothing that is written after it gets to the disk."""

    def lasting(writes: int, write: Callable[..., None]) -> Callable[..., None]:
        def limited(*arguments: Any) -> None:
            if next(count) >= writes:
                raise Killed
            write(*arguments)

        return limited

    monkeypatch.setattr(keeper, "SECONDS_BETWEEN_WRITES", 0)
    flags = (*SHORT, "--eval", "--predict", "x.fa")
    project.run(*flags)
    whole = contents(project.results)
    for writes in itertools.count():
        project.clear()
        count = itertools.count()
        with monkeypatch.context() as during:
            during.setattr(os, "fsync", lasting(writes, os.fsync))
            during.setattr(os, "replace", lasting(writes, os.replace))
            try:
                project.run(*flags)
                break
            except Killed:
                pass
        assert project.run(*flags).code == 0
        assert contents(project.results) == whole, f"killed before write {writes}"

    assert writes > 20


def test_a_trial_whose_checkpoints_were_deleted_is_trained_anew(project: Project) -> None:
    project.run(*SHORT)
    best = project.results / "trials/single/checkpoints/best.pt"
    before = state(best)
    for file in best.parent.iterdir():
        file.unlink()

    told = project.run("--eval")
    assert told.code == 2
    assert "best.pt is missing; run again with --train" in told.err

    assert project.run("--train", "--eval").code == 0

    assert state(best) == before


def test_the_best_trial_of_a_search_whose_checkpoints_were_deleted_is_trained_anew(project: Project) -> None:
    project.run(*SEARCH)
    checkpoints = (project.results / "best_config/checkpoints").resolve()
    before = state(checkpoints / "best.pt")
    for file in checkpoints.iterdir():
        file.unlink()

    told = project.run("--eval")
    assert told.code == 2
    assert "best.pt is missing" in told.err and "--hyper" in told.err

    assert project.run(*SEARCH, "--eval").code == 0
    assert state(checkpoints / "best.pt") == before


# A fixed configuration.


def test_a_configuration_is_given_by_file_and_by_key(project: Project) -> None:
    (project.path / "c.json").write_text('{"lr": 0.01, "units": 4}')

    assert project.run(*SHORT, "--config", str(project.path / "c.json"), "--set", "units=6").code == 0

    assert project.json("trials/single/config.json") == {"lr": 0.01, "units": 6}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--hyper", "--config", "c.json"), "c.json: No such file or directory"),
        (("--try", "c.json"), "--try: for a search alone"),
        (("--set", "lr"), "--set takes key=value, got 'lr'"),
        (("--config", "nowhere.json"), "nowhere.json: No such file or directory"),
    ],
)
def test_a_wrong_fixed_configuration_is_refused(project: Project, flags: tuple[str, ...], told: str) -> None:
    refused = project.run(*SHORT, *flags)

    assert refused.code == 2
    assert told in refused.err


def test_a_fixed_configuration_needs_no_get_config(project: Project) -> None:
    project.define("\ndel get_config\n")

    assert project.run(*SHORT, "--set", "lr=0.01", "--set", "units=4").code == 0


def test_a_true_that_was_trained_is_no_1(project: Project) -> None:
    fixed = ("--set", "lr=0.01", "--set", "units=4")
    assert project.run(*SHORT, *fixed, "--set", "deep=True").code == 0
    assert project.run(*SHORT, *fixed, "--set", "deep=true").code == 0

    assert project.run(*SHORT, *fixed, "--set", "deep=1").code == 2


@pytest.mark.parametrize("flags", [SHORT, (*SEARCH, "--workers", "2")])
def test_a_model_gets_the_same_values_in_training_evaluation_and_prediction(
    project: Project, flags: tuple[str, ...]
) -> None:
    seen = project.path / "seen"
    project.define(f"""
def get_config():
    return {{"lr": np.float32(0.25), "units": np.int64(4), "kernels": (3, np.array([5, 7])), "on": np.True_}}

class Model(Model):
    def init_model(self):
        with open({str(seen)!r}, "a") as file:
            print(dict(self.config), file=file)
        super().init_model()
""")
    assert project.run(*flags, "--eval", "--predict", "x.fa").code == 0

    lines = seen.read_text().splitlines()
    assert set(lines) == {"{'lr': 0.25, 'units': 4, 'kernels': [3, [5, 7]], 'on': True}"}
    assert len(lines) >= 2


@pytest.mark.parametrize("flags", [SHORT, SEARCH])
def test_an_enum_is_refused_where_it_is_drawn(project: Project, flags: tuple[str, ...]) -> None:
    project.define("""
import enum

class Pooling(str, enum.Enum):
    MAX = "max"

def get_config():
    return {"lr": 0.01, "units": 4, "pooling": random.choice(list(Pooling))}
""")
    refused = project.run(*flags)

    assert refused.code == 2
    assert "the configuration['pooling'] is <Pooling.MAX: 'max'> (Pooling), which cannot be" in refused.err
    assert "use its value 'max' or its name 'MAX'" in refused.err
    assert not (project.results / "trials").exists()


# What asks for training.


@pytest.mark.parametrize("flags", [("--eval",), ("--predict", "x.fa"), ("--check", "--eval")])
def test_nothing_is_trained_where_an_evaluation_alone_is_asked_for(
    project: Project, flags: tuple[str, ...]
) -> None:
    refused = project.run(*flags)
    assert refused.code == 2
    assert refused.err.startswith(
        f"error: there is no trained model in the result directory {project.results}: it does not exist. "
        "Give the right directory with --result, or ask for a training: --train"
    )
    assert not project.results.exists()

    project.results.mkdir()
    refused = project.run(*flags)
    assert refused.code == 2
    assert f"no trained model in the result directory {project.results}: nothing was trained" in refused.err
    assert os.listdir(project.results) == []


@pytest.mark.parametrize(
    "flags",
    [
        ("--train",),
        ("-t", "--eval"),
        ("--epoch", "1", "--eval"),
        ("--set", "lr=0.1", "--set", "units=4", "--eval"),
        ("--config", "config.json", "--eval"),
        (),
    ],
)
def test_training_is_asked_for_by(
    project: Project, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.chdir(project.path)
    monkeypatch.setitem(DEFAULTS, "epoch", 1)
    (project.path / "config.json").write_text('{"lr": 0.1, "units": 4}')

    assert project.run(*flags).code == 0

    assert (project.results / "best_config").exists()
    assert (project.results / "test_result.json").exists() == ("--eval" in flags)


@pytest.mark.filterwarnings("ignore:Model.steps of def.py")  # a count of a class, by which the toy stops
def test_a_training_that_was_stopped_is_told_where_only_an_evaluation_is_asked_for(project: Project) -> None:
    project.define(INTERRUPTED)
    assert project.run("--epoch", "3", "--batch-size", "20").code == 130

    refused = project.run("--eval")
    assert refused.code == 2
    assert "its training was stopped in epoch 2; go on with it by --train" in refused.err

    project.define()
    done = project.run("--train", "--eval", "--force")
    assert done.code == 0
    assert "best epoch 3 of 3" in done.out


def test_a_larger_epoch_trains_the_best_of_a_finished_search_on(project: Project) -> None:
    project.run(*SEARCH, "--eval")
    best = os.readlink(project.results / "best_config")
    first = project.read(f"{best}/train_results.csv").splitlines()
    journal, tested = project.read("search/journal.jsonl"), project.json("test_result.json")
    assert len(first) == 1 + 3

    assert "done already, to epoch 3" in project.run("--train").out
    done = project.run("--train", "--epoch", "9", "--batch-size", "20", "--eval")

    assert (done.code, done.err) == (0, "")
    assert os.readlink(project.results / "best_config") == best
    assert project.read(f"{best}/train_results.csv").splitlines()[:4] == first
    assert len(project.read(f"{best}/train_results.csv").splitlines()) == 1 + 9
    assert project.json("test_result.json") != tested
    assert project.read("search/journal.jsonl") == journal
    assert "search: done already" in project.run("--hyper").out, "the search is the same as before"
    assert project.run("--hyper", "--epoch", "9").code == 0, "and can be extended"


def test_results_of_earlier_weights_are_told_until_they_are_made_again(project: Project) -> None:
    assert "note:" not in project.run(*SHORT, "--eval", "--predict", "x.fa").out
    note = (
        "note: the test result and the predictions on 1 input are of earlier weights (trial single, "
        "trained to epoch 2); give --eval and --predict to make those of the weights that are there now\n"
    )
    assert note in project.run(*SHORT, "--epoch", "3").out

    assert report([str(project.results)]) == 0
    html = project.read("report.html")
    assert "This is the result of earlier weights: trial single, trained to epoch 2." in html
    assert html.count("it is of earlier weights") == 2, "x.fa.npy and x.fa.tsv"

    assert "the predictions on 1 input are" in project.run("--train", "--eval").out
    assert "note:" not in project.run("--train", "--predict", "x.fa").out
    assert report([str(project.results)]) == 0
    assert "earlier weights" not in project.read("report.html")


@pytest.mark.parametrize("made", [SHORT, SEARCH])
def test_what_cannot_be_trained_on_is_told(project: Project, made: tuple[str, ...]) -> None:
    project.run(*made)
    last = (project.results / "best_config/checkpoints/last.pt").resolve()
    last.unlink()

    assert project.run("--eval").code == 0
    assert project.run("--train", "--eval").code == 0
    refused = project.run("--train", "--epoch", "9", "--eval")
    assert refused.code == 2
    assert f"its last checkpoint {last} is missing" in refused.err


def test_the_best_of_an_unfinished_search_is_not_trained_on(project: Project) -> None:
    project.define(INTERRUPTED)
    assert project.run(*SEARCH).code == 130
    project.define()

    refused = project.run("--train", "--epoch", "9", "--force")

    assert refused.code == 2
    assert "is not finished: go on with it by --hyper" in refused.err


# Flags.


def test_debug_prints_the_network_and_leaves_nothing_but_a_folder_of_its_own(project: Project) -> None:
    project.run(*SHORT)
    before = contents(project.results)

    debug = project.run("--debug", "--eval", "--batch-size", "20")

    assert debug.code == 0
    assert "(0): Linear(in_features=3, out_features=" in debug.out
    assert " parameters\n" in debug.out
    assert "epoch 1/1" in debug.out
    after = contents(project.results)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("debug/") for name in after.keys() - before.keys())
    rows = list(csv.DictReader(project.read("debug/trials/single/train_results.csv").splitlines()))
    assert len(rows) == 1


def test_debug_counts_the_parameters_that_are_known(project: Project) -> None:
    project.define(
        "\nclass Model(RegressionModel):\n"
        "    def init_model(self):\n"
        "        network = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(1))\n"
        "        super().init_model(network, optimizer=optim.Adam(network.parameters(), 0.01))\n"
    )
    done = project.run("--debug")
    assert done.code == 0
    assert "8 parameters, and those of lazy layers, whose shapes the first batch gives" in done.out


def test_debug_trains_on_two_batches(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_step(self, x, y):
        print(f"step on {len(x)} rows")
        return super().train_step(x, y)
""")
    debug = project.run("--debug", "--batch-size", "7")

    assert debug.out.count("step on 7 rows") == 2


def test_debug_of_a_search_trains_one_trial(project: Project) -> None:
    debug = project.run("--debug", "--hyper", "--batch-size", "20")

    assert debug.code == 0
    assert "Linear(in_features=3" in debug.out
    assert os.listdir(project.results / "debug/trials") == ["0000"]


def test_quiet_prints_nothing(project: Project) -> None:
    done = project.run(*SEARCH, "--eval", "--predict", "x.fa", "--quiet")

    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--epoch", "none"), "argument -ep/--epoch: 'none' is not an integer from 1"),
        (("--epoch", "0"), "'0' is not an integer from 1"),
        (("--batch-size", "-5"), "argument -bs/--batch-size: '-5' is not an integer from 1"),
        (("--eta", "1"), "'1' is not an integer from 2"),
        (("--seed", "0.5"), "'0.5' is not an integer from 0"),
        (("--predict",), "argument -p/--predict: expected at least one argument"),
        (("--hypr",), "unrecognized arguments: --hypr; --hypr: did you mean --hyper?\n"),
        (
            ("--batch_size=5", "--evl"),
            "; --batch_size: did you mean --batch-size?; --evl: did you mean --eval?",
        ),
        (("-eval",), "ignored explicit argument 'val'; -eval: did you mean --eval?\n"),
        (("--clip", "0.5"), "unrecognized arguments: --clip 0.5\n"),
    ],
)
def test_a_wrong_flag_is_refused(project: Project, flags: tuple[str, ...], told: str) -> None:
    refused = project.run(*flags)

    assert refused.code == 2
    assert told in refused.err
    assert not project.results.exists()


@pytest.mark.parametrize("words", [("--n-units", "8"), ("--n_units=8",), ("--n-units=8", "--clip", "1")])
def test_a_flag_of_a_hyperparameter_without_a_declaration_is_told_another_way(
    project: Project, words: tuple[str, ...]
) -> None:
    refused = project.run(*words)
    assert refused.code == 2
    hint = "def.py declares no hyperparameters by name; --set n_units=8 gives one of its get_config()\n"
    assert refused.err.endswith(hint)


def test_the_version_is_told(project: Project) -> None:
    told = project.run("--version")

    assert (told.code, told.out) == (0, f"helixband {__version__}\n")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["main.py"], "main.py"),
        (["-m", "helixband"], "python -m helixband"),
    ],
)
def test_a_missing_flag_is_told_by_the_name_of_the_command_and_on_two_lines(
    command: list[str], name: str
) -> None:
    told = subprocess.run(
        [sys.executable, *command, "--modle", "def.py"], text=True, capture_output=True, cwd=ROOT
    )
    assert told.stderr == (
        f"usage: {name} --model FILE [flag …]; --help lists the flags\n"
        f"{name}: error: the following arguments are required: -f/--model; --modle: did you mean --model?\n"
    )


def test_help_names_every_flag_and_imports_no_torch() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "main.py"), "--help"],
        text=True,
        capture_output=True,
        check=True,
    )
    flags = (
        "--model --data --result --train --hyper --eval --predict --mc-dropout --debug --epoch --batch-size "
        "--eta --seed --config --set --cpu --force --quiet --version"
    )
    assert [flag for flag in flags.split() if flag not in told.stdout] == []
    assert "argparse" in told.stderr and "torch" not in told.stderr


def test_that_there_is_no_gpu_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    project.arguments = lambda *flags: [  # type: ignore[method-assign]
        flag for flag in Project.arguments(project, *flags) if flag != "--cpu"
    ]

    assert project.run(*SHORT).out.startswith("running on the CPU: no GPU was found\n")


def test_a_cpu_asked_for_is_not_complained_of(project: Project) -> None:
    assert project.run(*SHORT, "--cpu").out.startswith("running on the CPU\n")


# Predictions.


def test_inputs_are_given_by_globs_and_predicted_in_natural_order(project: Project) -> None:
    (project.data / "more").mkdir()
    for name in ("b10.fa", "b2.fa", "more/c.fa"):
        (project.data / name).write_text(FASTA)

    done = project.run(*SHORT, "--predict", "b*.fa", "more/*", "x.fa", "b2.fa")

    assert done.code == 0
    predicted = [line.split()[1] for line in done.out.splitlines() if line.startswith("predict: ")]
    assert predicted == [str(project.data / name) for name in ("b2.fa", "b10.fa", "more/c.fa", "x.fa")]
    assert (project.results / "predictions/more/c.fa.tsv").exists()


def test_an_input_outside_the_data_directory_has_its_file_name(project: Project) -> None:
    (project.path / "else.fa").write_text(FASTA)

    assert project.run(*SHORT, "--predict", str(project.path / "else.fa")).code == 0

    assert (project.results / "predictions/else.fa.npy").exists()


def test_inputs_that_would_have_one_name_are_refused(project: Project) -> None:
    (project.path / "x.fa").write_text(FASTA)

    refused = project.run(*SHORT, "--predict", "x.fa", str(project.path / "x.fa"))

    assert refused.code == 2
    assert "would both be named x.fa" in refused.err


def test_a_pattern_without_a_match_is_refused_before_any_work(project: Project) -> None:
    refused = project.run(*SHORT, "--predict", "x.fa", "nothing*.fa")

    assert refused.code == 2
    assert "--predict nothing*.fa: no file matches" in refused.err
    assert str(project.data) in refused.err
    assert not (project.results / "trials").exists()


def test_save_prediction_of_the_definition_takes_the_place_of_our_files(project: Project) -> None:
    project.define("""
def save_prediction(pred_path, y_pred):
    np.savetxt(pred_path + ".mine", y_pred)
""")
    done = project.run(*SHORT, "--predict", "x.fa")

    assert done.code == 0
    assert np.loadtxt(project.data / "x.fa.mine").shape == (3,)
    assert project.predictions() == []
    assert "x.fa is done already" in project.run("--predict", "x.fa").out


def test_a_dict_or_a_tuple_of_predictions_is_a_file_each(project: Project) -> None:
    project.define("""
class Network(nn.Linear):
    def forward(self, x):
        y = super().forward(x)[:, 0]
        return {"y_pred": {"mean": y, "parts": (y, x)}, "y_pred_loss": y}

class Model(BaseModel):
    def init_model(self):
        network = Network(3, 1)
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters()))
""")
    assert project.run(*SHORT, "--predict", "x.fa").code == 0

    shapes = {path.name: np.load(path).shape for path in project.predictions()}
    assert shapes == {"x.fa.mean.npy": (3,), "x.fa.parts.0.npy": (3,), "x.fa.parts.1.npy": (3, 3)}


def test_monte_carlo_dropout_gives_mean_and_spread(project: Project) -> None:
    project.run(*SHORT, "--eval", "--predict", "x.fa")
    plain = np.load(project.results / "predictions/x.fa.npy")

    done = project.run("--mc-dropout", "20", "--eval", "--predict", "x.fa")

    assert done.code == 0
    assert list(project.json("test_result.json")) == [
        "loss", "mse", "pearson", "loss_std", "mse_std", "pearson_std",
    ]  # fmt: skip
    mean = np.load(project.results / "predictions/x.fa.npy")
    spread = np.load(project.results / "predictions/x.fa.std.npy")
    assert mean.shape == spread.shape == (3, 1)
    assert (spread > 0).all() and not np.array_equal(mean, plain)


def test_monte_carlo_results_do_not_depend_on_what_was_done_before(project: Project) -> None:
    (project.data / "a.fa").write_text(FASTA)
    random = ("--mc-dropout", "3")
    project.run(*SHORT, *random, "--eval", "--predict", "a.fa", "x.fa")
    result, y_pred = project.read("test_result.json"), np.load(project.results / "predictions/x.fa.npy")
    assert not np.array_equal(np.load(project.results / "predictions/a.fa.npy"), y_pred), "other draws"
    project.clear()
    project.run(*SHORT, *random, "--predict", "x.fa")
    project.run(*SHORT, *random, "--eval")

    assert project.read("test_result.json") == result
    assert np.array_equal(np.load(project.results / "predictions/x.fa.npy"), y_pred)


# The definition and its environment.


def test_an_environment_variable_is_recorded_and_another_value_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define('\nROWS = env("ROWS", 60, int)\n')
    monkeypatch.setenv("ROWS", "40")
    project.run(*SHORT)
    assert project.json("run.json")["environment"] == {"ROWS": "40"}

    monkeypatch.setenv("ROWS", "50")
    refused = project.run(*SHORT)
    assert refused.code == 2
    assert "was made with ROWS=40 in the environment, and now it is 50" in refused.err

    monkeypatch.setenv("ROWS", "40")
    assert project.run(*SHORT).code == 0


def test_a_variable_that_the_data_functions_read_is_held_to_its_value_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define("""
def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, env("ROWS", 60, int)), batch_size)
""")
    assert project.run(*SHORT).code == 0

    monkeypatch.setenv("ROWS", "50")
    refused = project.run("--epoch", "3")
    assert refused.code == 2
    assert "was made with ROWS=60 in the environment, and now it is 50" in refused.err


def test_a_change_of_what_is_read_from_os_environ_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define("\nimport os, helper\nROWS = int(os.environ.get('ROWS', '60'))\n")
    (project.path / "helper.py").write_text("import os\nGENOME = os.getenv('GENOME')\n")
    monkeypatch.setenv("ROWS", "40")
    monkeypatch.delenv("GENOME", raising=False)
    assert "note:" not in project.run(*SHORT).out
    assert project.json("run.json")["os_environ"] == {"GENOME": None, "ROWS": "40"}
    assert "note:" not in project.run(*SHORT).out

    monkeypatch.setenv("ROWS", "50")
    monkeypatch.setenv("GENOME", "hg38")
    for _ in range(2):
        told = project.run(*SHORT, "--eval")
        assert told.code == 0
        assert f"note: {project.results} was made with ROWS=40 in the environment, and now it is ROWS=50" in (
            told.out
        )
        assert "was made with no GENOME in the environment, and now it is GENOME=hg38" in told.out
    assert project.json("run.json")["os_environ"] == {"GENOME": None, "ROWS": "40"}


def test_what_a_scheduler_sets_is_not_compared(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["SLURM_JOB_ID", "TMPDIR", "CUDA_VISIBLE_DEVICES"]
    project.define(
        "\nimport os\n" + "".join(f"env({name!r}, ''); os.environ.get({name!r})\n" for name in names)
    )
    for value in ("1", "2"):
        for name in names:
            monkeypatch.setenv(name, value)
        done = project.run(*SHORT)
        assert done.code == 0
        assert "note:" not in done.out


def test_a_credential_is_written_nowhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.define(
        "\nimport os\nenv('HF_TOKEN', ''); os.environ.get('WANDB_API_KEY'); env('ROWS', 60, int)\n"
    )
    for value in ("hidden-1", "hidden-2"):
        monkeypatch.setenv("HF_TOKEN", value)
        monkeypatch.setenv("WANDB_API_KEY", value)
        done = project.run(*SHORT)
        assert done.code == 0
        assert "hidden" not in done.out + done.err
    files = [path for path in project.results.rglob("*") if path.is_file()]
    assert [path for path in files if b"hidden" in path.read_bytes()] == []
    assert project.json("run.json")["environment"] == {"ROWS": "60"}


def test_a_changed_definition_is_evaluated_anew_where_forced(project: Project) -> None:
    project.run(*SHORT, "--eval")
    project.define("\ndef get_test_generator(data_dir):\n    return MatrixBatchGenerator(*table(9, 5))\n")
    before = project.read("test_result.json")

    assert project.run("--force", "--eval").code == 0

    assert project.read("test_result.json") != before


def kept(project: Project) -> list[str]:
    """The definitions that were replaced."""
    folder = project.results / "definitions"
    files = sorted(folder.iterdir()) if folder.exists() else []
    assert [file.stem for file in files] == [
        hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files
    ]
    return [file.read_text() for file in files]


def test_force_keeps_the_definitions_before(project: Project) -> None:
    project.run(*SHORT)
    versions = [project.definition.read_text()]
    for number in range(2):
        project.define(f"\n# version {number}\n")
        done = project.run("--force", "--eval")
        assert done.code == 0
        assert "--force: this is another version of def.py; the one before is kept as " in done.out
        assert sorted(kept(project)) == sorted(versions)
        versions.append(project.definition.read_text())
        assert project.read("def.py") == versions[-1]

    assert "--force" not in project.run("--force", "--eval").out
    assert len(kept(project)) == 2


DEEPER = """
class Model(Model):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
        super(RegressionModel, self).init_model(network, nn.MSELoss(), optim.Adam(network.parameters()))
"""
ANOTHER_OPTIMIZER = """
class Model(Model):
    def init_model(self):
        super().init_model()
        parts = [{"params": [parameter]} for parameter in self.network.parameters()]
        super(RegressionModel, self).init_model(self.network, nn.MSELoss(), optim.Adam(parts))
"""


@pytest.mark.parametrize(
    ("made", "change", "flags"),
    [
        (SHORT, DEEPER, ("--eval",)),
        (SHORT, DEEPER, ("--epoch", "3")),
        (SHORT, ANOTHER_OPTIMIZER, ("--epoch", "3")),
        (SHORT, "\nclass Model(Model):\n    def init_model(self): raise ValueError\n", ("--eval",)),
        (SEARCH, DEEPER, ("--eval",)),
        (SEARCH, ANOTHER_OPTIMIZER, ("--hyper", "--epoch", "9")),
        (SHORT, "\n# changed\n", ("--epoch", "3", "--batch-size", "10")),
    ],
)
def test_nothing_is_replaced_by_a_definition_that_does_not_fit(
    project: Project, made: tuple[str, ...], change: str, flags: tuple[str, ...]
) -> None:
    project.run(*made)
    before, run = contents(project.results), project.read("run.json")
    project.define(change)

    assert project.run("--force", *flags).code in (1, 2)

    assert contents(project.results) == before
    assert project.read("run.json") == run


def test_force_tells_what_is_done_again_and_what_is_not(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWS", "60")
    project.define("\nenv('ROWS')\n")
    project.run(*SEARCH, "--eval")
    config = "\ndef get_config():\n    return {'lr': 0.5, 'units': 2}\n"
    project.define(f"\nenv('ROWS')\n{config}")

    again = project.run(*SEARCH, "--force")
    assert again.code == 0
    assert "  what is trained stays as it is: a change of get_config, Model or data" in again.out
    assert "  done by this version: nothing yet\n" in again.out
    assert "earlier tests and predictions stay those of the version before" in again.out
    assert "search: done already" in again.out

    monkeypatch.setenv("ROWS", "50")
    more = project.run("--hyper", "--epoch", "9", "--force", "--eval")
    assert more.code == 0
    assert "--force: ROWS was 60, and is 50\n" in more.out
    assert "  done by this version: what the search has still to train, the test\n" in more.out


def test_a_changed_definition_is_refused_and_forced(project: Project) -> None:
    project.run(*SHORT, "--eval")
    project.define("\n# changed\n")

    refused = project.run(*SHORT)
    assert refused.code == 2
    assert "was made by another version of def.py" in refused.err
    assert "\nWhat differs (- recorded, + now):\n  @@ " in refused.err and "\n  +# changed\n" in refused.err
    assert "--force" in refused.err and "--result" in refused.err

    forced = project.run(*SHORT, "--force", "--epoch", "3", "--eval")
    assert forced.code == 0
    assert "epoch 3/3" in forced.out and "epoch 2/3" not in forced.out
    assert "test: loss" in forced.out
    assert project.read("def.py").endswith("# changed\n")
    assert project.run(*SHORT).code == 0


def test_a_definition_may_have_dataclasses_and_helpers_beside_it(project: Project) -> None:
    (project.path / "helper_beside.py").write_text("ROWS = 60\n")
    (project.path / "package_beside").mkdir()
    (project.path / "package_beside/__init__.py").write_text("from .inner import STEP\n")
    (project.path / "package_beside/inner.py").write_text("STEP = 0.01\n")
    project.define("""
from dataclasses import dataclass, field
from helper_beside import ROWS
from package_beside import STEP
from .helper_beside import ROWS as SAME_ROWS

@dataclass
class Settings:
    rows: "int" = ROWS
    steps: "list[float]" = field(default_factory=lambda: [STEP])

def get_config():
    return {"lr": Settings().steps[0], "units": 4, "rows": Settings().rows}
""")
    assert project.run(*SHORT).code == 0

    assert project.json("trials/single/config.json") == {"lr": 0.01, "units": 4, "rows": 60}


def test_data_and_results_are_found_in_the_current_folder_where_no_flag_names_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "here").mkdir()
    monkeypatch.chdir(project.path / "here")
    (project.path / "here/y.fa").write_text(FASTA)

    assert command.main(["--model", "../def.py", "--cpu", "--predict", "y.fa", *SHORT]) == 0

    assert (project.path / "here/results/predictions/y.fa.npy").exists()


# Kinds of generators.

GENERATORS = {
    "DataLoader": """
from torch.utils.data import DataLoader, TensorDataset

def get_train_generator(data_dir, batch_size):
    return DataLoader(TensorDataset(*map(torch.from_numpy, table(0, 60))), batch_size, shuffle=True)

def get_val_generator(data_dir):
    return DataLoader(TensorDataset(*map(torch.from_numpy, table(1, 20))), 8)

get_test_generator = get_val_generator

def get_pred_generator(pred_path):
    return DataLoader(TensorDataset(torch.from_numpy(table(3, 3)[0])), 2)
""",
    "class of the user's": """
class Batches:
    def __init__(self, x, y, batch_size):
        self.x, self.y, self.batch_size = x, y, batch_size

    def __iter__(self):
        for start in range(0, len(self.x), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield self.x[chosen], self.y[chosen]

def get_train_generator(data_dir, batch_size):
    return Batches(*table(0, 60), batch_size)

def get_val_generator(data_dir):
    return Batches(*table(1, 20), 8)
""",
    "iterator that starts again": """
class Batches:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __iter__(self):
        self.row = 0
        return self

    def __next__(self):
        self.row += 20
        if self.row > len(self.x):
            raise StopIteration
        return self.x[self.row - 20 : self.row], self.y[self.row - 20 : self.row]

def get_train_generator(data_dir, batch_size):
    return Batches(*table(0, 60))
""",
    "pair of training and validation": """
def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator.get_train_val_generator(*table(0, 80), val_ratio=0.25, batch_size=batch_size)

del get_val_generator
""",
    "dicts": """
def batches(seed, rows, batch_size=None):
    x, y = table(seed, rows)
    return MatrixBatchGenerator({"left": x[:, :1], "right": x[:, 1:]}, {"y": y}, batch_size)

def get_train_generator(data_dir, batch_size):
    return batches(0, 60, batch_size)

def get_val_generator(data_dir):
    return batches(1, 20)

get_test_generator = get_val_generator

def get_pred_generator(pred_path):
    x, _ = table(3, 3)
    return MatrixBatchGenerator({"left": x[:, :1], "right": x[:, 1:]})

class Network(nn.Linear):
    def forward(self, x):
        return super().forward(torch.cat([x["left"], x["right"]], dim=1))[:, 0]

class Model(BaseModel):
    def init_model(self):
        network = Network(3, 1)
        loss = nn.MSELoss()
        super().init_model(
            network, lambda y_true, y_pred: loss(y_pred, y_true["y"]), optim.Adam(network.parameters())
        )
""",
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_can_be_a(project: Project, kind: str) -> None:
    project.define(GENERATORS[kind])

    done = project.run(*SHORT, "--eval", "--predict", "x.fa")

    assert (done.code, done.err) == (0, "")
    assert len(np.load(project.results / "predictions/x.fa.npy")) == 3
    assert project.json("test_result.json")["loss"] > 0


# The search.


def test_hyperopt_expressions_are_sampled(project: Project) -> None:
    project.define("""
from hyperopt import hp

def get_config():
    return {
        "units": hp.choice("units", [4, 8]),
        "lr": hp.uniform("lr", 0.001, 0.01),
        "branch": hp.choice("branch", [{"kind": "a", "depth": hp.randint("depth", 1, 4)}, {"kind": "b"}]),
        "fixed": [1, "two", None],
    }
""")
    assert project.run(*SEARCH).code == 0

    configs = [event["config"] for event in project.journal() if event["event"] == "trial"]
    assert len({config["lr"] for config in configs}) == 5
    for config in configs:
        assert list(config) == ["units", "lr", "branch", "fixed"]
        assert config["units"] in (4, 8)
        assert 0.001 <= config["lr"] <= 0.01
        assert config["branch"] == {"kind": "b"} or config["branch"]["depth"] in (1, 2, 3)
        assert config["fixed"] == [1, "two", None]


def test_a_space_of_three_configurations_ends_the_search_early_and_cleanly(project: Project) -> None:
    project.define("""
def get_config():
    return {"lr": 0.01, "units": random.choice([2, 3, 4])}
""")
    done = project.run("--hyper", "--epoch", "9", "--batch-size", "20", "--eval")

    assert (done.code, done.err) == (0, "")
    trials = [event["config"]["units"] for event in project.journal() if event["event"] == "trial"]
    assert sorted(trials) == [2, 3, 4]
    assert project.journal()[-1] == {"event": "end"}
    assert "epoch 9" in done.out and project.json("test_result.json")["loss"] > 0


FAILING = """
def get_config():
    fate = random.choice(["good", "raise", "nan", "reward"])
    return {"lr": random.uniform(0.001, 0.01), "units": 4, "fate": fate}

class Model(Model):
    def train_step(self, x, y):
        if self.config["fate"] == "raise":
            raise RuntimeError("this configuration cannot be")
        return super().train_step(x * float("nan") if self.config["fate"] == "nan" else x, y)

    def get_hyperband_reward(self, result):
        return float("nan") if self.config["fate"] == "reward" else -result["val_loss"]
"""


def test_trials_that_fail_are_told_and_the_search_goes_on(project: Project) -> None:
    project.define(FAILING)
    done = project.run("--hyper", "--epoch", "9", "--batch-size", "20", "--seed", "1")

    assert (done.code, done.err) == (0, "")
    journal = project.journal()
    fates = {e["trial"]: e["config"]["fate"] for e in journal if e["event"] == "trial"}
    assert set(fates.values()) == {"good", "raise", "nan", "reward"}
    told = {
        "raise": "this configuration cannot be",
        "nan": "the loss is nan",
        "reward": "the reward was nan, and finite in no epoch",
    }
    for event in journal:
        if event["event"] == "result" and (fate := fates[event["trial"]]) != "good":
            assert event["reward"] is None
            assert told[fate] in event["error"]
            assert told[fate] in project.read(f"trials/{event['trial']:04d}/error.txt")
    raised = next(trial for trial, fate in fates.items() if fate == "raise")
    assert project.read(f"trials/{raised:04d}/error.txt").startswith(
        f'Traceback (most recent call last):\n  File "{project.definition}", line '
    )
    assert fates[int(os.readlink(project.results / "best_config")[-4:])] == "good"


def test_a_search_whose_first_trials_all_fail_stops(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_step(self, x, y):
        raise RuntimeError("nothing works")
""")
    failed = project.run("--hyper", "--epoch", "27", "--batch-size", "20")

    assert failed.code == 1
    assert "no trial has succeeded of 5; trial 0000 failed with: RuntimeError: nothing works" in failed.err
    assert str(project.results / "trials/0000/error.txt") in failed.err
    assert len([event for event in project.journal() if event["event"] == "result"]) == 5


# Processes and signals.

SLOW = """
import time

class Model(Model):
    def train_step(self, x, y):
        time.sleep(0.02)
        return super().train_step(x, y)
"""


def started(project: Project, *flags: str) -> "subprocess.Popen[str]":
    """A training of 300 slow epochs, begun."""
    process = project.start("--epoch", "300", "--batch-size", "10", *flags)
    for line in process.stdout:
        if "epoch 2/" in line:
            return process
    raise AssertionError(process.stderr.read())


def test_the_command_that_a_stopped_run_names_goes_on_with_it(project: Project) -> None:
    project.define(SLOW + "\n\nNOTE = env('NOTE', 'none')\n")
    flags = ("--set", "lr=0.01", "--set", "units=4", "--set", "note='a b'")
    flags = (*flags, "--epoch", "20", "--batch-size", "10")
    process = project.start(*flags, env=os.environ | {"NOTE": "it's one"})
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "epoch 2/" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130

    told = lines[-3:]
    assert re.fullmatch(r"\d+ of 20 epochs are done", told[0])
    assert re.fullmatch(r"best so far: epoch \d+, reward \S+", told[1])
    command = told[2].removeprefix("go on with: ")
    assert command.startswith("NOTE=") and command.endswith(" --epoch 20 --batch-size 10")
    again = subprocess.run(command, shell=True, cwd=project.path, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    assert "epoch 20/20" in again.stdout and "epoch 1/20" not in again.stdout


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_stops_a_run_that_then_goes_on_to_the_same_end(
    project: Project, number: int, code: int, name: str
) -> None:
    project.define(SLOW)
    process = started(project)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == code
    assert errors == f"stopped by {name}; the same command goes on from here\n"
    trained = project.read("trials/single/train_results.csv").splitlines()
    assert 3 <= len(trained) < 300

    end = ("--batch-size", "10", "--epoch", str(len(trained) + 2))
    assert project.run(*end).code == 0
    interrupted = contents(project.results)
    project.clear()
    assert project.run(*end).code == 0
    assert interrupted == contents(project.results)


def test_a_second_process_in_a_result_directory_is_refused_naming_the_first(project: Project) -> None:
    project.define(SLOW)
    process = started(project)
    try:
        refused = project.run(*SHORT)
    finally:
        process.kill()
        process.communicate()

    assert refused.code == 2
    assert f"another process is at work in {project.results} (process {process.pid} on " in refused.err
    assert project.run("--epoch", "3", "--batch-size", "10").code == 0, "the lock goes with the process"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, whose disk is full")
def test_an_output_that_cannot_be_written_is_told(project: Project) -> None:
    with open("/dev/full", "w") as full:
        process = project.start("--epoch", "1", stdout=full)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told == (
        "error: the output cannot be written where it goes (No space left on device): make room there, or "
        "send it elsewhere; the same command goes on from here\n"
    )


def test_a_run_without_standard_output_runs(project: Project) -> None:
    command = shlex.join([sys.executable, str(ROOT / "main.py"), *project.arguments("--epoch", "1")])
    ran = subprocess.run(["bash", "-c", f"{command} >&- 2>&-"], cwd=project.path, timeout=60)
    assert ran.returncode == 0
    assert (project.results / "trials/single/train_results.csv").exists()


def test_a_reader_of_the_output_that_has_gone_ends_the_run_in_silence(project: Project) -> None:
    project.define(SLOW)
    process = started(project)
    process.stdout.close()

    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


# What binds a result directory, and what does not.


def test_a_definition_that_never_trained_an_epoch_may_be_mended(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_step(self, x, y):
        raise RuntimeError("nothing works")
""")
    assert project.run(*SEARCH).code == 1
    assert project.run(*SHORT).code == 1

    project.define()
    mended = project.run("--hyper", "--epoch", "1", "--batch-size", "20", "--seed", "5")
    assert (mended.code, mended.err) == (0, "")
    assert project.json("run.json")["settings"]["seed"] == 5


def test_force_takes_the_definition_as_it_is_now_and_tests_it(project: Project) -> None:
    assert project.run(*SHORT, "--eval").code == 0
    trained = (project.results / "trials/single/checkpoints/best.pt").read_bytes()
    project.define("""
def get_test_generator(data_dir):
    return MatrixBatchGenerator(*table(3, 20))
""")
    before = project.json("test_result.json")

    assert project.run("--eval").code == 2
    assert project.run("--eval", "--force").code == 0

    assert project.json("test_result.json") != before
    assert project.read("def.py") == project.definition.read_text()
    assert (project.results / "trials/single/checkpoints/best.pt").read_bytes() == trained
    assert project.run("--eval").code == 0


def test_an_input_that_would_take_the_name_of_an_earlier_one_is_refused(project: Project) -> None:
    (project.path / "x.fa").write_text(">other\nACGT\n")
    assert project.run(*SHORT, "--predict", "x.fa").code == 0
    before = project.read("predictions/x.fa.tsv")

    refused = project.run("--predict", "../x.fa")

    assert refused.code == 2
    assert "would be named x.fa, as " in refused.err
    assert project.read("predictions/x.fa.tsv") == before


def test_a_data_directory_may_be_named_with_characters_of_globs(project: Project) -> None:
    data = project.path / "data [1] *"
    project.data.rename(data)
    done = project.run(*SHORT, "--data", str(data), "--predict", "*.fa")
    assert (done.code, done.err) == (0, "")
    assert (project.results / "predictions/x.fa.npy").exists()


def test_a_definition_may_change_the_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.define("import os; os.chdir('/')")
    monkeypatch.chdir(project.path)
    assert command.main(["-f", "def.py", "-d", "data", "-r", "results", "-c", *SHORT, "-p", "x.fa"]) == 0
    assert (project.results / "predictions/x.fa.npy").exists()


@pytest.mark.parametrize("flags", [SHORT, SEARCH])
def test_a_definition_that_exits_has_failed(project: Project, flags: tuple[str, ...]) -> None:
    project.define("""
import sys
def get_train_generator(data_dir, batch_size):
    sys.exit(0)
""")
    failed = project.run(*flags)
    assert failed.code == 1
    assert "in get_train_generator\n    sys.exit(0)\nSystemExit: 0" in failed.err


def test_one_logit_under_a_softmax_is_refused(project: Project) -> None:
    project.define(
        CLASSES
        + """
class Model(ClassificationModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        super().init_model(network, nn.CrossEntropyLoss(), optim.Adam(network.parameters()))
"""
    )
    refused = project.run(*SHORT)
    assert refused.code == 2
    assert "CrossEntropyLoss got logits of shape (20, 1), one for each example" in refused.err


def test_a_package_that_is_not_installed_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "helixband.run.experiment", None)
    failed = project.run(*SHORT)
    assert failed.code == 1
    assert failed.err.endswith("install with: pip install -r requirements.txt\n")


def test_files_that_are_not_of_a_run_are_left_alone(project: Project) -> None:
    mine = project.results / "trials" / "mine"
    mine.mkdir(parents=True)
    (mine / "config.json").write_text("{}")
    assert project.run(*SHORT).code == 0
    assert (mine / "config.json").exists()


def test_a_finished_search_needs_its_best_weights_alone(project: Project) -> None:
    assert project.run(*SEARCH, "--eval").code == 0
    for checkpoint in project.results.glob("trials/*/checkpoints/last.pt"):
        checkpoint.unlink()
    before = project.json("test_result.json")
    again = project.run("--eval")
    assert again.code == 0
    assert project.json("test_result.json") == before
    assert "single" not in os.listdir(project.results / "trials")


def test_a_test_result_is_of_the_weights_that_are_there(project: Project) -> None:
    assert project.run(*SHORT, "--eval").code == 0
    before = project.json("test_result.json")
    shutil.rmtree(project.results / "trials" / "single")
    assert project.run(*SHORT, "--eval", "--set", "lr=0.5", "--set", "units=4").code == 0
    assert project.json("test_result.json") != before


def test_force_does_not_mix_batch_sizes(project: Project) -> None:
    assert project.run(*SHORT).code == 0
    refused = project.run("--epoch", "3", "--batch-size", "10", "--force")
    assert refused.code == 2
    assert "was trained with --batch-size 20, not 10" in refused.err


HYPEROPT = """

from hyperopt import hp


def get_config():
    return {"lr": hp.loguniform("lr", -5.0, -3.0), "units": hp.choice("units", [4, 8])}
"""


@pytest.mark.parametrize(("sampler", "extra"), [("density", ""), ("tpe", HYPEROPT), ("auto", HYPEROPT)])
def test_a_search_by_a_model_of_good_trials_is_the_same_each_time(
    project: Project, sampler: str, extra: str
) -> None:
    project.define(extra)
    flags = ["--hyper", "--epoch", "9", "--sampler", sampler]
    assert project.run(*flags).code == 0
    journal = project.read("search/journal.jsonl")
    assert '"sampler": "' + sampler + '"' in journal
    lines = journal.splitlines(keepends=True)
    project.clear()
    assert project.run(*flags).code == 0
    assert project.read("search/journal.jsonl") == journal
    project.clear()
    search = project.results / "search"
    search.mkdir(parents=True)
    (search / "journal.jsonl").write_text("".join(lines[:20]))  # a search that was stopped
    assert project.run(*flags).code == 0
    assert project.read("search/journal.jsonl") == journal


def test_a_sampler_that_does_not_go_with_the_space_is_told(project: Project) -> None:
    done = project.run("--hyper", "--sampler", "tpe")
    assert done.code == 2
    assert "--sampler tpe: get_config() has no hyperopt expressions; take density, or auto" in done.err
