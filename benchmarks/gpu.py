"""All that a GPU is to be seen for, in one call of minutes: checks, steps, packed trials, whole searches.

Without a GPU it says so and ends; with --cpu it runs on the CPU, which shows that it runs, and nothing else.
What a part found is told as soon as it is there, and all figures in one table in the end. Ratios are taken in
one run. Searches are timed from their first trial's directory to the last line of their journal.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import packed_trials
import torch
from common import EXAMPLES, ROOT, load_script, make_parser, report, setting, table
from gpu_checks import CHECKS
from step import BATCH_SIZE, TASKS, Task, lightning, measure, outputs_of, silence_lightning
from torch import Tensor

from base_model import choose_device
from batch_generator import MatrixBatchGenerator
from helixband.training.steps.captured import Captured

LARGE_BATCH = 4096


class Figure(NamedTuple):
    """A figure that was measured, and what it has to be: `at_least` a number, or `at_most` one."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def cells(self) -> list[str]:
        wanted, holds = "", ""
        if self.at_least is not None:
            wanted, holds = f">= {self.at_least:g}", "yes" if self.value >= self.at_least else "NO"
        if self.at_most is not None:
            wanted, holds = f"<= {self.at_most:g}", "yes" if self.value <= self.at_most else "NO"
        return [self.name, f"{self.value:.3g}", wanted, holds]


Part = Callable[[], tuple[list[Figure], Any]]
"""Gives figures, and what they are from."""

WANTED_OF_STEPS = {"conv": (6.0, 10.0), "mlp": (8.0, None)}
"""How many times as fast as the bare loop and as Lightning the runner is to be."""


def steps(name: str, args: Namespace) -> tuple[list[Figure], Any]:
    """Whole trainings by the runner beside bare PyTorch and Lightning."""
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu, seed=0)
    found = measure(TASKS[name](args.examples), args.rounds, args.epochs, settings)
    of_runner = found["contestants"]["runner"]["seconds"]
    figures = [Figure(f"{name}: reaches the loss of the bare loop", found["same_loss"], at_least=1)]
    for other, wanted in zip(("bare", "lightning"), WANTED_OF_STEPS[name], strict=True):
        if other in found["contestants"]:
            ratio = found["contestants"][other]["seconds"] / of_runner
            figures.append(Figure(f"{name}: {other} / runner", ratio, at_least=wanted))
    figures += [
        Figure(f"{name}: {way}, us a step", each["us_per_step"]) for way, each in found["contestants"].items()
    ]
    return figures, found


