"""What goes wrong is told: what it was, where, the offending value and what to do; and the exit code.

2 is wrong usage or a wrong def.py, 1 a run that failed.
"""

import errno
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Project, untimed
from toys import CLASSES, TOY

from helixband.results import checkpoints
from helixband.training import keeper

SHORT = ("--epoch", "2", "--batch-size", "20")
LINE = TOY.count("\n") + 1
"""The line of the first one that a test appends."""


def model(*, init: str = "", body: str = "") -> str:
    """A `Model` whose init_model is `init`, or the toy's with `body` as a method."""
    if init:
        return f"\nclass Model(BaseModel):\n    def init_model(self):\n        {init}\n"
    return f"\nclass Model(Model):\n    {body}\n"


def train_data(text: str) -> str:
    """A get_train_generator that returns what `text` says, of x (60, 3) and y (60,)."""
    return f"\ndef get_train_generator(data_dir, batch_size):\n    x, y = table(0, 60)\n    {text}\n"


def pair(other: str, criterion: str = "nn.MSELoss()") -> str:
    """A `Model` whose network returns its output (N, 1), and with it `other`."""
    return (
        f"\nclass Pair(nn.Linear):\n    def forward(self, x):\n        output = super().forward(x)\n"
        f"        return output, {other}\n"
    ) + model(
        init="network = Pair(3, 1)\n        "
        f"super().init_model(network, {criterion}, optim.SGD(network.parameters()))"
    )


# The command line and the definition.


def test_a_missing_definition_is_told(project: Project) -> None:
    project.definition.unlink()

    refused = project.run()

    assert refused.code == 2
    assert (
        f"error: cannot read the definition {project.definition}: No such file or directory; see --model"
        in refused.err
    )


@pytest.mark.parametrize(("name", "what"), [("nowhere", "does not exist"), ("def.py", "is no directory")])
def test_a_missing_data_directory_is_told(project: Project, name: str, what: str) -> None:
    project.data = project.path / name

    refused = project.run(*SHORT)

    assert (refused.code, refused.err) == (
        2,
        f"error: the data directory '{project.data}' {what}; give it with --data\n",
    )


