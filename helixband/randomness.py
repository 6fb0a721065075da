"""Seeds: one root, a stream of its own for everything that draws.

The streams are `numpy.random.SeedSequence` children, told apart by a key, so that no two share numbers
and adding one does not move another.
"""

import random
import zlib
from typing import Any

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
    """Set the global generators of `random`, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


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
