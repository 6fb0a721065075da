"""Other processes of this machine that take part in a training, as they are seen from process 0.

They come up with the first training that needs them, and stay for others. They end with this process, and
where a training ends by an error: what they were doing then is of no use.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import IO

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from helixband import interruption
from helixband.errors import ProcessError
from helixband.search.executors.process import Setup
from helixband.search.executors.spawned import environment_with
from helixband.search.executors.trial import Part, Trainer
from helixband.training.processes import LONGEST, PATIENCE, PAUSE, Processes

LONGEST_STEP = timedelta(minutes=30)
"""One process waits so long for another, as by torch's default: they may not have equally many batches."""
TAIL = 2000
"""So many bytes of what a process wrote to its standard error are told where it ends without a word."""


class Companions:
    """The other processes of trainings by this one."""

    def __init__(self) -> None:
        self._up: _Up | None = None

    @contextlib.contextmanager
    def of(
        self, trainer: Trainer, part: Part, count: int, device: str, environment: Mapping[str, str]
    ) -> Iterator[Processes]:
        """Around a training by `count` processes, each on a device of this type: they take their part.

        `environment` is added to that of the others. Raises `ProcessError` where one of them fails, or ends
        without a word.
        """
        try:
            while not self._begin(trainer, part, count, device, environment):
                self._end()
            assert self._up is not None
            with self._up.connected(device):
                yield self._up.processes
        except BaseException as error:
            reason = None if self._up is None else self._up.reason(error)
            self._end()
            if reason is not None:
                raise reason from None
            raise

    def _begin(
        self, trainer: Trainer, part: Part, count: int, device: str, environment: Mapping[str, str]
    ) -> bool:
        """Have the others begin; whether they do, as one may have gone since the training before."""
        if is_new := self._up is None or self._up.processes.count != count:
            self._end()
            self._up = _Up(trainer, count, environment)
        assert self._up is not None
        failure = self._up.begin(part, device)
        if failure is not None and is_new:
            raise failure
        return failure is None

    def _end(self) -> None:
        if self._up is not None:
            self._up.end()
            self._up.processes.abandon()
            self._up = None


class _Up:
    """Processes that are up, or come up."""

    def __init__(self, trainer: Trainer, count: int, environment: Mapping[str, str]) -> None:
        setup = Setup.of(trainer, trainer.args.directory)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=LONGEST)
        self.processes = Processes(store, 0, count, ends_all=False, longest=LONGEST_STEP)
        self._wrote: list[IO[bytes]] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self.end = weakref.finalize(self, _end, self._started, self._wrote)
        """Ends them, as the end of this process does."""
        for rank in range(1, count):
            self._start(setup, rank, {**environment, "LOCAL_RANK": str(rank)}, store.port)

    def _start(self, setup: Setup, rank: int, environment: Mapping[str, str], port: int) -> None:
        # -P: the folder that the run was started in is not to be imported from.
        command = [sys.executable, "-P", "-m", "helixband.search.executors.companion"]
        self._wrote.append(tempfile.TemporaryFile())
        started = subprocess.Popen(
            [*command, str(port), str(rank), str(self.processes.count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._wrote[-1],
            env=environment_with(setup.root, environment),
            cwd=setup.directory,
            start_new_session=True,
        )
        self._started.append(started)
        assert started.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # where it has ended, which is seen later
            started.stdin.write(json.dumps(asdict(setup)).encode() + b"\n")
            started.stdin.flush()

    def begin(self, part: Part, device: str) -> BaseException | None:
        """Have the others begin a training; why one ended instead, if one did."""
        self.processes.give((part, device))
        while not self.processes.have_come:
            interruption.check()
            if (failure := self.failure()) is not None:
                return failure
            time.sleep(PAUSE)
        return None

    @contextlib.contextmanager
    def connected(self, device: str) -> Iterator[None]:
        """Around a training in which all take part."""
        with self._watched(device), self.processes.connected(torch.device(device)):
            yield

    def reason(self, error: BaseException) -> BaseException | None:
        """Why a training ended by this error, if another process is the cause."""
        told = str(error)
        if not isinstance(error, dist.DistError | ProcessError) and not (
            isinstance(error, RuntimeError) and ("gloo" in told or "NCCL" in told)
        ):
            return None
        until = time.monotonic() + PATIENCE
        while (failure := self.failure()) is None and time.monotonic() < until:
            time.sleep(PAUSE)
        return failure

    def failure(self) -> BaseException | None:
        """Why another process ended, if one did."""
        if (failure := self.processes.failure()) is not None:
            return failure
        for rank, started in enumerate(self._started, 1):
            if (code := started.poll()) is not None:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                last = self._last_words(rank)
                return ProcessError(
                    f"process {rank} of {self.processes.count} ended without a word ({how}), as one that is "
                    f"killed or has no memory left{last}"
                )
        return None

    def _last_words(self, rank: int) -> str:
        file = self._wrote[rank - 1]
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        wrote = file.read().decode(errors="replace").strip()
        return f". Its last words were:\n{wrote}" if wrote else ""

    @contextlib.contextmanager
    def _watched(self, device: str) -> Iterator[None]:
        """Have this process wait in vain for no other one: neither on a signal, nor where one is gone."""
        with _signals() as signals:
            over, watch = threading.Event(), partial(self._watch, device, signals)
            watcher = threading.Thread(target=watch, args=[over], daemon=True)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()

    def _watch(self, device: str, signals: Callable[[], bool], over: threading.Event) -> None:
        while not over.wait(PAUSE):
            if signals():  # which is answered when an exchange is over, or breaks
                if not over.wait(PATIENCE):
                    self.end()
                return
            if device != "cpu" and self.failure() is not None:  # of which gloo tells, and nccl does not
                if not over.wait(PATIENCE):
                    dist.distributed_c10d._abort_process_group()
                return


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """In the body, what tells whether a signal to end has come, also one that Python has not answered yet."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)

    def has_come() -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool({signal.SIGINT, signal.SIGTERM} & set(os.read(reading, 100)))
        return False

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield has_come
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def _end(started: list["subprocess.Popen[bytes]"], wrote: list[IO[bytes]]) -> None:
    for process in started:
        process.kill()
    for process in started:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    for file in wrote:
        file.close()
