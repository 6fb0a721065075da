"""Intervals on a genome: their chromosomes are its records, and each lies within its own.

Files often name one chromosome differently: chr1, 1 and I, or chrM, MT and Mito. `match_names` finds which is
which; nothing is renamed unless the caller asks for it.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.sequence.intervals import Intervals
from helixband.sequence.reading import Path, line_blocks, near_names, shown_name, shown_names

_PREFIX = re.compile(r"^(?:chromosome|chrom|chr)_?(?=.)", re.IGNORECASE)
_ORGANELLES = {
    **dict.fromkeys(("m", "mt", "mito", "mtdna", "mitochondrion", "mitochondrial"), "mitochondrion"),
    **dict.fromkeys(("c", "pt", "chloroplast", "plastid"), "plastid"),
}
_CHANGED_FROM = "0cCmMpP"  # the first letters of names that have another stem: chr, zeros, organelles
_CHROMOSOME = re.compile(r"[0-9]{1,3}[A-Za-z]?|[IVXLCDM]+|[UVWXYZ]")
_UNITS = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
_ROMAN = {"X" * tens + unit: str(10 * tens + ones) for tens in range(4) for ones, unit in enumerate(_UNITS)}
del _ROMAN[""]


def match_names(interval_names: Iterable[str], genome_names: Iterable[str]) -> dict[str, str]:
    """The genome's name of each chromosome that the intervals name differently, as far as it has one.

    A prefix like chr, zeros before a number, the spelling of an organelle, and Roman or Arabic make no
    difference. Letters are Roman where a numeral of several, like II, is on either side. X, a sex chromosome
    in many genomes, is 10 only where IX or XI is too, and not on a side with plain numbers.

    The answer is {} where two names would become one, or where one could be two.

    >>> match_names(["chr1", "chr10", "chrM"], ["I", "II", "IX", "X", "Mito"])
    {'chr1': 'I', 'chr10': 'X', 'chrM': 'Mito'}
    >>> match_names(["chr1", "chrX"], ["I", "II", "X"])
    {'chr1': 'I', 'chrX': 'X'}
    >>> match_names(["chr1", "1"], ["I", "II"])
    {}
    """
    ours = {name: _stem(name) for name in interval_names}
    # Of a million contigs, the few that can matter.
    wanted = {*ours.values(), *_ROMAN, *_ORGANELLES.values(), *map(str, range(100))}
    theirs = {name: stem for name in genome_names if (stem := _stem(name)) in wanted}
    our_reading, their_reading = _readings(set(ours.values()), set(theirs.values()))
    if any(our_reading[stem] != their_reading[stem] for stem in our_reading.keys() & their_reading.keys()):
        return {}
    named: dict[str, list[str]] = {}
    for name, stem in theirs.items():
        named.setdefault(their_reading[stem], []).append(name)
    found = {name: named[our_reading[stem]] for name, stem in ours.items() if our_reading[stem] in named}
    targets = {name: names[0] for name, names in found.items() if len(names) == 1}
    if len(targets) < len(found) or len(set(targets.values())) < len(targets):
        return {}
    return {name: target for name, target in targets.items() if name != target}


def two_names_of_one(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of these names that differ by a prefix, by zeros or in the spelling of an organelle, or None.

    >>> two_names_of_one(["chr1", "chr2", "1"])
    ('chr1', '1')
    """
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(_stem(name), name) != name:
            return seen[_stem(name)], name
    return None


