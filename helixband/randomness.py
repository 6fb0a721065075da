"""Seeds: one root, a stream of its own for everything that draws.

The streams are `numpy.random.SeedSequence` children, told apart by a key, so that no two share numbers
and adding one does not move another.
"""

import contextlib
import copy
import functools
import importlib
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType, TracebackType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

SOURCES: tuple[type[Any], ...] = (
    torch.Generator,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)
"""The kinds of random generators, other than the global ones, that have a state."""


@functools.lru_cache(maxsize=1 << 10)
def derive_seed(root: int, *key: int | str) -> int:
    """A 63-bit seed of the stream `key` under `root`: the same on every machine and Python version."""
    words = [
        zlib.crc32(part.encode(errors="surrogateescape")) if isinstance(part, str) else part for part in key
    ]
    state = np.random.SeedSequence(root, spawn_key=words).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def seed_everything(seed: int) -> None:
    """Set the global generators of `random`, NumPy and torch (the CPU's and those of all GPUs).

    Those that a definition holds in its modules are put back to where they were when it was loaded.
    """
    held.reset()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # As `torch.manual_seed`, which looks for many other devices first: that takes longer than a step.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


class Numbers:
    """The states at the moment of the global generators, and of those that the definition holds.

    They are in each library's own form, which takes a tenth of the time of the form for checkpoints.
    """

    def __init__(self) -> None:
        self._python, self._cpu = random.getstate(), torch.get_rng_state()
        self._numpy: Any = np.random.get_state(legacy=True)
        self._gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        self._held = held.states()

    def is_now(self) -> bool:
        """Whether nothing was drawn since."""
        name, keys, *place = self._numpy
        now: Any = np.random.get_state(legacy=True)
        gpus = torch.cuda.get_rng_state_all() if self._gpus else []
        return (
            random.getstate() == self._python
            and (name, *place) == (now[0], *now[2:])
            and bool((keys == now[1]).all())
            and torch.equal(torch.get_rng_state(), self._cpu)
            and all(map(torch.equal, gpus, self._gpus))
            and held.are_at(self._held)
        )

    def put_back(self) -> None:
        """Set the generators to these states."""
        held.put(self._held)  # first, as it may load modules
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._cpu)
        if self._gpus:
            torch.cuda.set_rng_state_all(self._gpus)

    def state(self) -> dict[str, Any]:
        """As numbers and tensors alone, for checkpoints (loads with `weights_only=True`)."""
        name, keys, position, has_gauss, gauss = self._numpy
        version, internal, gauss_next = self._python
        return {
            "python": (version, torch.from_numpy(np.array(internal, dtype=np.int64)), gauss_next),
            "numpy": (name, torch.from_numpy(keys), int(position), int(has_gauss), float(gauss)),
            "torch": self._cpu,
            "cuda": self._gpus,
            "held": self._held,
        }


def choose_algorithms(nondeterministic: bool) -> None:
    """Have cuDNN take algorithms that give the same numbers each time, or the fastest that it finds."""
    torch.backends.cudnn.deterministic = not nondeterministic
    torch.backends.cudnn.benchmark = nondeterministic


def get_state() -> dict[str, Any]:
    """`Numbers` of the moment, in the form for checkpoints."""
    return Numbers().state()


def set_state(state: dict[str, Any]) -> None:
    """Put back what `get_state` gave."""
    held.put(state.get("held", {}))  # first, as it may load modules
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy(), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def unmoved() -> Iterator[Numbers]:
    """Around code of ours: whatever it draws, the global generators are afterwards as before."""
    before = Numbers()
    try:
        yield before
    finally:
        before.put_back()


