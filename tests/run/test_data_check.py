"""The data of all stages are tried before any work: what is a fault, what a note, what stays untouched."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project, untimed
from toys import CLASSES

from helixband.run import data_check

SHORT = ("--epoch", "2", "--batch-size", "20")
ALL = (*SHORT, "--eval", "--predict", "x.fa")

WIDE_TEST = """
def get_test_generator(data_dir):
    x, y = table(2, 20)
    return MatrixBatchGenerator(np.hstack([x, x]), y)
"""
PAIRS = """
def get_pred_generator(pred_path):
    return [table(3, 4)]
"""
UNPREDICTABLE_TEST = """
def get_test_generator(data_dir):
    return MatrixBatchGenerator(np.load(f"{data_dir}/test.npy"))
"""


def is_untouched(project: Project) -> bool:
    """Whether nothing was trained or recorded."""
    return not {path.name for path in project.results.iterdir()} - {"lock"}


# Faults.


@pytest.mark.parametrize("flags", [(*ALL,), (*ALL, "--hyper")], ids=["one training", "a search"])
def test_a_test_file_that_is_missing_is_told_before_any_work(
    project: Project, flags: tuple[str, ...]
) -> None:
    project.define(UNPREDICTABLE_TEST)
    failed = project.run(*flags)
    assert failed.code == 1
    assert failed.err.endswith(f"No such file or directory: '{project.data}/test.npy'\n")
    assert is_untouched(project)


def test_test_data_of_another_width_are_told_with_what_they_are(project: Project) -> None:
    project.define(WIDE_TEST)
    failed = project.run(*ALL)
    assert failed.code == 1
    assert failed.err == (
        f"error: {project.definition} raised:\n"
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (20x6 and 3x8)\n"
        "in the forward pass of Sequential, in 0 (Linear(in_features=3, out_features=8, "
        "bias=True)); x has the shape (20, 6), torch.float32\n"
        "with the test data, of which a batch was tried before any work\n"
    )
    assert is_untouched(project)


def test_a_prediction_generator_that_yields_pairs_is_told(project: Project) -> None:
    project.define(PAIRS)
    failed = project.run(*ALL)
    assert (failed.code, failed.err) == (
        1,
        "error: the data to predict on: its batches are pairs, as of (x, y), and the model takes the first "
        "part alone; a generator for prediction gives x\n",
    )
    assert is_untouched(project)


def test_all_faults_are_told_at_once(project: Project) -> None:
    project.define(WIDE_TEST + PAIRS)
    failed = project.run(*ALL)
    assert failed.code == 1
    assert failed.err == (
        f"error: {project.definition}: 2 faults were found before any work:\n"
        f"  - the test data: {project.definition} raised:\n"
        "    RuntimeError: mat1 and mat2 shapes cannot be multiplied (20x6 and 3x8)\n"
        "    in the forward pass of Sequential, in 0 (Linear(in_features=3, out_features=8, "
        "bias=True)); x has the shape (20, 6), torch.float32\n"
        "  - the data to predict on: its batches are pairs, as of (x, y), and the model takes the first part "
        "alone; a generator for prediction gives x\n"
    )


def test_the_faults_of_no_set_hide_those_of_another(project: Project) -> None:
    project.define("""
