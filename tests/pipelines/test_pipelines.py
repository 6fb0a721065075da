"""Bundles and result directories as functions: the numbers of `--predict`, without data or results."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project

from helixband.errors import DataError, DefinitionError, HelixbandWarning, StorageError, UsageError
from helixband.pipelines import load
from helixband.pipelines.__main__ import main
from helixband.pipelines.exporting import Options, export

SHORT = ("--epoch", "1", "--set", "lr=0.01", "--set", "units=4")

SEQUENCES = """
from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.networks import OneHot
import pathlib

HERE = pathlib.Path(env("TOY_DATA", "unset"))


def get_train_generator(data_dir, batch_size):
    return (FastaBatchGenerator(f"{data_dir}/train.fa", np.arange(6.0), batch_size, shuffle=True),
            FastaBatchGenerator(f"{data_dir}/train.fa", np.arange(6.0)))


del get_val_generator, get_pred_generator


def get_test_generator(data_dir):
    return FastaBatchGenerator(f"{data_dir}/train.fa", np.arange(6.0))


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(OneHot(), nn.Conv1d(4, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
                                nn.Flatten(), nn.Linear(3, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""

INTERVALS = (
    SEQUENCES
    + """

def get_train_generator(data_dir, batch_size):
    made = IntervalBatchGenerator(f"{data_dir}/genome.fa", f"{data_dir}/train.bed", 8, targets="score")
    return made, made
"""
)

TABLES = """
import h5py


def get_pred_generator(pred_path):
    return H5pyBatchGenerator(pred_path)
"""

SEVERAL = """

def pairs(seed, rows):
    x, y = table(seed, rows)
    return {"a": x, "b": x[:, :2].copy()}, y


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*pairs(0, 60), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*pairs(1, 20))


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*pairs(2, 20))


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(pairs(3, 130)[0], batch_size=50)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 1), nn.Linear(2, 1)

    def forward(self, x):
        return {"y_pred": {"sum": self.one(x["a"]) + self.two(x["b"]), "first": self.one(x["a"])},
                "y_pred_loss": self.one(x["a"]) + self.two(x["b"])}


class Model(BaseModel):
    def init_model(self):
        network = Network()
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))

    def compute_loss(self, y_pred_loss, y):
        return super().compute_loss(y_pred_loss[:, 0], y)

    def train_metrics(self, y_true, y_pred):
        return {}

    eval_metrics = train_metrics

    def get_hyperband_reward(self, result):
        return -result.val_loss
"""

SAVING = """

def save_prediction(pred_path, y_pred):
    np.save(env("SAVED", "unset"), y_pred)
"""


def letters(seed: int, length: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def write_data(data: Path) -> None:
    import h5py

    (data / "train.fa").write_text("".join(f">r{n}\n{letters(n, 8)}\n" for n in range(6)))
    (data / "long.fa").write_text("".join(f">q{n}\n{letters(n + 9, 20 + n)}\n" for n in range(5)))
    (data / "genome.fa").write_text(f">chr1\n{letters(7, 200)}\n>chr2\n{letters(8, 90)}\n")
    (data / "train.bed").write_text("".join(f"chr1\t{n * 9}\t{n * 9 + 8}\t.\t{n}\t+\n" for n in range(9)))
    (data / "pred.bed").write_text("chr1\t10\t18\ta\t1\t-\nchr2\t3\t11\tb\t1\t+\nchr2\t50\t58\tc\t2\t-\n")
    with h5py.File(data / "x.h5", "w") as file:
        file["data"] = np.random.default_rng(4).normal(size=(230, 3)).astype(np.float32)


def trained(project: Project, extra: str, *inputs: str) -> None:
    write_data(project.data)
    project.define(extra)
    run = project.run(*SHORT, "--eval", "--predict", *inputs)
    assert run.code == 0, run.err


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory is another one."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place


def bundle_of(project: Project, **options: Any) -> Path:
    """A bundle, once the definition, the results and most data are gone; only inputs are left."""
    out = project.path / "toy"
    export(project.results, out, Options(**options))
    project.results.rename(project.path / "moved results")
    project.definition.unlink()
    for name in ("train.fa", "train.bed"):
        (project.data / name).unlink()
    return out


@pytest.mark.parametrize(
    ("extra", "name", "genome"),
    [
        ("", "x.fa", None),
        (SEQUENCES, "long.fa", None),
        (INTERVALS, "long.fa", None),
        (INTERVALS, "pred.bed", "genome.fa"),
        (TABLES, "x.h5", None),
    ],
    ids=["matrix", "fasta", "windows of fasta", "intervals", "hdf5"],
)
def test_a_bundle_gives_the_numbers_of_predict(
    project: Project, elsewhere: Path, extra: str, name: str, genome: str | None
) -> None:
    trained(project, extra, name)
    expected = np.load(project.results / f"predictions/{name}.npy")
    by_results = load(project.results, trust=True)
    predict = load(bundle_of(project), trust=True)
    of_genome = None if genome is None else project.data / genome
    for function in (predict, by_results):
        np.testing.assert_array_equal(function(project.data / name, genome=of_genome), expected)
    np.testing.assert_array_equal(predict(str(project.data / name), of_genome), expected)


def test_several_inputs_and_outputs(project: Project, elsewhere: Path) -> None:
    trained(project, SEVERAL, "x.fa")
    expected = {key: np.load(project.results / f"predictions/x.fa.{key}.npy") for key in ("sum", "first")}
    predict = load(bundle_of(project), trust=True)
    found = predict(project.data / "x.fa")
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
    x = {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 2), np.float32)}
    assert predict(x)["sum"].shape == (2, 1)
    with pytest.raises(
        DataError, match=r"x has a \(N, 3\), b \(N, 3\); the model was trained on a .*\(N, 2\)"
    ):
        predict({"a": x["a"], "b": x["a"]})
    with pytest.raises(DataError, match="the model was trained on"):
        predict(x["a"])


AVERAGED = """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""

DECLARED = """
from helixband.hparams import Hparams, hparam


class hparams(Hparams):
    lr: float = hparam(0.01, "learning rate")
    units: int = hparam(6, "units")


del get_config
"""


@pytest.mark.parametrize(
    ("extra", "flags"),
    [
        (AVERAGED, (*SHORT, "--with", "ema_decay=0.9")),
        ("", ("--hyper", "--epoch", "3", "--trials", "3")),
        (DECLARED, ("--epoch", "1", "--units", "5")),
    ],
    ids=["averaged weights", "search", "declared hyperparameters"],
)
def test_the_best_model_of_any_training(
    project: Project, elsewhere: Path, extra: str, flags: tuple[str, ...]
) -> None:
    project.define(extra)
    write_data(project.data)
    run = project.run(*flags, "--predict", "x.fa")
    assert run.code == 0, run.err
    expected = np.load(project.results / "predictions/x.fa.npy")
    predict = load(bundle_of(project), trust=True)
    np.testing.assert_array_equal(predict(project.data / "x.fa"), expected)


def test_threads_take_turns(project: Project, elsewhere: Path) -> None:
    trained(project, SEQUENCES, "long.fa")
    predict = load(bundle_of(project), trust=True)
    inputs = [[letters(seed, 8)] * (1 + seed) for seed in range(6)]
    expected = [predict(one) for one in inputs]
    with ThreadPoolExecutor(3) as pool:
        for found, right in zip(pool.map(predict, inputs), expected, strict=True):
            np.testing.assert_array_equal(found, right)


def test_a_copy_of_the_definition_that_was_changed_is_refused(project: Project, elsewhere: Path) -> None:
    trained(project, "", "x.fa")
    with open(project.results / "def.py", "a") as file:
        file.write("\n# another line\n")
    with pytest.raises(StorageError, match=r"def.py was changed after it was written"):
        load(project.results, trust=True)


def test_save_prediction_is_not_called(
    project: Project, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = elsewhere / "saved.npy"
    monkeypatch.setenv("SAVED", str(saved))
    trained(project, SEQUENCES + SAVING, "long.fa")
    expected = np.load(saved)
    saved.unlink()
    predict = load(bundle_of(project), trust=True)
    np.testing.assert_array_equal(predict(project.data / "long.fa"), expected)
    assert not saved.exists()


def test_sequences_arrays_and_generators_of_them(project: Project, elsewhere: Path) -> None:
    trained(project, SEQUENCES, "long.fa")
    predict = load(bundle_of(project), trust=True)
    sequences = [letters(n, 8) for n in range(5)]
    (project.data / "five.fa").write_text("".join(f">s{n}\n{one}\n" for n, one in enumerate(sequences)))
    expected = predict(project.data / "five.fa")
    codes = np.array([["ACGT".index(letter) for letter in one] for one in sequences], np.uint8)
    assert expected.shape == (5, 1)
    assert len({float(value) for value in expected[:, 0]}) == 5
    np.testing.assert_array_equal(predict(sequences), expected)
    np.testing.assert_array_equal(predict(sequences), expected)
    np.testing.assert_array_equal(predict(tuple(sequences)), expected)
    np.testing.assert_array_equal(predict(np.array(sequences)), expected)
    np.testing.assert_array_equal(predict(codes), expected)
    np.testing.assert_allclose(predict(sequences[3]), expected[3], rtol=1e-6)
    np.testing.assert_array_equal(np.array(list(predict(one for one in sequences))), expected)
    files = list(predict(iter([project.data / "five.fa", codes])))
    np.testing.assert_array_equal(np.array(files), np.array([expected, expected]))
    assert list(elsewhere.iterdir()) == []


def test_random_numbers_of_the_process_are_left_alone(project: Project, elsewhere: Path) -> None:
    trained(project, "", "x.fa")
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    predict = load(project.results, trust=True)
    predict(["ACGT"])
    assert np.random.random() == expected


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (["ACGTACGT", "ACGTXCGT"], DataError, "'1'.*'?X"),
        (
            ["ACGTACGT" * 2],
            DataError,
            r"sequence 0 \(from 0\) has 16 letters and gives 2 windows, .* takes 8",
        ),
        (["ACGT", ""], DataError, r"sequence 1 \(from 0\) is ''"),
        ([], DataError, "the inputs are empty"),
        ("nowhere/x.fa", DataError, "there is no file nowhere/x.fa"),
        (Path("missing"), DataError, "there is no file missing"),
        (7, UsageError, "the inputs are a int"),
        (b"ACGT", UsageError, "the inputs are a bytes"),
        (["ACGTACGT", 3], UsageError, "the inputs are texts, and one is a int"),
        (iter(["ACGTACGT", 3]), UsageError, "the inputs are texts, and one is a int"),
        ([1, 2], UsageError, "x.0 is a int; inputs have to be"),
        ({"a": np.zeros((3, 8), np.uint8)}, DataError, r"x has a \(N, 8\)"),
        (np.zeros((0, 8), np.uint8), DataError, "the inputs are empty"),
        (np.zeros((3, 9), np.uint8), DataError, r"x has an array \(N, 9\); .* trained on an array \(N, 8\)"),
        (np.zeros((3, 8, 2), np.uint8), DataError, r"\(N, 8, 2\)"),
        (np.array([[0] * 8, [0, 1, 9] + [0] * 5]), DataError, r"x has 9 in row 1, position 2 .* are 0 to 5"),
        (torch.full((1, 8), -1), DataError, r"x has -1 in row 0, position 0"),
    ],
)
def test_wrong_inputs_are_told(
    project: Project, elsewhere: Path, inputs: Any, error: type[Exception], message: str
) -> None:
    trained(project, SEQUENCES, "long.fa")
    predict = load(bundle_of(project), trust=True)
    with pytest.raises(error, match=message):
        found = predict(inputs)
        list(found)


def test_a_result_directory_takes_windows_of_its_length_alone(project: Project, elsewhere: Path) -> None:
    trained(project, SEQUENCES, "long.fa")
    predict = load(project.results, trust=True)
    assert len(predict(np.zeros((3, 8), np.uint8))) == 3
    with pytest.raises(DataError, match=r"x has an array \(N, 9\); the model takes indexes \(N, 8\)"):
        predict(np.zeros((3, 9), np.uint8))


def test_intervals_need_a_genome(project: Project, elsewhere: Path) -> None:
    trained(project, INTERVALS, "pred.bed")
    predict = load(bundle_of(project), trust=True)
    with pytest.raises(DataError, match="has intervals of a genome: give its FASTA"):
        predict(project.data / "pred.bed")
    with pytest.raises(DataError, match="has sequences itself: leave the genome"):
        predict(project.data / "long.fa", genome=project.data / "genome.fa")


def test_code_runs_with_trust_alone(project: Project, elsewhere: Path) -> None:
    trained(project, "open('ran', 'w').close()", "x.fa")
    out = project.path / "toy"
    export(project.results, out, Options())
    (elsewhere / "ran").unlink()
    (project.path / "ran").unlink(missing_ok=True)
    for place in (out, project.results):
        with pytest.raises(UsageError, match="trust is missing: .* has a def.py, which is run as code"):
            load(place)
    assert main([str(out), str(project.data / "x.fa")]) == 2
    assert not list(elsewhere.iterdir())


def test_an_altered_bundle_is_told_by_its_file(project: Project, elsewhere: Path) -> None:
    (project.path / "helper.py").write_text("VALUE = 1\n")
    trained(project, "import helper\n", "x.fa")
    out = bundle_of(project)
    code = next(out.glob("code-*"))
    assert sorted(file.name for file in code.glob("*.py")) == ["def.py", "helper.py"]
    for name in ("weights.safetensors", f"{code.name}/helper.py", "README.md"):
        copy = project.path / f"copy of {Path(name).name}"
        shutil.copytree(out, copy)
        with open(copy / name, "ab") as file:
            file.write(b"#")
        with pytest.raises(StorageError, match=re.escape(f"{copy / name} was altered")):
            load(copy, trust=True)
        (copy / name).unlink()
        with pytest.raises(StorageError, match=re.escape(f"{copy / name} is missing")):
            load(copy, trust=True)
    (code / "torch.py").write_text("")
    with pytest.raises(StorageError, match=r"torch.py was added after the bundle was made"):
        load(out, trust=True)


def test_a_newer_bundle_or_another_document_is_told(project: Project, elsewhere: Path) -> None:
    trained(project, "", "x.fa")
    out = bundle_of(project)
    file = out / "bundle.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "format": 2, "helixband": "9.1"}))
    with pytest.raises(StorageError, match="has format 2, of Helixband 9.1; this version reads up to 1"):
        load(out, trust=True)
    file.write_text(json.dumps({**document, "config": {"lr": 1}}))
    with pytest.raises(StorageError, match="bundle.json was altered"):
        load(out, trust=True)


def test_a_bundle_is_put_over_a_bundle_alone(project: Project, elsewhere: Path) -> None:
    trained(project, "", "x.fa")
    mine = elsewhere / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is a folder with other things, and no bundle"):
        export(project.results, mine, Options())
    assert os.listdir(mine) == ["thesis.tex"]
    with pytest.raises(UsageError, match="--include nothing.txt: there is no such file"):
        export(project.results, elsewhere / "toy", Options(include=["nothing.txt"]))
    export(project.results, elsewhere / "toy", Options())
    export(project.results, elsewhere / "toy", Options(use="tests"))
    assert "tests" in (elsewhere / "toy/README.md").read_text()
    assert sorted(os.listdir(elsewhere)) == ["mine", "toy"]


HELPED = """
from helper import factor


def get_pred_generator(pred_path):
    import late
    return MatrixBatchGenerator(np.full((2, 3), late.VALUE, np.float32))


class Model(Model):
    def predict_step(self, x):
        return super().predict_step(x) * 0 + factor()
"""


def test_two_bundles_with_modules_of_the_same_names_stay_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    predicts = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        project = Project(tmp_path / str(number), capsys)
        (project.path / "helper.py").write_text(f"def factor():\n    return {number}\n")
        (project.path / "late.py").write_text(f"VALUE = {number}\n")
        trained(project, HELPED, "x.fa")
        predicts.append(load(bundle_of(project), trust=True))
    assert [predict(["A"] * 2).tolist() for predict in predicts] == [[[1], [1]], [[2], [2]]]
    assert [predict(["A"] * 2).tolist() for predict in predicts] == [[[1], [1]], [[2], [2]]]


def test_a_module_that_was_changed_since_the_training_is_told(
    project: Project, tmp_path: Path, elsewhere: Path
) -> None:
    helper = project.path / "helper.py"
    helper.write_text("def factor():\n    return 1\n")
    (project.path / "late.py").write_text("VALUE = 1\n")
    trained(project, HELPED, "x.fa")
    load(project.results, trust=True)
    helper.write_text("def factor():\n    return 2\n")
    with pytest.warns(HelixbandWarning, match=rf"was made with another version of {helper}, which the"):
        load(project.results, trust=True)


READING = """
SHIFT = env("SHIFT", 1.0, float)
import os
SCALE = float(os.environ.get("SCALE", "1"))
TABLE = env("TABLE", (1, 2), lambda text: tuple(map(int, text.split(","))))


class Model(Model):
    def predict_step(self, x):
        return super().predict_step(x) * 0 + SHIFT + SCALE + sum(TABLE) + env("LATE", 0, int)
"""


def test_the_environment_is_as_at_training(
    project: Project, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIFT", "10")
    monkeypatch.setenv("SCALE", "100")
    monkeypatch.setenv("LATE", "1000")
    trained(project, READING, "x.fa")
    out = bundle_of(project)
    monkeypatch.setenv("SHIFT", "5")
    monkeypatch.delenv("SCALE")
    monkeypatch.delenv("LATE")
    assert load(out, trust=True)(["ACGT"]).tolist() == [[1113]]
    assert os.environ["SHIFT"] == "5"
    assert "SCALE" not in os.environ


def test_the_command_writes_the_table_of_predict(
    project: Project, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(project, SEQUENCES, "long.fa")
    expected = project.read("predictions/long.fa.tsv")
    assert main(["export", str(project.results), "toy"]) == 0
    capsys.readouterr()
    assert main(["toy", str(project.data / "long.fa"), "--trust", "--cpu"]) == 0
    assert capsys.readouterr().out == expected


def test_a_module_to_import(project: Project, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(project, "", "x.fa")
    expected = np.load(project.results / "predictions/x.fa.npy")
    export(project.results, "pipelines/toy_of_tests", Options(as_module=True))
    monkeypatch.syspath_prepend(elsewhere / "pipelines")
    import toy_of_tests  # type: ignore[import-not-found]

    np.testing.assert_array_equal(toy_of_tests.predict(project.data / "x.fa"), expected)
    with pytest.raises(UsageError, match="'a-b' is no name of a module"):
        export(project.results, "a-b", Options(as_module=True))


TEXTS = """

def predict_texts(predict, texts):
    counts = predict(np.array([[len(text), 0, 0] for text in texts], np.float32))
    return [{"text": text, "score": float(score[0])} for text, score in zip(texts, counts)]
"""


def test_a_definition_can_read_texts(
    project: Project, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(project, TEXTS, "x.fa")
    out = bundle_of(project)
    predict = load(out, trust=True)
    both = predict(["one text", "another/one.txt"])
    assert [one["text"] for one in both] == ["one text", "another/one.txt"]
    assert predict("one text") == both[0]
    assert list(predict(iter(["one text", "another/one.txt"]))) == both
    (elsewhere / "texts.txt").write_text("one text\nanother/one.txt\n")
    assert predict(elsewhere / "texts.txt") == both
    capsys.readouterr()
    assert main([str(out), "texts.txt", "--trust"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == both


@pytest.mark.parametrize(
    ("extra", "name"), [(SEQUENCES, "long.fa"), (SEVERAL, "x.fa")], ids=["fasta", "several"]
)
def test_an_onnx_bundle_predicts_without_code(
    project: Project, elsewhere: Path, extra: str, name: str
) -> None:
    trained(project, extra + "\nopen('ran', 'w').close()\n", name)
    out = project.path / "toy"
    export(project.results, out, Options(onnx=True))
    (elsewhere / "ran").unlink()
    predict, own = load(out), load(out, trust=True)
    (elsewhere / "ran").unlink()
    if extra == SEQUENCES:
        inputs: Any = [letters(n, 8) for n in range(300)]  # more than the graph gets at once
        np.testing.assert_allclose(predict(inputs), own(inputs), atol=1e-4)
        path = project.data / name
        np.testing.assert_allclose(predict(path), own(path), atol=1e-4)
        np.testing.assert_allclose(predict(inputs[:1]), own(inputs[:1]), atol=1e-4)
    else:
        x = {"a": np.ones((7, 3), np.float32), "b": np.ones((7, 2), np.float32)}
        found, right = predict(x), own(x)
        assert found.keys() == right.keys()
        for key in right:
            np.testing.assert_allclose(found[key], right[key], atol=1e-4)
        with pytest.raises(UsageError, match="how files are read is not known"):
            predict(project.data / name)
    assert not (elsewhere / "ran").exists()


UNSUPPORTED = """

class Odd(nn.Module):
    def forward(self, x):
        return x + torch.linalg.eigvals(x.T @ x).real.sum()


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), Odd(), nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""


def test_an_operator_that_onnx_lacks_is_told_with_its_layer(project: Project, elsewhere: Path) -> None:
    trained(project, UNSUPPORTED, "x.fa")
    with pytest.raises(DefinitionError, match=r"layer 1 \(Odd\) has what ONNX cannot express"):
        export(project.results, "toy", Options(onnx=True))
    assert os.listdir(elsewhere) == []
