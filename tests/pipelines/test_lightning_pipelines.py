"""Bundles of LightningModules, and the example that parses citations."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Project

pytest.importorskip("lightning")

from interop.shared_modules import BOTH, COMMON

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
