"""Make a toy data set of protein-bound DNA: FASTA and target files, the same on every run.

A bound sequence (class 1) is random DNA with one CTCF site, on either strand. Each has an unbound
partner (class 0) of the same set: its own dinucleotide shuffle, so that composition tells nothing
and a network has to find the motif.

    raw_data/{train,valid,test}.fa       two lines a record: >name, sequence of 101 bp
    raw_data/{train,valid,test}.target   the class of each record, one-hot: unbound 1 0, bound 0 1
    raw_data/unlabelled.fa               more of both kinds, to predict on
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

LENGTH = 101  # bp
N_RECORDS = {"train": 2000, "valid": 500, "test": 500, "unlabelled": 300}

# CTCF, JASPAR 2024 MA0139.2: a row a position, a column a letter (A, C, G, T), in percent.
CTCF = np.array([
    [31,  5, 49, 15],
    [ 6, 88,  2,  4],
    [ 1, 99,  0,  0],
    [82,  1,  7, 10],
    [ 4, 58, 37,  1],
    [12, 47,  5, 36],
    [93,  1,  4,  2],
    [ 1,  0, 99,  0],
    [37,  0, 62,  1],
    [ 6,  1, 55, 38],
    [ 1,  0, 98,  1],
    [ 6,  1, 85,  8],
    [11, 81,  1,  7],
    [41,  1, 56,  2],
    [ 9, 53, 34,  4],
]) / 100  # fmt: skip


def bound_sequence(rng):
    """Plant a CTCF site in random DNA, at a random position of a random strand."""
    site = "".join(rng.choice(list("ACGT"), p=row) for row in CTCF)
    if rng.random() < 0.5:
        site = site[::-1].translate(str.maketrans("ACGT", "TGCA"))
    start = rng.integers(LENGTH - len(site) + 1)
    background = "".join(rng.choice(list("ACGT"), LENGTH))
    return background[:start] + site + background[start + len(site) :]


def dinucleotide_shuffle(sequence, rng):
    """Draw uniformly from the sequences with the dinucleotide counts and the ends of `sequence`.

    Such a sequence is an Euler path through the graph whose edges are the dinucleotides. A random
    order of the edges out of each letter is such a path if, from every letter, the edges taken last
    lead to the final letter; other orders are drawn again (Altschul and Erickson 1985,
    doi:10.1093/oxfordjournals.molbev.a040370).
    """
    end = sequence[-1]
    successors = {letter: [] for letter in sequence}
    for letter, successor in pairwise(sequence):
        successors[letter].append(successor)

    reached = set()
    while reached != {end}:
        for edges in successors.values():
            rng.shuffle(edges)
        last = {letter: edges[-1] for letter, edges in successors.items() if letter != end}
        reached = set(successors)
        for _ in last:
            reached = {last.get(letter, end) for letter in reached}

    edges = {letter: iter(order) for letter, order in successors.items()}
    path = [sequence[0]]
    while len(path) < len(sequence):
        path.append(next(edges[path[-1]]))
    return "".join(path)


def make_records(n, rng):
    """Make `n` sequences in random order, every second one bound, and their classes (0 or 1)."""
    bound = [bound_sequence(rng) for _ in range(n // 2)]
    records = [(s, 1) for s in bound] + [(dinucleotide_shuffle(s, rng), 0) for s in bound]
    rng.shuffle(records)
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default="raw_data", help="folder to write to")
    out = parser.parse_args().out

    out.mkdir(parents=True, exist_ok=True)
    (out.parent / "data").mkdir(exist_ok=True)  # for what is made of the raw data: see README.md

    rng = np.random.default_rng(0)
    for name, n in N_RECORDS.items():
        records = make_records(n, rng)
        with open(out / f"{name}.fa", "w") as fasta:
            for i, (sequence, _) in enumerate(records, 1):
                fasta.write(f">{name}_{i:05d}\n{sequence}\n")
        if name != "unlabelled":
            with open(out / f"{name}.target", "w") as target:
                target.writelines(("1\t0\n", "0\t1\n")[label] for _, label in records)


if __name__ == "__main__":
    main()