def get_train_generator(data_dir, batch_size): return MatrixBatchGenerator(np.load("train.npy"))
def get_val_generator(data_dir): return MatrixBatchGenerator(np.load("val.npy"))
def get_test_generator(data_dir): return MatrixBatchGenerator(np.load("test.npy"))
def get_pred_generator(pred_path): return MatrixBatchGenerator(np.load("pred.npy"))
""")
    failed = project.run(*ALL, "--dry-run")
    assert "4 faults were found" in failed.err
    for data, file in [
        ("training data", "train"),
        ("validation data", "val"),
        ("test data", "test"),
        ("data to predict on", "pred"),
    ]:
        assert f"  - the {data}: " in failed.err
        assert f"No such file or directory: '{file}.npy'" in failed.err


@pytest.mark.parametrize(
    ("function", "returned", "place"),
    [
        ("get_train_generator(data_dir, batch_size)", "x", "get_train_generator"),
        ("get_train_generator(data_dir, batch_size)", "(x, x)", "get_train_generator"),
        (
            "get_train_generator(data_dir, batch_size)",
            "(MatrixBatchGenerator(*table(0, 9)), x)",
            "get_train_generator, as the val of (train, val)",
        ),
        ("get_val_generator(data_dir)", "x", "get_val_generator"),
        ("get_test_generator(data_dir)", "x", "get_test_generator"),
    ],
)
def test_a_set_without_labels_is_told_with_its_function_and_the_remedy(
    project: Project, function: str, returned: str, place: str
) -> None:
    project.define(
        f"\ndef {function}:\n    x = MatrixBatchGenerator(table(0, 9)[0])\n    return {returned}\n"
    )
    failed = project.run(*SHORT, "--eval")
    line = len(project.definition.read_text().splitlines()) - 2
    assert (failed.code, failed.err) == (
        1,
        f"error: {project.definition}, line {line}, in {place}: MatrixBatchGenerator has no labels: training "
        "and evaluation need (x, y); give it Y, its second argument\n",
    )
    assert is_untouched(project)


def test_intervals_without_labels_are_told_what_makes_them(project: Project) -> None:
    (project.data / "g.fa").write_text(">c\n" + "ACGT" * 20 + "\n")
    (project.data / "p.bed").write_text("c\t4\t8\n")
    project.define(
        "\nfrom helixband import IntervalBatchGenerator\n\n\ndef get_val_generator(data_dir):\n"
        '    return IntervalBatchGenerator(f"{data_dir}/g.fa", f"{data_dir}/p.bed")\n'
    )
    failed = project.run(*SHORT)
    assert "in get_val_generator: IntervalBatchGenerator has no labels" in failed.err
    assert (
        "give it negatives, so that the intervals are class 1 and these class 0, or targets\n" in failed.err
    )


def test_a_network_that_fits_no_data_is_one_fault(project: Project) -> None:
    project.define("""
class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(5, 1)
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters()))
""")
    failed = project.run(*SHORT, "--eval")
    assert failed.err.count("mat1 and mat2") == 1


def test_a_last_batch_that_batch_normalisation_cannot_train_on_is_told_with_the_remedy(
    project: Project,
) -> None:
    normalised = """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.01))

def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 61), batch_size, shuffle=True{})
"""
    project.define(normalised.format(""))
    failed = project.run(*SHORT)
    assert (failed.code, failed.err) == (
        1,
        "error: MatrixBatchGenerator has 61 examples in batches of 20, so that the last has one, on which "
        "training fails (ValueError: Expected more than 1 value per channel when training, got input size "
        "torch.Size([1, 4])). Pass drop_last=True to it, or choose another --batch-size\n",
    )
    unchecked = project.run(*SHORT, "--no-data-check")
    assert "pass drop_last=True to the training generator, or choose another --batch-size" in unchecked.err

    project.define(normalised.format(", drop_last=True"))
    assert project.run(*SHORT, "--force").code == 0


def test_a_flag_for_windows_is_refused_before_training(project: Project) -> None:
    refused = project.run(*ALL, "--both-strands")
    assert refused.code == 2
    assert "--both-strands is for windows of sequences" in refused.err
    assert is_untouched(project)


def test_monte_carlo_passes_without_dropout_are_refused_before_training(project: Project) -> None:
    project.define("""
class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.01))
""")
    refused = project.run(*SHORT, "--predict", "x.fa", "--mc-dropout", "50")
    assert refused.code == 2
    assert "passes with dropout left on are all alike" in refused.err
    assert is_untouched(project)


def test_training_batches_are_tried_whole_and_in_their_order(project: Project) -> None:
    project.define("""
def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 60), batch_size=30), MatrixBatchGenerator(*table(1, 15))

class Model(BaseModel):
    def init_model(self):
        network = nn.Linear(3, 4)
        super().init_model(network, triplets, optim.SGD(network.parameters(), 0.01))

def triplets(p, y):
    return nn.functional.triplet_margin_loss(*p.view(-1, 3, 4).unbind(1))
""")
    assert project.run(*SHORT).code == 0


def test_large_sets_are_tried_in_the_pieces_of_an_evaluation(project: Project) -> None:
    project.define("""
def get_test_generator(data_dir):
    return MatrixBatchGenerator(np.zeros((100, 5000), np.float32), np.zeros((100, 1), np.float32))

