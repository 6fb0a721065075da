"""Small data sets for the recipes, simulated with NumPy: sequences with motifs, and what depends on these."""

import numpy as np
import torch

SEED = 0
BATCH_SIZE = 64
SIZES = {"train": 1600, "val": 400}
LENGTH = 200
MOTIFS = np.random.default_rng(1).integers(0, 4, (8, 8))


def order(epoch):
    """The order of a shuffled epoch, (N,): the one that Helixband's generators draw."""
    return torch.from_numpy(np.random.default_rng([SEED, epoch]).permutation(SIZES["train"]))


def sequences(which):
    """(one-hot sequences (N, 4, LENGTH) float32, which of 8 motifs they have (N, 8) bool, random numbers)."""
    n, rng = SIZES[which], np.random.default_rng([2, which == "val"])
    codes, planted = rng.integers(0, 4, (n, LENGTH)), rng.random((n, len(MOTIFS))) < 0.4
    for motif, rows in enumerate(planted.T):
        for row in np.flatnonzero(rows):
            start = 24 * motif + rng.integers(0, 16)
            codes[row, start : start + MOTIFS.shape[1]] = MOTIFS[motif]
    return np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).copy(), planted, rng


def labels(which):
    """Several labels an example, (N, 8) float32: the motifs, a few of them wrong."""
    x, planted, rng = sequences(which)
    return x, (planted ^ (rng.random(planted.shape) < 0.05)).astype(np.float32)


def activities(which, columns=2, noise=0.3):
    """Real numbers, (N, columns) float32: sums of the effects of motifs, with noise."""
    x, planted, rng = sequences(which)
    effects = np.random.default_rng(3).normal(size=(len(MOTIFS), columns))
    return x, (planted @ effects + noise * rng.normal(size=(len(x), columns))).astype(np.float32)


def masked_activities(which):
    """The same for three assays, (N, 3); three in ten are missing, NaN."""
    x, y = activities(which, 3)
    y[np.random.default_rng([4, which == "val"]).random(y.shape) < 0.3] = np.nan
    return x, y


def profiles(which):
    """Counts along the sequence, (N, LENGTH) float32, higher at the first three motifs."""
    x, planted, rng = sequences(which)
    rates = np.full((len(x), LENGTH), 0.2)
    for motif in range(3):
        rates[:, 24 * motif : 24 * motif + 24] += 2.0 * planted[:, motif, None]
    return x, rng.poisson(rates).astype(np.float32)


def classes(which):
    """Whether the first motif or the second is there, but not both, (N,) int64."""
    x, planted, _ = sequences(which)
    return x, (planted[:, 0] ^ planted[:, 1]).astype(np.int64)
