"""Read shuffled batches of an HDF5 set that is larger than the memory they may take, beside reading the file.

Each is a process of its own, whose peak of memory is told beyond that of its imports. The file is written
first, and removed in the end. Reading is the plain one: the datasets from beginning to end, in pieces. It is
done from the disk, and with the file in the system's page cache, where it is a copy in memory.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from common import make_parser, report, setting, table
from torch import nn

from base_model import RegressionModel
from batch_generator import H5pyBatchGenerator, MatrixBatchGenerator

BATCH_SIZE = 100
SHAPE = 4, 1000  # of an example, float32
PIECE_ROWS = 500
WANTED = {"mb_beyond_imports": 1000, "speed_of_reading": 0.9}


class Model(RegressionModel):
    """A small network: what is measured is the data."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Conv1d(4, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1))
        network(torch.zeros(1, *SHAPE))
        super().init_model(network, torch.optim.SGD(network.parameters(), 1e-4))


def write(path: Path, gigabytes: float) -> None:
    """A file of about so many gigabytes: other values in each row, contiguous."""
    rows = int(gigabytes * 1e9 / (4 * np.prod(SHAPE) + 4))
    piece = np.random.default_rng(0).random((PIECE_ROWS, *SHAPE), np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (rows, *SHAPE), np.float32)
        file["label"] = np.arange(rows, dtype=np.float32)[:, None] % 7
        for first in range(0, rows, PIECE_ROWS):
            data[first : first + PIECE_ROWS] = piece[: min(PIECE_ROWS, rows - first)] + first % 5


def read(path: Path) -> None:
    """The file from its beginning to its end."""
    with h5py.File(path) as file:
        for first in range(0, len(file["data"]), PIECE_ROWS):
            file["data"][first : first + PIECE_ROWS], file["label"][first : first + PIECE_ROWS]


def load(path: Path) -> None:
    """The batches of a shuffled epoch."""
    for _ in H5pyBatchGenerator(path, BATCH_SIZE, shuffle=True):
        pass


def train(path: Path) -> None:
    """An epoch of training on the file."""
    args = Namespace(batch_size=BATCH_SIZE, cpu=True, seed=0, debug=False, keep_checkpoints=False)
    val = MatrixBatchGenerator(np.zeros((2, *SHAPE), np.float32), np.zeros((2, 1), np.float32))
    Model({}, args).fit(H5pyBatchGenerator(path, BATCH_SIZE, shuffle=True), val, 1)


TASKS = {"read": read, "load": load, "train": train}
OF_DISK = "read", "load"


def forget(path: Path) -> None:
    """Have the system drop a file from its page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())  # what is not on the disk yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(task: str, path: Path) -> dict[str, float]:
    """What a process of its own measures of a task."""
    command = [sys.executable, __file__, "--task", task, "--file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """Seconds and memory of each task; the fastest round, in turn."""
    found: dict[str, list[dict[str, float]]] = {task: [] for task in TASKS}
    of_disk: dict[str, list[float]] = {task: [] for task in OF_DISK}
    for _ in range(rounds):
        for task in OF_DISK:
            forget(path)
            of_disk[task].append(measured(task, path)["seconds"])
        for task in TASKS:  # the last of those has put the file into the page cache
            found[task].append(measured(task, path))
    best = {task: min(each["seconds"] for each in rounds_of) for task, rounds_of in found.items()}
    memory = {task: max(each["mb"] for each in rounds_of) for task, rounds_of in found.items()}
    cold = {task: min(seconds) for task, seconds in of_disk.items()}
    return {
        "seconds": best,
        "seconds_from_disk": cold,
        "mb_beyond_imports": memory,
        "speed_of_reading": best["read"] / best["load"],
        "speed_of_reading_from_disk": cold["read"] / cold["load"],
    }


def describe(document: dict[str, Any]) -> list[str]:
    seconds, memory = document["seconds"], document["mb_beyond_imports"]
    cold = {task: f"{each:.1f}" for task, each in document["seconds_from_disk"].items()}
    rows = [[task, cold.get(task, ""), f"{seconds[task]:.1f}", f"{memory[task]:.0f}"] for task in TASKS]
    return [
        table(["task", "s from the disk", "s from the page cache", "MB beyond imports"], rows),
        f"loading at {document['speed_of_reading_from_disk']:.2f} of the speed of reading from the disk and "
        f"{document['speed_of_reading']:.2f} from the page cache, wanted {WANTED['speed_of_reading']} at "
        f"least; MB wanted {WANTED['mb_beyond_imports']} at most",
    ]


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="times that each is measured [%(default)s]")
    parser.add_argument("--gb", type=float, default=6.0, help="size of the file [%(default)s]")
    parser.add_argument("--task", choices=list(TASKS), help="one task, in this process")
    parser.add_argument("--file", type=Path, help="the file of --task")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.task:
        before, started = peak_mb(), time.perf_counter()
        TASKS[args.task](args.file)
        print(json.dumps({"seconds": time.perf_counter() - started, "mb": peak_mb() - before}))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "set.h5"
        write(path, args.gb)
        document = {"setting": setting(torch.device("cpu"), ["torch", "numpy", "h5py"]), "gb": args.gb}
        document |= measure(path, args.rounds)
    report(document, describe(document), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
