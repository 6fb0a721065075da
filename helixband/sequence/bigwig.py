"""Values at each base of a genome, from bigWig files (Kent et al. 2010, Bioinformatics 26:2204)."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, HelixbandError
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


def chromosomes(path: Path) -> Intervals:
    """The first base of each chromosome of a bigWig, labelled with its name; raises as `opened`."""
    with opened(path) as track:
        names = list(track.chroms())
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
    there are such, and as `opened`.
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
    found = np.empty((len(windows), int(windows.end[0] - windows.start[0])), np.float32)
    with opened(path) as track:
        for row, (chromosome, start, end) in enumerate(
            zip(windows.chromosome.tolist(), windows.start.tolist(), windows.end.tolist(), strict=True)
        ):
            found[row] = track.values(name_of[chromosome], start, end, fillna=0.0, oob=0.0)
    return found


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
    """The paths of targets that are bigWigs: one, or those of both strands; None of other targets."""
    paths = targets if isinstance(targets, tuple | list) else [targets]
    if len(paths) > 2 or not all(isinstance(path, str) or hasattr(path, "__fspath__") for path in paths):
        return None
    return list(paths) if paths and all(map(is_bigwig, paths)) else None
