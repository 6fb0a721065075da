"""Time the reading of windows from a genome by this project, GenVarLoader, pysam and pyfaidx, on one core.

A synthetic genome of 12 Mb, in the page cache, gives the same windows of 500 bp to all in one process. Ours
and the tables give indexes, uint8; GenVarLoader gives letters. What is measured besides: encoding the FASTA
file, and what loading adds to a training step of an example.

Times are the shortest of several rounds, in which all take turns. They are of the processor, which other work
on the machine changes little; of encoding, which writes, they are of the clock.
"""

import gc
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))

import numpy as np
import pyfaidx
import torch
from common import EXAMPLES, load_script, make_parser, report, setting, table
from numpy.typing import NDArray

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.randomness import seed_everything
from helixband.sequence.alphabet import DNA
from helixband.sequence.intervals import Intervals
from helixband.sequence.store import SequenceStore
from helixband.training.feed import to_device

try:
    import pysam
except ImportError as error:
    pysam, NO_PYSAM = None, str(error)
try:
    import genvarloader
    import polars
except ImportError as error:
    genvarloader, NO_GENVARLOADER = None, str(error)

CHROMOSOMES, CHROMOSOME_LENGTH, LINE = 12, 1_000_000, 60
GENOME_MB = CHROMOSOMES * CHROMOSOME_LENGTH / 1e6
WINDOW = 500
BATCH_SIZES = (100, 1000)
N_WINDOWS = 200_000
N_SLOW = 2_000  # of the readers that take a call a window
SEED = 0
KINDS = ("forward", "half_reverse")
OURS = "IntervalBatchGenerator"
WANTED = {"forward": 10e6, "half_reverse": 3e6, "encode_mb": 100.0, "loading": 0.02}

Array = NDArray[Any]
Read = Callable[[slice], Array]


@dataclass(frozen=True)
class Windows:
    """Windows anywhere on the genome: (N,) each."""

    records: Array
    starts: Array
    reverse: Array

    @classmethod
    def drawn(cls, half_reverse: bool) -> "Windows":
        rng = np.random.default_rng(SEED)
        records = rng.integers(0, CHROMOSOMES, N_WINDOWS)
        starts = rng.integers(0, CHROMOSOME_LENGTH - WINDOW + 1, N_WINDOWS)
        return cls(records, starts, (rng.random(N_WINDOWS) < 0.5) & half_reverse)

    def places(self, batch: slice) -> Iterable[tuple[str, int, bool]]:
        columns = (column[batch].tolist() for column in (self.records, self.starts, self.reverse))
        return ((f"chr{record}", start, reverse) for record, start, reverse in zip(*columns, strict=True))


def write_genome(path: Path) -> None:
    rng = np.random.default_rng(SEED)
    with open(path, "w") as file:
        for number in range(CHROMOSOMES):
            letters = (
                np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, CHROMOSOME_LENGTH)].tobytes().decode()
            )
            lines = (letters[i : i + LINE] for i in range(0, CHROMOSOME_LENGTH, LINE))
            file.write(f">chr{number}\n" + "\n".join(lines) + "\n")


# The readers: each gives a function of a slice of the windows.


def store_reader(path: Path, windows: Windows) -> Read:
    store = SequenceStore.open(path, both_strands=True)
    reverse = windows.reverse if windows.reverse.any() else None

    def read(batch: slice) -> Array:
        turned = None if reverse is None else reverse[batch]
        return store.windows(windows.records[batch], windows.starts[batch], WINDOW, turned)

    return read


def by_table(fetch: Callable[[str, int], bytes], windows: Windows) -> Read:
    """One call a window, then a table from letters to indexes, and one to the complement."""

    def read(batch: slice) -> Array:
        rows = []
        for name, start, reverse in windows.places(batch):
            codes = DNA.letter_codes[np.frombuffer(fetch(name, start), np.uint8)]
            rows.append(DNA.complement[codes[::-1]] if reverse else codes)
        return np.stack(rows)

    return read


def pysam_reader(path: Path, windows: Windows) -> Read:
    file = pysam.FastaFile(str(path))
    return by_table(lambda name, start: file.fetch(name, start, start + WINDOW).encode(), windows)


def pyfaidx_reader(path: Path, windows: Windows) -> Read:
    file = pyfaidx.Fasta(str(path), as_raw=True)
    return by_table(lambda name, start: file[name][start : start + WINDOW].encode(), windows)


