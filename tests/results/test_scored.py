"""The labels and predictions of a test set, as they are kept for the report."""

from pathlib import Path

import numpy as np
import pytest

from helixband.errors import StorageError
from helixband.results import scored
from helixband.results.scored import read_scored, reason_to_leave_out, write_scored


def test_labels_and_predictions_come_back_with_their_names(tmp_path: Path) -> None:
    true, predicted = np.array([0, 2], np.int64), np.array([[0.5, 0.25, 0.25], [0, 0, 1]], np.float32)
    write_scored(tmp_path / "x.npz", true, predicted, ("é", "b", "c"), "classes")
    found = read_scored(tmp_path / "x.npz")
    assert (found.names, found.kind) == (("é", "b", "c"), "classes")
    assert found.true[""].tolist() == [0, 2]
    assert found.predicted[""].dtype == np.float32
    assert found.predicted[""].tolist() == predicted.tolist()


def test_parts_have_their_paths_and_missing_labels_stay_missing(tmp_path: Path) -> None:
    true = {"height": np.array([1.0, np.nan])}
    predicted = {"height": np.array([1.0, 2.0]), "pair": (np.zeros((2, 3)), np.ones((2, 4, 5)))}
    write_scored(tmp_path / "x.npz", true, predicted, (), "")
    found = read_scored(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.true[".height"], [1.0, np.nan])
    assert {name: part.shape for name, part in found.predicted.items()} == {
        ".height": (2,),
        ".pair.0": (2, 3),
        ".pair.1": (2, 4, 5),
    }
    with np.load(tmp_path / "x.npz") as archive:
        assert sorted(archive) == ["y_pred.height", "y_pred.pair.0", "y_pred.pair.1", "y_true.height"]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_scored(tmp_path / name, np.zeros(3), np.ones(3), (), "numbers")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_not_kept_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    few, text = np.zeros(4, np.float32), np.array(["a"])
    assert reason_to_leave_out(few, {"a": few}) == ""
    assert reason_to_leave_out(text, few) == "y_true is of type <U1"
    assert reason_to_leave_out(few, {"a": (few,), "a.0": few}) == "two parts of y_pred have one name"
    monkeypatch.setattr(scored, "MOST_BYTES", 31)
    assert reason_to_leave_out(few, few) == "they have 32 bytes, and up to 31 are kept"


@pytest.mark.parametrize("damage", ["cut", "flip", "pickle"])
def test_a_file_that_is_damaged_is_told(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "x.npz"
    write_scored(file, np.arange(50.0), np.arange(50.0), (), "numbers")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-40]
    elif damage == "flip":
        content[300] ^= 1
    else:
        with open(file, "wb") as opened:
            np.savez(opened, y_true=np.array([{}], dtype=object))
        content = bytearray(file.read_bytes())
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"cannot read .*x\.npz \(.*delete it, and the next --eval"):
        read_scored(file)
