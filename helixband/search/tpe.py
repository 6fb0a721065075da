"""Suggesting configurations of a space made of hyperopt expressions (`hp.uniform("lr", …)`).

The expressions give the distributions and the conditions; the model is that of helixband/search/density.py.
hyperopt's own `tpe.suggest` builds a graph anew for each trial, and with a thousand trials takes a tenth of
a second.
"""

from typing import Any

import numpy as np

from helixband.configuration import to_json
from helixband.errors import DefinitionError
from helixband.randomness import derive_seed
from helixband.search.density import Genome, ModelSampler
from helixband.search.evidence import Document


class HyperoptSpace:
    """A dict with hyperopt expressions as a space: the genome has a number for each label, its random seed.

    Raises `DefinitionError` where two expressions have one label, or one's parameters depend on another.
    """

    def __init__(self, space: dict[str, Any]) -> None:
        from hyperopt.pyll import as_apply, dfs

        self._graph = {name: as_apply(value) for name, value in space.items()}  # hyperopt sorts the names
        self._labels: dict[str, Any] = {}
        for graph in self._graph.values():
            for node in dfs(graph):
                if node.name == "hyperopt_param":
                    self._add(node.arg["label"].obj, node.arg["obj"], dfs)
        self._values: dict[str, list[Any]] = {label: [] for label in self._labels}

    def genomes(self, count: int, seed: int) -> Genome:
        """(count, labels) int64: for each label the number of a value that was drawn for it."""
        rows = []
        for label, node in self._labels.items():
            rng = np.random.default_rng(derive_seed(seed, label))
            arguments = [_evaluate(argument, {}) for argument in node.pos_args]
            named = {name: _evaluate(argument, {}) for name, argument in node.named_args}
            drawn = _implementation(node.name)(*arguments, **named, rng=rng, size=(count,))
            held = self._values[label]
            rows.append(np.arange(len(held), len(held) + count))
            held.extend(drawn.tolist())
        return np.array(rows, np.int64).reshape(len(rows), count).T

    def document(self, genome: Genome) -> Document:
        """The configuration of these values, those of labels that its choices leave out unused."""
        drawn = {label: self._values[label][row] for label, row in zip(self._labels, genome, strict=True)}
        return dict(to_json({name: _evaluate(graph, drawn) for name, graph in self._graph.items()}))

    def _add(self, label: str, node: Any, dfs: Any) -> None:
        if self._labels.setdefault(label, node) is not node:
            raise DefinitionError(f"get_config() has two hyperopt expressions with the label {label!r}")
        if any(inner.name == "hyperopt_param" for inner in dfs(node)):
            raise DefinitionError(f"the range of {label!r} is itself a hyperopt expression; give it numbers")


class TpeSampler(ModelSampler):
    """Models a space of hyperopt expressions; `space` is the dict that `get_config()` returned."""

    def __init__(self, space: dict[str, Any], seed: int) -> None:
        super().__init__(HyperoptSpace(space), seed)


def _implementation(name: str) -> Any:
    from hyperopt.pyll import scope

    return scope._impls[name]


def _evaluate(node: Any, drawn: dict[str, Any]) -> Any:
    """The value of an expression, given those of its labels; of a choice, only the one chosen."""
    if node.name == "literal":
        return node.obj
    if node.name == "hyperopt_param":
        return drawn[node.arg["label"].obj]
    if node.name == "switch":
        return _evaluate(node.pos_args[_evaluate(node.pos_args[0], drawn) + 1], drawn)
    arguments = [_evaluate(argument, drawn) for argument in node.pos_args]
    named = {name: _evaluate(argument, drawn) for name, argument in node.named_args}
    if node.name == "dict":
        return named
    if node.name == "pos_args":
        return arguments
    return _implementation(node.name)(*arguments, **named)
