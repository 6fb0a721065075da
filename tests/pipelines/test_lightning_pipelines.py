"""Bundles of LightningModules, and the example that parses citations."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Project

pytest.importorskip("lightning")

from interop.projects import made, run
from interop.shared_modules import BOTH, COMMON

from helixband.errors import DataError, UsageError
from helixband.pipelines import load
from helixband.pipelines.exporting import Options, export

MODULE = COMMON.replace("{package}", "lightning")


@pytest.mark.parametrize("as_classes", [False, True])
def test_a_lightning_module_predicts_as_it_did(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_classes: bool
) -> None:
    (project.data / "x.txt").write_text("1 2 3\n4 5 6\n7 8 9\n")
    flags = ["--epoch", "1", "--predict", "x.txt"]
    if as_classes:
        (tmp_path / "module.py").write_text(MODULE)
        (tmp_path / "data.py").write_text("from module import Data as Rows\n")
        flags += ["--model", f"{tmp_path}/module.py:Lit,{tmp_path}/data.py:Rows", "--set", "lr=0.1"]
    else:
        project.definition.write_text(MODULE + BOTH)
    done = project.run(*flags)
    assert done.code == 0, done.err
    expected = np.load(project.results / "predictions/x.txt.npy")
    out = tmp_path / "toy"
    export(project.results, out, Options())
    project.results.rename(tmp_path / "moved")
    for file in tmp_path.glob("*.py"):
        file.unlink()
    monkeypatch.chdir("/")
    predict = load(out, trust=True, cpu=True)
    np.testing.assert_array_equal(predict(project.data / "x.txt"), expected)
    np.testing.assert_allclose(predict((np.array([[1, 2, 3]], np.float32),)), expected[:1], rtol=1e-6)
    with pytest.raises(DataError, match=r"x has 2 examples and gave 1 prediction; .* takes a batch as its"):
        predict(np.ones((2, 3), np.float32))  # of which predict_step takes the first row for x


def test_a_graph_of_a_module_is_that_of_its_predict_step(project: Project, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    (project.data / "x.txt").write_text("1 2 3\n4 5 6\n7 8 9\n")
    project.definition.write_text(
        f"{MODULE}{BOTH}\nLit.predict_step = lambda self, batch, index: 2 * self(batch[0])\n"
    )
    assert project.run("--epoch", "1", "--predict", "x.txt").code == 0
    out = tmp_path / "toy"
    export(project.results, out, Options(onnx=True))
    found = load(out)(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32))
    np.testing.assert_allclose(found, np.load(project.results / "predictions/x.txt.npy"), atol=1e-4)


def test_a_module_without_an_input_of_predict_step_has_no_graph(project: Project, tmp_path: Path) -> None:
    project.definition.write_text(MODULE + BOTH)
    assert project.run("--epoch", "1").code == 0
    with pytest.raises(UsageError, match="there is none of an earlier --predict; give --inputs FILE"):
        export(project.results, tmp_path / "toy", Options(onnx=True))


def test_the_example_parses_citations(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "torchmetrics", "matplotlib"):
        pytest.importorskip(package)
    example = ROOT / "examples/citation_parser"
    make = [sys.executable, example / "make_data.py", "--folder", project.path, "--citations", "400"]
    subprocess.run(make, check=True, capture_output=True)
    for name in ("def.py", "citations.py"):
        (project.path / name).write_text((example / name).read_text())
    monkeypatch.chdir(project.path)
    done = project.run("--epoch", "2", "--batch-size", "16", "--eval")
    assert done.code == 0, done.err
    found = project.json("test_result.json")
    assert found["test/micro_f1"] > 0.8
    assert 0.5 < found["test/macro_f1"] < found["test/micro_f1"]
    assert (project.path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    out = project.path / "parser"
    export(project.results, out, Options(include=["encoder"]))
    (project.path / "encoder").rename(project.path / "moved")
    text = "Vaswani A. et al. 2017. Attention is all you need."
    parsed = load(out, trust=True, cpu=True)(text)
    assert parsed["tokens"][:4] == ["Vaswani", "A", ".", "et"]
    assert len(parsed["tags"]) == len(parsed["tokens"])
    assert parsed["tags"][0] == "author"
    assert "<author>Vaswani" in parsed["tagged"]
    assert json.loads(json.dumps(parsed)) == parsed


def exported(folder: Path, name: str, more: str = "") -> tuple[Path, Path, np.ndarray]:
    """The bundle of an experiment in YAML, an input, and what --predict gave for it; the project is gone."""
    place = made(folder, name=name)
    module = place / "src" / "model.py"
    module.write_text(module.read_text() + more)
    words = ["configs/train.yaml", "trainer.max_epochs=1", "logger=csv", "--train", "--predict", "bars.npz"]
    run(place, "-m", "helixband", "--experiment", *words)
    run(folder, "-m", "helixband.pipelines", "export", f"{name}/results", f"{name}_bundle")
    expected = np.load(place / "results/predictions/bars.npz.npy")
    inputs = (place / "data/bars.npz").rename(folder / f"{name}.npz")
    shutil.rmtree(place)
    return folder / f"{name}_bundle", inputs, expected


def test_bundles_of_experiments_have_the_modules_of_their_targets_and_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROJECT_ROOT", raising=False)
    halves = "\n\nBarModule.predict_step = lambda self, batch, index: self(batch[0]) / 2\n"
    bundles = [exported(tmp_path, "first"), exported(tmp_path, "second", halves)]
    modules, paths = set(sys.modules), list(sys.path)
    predict = [load(bundle, trust=True, cpu=True) for bundle, _, _ in bundles]
    for _ in range(2):  # a second time: nothing was written to them
        for one, (bundle, inputs, expected) in zip(predict, bundles, strict=True):
            np.testing.assert_array_equal(one(inputs), expected)
            np.testing.assert_array_equal(load(bundle, trust=True, cpu=True)(inputs), expected)
    assert "PROJECT_ROOT" not in os.environ
    assert [place for place in sys.path if str(tmp_path) in place and place not in paths] == [
        str(bundle / next(bundle.glob("code-*"))) for bundle, _, _ in bundles
    ]
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "src":
            del sys.modules[name]