class Held:
    """The random generators that a definition holds in its modules, by name: a process has one definition.

    Like the global ones they are shared by all trials of a process, so each trial has to find them as the
    first one does: as they were when their module was loaded. A name is `<module>:<where in it>`, of a module
    beneath the definition's own, `package`.
    """

    def __init__(self, package: str = "") -> None:
        self.begin(package)

    def begin(self, package: str) -> None:
        """Hold nothing yet, of this definition."""
        self._package = package
        self._modules: dict[str, ModuleType] = {}
        self._among = -1
        self._sources: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}
        self._seed: int | None = None

    def hold(self, sources: Mapping[str, Any]) -> None:
        """Take up the generators of a module that was loaded just now; known ones stay as they are."""
        known = {id(source) for source in (*self._sources.values(), *global_sources())}
        for name, source in sources.items():
            if id(source) not in known:
                known.add(id(source))
                self._sources[name], self._loaded[name] = source, state_of(source)
                if self._seed is not None:
                    seed_source(source, derive_seed(self._seed, "held", name))

    def modules(self) -> dict[str, ModuleType]:
        """The definition's modules that are loaded, by name."""
        if self._among != len(sys.modules):  # looked for among thousands of others, so not at each epoch
            loaded = list(sys.modules.items()) if self._package else []
            own, inner = self._package, f"{self._package}."
            self._modules = {name: module for name, module in loaded if name == own or name.startswith(inner)}
            self._among = len(loaded)
        return self._modules

    def variables(self) -> dict[str, Any]:
        """What the definition's modules hold in variables, and their classes in attributes, by name."""
        found: dict[str, Any] = {}
        for name, module in self.modules().items():
            file = os.path.basename(getattr(module, "__file__", None) or name)
            for key, value in _variables_of(vars(module), name):
                found[f"{key} of {file}"] = value
        return found

    def reset(self) -> None:
        """Put all back to where they were when they were loaded."""
        self.put({})

    def seed(self, seed: int) -> None:
        """Seed all, until they are put back, and what is loaded until then."""
        self._seed = seed
        for name, source in self._sources.items():
            seed_source(source, derive_seed(seed, "held", name))

    def sources(self) -> list[Any]:
        """The generators."""
        return list(self._sources.values())

    def states(self) -> dict[str, Any]:
        """Where each is, as `state_of` has it."""
        return {name: state_of(source) for name, source in self._sources.items()}

    def are_at(self, states: Mapping[str, Any]) -> bool:
        """Whether they are where they were when `states` gave this."""
        return equal_states(self.states(), states)

    def put(self, states: Mapping[str, Any]) -> None:
        """Put back what `states` gave, and what was loaded since then to where it was at first."""
        self._seed = None
        for module in {name.partition(":")[0] for name in states.keys() - self._sources.keys()}:
            with contextlib.suppress(ModuleNotFoundError):  # a file of an earlier definition
                importlib.import_module(self._package + module)
        for name, state in {**self._loaded, **states}.items():
            if name in self._sources:
                put_state(self._sources[name], state)


held = Held()


@contextlib.contextmanager
def holding(other: Held) -> Iterator[None]:
    """In the body, `held` stands for another definition's, which goes on where it was left."""
    before = dict(vars(held))
    vars(held).update(vars(other))
    try:
        yield
    finally:
        vars(other).update(vars(held))
        vars(held).update(before)


def _variables_of(names: Mapping[str, Any], module: str) -> Iterator[tuple[str, Any]]:
    """What a namespace of a module holds, that of its classes included.

    Not modules, classes of others, and functions that hold nothing themselves.
    """
    for key, value in list(names.items()):
        if key.startswith("__") or isinstance(value, ModuleType):
            continue
        if not isinstance(value, type | FunctionType):
            yield key, value
        elif value.__module__ == module:
            if isinstance(value, FunctionType):
                closed = value.__code__.co_freevars not in ((), ("__class__",))
                if closed or value.__defaults__ or value.__kwdefaults__ or vars(value):
                    yield key, value
            else:
                yield from ((f"{key}.{inner}", part) for inner, part in _variables_of(vars(value), module))


def global_sources() -> list[Any]:
    """The global generators themselves, which an object may hold by a name of its own."""
    return [torch.default_generator, np.random.mtrand._rand, random._inst]


