"""Train public recipes by a plain PyTorch loop and by a def.py, in turn in one process, and compare both.

The last of them trains in two processes, which torchrun starts.

Each recipe is in recipe_files/: NAME.py, the def.py, and NAME_loop.py. Both take their network and their
simulated data from the same two files, and begin with the same weights and random numbers. Both validate
after each epoch, with the same metrics, and keep the best weights; the def.py also keeps its checkpoints and
its history on disk. The losses of all steps have to be equal: bit by bit if both compute in the same order,
else to 1e-4.
"""

import argparse
import ast
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import load_script, make_parser, report, setting, table

from helixband.randomness import seed_everything
from helixband.results.directory import Trial
from helixband.training.processes import joined

FILES = Path(__file__).resolve().parent / "recipe_files"
sys.path.insert(0, str(FILES))

import simulated  # noqa: E402

RECIPES = {
    "deepsea": True,
    "basset": True,
    "cnn_lstm": True,
    "two_outputs": True,
    "profile_counts": False,
    "soft_bins": False,
    "masked_mpra": False,
    "adversarial": True,
    "ema_mixup": True,
    "two_processes": False,
}
"""Each with whether both ways compute their losses in the same order of operations."""
BY_TORCHRUN = {"two_processes"}
CLOSE = 1e-4
"""So close are the others, relative to the loss."""


class Trained(NamedTuple):
    losses: list[float]
    """Of each step; of each epoch, where several processes train."""
    val_losses: list[float]
    weights: dict[str, torch.Tensor]
    """Of the best epoch."""
    cpu_seconds: float


def by_loop(name: str, epochs: int) -> Trained:
    loop = load_script(FILES / f"{name}_loop.py")
    seed_everything(simulated.SEED)
    began = time.process_time()
    losses, history, weights = loop.train(epochs)
    seconds = time.process_time() - began
    if name in BY_TORCHRUN:
        losses = [row["train_loss"] for row in history]
    return Trained(losses, [row["val_loss"] for row in history], weights, seconds)


