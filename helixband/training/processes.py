"""The processes of one training, as torchrun starts them, and what they tell one another.

Process 0 does the work of a run. The others wait for a training of it, take part in that, and wait for its
end. They have a store, which torchrun keeps, and while they train connections: one for values on the host
(gloo), and one for tensors on their device (gloo, or on GPUs nccl).

A process that ends early says why in the store before it closes its connections. So who finds a connection
closed finds the reason there; where there is none, a process was killed.
"""

import contextlib
import io
import os
import pickle
import signal
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from helixband import interruption
from helixband.env import number_of_processes
from helixband.errors import DefinitionError, ProcessError, UsageError

LONGEST = timedelta(days=7)
"""A process may wait so long for another, which may write a large state or compute metrics."""
PAUSE = 0.05
"""Seconds between two looks into the store."""
PATIENCE = 3.0
"""Seconds in which process 0 says that it is ending where connections break, if it is alive."""
LAST_WORK = 25.0
"""Seconds in which it comes to its next exchange, and then to its end; after 30 torchrun kills the rest."""


class Processes:
    """The processes of a run. `rank` is the number of this one, of `count`.

    Where a failure of one `ends_all`, as under torchrun, signals are not waited for once there was one. One
    waits no longer than `longest` for another.
    """

    def __init__(
        self, store: Store, rank: int, count: int, ends_all: bool = True, longest: timedelta = LONGEST
    ) -> None:
        self.rank, self.count = rank, count
        self._store, self._ends_all, self._longest = store, ends_all, longest
        self._works = 0  # that were given or taken
        self._host: Any = None
        """The group for values on the host; None while there are no connections."""

    @property
    def are_connected(self) -> bool:
        """Whether a training of them all is under way."""
        return self._host is not None

    # The store: what process 0 has for the others, and how they end.

    def give(self, work: Any) -> None:
        """Let the other processes take part in something."""
        self._works += 1
        self._store.set(f"work {self._works}", pickle.dumps(work))  # type: ignore[arg-type]

    def work(self) -> Any:
        """What process 0 gives next, once it does; None where it ends without."""
        self._works += 1
        while not self._has(f"work {self._works}"):
            if self._has("end"):
                return None
            interruption.check()
            time.sleep(PAUSE)
        return pickle.loads(self._store.get(f"work {self._works}"))

    def come(self) -> None:
        """Say that this process has taken the work."""
        self._store.set(f"process {self.rank} has work {self._works}", "")

    @property
    def have_come(self) -> bool:
        """Whether all others have taken the work."""
        return all(self._has(f"process {rank} has work {self._works}") for rank in range(1, self.count))

    def end(self, code: int) -> None:
        """Say that process 0 ends with this exit code, and close its connections."""
        self._store.set("end", str(code))
        self._close(early=code != 0)
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # the store ends with this process
            for rank in range(1, self.count):
                self._comes(f"process {rank} has seen it", PATIENCE)

    def wait_for_end(self) -> int:
        """The exit code of process 0, once it ends."""
        while not self._has("end"):
            interruption.check()
            time.sleep(PAUSE)
        return self._code_of_end()

    def fail(self, error: BaseException, account: str) -> str | None:
        """End early by an error, of which process 0 is told; its account where process 0 cannot tell it."""
        interruption.ignore()
        self.tell(error, account)
        _let_go(error)
        self._close(early=True)
        seconds = PATIENCE if isinstance(error, ProcessError) else LAST_WORK
        if self._comes("ending", seconds) or self._has("end"):
            if self._comes("end", LAST_WORK):
                self._code_of_end()
            return None
        return account if self.rank == 1 else None

    def tell(self, error: BaseException, account: str) -> None:
        """Say that this process ends by an error, unless that comes from the end of another."""
        if not (self._has("failed") or self._has("end") or isinstance(error, ProcessError)):
            interrupt = error.args[:1] if isinstance(error, KeyboardInterrupt) else None
            why = pickle.dumps((self.rank, exit_code(error), account, interrupt))
            self._store.set("failed", why)  # type: ignore[arg-type]

    def _code_of_end(self) -> int:
        code = int(self._store.get("end"))
        self._store.set(f"process {self.rank} has seen it", "")
        return code

    def _comes(self, key: str, seconds: float) -> bool:
        """Whether something is in the store within so many seconds."""
        until = time.monotonic() + seconds
        while not self._has(key):
            if time.monotonic() > until or (key == "ending" and self._has("end")):
                return False
            time.sleep(PAUSE)
        return True

    def _has(self, key: str) -> bool:
        return bool(self._store.check([key]))

    # Connections, for a training.

    @contextlib.contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Around a training in which all take part."""
        if dist.is_initialized():
            raise DefinitionError(
                "the definition has called torch.distributed.init_process_group, which Helixband does for a "
                "training by several processes: leave it out"
            )
        store, on_gpu = PrefixStore(f"training {self._works}", self._store), device.type == "cuda"
        with self._explained():
            dist.init_process_group(
                "nccl" if on_gpu else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.count,
                timeout=self._longest,
            )
            # Not the default group: torch holds that in arguments of its functions, so that it stays open.
            self._host = dist.new_group(backend="gloo", timeout=self._longest)
        yield  # an error leaves them open until its reason is told
        self.largest([0])  # nobody closes them while another is still waiting for something
        self._close()

    def _close(self, early: bool = False) -> None:
        if self._host is not None:
            host, self._host = self._host, None
            dist.destroy_process_group(host)  # first: on it the others wait, and find it closed
            if not early:  # else nccl would wait for what the others have not sent
                dist.destroy_process_group()

    def abandon(self) -> None:
        """Close the connections with processes that are gone."""
        self._host = None
        if dist.is_initialized():
            if dist.get_backend() == "nccl":  # which would wait for them
                dist.distributed_c10d._abort_process_group()
            else:
                dist.destroy_process_group()

    def _group(self, tensor: Tensor) -> Any:
        """The group for tensors on a device; None is torch's default one."""
        return None if tensor.is_cuda else self._host

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._reason(error) from None

    def failure(self) -> BaseException | None:
        """Why another process than 0 ended, if one did."""
        if not self._has("failed"):
            return None
        rank, code, account, interrupt = pickle.loads(self._store.get("failed"))
        if interrupt is not None:
            return KeyboardInterrupt(*interrupt)
        return ProcessError(f"process {rank} of {self.count} failed: {account}", code)

    def _reason(self, error: RuntimeError) -> BaseException:
        """Why an exchange with the others failed."""
        if self._ends_all:
            interruption.ignore()  # torchrun ends those that are left, and this one does so by itself
        if self.rank == 0:
            self._store.set("ending", "")
        if (failure := self.failure()) is not None:
            return failure
        if self.rank and self._has("end"):
            return ProcessError("process 0 has ended", int(self._store.get("end")))
        is_closed = "by peer" in str(error)
        told = "" if is_closed else f" ({str(error).partition(chr(10))[0]})"
        return ProcessError(
            f"a process of this training ended without a word, as one that is killed or has no memory "
            f"left{told}; the same command goes on from the last epoch that was kept"
        )

    # Exchanges. All processes call the same ones in the same order.

    def sum(self, tensor: Tensor) -> None:
        """Put the sum of all processes' tensors into each of them, on their devices."""
        with self._explained():
            dist.all_reduce(tensor, group=self._group(tensor))

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape, on the device."""
        flat = tensor.contiguous().flatten().view(torch.uint8)  # not every kind of number can be sent
        parts = [torch.empty_like(flat) for _ in range(self.count)]
        with self._explained():
            dist.all_gather(parts, flat, group=self._group(flat))
        return [part.view(tensor.dtype).view(tensor.shape) for part in parts]

    @torch.no_grad()
    def copy_from_first(self, tensor: Tensor) -> None:
        """Give a tensor the values that it has in process 0."""
        flat = tensor.detach().contiguous().flatten().view(torch.uint8)
        with self._explained():
            dist.broadcast(flat, 0, group=self._group(flat))
        tensor.copy_(flat.view(tensor.dtype).view(tensor.shape))

    def largest(self, numbers: list[int]) -> list[int]:
        """The largest of each of some numbers, over all processes."""
        found = torch.tensor(numbers, dtype=torch.int64)
        with self._explained():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self._host)
        return found.tolist()

    def from_first(self, value: Any) -> Any:
        """The value of process 0, tensors on the CPU included."""
        box = [_packed(value) if self.rank == 0 else None]
        with self._explained():
            dist.broadcast_object_list(box, 0, group=self._host, device=torch.device("cpu"))
        return value if self.rank == 0 else _unpacked(box[0])

    def all(self, value: Any) -> list[Any]:
        """The values of all processes in their order, tensors on the CPU included."""
        box: list[Any] = [None] * self.count
        with self._explained():
            dist.all_gather_object(box, _packed(value), group=self._host)
        return [_unpacked(each) for each in box]


def _packed(value: Any) -> bytes:
    torch.save(value, file := io.BytesIO())
    return file.getvalue()


def _unpacked(content: Any) -> Any:
    return torch.load(io.BytesIO(content), weights_only=False)  # of our own processes


def _let_go(error: BaseException | None) -> None:
    """Have the frames of an error hold no connections, which else stay open."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def closed_groups() -> Iterator[None]:
    """Close the connections that the body leaves open, if there were none before it."""
    is_ours = dist.is_initialized()
    try:
        yield
    finally:
        if not is_ours and dist.is_initialized():
            dist.destroy_process_group()


