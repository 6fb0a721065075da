"""Trainings that begin with the weights of a file, or with the state of another training."""

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project, untimed
from torch import nn

from helixband.definition import load_definition
from helixband.results import checkpoints
from helixband.results.directory import Results
from helixband.search.executors import worker
from helixband.search.executors.process import Setup
from helixband.search.executors.trial import Trainer

SHORT = ("--epoch", "2", "--batch-size", "20", "--set", "units=4", "--set", "lr=0.01")
SEARCH = ("--hyper", "--epoch", "2", "--batch-size", "20", "--trials", "2", "--set", "units=4")
FROZEN = """
class Model(Model):
    def init_model(self):
        super().init_model()
        for parameter in self.network[0].parameters():
            parameter.requires_grad_(False)
"""
"""The first layer stays as it is at first."""
ENCODER = """
class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.head = nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.encoder(x))


class Model(RegressionModel):
    def init_model(self):
        network = Net(1)
        network.encoder.requires_grad_(False)
        super().init_model(network, optim.Adam(network.head.parameters(), 0.01))
"""


def weights(project: Project, name: str = "single") -> dict[str, Any]:
    """Those of the best epoch of a trial."""
    file = project.results / "trials" / name / "checkpoints" / "best.pt"
    return dict(checkpoints.load(file)["network"])


@pytest.fixture
def file(project: Project) -> Path:
    """A state_dict that fits the toy with units=4."""
    path = project.path / "pretrained.pt"
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "3.weight": (1, 4), "3.bias": (1,)}
    torch.save({name: torch.full(shape, 0.25) for name, shape in shapes.items()}, path)
    project.define(FROZEN)
    return path


def is_from_the_file(project: Project, name: str = "single") -> bool:
    found = weights(project, name)
    return bool((found["0.weight"] == 0.25).all()) and not bool((found["3.weight"] == 0.25).all())


# Weights.


def test_a_training_begins_with_the_weights_and_goes_on_without_their_file(
    project: Project, file: Path
) -> None:
    ran = project.run(*SHORT, "--load-checkpoint", str(file))

    assert ran.code == 0, ran.err
    assert f"--load-checkpoint: {file} is a state_dict with 4 tensors\n" in ran.out
    assert f"weights: 4 of the 4 tensors of the network are from --load-checkpoint {file}\n" in ran.out
    assert ran.out.count("weights: ") == 1
    assert is_from_the_file(project)
    recorded = project.json("run.json")["start"]
    assert (recorded["flag"], recorded["file"]) == ("--load-checkpoint", str(file))
    assert len(recorded["sha256"]) == 64
    assert project.json("trials/single/start.json")["loaded"] == ["0.weight", "0.bias", "3.weight", "3.bias"]

    file.unlink()
    assert project.run(*SHORT, "--epoch", "3", "--eval", "--predict", "x.fa").code == 0
    assert project.run(*SHORT, "--epoch", "4", "--load-checkpoint", str(file)).code == 0
    (project.results / "start.pt").unlink()
    assert project.run(*SHORT, "--epoch", "5").code == 0
    assert is_from_the_file(project)


def test_a_training_that_is_begun_again_begins_with_the_weights_that_are_kept(
    project: Project, file: Path
) -> None:
    project.run(*SHORT, "--load-checkpoint", str(file), "--eval")
    once = untimed(project.read("trials/single/train_results.csv"))
    shutil.rmtree(project.results / "trials/single/checkpoints")
    file.unlink()

    again = project.run(*SHORT)

    assert again.code == 0, again.err
    assert f"new trials begin with the weights of --load-checkpoint {file}, as recorded" in again.out
    assert untimed(project.read("trials/single/train_results.csv")) == once


def test_a_run_that_was_killed_in_its_first_epoch_begins_again_without_the_file(
    project: Project, file: Path
) -> None:
    flags = (*SHORT, "--load-checkpoint", str(file))
    project.define(FROZEN + "    def train_step(self, x, y):\n        raise KeyboardInterrupt\n")
    assert project.run(*flags, "--no-data-check").code == 130
    file.unlink()

    project.define(FROZEN)
    ran = project.run(*flags)

    assert ran.code == 0, ran.err
    assert is_from_the_file(project)


