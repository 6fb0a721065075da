"""A genome's prediction that several runs made, each on chromosomes of its own, put together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project
from test_sequence_runs import DEFINITION, sequences, write

from helixband.errors import DataError, UsageError
from helixband.outputs.merging import merge_predictions

OF_WINDOWS = (
    DEFINITION
    + """

class Model(Model):
    def init_model(self):
        super().init_model()
        self.network.insert(4, nn.Dropout(0.5))


def get_pred_generator(pred_path):
    return FastaBatchGenerator(pred_path, window=20, stride=3, incomplete="drop")
"""
)
GENOME = {"chr1": 301, "small1": 30, "small2": 41, "chr2": 222}


@pytest.fixture
def split(project: Project) -> Project:
    """A definition of windows, and a genome of two large records and two small ones."""
    project.definition.write_text(OF_WINDOWS)
    source = np.random.default_rng(0)
    text = "".join(f">{name}\n{''.join(source.choice(list('ACGT'), n))}\n" for name, n in GENOME.items())
    (project.data / "g.fa").write_text(text)
    for seed, name in enumerate(("train", "test")):
        write(project.data / name, sequences(24, seed))
    return project


def predict(project: Project, name: str, *flags: str) -> Path:
    result = project.path / name
    run = project.run(
        "--epoch", "1", "--batch-size", "16", "--predict", "g.fa", "--result", str(result), *flags
    )
    assert run.code == 0, run.err
    return result


def parts_of(project: Project, *chromosomes: str) -> list[Path]:
    return [predict(project, f"part-{names}", "--chromosomes", names) for names in chromosomes]


@pytest.mark.parametrize("flags", [[], ["--mc-dropout", "2"]], ids=["plain", "dropout"])
def test_parts_are_merged_to_what_one_run_writes(flags: list[str], split: Project) -> None:
    whole = predict(split, "whole", *flags)
    names = ["chr2", "small2,small1", "chr1"]
    parts = [predict(split, f"part{n}", "--chromosomes", each, *flags) for n, each in enumerate(names)]
    merged = merge_predictions(parts, "g.fa", split.path / "merged")
    expected = {"g.fa.npy", "g.fa.tsv"} | ({"g.fa.std.npy"} if flags else set())
    assert {path.name for path in merged} == expected
    for path in merged:
        assert path.read_bytes() == (whole / "predictions" / path.name).read_bytes()


def test_what_is_missing_or_there_twice_is_told(split: Project) -> None:
    chr1, others, again = parts_of(split, "chr1", "small1,small2", "chr1,chr2")
    with pytest.raises(DataError, match=r"the windows \[106, 174\) are in none of the parts"):
        merge_predictions([chr1, others], "g.fa", split.path / "merged")
    with pytest.raises(DataError, match=r"the windows \[0, 94\) of .* are in another part too"):
        merge_predictions([chr1, others, again], "g.fa", split.path / "merged")
    assert not (split.path / "merged").exists()


def test_parts_of_other_models_are_refused(split: Project) -> None:
    [chr1] = parts_of(split, "chr1")
    other = predict(split, "other", "--chromosomes", "small1,small2,chr2", "--seed", "1")
    with pytest.raises(DataError, match="are not parts of one prediction: they differ in .*weights"):
        merge_predictions([chr1, other], "g.fa", split.path / "merged")


def test_a_run_without_parts_is_refused(split: Project) -> None:
    whole = predict(split, "whole")
    with pytest.raises(UsageError, match="has no finished predictions with --chromosomes on the input g.fa"):
        merge_predictions([whole], "g.fa", split.path / "merged")
    with pytest.raises(UsageError, match="has no finished predictions"):
        merge_predictions([whole], "none.fa", split.path / "merged")


def test_the_record_says_which_windows_a_run_has(split: Project) -> None:
    [part] = parts_of(split, "small1,chr2")
    record: dict[str, Any] = json.loads((part / "predictions" / "g.fa.record.json").read_text())
    assert record["part"] == {"windows": [[94, 98], [106, 174]], "of": 174}