WRONG_DEFINITIONS = {
    "a syntax error": ("def f(:\n", f"DEF, line {LINE}: invalid syntax\n    def f(:"),
    "an error at import": (
        "1 / 0\n",
        "DEF raised as it was loaded:\nTraceback (most recent call last):\n"
        f'  File "DEF", line {LINE}, in <module>',
    ),
    "a missing function": (
        "del get_train_generator\n",
        "does not keep the contract of a definition:\n"
        "  - get_train_generator(data_dir, batch_size) is missing; training needs it\n",
    ),
    "a misspelt function": (
        "get_valid_generator = get_val_generator\ndel get_val_generator\n",
        "  - get_valid_generator: did you mean get_val_generator?\n",
    ),
    "several faults": (
        "del get_config\nModel = 3\n",
        "  - get_config() is missing; training without --config or --set needs it\n"
        "  - Model is 3; it has to be a class derived from base_model.BaseModel\n",
    ),
    "a wrong signature": (
        "def get_train_generator(data_dir): ...\n",
        "  - get_train_generator takes (data_dir); "
        "it is called as get_train_generator(data_dir, batch_size)\n",
    ),
    "no Model": ("del Model\n", "  - class Model(BaseModel) is missing\n"),
    "a Model of torch's": ("class Model(nn.Module): ...\n", "it has to derive from base_model.BaseModel"),
    "no call of super().init_model": (
        model(init="self.net = nn.Linear(3, 1)"),
        "DEF: Model.init_model has to end in super().init_model(network, …)\n",
    ),
    "no network": (
        model(init="super().init_model()"),
        f"DEF, line {LINE + 3}, in init_model: Model.init_model passed None as the network",
    ),
    "no optimizer": (
        model(init="super().init_model(nn.Linear(3, 1), nn.MSELoss())"),
        "DEF: Model.init_model passed no optimizer",
    ),
    "a configuration that is no dict": (
        "def get_config():\n    return [0.1]\n",
        "DEF: get_config() returned [0.1] (list); it has to return a dict\n",
    ),
    "a value that is not JSON": (
        "def get_config():\n    return {'layers': {'act': nn.ReLU}}\n",
        "DEF: the configuration['layers']['act'] is <class 'torch.nn.modules.activation.ReLU'> (type), "
        "which cannot be stored; use finite numbers, strings, booleans, None, lists, dicts or schedules\n",
    ),
    "a hyperparameter that is not there": (
        "def get_config():\n    return {'lr': 0.1}\n",
        "in init_model: the configuration has no hyperparameter 'units'; it has lr\n",
    ),
    "a generator that is used up": (
        train_data("return ((x, y) for _ in range(3))"),
        "DEF: get_train_generator returned a generator, which can be read once; return an object whose "
        "__iter__ starts again each time, for example a MatrixBatchGenerator or a DataLoader\n",
    ),
    "None for a generator": (
        train_data("MatrixBatchGenerator(x, y)"),
        "DEF: get_train_generator returned None (NoneType); "
        "it has to return something that iterates over batches\n",
    ),
    "a network that puts two examples in a row": (
        model(
            init="network = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.Unflatten(0, (-1, 2)))\n        "
            "super().init_model(network, lambda y_true, y_pred: y_pred.mean(), "
            "optim.SGD(network.parameters()))"
        ),
        "the network gave y_pred of shape (10, 2) for a batch of 20; its first dimension has to be the batch",
    ),
    "a network that returns a number beside its outputs": (
        pair("1"),
        "DEF: the network gave 1 (int) as y_pred or y_pred_loss; it has to be an array or tensor with the "
        "batch as its first dimension, or a dict or tuple of such\n",
    ),
    "a network that returns its state": (
        pair("output.T", "lambda y_pred, y: ((y_pred[0][:, 0] - y) ** 2).mean()"),
        "the network gave y_pred, a tuple, whose part 1 has the shape (1, 20) for a batch of 20; the first "
        "dimension of each part has to be the batch. Return without it what is no prediction, as the state "
        "of a recurrent layer\n",
    ),
    "a train_step that leaves predictions out": (
        "\nclass Model(Model):\n    def train_step(self, x, y):\n"
        "        loss, y_pred = super().train_step(x, y)\n        return loss, y_pred[:5]\n"
        "    def train_metrics(self, y_true, y_pred):\n        return {}\n",
        "train_step gave y_pred of shape (5, 1) for a batch of 20; its first dimension has to be the batch",
    ),
    "more predictions than labels": (
        "\nclass Model(RegressionModel):\n    def init_model(self):\n        network = nn.Linear(3, 2)\n"
        "        super().init_model(network, None, optim.SGD(network.parameters()))\n",
        "y has the shape (20,) and the prediction (20, 2); "
        "a regression needs one prediction for each value of y\n",
    ),
    "a loss for each example": (
        model(
            init="n = nn.Linear(3, 1)\n        "
            "super().init_model(n, lambda y_true, y_pred: y_pred[:, 0], optim.SGD(n.parameters()))"
        ),
        "the criterion returned (20,); it has to return a scalar, the mean loss\n",
    ),
    "a metric that is a string": (
        model(body="def eval_metrics(self, y_true, y_pred): return {'quality': 'good'}"),
        "eval_metrics['quality'] is 'good'; it has to be a number\n",
    ),
    "metrics that are no dict": (
        model(body="def train_metrics(self, y_true, y_pred): return 0.5"),
        "train_metrics returned 0.5; it has to return a dict, name to number\n",
    ),
    "a reward that is None": (
        model(body="def get_hyperband_reward(self, result): result['val_loss']"),
        "get_hyperband_reward is None; it has to be a number\n",
    ),
    "a reward that is a string": (
        model(body="def get_hyperband_reward(self, result): return 'high'"),
        "get_hyperband_reward is 'high'; it has to be a number\n",
    ),
    "an environment variable that is not set": (
        "WINDOW = env('HELIXBAND_NOT_SET')\n",
        f"DEF, line {LINE}: the environment variable HELIXBAND_NOT_SET is not set and has no default: "
        "set it\n",
    ),
}


