"""Writing predictions: an array, and for inputs whose records have names a table."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.files import write_whole
from helixband.results import Results
from helixband.sequence.fasta import is_fasta, read_fasta


def input_name(path: str, data_dir: str) -> str:
    """The name of an input in the result directory: its path under the data directory, or its file name."""
    relative = os.path.relpath(path, data_dir)
    outside = relative == os.curdir or relative.split(os.sep)[0] == os.pardir
    return os.path.basename(os.path.abspath(path)) if outside else relative


def write_predictions(results: Results, name: str, path: str, y_pred: Any, spread: Any = None) -> list[Path]:
    """Write y_pred, (N, …) or a dict or tuple of such, of the input at `path`; the files written.

    `<name>.npy` has the array, of a dict or tuple `<name>.<key>.npy` one part; `<name>.std.npy` the `spread`,
    where there is one.
    For a FASTA input with as many records as predictions, `<name>.tsv` has name, start, end (0-based,
    end-exclusive), strand and the scores.
    """
    written = []
    for suffix, array in _arrays(y_pred, spread):
        written.append(results.prediction(name, f"{suffix}.npy"))
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_whole(written[-1], buffer.getbuffer())
    if is_fasta(path) and isinstance(y_pred, np.ndarray) and y_pred.ndim <= 2:
        names, sequences = read_fasta(path)
        if len(names) == len(y_pred):
            written.append(results.prediction(name, ".tsv"))
            write_whole(written[-1], _table(names, [len(sequence) for sequence in sequences], y_pred))
    return written


def _arrays(y_pred: Any, spread: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for suffix, part in (("", y_pred), (".std", spread)):
        yield from ((f"{key}{suffix}", array) for key, array in _named_leaves(part))


def _named_leaves(nested: Any, name: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(nested, dict | tuple | list):
        for key, part in nested.items() if isinstance(nested, dict) else enumerate(nested):
            yield from _named_leaves(part, f"{name}.{key}")
    elif nested is not None:
        yield name, nested


def _table(names: list[str], lengths: list[int], y_pred: NDArray[Any]) -> str:
    scores = y_pred.reshape(len(names), -1)
    titles = ["score"] if scores.shape[1] == 1 else [f"score_{k}" for k in range(scores.shape[1])]
    lines = ["\t".join(["name", "start", "end", "strand", *titles])]
    for name, length, row in zip(names, lengths, scores.tolist(), strict=True):
        lines.append("\t".join([name, "0", str(length), "+", *(f"{score:.6g}" for score in row)]))
    return "\n".join(lines) + "\n"
