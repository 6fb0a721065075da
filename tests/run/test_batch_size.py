"""--batch-size auto: which batch is found, where it is kept, and what is refused.

On the CPU a network stands in for memory: it raises torch.OutOfMemoryError above some number of rows.
"""

import json
from typing import Any

import pytest
import torch
from conftest import Project

from helixband.errors import UsageError
from helixband.run import batch_size, flags
from helixband.run.batch_size import largest
from helixband.run.parser import make_parser

AUTO = ("--epoch", "1", "--batch-size", "auto")

MEMORY = """
import os

def get_train_generator(data_dir, batch_size):
    with open(os.path.join(data_dir, "asked"), "a") as file:
        file.write(f"{batch_size} ")
    return MatrixBatchGenerator(*table(0, ROWS), batch_size, shuffle=True)

class Model(Model):
    def forward(self, x):
        if self.network.training and len(x) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU passes for a GPU."""
    monkeypatch.setattr(batch_size, "check_device", lambda cpu: None)


def define(project: Project, rows: int, fits: int, extra: str = "") -> None:
    """The toy with so many rows for training, of which a step takes so many at most."""
    project.define(MEMORY.replace("ROWS", str(rows)).replace("FITS", str(fits)) + extra)


def settings(project: Project) -> dict[str, Any]:
    """Those that run.json has."""
    found: dict[str, Any] = json.loads((project.results / "run.json").read_text())["settings"]
    return found


def asked(project: Project) -> list[int]:
    """The batch sizes with which the training set was made, in order; read once."""
    file = project.data / "asked"
    sizes = [int(word) for word in file.read_text().split()]
    file.unlink()
    return sizes


# What is found.


@pytest.mark.parametrize("fits", [1, 2, 99, 100, 101, 199, 200, 700, 1599])
def test_the_largest_number_that_fits_is_found(fits: int) -> None:
    tried: list[int] = []

    def step(rows: int) -> tuple[int, bool] | None:
        tried.append(rows)
        return (rows, False) if rows <= fits else None

    assert largest(step, 100) == (fits, False)
    assert len(set(tried)) == len(tried) <= 16


def test_nothing_is_found_where_one_does_not_fit() -> None:
    assert largest(lambda rows: None, 100) == (0, False)


def test_the_search_ends_with_the_whole_set() -> None:
    assert largest(lambda rows: (min(rows, 350), rows >= 350), 100) == (350, True)