def test_each_trial_of_a_search_begins_with_the_weights(project: Project, file: Path) -> None:
    ran = project.run(*SEARCH, "--load-checkpoint", str(file))
    assert ran.code == 0, ran.err
    assert ran.out.count("weights: ") == 1
    assert is_from_the_file(project, "0000")
    assert is_from_the_file(project, "0001")

    file.unlink()
    more = project.run(*SEARCH, "--trials", "3")
    assert more.code == 0, more.err
    assert is_from_the_file(project, "0002")


def test_a_worker_begins_trials_with_the_weights_that_are_kept(project: Project, file: Path) -> None:
    project.run(*SHORT, "--load-checkpoint", str(file))
    args = Namespace(cpu=True, seed=0)
    trainer = Trainer(load_definition(project.definition), Results(project.results), args)
    start = worker.load(Setup.of(trainer, str(project.path))).start
    assert start is not None
    assert str(start.origin) == f"--load-checkpoint {file}"
    assert bool((start.tensors["0.weight"] == 0.25).all())


def test_a_trial_that_the_weights_do_not_fit_fails_alone(project: Project, file: Path) -> None:
    project.define("\ndef get_config():\n    return {'lr': 0.01, 'units': random.choice([4, 8])}\n" + FROZEN)
    ran = project.run("--hyper", "--epoch", "1", "--trials", "4", "--load-checkpoint", str(file))
    assert ran.code == 0, ran.err
    errors = [event["error"] for event in project.journal() if event["event"] == "result"]
    assert 0 < len([error for error in errors if error and "of another architecture" in error]) < len(errors)


def test_an_encoder_is_loaded_from_a_checkpoint_of_lightning(project: Project) -> None:
    project.define(ENCODER)
    path = project.path / "model.ckpt"
    state = {"model.encoder.0.weight": torch.full((4, 3), 0.25), "model.head.weight": torch.ones(9, 4)}
    content = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state,
        "hyper_parameters": Namespace(lr=0.1),
    }
    torch.save(content, path)
    flags = (*SHORT, "--load-encoder-from", f"{path}:model.encoder")

    refused = project.run(*flags)
    assert refused.code == 2
    assert (
        f"error: --load-encoder-from {path} holds argparse.Namespace, which can only be read" in refused.err
    )

    ran = project.run(*flags, "--trust-checkpoint")
    assert ran.code == 0, ran.err
    assert (
        "weights: 1 of the 2 tensors of the network's encoder are from "
        f"--load-encoder-from {path}:model.encoder "
        "(model.encoder.… there, encoder.… here)\n"
        "  the rest of the network is as init_model made it\n"
        "  not in the file, and as init_model made them: encoder.0.bias\n"
        "  in the file, and not used: model.head.weight\n"
    ) in ran.out
    assert bool((weights(project)["encoder.0.weight"] == 0.25).all())
    assert project.run(*SHORT, "--epoch", "3").code == 0


PLAIN = """
def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 60), batch_size)

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        super().init_model(network, optim.SGD(network.parameters(), 0.1, momentum=0.9))
"""


def test_the_training_is_that_of_a_plain_loop_from_the_same_weights(project: Project) -> None:
    project.define(PLAIN)
    torch.manual_seed(7)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    torch.save({"state_dict": network.state_dict()}, project.path / "plain.pt")

    ran = project.run(
        "--epoch", "2", "--batch-size", "20", "--load-checkpoint", str(project.path / "plain.pt")
    )

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    batches = torch.from_numpy(x).split(20)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        for batch in batches:
            optimizer.zero_grad()
            nn.functional.mse_loss(network(batch), (batch[:, 0] + 2 * batch[:, 1])[:, None]).backward()
            optimizer.step()
    assert ran.code == 0, ran.err
    last = checkpoints.load(project.results / "trials/single/checkpoints/last.pt")["network"]
    assert all(map(torch.equal, last.values(), network.state_dict().values()))


def test_all_is_checked_before_any_work(project: Project, file: Path) -> None:
    torch.save({"0.weight": torch.zeros(8, 3), "9.weight": torch.zeros(1)}, file)

    refused = project.run(*SHORT, "--load-checkpoint", str(file))

    assert refused.code == 2
    assert (
        "is of another architecture than the network: 0.weight is (8, 3) float32 there and (4, 3)"
        in refused.err
    )
    assert not (project.results / "run.json").exists()
    assert not (project.results / "start.pt").exists()


