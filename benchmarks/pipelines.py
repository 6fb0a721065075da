"""What it takes to load a bundle and predict once, and an ONNX graph beside torch on the CPU.

    python benchmarks/pipelines.py               # --windows N --rounds N

A convolutional classifier of windows of 200 bases is trained for an epoch and exported. A new process loads
it. Then torch and the graph predict on the same windows in turn.
"""

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, make_parser, setting

DEFINITION = """
import numpy as np
from torch import nn, optim

from helixband import ClassificationModel, FastaBatchGenerator
from helixband.networks import OneHot


def get_train_generator(data_dir, batch_size):
    made = FastaBatchGenerator(f"{data_dir}/train.fa", np.arange(400) % 2, batch_size)
    return made, made


def get_config():
    return {}


class Model(ClassificationModel):
    def init_model(self):
        network = nn.Sequential(
            OneHot(), nn.Conv1d(4, 64, 15, padding=7), nn.ReLU(), nn.MaxPool1d(4),
            nn.Conv1d(64, 64, 7, padding=3), nn.ReLU(), nn.AdaptiveMaxPool1d(1),
            nn.Flatten(), nn.Linear(64, 2),
        )
        super().init_model(network, nn.CrossEntropyLoss(), optim.Adam(network.parameters()))
"""

FIRST = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from helixband.pipelines import load
import helixband.pipelines.loading
begun = time.perf_counter()
predict = load(sys.argv[2], trust=True, cpu=True)
loaded = time.perf_counter()
predict(sys.argv[3])
print(json.dumps([loaded - begun, time.perf_counter() - loaded]))
"""

WANTED = 1.0
"""Seconds of loading and a first prediction, beyond imports."""


def main() -> int:
    """Measure, print, and tell by the exit code whether the claim holds."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--windows", type=int, default=4000, help="windows of a prediction [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), args.windows, args.rounds)
    found |= {"wanted": WANTED, "setting": setting(torch.device("cpu"))}
    if args.json:
        print(json.dumps(found))
    else:
        print(f"load {found['load']:.2f} s and a first prediction {found['first']:.2f} s, wanted {WANTED}")
        print(f"ONNX / torch on the CPU, {args.windows} windows: {found['onnx_over_torch']:.2f}")
    return int(found["load"] + found["first"] > WANTED)


def measured(folder: Path, windows: int, rounds: int) -> dict[str, Any]:
    """Medians over the rounds."""
    from helixband.pipelines import load
    from helixband.pipelines.exporting import Options, export
    from helixband.run.command import main as run

    rng = np.random.default_rng(0)
    (folder / "def.py").write_text(DEFINITION)
    records = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(400)]
    (folder / "train.fa").write_text("".join(f">r{n}\n{one}\n" for n, one in enumerate(records)))
    places = ["-f", str(folder / "def.py"), "-d", str(folder), "-r", str(folder / "results"), "--cpu"]
    with contextlib.redirect_stdout(io.StringIO()):
        run([*places, "--epoch", "1", "--train"])
    export(folder / "results", folder / "bundle", Options(onnx=True))
    command = [sys.executable, "-c", FIRST, str(ROOT), str(folder / "bundle"), records[0]]
    times = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    ]
    x = rng.integers(0, 4, (windows, 200), dtype=np.uint8)
    functions = {
        "onnx": load(folder / "bundle", cpu=True),
        "torch": load(folder / "bundle", trust=True, cpu=True),
    }
    took: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, predict in functions.items():
            begun = time.perf_counter()
            predict(x)
            took[name].append(time.perf_counter() - begun)
    ratios = [one / other for one, other in zip(took["onnx"], took["torch"], strict=True)]
    return {
        "load": statistics.median(each[0] for each in times),
        "first": statistics.median(each[1] for each in times),
        "onnx_over_torch": statistics.median(ratios),
    }


if __name__ == "__main__":
    sys.exit(main())
