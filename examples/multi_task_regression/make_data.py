"""Make sequences with two measurements each, of which some are missing: FASTA and a table of each part.

"expression" grows with the number of one motif, the more the nearer it stands to the end. "decay" grows with
the number of another one, and falls with the first. Both have noise. A third of the numbers is missing.
"""

import argparse
from pathlib import Path

import numpy as np

LENGTH = 120
UP, DOWN = "TGACTCA", "AATAAAG"


def make_example(rng):
    """Return a sequence, and its expression and decay."""
    sequence = rng.choice(list("ACGT"), LENGTH)
    places = rng.permutation(LENGTH // 10 - 1) * 10 + rng.integers(0, 4)
    ups, downs = np.split(places[: rng.integers(1, 6)], [rng.integers(0, 4)])
    for motif, where in ((UP, ups), (DOWN, downs)):
        for place in where:
            sequence[place : place + len(motif)] = list(motif)
    expression = (0.5 + ups / LENGTH).sum()
    decay = 0.8 * len(downs) - 0.3 * len(ups)
    return "".join(sequence), [expression, decay] + rng.normal(0, 0.2, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder to write to [%(default)s]")
    parser.add_argument("--sequences", type=int, default=4000, help="of the training [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, n in {"train": args.sequences, "val": args.sequences // 8, "test": args.sequences // 8}.items():
        sequences, numbers = zip(*(make_example(rng) for _ in range(n)), strict=True)
        table = np.where(rng.random((n, 2)) < 1 / 3, np.nan, numbers)
        lines = [f">{name}_{number}\n{sequence}\n" for number, sequence in enumerate(sequences)]
        (args.out / f"{name}.fa").write_text("".join(lines))
        np.savetxt(args.out / f"{name}.tsv", table, "%.3f", "\t", header="expression\tdecay", comments="")


if __name__ == "__main__":
    main()
