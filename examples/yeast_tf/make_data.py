"""Make a small genome and the peaks of a factor on it: data/genome.fa and data/peaks.bed.

Six chromosomes of random sequence. The factor binds where its motif stands within a stretch rich in A and T;
the motif is there without that stretch too, as it is in real genomes. A peak is the one base in the middle
of a bound motif, give or take a few.
"""

import argparse
from pathlib import Path

import numpy as np

CHROMOSOMES = 6
LENGTH = 150_000
SITES = 60  # bound ones of a chromosome, and as many that are not
MOTIF = "TTACCCG"
STRETCH = 60  # bases around a bound site, of which four in five are A or T
SPACING = 1000


def make_chromosome(rng):
    """Return the sequence, and the positions of its peaks."""
    sequence = rng.choice(list("ACGT"), LENGTH, p=[0.31, 0.19, 0.19, 0.31])
    places = rng.choice(np.arange(1, LENGTH // SPACING), 2 * SITES, replace=False) * SPACING
    peaks = []
    for number, place in enumerate(places.tolist()):
        if number < SITES:
            stretch = slice(place - STRETCH // 2, place + STRETCH // 2)
            sequence[stretch] = rng.choice(list("ACGT"), STRETCH, p=[0.4, 0.1, 0.1, 0.4])
            peaks.append(place + int(rng.integers(-5, 6)))
        motif = MOTIF if rng.random() < 0.5 else MOTIF[::-1].translate(str.maketrans("ACGT", "TGCA"))
        sequence[place - 3 : place + 4] = list(motif)
    return "".join(sequence), sorted(peaks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder to write to [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "genome.fa", "w") as genome, open(args.out / "peaks.bed", "w") as bed:
        for number in range(1, CHROMOSOMES + 1):
            sequence, peaks = make_chromosome(rng)
            lines = [sequence[start : start + 60] for start in range(0, LENGTH, 60)]
            genome.write(f">chr{number}\n" + "\n".join(lines) + "\n")
            bed.writelines(f"chr{number}\t{peak}\t{peak + 1}\n" for peak in peaks)


if __name__ == "__main__":
    main()
