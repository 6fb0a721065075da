"""How much of the reward's variance is due to each hyperparameter: functional analysis of variance.

Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. A
random forest is fitted to the results of all rungs; each of its trees is a function that is constant on
boxes, so that its variance and the means over all hyperparameters but one are sums over its leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.report.columns import Column

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEWEST = 15
"""Results with fewer than this explain nothing."""

_TREES, _LEAVES, _LEAST_IN_LEAF = 64, 96, 3


@dataclass(frozen=True)
class Share:
    """A share of the variance: the median over the trees, and the 10th and 90th percentile around it."""

    name: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """The first-order shares of hyperparameters, largest first, and what is left to their interactions.

    Where they cannot be told, `shares` is empty and `reason` says why.
    """

    shares: list[Share]
    interactions: Share | None = None
    reason: str = ""


def importance(
    columns: Sequence[Column], results: Sequence[tuple[int, int, float]], seed: int = 0
) -> Importance:
    """Importance from results, each (index of the trial in the columns, epochs, reward).

    What is explained is the rank of a reward among all, so that one trial that diverged is not all the
    variance. The forest has the epochs as an input besides, over which it is averaged. A hyperparameter
    counts as drawn apart from the others, from the values that the trials had; none is a value too.
    """
    varying = [column for column in columns if column.varies]
    trials = {trial for trial, _, _ in results}
    if not varying:
        return Importance([], reason="no hyperparameter has more than one value")
    if len(trials) < FEWEST:
        return Importance([], reason=f"{len(trials)} trials have a reward, and it takes {FEWEST} at least")
    ranks = _ranks(np.array([reward for _, _, reward in results], np.float64))
    if not ranks.any():
        return Importance([], reason="all rewards are equal")
    index = np.array([trial for trial, _, _ in results])
    coded = [_codes(column, index, ranks) for column in varying]
    epochs = np.unique([epochs for _, epochs, _ in results], return_inverse=True)[1]
    shares = _forest_shares(np.column_stack([*(codes[index] for codes in coded), epochs]), coded, ranks, seed)
    if not len(shares):
        return Importance([], reason="the rewards do not visibly depend on the hyperparameters")
    names = [column.name for column in varying]
    found = [_share(name, shares[:, k]) for k, name in enumerate(names)]
    found.sort(key=lambda share: (-share.median, -share.high, share.name))
    return Importance(found, _share("interactions", 1 - shares.sum(axis=1)))


def tree_shares(
    lower: Codes, upper: Codes, values: Floats, marginals: Sequence[Floats], averaged: Floats
) -> Floats | None:
    """The first-order shares (D,) of the variance of a function that is constant on L boxes.

    Box l holds the codes from `lower[l, d]` to below `upper[l, d]`, of D hyperparameters and last of one
    input more, over whose distribution `averaged` the function is averaged first. `marginals` holds the
    probabilities of each hyperparameter's codes. None where the function is constant.

    >>> boxes = np.array([[0, 0], [1, 0]]), np.array([[1, 1], [2, 1]])
    >>> tree_shares(*boxes, np.array([0.0, 1.0]), [np.array([0.5, 0.5])], np.array([1.0])).tolist()
    [1.0]
    """
    sums = [np.append(0.0, np.cumsum(marginal)) for marginal in [*marginals, averaged]]
    inside = np.stack([s[upper[:, d]] - s[lower[:, d]] for d, s in enumerate(sums)], axis=1)
    weights = inside.prod(axis=1)
    mean = float(weights @ values)
    # The mean of the squared average: of two boxes, where the two overlap, in all but the last input.
    common = np.outer(inside[:, -1] * values, inside[:, -1] * values)
    for d, s in enumerate(sums[:-1]):
        high = np.minimum.outer(upper[:, d], upper[:, d])
        low = np.minimum(np.maximum.outer(lower[:, d], lower[:, d]), high)
        common *= s[high] - s[low]
    variance = float(common.sum()) - mean**2
    if variance < 1e-12:
        return None
    shares = np.empty(len(marginals))
    for d, marginal in enumerate(marginals):
        steps = np.zeros(len(marginal) + 1)
        part = weights / inside[:, d] * values  # no box is empty: the forest saw something in it
        np.add.at(steps, lower[:, d], part)
        np.add.at(steps, upper[:, d], -part)
        shares[d] = marginal @ (np.cumsum(steps)[:-1] - mean) ** 2 / variance
    return shares


def _forest_shares(inputs: Codes, coded: list[Codes], ranks: Floats, seed: int) -> Floats:
    """The shares by each tree that is not constant (trees, D)."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        _TREES, min_samples_leaf=_LEAST_IN_LEAF, max_leaf_nodes=_LEAVES, random_state=seed
    )
    forest.fit(inputs, ranks)
    marginals = [np.bincount(codes) / len(codes) for codes in coded]
    averaged = np.bincount(inputs[:, -1]) / len(inputs)
    sizes = np.array([*map(len, marginals), len(averaged)])
    shares = []
    for tree in forest.estimators_:
        lower, upper, values = _boxes(tree.tree_, sizes)
        found = tree_shares(lower, upper, values, marginals, averaged)
        if found is not None:
            shares.append(found)
    return np.array(shares)


def _boxes(tree: Any, sizes: Codes) -> tuple[Codes, Codes, Floats]:
    """The leaves of a tree of scikit-learn: where each begins and ends in codes, and its value."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    threshold, value = tree.threshold, tree.value
    lower = np.zeros((len(left), len(sizes)), np.int64)
    upper = np.tile(sizes, (len(left), 1))
    for node in np.flatnonzero(left >= 0):  # a node stands before its children
        for child in (left[node], right[node]):
            lower[child], upper[child] = lower[node], upper[node]
        cut = int(np.floor(threshold[node])) + 1  # codes up to the threshold go to the left
        upper[left[node], feature[node]] = lower[right[node], feature[node]] = cut
    leaf = left < 0
    return lower[leaf], upper[leaf], value[leaf, 0, 0]


def _codes(column: Column, index: Codes, ranks: Floats) -> Codes:
    """Each trial's value as a code from 0: of numbers by size, of categories by mean rank; missing is 0."""
    present = sorted({value for value in column.values if value is not None})
    if column.categories is not None:
        seen = [ranks[[column.values[trial] == value for trial in index]] for value in present]
        means = [float(some.mean()) if len(some) else 0.0 for some in seen]
        present = [value for _, value in sorted(zip(means, present, strict=True))]
    order = [None] * (None in column.values) + present
    places = {value: code for code, value in enumerate(order)}
    return np.array([places[value] for value in column.values])


def _ranks(rewards: Floats) -> Floats:
    """Ranks from 0 to 1, equal rewards alike; all 0 where the rewards are all equal."""
    _, places, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts + 1) / 2
    ranks: Floats = middles[places] - middles[0]
    return ranks / max(1.0, float(ranks.max()))


def _share(name: str, values: Floats) -> Share:
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    return Share(name, float(median), float(low), float(high))
