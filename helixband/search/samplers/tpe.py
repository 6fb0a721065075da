"""Suggesting configurations of a space made of hyperopt expressions (`hp.uniform("lr", …)`).

The expressions give the distributions and the conditions; the model is that of `density.py`.
hyperopt's own `tpe.suggest` builds a graph anew for each trial, and with a thousand trials takes a tenth of
a second.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np

from helixband.errors import DefinitionError
from helixband.randomness import derive_seed
from helixband.search.samplers.density import Genome, ModelSampler, RandomWords
from helixband.search.samplers.evidence import Document
from helixband.search.samplers.random import call
from helixband.training.configuration import to_json

PLACES = 1024
"""Of a genome, for the labels: few enough to be quick, enough that two seldom share one."""
FINER = 32
"""Of so many times as many values in order, the values of a label are evenly spread ones."""


class HyperoptSpace:
    """What a function returns that makes dicts with hyperopt expressions, as a space.

    A draw is a call of the function and a value for each label. Draws are numbered, and a genome says for the
    call and for each label whose it is; a value is taken over where the other call's expression of that label
    is the same, and is the call's own otherwise. So what the function draws itself, beside the expressions,
    is drawn and recombined with the rest. A function that draws nothing is called once.
    """

    def __init__(self, get_config: Callable[[], Any]) -> None:
        self._words = RandomWords(lambda: call(get_config))
        words = self._words.genomes(1, seed=0)[0]
        self._fixed = None if self._words.places(words) else _Call(self._words.document(words))
        self._calls: list[_Call] = []
        self._values: dict[str, dict[int, Any]] = defaultdict(dict)
        """By expression and draw."""

    def genomes(self, count: int, seed: int) -> Genome:
        """New draws, (count, 1 + PLACES) int64: their numbers in each place."""
        first = len(self._calls)
        if self._fixed is not None:
            self._calls += [self._fixed] * count
        else:
            self._calls += map(_Call, map(self._words.document, self._words.genomes(count, seed)))
        drawing: dict[str, list[int]] = defaultdict(list)
        nodes: dict[str, Any] = {}
        for number in range(first, first + count):
            nodes.update(self._calls[number].nodes)
            for key in self._calls[number].labels.values():
                drawing[key].append(number)
        for key, numbers in drawing.items():
            values = _draw(nodes[key], len(numbers), np.random.default_rng(derive_seed(seed, key)))
            self._values[key].update(zip(numbers, values, strict=True))
        return np.repeat(np.arange(first, first + count)[:, None], 1 + PLACES, axis=1)

    def document(self, genome: Genome) -> Document:
        """The configuration of these draws, values of labels that its choices leave out unused."""
        own = int(genome[0])
        drawn = {}
        for label, key in self._calls[own].labels.items():
            values, given = self._values[key], int(genome[_place(label)])
            drawn[label] = values[given if given in values else own]
        return self._calls[own].configuration(drawn)

    def places(self, genome: Genome) -> list[int]:
        """Those of the call's labels, and of the call itself, where there are different ones."""
        labels = {_place(label) for label in self._calls[int(genome[0])].labels}
        return [*([0] if self._fixed is None else []), *sorted(labels)]


class TpeSampler(ModelSampler):
    """Models a space of hyperopt expressions; `get_config` returns a dict with them."""

    name = "tpe"
    space = "expressions"

    def __init__(self, get_config: Callable[[], Any], seed: int) -> None:
        super().__init__(lambda: HyperoptSpace(get_config), seed)


class _Call:
    """What the function returned once: an expression for each name, with the labels in them.

    Raises `DefinitionError` where two expressions have one label, or one's parameters depend on another.
    """

    def __init__(self, space: Document) -> None:
        from hyperopt.pyll import as_apply, dfs

        graphs = {name: as_apply(value) for name, value in space.items()}
        found: dict[str, Any] = {}
        self._parts = []
        for name, graph in graphs.items():
            within = {}
            for node in dfs(graph):
                if node.name == "hyperopt_param":
                    label, expression = node.arg["label"].obj, node.arg["obj"]
                    _check(label, expression, found.setdefault(label, expression), dfs)
                    within[label] = expression
            self._parts.append(_Part(name, _compiled(graph), list(within)))
        self.labels = {label: f"{label}: {node}" for label, node in found.items()}
        """The key of each label's expression: equal keys, equal distributions."""
        self.nodes = {self.labels[label]: node for label, node in found.items()}

    def configuration(self, drawn: dict[str, Any]) -> Document:
        """The dict with these values of its labels, as plain JSON values."""
        return {part.name: part.value(drawn) for part in self._parts}


class _Part:
    """What one name of a space is, by the values of the labels in it.

    Candidates differ in few places, so each value is made once.
    """

    def __init__(self, name: str, function: Callable[[dict[str, Any]], Any], labels: list[str]) -> None:
        self.name = name
        self._function, self._labels = function, labels
        self._made: dict[tuple[Any, ...], Any] = {}

    def value(self, drawn: dict[str, Any]) -> Any:
        """As a plain JSON value."""
        key = tuple([drawn[label] for label in self._labels])
        if key not in self._made:
            self._made[key] = to_json({self.name: self._function(drawn)})[self.name]
        return self._made[key]


def _place(label: str) -> int:
    return 1 + crc32(label.encode()) % PLACES


def _check(label: str, expression: Any, first: Any, dfs: Any) -> None:
    if expression is not first:
        raise DefinitionError(f"get_config() has two hyperopt expressions with the label {label!r}")
    if any(inner.name == "hyperopt_param" for inner in dfs(expression)):
        raise DefinitionError(f"the range of {label!r} is itself a hyperopt expression; give it numbers")


def _draw(expression: Any, count: int, rng: np.random.Generator) -> list[Any]:
    """So many values of a label's distribution, spread as evenly as can be."""
    arguments = [_compiled(argument)({}) for argument in expression.pos_args]
    named = {name: _compiled(argument)({}) for name, argument in expression.named_args}
    values = _implementation(expression.name)(*arguments, **named, rng=rng, size=(count * FINER,))
    return list(rng.permutation(np.sort(values)[rng.integers(FINER) :: FINER]).tolist())


def _implementation(name: str) -> Any:
    from hyperopt.pyll import scope

    return scope._impls[name]


def _compiled(node: Any) -> Callable[[dict[str, Any]], Any]:
    """An expression as a function of the values of its labels; of a choice, the one chosen alone is made."""
    if node.name == "literal":
        value = node.obj
        return lambda drawn: value
    if node.name == "hyperopt_param":
        label = node.arg["label"].obj
        return lambda drawn: drawn[label]
    parts = [_compiled(argument) for argument in node.pos_args]
    named = {name: _compiled(argument) for name, argument in node.named_args}
    if node.name == "switch":
        return lambda drawn: parts[parts[0](drawn) + 1](drawn)
    if node.name == "dict":
        return lambda drawn: {name: part(drawn) for name, part in named.items()}
    if node.name == "pos_args":
        return lambda drawn: [part(drawn) for part in parts]
    function = _implementation(node.name)
    return lambda drawn: function(
        *[part(drawn) for part in parts], **{name: part(drawn) for name, part in named.items()}
    )