@pytest.mark.parametrize(
    ("rows", "fits", "found", "why"),
    [
        (1000, 230, 230, "one more does not, as a tenth of memory is held back"),
        (1000, 37, 37, "one more does not, as a tenth of memory is held back"),
        (150, 140, 140, "one more does not, as a tenth of memory is held back"),
        (1000, 5000, 1000, "the whole training set"),
        (60, 5000, 60, "the whole training set"),
    ],
)
def test_the_batch_that_fits_is_told_used_and_recorded(
    project: Project, gpu: None, rows: int, fits: int, found: int, why: str
) -> None:
    define(project, rows, fits)
    done = project.run(*AUTO)
    assert (done.code, done.err) == (0, "")
    told = f"--batch-size auto: a training step fits with batches of {found:,} ({why})\n"
    assert done.out.count("--batch-size auto") == done.out.count(told) == 1
    assert settings(project)["batch_size"] == found
    assert asked(project)[-1] == found
    assert torch.load(project.results / "trials/single/checkpoints/last.pt")["steps"] == -(-rows // found)


SHARED = """
SHARED, STEPS = nn.Linear(3, 1), []

class Model(Model):
    def init_model(self):
        super().init_model()
        BaseModel.init_model(self, SHARED, nn.MSELoss(), optim.SGD(SHARED.parameters(), 0.01))

    def forward(self, x):
        found = super().forward(x)
        STEPS.extend([len(x)] * self.network.training)
        return found

    def get_hyperband_reward(self, result):
        with open(os.path.join(self.args.data, "steps"), "w") as file:
            file.write(repr(STEPS))
        return super().get_hyperband_reward(result)
"""


def test_the_training_is_the_one_with_that_number(project: Project, gpu: None) -> None:
    """What the definition holds, a network too, is as it was before the tries."""
    define(project, 300, 70, SHARED)
    assert project.run(*AUTO).code == 0
    assert (project.data / "steps").read_text() == "[70, 70, 70, 70, 20]"
    project.run("--epoch", "1", "--batch-size", "70", "--result", str(project.path / "given"))
    auto, given = (
        torch.load(folder / "trials/single/checkpoints/last.pt")["network"]
        for folder in (project.results, project.path / "given")
    )
    assert len(auto) == 2
    assert all(torch.equal(auto[name], given[name]) for name in given)


@pytest.mark.parametrize(
    ("made", "fits", "found"),
    [
        ("[(x[i : i + n], y[i : i + n]) for i in range(0, len(x), n)]", 999, 300),
        ("[(x[i : i + n], y[i : i + n]) for i in range(0, len(x), n)]", 130, 130),
        ("DataLoader(TensorDataset(*map(torch.from_numpy, (x, y))), n, drop_last=True)", 999, 300),
        ("MatrixBatchGenerator(x, y, n, drop_last=True)", 999, 300),
    ],
    ids=["of batches", "of batches, a part", "of torch", "of ours"],
)
def test_generators_of_all_kinds_have_an_end(
    project: Project, gpu: None, made: str, fits: int, found: int
) -> None:
    own = f"""
from torch.utils.data import DataLoader, TensorDataset

def get_train_generator(data_dir, batch_size):
    x, y = table(0, 300)
    n = batch_size
    return {made}
"""
    define(project, 300, fits, own)
    done = project.run(*AUTO)
    assert (done.code, done.err) == (0, "")
    assert settings(project)["batch_size"] == found


def test_a_dry_run_tells_it_and_writes_nothing(project: Project, gpu: None) -> None:
    define(project, 300, 70)
    done = project.run(*AUTO, "--dry-run")
    assert done.code == 0
    assert "a training step fits with batches of 70 (one more does not" in done.out
    assert not project.results.exists()


# Where it is kept.


def test_a_training_goes_on_with_what_was_found(project: Project, gpu: None) -> None:
    define(project, 300, 70)
    project.run(*AUTO)
    asked(project)
    again = project.run("--epoch", "2", "--batch-size", "auto")
    assert again.code == 0
    assert "--batch-size auto: 70, as recorded\n" in again.out
    assert set(asked(project)) == {70}
    assert project.run("--epoch", "3").code == 0
    assert set(asked(project)) == {70}
    other = project.run("--epoch", "4", "--batch-size", "80")
    assert other.code == 2
    assert "was trained with --batch-size 70, not 80; give the same one" in other.err
    assert settings(project)["batch_size"] == 70


def test_what_was_found_is_kept_where_there_is_no_gpu(project: Project) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_size, "check_device", lambda cpu: None)
        define(project, 300, 70)
        project.run(*AUTO)
    assert project.run("--epoch", "2", "--batch-size", "auto").code == 0


def test_auto_keeps_a_number_that_was_given(project: Project) -> None:
    project.run("--epoch", "1", "--batch-size", "20")
    again = project.run("--epoch", "2", "--batch-size", "auto", "--eval")
    assert again.code == 0
    assert "--batch-size auto: 20, as recorded\n" in again.out


def test_it_is_found_again_where_nothing_was_trained(project: Project, gpu: None) -> None:
    broken = "\nclass Model(Model):\n    def get_hyperband_reward(self, result):\n        raise KeyError(1)\n"
    define(project, 300, 70, broken)
    assert project.run(*AUTO).code == 1
    define(project, 300, 90)
    assert project.run(*AUTO).code == 0
    assert settings(project)["batch_size"] == 90


def test_a_search_finds_it_once_with_its_first_configuration(project: Project, gpu: None) -> None:
    needs = """
class Model(Model):
    def forward(self, x):
        if not os.path.exists(os.path.join(self.args.data, "first")):
            with open(os.path.join(self.args.data, "first"), "w") as file:
                file.write(repr(dict(self.config)))
        if self.network.training and len(x) * self.config["units"] > 400:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)
"""
    define(project, 300, 1000, needs)
    search = ("--hyper", "--epoch", "1", "--trials", "2", "--set", "units=8", "--batch-size", "auto")
    done = project.run(*search)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("--batch-size auto: a training step fits with batches of 50") == 1
    journal = (project.results / "search/journal.jsonl").read_text().splitlines()
    assert json.loads(journal[0])["batch_size"] == settings(project)["batch_size"] == 50
    assert repr(json.loads(journal[1])["config"]) == (project.data / "first").read_text()
    asked(project)
    more = project.run(*search, "--trials", "3")
    assert (more.code, more.err) == (0, "")
    assert "--batch-size auto: 50, as recorded\n" in more.out
    assert set(asked(project)) == {50}
    other = project.run(*search, "--trials", "4", "--batch-size", "60")
    assert other.code == 2
    assert "50 and is 60; give the same ones" in other.err


