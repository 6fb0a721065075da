"""Predictions as a table: a line a window, tab-separated, with a line of titles."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DefinitionError
from helixband.files import writing_whole
from helixband.outputs.rows import Regions, RegionsOf, Rows, Windows


class Table:
    """A table: name, start, end (0-based, end-exclusive), strand and scores, of y_pred (N,) or (N, k)."""

    name = "tsv"
    for_scores = True
    may_be_skipped = True
    for_positions = True

    def check_installed(self) -> None:
        """Nothing else is needed."""

    def suffixes(self, arrays: Mapping[str, Rows]) -> list[str]:
        return [".tsv"] if "" in arrays and len(arrays[""].shape) <= 2 else []

    def write(self, paths: list[Path], arrays: Mapping[str, Rows], windows: Windows) -> None:
        for path in paths:
            write_table(path, arrays[""], windows.regions)


def check_real(y_pred: NDArray[Any], otherwise: str = "") -> None:
    """Raise `DefinitionError` where scores are complex; `otherwise`: what else than other scores would do."""
    if y_pred.dtype.kind == "c":
        raise DefinitionError(
            f"y_pred is {y_pred.dtype}, and tables and tracks of scores have real numbers: {otherwise}have "
            "the model give real numbers, as y_pred.abs(), or torch.view_as_real(y_pred)"
        )


def write_table(path: Path, scores: Rows, regions: RegionsOf) -> None:
    """Write name, start, end (0-based, end-exclusive), strand and the scores, (N,) or (N, k)."""
    with writing_whole(path) as file:
        file.write(titles(scores.shape).encode())
        for first, last in scores.blocks():
            file.write(lines(regions(first, last), scores.read(first, last)).encode())


def titles(shape: tuple[int, ...]) -> str:
    """The first line of a table of scores of this shape.

    >>> titles((5, 2))
    'name\\tstart\\tend\\tstrand\\tscore_0\\tscore_1\\n'
    """
    columns = int(np.prod(shape[1:], dtype=np.int64))
    scores = ["score"] if columns == 1 else [f"score_{column}" for column in range(columns)]
    return "\t".join(["name", "start", "end", "strand", *scores]) + "\n"


def lines(regions: Regions, scores: NDArray[Any]) -> str:
    """The lines of windows with their scores, (N,) or (N, k), to six significant digits.

    >>> lines((["chr1"], np.array([10]), np.array([14]), ["+"]), np.array([1 / 3]))
    'chr1\\t10\\t14\\t+\\t0.333333\\n'
    """
    names, starts, ends, strands = regions
    columns = scores.reshape(len(names), -1).T.tolist()
    line = "%s\t%d\t%d\t%s" + "\t%.6g" * len(columns) + "\n"
    rows = zip(names, starts.tolist(), ends.tolist(), strands, *columns, strict=True)
    return "".join([line % row for row in rows])
