"""Options of the training on the command line: taken, recorded, and the same when a training goes on."""

import numpy as np
import pytest
from conftest import Project


def test_a_training_goes_on_with_its_options(project: Project) -> None:
    flags = ("--set", "lr=0.01", "--set", "units=4", "-ep")
    assert project.run("--with", "scheduler_metric=val_mse", *flags, "1").code == 0
    assert project.json("run.json")["settings"]["with"] == {"scheduler_metric": "val_mse"}
    other = project.run("--with", "scheduler_metric=val_loss", *flags, "2")
    assert (other.code, other.err.count("\n")) == (2, 1)
    told = "was made with --with scheduler_metric=val_mse, not with --with scheduler_metric=val_loss; give"
    assert told in other.err
    assert project.run(*flags, "2").code == 0
    assert project.read("best_config/train_results.csv").count("\n") == 3


def test_a_search_goes_on_with_its_options(project: Project) -> None:
    flags = ("--hyper", "-ep", "1", "--trials", "1", "--schedule", "none")
    assert project.run(*flags, "--with", "scheduler_metric=val_mse").code == 0
    other = project.run(*flags, "--with", "scheduler_metric=val_loss", "--trials", "2")
    assert other.code == 2
    assert "not with --with scheduler_metric=val_loss" in other.err
    assert project.run(*flags, "--trials", "2").code == 0
    assert project.journal()[0]["with"] == {"scheduler_metric": "val_mse"}


def test_options_are_checked_before_any_work(project: Project) -> None:
    found = project.run("--with", "scheduler_metrik=val_mse")
    assert (found.code, [*project.results.glob("trials")]) == (2, [])
    assert "error: --with scheduler_metrik=val_mse: did you mean scheduler_metric?" in found.err


def test_options_that_the_definition_changes_are_refused_with_force_too(project: Project) -> None:
    flags = ("--set", "lr=0.01", "--set", "units=4", "-ep")
    assert project.run(*flags, "1").code == 0
    project.define("""
from base_model import TrainingOptions

class Model(RegressionModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Dropout(0.1), nn.Linear(units, 1))
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        options = TrainingOptions(scheduler_metric="val_mse")
        super().init_model(network, nn.MSELoss(), optimizer, training=options)
""")
    other = project.run("--force", *flags, "2")
    assert other.code == 2
    assert "training option scheduler_metric was None, and is 'val_mse'" in other.err


def test_batches_of_dicts_go_through_a_whole_run(project: Project) -> None:
    project.define("""
class Dicts:
    def __init__(self, seed, rows, batch_size):
        self.x, self.y = table(seed, rows)
        self.batch_size = batch_size

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __iter__(self):
        for start in range(0, len(self.x), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"x": self.x[part], "y": self.y[part], "weight": np.full(len(self.x[part]), 2.0)}


def get_train_generator(data_dir, batch_size):
    return Dicts(0, 60, batch_size)


def get_val_generator(data_dir):
    return Dicts(1, 20, 20)


def get_test_generator(data_dir):
    return Dicts(2, 20, 20)


class Model(Model):
    def split_batch(self, batch):
        return batch["x"], batch["y"], batch["weight"]
""")
    done = project.run("--set", "lr=0.01", "--set", "units=4", "-ep", "1", "--eval", "--predict", "x.fa")
    assert (done.code, done.err) == (0, "")
    assert project.json("test_result.json")["loss"] > 0
    assert project.json("baselines.json").keys() == {"mean_mse"}


def test_baselines_are_of_the_training_set_as_it_is_however_it_is_drawn_and_split(project: Project) -> None:
    project.define("""
def get_train_generator(data_dir, batch_size):
    x, y = table(0, 60)
    return MatrixBatchGenerator(x, y, batch_size, shuffle=True, sampling=np.arange(60))


class Model(Model):
    def split_batch(self, batch):
        return batch
""")
    assert project.run("--set", "lr=0.01", "--set", "units=4", "-ep", "1", "--eval").code == 0
    known, true = (
        x[:, 0] + 2 * x[:, 1]
        for x in (np.random.default_rng(seed).normal(size=(rows, 3)) for seed, rows in ((0, 60), (2, 20)))
    )
    expected = np.mean((true - known.mean()) ** 2)
    assert project.json("baselines.json") == {"mean_mse": pytest.approx(expected, rel=1e-5)}


def test_a_hook_that_is_misspelt_is_told(project: Project) -> None:
    project.define("""
class Model(Model):
    def prepare_batches(self, x, y):
        return x, y

    def on_epoch_end(self):
        pass
""")
    done = project.run("--set", "lr=0.01", "--set", "units=4")
    assert done.code == 2
    assert "Model.prepare_batches: did you mean prepare_batch?" in done.err
    assert "Model.on_epoch_end takes (self); it is called as Model.on_epoch_end(self, row)" in done.err