def by_definition(name: str, epochs: int, notes_losses: bool = False) -> Trained:
    """As the command line trains a single configuration; its losses are noted outside the times."""
    definition = load_script(FILES / f"{name}.py")
    batches = -(-simulated.SIZES["train"] // simulated.BATCH_SIZE)
    args = Namespace(
        batch_size=simulated.BATCH_SIZE,
        cpu=True,
        seed=simulated.SEED,
        total_epochs=epochs,
        steps_per_epoch=batches,
    )
    seed_everything(simulated.SEED)
    NOTED.clear()
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        model = definition.Model(definition.get_config(), args)
        if notes_losses:
            _note_losses(model)
        train = definition.get_train_generator(directory, simulated.BATCH_SIZE)
        val = definition.get_val_generator(directory)
        trial = Trial(Path(directory) / "trial")
        with joined() as ours, ours.connected(model.device) if ours else contextlib.nullcontext():
            history = model.fit(
                train, val, epochs, trial if not ours or not ours.rank else None, simulated.SEED
            )
        seconds = time.process_time() - began
    if name in BY_TORCHRUN:
        NOTED[:] = [row["train_loss"] for row in history]
    return Trained([*NOTED], [row["val_loss"] for row in history], model.network.state_dict(), seconds)


NOTED: list[float] = []
"""Not of the model, whose attributes are afterwards those of the best epoch."""


def _note_losses(model: Any) -> None:
    step = model.train_step

    def noted(x: Any, y: Any) -> Any:
        found = step(x, y)
        NOTED.append(found[0].item())
        return found

    model.train_step = noted


def by_torchrun(name: str, way: str, epochs: int) -> Trained:
    """What the first of two processes has of a training in one of the ways."""
    flags = ["--nproc-per-node=2", __file__, name, "--way", way, "--epochs", str(epochs)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *flags]
    sizes = f"--examples={simulated.SIZES['train']}"
    done = subprocess.run([*command, sizes], stdout=subprocess.PIPE, check=True, text=True)
    return Trained(**json.loads(done.stdout), weights={})


WAYS = {"loop": by_loop, "definition": by_definition}


def trained(name: str, way: str, epochs: int, notes_losses: bool = False) -> Trained:
    if name in BY_TORCHRUN:
        return by_torchrun(name, way, epochs)
    return by_definition(name, epochs, notes_losses) if way == "definition" else by_loop(name, epochs)


def difference(name: str, epochs: int) -> dict[str, Any]:
    """How far the losses of both are from each other."""
    loop, ours = (trained(name, way, epochs, notes_losses=True) for way in WAYS)
    pairs = (loop.losses, ours.losses), (loop.val_losses, ours.val_losses)
    alike = all(len(one) == len(other) for one, other in pairs)
    most = (
        max(float(np.max(np.abs(np.subtract(*pair)) / np.abs(pair[0]))) for pair in pairs)
        if alike
        else np.inf
    )
    are_equal = loop.losses == ours.losses and all(
        torch.equal(value, ours.weights[key]) for key, value in loop.weights.items()
    )
    return {
        "steps": epochs * -(-simulated.SIZES["train"] // simulated.BATCH_SIZE),
        "bit_equal": are_equal,
        "largest_difference": most,
        "as_wanted": (are_equal or not RECIPES[name]) and most <= CLOSE,
    }


def lines_of(path: Path) -> int:
    """Lines of code: without empty ones, comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = 0
            node.end_lineno = node.value.end_lineno = node.lineno - 1
    lines = {
        line
        for node in ast.walk(tree)
        if hasattr(node, "lineno")
        for line in (node.lineno, node.end_lineno)
        if node.end_lineno >= node.lineno
    }
    return len(lines)


def measure(name: str, epochs: int, rounds: int) -> dict[str, Any]:
    """The differences, and CPU times of both in turn: the median of the ratios of all rounds."""
    found = difference(name, epochs)  # which is also what a process does once
    times = []
    for _ in range(rounds):
        gc.collect()
        times.append([trained(name, way, epochs).cpu_seconds for way in WAYS])
    return found | {
        "cpu_over_loop": statistics.median(ours / loop for loop, ours in times),
        "loop_seconds": statistics.median(loop for loop, _ in times),
        "lines": {"loop": lines_of(FILES / f"{name}_loop.py"), "def.py": lines_of(FILES / f"{name}.py")},
    }


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help=f"some of {', '.join(RECIPES)} [all]")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is timed [%(default)s]")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a training [%(default)s]")
    parser.add_argument("--examples", type=int, default=1600, help="training examples [%(default)s]")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # of a process that torchrun starts
    args = parser.parse_args()
    if unknown := set(args.recipes) - RECIPES.keys():
        parser.error(f"there is no recipe {min(unknown)}; there are {', '.join(RECIPES)}")
    torch.set_num_threads(args.threads)
    simulated.SIZES |= {"train": args.examples, "val": max(args.examples // 4, 100)}
    if args.way is not None:
        found = WAYS[args.way](args.recipes[0], args.epochs)
        if os.environ["RANK"] == "0":
            parts = found.losses, found.val_losses, found.cpu_seconds
            print(json.dumps(dict(zip(("losses", "val_losses", "cpu_seconds"), parts, strict=True))))
        return 0
    results = {name: measure(name, args.epochs, args.rounds) for name in args.recipes or RECIPES}
    document = {"setting": setting(torch.device("cpu")), "rounds": args.rounds, "recipes": results}
    report(document, [table(HEAD, [_row(name, one) for name, one in results.items()])], args.json)
    return 0 if all(one["as_wanted"] for one in results.values()) else 1


HEAD = ["recipe", "steps", "losses", "x loop, CPU time", "loop s", "lines loop", "lines def.py"]


def _row(name: str, found: dict[str, Any]) -> list[Any]:
    losses = "bit-equal" if found["bit_equal"] else f"to {found['largest_difference']:.0e}"
    lines = found["lines"]
    return [
        name,
        found["steps"],
        losses if found["as_wanted"] else f"DIFFER {losses}",
        f"{found['cpu_over_loop']:.2f}",
        f"{found['loop_seconds']:.2f}",
        lines["loop"],
        lines["def.py"],
    ]


if __name__ == "__main__":
    sys.exit(main())
