"""A checkpoint of every format that there ever was is used and goes on, as the version that wrote it did."""

import csv
import json
import shutil
from pathlib import Path

import make_checkpoint
import numpy as np
import pytest

from helixband.results import checkpoints


def test_the_checkpoints_of_every_format_are_kept() -> None:
    kept = sorted(int(folder.name) for folder in make_checkpoint.FORMATS.iterdir())
    assert kept == list(range(1, checkpoints.FORMAT + 1))


@pytest.mark.parametrize("number", range(1, checkpoints.FORMAT + 1))
def test_a_training_of_every_format_predicts_and_goes_on(tmp_path: Path, number: int) -> None:
    kept = make_checkpoint.FORMATS / str(number)
    shutil.copytree(kept, tmp_path / "results" / "trials" / "single")
    expected = json.loads((kept / "expected.json").read_text())

    make_checkpoint.run(tmp_path, make_checkpoint.EPOCHS[0])
    predictions = np.load(tmp_path / "results" / "predictions" / "def.py.npy")
    make_checkpoint.run(tmp_path, make_checkpoint.EPOCHS[1])

    assert checkpoints.load(kept / "checkpoints" / "last.pt")["format"] == number
    np.testing.assert_allclose(predictions, expected["predictions"], rtol=1e-5)
    table = (tmp_path / "results" / "trials" / "single" / "train_results.csv").read_text()
    rows, of_then = (list(csv.DictReader(lines)) for lines in (table.splitlines(), expected["history"]))
    assert len(rows) == len(of_then) == make_checkpoint.EPOCHS[1]
    for row, then in zip(rows, of_then, strict=True):
        for name in then.keys() - {"seconds"}:
            assert float(row[name]) == pytest.approx(float(then[name]), rel=1e-5)
