"""Evaluation and prediction with the weights of a file, without a training."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Project

from helixband.results import checkpoints

TRAINED = ("--epoch", "2", "--batch-size", "20", "--set", "units=4", "--set", "lr=0.01", "--eval")


@pytest.fixture
def file(project: Project) -> Path:
    """The best checkpoint of a trained model, in the folder of its trial in another result directory."""
    assert project.run(*TRAINED).code == 0
    project.results.rename(project.path / "trained")
    return project.path / "trained" / "trials" / "single" / "checkpoints" / "best.pt"


def test_a_checkpoint_scores_as_after_its_training_and_its_file_is_not_needed_any_more(
    project: Project, file: Path
) -> None:
    ran = project.run("--weights", str(file), "--eval")
    assert ran.code == 0, ran.err
    assert "weights: 4 of the 4 tensors of the network are from --weights" in ran.out
    assert f"weights: those of {file}, as they are" in ran.out
    scored = json.loads((project.path / "trained" / "test_result.json").read_text())
    assert project.json("test_result.json") == scored
    assert project.json("trials/single/config.json") == {"lr": 0.01, "units": 4}
    assert not (project.results / "trials/single/train_results.csv").exists()

    shutil.rmtree(project.path / "trained")
    again = project.run("--eval")
    assert again.code == 0, again.err
    assert "test: done already" in again.out and f"weights: those of {file}" in again.out
    assert "test: done already" in project.run("--eval", "--weights", str(file)).out
    assert not (project.results / "start.pt").exists()


WITH_MORE = """

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, output, target):
        return (((output - target) / self.log_scale.exp()) ** 2).mean() + self.log_scale


class Counting(nn.Identity):
    batches = 0
    def get_extra_state(self):
        return {"batches": self.batches}
    def set_extra_state(self, state):
        self.batches = state["batches"]


class Model(Model):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), Counting())
        criterion = Scaled()
        self.batches, self.table = 0, {"batches": 0}
        parameters = [*network.parameters(), *criterion.parameters()]
        super(RegressionModel, self).init_model(network, criterion, optim.Adam(parameters, 0.05))

    def train_step(self, x, y):
        self.batches += 1
        self.table["batches"] += 2
        self.network[3].batches += 3
        return super().train_step(x, y[:, None])

    def compute_loss(self, output, y):
        return self.criterion(output, y.reshape(output.shape))

    def eval_metrics(self, y_true, y_pred):
        counts = {"batches": self.batches, "of_table": self.table["batches"]}
        return {**counts, "of_network": self.network[3].batches}
