"""Pictures in the result directory: their form, and that they come back as they were written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helixband.errors import DefinitionError, StorageError
from helixband.results.pictures import Picture, checked, read_pictures, write_pictures


def test_pictures_come_back_as_they_were_written(tmp_path: Path) -> None:
    given = {
        "é 1": Picture([[0.5, np.nan], [-1, 2]], [["A", ""], ["·", "CC"]], ["given", "true"], ["1", "2"]),
        "bare": Picture(np.zeros((1, 3))),
    }
    write_pictures(tmp_path / "p.npz", given)
    found = read_pictures(tmp_path / "p.npz")
    assert list(found) == ["é 1", "bare"]
    for name, picture in given.items():
        np.testing.assert_array_equal(found[name].values, picture.values)
        assert (found[name].rows, found[name].columns) == (picture.rows, picture.columns)
    assert found["é 1"].texts is not None and found["é 1"].texts.tolist() == [["A", ""], ["·", "CC"]]
    assert found["bare"].texts is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([np.zeros(3)], r"the shape \(3,\); they have to be \(R, C\)"),
        ([np.zeros((0, 3))], r"the shape \(0, 3\)"),
        ([np.zeros((300, 300))], r"up to 65,536 cells"),
        ([np.zeros((2, 2)), [["A", "B"]]], r"values of the shape \(2, 2\), and texts of \(1, 2\)"),
        ([np.zeros((2, 2)), None, ["a"]], r"rows of 1; they have to be of 2"),
        ([np.zeros((2, 3)), None, [], ["a", "b"]], r"columns of 2; they have to be of 3"),
        ([[["A"]]], r"values of a Picture are \[\['A'\]\]; they have to be numbers"),
    ],
)
def test_a_picture_of_another_shape_is_refused(given: list[Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Picture(*given)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "pictures returned None; it has to return a dict, name to Picture"),
        ({"a": np.zeros((2, 2))}, "as 'a'; it has to be a Picture by its name"),
        ({1: Picture([[1]])}, "as 1; it has to be a Picture by its name"),
    ],
)
def test_what_is_no_pictures_is_refused(returned: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        checked(returned)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(StorageError, match=r"cannot read .*p.npz .* the next --eval makes it again"):
        read_pictures(tmp_path / "p.npz")


def test_a_file_of_other_arrays_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", names=np.array(["a"]))
    with pytest.raises(StorageError, match=r"cannot read .*p.npz"):
        read_pictures(tmp_path / "p.npz")
