"""How sequences become windows for a network: a bundle records it in place of training data."""

import os
from dataclasses import dataclass, field
from typing import Any

from helixband.errors import DataError
from helixband.generators.fasta import FastaBatchGenerator
from helixband.generators.intervals import IntervalBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.sequence.alphabet import Alphabet
from helixband.sequence.chromosomes import read_aliases
from helixband.sequence.fasta import is_fasta
from helixband.sequence.interval_files import is_intervals, read_intervals
from helixband.sequence.intervals import Reading


@dataclass(frozen=True)
class Form:
    """The form of the examples of a generator of sequences.

    `pieces` are the options of a `FastaBatchGenerator` that say how records are cut. `length` is that of a
    window in bases; None where examples are whole records. `places` are the options of an
    `IntervalBatchGenerator` that say how intervals are placed, and `reading` what of a file they are, as
    of `Intervals`.
    """

    alphabet: Alphabet
    layout: str
    metadata: bool
    names: str
    length: int | None
    pieces: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)
    reading: Reading = ()

    def generator(self, path: str, genome: str | None = None) -> SequenceBatchGenerator:
        """The windows of a FASTA file, or of a BED or GFF3 file on a genome.

        Raises `DataError` for another kind of file, and where a genome is missing or is not needed.
        """
        form: dict[str, Any] = {
            "alphabet": self.alphabet,
            "layout": self.layout,
            "metadata": self.metadata,
            "names": self.names,
        }
        if is_fasta(path):
            if genome is not None:
                raise DataError(f"{path} has sequences itself: leave the genome {genome} out")
            return FastaBatchGenerator(path, **self.pieces, **form)
        if not is_intervals(path):
            raise DataError(f"{path} is neither a FASTA file nor a BED or GFF3 file, by its name")
        if self.length is None:
            raise DataError(f"{path}: the model takes whole records, and no windows of a genome: give FASTA")
        if genome is None:
            raise DataError(f"{path} has intervals of a genome: give its FASTA file too (genome=…, --genome)")
        intervals = read_intervals(path, self.reading)
        return IntervalBatchGenerator(genome, intervals, self.length, **self.places, **form)

    def document(self) -> dict[str, Any]:
        """The form as JSON, for `read_form`."""
        letters = self.alphabet
        options = {name: value for name, value in letters.options.items() if value is not None}
        alphabet = {"tokens": list(letters.tokens), "control_tokens": list(letters.control_tokens), **options}
        return {**vars(self), "alphabet": alphabet}


def form_of(generator: SequenceBatchGenerator) -> Form:
    """The form of the examples of a generator that predicts."""
    pieces: dict[str, Any] = {"unequal": "bucket"}
    length: int | None = generator.length
    if isinstance(generator, FastaBatchGenerator) and generator.unequal == "bucket":
        length = None
    elif isinstance(generator, FastaBatchGenerator) and generator.window is None:
        pieces = {"unequal": generator.unequal}
    elif isinstance(generator, FastaBatchGenerator):
        pieces = {"window": generator.window, **generator.tiling}
    else:
        pieces = {"window": length, "incomplete": "pad"}
    return _form(generator, length, pieces)


def form_like(trained: SequenceBatchGenerator) -> Form:
    """The form in which a generator for training predicts on other files: as its `for_prediction` has it."""
    if isinstance(trained, FastaBatchGenerator) and trained.unequal == "bucket":
        return _form(trained, None, {"unequal": "bucket"})
    return _form(trained, trained.length, {"window": trained.length, "incomplete": "pad"})


def read_form(document: dict[str, Any]) -> Form:
    """The form that `Form.document` gave."""
    reading = tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in document.get("reading", ())
    )
    return Form(**{**document, "alphabet": Alphabet(**document["alphabet"]), "reading": reading})


def _form(generator: SequenceBatchGenerator, length: int | None, pieces: dict[str, Any]) -> Form:
    of_intervals = generator if isinstance(generator, IntervalBatchGenerator) else None
    places = {} if of_intervals is None else dict(of_intervals.placing)
    if isinstance(aliases := places.get("aliases"), str | os.PathLike) and aliases != "match":
        places["aliases"] = read_aliases(os.fspath(aliases))
    store = generator.store
    return Form(
        store.alphabet,
        generator.layout,
        generator.headers is not None,
        store.naming,
        length,
        {name: value for name, value in pieces.items() if value is not None},
        places,
        () if of_intervals is None else of_intervals.reading,
    )