class Model(Model):
    def forward(self, x):
        if len(x) == 20 and x.shape[1] == 5000:
            raise ValueError("a piece of 20 rows")
        return super().forward(x[:, :3])
""")
    assert "a piece of 20 rows" in project.run(*SHORT, "--eval", "--dry-run").err


@pytest.mark.parametrize(
    ("outputs", "noted"),
    [
        (2, ""),
        (
            3,
            "note: the network has 3 outputs, and the labels of the training data are 0 and 1; it needs one "
            "output for each class\n",
        ),
    ],
)
def test_outputs_that_no_label_is_of_are_noted(project: Project, outputs: int, noted: str) -> None:
    project.define(CLASSES.replace("nn.Linear(3, 2)", f"nn.Linear(3, {outputs})"))
    done = project.run("--epoch", "1", "--dry-run")

    assert done.code == 0
    assert noted in done.out
    assert ("outputs" in done.out) == bool(noted)


# A search.

SOME_FAIL = """
def get_config():
    return {"lr": 0.01, "width": WIDTHS[int(np.random.randint(len(WIDTHS)))], "number": random.random()}

class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(self.config["width"], 1)
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), self.config["lr"]))
"""


def test_a_configuration_that_fails_is_no_fault_of_a_search_where_another_works(project: Project) -> None:
    project.define("WIDTHS = [3, 4]\n" + SOME_FAIL)  # which are drawn as 4, 4, 4, 3
    search = ("--hyper", "--epoch", "1", "--schedule", "none", "--sampler", "random", "--trials", "4")
    assert project.run(*search, "--batch-size", "20").code == 0
    failed = [event["error"] is not None for event in project.journal() if event["event"] == "result"]
    assert failed == [True, True, True, False]


def test_a_search_of_which_no_draw_fits_the_data_is_told(project: Project) -> None:
    project.define("WIDTHS = [4]\n" + SOME_FAIL)
    failed = project.run(*SHORT, "--hyper")
    assert "mat1 and mat2 shapes cannot be multiplied (20x3 and 4x1)" in failed.err
    assert is_untouched(project)


# Notes.


def test_a_metric_that_is_undefined_on_a_few_rows_is_a_note(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_metrics(self, y_true, y_pred):
        return {"gain": float("nan")}
""")
    done = project.run(*SHORT)
    assert done.code == 0
    assert "note: gain of train_metrics: undefined on 20 rows of the training data\n" in done.out


def test_a_warning_of_ours_is_shown_once_in_a_run(project: Project) -> None:
    project.define("""
import warnings

from helixband.errors import HelixbandWarning


class Model(Model):
    def init_model(self):
        warnings.warn("wider than the window", HelixbandWarning, stacklevel=1)
        super().init_model()
""")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert project.run(*SHORT, "--eval").code == 0
    assert [str(each.message) for each in shown] == ["wider than the window"]


def test_pictures_are_tried_before_any_work(project: Project) -> None:
    project.define("""
class Model(Model):
    def pictures(self, x, y_true, y_pred):
        return {"weights": [[1, 2]]}
""")
    done = project.run(*SHORT)
    assert done.code == 2
    assert "pictures returned [[1, 2]] as 'weights'; it has to be a Picture" in done.err
    assert not (project.results / "trials").exists()


def test_a_file_of_arrays_may_stay_open(project: Project) -> None:
    np.savez(project.data / "arrays.npz", weights=np.ones(3))
    project.define(f"""
import numpy as np

ARRAYS = np.load({str(project.data / "arrays.npz")!r})
""")
    assert project.run(*SHORT).code == 0


