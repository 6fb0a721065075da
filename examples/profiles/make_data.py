"""Make a genome and reads along it: data/genome.fa, data/peaks.bed and data/reads.bw.

A factor is bound at each copy of its motif, on either strand. Reads end beside a bound factor, most of them
15 bases before and after it, and hardly any on it: its footprint. Another factor's motif, where it stands
beside the first one, doubles the reads. A peak is one base near the middle of a motif.
"""

import argparse
from pathlib import Path

import numpy as np
import pybigtools

CHROMOSOMES = 6
SPACING = 500
MOTIF, HELPER = "TTACCCG", "GCTGAGTC"
COMPLEMENT = dict(zip("ACGT", "TGCA", strict=True))
BACKGROUND, READS = 0.02, 50.0  # reads a base, and of a site
REACH = 60  # bases to each side of a site that have reads of it


def shape_of_site():
    """Return the shares of a site's reads, at each base from REACH before its middle to REACH behind it."""
    distance = np.abs(np.arange(-REACH, REACH + 1))
    shares = np.exp(-(((distance - 15) / 6.0) ** 2)) + 0.05 * np.exp(-distance / 20.0)
    shares[distance <= 5] *= 0.1
    return shares / shares.sum()


def make_chromosome(sites, rng):
    """Return the sequence, the expected number of reads at each base, and the peaks."""
    sequence = rng.choice(list("ACGT"), (sites + 2) * SPACING)
    expected = np.full(len(sequence), BACKGROUND)
    peaks = []
    for number in range(1, sites + 1):
        place, helped = number * SPACING + int(rng.integers(100)), rng.random() < 0.5
        site = list(MOTIF) + (list(rng.choice(list("ACGT"), 5)) + list(HELPER) if helped else [])
        if rng.random() < 0.5:
            sequence[place - 3 : place - 3 + len(site)] = site
        else:
            sequence[place + 4 - len(site) : place + 4] = [COMPLEMENT[base] for base in reversed(site)]
        expected[place - REACH : place + REACH + 1] += READS * (3 if helped else 1) * shape_of_site()
        peaks.append(place + int(rng.integers(-20, 21)))
    return "".join(sequence), expected, peaks


def make_genome(sites, seed):
    """Yield the name of each chromosome, its sequence, expected and counted reads, and its peaks."""
    rng = np.random.default_rng(seed)
    for number in range(1, CHROMOSOMES + 1):
        sequence, expected, peaks = make_chromosome(sites, rng)
        yield f"chr{number}", sequence, expected, rng.poisson(expected), peaks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("data"), help="the folder to write to [%(default)s]")
    parser.add_argument("--sites", type=int, default=400, help="of each chromosome [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    lengths, values = {}, []
    with open(args.out / "genome.fa", "w") as genome, open(args.out / "peaks.bed", "w") as bed:
        for name, sequence, _, reads, peaks in make_genome(args.sites, args.seed):
            genome.write(f">{name}\n{sequence}\n")
            bed.writelines(f"{name}\t{peak}\t{peak + 1}\n" for peak in peaks)
            lengths[name] = len(sequence)
            values += [
                (name, int(place), int(place) + 1, float(reads[place])) for place in reads.nonzero()[0]
            ]
    pybigtools.open(str(args.out / "reads.bw"), "w").write(lengths, iter(values))


if __name__ == "__main__":
    main()
