"""Values at each base of a genome, from bigWig files (Kent et al. 2010, Bioinformatics 26:2204)."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, HelixbandError, in_one_line
from helixband.sequence.chromosomes import on_genome
from helixband.sequence.intervals import Intervals
from helixband.sequence.reading import Path, shown_names

SUFFIXES = (".bw", ".bigwig")


def is_bigwig(path: Any) -> bool:
    """Whether a path has the name of a bigWig."""
    return str(path).lower().endswith(SUFFIXES)


@contextlib.contextmanager
def opened(path: Path, otherwise: str = "") -> Iterator[Any]:
    """A bigWig, open for reading; raises `DataError` for what is none.

    Raises `HelixbandError` where pybigtools, an extra, is not installed; it may say what to do `otherwise`.
    """
    try:
        import pybigtools
    except ModuleNotFoundError as error:
        remedy = f"install it with: pip install pybigtools{otherwise}"
        raise HelixbandError(f"bigWig files need pybigtools; {remedy}") from error
    try:
        with pybigtools.open(str(path)) as track:
            yield track
    except (OSError, ValueError, pybigtools.BBIReadError) as error:
        raise DataError(f"{path}: cannot be read as bigWig ({error})") from error


def sizes(path: Path) -> dict[str, int]:
    """How many bases each chromosome of a bigWig has; raises as `opened`."""
    with opened(path) as track:
        return dict(track.chroms())


def chromosomes(path: Path) -> Intervals:
    """The first base of each chromosome of a bigWig, labelled with its name; raises as `opened`."""
    names = list(sizes(path))
    return Intervals.make(names, [0] * len(names), [1] * len(names), labels=names, source=str(path))


def read_windows(
    path: Path,
    windows: Intervals,
    lengths: NDArray[np.integer],
    aliases: Mapping[str, str] | Path | None = None,
    genome: str = "the genome",
) -> NDArray[np.float32]:
    """The value at each base of windows of one length, (N, L); 0 where the bigWig has none.

    `windows`: on the records of the genome, whose `lengths` are (R,); they may leave them. `aliases`: as of
    `on_genome`, of the bigWig's names. `genome` is the file that messages name.

    Raises `DataError` for a chromosome that the bigWig does not have, with the aliases that would help where
    there are such; for one that is longer or shorter there; for a value that is infinite; and as `opened`.
    """
    own = chromosomes(path)
    placed = on_genome(own, windows.names, lengths, aliases, genome=genome, missing="drop")
    name_of = dict(zip(placed.chromosome.tolist(), placed.label.tolist(), strict=True))
    missing = [number for number in np.unique(windows.chromosome).tolist() if number not in name_of]
    if missing:
        raise DataError(
            f"{path} does not have the chromosome {windows.names[missing[0]]!r} of {genome}, and "
            f"{(windows.chromosome == missing[0]).sum()} windows are on it; it has {shown_names(own.names)}. "
            "Leave these windows out, or take a bigWig of the whole genome"
        )
    _check_sizes(path, name_of, windows, lengths, genome)
    found = np.empty((len(windows), int(windows.end[0] - windows.start[0])), np.float32)
    with opened(path) as track:
        for row, (chromosome, start, end) in enumerate(
            zip(windows.chromosome.tolist(), windows.start.tolist(), windows.end.tolist(), strict=True)
        ):
            found[row] = track.values(name_of[chromosome], start, end, fillna=0.0, oob=0.0)
    _check_finite(path, found, windows)
    return found


def _check_sizes(
    path: Path, name_of: Mapping[int, str], windows: Intervals, lengths: NDArray[np.integer], genome: str
) -> None:
    """Raise `DataError` for a chromosome of windows, `name_of` it in the bigWig, of another length there."""
    own = sizes(path)
    for number in np.unique(windows.chromosome).tolist():
        if own[name_of[number]] != lengths[number]:
            raise DataError(
                f"{path} has {own[name_of[number]]:,} bases in the chromosome {name_of[number]!r}, and "
                f"{genome} has {lengths[number]:,}: they are of different assemblies. Take a bigWig of the "
                "genome's own"
            )


def _check_finite(path: Path, found: NDArray[np.float32], windows: Intervals) -> None:
    """Raise `DataError` for an infinite value in windows, (N, L)."""
    wrong = ~np.isfinite(found)
    if wrong.any():
        row, place = np.argwhere(wrong)[0].tolist()
        base = f"{windows.names[windows.chromosome[row]]} {windows.start[row] + place}"
        raise DataError(
            f"{path} has the value {found[row, place]:g} at {base} (0-based); correct the file, or leave out "
            "the windows there"
        )


def profiles(
    found: NDArray[Any], margin: int, shifts: NDArray[np.integer], reverse: NDArray[np.bool_]
) -> NDArray[Any]:
    """Of values (N, …, L + 2 · margin) around windows, those of the windows (N, …, L), shifted and turned.

    Of the reverse strand the bases are last to first, and of two tracks (N, 2, …) the second is first.

    >>> found = np.array([[1, 2, 3, 4], [1, 2, 3, 4]])
    >>> profiles(found, 1, np.array([0, 1]), np.array([False, True])).tolist()
    [[2, 3], [4, 3]]
    """
    length = found.shape[-1] - 2 * margin
    places = margin + shifts[:, None] + np.arange(length)
    places = places.reshape(len(found), *[1] * (found.ndim - 2), length)
    moved = np.take_along_axis(found, np.broadcast_to(places, (*found.shape[:-1], length)), -1)
    turned = moved[..., ::-1] if moved.ndim == 2 else moved[:, ::-1, ::-1]
    return np.where(reverse.reshape(-1, *[1] * (found.ndim - 1)), turned, moved)


def as_tracks(targets: Any) -> Sequence[Path] | None:
    """The paths of targets that are bigWigs: one, or those of both strands; None of other targets.

    Raises `DataError` for more than two, and for a bigWig beside something else.
    """
    paths = list(targets) if isinstance(targets, tuple | list) else [targets]
    tracks = [path for path in paths if isinstance(path, str | os.PathLike) and is_bigwig(path)]
    if tracks and (len(tracks) < len(paths) or len(paths) > 2):
        raise DataError(
            f"the targets are {in_one_line(targets)}; bigWigs as targets are one path, or a pair of them, of "
            "the + and the − strand"
        )
    return tracks or None
