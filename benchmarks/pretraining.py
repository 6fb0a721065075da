"""Masked-token pretraining on the yeast genome, and what it is worth for finding the sites of Reb1.

The definitions are those of examples/yeast_pretraining. Pretraining is on chrI to chrVIII, and its best epoch
is chosen on chrX. On chrIX the accuracy at masked bases is compared with that of two tables of counts, which
see the bases around as they are. Then networks learn Reb1's peaks from 100 of those on chrI to chrVIII, drawn
by the seed, once with the pretrained encoder and once from scratch, with the same peaks and windows without
a peak. Their best epoch is chosen on chrX; the test is on chrIX, chrXI and chrXII.
"""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import EXAMPLES, ROOT, make_parser, report, setting, table

from base_model import choose_device
from helixband.sequence.alphabet import DNA
from helixband.sequence.fasta import read_fasta

GENOME = "Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz"
TRAIN, VAL, TEST = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII"], ["X"], ["IX", "XI", "XII"]
PRETRAIN_TEST = "IX"
NUMBERS = {name: f"chr{number}" for number, name in enumerate([*TRAIN, "IX", "X", "XI", "XII"], 1)}
PEAKS = 100
# The first is the setting of fine-tuning; the second has more dropout, which helped from scratch alone.
FROM_SCRATCH = {
    "as fine-tuned": ["lr=0.005", "encoder_lr=0.005", "frozen=0", "dropout=0.2"],
    "dropout 0.5": ["lr=0.005", "encoder_lr=0.005", "frozen=0", "dropout=0.5"],
}
EXAMPLE = EXAMPLES / "yeast_pretraining"


def table_accuracy(train: Sequence[Any], test: Any, left: int, right: int) -> float:
    """How often the base that is most frequent between `left` and `right` others is the right one.

    train: chromosomes, indexes of bases without N; both of their strands are counted. test: another one.
    """

    def contexts(codes: Any) -> tuple[Any, Any]:
        number = np.zeros(len(codes) - left - right, np.int64)
        for place in (*range(left), *range(left + 1, left + 1 + right)):
            number = 4 * number + codes[place : place + len(number)]
        return number, codes[left : left + len(number)]

    counts = np.zeros(4 ** (left + right + 1), np.int64)
    for codes in train:
        for strand in (codes, 3 - codes[::-1]):
            number, base = contexts(strand)
            counts += np.bincount(4 * number + base, minlength=len(counts))
    number, base = contexts(test)
    return float((counts.reshape(-1, 4).argmax(1)[number] == base).mean())


def run(definition: str, data: Path, results: Path, environment: dict[str, str], *flags: Any) -> Any:
    """The test result of a definition of the example."""
    command = [sys.executable, ROOT / "main.py", "--model", EXAMPLE / definition, "--data", data]
    command += ["--result", results, "--eval", "--quiet", *flags]
    subprocess.run([str(part) for part in command], env={**os.environ, **environment}, check=True)
    return json.loads((results / "test_result.json").read_text())


def weights_of(results: Path) -> Path:
    return results / "trials/single/checkpoints/best.pt"


def pretrained(folder: Path, seed: int, environment: dict[str, str], flags: Sequence[Any]) -> dict[str, Any]:
    """What a pretraining comes to on chrIX; its weights stay in the folder."""
    began = time.perf_counter()
    found = run("pretrain.py", folder, folder / f"pretrained_{seed}", environment, "--seed", seed, *flags)
    return {
        "seed": seed,
        "accuracy": found["accuracy_mask"],
        "perplexity": found["perplexity"],
        "seconds": time.perf_counter() - began,
    }


def finetuned(
    folder: Path, seed: int, weights: Path, environment: dict[str, str], flags: Sequence[Any]
) -> dict[str, Any]:
    """AUROC of the networks on the same peaks."""
    flags = [*flags, "--seed", seed]
    told = {**environment, "PEAKS": f"peaks_{seed}.bed"}
    begun = run("finetune.py", folder, folder / f"a_{seed}", told, "--load-encoder-from", weights, *flags)
    scratch = {}
    for number, (name, values) in enumerate(FROM_SCRATCH.items()):
        settings = [part for value in values for part in ("--set", value)]
        found = run("finetune.py", folder, folder / f"b_{seed}_{number}", told, *settings, *flags)
        scratch[name] = found["auroc"]
    return {"seed": seed, "pretrained": begun["auroc"], "scratch": scratch}


