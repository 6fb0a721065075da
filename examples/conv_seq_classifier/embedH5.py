"""Embed sequences as one-hot matrices, in HDF5 files of a fixed number of sequences each.

Reads a TSV of one `>name SEQUENCE` a line and a target file of one class a line, and writes
OUT.batch1, OUT.batch2, ..., each with the data sets

    data    float32 (N, 4, L)   one-hot in the order ACGT; N is all zeros
    label   int64 (N,)          class index
"""

import argparse
import sys
from pathlib import Path

import h5py
import numpy as np

UNKNOWN = 255
INDEX = np.full(256, UNKNOWN, np.uint8)  # byte -> index of the letter in ACGTN
for letters in ("ACGTN", "acgtn"):
    INDEX[list(letters.encode())] = range(5)


class InputError(Exception):
    """A fault of an input file, told as file:line: what is wrong."""

    def __init__(self, path, line, message):
        super().__init__(f"{path}:{line}: {message}")


def read_sequences(path):
    """Read the sequences, all of one length, as indexes into ACGTN, uint8 (N, L)."""
    sequences = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2 or not line.startswith(b">"):
            raise InputError(path, number, "expected '>name SEQUENCE' (is the FASTA wrapped?)")
        sequences.append(fields[1])
        n, expected = len(fields[1]), len(sequences[0])
        if n != expected:
            raise InputError(path, number, f"{n} letters, but {expected} in line 1")
    if not sequences:
        raise InputError(path, 1, "no sequences")

    text = np.frombuffer(b"".join(sequences), np.uint8).reshape(len(sequences), -1)
    indexes = INDEX[text]
    for row, column in np.argwhere(indexes == UNKNOWN)[:1]:
        letter = chr(text[row, column])
        raise InputError(path, row + 1, f"letter {column + 1} is {letter!r}, not one of ACGTN")
    return indexes


def read_labels(path):
    """Read class indexes, int64 (N,), from one column of indexes or from one-hot columns."""
    labels = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        fields = line.split()
        if number == 1:
            n_columns = len(fields)
        if len(fields) != n_columns:
            raise InputError(path, number, f"{len(fields)} columns, but {n_columns} in line 1")
        if n_columns == 1 and fields[0].isdigit():
            labels.append(int(fields[0]))
        elif n_columns > 1 and sorted(fields) == [b"0"] * (n_columns - 1) + [b"1"]:
            labels.append(fields.index(b"1"))
        else:
            raise InputError(path, number, "expected a class index, or one 1 among 0s")
    return np.array(labels, np.int64)


def embed(tsv, target, out, batch):
    """Write the sequences of `tsv` and classes of `target` to OUT.batch*, `batch` to a file."""
    indexes, labels = read_sequences(tsv), read_labels(target)
    if len(indexes) != len(labels):
        paths = (tsv, target) if len(indexes) > len(labels) else (target, tsv)
        n = min(len(indexes), len(labels))
        raise InputError(paths[0], n + 1, f"no such line in {paths[1]}, which has {n}")

    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f"{out.name}.batch*"):  # of an earlier run that made more
        stale.unlink()
    for number, start in enumerate(range(0, len(indexes), batch), 1):
        rows = slice(start, start + batch)
        one_hot = indexes[rows, None, :] == np.arange(4)[:, None]
        with h5py.File(f"{out}.batch{number}", "w") as file:
            file["data"] = one_hot.astype(np.float32)
            file["label"] = labels[rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("tsv", type=Path, help="a '>name SEQUENCE' a line")
    parser.add_argument("target", type=Path, help="a class a line: its index, or one-hot columns")
    parser.add_argument("out", type=Path, help="the files written are OUT.batch1, OUT.batch2, ...")
    parser.add_argument("--batch", type=int, default=1000, help="sequences a file [%(default)s]")
    args = parser.parse_args()
    if args.batch < 1:
        parser.error("--batch must be at least 1")
    try:
        embed(args.tsv, args.target, args.out, args.batch)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