def test_a_metric_that_raises_is_told_and_the_training_begins(project: Project) -> None:
    project.define("""
class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        raise ValueError("too few")
""")
    failed = project.run(*SHORT)
    assert "note: eval_metrics raised ValueError: too few, on 20 rows of the validation data\n" in failed.out
    assert (project.results / "trials/single/config.json").exists()


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("metrics.spearmanr(y_true, y_pred)", "AttributeError: module 'helixband.metrics' has no attribute"),
        ("metrics.mse(y_true)", "TypeError: "),
        ("{'mse': 1}['ss']", "KeyError: 'ss'"),
        ("gain", "NameError: name 'gain' is not defined"),
        ("__import__('no_such_module')", "ModuleNotFoundError: "),
    ],
)
@pytest.mark.parametrize("method", ["train_metrics", "eval_metrics"])
def test_a_metric_that_no_number_of_rows_mends_is_a_fault(
    project: Project, method: str, metric: str, told: str
) -> None:
    project.define(
        f"\nfrom helixband import metrics\n\n\nclass Model(Model):\n    def {method}(self, y_true, y_pred):\n"
        f'        return {{"a": {metric}}}\n'
    )
    failed = project.run(*SHORT, "--dry-run")
    line = len(project.definition.read_text().splitlines())
    assert failed.code == 1
    assert f'File "{project.definition}", line {line}, in {method}\n' in failed.err
    assert f"\n{told}" in failed.err
    assert "--no-data-check leaves the check of the data out" in failed.err
    assert failed.err.count(told) == 1


def test_wrong_metrics_of_both_kinds_are_told_at_once(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_metrics(self, y_true, y_pred):
        return {"a": np.no_such_metric(y_true)}

    def eval_metrics(self, y_true, y_pred):
        return {"a": np.neither_this_one(y_true)}
""")
    failed = project.run(*SHORT)
    assert "2 faults were found before any work" in failed.err
    assert "no_such_metric" in failed.err and "neither_this_one" in failed.err


def test_class_names_that_are_no_one_for_each_class_are_told_before_any_work(project: Project) -> None:
    project.define(CLASSES + "\nModel.class_names = ['no', 'yes', 'perhaps']\n")
    failed = project.run(*SHORT, "--eval")
    assert failed.code == 2
    assert "Model.class_names has 3 names, no, yes, perhaps, and y_pred is of 2; give one name" in failed.err
    assert is_untouched(project)


def test_a_metric_that_lacks_a_label_is_a_note_with_its_place(project: Project) -> None:
    project.define("""
class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        return {"a": {1: 0.5}[2]}
""")
    done = project.run(*SHORT, "--dry-run")
    line = len(project.definition.read_text().splitlines())
    assert done.code == 0
    assert (
        "note: eval_metrics raised KeyError: 2, on 20 rows of the validation data\n"
        f"  in {project.definition}, line {line}, in eval_metrics\n"
    ) in done.out


def test_a_trial_that_failed_is_told_with_the_place(project: Project) -> None:
    project.define("""
class Model(Model):
    def get_hyperband_reward(self, result):
        return {"gain": 1}["loss"]
""")
    failed = project.run(*SHORT, "--hyper", "--trials", "2")
    line = len(project.definition.read_text().splitlines())
    assert f"failed: KeyError: 'loss' (def.py, line {line}, in get_hyperband_reward)  lr=" in failed.out


def test_a_check_that_took_long_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_check, "SECONDS", -1.0)
    assert " s; --no-data-check leaves it out\n" in project.run(*SHORT).out
    assert "--no-data-check" not in project.run(*SHORT).out  # nothing is left to do


# What stays as it was.

SHARED = """
from torch.utils.data import DataLoader, TensorDataset

BODY = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
LOADER = DataLoader(TensorDataset(*map(torch.tensor, table(0, 60))), 20, shuffle=True,
                    generator=torch.Generator().manual_seed(5))

class Counting:
    epochs = 0
    def __iter__(self):
        self.epochs += 1
        x, y = table(2, 20)
        yield x + self.epochs + np.random.random(), y

TEST, NEW = Counting(), {}

def get_train_generator(data_dir, batch_size):
    return LOADER

def get_test_generator(data_dir):
    return TEST

def get_pred_generator(pred_path):
    return [x for x, _ in TEST]

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(BODY, nn.Dropout(0.2), nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), 0.01))
"""


def outcome(project: Project) -> dict[str, Any]:
    files = {path.name: path for path in project.results.rglob("*") if path.is_file()}
    return {
        "history": untimed(files["train_results.csv"].read_text()),
        "tested": files["test_result.json"].read_text(),
        "predicted": np.load(files["x.fa.npy"]).tolist(),
        "weights": {name: value.tolist() for name, value in torch.load(files["best.pt"])["network"].items()},
    }


@pytest.mark.parametrize("extra", ["", SHARED.replace("[x for x, _ in TEST]", "[table(2, 20)[0]]")])
def test_results_are_the_same_with_and_without_the_check(project: Project, extra: str) -> None:
    project.define(extra)
    assert project.run(*ALL).code == 0
    checked = outcome(project)
    project.clear()
    assert project.run(*ALL, "--no-data-check").code == 0
    assert outcome(project) == checked


STATEFUL = """
CALLS, CENTRED, BODY = {"forward": 0}, table(0, 60), nn.Linear(3, 4)
LINES, NUMBER = open("lines.txt"), 0