def write_peaks(source: Path, to: Path, seed: int) -> None:
    """PEAKS of the peaks on the training chromosomes, drawn by the seed, and all on those of VAL and TEST."""
    lines = source.read_text().splitlines(keepends=True)
    by_chromosome = {
        name: [line for line in lines if line.split("\t")[0] == NUMBERS[name]] for name in NUMBERS
    }
    training = [line for name in TRAIN for line in by_chromosome[name]]
    chosen = np.random.default_rng(seed).choice(len(training), PEAKS, replace=False)
    others = [line for name in (*VAL, *TEST) for line in by_chromosome[name]]
    to.write_text("".join([training[place] for place in sorted(chosen.tolist())] + others))


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="of the pretraining [%(default)s]")
    parser.add_argument("--finetune-seeds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--epoch", type=int, default=1, help="of the pretraining [%(default)s]")
    parser.add_argument("--finetune-epoch", type=int, default=20, help="[%(default)s]")
    parser.add_argument("--folder", type=Path, help="where results stay; what it has already is used again")
    args = parser.parse_args()

    data = Path(os.environ.get("HELIXBAND_DATA", ROOT / "../shared/data")) / "yeast"
    if not data.is_dir():
        print(f"skipped: there is no {data}; HELIXBAND_DATA names the folder that holds yeast")
        return 0
    genome = dict(zip(*read_fasta(data / GENOME), strict=True))
    genome = {name.split()[0]: sequence for name, sequence in genome.items()}
    codes = {name: DNA.encode(genome[name]) for name in [*TRAIN, PRETRAIN_TEST]}
    tables = {
        name: table_accuracy([codes[each] for each in TRAIN], codes[PRETRAIN_TEST], left, right)
        for name, left, right in (("3 bases on each side", 3, 3), ("Markov model of order 5", 5, 0))
    }
    both = ["--cpu"] if args.cpu else []
    with tempfile.TemporaryDirectory() as directory:
        folder = args.folder or Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / "part.fa.gz", "wt", compresslevel=1) as file:
            file.writelines(f">{name}\n{genome[name]}\n" for name in [*TRAIN, *VAL, PRETRAIN_TEST])
        if not (folder / GENOME).exists():
            (folder / GENOME).symlink_to((data / GENOME).resolve())
        threads = {"OMP_NUM_THREADS": str(args.threads), "VAL": ",".join(VAL)}
        told = {**threads, "GENOME": "part.fa.gz", "TEST": PRETRAIN_TEST}
        flags = ["--epoch", args.epoch, "--batch-size", 64, *both]
        pretrainings = [pretrained(folder, seed, told, flags) for seed in range(args.seeds)]
        told = {**threads, "GENOME": GENOME, "TEST": ",".join(TEST)}
        flags = ["--epoch", args.finetune_epoch, "--batch-size", 16, *both]
        pairs = []
        for seed in range(1, args.finetune_seeds + 1):  # the settings were chosen on other peaks
            write_peaks(data / "Reb1.bed", folder / f"peaks_{seed}.bed", seed)
            weights = weights_of(folder / f"pretrained_{seed % args.seeds}")
            pairs.append(finetuned(folder, seed, weights, told, flags))

    accuracies = [each["accuracy"] for each in pretrainings]
    means = {name: statistics.mean(each["scratch"][name] for each in pairs) for name in FROM_SCRATCH}
    better = max(means, key=means.__getitem__)
    gains = [each["pretrained"] - each["scratch"][better] for each in pairs]
    document = {
        "setting": setting(choose_device(args.cpu)),
        "tables": tables,
        "pretraining": pretrainings,
        "accuracy": spread(accuracies),
        "finetuning": pairs,
        "scratch": means,
        "gain": spread(gains),
    }
    rows = [
        [f"network, seed {each['seed']}", f"{each['accuracy']:.4f}", f"{each['seconds']:.0f}"]
        for each in pretrainings
    ]
    rows += [[name, f"{accuracy:.4f}", ""] for name, accuracy in tables.items()]
    first = table(["masked bases of chrIX", "accuracy", "seconds"], rows)
    rows = [
        [
            each["seed"],
            f"{each['pretrained']:.4f}",
            *(f"{each['scratch'][name]:.4f}" for name in FROM_SCRATCH),
            f"{gain:+.4f}",
        ]
        for each, gain in zip(pairs, gains, strict=True)
    ]
    heads = [f"Reb1, AUROC, {PEAKS} peaks: seed", "pretrained"]
    heads += [f"from scratch, {name}" for name in FROM_SCRATCH]
    second = table([*heads, "gain"], rows)
    says = "accuracy {mean:.4f} ± {sd:.4f}".format(**document["accuracy"])
    says += (
        f", gain over {better}"
        + " {mean:+.4f} ± {sd:.4f} (mean and standard deviation over seeds)".format(**document["gain"])
    )
    report(document, [first, second, says], args.json)
    is_better = statistics.mean(accuracies) > max(tables.values()) and statistics.mean(gains) > 0
    return 0 if is_better else 1


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())