def output_names(names: Sequence[str], scheme: str) -> dict[str, str]:
    """What records are called in outputs: those of these names that are renamed.

    `scheme` is "ucsc" (1, X, MT to chr1, chrX, chrM), "ensembl" (the way back), or the path of a table for
    `read_aliases` with the names of records in its first column. Names that these do not know stay.

    >>> output_names(["1", "X", "MT", "scaffold_7"], "ucsc")
    {'1': 'chr1', 'X': 'chrX', 'MT': 'chrM'}
    >>> output_names(["chr2L", "chrM", "chr1_KI270706v1_random"], "ensembl")
    {'chr2L': '2L', 'chrM': 'MT'}

    Raises `DataError` where two records would have one name, or a table has no name of a record.
    """
    if scheme in ("ucsc", "ensembl"):
        renamed = {name: _renamed(name, scheme) for name in names}
    else:
        table = read_aliases(scheme)
        renamed = {name: table[name] for name in names if name in table}
        if not renamed:
            raise DataError(
                f"{scheme}: its first column has no name of a record, which are {shown_names(names, 3)}; it "
                "has to have these there, and the names in the outputs in the second"
            )
    made = {name: new for name, new in renamed.items() if new != name}
    seen: dict[str, str] = {}
    for name in names if made else ():
        new = made.get(name, name)
        if seen.setdefault(new, name) != name:
            remedy = (
                "give a table of two columns, the names of records and those wanted"
                if scheme in ("ucsc", "ensembl")
                else f"give each a name of its own in {scheme}"
            )
            raise DataError(
                f"{seen[new]!r} and {name!r} would both be called {new!r} in the outputs; {remedy}"
            )
    return made


def _renamed(name: str, scheme: str) -> str:
    stem = name.removeprefix("chr")
    if _ORGANELLES.get(stem.lower()) == "mitochondrion":
        return "chrM" if scheme == "ucsc" else "MT"
    if not _CHROMOSOME.fullmatch(stem):
        return name
    return f"chr{stem}" if scheme == "ucsc" else stem


def read_aliases(path: Path) -> dict[str, str]:
    """A table of two columns: the name of a chromosome in the intervals, its name in the genome.

    Tabs or blanks separate them; lines that are blank or begin with `#` are passed over. Raises `DataError`
    naming file and line where a line does not have two columns, or gives a name a second meaning.
    """
    aliases: dict[str, str] = {}
    for first, lines in line_blocks(path):
        for number, line in enumerate(lines, first):
            names = line.split()
            if not names or line.startswith("#"):
                continue
            if len(names) != 2:
                raise DataError(
                    f"{path}, line {number}: {line[:60]!r} has {len(names)} names in place of two: that of "
                    "a chromosome in the intervals, a tab, and that in the genome"
                )
            if aliases.setdefault(names[0], names[1]) != names[1]:
                raise DataError(
                    f"{path}, line {number}: {names[0]!r} is {names[1]!r}, and in an earlier line "
                    f"{aliases[names[0]]!r}; delete one of them"
                )
    return aliases


def on_genome(
    intervals: Intervals,
    names: Sequence[str],
    lengths: ArrayLike,
    aliases: Mapping[str, str] | Path | None = None,
    *,
    genome: str = "the genome",
    missing: Literal["raise", "drop"] = "raise",
) -> Intervals:
    """The intervals with the genome's `names`, so that `chromosome` is the index of a record.

    `names`, `lengths`: of the R records, integers (R,). `aliases`: the genome's name of what the intervals
    call otherwise, as a dict, as the path of a table for `read_aliases`, or "match" for what `match_names`
    finds. `missing="drop"` leaves out the intervals on chromosomes that the genome does not have. `genome`
    is the file that messages name.

    >>> peaks = Intervals.make(["chr2", "chr1"], [5, 0], [9, 3])
    >>> on_genome(peaks, ["I", "II"], [100, 9], aliases="match").chromosome.tolist()
    [1, 0]

    Raises `DataError` for a chromosome that the genome does not have, with the aliases that would help
    where there are such, and for an interval that leaves its chromosome.
    """
    return placed_on_genome(intervals, names, lengths, aliases, genome=genome, missing=missing)[0]


