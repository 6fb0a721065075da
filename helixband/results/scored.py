"""The labels and predictions of the test set, kept for the report: `test_predictions.npz`.

An archive of NumPy arrays, with examples along the first dimension: `y_true` and `y_pred`, or of a dict or
tuple its parts, as `y_pred.<key>`; `names`, those of the classes, labels or outputs, where they are known;
`kind`, "classes", "labels" (several an example) or "numbers", where the model tells.

Of the scores in `test_result.json`, those on the examples unlike the training set have a head of their own.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.env import check_name
from helixband.errors import StorageError
from helixband.files import open_to_read, writing_whole
from helixband.nested import named_leaves

MOST_BYTES = 1 << 27
"""Larger labels and predictions are not kept."""

UNLIKE = "unlike_"
"""The head of scores on the examples unlike the training set, and of `unlike_examples`, their number."""

TRUE, PREDICTED = "y_true", "y_pred"

Arrays = dict[str, NDArray[Any]]


def without_unlike(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores on the test set, and those on its examples unlike the training set, without their head.

    Where the number of these is not there, a definition has called a metric so.

    >>> without_unlike({"auroc": 0.9, "unlike_examples": 7, "unlike_auroc": 0.8})
    ({'auroc': 0.9}, {'examples': 7, 'auroc': 0.8})
    >>> without_unlike({"unlike_auroc": 0.8})
    ({'unlike_auroc': 0.8}, {})
    """
    if f"{UNLIKE}examples" not in result:
        return dict(result), {}
    whole = {name: value for name, value in result.items() if not name.startswith(UNLIKE)}
    return whole, {name.removeprefix(UNLIKE): result[name] for name in result if name not in whole}


@dataclass(frozen=True)
class ScoredSet:
    """Labels and predictions of N examples, each array (N, …), by the names of their parts ("" of one)."""

    true: Arrays
    predicted: Arrays
    names: tuple[str, ...] = ()
    kind: str = ""


def reason_to_leave_out(y_true: Any, y_pred: Any) -> str:
    """Why labels and predictions, arrays (N, …) or nested ones, cannot be kept; "" where they can.

    Raises `DefinitionError` for a part whose name has a credential.
    """
    total = 0
    for name, nested in ((TRUE, y_true), (PREDICTED, y_pred)):
        parts = [key for key, _ in named_leaves(nested)]
        for key in parts:
            check_name(f"a part of {name}", key)
        if len(set(parts)) < len(parts):
            return f"two parts of {name} have one name"
        for key, leaf in named_leaves(nested):
            if leaf.dtype.kind not in "biuf":
                return f"{name}{key} is of type {leaf.dtype}"
            total += leaf.nbytes
    if total > MOST_BYTES:
        return f"they have {total:,} bytes, and up to {MOST_BYTES:,} are kept"
    return ""


def write_scored(path: Path, y_true: Any, y_pred: Any, names: tuple[str, ...], kind: str) -> None:
    """Store them, whole or not at all; raises `StorageError` where they cannot be written."""
    arrays: Arrays = {
        f"{name}{key}": leaf
        for name, nested in ((TRUE, y_true), (PREDICTED, y_pred))
        for key, leaf in named_leaves(nested)
    }
    arrays |= {"kind": np.array(kind)} if kind else {}
    arrays |= {"names": np.array(names)} if names else {}
    with writing_whole(path) as file:
        save: Any = np.savez  # whose signature takes any name for that of an option
        save(file, **arrays)


def read_scored(path: Path) -> ScoredSet:
    """What `write_scored` stored; raises `StorageError` where it cannot be read."""
    try:
        with open_to_read(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"cannot read {path} ({error}); delete it, and the next --eval makes it again"
        ) from error
    parts = {
        name: {key.removeprefix(name): array for key, array in arrays.items() if key.startswith(name)}
        for name in (TRUE, PREDICTED)
    }
    names = tuple(map(str, arrays.get("names", np.array([]))))
    return ScoredSet(parts[TRUE], parts[PREDICTED], names, str(arrays.get("kind", "")))
