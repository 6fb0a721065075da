"""`prepare_data`: of DataModules once in a run, by the process that comes first; of modules in a process."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from helixband.randomness import unmoved

VARIABLE = "HELIXBAND_PREPARED"
"""Tells workers on the same machine what the process that started them has prepared, after its number."""
_OF_TRAINERS = ("_trainer", "_fabric", "prepare_data")
"""Attributes of a module that are not its own."""


class Preparation:
    """What is prepared in this run.

    A DataModule that sets attributes in `prepare_data`, which Lightning advises against, is prepared each
    time that it is made: else it would lack them.
    """

    def __init__(self) -> None:
        self._done: set[Any] = set()

    def prepare(self, datamodule: Any, key: object) -> None:
        """Call `prepare_data`, unless that was done for this class of DataModule and this `key`.

        A Trainer that gets the DataModule does not call it again.
        """
        key = type(datamodule), key
        if key not in self._done and not _was_prepared(key):
            before = attributes(datamodule)
            datamodule.prepare_data()
            if attributes(datamodule) == before:
                self._done.add(key)
                _tell_workers(key)
        datamodule.prepare_data = _prepared


def _was_prepared(key: tuple[type[Any], object]) -> bool:
    """Whether the process that started this one has told so."""
    number, *digests = os.environ.get(VARIABLE, "").split(" ")
    return number == str(os.getppid()) and _digest(key) in digests


def _tell_workers(key: tuple[type[Any], object]) -> None:
    number, *digests = os.environ.get(VARIABLE, "").split(" ")
    own = digests if number == str(os.getpid()) else []
    os.environ[VARIABLE] = " ".join([str(os.getpid()), *own, _digest(key)])


def _digest(key: tuple[type[Any], object]) -> str:
    kind, rest = key
    return hashlib.sha256(f"{kind.__module__}.{kind.__qualname__} {rest!r}".encode()).hexdigest()[:16]


def attributes(datamodule: Any) -> tuple[tuple[str, str], ...]:
    """The attributes of a DataModule as they are shown, but for the path of a prediction."""
    return tuple((name, repr(value)) for name, value in vars(datamodule).items() if name != "predict_path")


def _prepared() -> None:
    """In the place of `prepare_data`, for a Trainer to call; a function here, which workers can be sent."""


class ModulePreparation:
    """`prepare_data` of LightningModules, of one definition in one process.

    Modules of trials have other hyperparameters, which prepare_data may read or not. So what it reads is
    noted, and it is called again for a module in which that is another. A module that sets attributes in
    it is prepared each time.
    """

    def __init__(self) -> None:
        self._done: list[dict[str, str]] = []

    def prepare(self, module: Any) -> None:
        """Call `prepare_data`, unless that was done for a module like this; its Trainer calls it no more.

        The module has to have its Trainer. The global random numbers are afterwards as before.
        """
        _ = module.hparams  # an attribute that Lightning sets when it is first read
        if not any(_read(module, each) == each for each in self._done):
            before, noted = _shown(module), set[str]()
            with unmoved(), _noting(module, noted):
                module.prepare_data()
            if _shown(module) == before:
                self._done.append(_read(module, noted))
        module.prepare_data = _prepared


def _shown(module: Any) -> dict[str, str]:
    return {name: repr(value) for name, value in vars(module).items() if name not in _OF_TRAINERS}


def _read(module: Any, names: Iterable[str]) -> dict[str, str]:
    """Of these names, those of attributes and hyperparameters that a module has, and what it has there."""
    held = {f"hparams.{name}": value for name, value in vars(module).get("_hparams", {}).items()}
    for part in (vars(module), *(vars(module)[kind] for kind in ("_modules", "_parameters", "_buffers"))):
        held |= part
    return {name: repr(held[name]) for name in names if name in held and name not in _OF_TRAINERS}


@contextlib.contextmanager
def _noting(module: Any, noted: set[str]) -> Iterator[None]:
    """In the body, note the names of attributes and hyperparameters of a module that are read."""
    hyperparameters = vars(module).get("_hparams")
    kind: Any = type(module)
    one_by_one = isinstance(hyperparameters, dict)

    def read(self: Any, name: str) -> Any:
        if name != "_hparams" or not one_by_one:
            noted.add(name)
        return kind.__getattribute__(self, name)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_of_class(module, {"__getattribute__": read}))
        if one_by_one:
            stack.enter_context(_of_class(hyperparameters, _noting_keys(type(hyperparameters), noted)))
        yield


def _noting_keys(kind: type[Any], noted: set[str]) -> dict[str, Any]:
    """Methods of a dict of hyperparameters that note which of them are read."""

    def of_one(method: str) -> Any:
        def call(self: Any, name: str, *default: Any) -> Any:
            noted.add(f"hparams.{name}")
            return getattr(kind, method)(self, name, *default)

        return call

    def of_all(method: str) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            noted.update(f"hparams.{name}" for name in dict.keys(self))
            return getattr(kind, method)(self, *arguments)

        return call

    of_all_keys = ("__iter__", "__repr__", "__eq__", "keys", "values", "items", "copy")
    one_key = {name: of_one(name) for name in ("__getitem__", "get")}
    return one_key | {name: of_all(name) for name in of_all_keys}


@contextlib.contextmanager
def _of_class(thing: Any, methods: dict[str, Any]) -> Iterator[None]:
    """In the body, a thing is of a class that is derived from its own and has these methods."""
    kind = type(thing)
    derived = type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})
    # By object: the classes' own ways of setting an attribute read others, or store it as a key.
    object.__setattr__(thing, "__class__", derived)
    try:
        yield
    finally:
        object.__setattr__(thing, "__class__", kind)