def test_a_dry_run_checks_the_weights_and_writes_nothing(project: Project, file: Path) -> None:
    ran = project.run(*SHORT, "--load-checkpoint", str(file), "--dry-run")
    assert ran.code == 0, ran.err
    assert "weights: 4 of the 4 tensors" in ran.out
    assert not project.results.exists()


def test_weights_of_a_run_that_trained_nothing_are_forgotten(project: Project, file: Path) -> None:
    failing = FROZEN + "    def train_step(self, x, y):\n        raise ValueError('no step')\n"
    project.define(failing)
    flags = (*SHORT, "--no-data-check")
    assert "no step" in project.run(*flags, "--load-checkpoint", str(file)).err
    assert (project.results / "start.pt").exists()

    project.define(FROZEN)
    ran = project.run(*flags)
    assert ran.code == 0
    assert f"an earlier run here began with --load-checkpoint {file}, and was ended before" in ran.out
    assert not (project.results / "start.pt").exists()
    assert project.json("run.json")["start"] is None
    assert not is_from_the_file(project)


def test_damaged_weights_are_told_and_the_advice_works(project: Project, file: Path) -> None:
    project.run(*SEARCH, "--load-checkpoint", str(file))
    start = project.results / "start.pt"
    start.write_bytes(start.read_bytes()[:-100])
    more = (*SEARCH, "--trials", "3")

    failed = project.run(*more)
    assert failed.code == 1
    assert f"{start} is damaged or no checkpoint" in failed.err
    assert f"or delete {start}, and give --load-checkpoint {file}" in failed.err

    start.unlink()
    moved = file.rename(file.with_name("moved.pt"))
    assert "start.pt is missing, with which new trials begin" in project.run(*more).err
    assert project.run(*more, "--load-checkpoint", str(moved)).code == 0
    assert is_from_the_file(project, "0002")


def test_other_weights_than_those_that_were_begun_with_are_refused(project: Project, file: Path) -> None:
    flags = (*SHORT, "--load-checkpoint", str(file))
    project.run(*flags)

    other = project.run(*SHORT, "--load-encoder-from", str(file))
    assert other.code == 2
    assert f"was begun with --load-checkpoint {file}, not --load-encoder-from {file}" in other.err

    moved = file.with_name("moved.pt")
    shutil.copy(file, moved)
    assert project.run(*SHORT, "--epoch", "3", "--load-checkpoint", str(moved)).code == 0
    missing = project.run(*SHORT, "--load-checkpoint", str(file.with_name("none.pt")))
    assert (missing.code, missing.err) == (
        2,
        f"error: --load-checkpoint {file.with_name('none.pt')} does not exist\n",
    )

    torch.save({"0.weight": torch.zeros(4, 3)}, file)
    another = project.run(*flags)
    assert another.code == 2
    assert f"{file}: the file is another one than that with which {project.results} was begun" in another.err


def test_weights_for_what_was_begun_without_are_refused(project: Project, file: Path) -> None:
    project.run(*SHORT)
    refused = project.run(*SHORT, "--load-checkpoint", str(file))
    assert refused.code == 2
    assert f"--load-checkpoint {file}: what {project.results} has was begun without it" in refused.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--load-checkpoint", "FILE", "--resume-from", "FILE"),
            "--load-checkpoint and --resume-from: a training",
        ),
        (
            ("--resume-from", "FILE", "--hyper"),
            "--resume-from: for a single training alone; leave out --hyper",
        ),
        (
            ("--load-checkpoint", "FILE", "--predict", "x.fa"),
            "--load-checkpoint: for a training alone; add --train",
        ),
        (("--trust-checkpoint",), "--trust-checkpoint: for --load-checkpoint and --load-encoder-from alone"),
        (("--resume-from", "FILE"), "FILE is a torch file, but no Helixband checkpoint"),
        (("--resume-from", "FOLDER"), "--resume-from FOLDER is a directory; give the last.pt of a trial"),
        (("--resume-from", "NONE"), "--resume-from NONE does not exist"),
        (("--load-checkpoint", "FOLDER"), "--load-checkpoint FOLDER is a directory; give a file"),
        (("--load-encoder-from", "NONE:part"), "--load-encoder-from NONE does not exist"),
        (("--load-encoder-from", "FILE:part"), "the file has no part part; did you mean"),
        (("--load-checkpoint", "DEF"), "--load-checkpoint DEF is damaged or no checkpoint"),
    ],
)
def test_wrong_flags_and_files_are_told(
    project: Project, file: Path, flags: tuple[str, ...], message: str
) -> None:
    torch.save({"parts.0.weight": torch.zeros(1)}, file)
    project.results.mkdir()  # which is asked for where nothing is to be trained
    places = {
        "FILE": file,
        "FOLDER": project.data,
        "NONE": project.path / "none.pt",
        "DEF": project.definition,
    }
    for name, place in places.items():
        flags, message = (
            tuple(flag.replace(name, str(place)) for flag in flags),
            message.replace(name, str(place)),
        )
    refused = project.run(*flags)
    assert refused.code == 2
    assert message in refused.err