@pytest.mark.parametrize("fault", WRONG_DEFINITIONS)
def test_a_wrong_definition_is_told(project: Project, fault: str) -> None:
    extra, told = WRONG_DEFINITIONS[fault]
    project.define(extra)

    refused = project.run(*SHORT)

    assert told.replace("DEF", str(project.definition)) in refused.err
    assert refused.err.startswith("error: ") and "helixband/" not in refused.err
    assert refused.code == 2


@pytest.mark.parametrize(
    ("extra", "flags", "function", "error"),
    [
        (train_data("return open('nowhere')"), (), "get_train_generator", "FileNotFoundError"),
        ("\ndef get_config():\n    return {'lr': 1 / 0}\n", (), "get_config", "ZeroDivisionError"),
        (
            "\ndef get_test_generator(data_dir):\n    raise OSError\n",
            ("-e",),
            "get_test_generator",
            "OSError",
        ),
        (model(body="def init_model(self): raise ValueError('no')"), (), "init_model", "ValueError: no"),
        (
            model(body="def get_hyperband_reward(self, result): return result['val_auroc']"),
            (),
            "get_hyperband_reward",
            "KeyError: 'val_auroc'",
        ),
    ],
)
def test_an_error_in_a_function_is_told_by_its_traceback_without_our_frames(
    project: Project, extra: str, flags: tuple[str, ...], function: str, error: str
) -> None:
    project.define(extra)

    failed = project.run(*SHORT, *flags)

    lines = failed.err.splitlines()
    assert failed.code == 1
    assert lines[:2] == [f"error: {project.definition} raised:", "Traceback (most recent call last):"]
    assert lines[2].startswith(f'  File "{project.definition}", line ')
    assert lines[2].endswith(f", in {function}")
    assert lines[-1].startswith(error)


def test_a_network_that_returns_what_the_criterion_does_not_take_is_told(project: Project) -> None:
    project.define(pair("output.T"))
    failed = project.run(*SHORT)
    assert failed.code == 1
    assert failed.err.endswith(
        "; the network returned a tuple, which this criterion does not take: return the part that it takes, "
        "or a dict of y_pred, which is reported, and y_pred_loss, which the criterion gets\n"
    )


def test_shapes_that_do_not_fit_are_told_with_the_network_and_its_input(project: Project) -> None:
    project.define(
        model(
            init="n = nn.Linear(5, 1)\n        super().init_model(n, nn.MSELoss(), optim.SGD(n.parameters()))"
        )
    )
    failed = project.run(*SHORT)

    assert failed.code == 1
    assert failed.err == (
        f"error: {project.definition} raised:\n"
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (20x3 and 5x1)\n"
        "in the forward pass of Linear; x has the shape (20, 3), torch.float32\n"
    )


# The data.

