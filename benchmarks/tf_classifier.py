"""Train the conv_seq_classifier example on real CTCF data: validation AUROC and seconds of each epoch.

77,174 training and 1,000 validation sequences of 101 bp, bound or the dinucleotide shuffle of one that is.
They are embedded with the example's embedH5.py, and one fixed configuration is trained as the command line
does it.
"""

import gzip
import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import EXAMPLES, ROOT, load_script, make_parser, report, setting, table

from base_model import choose_device
from helixband.definition import load_definition
from helixband.results.directory import Results, Row
from helixband.search.executors.trial import Trainer

EXAMPLE = EXAMPLES / "conv_seq_classifier"
CONFIG = {"lr": 1e-3, "weight_decay": 1e-4, "dense_units": 64, "dropout": 0.1}
SETS = {"train": ("train.fa.gz", "train.target.gz"), "valid": ("valid.fa", "valid.target")}
SEQUENCES_A_FILE = 10_000
WANTED_AUROC = 0.95


def embed(source: Path, out: Path) -> None:
    """The sets of `source` as OUT/{train,valid}.h5.batch*, those that are missing."""
    script = load_script(EXAMPLE / "embedH5.py")
    for name, (fasta, target) in SETS.items():
        done = out / f"{name}.embedded"
        if done.exists():
            continue
        with tempfile.TemporaryDirectory() as directory:
            tsv, classes = Path(directory) / "tsv", Path(directory) / "target"
            lines = read_lines(source / fasta)
            tsv.write_text("".join(f"{a} {b}\n" for a, b in zip(lines[::2], lines[1::2], strict=True)))
            classes.write_text("\n".join(read_lines(source / target)) + "\n")
            script.embed(tsv, classes, out / f"{name}.h5", SEQUENCES_A_FILE)
        done.touch()


def read_lines(path: Path) -> Sequence[str]:
    """The lines of a text file, compressed or not."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return file.read().splitlines()


def train(data: Path, epochs: int, batch_size: int, cpu: bool) -> list[dict[str, Any]]:
    """The rows of the history, each with the seconds that its epoch took, validation included."""
    rows: list[dict[str, Any]] = []
    args = Namespace(data=str(data), batch_size=batch_size, epoch=epochs, seed=0, cpu=cpu, debug=False)
    definition = load_definition(EXAMPLE / "conv_model.py", args.seed)
    definition.training_data(args.data, args.batch_size)  # read before the clock starts
    began = time.perf_counter()

    def note(name: str, row: Row) -> None:
        nonlocal began
        now = time.perf_counter()
        rows.append({**row, "seconds": now - began})
        began = now

    with tempfile.TemporaryDirectory() as directory:
        Trainer(definition, Results(directory), args).train("single", CONFIG, epochs, note)
    return rows


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--batch-size", type=int, default=100, help="[%(default)s]")
    parser.add_argument("--cache", type=Path, help="keep the embedded data here, for the next time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    source = Path(os.environ.get("HELIXBAND_DATA", ROOT / "../shared/data")) / "tf_classifier"
    if not source.is_dir():
        print(f"skipped: there is no {source}; HELIXBAND_DATA names the folder that holds tf_classifier")
        return 0
    data = args.cache or Path(tempfile.mkdtemp())
    data.mkdir(parents=True, exist_ok=True)
    try:
        embed(source, data)
        rows = train(data, args.epochs, args.batch_size, args.cpu)
    finally:
        if not args.cache:
            shutil.rmtree(data)

    best = max(row["val_auroc"] for row in rows)
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "h5py"]),
        "config": CONFIG,
        "batch_size": args.batch_size,
        "epochs": rows,
        "val_auroc": best,
        "wanted_val_auroc": WANTED_AUROC,
    }
    head = ["epoch", "seconds", "train_loss", "val_loss", "val_auroc"]
    shown = [
        [row["epoch"], f"{row['seconds']:.1f}"] + [f"{row[name]:.4f}" for name in head[2:]] for row in rows
    ]
    told = f"best validation AUROC {best:.4f}; wanted: at least {WANTED_AUROC} within 3 epochs"
    report(document, [table(head, shown), told], args.json)
    return 0 if best >= WANTED_AUROC else 1


if __name__ == "__main__":
    sys.exit(main())