# A state.


@pytest.fixture
def state(project: Project) -> Path:
    """The last state of two epochs, in the folder of its trial."""
    project.run(*SHORT)
    return Path(shutil.move(project.results, project.path / "before")) / "trials/single/checkpoints/last.pt"


def test_a_training_goes_on_from_a_state_as_if_it_had_never_stopped(project: Project, state: Path) -> None:
    ran = project.run("--batch-size", "20", "--epoch", "4", "--resume-from", str(state))
    assert ran.code == 0, ran.err
    assert f"it goes on from epoch 2 of --resume-from {state}\n" in ran.out
    found, found_weights = untimed(project.read("trials/single/train_results.csv")), weights(project)
    assert project.json("run.json")["start"]["flag"] == "--resume-from"

    shutil.rmtree(state.parents[3])
    assert project.run("--epoch", "5").code == 0
    assert project.run("--epoch", "6", "--resume-from", str(state)).code == 0
    longer = untimed(project.read("trials/single/train_results.csv"))

    project.clear()
    project.run(*SHORT, "--epoch", "4")
    assert untimed(project.read("trials/single/train_results.csv")) == found
    assert all(map(torch.equal, weights(project).values(), found_weights.values()))
    project.run(*SHORT, "--epoch", "6")
    assert untimed(project.read("trials/single/train_results.csv")) == longer