BAD_DATA = {
    "an empty array": (
        "return MatrixBatchGenerator(x[:0], y[:0])",
        "MatrixBatchGenerator: the set is empty; it needs one example at least",
    ),
    "an empty list of batches": (
        "return []",
        "get_train_generator returned a list without a batch; the set needs one example at least",
    ),
    "X and Y of two lengths": ("return MatrixBatchGenerator(x, y[:59])", "(60, 3) and Y (59,)"),
    "NaN": (
        "x[7, 2] = np.nan; return MatrixBatchGenerator(x, y, batch_size)",
        "X[7, 2] is nan (indexes from 0); remove or impute such values",
    ),
    "an infinite label": (
        "y[59] = np.inf; return MatrixBatchGenerator(x, y, batch_size)",
        "Y[59] is inf (indexes from 0)",
    ),
    "labels that are text": (
        "return MatrixBatchGenerator(x, ['high'] * 60)",
        "Y has the type <U4 and shape (60,); it has to be an array of numbers, examples along its first "
        "dimension; map the classes to 0, 1, …, for example by np.unique(…, return_inverse=True)",
    ),
    "no labels": ("return MatrixBatchGenerator(x)", "training and evaluation need"),
    "a batch that is no pair": (
        "return [(x, y, y)]",
        "batch 0 of list is a tuple, not a pair (x, y): training and evaluation need labels",
    ),
    "NaN from a generator of the user's": (
        "x[30] = np.nan; return [(x[:20], y[:20]), (x[20:], y[20:])]",
        "the loss is nan from batch 1 of the epoch on (batches from 0); "
        "x of batch 1 holds NaN or infinity: mend the data",
    ),
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_bad_data_are_told(project: Project, fault: str) -> None:
    text, told = BAD_DATA[fault]
    project.define(train_data(text))

    failed = project.run(*SHORT)

    assert told in failed.err
    assert failed.code == 1
    assert not (project.results / "best_config").exists()


def test_a_partial_configuration_is_told_with_what_to_add(project: Project) -> None:
    failed = project.run(*SHORT, "--set", "lr=0.02")

    assert failed.code == 2
    assert failed.err.endswith(
        "the configuration has no hyperparameter 'units'; it has lr. Without --hyper, --set and --config "
        "give the whole configuration: add --set units=…, and whatever else the model reads\n"
    )


def test_bad_data_of_ours_are_told_with_the_line_that_read_them(project: Project) -> None:
    project.define(train_data("return MatrixBatchGenerator(x[:0], y[:0])"))

    failed = project.run(*SHORT)

    assert failed.err.startswith(f"error: {project.definition}, line {LINE + 3}, in get_train_generator: ")


def test_a_loss_that_is_nan_by_the_criterion_is_told_with_what_to_try(project: Project) -> None:
    project.define(
        model(
            init="n = nn.Linear(3, 1)\n        "
            "loss = lambda y_true, y_pred: (y_pred.mean() - 1000).log()\n        "
            "super().init_model(n, loss, optim.SGD(n.parameters()))"
        )
    )
    failed = project.run(*SHORT)

    assert (failed.code, failed.err) == (
        1,
        "error: the loss is nan from batch 0 of the epoch on (batches from 0); the data are finite, "
        "so try a lower learning rate, or look for a log or division by 0\n",
    )


def test_a_validation_loss_that_is_never_finite_is_said(project: Project) -> None:
    project.define(
        "\ndef get_val_generator(data_dir):\n    x, y = table(1, 20)\n    return [(x * np.nan, y)]\n"
    )

    done = project.run(*SHORT)

    assert "val_loss undefined" in done.out
    assert "training: the reward was finite in no epoch; epoch 1 is kept\n" in done.out


def test_labels_of_one_class_leave_auroc_undefined(project: Project) -> None:
    project.define(
        CLASSES
        + """
def get_test_generator(data_dir):
    x, _ = labels(2, 20)
    return MatrixBatchGenerator(x, np.ones(20, np.int64))
"""
    )
    done = project.run(*SHORT, "--eval")

    assert (done.code, done.err) == (0, "")
    assert "auroc undefined" in done.out
    assert project.json("test_result.json")["auroc"] is None
    assert 0 <= project.json("test_result.json")["accuracy"] <= 1
    assert "auroc undefined" in project.run("--eval").out


# HDF5.


def h5_file(path: Path, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def h5_run(project: Project, pattern: str = "a.h5") -> str:
    """The message of a training on the files of a pattern, which fails."""
    project.define(train_data(f"return H5pyBatchGenerator(data_dir + '/{pattern}', batch_size)"))
    failed = project.run(*SHORT)
    assert failed.code == 1
    assert failed.err.startswith(f"error: {project.definition}, line {LINE + 3}, in get_train_generator: ")
    return failed.err


def test_a_pattern_that_matches_no_file_is_told(project: Project) -> None:
    assert f"no file matches '{project.data}/none*.h5'" in h5_run(project, "none*.h5")


def test_a_file_that_is_not_hdf5_is_told(project: Project) -> None:
    (project.data / "a.h5").write_text("data,label\n1,2\n")

    assert f"{project.data}/a.h5: cannot be read as HDF5" in h5_run(project)


def test_an_hdf5_file_that_is_cut_short_is_told(project: Project) -> None:
    path = h5_file(project.data / "a.h5", data=np.ones((60, 3)), label=np.ones(60))
    os.truncate(path, path.stat().st_size // 2)

    assert f"{path}: cannot be read as HDF5" in h5_run(project)


def test_an_hdf5_file_without_data_is_told_with_what_it_holds(project: Project) -> None:
    path = h5_file(project.data / "a.h5", X=np.ones((60, 3)), label=np.ones(60))

    assert f"{path}: no dataset 'data' of examples; the file holds 'X', 'label'" in h5_run(project)


def test_hdf5_datasets_of_two_lengths_are_told(project: Project) -> None:
    path = h5_file(project.data / "a.h5", data=np.ones((60, 3)), label=np.ones(59))

    told = h5_run(project)

    assert str(path) in told and "60" in told and "59" in told


def test_hdf5_files_that_differ_are_told(project: Project) -> None:
    h5_file(project.data / "a1.h5", data=np.ones((60, 3)), label=np.ones(60))
    h5_file(project.data / "a2.h5", data=np.ones((60, 4)), label=np.ones(60))

    told = h5_run(project, "a*.h5")

    assert f"{project.data}/a2.h5" in told and "files read together have to be alike" in told


# The result directory.


def test_a_file_in_place_of_the_result_directory_is_told(project: Project) -> None:
    project.results.write_text("mine")

    failed = project.run(*SHORT)

    assert failed.code == 1
    assert f"error: cannot make the result directory {project.results}: File exists; choose" in failed.err
    assert project.results.read_text() == "mine"


def test_a_full_disk_is_told_and_nothing_is_lost(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--epoch", "6", "--batch-size", "20")
    project.run(*flags)
    whole = untimed(project.read("trials/single/train_results.csv"))
    weights = checkpoints.load(project.results / "best_config/checkpoints/best.pt")["network"]
    project.clear()

    monkeypatch.setattr(keeper, "SECONDS_BETWEEN_WRITES", 0)
    last, fsync = project.results / "trials/single/checkpoints/last.pt", os.fsync

    def on_a_disk_that_is_full_from_epoch_4(descriptor: int) -> None:
        if last.exists() and checkpoints.load(last)["epoch"] >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", on_a_disk_that_is_full_from_epoch_4)
    failed = project.run(*flags)
    monkeypatch.setattr(os, "fsync", fsync)

    assert failed.code == 1
    assert failed.err.startswith(f"error: cannot write {project.results}/")
    assert "No space left on device; what was there before is unchanged" in failed.err
    assert checkpoints.load(last)["epoch"] == 3
    assert not list(project.results.rglob("*.tmp"))

    assert project.run(*flags).code == 0
    assert untimed(project.read("trials/single/train_results.csv")) == whole
    again = checkpoints.load(project.results / "best_config/checkpoints/best.pt")["network"]
    assert all((again[name] == weights[name]).all() for name in weights)


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("made", "name", "needing"),
    [
        (SHORT, "last.pt", ("--epoch", "3")),
        (SHORT, "best.pt", ("--train", "--eval")),
        ((*SHORT, "--hyper"), "best.pt", ("--hyper", "--eval")),
    ],
)
def test_a_checkpoint_that_is_cut_short_is_told_and_the_advice_works(
    project: Project, made: tuple[str, ...], name: str, needing: tuple[str, ...]
) -> None:
    project.run(*made)
    folder = (project.results / "best_config/checkpoints").resolve()
    cut_short(folder / name)

    failed = project.run(*needing)

    assert failed.code == 1
    assert failed.err.startswith(f"error: {folder / name} is damaged or no checkpoint (")
    assert "delete the trial's folder checkpoints/ to train it anew" in failed.err

    shutil.rmtree(folder)
    assert project.run(*needing).code == 0


def test_a_search_whose_trial_has_a_damaged_checkpoint_stops_and_goes_on_after_the_advice(
    project: Project,
) -> None:
    search = ("--hyper", "--epoch", "3", "--batch-size", "20")
    project.run(*search)
    journal = project.results / "search/journal.jsonl"
    whole = journal.read_text()
    journal.write_text("".join(whole.splitlines(keepends=True)[:-2]))  # trial 0004 was under way
    folder = project.results / "trials/0004/checkpoints"
    cut_short(folder / "last.pt")

    failed = project.run(*search)
    assert failed.code == 1
    assert failed.err.startswith(f"error: {folder}/last.pt is damaged")

    shutil.rmtree(folder)
    assert project.run(*search).code == 0
    assert journal.read_text() == whole


def test_results_of_another_definition_are_not_touched(project: Project) -> None:
    project.run(*SHORT)
    weights = (project.results / "trials/single/checkpoints/best.pt").read_bytes()
    project.define("\nclass Model(Model): ...\n")

    refused = project.run(*SHORT, "--epoch", "9", "--eval")

    assert refused.code == 2
    assert f"error: {project.results} was made by another version of def.py" in refused.err
    assert f"kept in {project.results}/def.py" in refused.err
    assert (project.results / "trials/single/checkpoints/best.pt").read_bytes() == weights


def test_a_network_that_the_stored_weights_do_not_fit_is_told(project: Project) -> None:
    project.run(*SHORT)
    project.define(
        model(
            init="n = nn.Linear(3, 1)\n        super().init_model(n, nn.MSELoss(), optim.SGD(n.parameters()))"
        )
    )
    failed = project.run("--force", "--eval")

    assert failed.code == 1
    assert "best.pt does not fit the network of this definition" in failed.err


def test_a_run_file_that_is_no_json_is_told(project: Project) -> None:
    project.run(*SHORT)
    (project.results / "run.json").write_text('{"settings":')

    failed = project.run(*SHORT)

    assert failed.code == 1
    assert f"error: {project.results}/run.json is not JSON" in failed.err


def test_results_whose_run_file_was_deleted_go_on(project: Project) -> None:
    project.run(*SHORT)
    (project.results / "run.json").unlink()

    assert project.run(*SHORT, "--eval").code == 0
    assert project.run("--epoch", "3", "--batch-size", "20").code == 0
    assert len(project.read("trials/single/train_results.csv").splitlines()) == 1 + 3


def test_fasta_that_cannot_be_read_is_told_with_file_and_line(project: Project) -> None:
    (project.data / "bad.fa").write_text(">a\nAC\n>a\nGG\n")

    failed = project.run(*SHORT, "--predict", "bad.fa")

    assert failed.code == 1
    assert f"{project.data}/bad.fa, line 3: the header has the name 'a', as does line 1" in failed.err


def test_monte_carlo_passes_of_a_network_without_dropout_are_refused(project: Project) -> None:
    project.define(CLASSES)

    refused = project.run(*SHORT, "--eval", "--mc-dropout", "3")

    assert refused.code == 2
    assert "3 passes with dropout left on are all alike" in refused.err
