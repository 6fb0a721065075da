"""Make sequences of repeated elements: data/train.fa, val.fa and test.fa, without labels.

A sequence is a row of elements, each a copy of one of a few families, in which some bases differ. So a base
that is wrong or hidden can be told from the rest of its element.
"""

import argparse
from pathlib import Path

import numpy as np

FAMILIES, ELEMENT, ELEMENTS = 12, 24, 5
DIFFERENT = 0.05  # share of the bases of a copy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder to write to [%(default)s]")
    parser.add_argument("--sequences", type=int, default=2000, help="of the training [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    letters = np.array(list("ACGT"))
    families = rng.choice(letters, (FAMILIES, ELEMENT))
    for name, n in {"train": args.sequences, "val": args.sequences // 8, "test": args.sequences // 8}.items():
        rows = families[rng.integers(FAMILIES, size=(n, ELEMENTS))].reshape(n, -1)
        rows = np.where(rng.random(rows.shape) < DIFFERENT, rng.choice(letters, rows.shape), rows)
        lines = [f">{name}_{number}\n{''.join(row)}\n" for number, row in enumerate(rows)]
        (args.out / f"{name}.fa").write_text("".join(lines))


if __name__ == "__main__":
    main()
