"""Flip bits at random in the files that a run reads back, and count how often that is used unnoticed.

Each flip is in one file of a result directory or of the cache of sequences. What reads the file then has to
raise an error that names it, or come to what it came to before.
"""

import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import make_parser, report, setting, table
from faults import SEARCH, TRAIN, Place, content

from helixband.errors import HelixbandError
from helixband.files import read_document
from helixband.outputs.parts import Parts
from helixband.results import checkpoints
from helixband.results.directory import Results
from helixband.results.journal import Journal
from helixband.run.experiment import SEARCH_SETTINGS
from helixband.run.records import Record, Records
from helixband.run.runfile import RunFile
from helixband.search.journal import SearchJournal
from helixband.sequence.store import SequenceStore

ENDS = np.arange(20, 201, 20)

Reader = Callable[[Path], Any]


def checkpoint(path: Path) -> Any:
    checkpoints.load(path)
    return content(path)


def journal(path: Path) -> Any:
    """With the settings of the search, which its command line gives."""
    given = json.loads((path.parent.parent / "run.json").read_text())["settings"]
    settings = {name: given[name] for name in SEARCH_SETTINGS} | {
        "max_epochs": given["epoch"],
        "trials": None,
    }
    found = SearchJournal(Journal(path), settings)
    return found.trials, found.results, found.finished


def config(path: Path) -> Any:
    results = Results(path.parent.parent.parent)
    return results.config_of(results.trial(path.parent.name))


def tested(path: Path) -> Any:
    RunFile(Results(path.parent)).check_files([path])
    return path.read_bytes()


def epochs(path: Path) -> Any:
    results = Results(path.parent.parent.parent)
    return results.trial(path.parent.name).history()


def predicted(path: Path) -> Any:
    """As a run does that finds them done."""
    results = Results(path.parent.parent)
    records = Records(results, RunFile(results))
    name = path.name.removesuffix(path.suffix)
    document = records.of(name)
    Record(records, results, name, document["facts"]).has(document["formats"])
    return path.read_bytes()


def chunks(path: Path) -> Any:
    """The rows of a prediction that was stopped, those that are gone being made again."""
    parts = Parts(path.parent, {"of": "damage"}, ENDS)
    while parts.done < ENDS[-1]:
        first, last = parts.done, parts.next_end
        parts.append({"": rows()[first:last]})
    return parts.arrays[""].read(0, int(ENDS[-1])).tobytes()


def rows() -> Any:
    return np.random.default_rng(0).normal(size=(int(ENDS[-1]), 3)).astype(np.float32)


def sequences(path: Path) -> Any:
    store = SequenceStore.open(path.parent.parent.parent / "data" / "train.fa")
    return store.headers, store.lengths.tolist(), store.codes.tobytes()


def targets(place: Place) -> Iterator[tuple[str, Path, Reader]]:
    """What is damaged, by name: the file, and what reads it."""
    predict = ("--predict", "genome.fa", "--stride", "10")
    for flags in (SEARCH, (*TRAIN, "--eval", *predict, "--result", "single")):
        ended = place.run(flags)
        assert ended.code == 0, ended.error
    searched, single = place.written / "results", place.folder / "single"
    trained = (searched / "best_config").resolve()
    yield "checkpoint of a search", trained / "checkpoints/best.pt", checkpoint
    yield "checkpoint to go on from", single / "trials/single/checkpoints/last.pt", checkpoint
    yield "configuration in a search", trained / "config.json", config
    yield "configuration", single / "trials/single/config.json", config
    yield "journal", searched / "search/journal.jsonl", journal
    yield "run.json", single / "run.json", read_document
    yield "test_result.json", single / "test_result.json", tested
    yield "baselines.json", single / "baselines.json", tested
    yield "test_predictions.npz", single / "test_predictions.npz", tested
    yield "table of epochs", single / "trials/single/train_results.csv", epochs
    yield "a prediction", single / "predictions/genome.fa.npy", predicted
    chunks(place.written / "x.part" / "0")
    yield "chunks of a prediction", place.written / "x.part" / "0", chunks
    yield "checksums of chunks", place.written / "x.part" / "checksums", chunks
    yield "facts of chunks", place.written / "x.part" / "facts.json", chunks
    encoded = next((place.written / "cache").glob("train.fa.*.codes"))
    yield "encoded sequences", encoded, sequences


def damage(path: Path, read: Reader, flips: int, draw: random.Random) -> Counter[str]:
    """Flip so many bits, one at a time, and count what comes of them."""
    kept = path.parent.with_name(f"{path.parent.name}.kept")
    expected, outcomes = read(path), Counter[str]()
    shutil.copytree(path.parent, kept, symlinks=True)
    whole = path.read_bytes()
    for _ in range(flips):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            outcomes["harmless" if read(path) == expected else "used unnoticed"] += 1
        except HelixbandError as error:
            outcomes["told" if str(path.parent) in str(error) else "told without its name"] += 1
        except Exception as error:
            outcomes[f"crashed: {type(error).__name__}"] += 1
        shutil.rmtree(path.parent)
        shutil.copytree(kept, path.parent, symlinks=True)
    shutil.rmtree(kept)
    return outcomes


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=2000, help="bits in all [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the places of the bits [%(default)s]")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.begin(None)
        os.environ["HELIXBAND_CACHE"] = str(place.written / "cache")
        places = list(targets(place))
        each = -(-args.flips // len(places))
        found = {name: damage(path, read, each, draw) for name, path, read in places}
    total = sum(found.values(), Counter())
    told = table(
        ["file", "bits flipped", *total], [[n, each, *(f[o] for o in total)] for n, f in found.items()]
    )
    bad = {name: count for name, count in total.items() if name not in ("told", "harmless")}
    document = {
        "setting": setting(torch.device("cpu")),
        "files": found,
        "flips": each * len(found),
        "bad": bad,
    }
    summary = f"{document['flips']} bits flipped; not told and not harmless: {sum(bad.values())}, wanted: 0"
    report(document, [told, summary], args.json)


if __name__ == "__main__":
    main()
