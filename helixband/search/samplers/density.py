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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from helixband.randomness import derive_seed, get_state, held, set_state
from helixband.search.samplers.evidence import Document, Evidence
from helixband.search.samplers.prior import SETS, Codes, Neighbourhood, Position, Prior
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
BANK, RENEWED = 1000, 50
"""Draws that give the prior; and so many, anew every RENEWED trials, that give candidates."""
LOT, LOTS, CANDIDATES = 4, 4, 160
"""In each place of a genome LOT words are tried, up to LOTS times, and so many candidates in all."""
DRAWS_UNTIL_CROWDED = 100
"""Where so many random draws are all near to a trial, one of these will do."""

FAR = 1e3
"""The distance between codes that have no order."""
WORDS = 624

Genome = NDArray[Any]
Floats = NDArray[np.float64]


class Space(Protocol):
    """Configurations as a function of genomes: rows of numbers that can be changed one by one."""

    def genomes(self, count: int, seed: int) -> Genome:
        """`count` random genomes, (count, G), in each place spread as evenly as can be.

        Such draws tell more of a distribution than independent ones do (Latin hypercube sampling, by McKay,
        Beckman and Conover 1979).
        """

    def document(self, genome: Genome) -> Document:
        """The configuration of a genome (G,)."""

    def places(self, genome: Genome) -> list[int]:
        """Those places of a genome that its configuration may depend on."""


