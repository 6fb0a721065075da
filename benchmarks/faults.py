"""Have a disk fail once, below Python, at each call that writes, and see what a run makes of it.

`faults.c`, loaded before the C library, has one call fail: a write (with an error, half of it on a full disk,
or lost without an error), an fsync, a rename or a mkdir. A run that met a fault has to end with an error that
names the file, or with the results of an undisturbed run; and the same command after it with those results.

An evaluation with a prediction in four formats is tried at each of its calls, and a search at some.
"""

import contextlib
import ctypes
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIM = Path(__file__).with_suffix(".c")
LOADED = ("helixband.run.experiment", "h5py", "pybigtools", "sklearn.metrics", "scipy.stats")
"""What a run imports: here once, and not in every fork."""

WAYS = ("fails", "full disk", "lost")

DEFINITION = """
from torch import nn, optim

from helixband import FastaBatchGenerator, RegressionModel
from helixband.networks.one_hot import OneHot


def read(data_dir, name, **options):
    return FastaBatchGenerator(f"{data_dir}/{name}.fa", f"{data_dir}/{name}.target", **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "test")


def get_test_generator(data_dir):
    return read(data_dir, "test")


def get_config():
    import random

    return {"lr": random.uniform(0.001, 0.1)}


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(
            OneHot(), nn.Conv1d(4, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 1)
        )
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""

TRAIN = ("--epoch", "2", "--batch-size", "20")
PREDICT = ("--eval", "--predict", "genome.fa", "--stride", "10", "--format", "npy", "tsv", "h5", "bw")
SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")


@dataclass
class Ended:
    """What a run came to, and how many calls it made that a fault can hit."""

    code: int
    error: str
    calls: int


class Place:
    """A folder with an experiment, its results and the cache of its sequences."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, folder / "written"
        (folder / "data").mkdir()
        (folder / "def.py").write_text(DEFINITION)
        draw = random.Random(0)
        for name, count in (("train", 40), ("test", 10)):
            texts = ["".join(draw.choices("ACGT", k=30)) for _ in range(count)]
            (folder / f"data/{name}.fa").write_text(
                "".join(f">{n}\n{text}\n" for n, text in enumerate(texts))
            )
            (folder / f"data/{name}.target").write_text("".join(f"{text.count('A')}\n" for text in texts))
        genome = "".join(f">chr{n}\n{''.join(draw.choices('ACGT', k=300))}\n" for n in range(2))
        (folder / "data/genome.fa").write_text(genome)

    def begin(self, before: Path | None) -> None:
        """Put what was written back to a former state, or to nothing."""
        shutil.rmtree(self.written, ignore_errors=True)
        if before is None:
            self.written.mkdir()
        else:
            shutil.copytree(before, self.written, symlinks=True)

    def run(self, flags: tuple[str, ...], number: int = 0, way: int = 0) -> Ended:
        """The command, in a fork; the call of that number fails, none where it is 0."""
        said = self.folder / "said"
        receive, send = os.pipe()
        child = os.fork()
        if not child:
            self._run(flags, number, way, said, send)
        os.close(send)
        with open(receive) as pipe:
            calls = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Ended(code, said.read_text(errors="replace"), int(calls or 0))

    def _run(self, flags: tuple[str, ...], number: int, way: int, said: Path, send: int) -> None:
        from helixband.run import command

        code = 70
        try:
            with open(said, "wb") as file:
                os.dup2(file.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.chdir(self.folder)
            os.environ["HELIXBAND_CACHE"] = str(self.written / "cache")
            sys.argv = ["helixband", *flags]
            places = ["--model", "def.py", "--data", "data", "--result", str(self.written / "results")]
            if number or "LD_PRELOAD" in os.environ:
                shim().faults_set(f"{self.written}/".encode(), number, way)
            code = command.main([*places, "--cpu", *flags])
        except SystemExit as exit:
            code = int(exit.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os.write(send, str(shim().faults_count() if "LD_PRELOAD" in os.environ else 0).encode())
            os._exit(code)

    def outputs(self) -> dict[str, Any]:
        """All that counts of what was written, by name."""
        found: dict[str, Any] = {}
        for path in sorted(self.written.rglob("*")):
            name = str(path.relative_to(self.written))
            if (
                path.is_dir()
                or path.name in ("lock", "attempt")
                or path.suffix == ".lock"
                or "/logs/" in name
            ):
                continue
            found[name] = content(path)
        return found


def content(path: Path) -> Any:
    """What a file holds, as far as two runs of one command have it alike."""
    import torch

    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        return repr(state["network"]), state["epoch"], state.get("reward")
    if path.name == "train_results.csv":
        rows = [line.split(",") for line in path.read_text().splitlines()]
        kept = [number for number, title in enumerate(rows[0]) if "seconds" not in title]
        return [[row[number] for number in kept] for row in rows]
    if path.name == "train_results.json":  # when, and a checksum of the seconds too
        return None
    if path.name == "run.json":
        return {name: value for name, value in json.loads(path.read_text()).items() if name == "stages"}
    return path.read_bytes()


_loaded: ctypes.CDLL | None = None


def shim() -> ctypes.CDLL:
    """The functions of faults.c in this process."""
    global _loaded
    if _loaded is None:
        _loaded = ctypes.CDLL(os.environ["LD_PRELOAD"])
        _loaded.faults_set.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
        _loaded.faults_count.restype = ctypes.c_long
    return _loaded


def try_faults(
    place: Place, flags: tuple[str, ...], before: Path | None, chosen: Callable[[int], list[tuple[int, int]]]
) -> dict[str, Any]:
    """Have the command meet the faults that are chosen among so many calls."""
    place.begin(before)
    undisturbed = place.run(flags)
    assert undisturbed.code == 0, undisturbed.error
    expected = place.outputs()
    outcomes: Counter[str] = Counter()
    wrong = []
    faults = chosen(undisturbed.calls)
    for number, way in faults:
        place.begin(before)
        met = place.run(flags, number, way)
        # pybigtools prints its own reason before the error.
        told = met.code == 1 and "\nerror: " in f"\n{met.error}" and "Traceback" not in met.error
        harmless = met.code == 0 and place.outputs() == expected
        again = place.run(flags)
        mended = again.code == 0 and place.outputs() == expected
        outcomes["told" if told else "harmless" if harmless else "wrong"] += 1
        if not ((told or harmless) and mended):
            now = place.outputs()
            other = [name for name in {*now, *expected} if now.get(name) != expected.get(name)]
            wrong.append({"call": number, "way": WAYS[way], "code": met.code, "said": met.error[-500:],
                          "again": again.code, "said again": again.error[-500:], "other": other})  # fmt: skip
    return {"calls": undisturbed.calls, "faults": len(faults), **outcomes, "not as wanted": wrong}


def some(calls: int, wanted: int) -> list[tuple[int, int]]:
    """So many calls at random, or all, each with one way to fail."""
    numbers = range(1, calls + 1)
    drawn = numbers if wanted >= calls else sorted(random.Random(0).sample(numbers, wanted))
    return [(number, number % len(WAYS)) for number in drawn]


def every(calls: int) -> list[tuple[int, int]]:
    """All calls in all ways to fail."""
    return [(number, way) for number in range(1, calls + 1) for way in range(len(WAYS))]


def main() -> None:
    from common import make_parser, report, setting

    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--calls", type=int, help="of the evaluation, so many calls, one way each [all, all ways]"
    )
    parser.add_argument("--search", type=int, default=100, help="of the search, so many calls [%(default)s]")
    args = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "faults.so"
            command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"]
            subprocess.run(command, check=True)
            environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
            sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)

    import torch

    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.begin(None)
        made = place.run(TRAIN)
        assert made.code == 0, made.error
        trained = place.folder / "trained"
        shutil.copytree(place.written, trained, symlinks=True)
        shutil.rmtree(trained / "cache")
        chosen = every if args.calls is None else (lambda calls: some(calls, args.calls))
        found = {
            "evaluation and prediction": try_faults(place, PREDICT, trained, chosen),
            "search": try_faults(place, SEARCH, None, lambda calls: some(calls, args.search)),
        }
    lines = []
    for name, result in found.items():
        counts = ", ".join(f"{key} {value}" for key, value in result.items() if isinstance(value, int))
        lines.append(f"{name}: {counts}, not as wanted {len(result['not as wanted'])}")
        lines += [json.dumps(fault) for fault in result["not as wanted"]]
    report({"setting": setting(torch.device("cpu")), "runs": found}, lines, args.json)


if __name__ == "__main__":
    main()
