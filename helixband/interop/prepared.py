"""`prepare_data`: once in a run on a machine, by the process that comes first."""

import atexit
import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from helixband.files import locked_file
from helixband.randomness import unmoved

VARIABLE = "HELIXBAND_PREPARED"
"""Names the file of `Prepared` to workers on the same machine, after the number of who made it."""
_OF_TRAINERS = ("_trainer", "_fabric", "prepare_data")
"""Attributes of a module that are not its own."""


class Prepared:
    """What a run has prepared on this machine: lines of a file that its processes share.

    One of them prepares at a time, so that no two download to the same place. `parent` is the process that
    this one works for; one that starts no other and works for none has lines for itself.
    """

    def __init__(self, parent: int) -> None:
        number, _, path = os.environ.get(VARIABLE, "").partition(" ")
        self._is_of_parent = number == str(parent)
        if not self._is_of_parent and number != str(os.getpid()):
            file, path = tempfile.mkstemp(prefix="helixband-prepared-")
            os.close(file)
            atexit.register(_remove, path, os.getpid())
            os.environ[VARIABLE] = f"{os.getpid()} {path}"
        self._path = path
        self._new: list[str] = []

    @contextlib.contextmanager
    def alone(self) -> Iterator[list[str]]:
        """Hold the lock; gives the lines of other processes. They are told what is added in the body."""
        with locked_file(self._path, math.inf) as file:
            yield self._lines(file) if self._is_of_parent else []
            os.lseek(file, 0, os.SEEK_END)
            os.write(file, "".join(f"{line}\n" for line in self._new).encode())
            self._new.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What is added to that of a process which this one starts, for it to share the lines."""
        return {VARIABLE: f"{os.getpid()} {self._path}"}

    def add(self, line: str) -> None:
        """Tell the others, in the body of `alone`."""
        self._new.append(line)

    @staticmethod
    def _lines(file: int) -> list[str]:
        os.lseek(file, 0, os.SEEK_SET)
        return os.read(file, os.fstat(file).st_size).decode().splitlines()


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


class Preparation:
    """What is prepared of DataModules in this run.

    A DataModule that sets attributes in `prepare_data`, which Lightning advises against, is prepared each
    time that it is made: else it would lack them.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, self._done = prepared, set[Any]()

    def prepare(self, datamodule: Any, key: object) -> None:
        """Call `prepare_data`, unless that was done for this class of DataModule and this `key`.

        A Trainer that gets the DataModule does not call it again.
        """
        key = type(datamodule), key
        if key not in self._done:
            line = f"{_digest(_name(type(datamodule)))} {_digest(key[1])} []"
            with self._prepared.alone() as told:
                before = attributes(datamodule)
                if line not in told:
                    datamodule.prepare_data()
                if attributes(datamodule) == before:
                    self._done.add(key)
                    self._prepared.add(line)
        datamodule.prepare_data = _nothing


def _digest(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(repr, parts)).encode()).hexdigest()


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def attributes(datamodule: Any) -> tuple[tuple[str, str], ...]:
    """The attributes of a DataModule as they are shown, but for the path of a prediction."""
    return tuple((name, repr(value)) for name, value in vars(datamodule).items() if name != "predict_path")


def _nothing() -> None:
    """In the place of `prepare_data`, for a Trainer to call; a function here, which workers can be sent."""