def genvarloader_reader(path: Path, windows: Windows) -> Read:
    """Letters, of the strand of each region."""
    names = [f"chr{record}" for record in windows.records]
    bed = polars.DataFrame(
        {
            "chrom": names,
            "chromStart": windows.starts,
            "chromEnd": windows.starts + WINDOW,
            "strand": np.where(windows.reverse, "-", "+"),
        }
    )
    reference = genvarloader.Reference.from_path(path)
    dataset = genvarloader.RefDataset(reference, bed, output_length=WINDOW)

    def read(batch: slice) -> Array:
        found: Array = dataset[np.arange(batch.start, min(batch.stop, N_WINDOWS))]
        return found

    return read


READERS: dict[str, tuple[Callable[[Path, Windows], Read], int]] = {
    "SequenceStore.windows": (store_reader, N_WINDOWS),
    "GenVarLoader": (genvarloader_reader, N_WINDOWS),
    "pysam and a table": (pysam_reader, N_SLOW),
    "pyfaidx and a table": (pyfaidx_reader, N_SLOW),
}


def available() -> dict[str, tuple[Callable[[Path, Windows], Read], int]]:
    """The readers that are installed; the others are named."""
    found = dict(READERS)
    if pysam is None:
        print(f"pysam is left out ({NO_PYSAM}; pip install pysam)", file=sys.stderr)
        del found["pysam and a table"]
    if genvarloader is None:
        print(f"GenVarLoader is left out ({NO_GENVARLOADER}; pip install genvarloader)", file=sys.stderr)
        del found["GenVarLoader"]
    return found


def read_all(read: Read, n: int, batch_size: int) -> None:
    for start in range(0, n, batch_size):
        read(slice(start, start + batch_size))


