"""Where trials are trained: in this process, or in several of this machine at a time.

An executor has the shape of those in `concurrent.futures`: it is given a task and gives a future.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import zip_longest
from typing import TYPE_CHECKING, Protocol

from helixband.errors import HelixbandError, TrainingError, UsageError
from helixband.search.executors.process import (
    SECONDS_TO_END,
    KilledAtStart,
    Setup,
    TrialProcess,
    WorkerDied,
)
from helixband.search.executors.spawned import Spawned
from helixband.search.executors.task import Outcome, Report, Task

__all__ = ["Executor", "InProcess", "KilledAtStart", "LocalWorkers", "WorkerDied", "allot", "fair_threads"]

if TYPE_CHECKING:
    from helixband.search.executors.trial import Trainer

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Executor(Protocol):
    """Trains `capacity` tasks at a time, and keeps the others waiting.

    A process trains one task at a time: the global random numbers belong to the process. `on_epoch` may be
    called in any thread. It ends a training under way if it raises a `BaseException` that is no `Exception`;
    the epoch that it was told of is kept. An `Exception` would be the trial's own failure.
    """

    capacity: int

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """Begin a task. Its future raises `WorkerDied` where the task may be given again, to go on from its
        last checkpoint, and a `HelixbandError` where the run cannot go on."""
        ...

    def close(self) -> None:
        """End what runs, its last finished epochs written, and free everything."""
        ...


class InProcess:
    """Trains in this process and thread: `submit` returns when the training is over."""

    capacity = 1

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer
        self._lost: str | None = None
        """What the device was lost by."""

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """Train at once; `KeyboardInterrupt` passes through."""
        future: Future[Outcome] = Future()
        try:
            if self._lost is not None:
                raise TrainingError(
                    f"the GPU computes nothing more in this process, after {self._lost}. Give the same "
                    "command again, and the search goes on; of --workers, one that loses its GPU is replaced"
                )
            outcome = self._trainer.attempt(task, on_epoch)
            if outcome.has_lost_device:
                self._lost = f"trial {task.name} failed with {outcome.error}"
            future.set_result(outcome)
        except HelixbandError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs and nothing was taken."""


class LocalWorkers:
    """Trains in processes of this machine, which come up at once and stay; one that dies is replaced.

    `gpus` has for each the GPUs that it sees, as CUDA_VISIBLE_DEVICES takes them ("": none), and `threads` is
    the number of CPU threads of each. The processes `early`, no more than these, come up already.
    """

    def __init__(
        self, setup: Setup, workers: int, gpus: list[str], threads: int, early: Sequence[Spawned] = ()
    ) -> None:
        self.capacity = workers
        self._setup = setup
        self._orders: queue.SimpleQueue[tuple[Task, Report, Future[Outcome]] | None] = queue.SimpleQueue()
        self._closing = False
        self._lock = threading.Lock()  # of the processes, which are replaced as others are ended
        self._environments = [worker_environment(gpu, threads) for gpu in gpus[:workers]]
        self._processes = [
            TrialProcess(setup, environment, spawned)
            for environment, spawned in zip_longest(self._environments, early)
        ]
        self._threads = [
            threading.Thread(target=self._work, args=[number], daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """Hand the task to the next process that is free."""
        future: Future[Outcome] = Future()
        self._orders.put((task, on_epoch, future))
        return future

    def close(self) -> None:
        """End the processes: those that do not within ten seconds, by force. What waits is cancelled."""
        with self._lock:
            self._closing = True
            processes = list(self._processes)
        with contextlib.suppress(queue.Empty):
            while order := self._orders.get_nowait():
                order[2].cancel()
        for process in processes:
            self._orders.put(None)
            process.terminate()
        until = time.monotonic() + SECONDS_TO_END
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for process in processes:
            process.kill()
        for thread in self._threads:
            thread.join(SECONDS_TO_END)

    def _work(self, number: int) -> None:
        """In the thread of a process: give it one order after another."""
        while (order := self._orders.get()) is not None:
            if order[2].set_running_or_notify_cancel():
                self._carry_out(number, *order)
        self._processes[number].close()

    def _carry_out(self, number: int, task: Task, on_epoch: Report, future: "Future[Outcome]") -> None:
        try:
            process = self._living(number)
            outcome = process.run(task, on_epoch)
            if outcome.has_lost_device:
                process.close()  # another takes its place
            future.set_result(outcome)
        except BaseException as error:
            future.set_exception(error)

    def _living(self, number: int) -> TrialProcess:
        """The process of that number, a new one in the place of one that was ready and has ended."""
        with self._lock:
            if self._closing:
                raise WorkerDied("the search is ending")
            if not self._processes[number].takes_tasks:
                self._processes[number].close()
                self._processes[number] = TrialProcess(self._setup, self._environments[number])
            return self._processes[number]


def worker_environment(gpu: str, threads: int) -> dict[str, str]:
    """The variables that give a process its GPUs ("": none) and its number of CPU threads."""
    return {"CUDA_VISIBLE_DEVICES": gpu, **thread_variables(threads)}


def thread_variables(threads: int) -> dict[str, str]:
    """The variables that give a process its number of CPU threads."""
    return {name: str(threads) for name in THREAD_VARIABLES}


def allot(workers: int, trials_per_gpu: int, visible: list[str]) -> list[str]:
    """The GPU of each worker, in turn; without a GPU, "" for all.

    >>> allot(3, 2, ["0", "1"])
    ['0', '1', '0']

    Raises `UsageError` where there are more workers than GPUs have place for.
    """
    if not visible:
        return [""] * workers
    if workers > len(visible) * trials_per_gpu:
        raise UsageError(
            f"--workers {workers} is more than {len(visible)} GPUs with {trials_per_gpu} trials each take; "
            "give fewer, raise --trials-per-gpu, or use the CPU with --cpu"
        )
    return [visible[number % len(visible)] for number in range(workers)]


def threads_for(workers: int) -> int:
    """The CPU threads of each of so many processes: as many as the environment asks for, or a fair share."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return fair_threads(len(os.sched_getaffinity(0)), workers)


def fair_threads(cores: int, workers: int) -> int:
    """The CPU threads of each worker, one at least.

    >>> fair_threads(8, 3)
    2
    """
    return max(1, cores // workers)
