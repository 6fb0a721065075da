"""Suggesting configurations by density: where good ones are frequent beside the others.

The model is that of the tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011): a suggestion has a high ratio of the density of good trials to that of the rest.
As there are few good trials, their density is not taken for sure but drawn: each has a random weight, as in
the Bayesian bootstrap (Rubin 1981), for each suggestion and each hyperparameter anew. So suggestions differ
where the trials say little and agree where they say much (Thompson sampling, by Osband and Van Roy 2015).

The space itself need not be known. `get_config()` is any function that draws from the global generators, so
a configuration is a function of the random words that these give. Candidates are what the function returns
for other words in one place after the other: conditions and odd types hold, as it made each.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from helixband.randomness import derive_seed, get_state, set_state
from helixband.search.samplers.evidence import Document, Evidence
from helixband.search.samplers.random import DRAWS_UNTIL_EXHAUSTED, call
from helixband.training.configuration import canonical, to_json

# One set of constants for every space; benchmarks/README.md has the variants that were measured.
STARTUP_TRIALS = 10
"""So many finished trials before the first suggestion by the model."""
RANDOM_SHARE = 0.05
"""Of the trials thereafter, so many are random draws still: no part of a space is given up."""
GOOD_TRIALS = 0.5
"""Of n finished trials, the best GOOD_TRIALS * sqrt(n), rounded up, are the good ones."""
BANDWIDTH, BANDWIDTH_DECAY = 0.2, 0.2
"""The kernels of n trials have the standard deviation BANDWIDTH * n^-BANDWIDTH_DECAY, on the CDF's 0 to 1."""
NARROWEST = 0.02
BANK = 1000
"""Draws that give the prior distribution of each value, and the material of candidates."""
LOT, LOTS, CANDIDATES = 4, 4, 160
"""In each place of a genome LOT words are tried, up to LOTS times, and so many candidates in all."""

BINS = 64
FAR = 1e3
"""The distance between codes that have no order."""
ABSENT: Any = object()
WORDS = 624

