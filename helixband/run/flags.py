"""Flags that mean nothing without another one: they are refused, not ignored."""

import ast
from argparse import Namespace
from collections.abc import Iterable

from helixband.env import number_of_processes
from helixband.errors import UsageError
from helixband.run.values import AUTO

OF_SEARCH = ("trials", "try", "time_budget", "pack")
"""But for its settings, which any run records."""
OF_WORKERS = ("workers", "trials_per_gpu", "cluster")
"""For a search, tests and predictions."""
OF_WINDOWS = ("stride", "both_strands", "format", "chromosomes")
"""For inputs that are predicted window by window."""
OF_PREDICTION = (*OF_WINDOWS, "names")


def given(args: Namespace, names: Iterable[str]) -> list[str]:
    """Those of these flags that the command line has, as they are written there."""
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]


def check_flags(args: Namespace) -> None:
    """Raise `UsageError` for flags that do not go together; before defaults are filled in."""
    if args.hyper and number_of_processes() > 1:
        raise UsageError(
            f"--hyper trains many configurations, and torchrun starts {number_of_processes()} processes for "
            "one training: search without torchrun, by --workers N with a GPU for each, and train the best "
            "one on with it, by --epoch without --hyper"
        )
    if not args.hyper:
        of_search, of_workers = (
            given(args, OF_SEARCH),
            [] if args.eval or args.predict else given(args, OF_WORKERS),
        )
        if of_search:
            _refuse([*of_search, *of_workers], "for a search alone; add --hyper")
        _refuse(of_workers, "for searches, tests and predictions alone; add --hyper, --eval or --predict")
    if number_of_processes() > 1:
        _refuse(
            given(args, OF_WORKERS),
            "not for a training by torchrun; test and predict in a command of its own",
        )
    if args.batch_size == AUTO:
        _check_auto(args)
    if args.cluster and args.pack not in (None, "off"):
        raise UsageError(
            f"--pack {args.pack} packs trials on this machine, and --cluster is for others: leave one out"
        )
    if not args.predict:
        _refuse(given(args, OF_PREDICTION), "for predictions alone; add --predict")
        if not args.eval:
            _refuse(given(args, ["mc_dropout"]), "for tests and predictions alone; add --eval or --predict")


def _check_auto(args: Namespace) -> None:
    """What is tried is the step of one training, in this process."""
    flag = f"--batch-size {AUTO}"
    if number_of_processes() > 1:
        raise UsageError(f"{flag} is for a training by one process, and not for torchrun: give a number")
    if args.cluster:
        raise UsageError(f"{flag} tries what fits on a GPU of this machine, not of --cluster: give a number")
    shared = [
        *(["--pack"] if args.pack not in (None, "off") else []),
        *(["--trials-per-gpu"] if (args.trials_per_gpu or 1) > 1 else []),
    ]
    if shared:
        raise UsageError(
            f"{flag} tries what fits with one trial on a GPU, and with {' and '.join(shared)} several share "
            "one: give a number"
        )


def notes_on_algorithms(args: Namespace, device: str) -> list[str]:
    """What --nondeterministic means on a device of that type."""
    if not args.nondeterministic:
        return []
    if device != "cuda":
        return ["note: --nondeterministic is for a GPU, and changes nothing here"]
    return [
        "note: --nondeterministic: cuDNN takes the fastest algorithms that it finds, so the same seed does "
        "not give the same numbers again, and a run that goes on is not bit for bit one without interruption"
    ]


def declares_hparams(path: str) -> bool:
    """Whether a definition may have `hparams`, from its text alone: it can be loaded only with torch.

    It may also where it cannot be read, which is told as it is loaded.
    """
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if getattr(node, "module", "") == "hparams" or {"hparams", "*"} & {
                alias.asname or alias.name for alias in node.names
            }:
                return True
        elif isinstance(node, ast.ClassDef) and node.name == "hparams":
            return True
        elif isinstance(node, ast.Name) and node.id == "hparams" and isinstance(node.ctx, ast.Store):
            return True
    return False


def _refuse(flags: list[str], why: str) -> None:
    if flags:
        raise UsageError(f"{', '.join(flags)}: {why}, or leave it out")