_OURS: list[Processes] = []
"""Those of this run, in this process: one or none."""


def ours() -> Processes | None:
    """The processes of this run; None where there is one."""
    return _OURS[0] if _OURS else None


@contextlib.contextmanager
def joined() -> Iterator[Processes | None]:
    """Join the processes that torchrun has started; None where this is one alone."""
    if number_of_processes() == 1:
        yield None
        return
    store, rank, count = next(rendezvous("env://"))
    with taken(processes := Processes(store, rank, count)):
        yield processes


@contextlib.contextmanager
def taken(processes: Processes) -> Iterator[None]:
    """In the body, they are those of this run."""
    _OURS.append(processes)
    try:
        yield
    finally:
        _OURS.clear()


def take_gpu() -> None:
    """Use the GPU of this process's number on its machine. Raises `UsageError` where there are too few."""
    local, on_machine = (
        int(os.environ.get(f"LOCAL_{name}", os.environ[name])) for name in ("RANK", "WORLD_SIZE")
    )
    gpus = torch.cuda.device_count()
    if on_machine > gpus:
        raise UsageError(
            f"torchrun started {on_machine} processes, and there are GPUs for {gpus}: give "
            f"--nproc-per-node {gpus}, or --cpu to main.py"
        )
    torch.cuda.set_device(local)


def exit_code(error: BaseException | None) -> int:
    """That of a command which ends with this error."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 143 if error.args == (signal.SIGTERM,) else 130
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else int(code is not None)