def iterate(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def same(found: Array, expected: Array) -> bool:
    """Whether windows are those of the store, be they indexes or letters."""
    codes = found if found.dtype == np.uint8 else DNA.letter_codes[np.ascontiguousarray(found).view(np.uint8)]
    return bool(np.array_equal(codes.reshape(expected.shape), expected))


def generator_of(path: Path, windows: Windows, batch_size: int, half_reverse: bool) -> IntervalBatchGenerator:
    names = [f"chr{record}" for record in windows.records]
    places = Intervals.make(names, windows.starts, windows.starts + WINDOW)
    return IntervalBatchGenerator(
        path, places, batch_size=batch_size, shuffle=True, reverse_complement=half_reverse
    )


def best_seconds(
    rounds: int, tasks: dict[Any, Callable[[], Any]], clock: Callable[[], float] = time.process_time
) -> dict[Any, float]:
    """The shortest time of each task, all in turn, `rounds` times."""
    found = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            gc.collect()
            started = clock()
            task()
            found[name] = min(found[name], clock() - started)
    return found


def measure_windows(path: Path, rounds: int) -> dict[str, Any]:
    """Windows a second of each reader and, through shuffled epochs, of the generator."""
    tasks: dict[tuple[str, str, str], Callable[[], Any]] = {}
    readers = available()
    agree = True
    for kind in KINDS:
        windows = Windows.drawn(kind == "half_reverse")
        expected = store_reader(path, windows)(slice(0, 1000))
        for name, (make, n) in readers.items():
            read = make(path, windows)
            agree = agree and same(read(slice(0, 1000)), expected)
            for size in BATCH_SIZES:
                tasks[name, kind, str(size)] = partial(read_all, read, n, size)
        for size in BATCH_SIZES:
            generator = generator_of(path, windows, size, kind == "half_reverse")
            tasks[OURS, kind, str(size)] = partial(iterate, generator)
    rates: dict[str, Any] = {name: {kind: {} for kind in KINDS} for name in [OURS, *readers]}
    for (name, kind, size), seconds in best_seconds(rounds, tasks).items():
        rates[name][kind][size] = (N_WINDOWS if name == OURS else readers[name][1]) / seconds
    return {
        "windows_per_second": rates,
        "generator_over": {name: over(rates[OURS], rates[name]) for name in readers},
        "same_windows": agree,
    }


def over(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How many times as fast ours is."""
    return {kind: {size: rate / other[kind][size] for size, rate in ours[kind].items()} for kind in KINDS}


def measure_encoding(path: Path, rounds: int) -> dict[str, float]:
    """Mb of sequence a second from FASTA to the store, written and synced, for one strand and for both."""

    def encode(both_strands: bool) -> None:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["HELIXBAND_CACHE"] = cache
            SequenceStore.open(path, both_strands=both_strands)

    kept = os.environ["HELIXBAND_CACHE"]
    tasks = {"one_strand": partial(encode, False), "both_strands": partial(encode, True)}
    seconds = best_seconds(rounds, tasks, time.perf_counter)
    os.environ["HELIXBAND_CACHE"] = kept
    return {name: GENOME_MB / time_taken for name, time_taken in seconds.items()}


def measure_loading(folder: Path, rounds: int) -> dict[str, float]:
    """What a training step of examples/conv_seq_classifier takes with batches that are there, and loaded."""
    example = EXAMPLES / "conv_seq_classifier"
    raw, definition = load_script(example / "make_raw_data.py"), load_script(example / "conv_model.py")
    records = raw.make_records(raw.N_RECORDS["train"], np.random.default_rng(SEED))
    sequences, labels = zip(*records, strict=True)
    path = folder / "train.fa"
    path.write_text("".join(f">s{number}\n{sequence}\n" for number, sequence in enumerate(sequences)))
    generator = FastaBatchGenerator(path, np.array(labels), 100, shuffle=True, layout="NCL")
    seed_everything(SEED)
    config = {"lr": 1e-3, "weight_decay": 1e-4, "dense_units": 64, "dropout": 0.25}
    model = definition.Model(config, Namespace(batch_size=100, cpu=True, seed=SEED))

    def train(batches: Iterable[tuple[Array, Array]]) -> None:
        for x, y in batches:
            model.train_step(to_device(x, model.device), to_device(y, model.device))

    ready = list(generator)
    train(ready)
    tasks = {
        "ready": partial(train, ready),
        "loaded": partial(train, generator),
        "loading_alone": partial(iterate, generator),
    }
    seconds = best_seconds(rounds, tasks)
    microseconds = {f"us_per_step_{name}": found / len(ready) * 1e6 for name, found in seconds.items()}
    return microseconds | {
        "loaded_over_ready": seconds["loaded"] / seconds["ready"],
        "loading_alone_over_ready": seconds["loading_alone"] / seconds["ready"],
    }


def describe_windows(document: dict[str, Any]) -> str:
    head = ["million windows a second"]
    head += [f"{kind.replace('_', ' ')}, by {size}" for kind in KINDS for size in BATCH_SIZES]
    rows = [
        [name, *(f"{rate / 1e6:.3f}" for kind in KINDS for rate in found[kind].values())]
        for name, found in document["windows_per_second"].items()
    ]
    wanted = f"wanted: {WANTED['forward'] / 1e6:g} forward, {WANTED['half_reverse'] / 1e6:g} half reverse"
    agree = "the same windows" if document["same_windows"] else "DIFFERENT windows"
    return f"{table(head, rows)}\n{wanted}; all give {agree}"


def describe(document: dict[str, Any]) -> list[str]:
    encoding, loading = document["encode_mb_per_second"], document["loading"]
    return [
        describe_windows(document),
        f"encoding: {encoding['one_strand']:.0f} Mb/s, of both strands {encoding['both_strands']:.0f} Mb/s; "
        f"wanted {WANTED['encode_mb']:g}",
        f"a training step of the conv example: {loading['us_per_step_ready']:.0f} us with batches that are "
        f"there, {loading['us_per_step_loaded']:.0f} us with batches loaded, "
        f"{loading['loaded_over_ready']:.3f} times; loading alone "
        f"{loading['us_per_step_loading_alone']:.0f} us, {loading['loading_alone_over_ready']:.2%}; wanted "
        f"under {WANTED['loading']:.0%}",
    ]


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="times that each is measured [%(default)s]")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        os.environ["HELIXBAND_CACHE"] = str(folder / "cache")
        write_genome(folder / "genome.fa")
        document = {
            "setting": setting(torch.device("cpu"), ["torch", "numpy", "pyfaidx", "pysam", "genvarloader"]),
            "rounds": args.rounds,
            "genome_mb": GENOME_MB,
            "window": WINDOW,
            **measure_windows(folder / "genome.fa", args.rounds),
            "encode_mb_per_second": measure_encoding(folder / "genome.fa", args.rounds),
            "loading": measure_loading(folder, args.rounds),
            "wanted": WANTED,
        }
    report(document, describe(document), args.json)
    return 0 if document["same_windows"] else 1


if __name__ == "__main__":
    sys.exit(main())
