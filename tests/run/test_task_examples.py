"""The examples of tasks, on a tenth of their data, as their READMEs have them."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, Project

SIZES = {  # a tenth of the default
    "gene_annotation": ["--sequences", "100"],
    "multi_task_regression": ["--sequences", "400"],
    "denoising_autoencoder": ["--sequences", "200"],
    "profiles": ["--sites", "40"],
}
BETTER_THAN_CHANCE = {
    "gene_annotation": lambda found: found["accuracy"] > 0.6,  # outside of genes is half
    "multi_task_regression": lambda found: found["pearson"] > 0.2,
    "denoising_autoencoder": lambda found: found["accuracy_mask"] > 0.4,
    "profiles": lambda found: found["jensen_shannon"] < found["jensen_shannon_shuffled"],
}


@pytest.mark.parametrize("name", SIZES)
def test_an_example_learns_as_its_readme_has_it(name: str, project: Project) -> None:
    if name == "profiles":
        pytest.importorskip("pybigtools")
    example = ROOT / "examples" / name
    make = [sys.executable, example / "make_data.py", "--out", project.data, *SIZES[name]]
    subprocess.run(make, check=True, capture_output=True)
    done = project.run("--model", str(example / "def.py"), "--epoch", "4", "--batch-size", "16", "--eval")
    assert done.code == 0, done.err
    found = project.json("test_result.json")
    assert BETTER_THAN_CHANCE[name](found), found


def test_the_autoencoder_predicts_sequences_as_they_are(project: Project) -> None:
    example = ROOT / "examples/denoising_autoencoder"
    subprocess.run(
        [sys.executable, example / "make_data.py", "--out", project.data, "--sequences", "80"], check=True
    )
    flags = ["--epoch", "1", "--batch-size", "16", "--predict", "test.fa"]
    done = project.run("--model", str(example / "def.py"), *flags)
    assert done.code == 0, done.err
    assert np.load(project.results / "predictions/test.fa.npy").shape == (10, 4, 120)