def state_of(source: Any) -> Any:
    """The state of one of `SOURCES`, as numbers and tensors alone."""
    if isinstance(source, torch.Generator):
        return source.get_state()
    if isinstance(source, random.Random):
        return source.getstate()
    if isinstance(source, np.random.SeedSequence):
        return dict(source.state)
    if isinstance(source, np.random.Generator):
        source = source.bit_generator
    is_bits = isinstance(source, np.random.BitGenerator)
    state = source.state | {SPAWNED: _spawned(source)} if is_bits else source.get_state(False)
    return _mapped(state, np.ndarray, lambda array: torch.from_numpy(array.copy()))


def put_state(source: Any, state: Any) -> None:
    """Put back what `state_of` gave."""
    if isinstance(source, torch.Generator):
        source.set_state(state)
    elif isinstance(source, random.Random):
        version, internal, gauss_next = state
        source.setstate((version, tuple(internal), gauss_next))
    elif isinstance(source, np.random.SeedSequence):
        _put_seeds(source, state)
    elif isinstance(source, np.random.Generator | np.random.BitGenerator):
        bits: Any = getattr(source, "bit_generator", source)
        state = _mapped(state, Tensor, lambda tensor: tensor.numpy().copy())
        spawned = state.pop(SPAWNED, None)
        bits.state = state
        if spawned is not None and spawned != _spawned(bits):
            _put_seeds(bits.seed_seq, bits.seed_seq.state | {SPAWNED: spawned})
    else:
        source.set_state(_mapped(state, Tensor, lambda tensor: tensor.numpy().copy()))


def seed_source(source: Any, seed: int) -> None:
    """Seed one of `SOURCES`, which stays the same object."""
    if isinstance(source, torch.Generator):
        source.manual_seed(seed)
    elif isinstance(source, np.random.SeedSequence):
        _put_seeds(source, np.random.SeedSequence(seed).state)
    elif isinstance(source, np.random.Generator | np.random.BitGenerator):
        bits: Any = getattr(source, "bit_generator", source)
        bits.state = type(bits)(seed).state
    elif isinstance(source, np.random.RandomState):
        source.seed(seed % 2**32)
    else:
        source.seed(seed)


SPAWNED = "n_children_spawned"
"""How many generators or seeds were spawned: the next ones depend on it."""


def _spawned(bits: Any) -> int | None:
    return getattr(bits.seed_seq, SPAWNED, None)  # some seeds, as of older versions, cannot spawn


def _put_seeds(seeds: Any, state: Any) -> None:
    """Give a `SeedSequence` another state, in place, as it is unpickled: it has no other way."""
    seeds.__setstate__(np.random.SeedSequence(**state).__reduce_ex__(2)[2])


def _mapped(nested: Any, kind: type[Any], function: Callable[[Any], Any]) -> Any:
    if isinstance(nested, dict):
        return {key: _mapped(value, kind, function) for key, value in nested.items()}
    return function(nested) if isinstance(nested, kind) else nested


def of_its_own(source: Any) -> Any:
    """A generator where another one is; itself, if it is a global one or a definition's modules hold it.

    These are put where a trial left them whenever its turn comes.
    """
    if any(source is other for other in (*global_sources(), *held.sources())):
        return source
    if isinstance(source, torch.Generator):
        return torch.Generator(source.device).set_state(source.get_state())
    return copy.deepcopy(source)


def equal_states(one: Any, other: Any) -> bool:
    """Whether two states of generators, or dicts of them, are the same."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            equal_states(value, other[key]) for key, value in one.items()
        )
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


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
        self._numbers = Numbers()

    def __enter__(self) -> None:
        before = Stream._at_work
        if before is not self:  # of one stream alone nothing has to be saved and put back
            if before is not None:
                before._numbers = Numbers()
            self._numbers.put_back()
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

    @classmethod
    @contextlib.contextmanager
    def pause(cls) -> Iterator[None]:
        """Around code between turns that sets the generators for itself: no turn goes on from there."""
        if cls._at_work is not None:
            cls._at_work._numbers, cls._at_work = Numbers(), None
        yield
