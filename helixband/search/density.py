"""Suggesting configurations by density: where good ones are frequent beside the others.

The model is that of the tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011): a suggestion has a high ratio of the density of good trials to that of the rest.
Here the space itself need not be known. `get_config()` is any function that draws from the global generators,
so a configuration is a function of the random words that these give. Candidates are what the function
returns for recombined words of its better draws: conditions and odd types hold, as it made each.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from helixband.configuration import canonical
from helixband.randomness import derive_seed, get_state, set_state
from helixband.search.evidence import Document, Evidence

# One set of constants for every space; benchmarks/README.md has the variants that were measured.
STARTUP_TRIALS = 10
"""So many finished trials before the first suggestion by the model."""
RANDOM_SHARE = 0.05
"""Of the trials thereafter, so many are random draws still: no part of a space is given up."""
GOOD_TRIALS = 0.25
"""Of n finished trials, the best GOOD_TRIALS * sqrt(n), rounded up, are the good ones."""
BANDWIDTH, BANDWIDTH_DECAY = 0.3, 0.2
"""The kernels of n trials have the standard deviation BANDWIDTH * n^-BANDWIDTH_DECAY, on the CDF's 0 to 1."""
NARROWEST = 0.02
BANK = 1000
"""Draws that give the prior distribution of each value, and the material of candidates."""
PARENTS, CHILDREN, GENERATIONS, EXCHANGED = 8, 2, 6, 0.25
"""Each of PARENTS candidates has CHILDREN that exchange a share of their words; the best go on."""
DRAWS_UNTIL_EXHAUSTED = 1000
"""A space is taken to be exhausted when so many draws in a row gave nothing new."""

BINS = 64
ABSENT: Any = object()
WORDS = 624

