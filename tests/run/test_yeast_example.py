"""The example on a genome and its peaks, from the making of its data to a prediction."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT, Project

EXAMPLE = ROOT / "examples/yeast_tf"
CONFIG = "lr=0.02 weight_decay=0.05 motifs=16 width=8 hidden=0.1 dropout=0.1".split()


def test_the_example_runs_as_its_readme_has_it(project: Project) -> None:
    subprocess.run([sys.executable, EXAMPLE / "make_data.py", "--out", project.data], check=True)
    settings = [part for value in CONFIG for part in ("--set", value)]
    flags = ["--check", "--eval", "--epoch", "2", "--predict", "genome.fa", "--both-strands", *settings]
    done = project.run(*flags, "--model", str(EXAMPLE / "def.py"))
    assert done.code == 0, done.err
    audit = project.json("audit.json")
    assert (audit["n_train"], audit["n_test"]) == (960, 240)  # 60 peaks a chromosome, and three windows each
    assert audit["overlapping_intervals"] == 0
    assert set(project.json("test_result.json")) >= {"loss", "auroc", "auprc"}
    rows = project.read("predictions/genome.fa.tsv").splitlines()
    assert rows[1].split("\t")[:4] == ["chr1", "0", "201", "."]
    assert len(rows) == 1 + 6 * -(-150_000 // 201)


def test_its_data_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run([sys.executable, EXAMPLE / "make_data.py", "--out", tmp_path / name], check=True)
    assert (tmp_path / "a/genome.fa").read_bytes() == (tmp_path / "b/genome.fa").read_bytes()
    first = (tmp_path / "a/peaks.bed").read_text().splitlines()[0].split("\t")
    assert first[0] == "chr1" and int(first[2]) == int(first[1]) + 1