# What is refused.


def test_without_a_gpu_a_number_is_asked_for(project: Project) -> None:
    refused = project.run(*AUTO)
    assert refused.code == 2
    assert refused.err == (
        "error: --batch-size auto finds what fits into the memory of a GPU, and there is none to use here: "
        "give a number\n"
    )
    assert not (project.results / "run.json").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--hyper", "--cluster", "tcp://host:1"), "not of --cluster: give a number"),
        (("--hyper", "--pack", "4"), "with --pack several share one: give a number"),
        (("--hyper", "--trials-per-gpu", "2"), "with --trials-per-gpu several share one"),
    ],
)
def test_what_others_share_or_have_is_refused(project: Project, given: tuple[str, ...], told: str) -> None:
    refused = project.run(*AUTO, *given)
    assert refused.code == 2
    assert told in refused.err


def test_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "number_of_processes", lambda: 2)
    args = make_parser().parse_args(["--model", "def.py", *AUTO])
    with pytest.raises(UsageError, match="^--batch-size auto is for a training by one process, and not for"):
        flags.check_flags(args)


def test_a_step_in_which_not_even_one_row_fits_is_told(project: Project, gpu: None) -> None:
    define(project, 300, 0)
    refused = project.run(*AUTO)
    assert refused.code == 2
    assert "--batch-size auto: a training step with one example does not fit on the GPU" in refused.err
    assert not (project.results / "run.json").exists()


def test_another_error_is_told_with_the_batch_and_what_fits(project: Project, gpu: None) -> None:
    fails = """
class Model(Model):
    def forward(self, x):
        if len(x) > 250:
            raise IndexError("too many")
        return super().forward(x)
"""
    define(project, 1000, 5000, fails)
    failed = project.run(*AUTO)
    assert failed.code == 1
    assert "IndexError: too many\n" in failed.err
    assert failed.err.endswith(
        "in a training step with a batch of 400 examples, which --batch-size auto tried; 200 fit: give a "
        "number\n"
    )
    assert f'File "{project.definition}", line' in failed.err
    assert not (project.results / "run.json").exists()


def test_a_first_configuration_that_fails_ends_a_search_before_it(project: Project, gpu: None) -> None:
    fails = """
class Model(Model):
    def train_step(self, x, y):
        raise ValueError("no such step")
"""
    define(project, 60, 50, fails)
    failed = project.run(*AUTO, "--hyper")
    assert failed.code == 1
    assert "ValueError: no such step\n" in failed.err
    assert "with a batch of 60 examples, which --batch-size auto tried: give a number\n" in failed.err
    assert not (project.results / "search/journal.jsonl").exists()


def test_faults_of_data_have_their_place_and_the_batch(project: Project, gpu: None) -> None:
    own = """
from helixband.errors import DataError

def get_train_generator(data_dir, batch_size):
    raise DataError("no data there")
"""
    define(project, 60, 50, own)
    failed = project.run(*AUTO)
    assert failed.code == 1
    assert failed.err.startswith(f"error: {project.definition}, line ")
    assert failed.err.endswith(
        "in get_train_generator: no data there (in a training step with a batch of 100 examples, which "
        "--batch-size auto tried: give a number)\n"
    )


def test_batches_that_do_not_follow_batch_size_are_told(project: Project, gpu: None) -> None:
    own = """
def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 60), 20, shuffle=True)
"""
    define(project, 60, 50, own)
    refused = project.run(*AUTO)
    assert refused.code == 2
    assert refused.err == (
        "error: --batch-size auto: get_train_generator gave a batch of 20 examples for a batch_size of 60: "
        "have its batches follow batch_size, or give a number\n"
    )


def test_a_fit_of_the_definition_is_refused(project: Project, gpu: None) -> None:
    define(project, 60, 50, "\nclass Model(Model):\n    def fit(self, *given, **more):\n        pass\n")
    refused = project.run(*AUTO)
    assert refused.code == 2
    assert "Model.fit is the definition's own, and --batch-size auto tries a step" in refused.err


# Memory.


def test_a_tenth_of_free_memory_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [0.95]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 20)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: limits[-1])
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    with pytest.raises(KeyError), batch_size._held_back():
        assert limits[-1] == pytest.approx(0.72)
        raise KeyError
    assert limits[-1] == 0.95
