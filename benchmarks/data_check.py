"""What the check of the data costs before a run, for each example: making the data, and what comes on top.

    python benchmarks/data_check.py

Each example is checked twice in a process of its own, by `--hyper --eval --predict X --dry-run`. The second
time is told: what the first one imports for an optimizer and metrics, a training would import.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import EXAMPLES, ROOT, make_parser, report, setting, table

WANTED = 1.0  # seconds on top of making the data

EXAMPLE_RUNS = {
    "conv_seq_classifier": ("conv_model.py", "test.h5.batch1"),
    "fasta_classifier": ("def.py", "unlabelled.fa"),
    "function_regressor": ("reg_model.py", "X_pred.csv"),
    "yeast_tf": ("def.py", "genome.fa"),
}


def make_data(name: str, folder: Path) -> None:
    """The data of an example in `folder`/data, as its README makes them."""
    python, example = sys.executable, EXAMPLES / name
    (folder / "data").mkdir()
    if "classifier" not in name:
        subprocess.run([python, example / "make_data.py"], cwd=folder, check=True)
        return
    raw, scripts = folder / "raw_data", EXAMPLES / "conv_seq_classifier"
    out = folder / "data" if name == "fasta_classifier" else raw
    subprocess.run([python, scripts / "make_raw_data.py", "--out", out], cwd=folder, check=True)
    if name == "conv_seq_classifier":
        for part in ("train", "valid", "test"):
            lines = (raw / f"{part}.fa").read_text().splitlines()
            pairs = [
                f"{header} {sequence}\n" for header, sequence in zip(lines[::2], lines[1::2], strict=True)
            ]
            (folder / "data/tmp.tsv").write_text("".join(pairs))
            files = [folder / "data/tmp.tsv", raw / f"{part}.target", folder / f"data/{part}.h5"]
            subprocess.run([python, scripts / "embedH5.py", *files], cwd=folder, check=True)


def measure(definition: str, folder: str, new: str) -> dict[str, float]:
    """Seconds of a check: `data`, making the data, and `rest`; with `_cpu`, those of the processor."""
    from helixband.definition import Definition
    from helixband.run import command
    from helixband.run.data_check import DataCheck

    spent: dict[str, float] = {}

    def timed(kind: Any, method: str, name: str) -> None:
        function = getattr(kind, method)

        def call(*arguments: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            try:
                return function(*arguments)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - wall
                spent[f"{name}_cpu"] = spent.get(f"{name}_cpu", 0.0) + time.process_time() - processor

        setattr(kind, method, call)

    timed(Definition, "_call_for_data", "data")
    timed(DataCheck, "run", "check")
    for _ in range(2):
        spent.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            flags = ["-f", definition, "-d", folder, "-r", f"{folder}/nowhere", "--cpu", "--dry-run"]
            code = command.main([*flags, "--hyper", "--eval", "--predict", new])
        assert code == 0
    rest = {f"rest{kind}": spent[f"check{kind}"] - spent[f"data{kind}"] for kind in ("", "_cpu")}
    return spent | rest


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, help="definition, data and input; used by this script")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    import torch

    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {"setting": setting(torch.device("cpu"))}
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(ROOT)}
    for name, (definition, new) in EXAMPLE_RUNS.items():
        folder = Path(tempfile.mkdtemp())
        try:
            make_data(name, folder)
            one = [str(EXAMPLES / name / definition), str(folder / "data"), new]
            command = [sys.executable, __file__, "--one", *one]
            environment["HELIXBAND_CACHE"] = str(folder / "cache")
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
        finally:
            shutil.rmtree(folder)
    head = ["example", "data, s", "of the processor", "on top, s", "of the processor", "wanted"]
    rows = [
        [
            name,
            *(f"{found[name][key]:.2f}" for key in ("data", "data_cpu", "rest", "rest_cpu")),
            f"< {WANTED:g}",
        ]
        for name in EXAMPLE_RUNS
    ]
    report(found, [table(head, rows)], args.json)


if __name__ == "__main__":
    main()