class ModulePreparation:
    """What is prepared of LightningModules in this run.

    Modules of trials have other hyperparameters, which prepare_data may read or not. So what it reads is
    noted, and it is called again for a module in which that is another. A module that sets attributes in
    it is prepared each time.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, self._done = prepared, list[dict[str, str]]()
        self.environment = prepared.environment

    def prepare(self, module: Any) -> None:
        """Call `prepare_data`, unless that was done for a module like this; its Trainer calls it no more.

        The module has to have its Trainer. The global random numbers are afterwards as before.
        """
        _ = module.hparams  # an attribute that Lightning sets when it is first read
        if not any(_read(module, each) == each for each in self._done):
            with self._prepared.alone() as told:
                self._prepare(module, told)
        module.prepare_data = _nothing

    def _prepare(self, module: Any, told: Iterable[str]) -> None:
        kind = _digest(_name(type(module)))
        for line in told:
            of, digest, names = line.split(" ", 2)
            found = _read(module, json.loads(names)) if of == kind else {}
            if of == kind and _digest(found) == digest:
                self._done.append(found)
                return
        before, noted = _shown(module), set[str]()
        with unmoved(), _noting(module, noted):
            module.prepare_data()
        if _shown(module) == before:
            self._done.append(read := _read(module, sorted(noted)))
            self._prepared.add(f"{kind} {_digest(read)} {json.dumps(sorted(noted))}")


def _shown(module: Any) -> dict[str, str]:
    return {name: repr(value) for name, value in vars(module).items() if name not in _OF_TRAINERS}


def _read(module: Any, names: Iterable[str]) -> dict[str, str]:
    """Of these names, those of attributes and hyperparameters that a module has, and what it has there."""
    held = _held(module)
    return {name: repr(held[name]) for name in names if name in held and name not in _OF_TRAINERS}


def _held(module: Any) -> dict[str, Any]:
    held = {f"hparams.{name}": value for name, value in vars(module).get("_hparams", {}).items()}
    for part in (vars(module), *(vars(module)[kind] for kind in ("_modules", "_parameters", "_buffers"))):
        held |= part
    return held


@contextlib.contextmanager
def _noting(module: Any, noted: set[str]) -> Iterator[None]:
    """In the body, note the names of attributes and hyperparameters of a module that are read."""
    hyperparameters = vars(module).get("_hparams")
    kind: Any = type(module)
    one_by_one = isinstance(hyperparameters, dict)

    looks_up: list[str] = []

    def read(self: Any, name: str) -> Any:
        if name == "__dict__" and not looks_up:  # as vars(self) does
            note_all()
        elif name != "_hparams" or not one_by_one:
            noted.add(name)
        return kind.__getattribute__(self, name)

    def look_up(self: Any, name: str) -> Any:
        looks_up.append(name)  # in __dict__, for this name alone
        try:
            return kind.__getattr__(self, name)
        finally:
            looks_up.pop()

    def note_all() -> None:
        noted.update(held)

    held = _held(module).keys()
    if any("__init_subclass__" in vars(base) for base in kind.__mro__[:-1]):
        note_all()  # it is told of classes that are derived, and may refuse or register them
        yield
        return
    methods = {"__getattribute__": read, "__getattr__": look_up}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_of_class(module, methods, note_all))
        if one_by_one:
            keys = _noting_keys(type(hyperparameters), noted)
            stack.enter_context(_of_class(hyperparameters, keys, note_all))
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
    of_one_key = ("__getitem__", "__contains__", "get", "pop", "setdefault")
    one_key = {name: of_one(name) for name in of_one_key}
    return one_key | {name: of_all(name) for name in of_all_keys}


@contextlib.contextmanager
def _of_class(thing: Any, methods: dict[str, Any], note_all: Callable[[], None]) -> Iterator[None]:
    """In the body, a thing is of a class that is derived from its own and has these methods.

    It is pickled and copied as one of its own class, and `note_all` is called first: a copy notes nothing.
    """
    kind: Any = type(thing)

    def reduced(self: Any, protocol: Any) -> Any:
        note_all()
        with _set_class(self, kind):
            return kind.__reduce_ex__(self, protocol)

    as_own: dict[str, Any] = {"__reduce_ex__": reduced, "__class__": property(lambda self: kind)}
    content = {**methods, **as_own, "__module__": kind.__module__}
    with _set_class(thing, type(kind.__name__, (kind,), content)):
        yield


@contextlib.contextmanager
def _set_class(thing: Any, kind: type[Any]) -> Iterator[None]:
    before = type(thing)
    # Of object: the classes' own ways of setting an attribute read others, or store it as a key.
    real = vars(object)["__class__"]
    real.__set__(thing, kind)
    try:
        yield
    finally:
        real.__set__(thing, before)
