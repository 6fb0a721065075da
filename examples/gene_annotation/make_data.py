"""Make sequences with genes in them, and the class of each base: data/train.npz, val.npz and test.npz.

A hidden Markov model makes them: each base has a state, on which the state of the next one depends. A gene
begins and ends with a signal, and so does an intron. In exons the three places of a codon have bases of their
own. As the model is known, so are the probabilities of the states, given a sequence: no other model can say
more.
"""

import argparse
from pathlib import Path

import numpy as np

CLASSES = ["O", "exon", "intron"]
LENGTH = 300
STATES = {  # class, and shares of A, C, G, T
    "outside": (0, [0.30, 0.20, 0.20, 0.30]),
    "codon 1": (1, [0.20, 0.15, 0.55, 0.10]),
    "codon 2": (1, [0.40, 0.30, 0.10, 0.20]),
    "codon 3": (1, [0.10, 0.45, 0.30, 0.15]),
    "intron": (2, [0.20, 0.10, 0.15, 0.55]),
}
SIGNALS = {"start": (1, "ATGGCA"), "donor": (2, "GTAAGT"), "acceptor": (2, "TTGCAG"), "stop": (1, "TGATAA")}
STEPS = [  # from the end of one state or signal to the next, and how often
    ("outside", "outside", 0.985),
    ("outside", "start", 0.015),
    ("start", "codon 1", 1),
    ("codon 1", "codon 2", 1),
    ("codon 2", "codon 3", 1),
    ("codon 3", "codon 1", 0.90),
    ("codon 3", "donor", 0.05),
    ("codon 3", "stop", 0.05),
    ("donor", "intron", 1),
    ("intron", "intron", 0.97),
    ("intron", "acceptor", 0.03),
    ("acceptor", "codon 1", 1),
    ("stop", "outside", 1),
]


def make_model():
    """Return the class of each state, the chances of the next state, and those of the bases."""
    classes, bases = [each[0] for each in STATES.values()], [each[1] for each in STATES.values()]
    first = {name: number for number, name in enumerate(STATES)}
    last, within = dict(first), []
    for name, (its_class, letters) in SIGNALS.items():
        first[name] = len(classes)
        classes += [its_class] * len(letters)
        bases += [[0.97 if base == letter else 0.01 for base in "ACGT"] for letter in letters]
        last[name] = len(classes) - 1
        within += [(state, state + 1) for state in range(first[name], last[name])]
    following = np.zeros((len(classes), len(classes)))
    for before, after, share in STEPS:
        following[last[before], first[after]] = share
    for before, after in within:
        following[before, after] = 1
    return np.array(classes), following, np.array(bases)


CLASS_OF_STATE, NEXT, BASES = make_model()


def draw(shares, rng):
    """Return an index for each row of shares, (n, k) to (n,)."""
    return (rng.random((len(shares), 1)) > shares.cumsum(1)).sum(1).clip(max=shares.shape[1] - 1)


def make_sequences(n, rng):
    """Return the bases (n, LENGTH), 0 to 3, and the class of each; all begin outside of genes."""
    states = np.zeros((n, LENGTH), np.int64)
    for place in range(1, LENGTH):
        states[:, place] = draw(NEXT[states[:, place - 1]], rng)
    x = draw(BASES[states.ravel()], rng).reshape(n, LENGTH)
    return x.astype(np.uint8), CLASS_OF_STATE[states]


def posterior(x):
    """Return the probability of each class at each base, (n, classes, LENGTH), by forward-backward."""
    of_bases = BASES.T[x]  # (n, LENGTH, states)
    forward, backward = np.zeros_like(of_bases), np.ones_like(of_bases)
    forward[:, 0, 0] = 1
    for place in range(1, LENGTH):
        forward[:, place] = (forward[:, place - 1] @ NEXT) * of_bases[:, place]
        forward[:, place] /= forward[:, place].sum(1, keepdims=True)
    for place in reversed(range(LENGTH - 1)):
        backward[:, place] = (backward[:, place + 1] * of_bases[:, place + 1]) @ NEXT.T
        backward[:, place] /= backward[:, place].sum(1, keepdims=True)
    of_states = forward * backward
    of_classes = of_states @ np.eye(len(CLASSES))[CLASS_OF_STATE]
    return (of_classes / of_classes.sum(2, keepdims=True)).transpose(0, 2, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder to write to [%(default)s]")
    parser.add_argument("--sequences", type=int, default=1000, help="of the training [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, n in {"train": args.sequences, "val": args.sequences // 5, "test": args.sequences // 5}.items():
        x, y = make_sequences(n, rng)
        np.savez(args.out / f"{name}.npz", x=x, y=y)
    best = (posterior(x).argmax(1) == y).mean()
    print(f"the best accuracy that a model can have on the test set: {best:.3f}")


if __name__ == "__main__":
    main()
