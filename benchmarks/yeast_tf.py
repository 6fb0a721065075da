"""Tune the yeast_tf example on Reb1 in yeast: test AUROC beside that of 6-mers, for several seeds.

Positives are 201 bp around the peaks, with three windows of like GC content each. Training is on chrI to
chrVIII, validation on chrIX and chrX, the test on chrXI and chrXII. A seed is that of the search and of the
negatives. The 6-mers are those that the evaluation shows: logistic regression on the same examples.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import EXAMPLES, ROOT, make_parser, report, setting, table

from base_model import choose_device

GENOME = "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
PARTS = {"GENOME": GENOME, "PEAKS": "Reb1.bed", "VAL": "IX,X", "TEST": "XI,XII"}
WANTED = 0.02


def tuned(data: Path, seed: int, epochs: int, batch_size: int, threads: int) -> dict[str, Any]:
    """What a search of one seed comes to."""
    environment = {**os.environ, **PARTS, "NEGATIVES_SEED": str(seed), "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        flags = [
            "--data",
            data,
            "--result",
            directory,
            "--hyper",
            "--sampler",
            "random",
            "--eval",
            "--seed",
            seed,
            "--quiet",
        ]
        flags += ["--epoch", epochs, "--batch-size", batch_size]
        command = [sys.executable, ROOT / "main.py", "--model", EXAMPLES / "yeast_tf/def.py", *flags]
        subprocess.run([str(part) for part in command], env=environment, check=True)
        results = Path(directory)
        network = json.loads((results / "test_result.json").read_text())["auroc"]
        kmers = json.loads((results / "baselines.json").read_text())["kmer_auroc"]
        config = json.loads((results / "best_config/config.json").read_text())
        histories = results.glob("trials/*/train_results.csv")
        trained = sum(len(path.read_text().splitlines()) - 1 for path in histories)
    seconds = time.perf_counter() - began
    return {
        "seed": seed,
        "network_auroc": network,
        "kmer_auroc": kmers,
        "config": config,
        "epochs_trained": trained,
        "seconds": seconds,
    }


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--epoch", type=int, default=18, help="[%(default)s]")
    parser.add_argument("--batch-size", type=int, default=100, help="[%(default)s]")
    args = parser.parse_args()

    data = Path(os.environ.get("HELIXBAND_DATA", ROOT / "../shared/data")) / "yeast"
    if not data.is_dir():
        print(f"skipped: there is no {data}; HELIXBAND_DATA names the folder that holds yeast")
        return 0
    runs = [tuned(data, seed, args.epoch, args.batch_size, args.threads) for seed in range(args.seeds)]
    gains = [run["network_auroc"] - run["kmer_auroc"] for run in runs]
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "scikit-learn"]),
        "epoch": args.epoch,
        "batch_size": args.batch_size,
        "runs": runs,
        "mean_gain": statistics.mean(gains),
        "least_gain": min(gains),
        "wanted_gain": WANTED,
    }
    head = ["seed", "network", "6-mers", "gain", "epochs", "seconds"]
    rows = [
        [run["seed"], f"{run['network_auroc']:.4f}", f"{run['kmer_auroc']:.4f}", f"{gain:+.4f}"]
        + [run["epochs_trained"], f"{run['seconds']:.0f}"]
        for run, gain in zip(runs, gains, strict=True)
    ]
    told = f"mean gain {statistics.mean(gains):+.4f}, least {min(gains):+.4f}; wanted: at least {WANTED}"
    report(document, [table(head, rows), told], args.json)
    return 0 if min(gains) >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