Genome = NDArray[Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Space(Protocol):
    """Configurations as a function of genomes: rows of numbers that can be changed one by one."""

    def genomes(self, count: int, seed: int) -> Genome:
        """`count` random genomes, (count, G)."""

    def document(self, genome: Genome) -> Document:
        """The configuration of a genome (G,)."""

    def places(self, genome: Genome) -> list[int]:
        """Those places of a genome that its configuration may depend on."""


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
        """What the function returns for these words."""
        words = genome.tolist()  # NumPy takes a list in a tenth of the time of an array
        random.setstate((3, (*words[:WORDS], 0), None))
        np.random.set_state(("MT19937", words[WORDS:-1], 0, 0, 0.0))
        torch.default_generator.manual_seed(words[-1])  # torch.manual_seed takes a millisecond
        return self._draw()

    def places(self, genome: Genome) -> list[int]:
        """The words that the function takes: the first ones of each generator, or none."""
        torch.default_generator.manual_seed(int(genome[-1]))
        fresh = torch.get_rng_state()
        self.document(genome)
        python = random.getstate()[1]
        state: Any = np.random.get_state(legacy=True)
        ends = [  # a generator that made further words has used up these
            python[-1] if python[:WORDS] == tuple(genome[:WORDS].tolist()) else WORDS,
            state[2] if np.array_equal(state[1], genome[WORDS:-1]) else WORDS,
            0 if torch.get_rng_state().equal(fresh) else 1,
        ]
        return [WORDS * number + place for number, end in enumerate(ends) for place in range(end)]


class DensityModel:
    """The log ratio of two densities, of good trials and of the rest, as a table by column and code.

    Columns are the places in the configurations, independent of each other. The densities are relative to
    the prior draws, whatever their distribution: what is drawn more often is not better for it.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        rows = [dict(flatten(document)) for document in documents]
        names = sorted({name for row in rows for name in row})
        self._columns = [_Column(name, [row[name] for row in rows if name in row]) for name in names]
        self._width = max((column.size for column in self._columns), default=0)
        self.codes = self.encode(documents)
        """(documents, columns): the codes of the prior draws."""
        self._prior = (self._counts(self.codes, np.ones(self.codes.shape)) + 1e-3) / len(rows)
        self._positions = np.arange(self._width) * np.full((len(names), 1), FAR)
        for index, column in enumerate(self._columns):
            prior = self._prior[index, : column.bins]
            self._positions[index, : column.bins] = (prior.cumsum() - prior / 2) / prior.sum()

    def encode(self, documents: Sequence[Document]) -> Codes:
        """The codes of configurations, (documents, columns)."""
        rows = [dict(flatten(document)) for document in documents]
        codes = np.empty((len(rows), len(self._columns)), np.int64)
        for index, column in enumerate(self._columns):
            codes[:, index] = column.codes([row.get(column.name, ABSENT) for row in rows])
        return codes

    def log_ratio(self, good: Codes, rest: Codes, weights: Floats) -> Floats:
        """The table of two sets of trials (n, columns) each: (columns, codes).

        `weights`, (1 + good trials, columns), are those of the prior draws and of the good trials.
        """
        equal = np.ones((1 + len(rest), weights.shape[1]))
        return np.log(self._density(good, weights) / self._density(rest, equal))

    def _counts(self, codes: Codes, weights: Floats) -> Floats:
        """How often each code is in each column, (columns, codes)."""
        columns = codes.shape[1]
        places = codes + np.arange(columns) * self._width
        found = np.bincount(places.ravel(), weights.ravel(), minlength=columns * self._width)
        return found.astype(np.float64).reshape(columns, self._width)

    def _density(self, codes: Codes, weights: Floats) -> Floats:
        """Kernels at the trials and, with the first weight, the prior draws."""
        count = len(codes)
        bandwidth = max(NARROWEST, BANDWIDTH * max(count, 1) ** -BANDWIDTH_DECAY)
        apart = (self._positions[:, :, None] - self._positions[:, None, :]) / bandwidth
        kernels = np.exp(-0.5 * apart**2) * self._prior[:, None, :]
        kernels /= kernels.sum(axis=2, keepdims=True)
        kernels = (self._counts(codes, weights[1:])[:, None, :] @ kernels)[:, 0]
        density: Floats = (kernels + weights[0, :, None] * self._prior) / weights.sum(0)[:, None]
        return density


class _Column:
    """One place in the configurations and the codes of its values.

    Numbers have a code for each of theirs, in order, or for each of BINS parts with equally many prior draws;
    other values one each, as have two numbers, between which nothing is to be smoothed. The last two codes
    are those of values that the prior draws seldom or never had, and of none.
    """

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        numbers, repeats = np.unique([value for value in values if _is_number(value)], return_counts=True)
        if len(numbers) <= BINS:
            self._edges = (numbers[1:] + numbers[:-1]) / 2
        else:
            parts = np.arange(1, BINS) * repeats.sum() // BINS
            self._edges = np.unique(np.repeat(numbers, repeats)[parts])
        self._numeric = len(numbers) > 2
        self.bins = len(self._edges) + 1 if self._numeric else 0
        texts = Counter(repr(value) for value in values if not (self._numeric and _is_number(value)))
        frequent = sorted(texts, key=lambda text: (-texts[text], text))[:BINS]
        self._others = {text: self.bins + index for index, text in enumerate(frequent)}
        self.size = self.bins + len(frequent) + 2

    def codes(self, values: list[Any]) -> Any:
        """Of each value."""
        if self._numeric and all(map(_is_number, values)):
            return self._edges.searchsorted(values, "right")
        return [self._code(value) for value in values]

    def _code(self, value: Any) -> int:
        if value is ABSENT:
            return self.size - 1
        if self._numeric and _is_number(value):
            return int(self._edges.searchsorted(value, "right"))
        return self._others.get(repr(value), self.size - 2)


class ModelSampler:
    """Configurations of a space by the density of the good ones, each one once.

    A suggestion is a pure function of the seed, the trial's number, the evidence and what is pending.
    """

    name = "density"
    uses_evidence = True

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._bank: Genome | None = None
        self._known: dict[int, _Known] = {}

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted.

        `pending` are the configurations without a result yet: they count as the worst, so that several
        workers keep apart, and not toward the first trials. What is in either is not suggested again.
        """
        pending = list(pending)
        ranked = evidence.ranked()
        taken = {self._look_up(number, evidence).text for number in ranked} | set(map(canonical, pending))
        rng = np.random.default_rng(derive_seed(self._seed, "suggestion", trial))
        state = get_state()
        try:
            if len(ranked) >= STARTUP_TRIALS and rng.random() >= RANDOM_SHARE:
                document = self._search(self._table(evidence, ranked, pending, rng), taken, rng)
                if document is not None:
                    return document
            for attempt in range(DRAWS_UNTIL_EXHAUSTED):
                genome = self._space.genomes(1, derive_seed(self._seed, "config", trial, attempt))[0]
                document = self._space.document(genome)
                if canonical(document) not in taken:
                    return document
            return None
        finally:
            set_state(state)

    def _table(
        self, evidence: Evidence, ranked: list[int], pending: list[Document], rng: np.random.Generator
    ) -> Floats:
        """The log ratio of good trials, weighted at random, to the rest, (columns, codes)."""
        if self._bank is None:  # the prior draws, made once
            self._bank = self._space.genomes(BANK, derive_seed(self._seed, "bank"))
            self._documents = [self._space.document(genome) for genome in self._bank]
            self._texts = list(map(canonical, self._documents))
            self._model = DensityModel(self._documents)
        known = [self._look_up(number, evidence) for number in ranked]
        new = [one for one in known if one.codes is None]
        for one, codes in zip(new, self._model.encode([one.config for one in new]), strict=True):
            one.codes = codes
        codes = np.stack([one.codes for one in known if one.codes is not None])
        successes = sum(evidence[number].reward > -math.inf for number in ranked)
        good = min(math.ceil(GOOD_TRIALS * math.sqrt(len(ranked))), successes)
        rest = np.concatenate([codes[good:], self._model.encode(pending)])
        return self._model.log_ratio(codes[:good], rest, rng.exponential(size=(1 + good, codes.shape[1])))

    def _search(self, table: Floats, taken: set[str], rng: np.random.Generator) -> Document | None:
        """The configuration of the highest sum in the table that was found, of those not taken.

        From the best prior draw on, the words of one place after the other are replaced by those of good
        draws, and then again in the places that told.
        """
        assert self._bank is not None
        columns = np.arange(len(table))
        scores = table[columns, self._model.codes].sum(1)
        order = np.argsort(-scores, kind="stable")
        free = next((row for row in order if self._texts[row] not in taken), None)
        found, found_score = (None, -math.inf) if free is None else (self._documents[free], scores[free])

        genome, codes, score = self._bank[order[0]], self._model.codes[order[0]], scores[order[0]]
        places, left = rng.permutation(self._space.places(genome)).tolist(), CANDIDATES // LOT
        for _ in range(LOTS):
            places, telling = places[:left], []
            left -= len(places)
            for place in places:
                children = np.repeat(genome[None], LOT, axis=0)
                children[:, place] = self._bank[rng.choice(order[: BANK // 10], LOT), place]
                documents = [self._space.document(child) for child in children]
                found_codes = self._model.encode(documents)
                scores = table[columns, found_codes].sum(1)
                if (found_codes != codes).any():
                    telling.append(place)
                for child in np.argsort(-scores, kind="stable"):
                    if scores[child] > found_score and canonical(documents[child]) not in taken:
                        found, found_score = documents[child], scores[child]
                best = scores.argmax()
                if scores[best] > score:
                    genome, codes, score = children[best], found_codes[best], scores[best]
            places = telling
        return found

    def _look_up(self, trial: int, evidence: Evidence) -> "_Known":
        config = evidence[trial].config
        known = self._known.get(trial)
        if known is None or known.config is not config:
            known = self._known[trial] = _Known(config, canonical(config))
        return known


@dataclass
class _Known:
    """What is remembered of a trial's configuration."""

    config: Document
    text: str
    codes: Codes | None = None


class DensitySampler(ModelSampler):
    """Models an opaque function: `get_config` returns a configuration by the global generators."""

    space = "function"

    def __init__(self, get_config: Callable[[], Any], seed: int) -> None:
        super().__init__(RandomWords(lambda: dict(to_json(call(get_config)))), seed)


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
    """Whether it is one to be smoothed; integers beyond the range of floats are not."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)
