"""Many of everything: prediction inputs, contigs, bases.

- The time of `--predict` on thousands of FASTA files of three records, less that of the model alone, with a
  `get_pred_generator` and without one; and that of the same command once all is done.
- A genome of a million contigs: the time to encode it, to open it again, and until the first message about a
  name that it does not have, by index, from a BED file and in a split.
- The time to check the encoded bases of a large genome, once in a process (`--gigabases`).
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

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.errors import DataError
from helixband.sequence.store import SequenceStore

OF_WINDOWS = """
import numpy as np
from torch import nn, optim

from base_model import RegressionModel
from batch_generator import FastaBatchGenerator
from helixband.networks.one_hot import OneHot


def get_train_generator(data_dir, batch_size):
    data = FastaBatchGenerator(f"{data_dir}/train.fa", np.arange(20.0), batch_size, shuffle=True)
    return data, data.plain()


def get_config():
    return {}


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(OneHot(), nn.Flatten(), nn.Linear(4 * 20, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters()))
"""

OF_ITS_OWN = """

def get_pred_generator(pred_path):
    return FastaBatchGenerator(pred_path)
"""

MODEL_ALONE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from helixband.definition import load_definition
torch.set_num_threads(1)
model = load_definition(sys.argv[2] + "/def.py").module.Model({})
model.load(sys.argv[2] + "/results/best_config/checkpoints/best.pt")
x = torch.zeros(3, 20, dtype=torch.uint8).numpy()
started = time.perf_counter()
for _ in range(int(sys.argv[3])):
    model.predict([x])
print(time.perf_counter() - started)
"""

WANTED_SECONDS = {"inputs": 90, "message": 1, "check of 3 Gb": 5}


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def random_bases(rng: np.random.Generator, n: int) -> str:
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, n)].tobytes().decode()


def run(folder: Path, *flags: str) -> tuple[float, float]:
    """The seconds that the command takes by the wall clock, and of processor time."""
    command = [sys.executable, str(ROOT / "main.py"), "-f", "def.py", "-d", ".", "--cpu", *flags]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure_inputs(folder: Path, inputs: int, own: bool) -> dict[str, float]:
    """The seconds of a prediction, of one that finds all done, and of the model on as many batches."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "def.py").write_text(OF_WINDOWS + OF_ITS_OWN * own)
    train = "".join(f">t{n}\n{random_bases(rng, 20)}\n" for n in range(20))
    (folder / "train.fa").write_text(train)
    for number in range(inputs):
        records = "".join(f">r{n}\n{random_bases(rng, 20)}\n" for n in range(3))
        (folder / f"x{number}.fasta").write_text(records)
    run(folder, "--epoch", "1")
    start, start_cpu = run(folder, "--predict", "x0.fasta")
    first, first_cpu = run(folder, "--predict", "x*.fasta")
    again, _ = run(folder, "--predict", "x*.fasta")
    command = [sys.executable, "-c", MODEL_ALONE, str(ROOT), str(folder), str(inputs)]
    model = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "beyond_the_model": first - start - model,
        "beyond_the_model_cpu": first_cpu - start_cpu - model,
        "model": model,
        "start": start,
        "all_done": again - start,
    }


def measure_contigs(folder: Path, contigs: int) -> dict[str, float]:
    """The seconds to encode and to open, and until each message about a contig that there is not."""
    folder.mkdir()
    path, bed = folder / "g.fa", folder / "p.bed"
    with open(path, "w") as file:
        for number in range(contigs):
            file.write(f">scaffold_{number}_len20_cov_{number % 97}\nACGTACGTACGTACGTACGT\n")
    wrong = f"scaffold_{contigs // 3}_len21"
    bed.write_text(f"{wrong}\t1\t5\n")
    encoded = seconds(lambda: SequenceStore.open(path))
    opened = seconds(lambda: SequenceStore.open(path))
    store = SequenceStore.open(path)
    windows = FastaBatchGenerator(str(path), np.arange(contigs) % 2, window=10)
    wrongs: dict[str, Callable[[], Any]] = {
        "message_by_index": lambda: store.index_of(wrong),
        "message_of_a_bed": lambda: IntervalBatchGenerator(store, str(bed), 4, targets=[1]),
        "message_of_a_split": lambda: windows.split("chromosome", val=[wrong], test=[]),
    }
    found = {"encode": encoded, "open": opened}
    for name, work in wrongs.items():
        found[name], found[f"{name}_cpu"] = until_told(work)
    return found


def until_told(work: Callable[[], Any]) -> tuple[float, float]:
    """The seconds by the wall clock and of processor time, until it raises `DataError`."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        work()
    except DataError:
        return time.perf_counter() - wall, time.process_time() - cpu
    raise AssertionError("nothing was told")


def measure_check(folder: Path, gigabases: float) -> dict[str, float]:
    """The seconds to encode, and those to open in a process of its own, where the bases are checked."""
    folder.mkdir()
    path, rng = folder / "large.fa", np.random.default_rng(0)
    line = np.full((1 << 20, 101), ord("\n"), dtype=np.uint8)
    line[:, :100] = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (len(line), 100))]
    with open(path, "wb") as file:
        for number in range(max(1, round(gigabases * 1e9 / line[:, :100].size))):
            file.write(b">chr%d\n" % number + line.tobytes())
    encode = seconds(lambda: SequenceStore.open(path))
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from helixband.sequence.store import SequenceStore\n"
        "times = []\n"
        "for _ in range(2):\n"
        "    wall, cpu = time.perf_counter(), time.process_time()\n"
        "    SequenceStore.open(sys.argv[2])\n"
        "    times += [time.perf_counter() - wall, time.process_time() - cpu]\n"
        "print(*times)\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, cpu, second, _ = map(float, done.stdout.split())
    return {"encode": encode, "first_open": first, "first_open_cpu": cpu, "second_open": second}


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="FASTA files [%(default)s]; 0: none")
    parser.add_argument("--contigs", type=int, default=1_000_000, help="of a genome [%(default)s]; 0: none")
    parser.add_argument(
        "--gigabases", type=float, default=0.012, help="of a genome [%(default)s]; 3 needs 7 GB of disk"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        os.environ["HELIXBAND_CACHE"] = str(folder / "cache")
        if args.inputs:
            found["inputs, own generator"] = measure_inputs(folder / "own", args.inputs, own=True)
            found["inputs, no generator"] = measure_inputs(folder / "windows", args.inputs, own=False)
        if args.contigs:
            found["contigs"] = measure_contigs(folder / "contigs", args.contigs)
        if args.gigabases:
            found["check"] = measure_check(folder / "large", args.gigabases)
    document = {
        "setting": setting(torch.device("cpu")),
        "inputs": args.inputs,
        "contigs": args.contigs,
        "gigabases": args.gigabases,
        "seconds": found,
        "wanted_seconds": WANTED_SECONDS,
    }
    tables = [
        table([name, "seconds"], [[what.replace("_", " "), f"{value:.2f}"] for what, value in values.items()])
        for name, values in found.items()
    ]
    report(json.loads(json.dumps(document)), tables, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