class Growing(MatrixBatchGenerator):
    log = []
    def __iter__(self):
        self.log.append(1)
        for x, y in super().__iter__():
            yield x + len(self.log), y

class Stream:
    def __iter__(self):
        for line in LINES:
            yield np.array([[float(word) for word in line.split()]], np.float32)

class Once:
    def __init__(self):
        self.left = [table(2, 10), table(4, 10)]
    def __iter__(self):
        while self.left:
            yield self.left.pop(0)

TEST = Once()

def get_train_generator(data_dir, batch_size):
    CENTRED[0][:] -= 1
    return Growing(*CENTRED, batch_size, shuffle=True)

def get_val_generator(data_dir):
    global NUMBER
    NUMBER += 1
    return MatrixBatchGenerator(*table(NUMBER, 20))

def get_test_generator(data_dir):
    return TEST

def get_pred_generator(pred_path):
    return Stream()

class Model(RegressionModel):
    def init_model(self):
        with torch.no_grad():
            BODY.weight.mul_(0.5)
        network = nn.Sequential(BODY, nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), 0.01))

    def forward(self, x):
        CALLS["forward"] += 1
        return super().forward(x * CALLS["forward"])

    def eval_metrics(self, y_true, y_pred):
        return {"rows": len(y_true)}
"""


@pytest.mark.filterwarnings("ignore:CALLS of def.py")  # no checkpoint holds it
def test_what_the_modules_of_a_definition_hold_is_put_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    Path("lines.txt").write_text("1 2 3\n4 5 6\n7 8 9\n")
    project.define(STATEFUL)
    assert project.run(*ALL).code == 0
    checked = outcome(project)
    assert json.loads(checked["tested"])["rows"] == 20
    assert len(checked["predicted"]) == 3
    project.clear()
    assert project.run(*ALL, "--no-data-check").code == 0
    assert outcome(project) == checked


ONCE = """
class Once:
    def __init__(self):
        self.batches = iter([table(2, 10), table(4, 10)])
    def __iter__(self):
        return self.batches

TEST = Once()

def get_test_generator(data_dir):
    return TEST

def get_pred_generator(pred_path):
    return [np.zeros((4, 3), np.float32)]
"""


def test_a_generator_that_can_be_read_once_is_left_to_the_run(project: Project) -> None:
    project.define(
        ONCE + "\nclass Model(Model):\n    def eval_metrics(self, y, p): return {'rows': len(y)}\n"
    )
    done = project.run(*SHORT, "--eval")
    assert "note: the test data were not tried: the generator, a Once, keeps an iterator" in done.out
    assert project.json("test_result.json")["rows"] == 20


def test_what_a_definition_does_in_an_own_way_is_not_tried(project: Project) -> None:
    project.define("""
class Model(Model):
    def train_step(self, x, y):
        print("a step")
        return super().train_step(x, y)
""")
    assert project.run("--epoch", "1", "--batch-size", "20").out.count("a step") == 3


CALLS = """
def told(function):
    def call(*arguments):
        print("made by", function.__name__)
        return function(*arguments)
    return call

for name in ("get_train_generator", "get_test_generator", "get_pred_generator"):
    globals()[name] = told(globals()[name])
