"""Predict along a genome by a plain loop over pyfaidx and by this library, in turn in one process.

Both predict on the windows of a FASTA file of random bases, one after another, with the same network, and
write an array and a table. The plain loop is what one writes by hand: it fetches each window as a string,
makes vectors of a batch by a table, and keeps the predictions in memory up to the end. The library reads
its encoded store, and keeps each chunk on the disk, to go on from after an interruption. The memory of each
is measured first, in a process of its own that begins by indexing or encoding the file.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import torch
from common import make_parser, report, setting, table
from numpy.typing import NDArray
from torch import Tensor, nn

from base_model import BaseModel, choose_device
from batch_generator import FastaBatchGenerator
from helixband.networks.one_hot import OneHot
from helixband.outputs.windows import WindowPredictor, predict_windows
from helixband.randomness import seed_everything
from helixband.results.directory import Results
from helixband.training.feed import EVALUATION_BYTES

WINDOW = 500
RECORDS = 10
LINE = 60  # bases of a line of FASTA
BATCH_SIZE = EVALUATION_BYTES["cpu"] // (4 * WINDOW)  # windows; the pieces that the library predicts on
WANTED_MB = 500  # beyond the imports

VECTORS = np.zeros((256, 4), dtype=np.float32)
for number, letters in enumerate(("Aa", "Cc", "Gg", "Tt")):
    VECTORS[[ord(letter) for letter in letters], number] = 1


def convolution() -> nn.Module:
    """A small network as for binding sites."""
    maximum = nn.Sequential(nn.Conv1d(4, 16, 12), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    return nn.Sequential(maximum, nn.Linear(16, 1), nn.Flatten(0))


class Composition(nn.Module):
    """Next to no network: a linear function of the share of each base."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean(-1)).squeeze(-1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"convolution": convolution, "composition": Composition}


class Model(BaseModel):
    """A network as the library has it: its input are indexes."""

    def init_model(self) -> None:
        super().init_model(nn.Sequential(OneHot(), new_network(self.config["network"])), nn.MSELoss(), None)


def new_network(name: str) -> nn.Module:
    """The same weights each time."""
    seed_everything(0)
    return NETWORKS[name]()


def write_fasta(path: Path, megabases: float) -> None:
    """Random bases in records of one length."""
    rng, lines = np.random.default_rng(0), round(megabases * 1e6 / RECORDS / LINE)
    with open(path, "wb") as file:
        for record in range(RECORDS):
            file.write(f">chr{record + 1}\n".encode())
            for first in range(0, lines, 1 << 16):
                block = np.full((min(1 << 16, lines - first), LINE + 1), ord("\n"), dtype=np.uint8)
                block[:, :LINE] = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (len(block), LINE))]
                file.write(block.tobytes())


def predict_plain(fasta: Path, out: Path, network_name: str, cpu: bool) -> None:
    """The loop as one writes it by hand."""
    device = choose_device(cpu)
    network = new_network(network_name).to(device).eval()
    genome = pyfaidx.Fasta(str(fasta))
    predictions, places = [], []

    def predict(sequences: list[str]) -> None:
        letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), WINDOW)
        x = torch.from_numpy(VECTORS[letters].transpose(0, 2, 1).copy()).to(device)
        predictions.append(network(x).cpu().numpy())

    with torch.inference_mode():
        batch: list[str] = []
        for record in genome:
            for start in range(0, len(record) - WINDOW + 1, WINDOW):
                batch.append(record[start : start + WINDOW].seq)
                places.append((record.name, start))
                if len(batch) == BATCH_SIZE:
                    predict(batch)
                    batch = []
        if batch:
            predict(batch)
    scores = np.concatenate(predictions)
    np.save(out / "plain.npy", scores)
    with open(out / "plain.tsv", "w") as file:
        file.write("name\tstart\tend\tstrand\tscore\n")
        for (name, start), score in zip(places, scores, strict=True):
            file.write(f"{name}\t{start}\t{start + WINDOW}\t+\t{score:.6g}\n")


def predict_library(fasta: Path, out: Path, network_name: str, cpu: bool) -> None:
    """As `--predict` does it."""
    model = Model({"network": network_name}, Namespace(cpu=cpu, batch_size=BATCH_SIZE))
    data = FastaBatchGenerator(str(fasta), window=WINDOW)
    predict_windows(WindowPredictor(model, data), Results(out), "library", facts={})


CONTESTANTS = {"plain": predict_plain, "library": predict_library}


