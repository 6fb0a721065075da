"""One training by several processes: what one process comes to, and how they end."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_recipes
import torch
import torch.distributed as dist
from conftest import ROOT, Project, untimed
from torch import nn, optim
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.env import number_of_processes
from helixband.errors import DataError, DefinitionError, ProcessError, UsageError
from helixband.randomness import Stream
from helixband.run.flags import check_flags
from helixband.training import distributed
from helixband.training.distributed import Shared
from helixband.training.feed import Fed
from helixband.training.processes import Processes, exit_code

SCRIPT = Path(shared_recipes.__file__)

PLAIN = """

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""
"""Appended to the toy definition: without dropout, which draws other numbers in each process."""


def places(count: int = 2) -> list[dict[str, str]]:
    """The environments of the processes, as torchrun gives them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    place |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return [{**os.environ, **place, "RANK": str(rank)} for rank in range(count)]


def ended(started: list["subprocess.Popen[str]"]) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of each."""
    told = [process.communicate(timeout=100) for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, told, strict=True)]


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Those of each recipe, by two processes."""
    out = tmp_path_factory.mktemp("curves") / "curves.json"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, str(SCRIPT), str(out)]
    found = ended([subprocess.Popen(command, env=place, **pipes) for place in places()])
    assert [code for code, _, _ in found] == [0, 0], found
    curves: dict[str, Any] = json.loads(out.read_text())
    return curves


@pytest.mark.parametrize("name", shared_recipes.RECIPES)
def test_several_processes_have_the_curve_of_one(name: str, curves: dict[str, Any]) -> None:
    alone = shared_recipes.curve(name)
    assert [row.keys() for row in curves[name]] == [row.keys() for row in alone]
    for row, expected in zip(curves[name], alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def history(project: Project) -> list[dict[str, float]]:
    """The rows of the single training, without how long its epochs took."""
    table = untimed(project.read("trials/single/train_results.csv")).splitlines()
    return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(table)]


def test_a_killed_process_ends_the_others_and_one_process_goes_on(project: Project) -> None:
    flags = ("--epoch", "3", "--batch-size", "13")
    project.define(PLAIN)
    assert project.run(*flags).code == 0
    alone = history(project)
    project.clear()
    killing = "\n    def prepare_batch(self, x, y):\n        import os, signal\n        if self.epoch == 1"
    killing += " and os.environ.get('RANK') == '1':\n            os.kill(os.getpid(), signal.SIGKILL)\n"
    project.define(PLAIN + killing + "        return x, y\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    torchrun += [places()[0]["MASTER_PORT"], str(ROOT / "main.py"), *project.arguments(*flags)]
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert done.stdout.count("epoch 1/3") == 1
    assert done.stderr.count("a process of this training ended without a word") == 1
    assert "the same command goes on" in done.stderr
    assert len(history(project)) == 1
    assert project.run(*flags).code == 0
    for row, expected in zip(history(project), alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


def test_two_processes_go_on_with_the_training_of_one(project: Project) -> None:
    project.define(PLAIN)
    assert project.run("--epoch", "3", "--eval").code == 0
    alone, test = history(project), project.json("test_result.json")
    project.clear()
    assert project.run("--epoch", "1").code == 0
    first, second = ended([project.start("--epoch", "3", "--eval", env=place) for place in places()])
    assert (first[0], second) == (0, (0, "", "")), first
    assert "training by 2 processes, each on the CPU" in first[1]
    for row, expected in zip(history(project), alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    assert project.json("test_result.json") == pytest.approx(test, rel=1e-5)


def test_what_goes_wrong_in_one_process_the_first_tells(project: Project) -> None:
    project.define(
        PLAIN
        + """
    def check_labels(self, y_true):
        import os
        from helixband.errors import DefinitionError
        print("seen")
        if os.environ["RANK"] == "1":
            raise DefinitionError("these labels are wrong")