"""


def test_what_is_done_is_not_checked_again(project: Project) -> None:
    project.define(CALLS)
    project.run(*ALL)
    assert "made by" not in project.run(*ALL).out
    assert "made by" in project.run(*ALL, "--epoch", "3").out


def test_data_of_ours_are_made_once_for_check_and_training_and_test_data_anew(project: Project) -> None:
    project.define(CALLS)
    out = project.run(*ALL).out
    assert out.count("made by get_train_generator") == 1
    before, after = out.split("training: best epoch")
    assert before.count("made by get_test_generator") == before.count("made by get_pred_generator") == 1
    assert after.count("made by get_test_generator") == after.count("made by get_pred_generator") == 1


def test_an_interruption_ends_the_check(project: Project) -> None:
    project.define("def get_test_generator(data_dir):\n    raise KeyboardInterrupt\n")
    assert project.run(*ALL).code == 130
    assert is_untouched(project)


# --dry-run.


def test_a_dry_run_leaves_nothing_behind(project: Project) -> None:
    done = project.run(*ALL, "--hyper", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("dry run: everything was checked, and nothing done\n")
    assert not project.results.exists()


def test_a_dry_run_tells_the_faults(project: Project) -> None:
    project.define(WIDE_TEST)
    failed = project.run(*ALL, "--dry-run")
    assert failed.code == 1
    assert "with the test data" in failed.err
    assert not project.results.exists()


@pytest.mark.parametrize("flags", [("--check",), ("--check", *SHORT), ("--check", *SHORT, "--eval")])
def test_a_dry_run_tells_that_the_check_for_leakage_cannot_read_the_data(
    project: Project, flags: tuple[str, ...]
) -> None:
    failed = project.run(*flags, "--dry-run")
    assert failed.code == 1
    assert "--check reads DNA and RNA, as indexes or one-hot, and the x of the training data is" in failed.err
    assert "and the x of the test data is neither; leave --check out" in failed.err


def test_a_dry_run_changes_no_results(project: Project) -> None:
    project.run(*SHORT)
    project.define("# changed\n")
    before = {path: path.read_bytes() for path in project.results.rglob("*") if path.is_file()}
    assert project.run(*SHORT, "--dry-run").code == 2  # of another definition
    assert project.run(*ALL, "--epoch", "5", "--force", "--dry-run").code == 0
    assert {path: path.read_bytes() for path in project.results.rglob("*") if path.is_file()} == before


def test_a_dry_run_of_debug_leaves_earlier_results_of_it(project: Project) -> None:
    project.run("--debug", *SHORT)
    there = set(project.results.rglob("*"))
    assert project.run("--debug", *SHORT, "--dry-run").code == 0
    assert set(project.results.rglob("*")) == there


def test_a_folder_is_no_place_for_the_unused_path(project: Project) -> None:
    Path(project.results).write_text("a file")
    assert "cannot make the result directory" in project.run(*SHORT, "--dry-run").err


BAD_UNLESS_FIXED = """
def get_config():
    return {"lr": 0.01, "units": -1}
"""


@pytest.mark.parametrize("given", ["--set", "--try"])
def test_a_search_is_checked_with_the_values_that_it_is_given(project: Project, given: str) -> None:
    project.define(BAD_UNLESS_FIXED)
    file = project.definition.parent / "known.json"
    file.write_text('{"lr": 0.01, "units": 4}')
    flags = (*SHORT, "--hyper", "--dry-run")
    assert "negative dimension -1" in project.run(*flags).err
    assert project.run(*flags, given, "units=4" if given == "--set" else str(file)).code == 0


def test_each_configuration_of_try_has_to_work(project: Project) -> None:
    file = project.definition.parent / "known.json"
    configs = [{"lr": 0.01, "units": units} for units in (4, -1, 8, -2)]
    flags = (*SHORT, "--hyper", "--trials", "4", "--dry-run", "--try", str(file))
    file.write_text(json.dumps(configs[:2]))
    failed = project.run(*flags)
    assert failed.code == 1
    assert "negative dimension -1" in failed.err
    assert "with configuration 2 of --try, the model, which was tried before any work" in failed.err
    file.write_text(json.dumps(configs))
    failed = project.run(*flags)
    assert "2 faults" in failed.err
    assert "  - configuration 2 of --try, the model: " in failed.err
    assert "  - configuration 4 of --try, the model: " in failed.err
    file.write_text(json.dumps(configs[::2]))
    assert project.run(*flags).code == 0


@pytest.mark.parametrize(
    "fault",
    [
        "class Model(Model):\n    def forward(self, x): raise ValueError('it fails')\n",
        "class Model(Model):\n    def compute_loss(self, p, y): raise ValueError('it fails')\n",
        "class Model(Model):\n    def eval_metrics(self, y, p): raise ValueError('it fails')\n",
        "def get_test_generator(data_dir): raise ValueError('it fails')\n",
    ],
    ids=["forward", "compute_loss", "eval_metrics", "get_test_generator"],
)
def test_a_forced_definition_that_fails_replaces_nothing(project: Project, fault: str) -> None:
    assert project.run(*SHORT).code == 0
    before = project.read("def.py")
    project.define(fault)
    failed = project.run(*SHORT, "--eval", "--force")
    assert failed.code != 0
    assert "it fails" in failed.err
    assert project.read("def.py") == before


# Columns that a training looks at.

OTHER_METRICS = """
class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        return {"mse": 1.0, "pearson": 0.5}
"""
PLATEAU = """
import base_model
class Model(Model):
    def init_model(self):
        super().init_model()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer)
        base_model.BaseModel.init_model(
            self, self.network, self.criterion, self.optimizer, scheduler=scheduler,
            scheduler_metric="val_msee",
        )