def test_a_state_whose_copying_was_killed_is_copied_again(
    project: Project, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(contents: dict[Path, Any]) -> None:
        save_together(dict(list(contents.items())[:1]))
        raise KeyboardInterrupt

    save_together = checkpoints.save_together
    flags = ("--batch-size", "20", "--epoch", "3", "--resume-from", str(state))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_together", killed)
        assert project.run(*flags).code == 130

    without = project.run(*flags[:4])
    assert without.code == 2
    assert f"has no checkpoints, and was begun with --resume-from {state}; give that again" in without.err

    assert project.run(*flags).code == 0
    assert len(project.read("trials/single/train_results.csv").splitlines()) == 4


def test_the_average_of_a_state_is_the_first_best(project: Project) -> None:
    project.define("""
from base_model import TrainingOptions

class Model(Model):
    def init_model(self):
        super().init_model()
        options = TrainingOptions(ema_decay=0.9)
        RegressionModel.init_model(self, self.network, optimizer=self.optimizer, training=options)
    def get_hyperband_reward(self, result):
        return 0
""")
    project.run(*SHORT)
    shutil.move(project.results, project.path / "before")
    state = Path(
        shutil.copy(project.path / "before/trials/single/checkpoints/last.pt", project.path / "state.pt")
    )

    ran = project.run(*SHORT, "--epoch", "3", "--resume-from", str(state))

    assert ran.code == 0, ran.err
    content = checkpoints.load(state)
    averages = content["average"]["averages"]
    assert all(weights(project)[name].equal(value) for name, value in averages.items())
    assert not averages["0.weight"].equal(content["network"]["0.weight"])


def test_a_state_alone_needs_its_configuration_and_is_the_first_best(project: Project, state: Path) -> None:
    alone = Path(shutil.copy(state, project.path / "state.pt"))
    flags = ("--batch-size", "20", "--epoch", "3", "--resume-from", str(alone))

    refused = project.run(*flags)
    assert refused.code == 2
    assert "it is not in the folder of a trial with a config.json; give the configuration" in refused.err

    ran = project.run(*flags, "--set", "units=4", "--set", "lr=0.01")
    assert ran.code == 0, ran.err
    assert (
        f"the best checkpoint is not beside --resume-from {alone}; the best epoch is chosen from epoch 2"
        in ran.out
    )
    assert len(project.read("trials/single/train_results.csv").splitlines()) == 4


def test_a_search_has_states_to_go_on_from(project: Project) -> None:
    project.run(*SEARCH, "--trials", "1")
    state = Path(shutil.move(project.results, project.path / "before")) / "trials/0000/checkpoints/last.pt"
    ran = project.run("--batch-size", "20", "--epoch", "3", "--resume-from", str(state))
    assert ran.code == 0, ran.err
    assert project.json("trials/single/config.json")["units"] == 4


OTHER = """
class Model(Model):
    def init_model(self):
        network = nn.Linear(3, 1)
        RegressionModel.init_model(self, network, optim.Adam(network.parameters(), 0.01))
"""


@pytest.mark.parametrize(
    ("extra", "flags", "message"),
    [
        ("", ("--epoch", "2"), "has had 2 epochs; give --epoch 3 or more"),
        (
            "",
            ("--epoch", "3", "--set", "units=8"),
            "was trained with the configuration {'units': 4, 'lr': 0.01}, not",
        ),
        (OTHER, ("--epoch", "3"), "does not fit the network of this definition: "),
        (OTHER.replace("0.01", "0.1"), ("--epoch", "3"), "was begun with other settings: "),
    ],
)
def test_a_state_that_does_not_fit_is_told_before_any_work(
    project: Project, state: Path, extra: str, flags: tuple[str, ...], message: str
) -> None:
    project.define(extra)
    refused = project.run("--batch-size", "20", "--resume-from", str(state), *flags)
    assert refused.code == 2
    assert message in refused.err
    assert not project.results.exists() or not list(project.results.glob("trials/*/checkpoints"))


def test_weights_alone_are_no_state(project: Project, state: Path) -> None:
    refused = project.run(*SHORT, "--resume-from", str(state.with_name("best.pt")))
    assert refused.code == 2
    assert "has no whole state, as the last.pt of a trial has one: it lacks generator" in refused.err
    assert "For its weights alone, give --load-checkpoint" in refused.err


def test_a_schedule_that_depends_on_the_total_is_that_of_the_new_training(project: Project) -> None:
    project.define("""
class Model(Model):
    def init_model(self):
        super().init_model()
        scheduler = optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=self.total_steps)
        RegressionModel.init_model(
            self, self.network, optimizer=self.optimizer, scheduler=scheduler, scheduler_interval="step"
        )
""")
    project.run(*SHORT, "--epoch", "4", "--keep-checkpoints", "3")
    whole = untimed(project.read("trials/single/train_results.csv"))
    shutil.move(project.results, project.path / "before")
    state = project.path / "before/trials/single/checkpoints/epoch-0003.pt"

    assert (
        "other settings" in project.run("--batch-size", "20", "--epoch", "5", "--resume-from", str(state)).err
    )
    ran = project.run("--batch-size", "20", "--epoch", "4", "--resume-from", str(state))

    assert ran.code == 0, ran.err
    assert untimed(project.read("trials/single/train_results.csv")) == whole
    assert project.json("trials/single/plan.json")["epochs"] == 4


# The latest epochs.


def test_the_latest_epochs_are_kept_as_recorded(project: Project) -> None:
    def kept() -> list[str]:
        return sorted(
            file.name for file in (project.results / "trials/single/checkpoints").glob("epoch-*.pt")
        )

    project.run(*SHORT, "--keep-checkpoints", "2")
    assert kept() == ["epoch-0001.pt", "epoch-0002.pt"]
    project.run(*SHORT, "--epoch", "4")
    assert kept() == ["epoch-0003.pt", "epoch-0004.pt"]
    project.run(*SHORT, "--epoch", "5", "--keep-checkpoints", "1")
    assert kept() == ["epoch-0005.pt"]


def test_a_state_that_ended_by_itself_is_told(project: Project) -> None:
    project.run(*SHORT, "--epoch", "9", "--with", "patience=1", "patience_gain=9")
    state = Path(shutil.move(project.results, project.path / "before")) / "trials/single/checkpoints/last.pt"
    given = ("--with", "patience=1", "patience_gain=9", "--batch-size", "20")
    ran = project.run(*given, "--epoch", "12", "--resume-from", str(state))
    assert ran.code == 0, ran.err
    assert (
        f"epoch 2 of --resume-from {state}, where it ended by itself (patience): it is complete\n" in ran.out
    )
    facts = [
        project.json("trials/single/train_results.json"),
        json.loads((state.parents[1] / "train_results.json").read_text()),
    ]
    assert [each["ended"] for each in facts] == ["patience"] * 2
