"""Time the leakage audit of 50,000 training and 20,000 test sequences of 101 bp, with leaks planted in them.

The sequences are random; of each kind of leak, 500 test sequences are made from a training one. The command
is run as a user runs it, in a process of its own and without the encoded files of an earlier run; which of
the planted sequences are found is looked up in this process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, make_parser, report, setting, table
from numpy.typing import NDArray

from helixband.audit.audit import Examples, audit
from helixband.sequence.alphabet import DNA
from helixband.sequence.negatives import dinucleotide_shuffle

N_TRAIN, N_TEST, LENGTH = 50_000, 20_000, 101
N_PLANTED = 500  # of each kind
WANTED_SECONDS = 20
WANTED_RECALL = 0.9

Codes = NDArray[np.uint8]
Rng = np.random.Generator


def substituted(share: float) -> Callable[[Codes, Rng], Codes]:
    """Sequences (N, L) with about this share of their bases replaced by others."""

    def make(codes: Codes, rng: Rng) -> Codes:
        others = (codes + rng.integers(1, 4, codes.shape, dtype=np.uint8)) % 4
        return np.where(rng.random(codes.shape) < share, others, codes)

    return make


def shifted(codes: Codes, rng: Rng) -> Codes:
    """The second halves of sequences, and random bases after them."""
    half = codes.shape[1] // 2
    return np.hstack([codes[:, half:], rng.integers(0, 4, (len(codes), half), dtype=np.uint8)])


# What is made from training sequences, and whether it is like them.
PLANTED: dict[str, tuple[Callable[[Codes, Rng], Codes], bool]] = {
    "equal": (lambda codes, rng: codes, True),
    "reverse complement": (lambda codes, rng: DNA.reverse_complement(codes), True),
    "5% substituted": (substituted(0.05), True),
    "10% substituted": (substituted(0.10), True),
    "10% substituted, other strand": (
        lambda codes, rng: substituted(0.10)(DNA.reverse_complement(codes), rng),
        True,
    ),
    "shifted by half": (shifted, True),
    "dinucleotide shuffle": (dinucleotide_shuffle, False),
}


def make_sets(rng: Rng) -> tuple[Codes, Codes]:
    """(training, test) sequences; the planted ones, kind after kind, are the first of the test set."""
    train = rng.integers(0, 4, (N_TRAIN, LENGTH), dtype=np.uint8)
    sources = rng.permutation(N_TRAIN)[: len(PLANTED) * N_PLANTED].reshape(len(PLANTED), N_PLANTED)
    planted = [make(train[chosen], rng) for (make, _), chosen in zip(PLANTED.values(), sources, strict=True)]
    rest = rng.integers(0, 4, (N_TEST - sources.size, LENGTH), dtype=np.uint8)
    return train, np.concatenate([*planted, rest])


def write(path: Path, codes: Codes, labels: NDArray[np.int64]) -> None:
    """A FASTA file and its `.target`."""
    records = (f">{number}\n{text}\n" for number, text in enumerate(DNA.decode(codes)))
    path.write_text("".join(records))
    path.with_suffix(".target").write_text("".join(f"{label}\n" for label in labels.tolist()))


def run_command(folder: Path, threads: int) -> tuple[float, dict[str, Any]]:
    """(seconds, what it printed) of the audit as a command."""
    environment = {**os.environ, "HELIXBAND_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "helixband.audit.audit", "train.fa", "test.fa", "--json"]
    environment["PYTHONPATH"] = str(ROOT)
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - began, json.loads(done.stdout)


def main() -> int:
    args = make_parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    train, test = make_sets(rng)
    with tempfile.TemporaryDirectory() as directory:
        for name, codes in (("train.fa", train), ("test.fa", test)):
            write(Path(directory) / name, codes, rng.integers(0, 2, len(codes)))
        seconds, found = run_command(Path(directory), args.threads)
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000

    alike = audit(Examples(train), Examples(test)).similar
    groups = [alike[number * N_PLANTED :][:N_PLANTED] for number in range(len(PLANTED))]
    groups.append(alike[len(PLANTED) * N_PLANTED :])
    kinds = {name: is_like for name, (_, is_like) in PLANTED.items()} | {"random": False}
    shares = {name: float(group.mean()) for name, group in zip(kinds, groups, strict=True)}
    good = all(
        shares[name] >= WANTED_RECALL if is_like else shares[name] == 0 for name, is_like in kinds.items()
    )
    document = {
        "setting": setting(torch.device("cpu"), ["numpy", "scipy", "scikit-learn"]),
        "seconds": seconds,
        "wanted_seconds": WANTED_SECONDS,
        "peak_megabytes": megabytes,
        "share_found": shares,
        "report": found,
    }
    rows = [
        [name, len(group), f"{share:.1%}", f"at least {WANTED_RECALL:.0%}" if is_like else "none"]
        for (name, is_like), share, group in zip(kinds.items(), shares.values(), groups, strict=True)
    ]
    told = (
        f"{seconds:.1f} s, imports and reading included (wanted: under {WANTED_SECONDS}); {megabytes:.0f} MB"
    )
    report(
        document, [table(["test sequences", "number", "said to be alike", "wanted"], rows), told], args.json
    )
    return 0 if good and seconds < WANTED_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
