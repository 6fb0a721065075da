"""Which executor a search has, by the flags --workers, --trials-per-gpu and --cluster."""

import os
from argparse import Namespace
from collections.abc import Callable

import torch

from helixband.errors import UsageError
from helixband.search.executors.address import check_address
from helixband.search.executors.cluster import check_packages, connect
from helixband.search.executors.local import Executor, InProcess, LocalWorkers, allot, fair_threads
from helixband.search.executors.process import Setup
from helixband.search.executors.trial import Trainer


def check_workers(args: Namespace) -> None:
    """Raises `UsageError` for flags that do not go together, before any work."""
    if args.cluster:
        check_address(args.cluster)
        check_packages(args.cluster)
        if args.trials_per_gpu:
            raise UsageError("--trials-per-gpu is for this machine, and --cluster for others: leave one out")
    elif args.trials_per_gpu and not visible_gpus(args.cpu):
        raise UsageError("--trials-per-gpu needs a GPU, and there is none to use; give --workers")
    else:
        allot(_local_workers(args), args.trials_per_gpu or 1, visible_gpus(args.cpu))


def make_executor(trainer: Trainer, say: Callable[[str], None]) -> Executor:
    """In this process, in several of this machine, or on a cluster."""
    args = trainer.args
    if args.cluster:
        say(f"connecting to {args.cluster}")
        return connect(args.cluster, Setup.of(trainer, args.directory), args.workers, say)
    workers, gpus = _local_workers(args), visible_gpus(args.cpu)
    if workers == 1:
        return InProcess(trainer)
    cores, asked = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdecimal() and int(asked) else fair_threads(cores, workers)
    say(f"{workers} trials at a time, each with {threads} of {cores} CPU cores")
    if workers > cores:
        say(f"  more workers than cores: {cores} would do as much")
    return LocalWorkers(
        Setup.of(trainer, args.directory), workers, allot(workers, args.trials_per_gpu or 1, gpus), threads
    )


def visible_gpus(cpu: bool) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; with `cpu` none."""
    if cpu or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _local_workers(args: Namespace) -> int:
    if args.workers is None and args.trials_per_gpu:
        return int(args.trials_per_gpu * len(visible_gpus(args.cpu)))
    return args.workers or 1