"""
ADDS_COLUMNS = """
class Model(Model):
    def on_epoch_end(self, row):
        row["val_own"] = row["val_loss"]
"""


@pytest.mark.parametrize("flags", [SHORT, (*SHORT, "--hyper")], ids=["single", "search"])
def test_a_column_that_no_epoch_will_have_is_told_before_any_work(
    project: Project, flags: tuple[str, ...]
) -> None:
    project.define(OTHER_METRICS)
    failed = project.run(*flags, "--with", "patience=1", "patience_metric=val_mes", "patience_mode=min")
    assert failed.code == 2
    assert "patience_metric is 'val_mes', which an epoch does not have; nearest are: val_mse" in failed.err
    assert is_untouched(project)


def test_the_column_of_a_scheduler_is_looked_for_too(project: Project) -> None:
    project.define(OTHER_METRICS + PLATEAU)
    failed = project.run(*SHORT)
    assert failed.code == 2
    assert "scheduler_metric is 'val_msee', and an epoch has: epoch, train_loss, " in failed.err
    assert is_untouched(project)


@pytest.mark.parametrize(
    "metric", ["val_mse", "val_loss", "train_loss", "lr", "gradient_norm_L2", "train_skipped", "val_own"]
)
def test_columns_that_come_from_elsewhere_are_known(project: Project, metric: str) -> None:
    project.define(OTHER_METRICS + (ADDS_COLUMNS if metric == "val_own" else ""))
    options = ("patience=9", f"patience_metric={metric}", "patience_mode=min", "clip_norm=1.0", "nan=skip")
    assert project.run(*SHORT, "--with", *options).code == 0


def test_without_the_check_a_column_that_is_not_there_is_told_after_the_first_epoch(project: Project) -> None:
    project.define(OTHER_METRICS)
    options = ("patience=1", "patience_metric=val_mes", "patience_mode=min")
    failed = project.run(*SHORT, "--no-data-check", "--with", *options)
    assert failed.code != 0 and "which an epoch does not have; nearest are: val_mse" in failed.err
    assert not is_untouched(project)


def test_a_named_loss_and_a_metric_of_one_name_are_told(project: Project) -> None:
    project.define("""
class Model(Model):
    def compute_loss(self, y_pred_loss, y):
        return {"mse": super().compute_loss(y_pred_loss, y)}
""")
    failed = project.run(*SHORT, "--dry-run")
    assert failed.code == 2
    assert "mse is a loss that compute_loss names, and a metric: call one of them otherwise" in failed.err
    assert not project.results.exists()


def test_options_without_effect_are_noted(project: Project) -> None:
    given = ("scheduler_interval=step", "patience_mode=max", "renew_batch_norm=true", "patience_gain=0")
    noted = project.run(*SHORT, "--dry-run", "--with", *given)
    assert noted.code == 0
    assert [line for line in noted.out.splitlines() if line.startswith("note")] == [
        "note: scheduler_interval has no effect: the model has no scheduler",
        "note: renew_batch_norm has no effect: neither ema_decay nor swa_start is given",
        "note: patience_mode has no effect: patience is not given",
    ]
    whole = project.run(*SHORT, "--dry-run", "--with", "patience=3", "patience_mode=max", "ema_decay=0.9")
    assert "note" not in whole.out