def packed(name: str, args: Namespace) -> tuple[list[Figure], Any]:
    """The steps of 27 trials together, captured, beside those of one after another."""
    settings = Namespace(batch_size=BATCH_SIZE, cpu=args.cpu)
    found = packed_trials.measure(name, args.trials, 2, settings, args.examples // 2)
    wanted = {"bare, one after another": 15.0 if name == "conv" else None}
    figures = [
        Figure(f"{args.trials} {name}: {way} / together", ratio, at_least=wanted.get(way))
        for way, ratio in found["times_as_fast"].items()
    ]
    together = found["us_per_step_of_a_trial"]["together"]
    return [*figures, Figure(f"{args.trials} {name}: together, us a step of a trial", together)], found


def large_batch(args: Namespace) -> tuple[list[Figure], Any]:
    """Captured steps of the conv example at batch 4096 in bf16, beside the same step captured by hand."""
    task = TASKS["conv"]()
    rows = np.arange(args.large_steps * LARGE_BATCH) % len(task.train[0])
    task = replace(task, train=(task.train[0][rows], task.train[1][rows]))
    settings = {"batch_size": LARGE_BATCH, "cpu": args.cpu, "seed": 0, "training": {"precision": "bf16"}}
    model = task.new_model(Namespace(**settings))
    train = MatrixBatchGenerator(*task.train, LARGE_BATCH, shuffle=True)
    member = model.as_member(train, MatrixBatchGenerator(*task.val), 10**6, seed=0)
    member.metrics = None
    stepper, times = Captured(), []
    for _ in range(6):  # the steps are recorded in the first two
        times.append(packed_trials.seconds_of([member], stepper) / args.large_steps * 1e6)
    of_runner, floor = statistics.median(times[2:]), floor_of(task, args)
    figures = [
        Figure("conv at 4096 in bf16: runner / captured by hand", of_runner / floor, at_most=1.3),
        Figure("conv at 4096 in bf16: runner, us a step", of_runner),
    ]
    reasons = [*stepper.alone.values(), *stepper.uncaptured.values()]
    return figures, {"runner": times, "floor": floor, "not captured": reasons}


def floor_of(task: Task, args: Namespace) -> float:
    """µs of a step as one captures it by hand: gather, forward, backward and a fused AdamW, in bf16."""
    model = task.new_model(Namespace(batch_size=LARGE_BATCH, cpu=args.cpu, seed=0))
    network, device = model.network, model.device
    X, Y = (torch.from_numpy(part).to(device) for part in task.train)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True, capturable=device.type == "cuda")
    chosen = torch.zeros(LARGE_BATCH, dtype=torch.long, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            loss = task.criterion(outputs_of(network(X[chosen]))[1].float(), Y[chosen])
        loss.backward()
        optimizer.step()

    run: Callable[[], Any] = step
    if device.type == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    times = []
    for _ in range(4):
        order = torch.randperm(len(X), device=device)
        synchronize(order)
        started = time.perf_counter()
        for batch in order.split(LARGE_BATCH):
            chosen.copy_(batch)
            run()
        synchronize(order)
        times.append((time.perf_counter() - started) / args.large_steps * 1e6)
    return statistics.median(times[1:])


def synchronize(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


DEFINITION = """
import numpy as np
from conv_model import Model, get_config

from batch_generator import MatrixBatchGenerator


def read(data_dir, name, **options):
    part = np.load(f"{data_dir}/{name}.npz")
    return MatrixBatchGenerator(part["x"], part["y"], **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "valid")
"""


def write_data(folder: Path, examples: int) -> None:
    """The definition of the conv example, with its data in two files."""
    (folder / "def.py").write_text(DEFINITION)
    shutil.copy(EXAMPLES / "conv_seq_classifier/conv_model.py", folder)
    raw, rng = load_script(EXAMPLES / "conv_seq_classifier/make_raw_data.py"), np.random.default_rng(0)
    for name, count in (("train", examples), ("valid", max(100, examples // 10))):
        sequences, labels = zip(*raw.make_records(count, rng), strict=True)
        letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(count, 1, -1)
        x = (letters == np.frombuffer(b"ACGT", np.uint8)[:, None]).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=np.array(labels))


def command(folder: Path, results: Path, args: Namespace, *flags: Any) -> str:
    """Run main.py on the data of a folder; what it says."""
    parts = [sys.executable, ROOT / "main.py", "-f", folder / "def.py", "-d", folder, "-r", results]
    parts += [*flags, *(["--cpu"] if args.cpu else [])]
    done = subprocess.run([str(part) for part in parts], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"main.py {' '.join(map(str, flags))} failed: {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def search(folder: Path, results: Path, args: Namespace, seed: int, *flags: Any) -> tuple[float, float]:
    """(seconds of the search, best reward) of the conv example."""
    common = ["--hyper", "--epoch", args.search_epochs, "--batch-size", BATCH_SIZE, "--seed", seed, "--quiet"]
    command(folder, results, args, *common, *flags)
    first = min(path.stat().st_mtime for path in results.glob("trials/*/config.json"))
    rows = np.genfromtxt(results / "best_config/train_results.csv", delimiter=",", names=True)
    return (results / "search/journal.jsonl").stat().st_mtime - first, float(np.max(rows["reward"]))


WAYS: dict[str, list[Any]] = {
    "packed": ["--pack", 8],
    "captured": [],
    "plain": ["--with", "capture=false"],
}


def searches(args: Namespace) -> tuple[list[Figure], Any]:
    """Searches of the conv example by each way; with plain steps, which take long, of the first seed."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        write_data(folder, args.examples)
        for seed in range(args.seeds):
            for way, flags in WAYS.items():
                if seed == 0 or way != "plain":
                    found[way].append(search(folder, folder / f"{way}_{seed}", args, seed, *flags))
                    tell(f"  search {way}, seed {seed}: {found[way][-1]}")
    first = {way: seconds[0][0] for way, seconds in found.items()}
    rewards = {way: [reward for _, reward in each] for way, each in found.items()}
    figures = [
        Figure("search: plain / packed", first["plain"] / first["packed"], at_least=8),
        Figure("search: plain / captured", first["plain"] / first["captured"]),
        *(Figure(f"search: {way}, s", seconds) for way, seconds in first.items()),
        *(Figure(f"search: best reward, {way}", statistics.mean(each)) for way, each in rewards.items()),
    ]
    return figures, found


def autos(args: Namespace) -> tuple[list[Figure], Any]:
    """What a search and a training say with `--pack auto` and with `--batch-size auto`."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        write_data(folder, 2000)
        search = command(folder, folder / "pack", args, "--hyper", "--epoch", 3, "--pack", "auto")
        said = {"--pack auto": search[-1500:]}
        if not args.cpu:  # which has no size to be found
            training = command(folder, folder / "batch", args, "--epoch", 2, "--batch-size", "auto")
            said["--batch-size auto"] = training[-1500:]
    return [], said


def checked(name: str, args: Namespace) -> tuple[list[Figure], Any]:
    found = CHECKS[name](args.cpu)
    return [Figure(f"check: {name}", found.holds, at_least=1)], found.lines


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of trainings [%(default)s]")
    parser.add_argument("--epochs", type=int, default=4, help="of a training, from 2 [%(default)s]")
    parser.add_argument("--examples", type=int, default=20_000, help="for training [%(default)s]")
    parser.add_argument("--trials", type=int, default=27, help="that are packed [%(default)s]")
    parser.add_argument("--large-steps", type=int, default=100, help="steps at batch 4096 [%(default)s]")
    parser.add_argument("--seeds", type=int, default=5, help="of the searches [%(default)s]")
    parser.add_argument("--search-epochs", type=int, default=27, help="R of the searches [%(default)s]")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone")
    args = parser.parse_args()
    device = choose_device(args.cpu)
    if device.type != "cuda" and not args.cpu:
        print("skipped: there is no GPU (--cpu shows that the script runs)")
        return 0
    torch.set_num_threads(args.threads)
    if lightning is not None:
        silence_lightning()
    parts: dict[str, Part] = {name: lambda name=name: checked(name, args) for name in CHECKS}  # type: ignore[misc]
    for name in TASKS:
        parts[f"steps {name}"] = lambda name=name: steps(name, args)  # type: ignore[misc]
        parts[f"packed {name}"] = lambda name=name: packed(name, args)  # type: ignore[misc]
    parts |= {
        "large": lambda: large_batch(args),
        "auto": lambda: autos(args),
        "search": lambda: searches(args),
    }
    if unknown := {*(args.only or ())} - {*parts}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    document: dict[str, Any] = {"setting": setting(device), "figures": [], "found": {}}
    figures: list[Figure] = []
    for name in args.only or parts:
        started = time.perf_counter()
        try:
            of_part, document["found"][name] = parts[name]()
        except Exception as error:  # what the other parts find is wanted all the same
            of_part, document["found"][name] = [], {"failed": f"{type(error).__name__}: {error}"}
            figures.append(Figure(f"{name}: runs", 0, at_least=1))
        figures += of_part
        tell(f"{name}: {time.perf_counter() - started:.0f} s\n  {json.dumps(document['found'][name])[:1500]}")
        for figure in of_part:
            tell(f"  {'  '.join(figure.cells)}")
    document["figures"] = [figure._asdict() for figure in figures]
    report(
        document, [table(["figure", "found", "wanted", "holds"], [each.cells for each in figures])], args.json
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