"""
    )
    flags = ("--epoch", "2", "--no-data-check")
    first, second = ended([project.start(*flags, env=place) for place in places()])
    assert (first[0], second) == (2, (2, "", ""))
    assert first[2].startswith("error: process 1 of 2 failed: ")
    assert first[2].endswith("in check_labels: these labels are wrong\n")


def test_a_signal_to_one_process_stops_all() -> None:
    store = dist.HashStore()
    first, second = Processes(store, 0, 2), Processes(store, 1, 2)
    assert first.failure() is None
    store.set("ending", "")  # as process 0 says when it finds the connections closed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helixband.training.processes.LAST_WORK", 0.0)
        assert second.fail(KeyboardInterrupt(signal.SIGTERM), "") is None
    found = first.failure()
    assert isinstance(found, KeyboardInterrupt)
    assert (found.args, exit_code(found)) == ((signal.SIGTERM,), 143)


def test_a_process_tells_its_error_itself_where_the_first_is_gone() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helixband.training.processes.PATIENCE", 0.0)
        told = [Processes(dist.HashStore(), rank, 3).fail(ProcessError("why"), "why") for rank in (1, 2)]
    assert told == ["why", None]


class Alone:
    """Processes of which only this one is there: it gets from the others what it is given."""

    count = 2

    def __init__(self, rank: int = 0, others: Any = None) -> None:
        self.rank, self.others = rank, others

    def largest(self, numbers: list[int]) -> list[int]:
        return self.others or numbers


def model_of(network: nn.Module) -> RegressionModel:
    class Model(RegressionModel):
        def init_model(self) -> None:
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))

    return Model({}, Namespace(cpu=True))


def shared(rank: int = 0, others: Any = None, network: nn.Module | None = None) -> Shared:
    processes: Any = Alone(rank, others)
    return Shared(processes, model_of(network or nn.Linear(3, 1)))


def test_each_process_has_its_rows_of_a_batch() -> None:
    x, y = np.arange(10).reshape(5, 2), np.arange(5)
    rows = [shared(rank).rows(Fed({"a": x}, y, 2 * y)) for rank in (0, 1)]
    assert [(part.x["a"].tolist(), part.y.tolist()) for part in rows] == [
        ([[0, 1], [2, 3]], [0, 1]),
        ([[4, 5], [6, 7], [8, 9]], [2, 3, 4]),
    ]
    assert [part.weight.tolist() for part in rows] == [[0, 2], [4, 6, 8]]


def test_batches_that_differ_from_process_to_process_are_refused() -> None:
    with pytest.raises(DataError, match="got different batches"):
        shared(others=[5, -5, 2**32, -1]).next_rows(Fed(np.zeros((5, 2)), np.zeros(5)))


def test_dropout_draws_numbers_of_its_own_in_each_process_and_epoch() -> None:
    drawn = []
    before = torch.get_rng_state()
    for rank, epoch in ((0, 0), (1, 0), (0, 1), (0, 0)):
        with Stream.turns(), shared(rank).numbers(7, epoch):
            drawn.append(float(torch.rand(1)))
        torch.set_rng_state(before)
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_batch_norm_is_told_of_on_a_cpu() -> None:
    with pytest.warns(UserWarning, match="BatchNorm takes its statistics from the rows of each process"):
        shared(network=nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)))


DATA = TensorDataset(torch.ones(4, 3), torch.ones(4))
SPLIT = DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=2, rank=0))


@pytest.mark.parametrize(
    ("network", "train", "told"),
    [
        (nn.LazyLinear(1), None, "a LazyLinear, gets its weights with the first batch"),
        (
            nn.Sequential(nn.Embedding(4, 1, sparse=True)),
            None,
            "the layer '0' .* has sparse=True",
        ),
        (nn.Linear(3, 1), SPLIT, "has a DistributedSampler"),
    ],
)
def test_what_several_processes_cannot_train_is_refused(
    network: nn.Module, train: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = MatrixBatchGenerator(np.zeros((4, 3), np.float32), np.zeros(4, np.float32), 2)
    distributed.check(model_of(network), train or data)
    for name, value in places()[0].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DefinitionError, match=told):
        distributed.check(model_of(network), train or data)


def test_a_search_is_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_of_processes() == 1
    for name, value in places()[0].items():
        monkeypatch.setenv(name, value)
    assert number_of_processes() == 2
    with pytest.raises(UsageError, match="search without torchrun, by --workers N"):
        check_flags(Namespace(hyper=True))


def test_a_step_that_updates_by_other_means_is_refused_by_several(project: Project) -> None:
    project.define(
        PLAIN
        + """
    def train_step(self, x, y):
        y_pred = self.network(x)
        loss = ((y_pred[:, 0] - y) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach(), y_pred.detach()
"""
    )
    flags = ("--epoch", "1", "--no-data-check")
    assert project.run(*flags).code == 0
    project.clear()
    first, second = ended([project.start(*flags, env=place) for place in places()])
    assert (first[0], second) == (2, (2, "", ""))
    assert "updates by other means than Helixband's, which training options, on_before_step and" in first[2]
