"""Which executor a search has, by the flags --workers, --trials-per-gpu and --cluster."""

import os
from argparse import Namespace
from collections.abc import Callable

import torch

from base_model import BaseModel
from helixband.definition.classes import lightning_module
from helixband.errors import UsageError, counted
from helixband.search.executors.address import check_address
from helixband.search.executors.cluster import check_packages, connect
from helixband.search.executors.early import Early
from helixband.search.executors.local import (
    Executor,
    InProcess,
    LocalWorkers,
    allot,
    threads_for,
    worker_environment,
)
from helixband.search.executors.memory import check_memory
from helixband.search.executors.packs import Packs
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


def make_executor(
    trainer: Trainer, say: Callable[[str], None], slots: int = 1, early: Early | None = None
) -> Executor:
    """In this process, in several of this machine, or on a cluster; with several `slots`, packed.

    Processes of this machine may come up already: `early`.
    """
    args = trainer.args
    if args.cluster:
        say(f"connecting to {args.cluster}")
        return connect(args.cluster, Setup.of(trainer, args.directory), args.workers, say)
    workers, gpus = _local_workers(args), visible_gpus(args.cpu)
    if slots > 1 and trainer.definition.module.Model.fit is not BaseModel.fit:
        name = lightning_module(trainer.definition.module, trainer.definition.given)
        why = f"{name} gives a LightningModule" if name else "the Model has a fit of its own"
        say(f"  --pack: each trial is trained alone, as {why}")
        slots = 1
    if workers == 1 and slots == 1:
        return InProcess(trainer)
    cores, threads = len(os.sched_getaffinity(0)), threads_of(args)
    if slots > 1:
        where = "a process" if workers == 1 else f"each of {workers} processes"
        say(f"up to {slots} trials together in {where} with {threads} of {cores} CPU cores")
    else:
        say(f"{workers} trials at a time, each with {threads} of {cores} CPU cores")
    if workers > cores:
        say(f"  more workers than cores: {cores} would do as much")
    if slots > 1:
        data = args.data, args.batch_size
        definition = trainer.definition
        check_memory(
            lambda: definition.training_data(*data), lambda: data in definition.data_made(), workers, slots
        )
    setup, allotted = Setup.of(trainer, args.directory, slots), allot(workers, args.trials_per_gpu or 1, gpus)
    spawned = early.take() if early else []
    if slots > 1:
        return Packs(setup, workers, allotted, threads, say, spawned)
    return LocalWorkers(setup, workers, allotted, threads, spawned)


def places(args: Namespace) -> list[dict[str, str]]:
    """The variables of each process on this machine: its GPU and its threads."""
    allotted = allot(_local_workers(args), args.trials_per_gpu or 1, visible_gpus(args.cpu))
    return [worker_environment(gpu, threads_of(args)) for gpu in allotted]


class ChunkWorkers:
    """What does chunks in other processes, by the same flags: made when it is first asked for."""

    def __init__(self, trainer: Trainer, say: Callable[[str], None]) -> None:
        self._trainer, self._say = trainer, say
        self._made: Executor | None = None

    def __call__(self, what: str) -> Executor:
        """Workers for chunks of that, where they are wanted."""
        if self._made is None:
            self._made = _make_chunk_workers(self._trainer, self._say, what)
        return self._made

    @staticmethod
    def are_wanted(args: Namespace) -> bool:
        """Whether there are to be other processes."""
        return bool(args.cluster) or _local_workers(args) > 1

    def close(self) -> None:
        """End them."""
        if self._made is not None:
            self._made.close()


def _make_chunk_workers(trainer: Trainer, say: Callable[[str], None], what: str) -> Executor:
    args = trainer.args
    if args.cluster:
        say(f"connecting to {args.cluster}")
        return connect(args.cluster, Setup.of(trainer, args.directory), args.workers, say)
    workers = _local_workers(args)
    threads = threads_of(args)
    say(f"{workers} chunks of {what} at a time, each with {counted(threads, 'CPU thread')}")
    allotted = allot(workers, args.trials_per_gpu or 1, visible_gpus(args.cpu))
    return LocalWorkers(Setup.of(trainer, args.directory), workers, allotted, threads)


def visible_gpus(cpu: bool) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; with `cpu` none."""
    if cpu or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def threads_of(args: Namespace) -> int:
    """The CPU threads of each worker on this machine: as many as are asked for, or a fair share."""
    return threads_for(_local_workers(args))


def _local_workers(args: Namespace) -> int:
    if args.workers is None and args.trials_per_gpu:
        return int(args.trials_per_gpu * len(visible_gpus(args.cpu)))
    return args.workers or 1
