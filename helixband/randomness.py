"""Seeds: one root, a stream of its own for everything that draws.

The streams are `numpy.random.SeedSequence` children, told apart by a key, so that no two share numbers
and adding one does not move another.
"""

import contextlib
import importlib
import random
import sys
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import torch


def derive_seed(root: int, *key: int | str) -> int:
    """A 63-bit seed of the stream `key` under `root`: the same on every machine and Python version."""
    words = [
        zlib.crc32(part.encode(errors="surrogateescape")) if isinstance(part, str) else part for part in key
    ]
    state = np.random.SeedSequence(root, spawn_key=words).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def seed_everything(seed: int) -> None:
    """Set the global generators of `random`, NumPy and torch (the CPU's and those of all GPUs)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # As `torch.manual_seed`, which looks for many other devices first: that takes longer than a step.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def get_state() -> dict[str, Any]:
    """The global generators' states, as numbers and tensors alone (loads with `weights_only=True`)."""
    numpy_state: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, gauss = numpy_state
    version, internal, gauss_next = random.getstate()
    return {
        "python": (version, torch.from_numpy(np.array(internal, dtype=np.int64)), gauss_next),
        "numpy": (name, torch.from_numpy(keys), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_state(state: dict[str, Any]) -> None:
    """Put back what `get_state` gave."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy(), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def unmoved() -> Iterator[None]:
    """Around code of ours: whatever it draws, the global generators are afterwards as before."""
    # In each library's own form, which takes a tenth of the time of the form for checkpoints.
    on_gpus = torch.cuda.is_available()
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if on_gpus else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if on_gpus:
            torch.cuda.set_rng_state_all(gpus)


def late_import(name: str) -> Any:
    """A module that is imported during a run. Some packages draw random numbers at their import."""
    if name in sys.modules:
        return sys.modules[name]
    with unmoved():
        return importlib.import_module(name)


class Stream:
    """The global generators' numbers, for one of several users that take turns with them.

    A stream begins with the state that the generators have when it is made. `with stream:` is a turn, in
    which they go on where the stream left off. Turns are taken within `Stream.turns()`.
    """

    _at_work: ClassVar["Stream | None"] = None

    def __init__(self) -> None:
        self._state = get_state()

    def __enter__(self) -> None:
        before = Stream._at_work
        if before is not self:  # of one stream alone nothing has to be saved and put back
            if before is not None:
                before._state = get_state()
            set_state(self._state)
            Stream._at_work = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        return None

    @classmethod
    @contextlib.contextmanager
    def turns(cls) -> Iterator[None]:
        """Around code that takes turns. Who drew before goes on from the state of the last turn."""
        outer = cls._at_work
        try:
            yield
        finally:
            cls._at_work = outer
