"""Tasks compared with the best that is possible on simulated data, or with a simpler model on real data.

`labels`: several labels that depend on planted motifs, beside the chances that made them. `tokens`: the genes
of examples/gene_annotation, beside the hidden Markov model that made them. `profiles`: the footprints of
examples/profiles, beside the expected reads that made them, and shuffled reads. `mpra`: expression of
promoters of E. coli, beside a ridge regression on 6-mers with the same split by position. A seed is that of
the simulated data and of the training; of `mpra` that of the training.
"""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import EXAMPLES, ROOT, load_script, make_parser, report, setting, table

from base_model import choose_device
from helixband import metrics
from helixband.sequence.alphabet import DNA
from helixband.sequence.fasta import read_fasta

FILES = Path(__file__).parent / "task_files"
DATA = Path(os.environ.get("HELIXBAND_DATA", ROOT / "../shared/data")) / "ecoli_mpra"
PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}
Found = dict[str, tuple[float, float]]
"""By name what the network has, and what it is compared with."""


def train(definition: Path, data: Path, seed: int, epochs: int, flags: list[str]) -> Any:
    """The test result of a definition."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, ROOT / "main.py", "--model", definition, "--data", data]
        command += ["--result", results, "--eval", "--quiet", "--seed", seed, "--epoch", epochs, *flags]
        subprocess.run([str(part) for part in command], check=True)
        return json.loads((Path(results) / "test_result.json").read_text())


def labels(data: Path, seed: int, flags: list[str]) -> Found:
    definition = FILES / "multi_label.py"
    simulation, rng = load_script(definition), np.random.default_rng(seed)
    for name, n in {"train": 8000, "val": 1000, "test": 4000}.items():
        x, y, chances = simulation.make(n, rng)
        np.savez(data / f"{name}.npz", x=x, y=y)
    found = train(definition, data, seed, 12, ["--batch-size", "64", *flags])
    best = metrics.over_labels(metrics.auroc, y, chances).mean
    right = metrics.over_labels(metrics.accuracy, y, chances).mean
    return {"AUROC": (found["auroc"], best), "accuracy": (found["accuracy"], right)}


def tokens(data: Path, seed: int, flags: list[str]) -> Found:
    example = EXAMPLES / "gene_annotation"
    simulation, rng = load_script(example / "make_data.py"), np.random.default_rng(seed)
    for name, n in {"train": 2000, "val": 200, "test": 500}.items():
        x, y = simulation.make_sequences(n, rng)
        np.savez(data / f"{name}.npz", x=x, y=y)
    found = train(example / "def.py", data, seed, 12, ["--batch-size", "32", *flags])
    best = (simulation.posterior(x).argmax(1) == y).mean()
    return {"accuracy": (found["accuracy"], float(best))}


def footprints(data: Path, seed: int, flags: list[str]) -> Found:
    example = EXAMPLES / "profiles"
    command = [sys.executable, example / "make_data.py", "--out", data, "--seed", seed]
    subprocess.run([str(part) for part in command], check=True)
    found = train(example / "def.py", data, seed, 20, ["--batch-size", "32", *flags])
    make_data, window = load_script(example / "make_data.py"), load_script(example / "def.py").WINDOW
    *_, (_, _, expected, reads, peaks) = make_data.make_genome(400, seed)  # chr6, the test set
    begins = np.array(peaks) - window // 2
    places = begins[:, None] + np.arange(window)
    best = metrics.jensen_shannon(reads[places].astype(float), expected[places])
    return {
        "Jensen–Shannon, and that of the expected reads": (found["jensen_shannon"], best),
        "the same, and that of shuffled reads": (found["jensen_shannon"], found["jensen_shannon_shuffled"]),
    }


def mpra(data: Path, seed: int, flags: list[str]) -> Found:
    x, y = read_promoters()
    ends = np.cumsum([round(share * len(x)) for share in PARTS.values()])
    for name, begin, end in zip(PARTS, [0, *ends], ends, strict=False):
        end = len(x) if name == "test" else end
        np.savez(data / f"{name}.npz", x=x[begin:end], y=y[begin:end])
    found = train(FILES / "mpra.py", data, seed, 30, ["--batch-size", "150", *flags])
    return {"Pearson, and that of 6-mers": (found["pearson"], ridge_pearson(x, y, *map(int, ends[:2])))}


def read_promoters() -> tuple[Any, Any]:
    """Indexes (N, 150) and log(max(expression, 0.01)), by place on the genome; others are left out."""
    with gzip.open(DATA / "tss_expression_model_format_train_genome_split.txt.gz", "rt") as file:
        rows = [line.split() for line in file]
    genome = read_fasta(DATA / "U00096.2.fa.gz")[1][0].upper()
    reverse = str(DNA.decode(DNA.complement[DNA.encode(genome)[::-1]]))
    length, values = len(rows[0][0]), {sequence: float(value) for sequence, value in rows}
    placed = []
    for strand in (genome, reverse):
        for begin in range(len(genome) - length + 1):
            sequence = strand[begin : begin + length]
            if (value := values.pop(sequence, None)) is not None:
                place = begin if strand is genome else len(genome) - begin - length
                placed.append((place, sequence, np.log(max(value, 0.01))))
    placed.sort()
    return DNA.encode([each[1] for each in placed]), np.array([each[2] for each in placed], np.float32)


def ridge_pearson(x: Any, y: Any, val: int, test: int) -> float:
    """Of a ridge regression on counts of 6-mers, on rows from `test` on; those before choose its penalty."""
    from sklearn.linear_model import Ridge

    words = np.lib.stride_tricks.sliding_window_view(x, 6, axis=1) @ 4 ** np.arange(6)
    counts = np.zeros((len(x), 4**6), np.float32)
    np.add.at(counts, (np.arange(len(x))[:, None], words), 1)

    def pearson(penalty: float, until: int, end: int | None) -> float:
        model = Ridge(penalty).fit(counts[:until], y[:until])
        return metrics.pearson(y[until:end], model.predict(counts[until:end]))

    best = max((30.0, 100.0, 300.0, 1000.0, 3000.0), key=lambda penalty: pearson(penalty, val, test))
    return pearson(best, test, None)


MEASURES: dict[str, Callable[[Path, int, list[str]], Found]] = {
    "labels": labels,
    "tokens": tokens,
    "profiles": footprints,
    "mpra": mpra,
}


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(MEASURES)} [all]")
    parser.add_argument("--seeds", type=int, default=3, help="[%(default)s]")
    args = parser.parse_args()
    if unknown := set(args.tasks) - set(MEASURES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")

    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    document: dict[str, Any] = {"setting": setting(choose_device(args.cpu)), "tasks": {}}
    rows = []
    for name in args.tasks or MEASURES:
        if name == "mpra" and not DATA.is_dir():
            print(f"mpra is skipped: there is no {DATA}", file=sys.stderr)
            continue
        runs = []
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as data:
                runs.append(MEASURES[name](Path(data), seed, ["--cpu"] * args.cpu))
        document["tasks"][name] = runs
        for what in runs[0]:
            ours, other = zip(*(run[what] for run in runs), strict=True)
            rows.append([f"{name}: {what}", told(ours), told(other)])
    head = [f"seeds 0 to {args.seeds - 1}: mean ± standard deviation", "model", "compared with"]
    report(document, [table(head, rows)], args.json)
    return 0


def told(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {spread:.4f}"


if __name__ == "__main__":
    sys.exit(main())