def placed_on_genome(
    intervals: Intervals,
    names: Sequence[str],
    lengths: ArrayLike,
    aliases: Mapping[str, str] | Path | None = None,
    *,
    genome: str = "the genome",
    missing: Literal["raise", "drop"] = "raise",
) -> tuple[Intervals, NDArray[np.bool_]]:
    """As `on_genome`, and which of the intervals these are, (N,)."""
    if missing not in ("raise", "drop"):
        raise DataError(f"missing is {missing!r}; it has to be 'raise' or 'drop'")
    used = [intervals.names[number] for number in np.unique(intervals.chromosome)]
    table = _table(aliases, used, names)
    wanted = {table.get(name, name) for name in intervals.names}
    record_of = {name: record for record, name in enumerate(names) if name in wanted}
    record = np.array([record_of.get(table.get(name, name), -1) for name in intervals.names], dtype=np.int64)
    unknown = record[intervals.chromosome] < 0
    if unknown.any():
        if not table and (matched := match_names(used, names)):
            raise _other_names(intervals, matched, genome)
        if missing == "raise" or unknown.all():
            raise _unknown_names(intervals, unknown, table, names, genome)
    kept = intervals[~unknown]
    placed = dataclasses.replace(kept, names=tuple(names), chromosome=record[kept.chromosome])
    ends = np.asarray(lengths)[placed.chromosome]
    leaves = (placed.start < 0) | (placed.end > ends)
    if leaves.any():
        number = int(np.argmax(leaves))
        raise DataError(
            f"{kept.told(number)} leaves its chromosome, which has {ends[number]} bases in {genome} (of "
            f"{len(kept)} intervals {leaves.sum()} do); take the genome they were made on, or trim them"
        )
    return placed, ~unknown


def _table(
    aliases: Mapping[str, str] | Path | None, used: list[str], names: Sequence[str]
) -> Mapping[str, str]:
    if aliases is None or isinstance(aliases, Mapping):
        return aliases or {}
    return match_names(used, names) if aliases == "match" else read_aliases(aliases)


def _other_names(intervals: Intervals, matched: dict[str, str], genome: str) -> DataError:
    ours, theirs = next(iter(matched.items()))
    pairs = ", ".join(f"{name} -> {alias}" for name, alias in list(matched.items())[:3])
    more = ", …" if len(matched) > 3 else ""
    return DataError(
        f'{intervals.source or "the file"} says {ours!r}, {genome} says {theirs!r}: pass aliases="match" '
        f"({pairs}{more}), or a table of two columns; of a command, --aliases match"
    )


def _unknown_names(
    intervals: Intervals,
    unknown: NDArray[np.bool_],
    table: Mapping[str, str],
    names: Sequence[str],
    genome: str,
) -> DataError:
    name = intervals.names[intervals.chromosome[np.argmax(unknown)]]
    alias = table.get(name, name)
    near = ", ".join(near_names(alias, names))
    name, alias = shown_name(name), shown_name(alias)
    called = repr(name) if alias == name else f"{name!r}, by its alias {alias!r}"
    return DataError(
        f"{intervals.source or 'intervals'}: {genome} has no chromosome {called}; it has "
        f"{near}, … Of {len(intervals)} intervals {unknown.sum()} are on such: pass aliases, a "
        'table of the names in the intervals and those in the genome, or missing="drop" to leave them out'
    )


def _readings(*sides: set[str]) -> list[dict[str, str]]:
    """What each stem of a side means: a numeral that is read as Roman the number, any other itself."""
    written = set[str]().union(*sides)
    is_roman = any(len(stem) > 1 for stem in written & _ROMAN.keys())
    readings = []
    for side in sides:
        numerals = dict(_ROMAN) if is_roman else {}
        if not written & {"IX", "XI"} or any(stem.isdecimal() for stem in side):
            numerals.pop("X", None)
        readings.append({stem: numerals.get(stem, stem) for stem in side})
    return readings


def _stem(name: str) -> str:
    """The name without prefix and zeros, an organelle by one word for each."""
    if name[:1] not in _CHANGED_FROM:  # as nearly all of a million contigs
        return name
    stem = _PREFIX.sub("", name)
    return _ORGANELLES.get(stem.lower(), stem.lstrip("0") or stem)
