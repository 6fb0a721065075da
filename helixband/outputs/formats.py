"""The formats that predictions of windows are written in."""

from collections.abc import Collection, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from helixband.errors import DataError
from helixband.outputs import FORMATS
from helixband.outputs.rows import Rows, Windows


class Format(Protocol):
    """A way to write predictions of windows."""

    name: str
    for_scores: bool
    """Whether it can hold only scores of windows: y_pred (N,) or (N, k), and no parts."""
    may_be_skipped: bool
    """Of a format `for_scores`, if y_pred is something else: True: it is skipped without an error if another
    format that was asked for can hold y_pred; its `suffixes` are then []. False: there is always an error."""

    for_positions: bool
    """Whether it can hold numbers along windows, y_pred (N, L)."""

    def check_installed(self) -> None:
        """Raise `HelixbandError` with the remedy where a package that it needs is missing."""
        ...

    def suffixes(self, arrays: Mapping[str, Rows]) -> list[str]:
        """What the names of its files end in, for these arrays by name (y_pred: "")."""
        ...

    def write(self, paths: list[Path], arrays: Mapping[str, Rows], windows: Windows) -> None:
        """Write the arrays, block by block, to a path for each suffix; whole or not at all."""
        ...


def find_formats(names: Collection[str]) -> list[Format]:
    """The formats of these names, in the order of `FORMATS`."""
    return [resolve_name(place)() for name, place in FORMATS.items() if name in names]


def check_formats(
    formats: Collection[Format], dimensions: Mapping[str, int], lies_along: bool = False
) -> None:
    """Raise `DataError` where a format asked for cannot hold arrays of so many dimensions, by name.

    `lies_along`: y_pred, (N, L), has numbers along its windows, of bases or of bins.
    """
    if lies_along and (unable := [format for format in formats if not format.for_positions]):
        able = [name for name, place in FORMATS.items() if resolve_name(place).for_positions]
        raise DataError(
            f"{unable[0].name} has scores of whole windows, and y_pred lies along them: it has a column for "
            "each base, or columns that see one end of a window alone, which would be a track each: ask for "
            f"{' or '.join(able)}. If these are scores, give the model an other_strand(self, y_pred, turned) "
            "that returns y_pred"
        )
    if dimensions.get("", 3) <= 2:
        return
    unable = [format for format in formats if format.for_scores]
    if unable and (len(unable) == len(formats) or not all(format.may_be_skipped for format in unable)):
        named = next((format for format in unable if not format.may_be_skipped), unable[0])
        able = [name for name, place in FORMATS.items() if not resolve_name(place).for_scores]
        what = f"{dimensions['']} dimensions" if "" in dimensions else f"the parts {', '.join(dimensions)}"
        raise DataError(
            f"{named.name} has one or more scores for each window, y_pred (N,) or (N, k), and y_pred has "
            f"{what}; ask for {' or '.join(able)}"
        )
