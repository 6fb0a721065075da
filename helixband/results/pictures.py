"""Pictures that a model makes of some examples of the test set, kept for the report: `test_pictures.npz`.

An archive of NumPy arrays: `names`, those of the pictures, and of picture k `k.values`, `k.rows`, `k.columns`
and, where it has texts, `k.texts`.
"""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.env import check_name
from helixband.errors import DefinitionError, StorageError, in_one_line
from helixband.files import open_to_read, writing_whole

MOST_CELLS = 1 << 16
"""A picture has so many cells at most."""


class Picture:
    """A table of cells, (R, C), each a shade, and perhaps a text of a letter or a few in it.

    `values`, (R, C): the shade of each cell, 0 is none, 1 the fullest of one colour and −1 of another; NaN is
    no cell. Values beyond 1 are as 1, and those below −1 as −1. `texts`, (R, C): what is written in it.
    `rows` and `columns`: their names.

    Raises `DefinitionError` for another shape of any of these, and for more than 65,536 cells.
    """

    def __init__(
        self,
        values: ArrayLike,
        texts: ArrayLike | None = None,
        rows: Iterable[str] = (),
        columns: Iterable[str] = (),
    ) -> None:
        try:
            self.values: NDArray[np.float32] = np.asarray(values, np.float32)
        except (TypeError, ValueError) as error:
            told = f"the values of a Picture are {in_one_line(values)}; they have to be numbers, (R, C)"
            raise DefinitionError(told) from error
        self.texts: NDArray[np.str_] | None = None if texts is None else np.asarray(texts, np.str_)
        self.rows, self.columns = tuple(map(str, rows)), tuple(map(str, columns))
        if self.values.ndim != 2 or not 0 < self.values.size <= MOST_CELLS:
            raise DefinitionError(
                f"the values of a Picture have the shape {self.values.shape}; they have to be (R, C), of "
                f"up to {MOST_CELLS:,} cells: leave some out"
            )
        texts_shape = self.values.shape if self.texts is None else self.texts.shape
        for name, given, wanted in (
            ("texts", texts_shape, self.values.shape),
            ("rows", len(self.rows) or len(self.values), self.values.shape[0]),
            ("columns", len(self.columns) or self.values.shape[1], self.values.shape[1]),
        ):
            if given != wanted:
                raise DefinitionError(
                    f"a Picture has values of the shape {self.values.shape}, and {name} of {given}; they "
                    f"have to be of {wanted}"
                )


def checked(pictures: Any) -> dict[str, Picture]:
    """What `Model.pictures` returned; raises `DefinitionError` where it is no dict of pictures by names."""
    if not isinstance(pictures, Mapping):
        raise DefinitionError(
            f"pictures returned {in_one_line(pictures)}; it has to return a dict, name to Picture"
        )
    for name, picture in pictures.items():
        if not isinstance(name, str) or not isinstance(picture, Picture):
            raise DefinitionError(
                f"pictures returned {in_one_line(picture)} as {name!r}; it has to be a Picture by its name, "
                "such as Picture(values), of values (R, C)"
            )
        check_name("a picture", name)
    return dict(pictures)


def write_pictures(path: Path, pictures: Mapping[str, Picture]) -> None:
    """Store them, whole or not at all; raises `StorageError` where they cannot be written."""
    arrays: dict[str, Any] = {"names": np.array(list(pictures))}
    for number, picture in enumerate(pictures.values()):
        parts = vars(picture).items()
        arrays |= {f"{number}.{name}": np.array(part) for name, part in parts if part is not None}
    with writing_whole(path) as file:
        save: Any = np.savez_compressed  # whose signature takes any name for that of an option
        save(file, **arrays)


def read_pictures(path: Path) -> dict[str, Picture]:
    """What `write_pictures` stored; raises `StorageError` where it cannot be read."""
    try:
        with open_to_read(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        found = {}
        for number, name in enumerate(arrays["names"].tolist()):
            parts = {part: arrays.get(f"{number}.{part}") for part in ("values", "texts", "rows", "columns")}
            found[str(name)] = Picture(*parts.values())  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, KeyError, EOFError, DefinitionError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"cannot read {path} ({error}); delete it, and the next --eval makes it again"
        ) from error
    return found