"""
"""A criterion that is trained, statistics of BatchNorm, and what a model and a module keep on themselves."""


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_all_that_a_checkpoint_has_for_the_evaluation_is_used(project: Project, name: str) -> None:
    project.define(WITH_MORE)
    assert project.run(*TRAINED).code == 0
    scored = project.json("test_result.json")
    assert (scored["batches"], scored["of_table"], scored["of_network"]) == (6, 12, 18)
    file = project.results / "trials/single/checkpoints" / name
    ran = project.run("--weights", str(file), "--eval", "--result", str(project.path / "as_it_is"))
    assert ran.code == 0, ran.err
    assert "weights: 9 of the 9 tensors" in ran.out and "not in the file" not in ran.out
    assert json.loads((project.path / "as_it_is/test_result.json").read_text()) == scored


def test_parts_that_a_file_lacks_are_told(project: Project) -> None:
    project.define(WITH_MORE)
    assert project.run(*TRAINED).code == 0
    network = checkpoints.load(project.results / "best_config/checkpoints/best.pt")["network"]
    assert network.pop("3._extra_state") == {"batches": 18}
    project.define(WITH_MORE.replace(", Counting()", "").replace("self.network[3].batches", "self.batches"))
    torch.save(network, project.path / "network.pt")
    flags = ("--weights", str(project.path / "network.pt"), "--eval", *TRAINED[4:8])
    ran = project.run(*flags, "--result", str(project.path / "as_it_is"))
    assert ran.code == 0, ran.err
    assert "not in the file, and as init_model made it: criterion" in ran.out


def test_averages_are_those_of_the_best_checkpoint(project: Project) -> None:
    assert project.run(*TRAINED, "--with", "ema_decay=0.5").code == 0
    folder, other = project.results / "trials/single/checkpoints", ("--result", str(project.path / "other"))
    refused = project.run("--weights", str(folder / "last.pt"), "--eval", *other)
    assert refused.code == 2
    assert "averages its weights, and evaluates with the averages. Give the best.pt" in refused.err
    assert project.run("--weights", str(folder / "best.pt"), "--eval", *other).code == 0
    scored = json.loads((project.path / "other/test_result.json").read_text())
    assert scored == project.json("test_result.json")


def test_a_checkpoint_of_another_criterion_is_refused(project: Project) -> None:
    project.define(WITH_MORE)
    assert project.run(*TRAINED).code == 0
    file = project.results / "trials/single/checkpoints/best.pt"
    project.define(WITH_MORE.replace("log_scale", "log_width"))
    refused = project.run("--weights", str(file), "--eval", "--result", str(project.path / "other"))
    assert refused.code == 2
    assert "does not fit the criterion of this definition" in refused.err
    assert "for the network alone, save its entry `network`" in refused.err


def test_a_state_dict_needs_the_configuration_that_it_was_trained_with(project: Project) -> None:
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "3.weight": (1, 4), "3.bias": (1,)}
    state = {name: torch.full(shape, 0.25) for name, shape in shapes.items()}
    plain = project.path / "plain.pt"
    torch.save(state, plain)

    refused = project.run("--weights", str(plain), "--predict", "x.fa")
    assert refused.code == 2
    assert "get_config() draws another configuration each time; give the one" in refused.err
    other = project.run("--weights", str(plain), "--predict", "x.fa", "--set", "units=8", "--set", "lr=1")
    assert other.code == 2
    assert "of another architecture" in other.err and "--load-encoder-from" not in other.err

    fitting = ("--weights", str(plain), "--predict", "x.fa", "--set", "units=4", "--set", "lr=1")
    assert project.run(*fitting, "--dry-run").code == 0
    assert not (project.results / "trials").exists()
    ran = project.run(*fitting)
    assert ran.code == 0, ran.err
    best = checkpoints.load(project.results / "best_config" / "checkpoints" / "best.pt")
    assert best["epoch"] == 0
    assert all(torch.equal(best["network"][name], tensor) for name, tensor in state.items())
    assert (project.results / "predictions" / "x.fa.npy").exists()

    del state["3.bias"]
    torch.save(state, plain)
    assert "has the weights of another file; choose another directory" in project.run(*fitting).err
    lacking = project.run(*fitting, "--result", str(project.path / "other"))
    assert lacking.code == 2
    assert "plain.pt, a state_dict, lacks tensors of the network: 3.bias. What a model says" in lacking.err
    assert not (project.path / "other" / "trials").exists()


def test_weights_take_the_place_of_no_training_and_no_training_that_of_them(
    project: Project, file: Path
) -> None:
    assert project.run("--weights", str(file), "--eval").code == 0
    for flags in (("--train",), ("--hyper",), ("--epoch", "3", "--load-checkpoint", str(file))):
        refused = project.run(*flags)
        assert refused.code == 2
        assert f"has the weights of --weights {file}, and no training" in refused.err

    trained = project.path / "trained"
    refused = project.run("--weights", str(file), "--eval", "--result", str(trained))
    assert refused.code == 2
    assert f"what {trained} has was trained there. Leave --weights out" in refused.err


def test_a_run_that_was_killed_before_the_weights_were_kept_is_done_again(
    project: Project, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("helixband.results.directory.Results.set_best", killed)
        assert project.run("--weights", str(file), "--eval").code != 0
    ran = project.run("--weights", str(file), "--eval")
    assert ran.code == 0, ran.err
    assert "test: loss" in ran.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--eval", "--train"), "--train asks for a training: leave one of them out"),
        (("--eval", "--hyper"), "--hyper asks for a training: leave one of them out"),
        (("--eval", "--epoch", "3"), "--train asks for a training: leave one of them out"),
        (("--eval", "--load-checkpoint", "FILE"), "--load-checkpoint"),
        ((), "--weights: for tests and predictions alone; add --eval or --predict"),
        (("--eval", "--set", "units=8", "--set", "lr=1"), "was trained with the configuration {"),
    ],
)
def test_flags_that_ask_for_something_else_are_told(
    project: Project, file: Path, flags: tuple[str, ...], message: str
) -> None:
    refused = project.run("--weights", str(file), *(str(file) if flag == "FILE" else flag for flag in flags))
    assert refused.code == 2
    assert message in refused.err


def test_files_that_have_no_weights_are_told(project: Project) -> None:
    flags = ("--eval", "--set", "units=4", "--set", "lr=1")
    assert "none.pt does not exist" in project.run("--weights", "none.pt", *flags).err
    assert (
        f"{project.data} is a directory; give a file"
        in project.run("--weights", str(project.data), *flags).err
    )
    assert "is damaged or no checkpoint" in project.run("--weights", str(project.definition), *flags).err