def timed(work: Callable[[], Any]) -> NDArray[Any]:
    """The seconds that it takes by the wall clock, and of the process, which other work hardly changes."""
    started = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - started


def measure(network: str, fasta: Path, out: Path, rounds: int, cpu: bool) -> dict[str, Any]:
    """Both in turn: bases a second, and their ratios as the medians of those of each round."""
    times: dict[str, list[NDArray[Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, predict in CONTESTANTS.items():
            times[name].append(timed(functools.partial(predict, fasta, out, network, cpu)))
    bases = len(np.load(out / "plain.npy")) * WINDOW
    ratios = np.array(times["plain"]) / np.array(times["library"])
    scores = [np.load(out / place) for place in ("plain.npy", "predictions/library.npy")]
    return {
        "bases_per_second": {
            name: bases / float(np.median(found, axis=0)[0]) for name, found in times.items()
        },
        "times_as_fast": float(np.median(ratios[:, 0])),
        "times_as_fast_by_round": sorted(ratios[:, 0].tolist()),
        "times_as_fast_cpu": float(np.median(ratios[:, 1])),
        "same_scores": bool(np.allclose(*scores, rtol=1e-4, atol=1e-6)),
    }


def measure_memory(name: str, fasta: Path, out: Path, args: Namespace) -> dict[str, float]:
    """Of a process that does nothing else: peak memory beyond the imports, and seconds."""
    command = [sys.executable, __file__, "--alone", name, str(fasta), str(out), f"--threads={args.threads}"]
    done = subprocess.run(command + ["--cpu"] * args.cpu, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def predict_alone(name: str, fasta: Path, out: Path, cpu: bool) -> None:
    """The process of `measure_memory`."""
    before = memory_mb("VmRSS")
    seconds, _ = timed(functools.partial(CONTESTANTS[name], fasta, out, "convolution", cpu))
    print(json.dumps({"peak_mb": memory_mb("VmHWM") - before, "seconds": float(seconds)}))


def memory_mb(field: str) -> float:
    """Of this process, in 10^6 bytes: VmRSS is what is resident, VmHWM what was at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / 1e6


def describe(network: str, result: dict[str, Any]) -> str:
    rates = {name: f"{rate / 1e6:.2f}" for name, rate in result["bases_per_second"].items()}
    rows = [[name, rate] for name, rate in rates.items()]
    same = "give the same scores" if result["same_scores"] else "DIFFER in their scores"
    each = ", ".join(f"{ratio:.2f}" for ratio in result["times_as_fast_by_round"])
    return (
        f"{table([network, 'Mb/s'], rows)}\n"
        f"the library is {result['times_as_fast']:.2f} times as fast (rounds: {each}), "
        f"{result['times_as_fast_cpu']:.2f} times in CPU time; the two {same}"
    )


def describe_memory(found: dict[str, dict[str, float]]) -> str:
    rows = [[name, f"{one['peak_mb']:.0f}", f"{one['seconds']:.1f}"] for name, one in found.items()]
    head = ["alone, from the bare FASTA (convolution)", "peak MB beyond the imports", "seconds"]
    return f"{table(head, rows)}\nwanted: the library at most {WANTED_MB} MB, whatever the size"


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--megabases", type=float, default=20, help="of the genome [%(default)s]")
    parser.add_argument(
        "--rounds", type=int, default=3, help="the median counts; 0: memory alone [%(default)s]"
    )
    parser.add_argument("--alone", nargs=3, metavar=("NAME", "FASTA", "OUT"), help="used by this script")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.alone:
        name, fasta, out = args.alone
        predict_alone(name, Path(fasta), Path(out), args.cpu)
        return 0

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        os.environ["HELIXBAND_CACHE"] = str(out / "cache")
        fasta = out / "genome.fa"
        write_fasta(fasta, args.megabases)
        memory = {name: measure_memory(name, fasta, out, args) for name in CONTESTANTS}
        results = {name: measure(name, fasta, out, args.rounds, args.cpu) for name in NETWORKS if args.rounds}
    document = {
        "setting": setting(choose_device(args.cpu), ["torch", "numpy", "pyfaidx"]),
        "megabases": args.megabases,
        "window": WINDOW,
        "rounds": args.rounds,
        "networks": results,
        "memory": memory,
        "wanted_mb": WANTED_MB,
    }
    tables = [describe(name, result) for name, result in results.items()]
    report(document, [*tables, describe_memory(memory)], args.json)
    return 0 if all(result["same_scores"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