class RandomWords:
    """An opaque function as a space: its genome is the random words that the global generators give it.

    Those of `random` and NumPy are Mersenne Twisters: each of their next 624 outputs depends on one word of
    the state alone, so the states are the genome, but for its last word, which seeds torch and the generators
    that stand in the definition's modules. What the function draws from elsewhere is as random as ever, and
    no candidate is worse for it.
    """

    def __init__(self, draw: Callable[[], Document]) -> None:
        self._draw = draw

    def genomes(self, count: int, seed: int) -> Genome:
        """Uniform words, (count, 2 * 624 + 1) uint32; the outputs of one place are at equal distances."""
        rng = np.random.default_rng(seed)
        shift = rng.integers(2**32, size=2 * WORDS + 1)
        steps = rng.permuted(np.repeat(np.arange(count)[:, None], len(shift), axis=1), axis=0)
        return _untempered(((steps * 2**32 + shift) // count).astype(np.uint32))

    def document(self, genome: Genome) -> Document:
        """What the function returns for these words."""
        words = genome.tolist()  # NumPy takes a list in a tenth of the time of an array
        random.setstate((3, (*words[:WORDS], 0), None))
        np.random.set_state(("MT19937", words[WORDS:-1], 0, 0, 0.0))
        torch.default_generator.manual_seed(words[-1])  # torch.manual_seed takes a millisecond
        held.seed(words[-1])
        return self._draw()

    def places(self, genome: Genome) -> list[int]:
        """The words that the function takes: the first ones of each generator, or none."""
        torch.default_generator.manual_seed(int(genome[-1]))
        held.seed(int(genome[-1]))
        fresh, fresh_held = torch.get_rng_state(), held.states()
        self.document(genome)
        python = random.getstate()[1]
        state: Any = np.random.get_state(legacy=True)
        ends = [  # a generator that made further words has used up these
            python[-1] if python[:WORDS] == tuple(genome[:WORDS].tolist()) else WORDS,
            state[2] if np.array_equal(state[1], genome[WORDS:-1]) else WORDS,
            0 if torch.get_rng_state().equal(fresh) and held.are_at(fresh_held) else 1,
        ]
        return [WORDS * number + place for number, end in enumerate(ends) for place in range(end)]


def _untempered(outputs: Genome) -> Genome:
    """The words of a Mersenne Twister's state that give these outputs (Matsumoto and Nishimura 1998)."""
    words = outputs ^ outputs >> 18
    words ^= words << 15 & 0xEFC60000
    half = words
    for _ in range(4):  # each round puts right the next seven bits
        half = words ^ half << 7 & 0x9D2C5680
    found: Genome = half ^ (half ^ half >> 11) >> 11
    return found


class DensityModel(Prior):
    """The log ratio of two densities, of good trials and of the rest, as a table by column and code.

    Columns are independent of each other. The densities are relative to the prior draws, whatever their
    distribution: what is drawn more often is not better for it.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        super().__init__(documents)
        self._width = max((column.size for column in self.columns), default=0)
        codes = self.encode(documents)
        self._prior = (self._counts(codes, np.ones(codes.shape)) + 1e-3) / len(documents)
        self._positions = np.arange(self._width) * np.full((len(self.columns), 1), FAR)
        for index, column in enumerate(self.columns):
            prior = self._prior[index, : column.bins]
            self._positions[index, : column.bins] = (prior.cumsum() - prior / 2) / prior.sum()

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


class _Bank(NamedTuple):
    """Prior draws: the material of candidates."""

    number: int
    genomes: Genome
    documents: list[Document]
    codes: Codes
    positions: list[Position]


class _Known(NamedTuple):
    """What is remembered of a trial's configuration, by the `id` of this object."""

    config: Document
    text: str
    codes: Codes
    position: Position


class ModelSampler:
    """Configurations of a space by the density of the good ones, as far apart as `prior.NEAR` says.

    A suggestion is a pure function of the seed, the trial's number, the evidence and what is pending.
    """

    name = "density"
    uses_evidence = True

    def __init__(self, make_space: Callable[[], Space], seed: int) -> None:
        self._make_space = make_space
        self._space = make_space()
        self._seed = seed
        self._model: DensityModel | None = None
        self._bank: _Bank | None = None
        self._known: dict[int, _Known] = {}

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted.

        `pending` are the configurations without a result yet: they count as the worst, so that several
        workers keep apart, and not toward the first trials. One that is near to one of either is suggested
        only where random draws find no other, and one that is equal never.
        """
        rng = np.random.default_rng(derive_seed(self._seed, "suggestion", trial))
        ranked = evidence.ranked()
        successes = sum(evidence[number].reward > -math.inf for number in ranked)
        state = get_state()
        try:
            self._prepare(trial)
            known = [self._look_up(evidence[number].config) for number in ranked]
            waiting = [self._look_up(config) for config in pending]
            near = Neighbourhood(one.position for one in [*known, *waiting])
            if len(ranked) >= STARTUP_TRIALS and rng.random() >= RANDOM_SHARE:
                document = self._search(self._table(known, successes, waiting, rng), near, rng)
                if document is not None:
                    return document
            return self._draw(trial, {one.text for one in [*known, *waiting]}, near)
        finally:
            set_state(state)

    def _prepare(self, trial: int) -> None:
        """See to the bank for this trial, and to the prior, which is that of the first bank."""
        number = trial // RENEWED
        if self._bank is None:
            self._bank = self._draw_bank(0)
        if self._bank.number != number:
            self._bank = self._draw_bank(number)

    def _draw_bank(self, number: int) -> _Bank:
        self._space = self._make_space()  # what the old one holds of its draws goes with it
        seeds = [derive_seed(self._seed, "bank", number, part) for part in range(SETS)]
        genomes = np.concatenate([self._space.genomes(BANK // SETS, seed) for seed in seeds])
        documents = [self._space.document(genome) for genome in genomes]
        if self._model is None:
            self._model = DensityModel(documents)
        positions = list(map(self._model.position, documents))
        return _Bank(number, genomes, documents, self._model.encode(documents), positions)

    def _draw(self, trial: int, taken: set[str], near: Neighbourhood) -> Document | None:
        """A random draw: one that is near to none, or else one that is equal to none."""
        assert self._model is not None
        spare = None
        for attempt in range(DRAWS_UNTIL_EXHAUSTED):
            if attempt >= DRAWS_UNTIL_CROWDED and spare is not None:
                break
            genome = self._space.genomes(1, derive_seed(self._seed, "config", trial, attempt))[0]
            document = self._space.document(genome)
            if self._model.position(document) not in near:
                return document
            if spare is None and canonical(document) not in taken:
                spare = document
        return spare

    def _table(
        self, known: list[_Known], successes: int, waiting: list[_Known], rng: np.random.Generator
    ) -> Floats:
        """The log ratio of good trials, weighted at random, to the rest, (columns, codes).

        `known` are the finished trials, best first, with so many successes.
        """
        assert self._model is not None
        codes = np.stack([one.codes for one in [*known, *waiting]])
        good = min(math.ceil(GOOD_TRIALS * math.sqrt(len(known))), successes)
        weights = rng.exponential(size=(1 + good, codes.shape[1]))
        return self._model.log_ratio(codes[:good], codes[good:], weights)

    def _search(self, table: Floats, near: Neighbourhood, rng: np.random.Generator) -> Document | None:
        """The configuration of the highest sum in the table that was found, of those not near to a trial.

        From the best prior draw on, the words of one place after the other are replaced by those of good
        draws, and then again in the places that told.
        """
        assert self._model is not None and self._bank is not None
        model, bank = self._model, self._bank
        columns = np.arange(len(table))
        scores = table[columns, bank.codes].sum(1)
        order = np.argsort(-scores, kind="stable")
        free = next((row for row in order if bank.positions[row] not in near), None)
        found, found_score = (None, -math.inf) if free is None else (bank.documents[free], scores[free])

        genome, codes, score = bank.genomes[order[0]], bank.codes[order[0]], scores[order[0]]
        places, left = rng.permutation(self._space.places(genome)).tolist(), CANDIDATES // LOT
        for _ in range(LOTS):
            places, telling = places[:left], []
            left -= len(places)
            for place in places:
                children = np.repeat(genome[None], LOT, axis=0)
                children[:, place] = bank.genomes[rng.choice(order[: BANK // 10], LOT), place]
                documents = [self._space.document(child) for child in children]
                found_codes = model.encode(documents)
                scores = table[columns, found_codes].sum(1)
                if (found_codes != codes).any():
                    telling.append(place)
                for child in np.argsort(-scores, kind="stable"):
                    if scores[child] > found_score and model.position(documents[child]) not in near:
                        found, found_score = documents[child], scores[child]
                best = scores.argmax()
                if scores[best] > score:
                    genome, codes, score = children[best], found_codes[best], scores[best]
            places = telling
        return found

    def _look_up(self, config: Document) -> _Known:
        known = self._known.get(id(config))
        if known is None:
            assert self._model is not None
            codes, position = self._model.encode([config])[0], self._model.position(config)
            known = self._known[id(config)] = _Known(config, canonical(config), codes, position)
        return known


class DensitySampler(ModelSampler):
    """Models an opaque function: `get_config` returns a configuration by the global generators."""

    space = "function"

    def __init__(self, get_config: Callable[[], Any], seed: int) -> None:
        super().__init__(lambda: RandomWords(lambda: dict(to_json(call(get_config)))), seed)