Genome = NDArray[Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Space(Protocol):
    """Configurations as a function of genomes: rows of numbers that can be recombined column by column."""

    def genomes(self, count: int, seed: int) -> Genome:
        """`count` random genomes, (count, G); those of one seed may share columns."""

    def document(self, genome: Genome) -> Document:
        """The configuration of a genome (G,)."""


class RandomWords:
    """An opaque function as a space: its genome is the random words that the global generators give it.

    Those of `random` and NumPy are Mersenne Twisters: each of their next 624 outputs depends on one word of
    the state alone, so the states are the genome, but for its last word, which seeds torch. What the
    function draws from elsewhere is as random as ever, and no candidate is worse for it.
    """

    def __init__(self, draw: Callable[[], Document]) -> None:
        self._draw = draw

    def genomes(self, count: int, seed: int) -> Genome:
        """Uniform words, (count, 2 * 624 + 1) uint32."""
        return np.random.default_rng(seed).integers(2**32, size=(count, 2 * WORDS + 1), dtype=np.uint32)

    def document(self, genome: Genome) -> Document:
        """The configuration that the function draws from these words."""
        random.setstate((3, (*genome[:WORDS].tolist(), 0), None))
        np.random.set_state(("MT19937", genome[WORDS:-1], 0, 0, 0.0))
        torch.default_generator.manual_seed(int(genome[-1]))  # torch.manual_seed takes a millisecond
        return self._draw()


class DensityModel:
    """The log ratio of two densities, of good trials and of the rest, as a table by column and code.

    Columns are independent of each other. A column's codes are bins of its values' CDF among the prior
    draws where they are numbers, and the distinct values otherwise; the last code says that it is absent.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        rows = [dict(flatten(document)) for document in documents]
        names = sorted({name for row in rows for name in row})
        self._columns = [_Column(name, [row[name] for row in rows if name in row]) for name in names]
        self.codes = np.array([self._codes(row) for row in rows], np.int64).reshape(len(rows), len(names))
        """(documents, columns): the codes of the prior draws."""
        self._prior = (
            np.stack([self._counts(column) for column in self.codes.T]) if names else np.zeros((0, 0))
        )
        self._prior /= len(rows)

    def encode(self, document: Document) -> Codes:
        """The codes of a configuration, (columns,)."""
        return self._codes(dict(flatten(document)))

    def log_ratio(self, good: Codes, rest: Codes) -> Floats:
        """The table of two sets of trials (n, columns) each: (columns, codes)."""
        table: Floats = np.log(self._density(good)) - np.log(self._density(rest))
        return table

    def _codes(self, row: dict[str, Any]) -> Codes:
        return np.array([column.code(row.get(column.name, ABSENT)) for column in self._columns], np.int64)

    def _counts(self, codes: Codes) -> Floats:
        width = max(column.size for column in self._columns)
        return np.bincount(codes, minlength=width).astype(np.float64)

    def _density(self, codes: Codes) -> Floats:
        """Kernels at the trials and, with the weight of one trial, the prior draws."""
        count = len(codes)
        kernel = _kernel(max(NARROWEST, BANDWIDTH * max(count, 1) ** -BANDWIDTH_DECAY))
        density = self._prior + 1e-3 / max(self._prior.shape[1:], default=1)
        for index, column in enumerate(self._columns):
            counts = self._counts(codes[:, index])
            if column.sorted is not None:
                counts[:BINS] = counts[:BINS] @ kernel
            density[index] += counts
        return density / (count + 1)


class _Column:
    """One place in the configurations and the codes of its values."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        self.sorted: Floats | None = None
        self._codes: dict[str, int] = {}
        if len(set(map(canonical, values))) > 2 and all(
            map(_is_number, values)
        ):  # two have no order to smooth
            self.sorted = np.sort(np.array(values, np.float64))
            self.size = BINS + 2
        else:
            texts = sorted({canonical(value) for value in values})
            self._codes = {text: code for code, text in enumerate(texts)}
            self.size = len(texts) + 2

    def code(self, value: Any) -> int:
        """A bin or a value's number; then come those of values unheard of and of none."""
        if value is ABSENT:
            return self.size - 1
        if self.sorted is None:
            return self._codes.get(canonical(value), self.size - 2)
        if not _is_number(value):
            return self.size - 2
        below, up_to = self.sorted.searchsorted(value), self.sorted.searchsorted(value, "right")
        return min(int((below + up_to) / (2 * len(self.sorted)) * BINS), BINS - 1)


class ModelSampler:
    """Configurations of a space by the density of the good ones, each one once.

    A suggestion is a pure function of the seed, the trial's number, the evidence and what is pending.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._bank: Genome | None = None
        self._codes: dict[int, Codes] = {}
        self._texts: dict[int, str] = {}

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted.

        `pending` are the configurations without a result yet: they count as the worst, so that several
        workers keep apart, and not toward the first trials.
        """
        pending = list(pending)
        ranked = evidence.ranked()
        for number in ranked:
            if number not in self._texts:
                self._texts[number] = canonical(evidence[number].config)
        seen = {self._texts[number] for number in ranked} | set(map(canonical, pending))
        rng = np.random.default_rng(derive_seed(self._seed, "suggestion", trial))
        state = get_state()
        try:
            if len(ranked) >= STARTUP_TRIALS and rng.random() >= RANDOM_SHARE:
                for document in self._candidates(evidence, ranked, pending, rng):
                    if canonical(document) not in seen:
                        return document
            for attempt in range(DRAWS_UNTIL_EXHAUSTED):
                genome = self._space.genomes(1, derive_seed(self._seed, "config", trial, attempt))[0]
                document = self._space.document(genome)
                if canonical(document) not in seen:
                    return document
            return None
        finally:
            set_state(state)

    def _candidates(
        self, evidence: Evidence, ranked: list[int], pending: list[Document], rng: np.random.Generator
    ) -> Iterator[Document]:
        """The last generation, the best first."""
        bank = self._prepare()
        codes = [self._encode(trial, evidence[trial].config) for trial in ranked]
        codes += [self._model.encode(document) for document in pending]
        good = math.ceil(GOOD_TRIALS * math.sqrt(len(ranked)))
        table = self._model.log_ratio(np.stack(codes[:good]), np.stack(codes[good:]))
        columns = np.arange(len(table))

        # Another half of the bank for each trial, or trials would be alike.
        drawn = rng.permutation(len(bank))[: BANK // 2]
        scores = table[columns, self._model.codes[drawn]].sum(1)
        order = np.argsort(-scores, kind="stable")
        donors = bank[drawn[order[: BANK // 10]]]
        genomes, scores = bank[drawn[order[:PARENTS]]], scores[order[:PARENTS]]
        documents = [self._documents[index] for index in drawn[order[:PARENTS]]]
        for _ in range(GENERATIONS):
            parents = np.repeat(genomes, CHILDREN, axis=0)
            given = donors[rng.integers(len(donors), size=len(parents))]
            children = np.where(rng.random(parents.shape) < EXCHANGED, given, parents)
            born = [self._space.document(child) for child in children]
            found = np.stack([self._model.encode(document) for document in born])
            scores = np.concatenate([scores, table[columns, found].sum(1)])
            best = np.argsort(-scores, kind="stable")[:PARENTS]
            genomes, scores = np.concatenate([genomes, children])[best], scores[best]
            documents = [(documents + born)[index] for index in best]
        yield from documents

    def _prepare(self) -> Genome:
        """The prior draws, made once."""
        if self._bank is None:
            self._bank = self._space.genomes(BANK, derive_seed(self._seed, "bank"))
            self._documents = [self._space.document(genome) for genome in self._bank]
            self._model = DensityModel(self._documents)
        return self._bank

    def _encode(self, trial: int, config: Document) -> Codes:
        if trial not in self._codes:
            self._codes[trial] = self._model.encode(config)
        return self._codes[trial]


class DensitySampler(ModelSampler):
    """Models an opaque function: `draw` returns a configuration, as JSON values, by the global generators."""

    def __init__(self, draw: Callable[[], Document], seed: int) -> None:
        super().__init__(RandomWords(draw), seed)


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration by their place; an empty dict or list is a leaf.

    >>> dict(flatten({"lr": 0.1, "layers": [{"width": 8}, None]}))
    {'/lr': 0.1, '/layers/0/width': 8, '/layers/1': None}
    """
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(item, f"{name}/{key}")
    else:
        yield name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_kernels: dict[float, Floats] = {}


def _kernel(bandwidth: float) -> Floats:
    """(BINS, BINS): a row is the density over the bins of a kernel in that bin, cut off at 0 and 1."""
    bandwidth = round(bandwidth, 4)
    if bandwidth not in _kernels:
        centres = (np.arange(BINS) + 0.5) / BINS
        kernel = np.exp(-0.5 * ((centres - centres[:, None]) / bandwidth) ** 2)
        _kernels[bandwidth] = kernel / kernel.sum(axis=1, keepdims=True)
    return _kernels[bandwidth]
